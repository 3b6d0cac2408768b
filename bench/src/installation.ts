import { setTimeout as sleep } from 'node:timers/promises'
import { byteLength, checkDefinition, type Json, type SagaModule } from '@backstitch/core'
import { createWorker, type Worker } from '@backstitch/engine'
import { type ApiStore, openApiStore, type Registered } from '@backstitch/store'
import { pino } from 'pino'
import type { Place } from './place.ts'

/** The API's store and one worker in this process, every setting at its default: as much of Backstitch as needs no HTTP. */
export type Installation = {
  store: ApiStore
  worker: Worker
  /**
   * Starts a saga and resolves when the commit that ended it has been answered. `apart`: as if by another process, so that the
   * worker has to claim it.
   */
  runOne(input?: Json, how?: { apart: boolean }): Promise<void>
  close(): Promise<void>
}

export async function install(
  { url }: Place,
  saga: SagaModule,
  options: { concurrency: number },
): Promise<Installation> {
  const ended = new Map<string, () => void>()
  const early = new Set<string>()
  function onEnded(sagaId: string): void {
    const resolve = ended.get(sagaId)
    if (resolve === undefined) early.add(sagaId)
    else resolve()
    ended.delete(sagaId)
  }

  const store = await openApiStore({ databaseUrl: url })
  const worker = createWorker({
    databaseUrl: url,
    sagas: [saga],
    concurrency: options.concurrency,
    log: quiet(),
  })
  worker.onRest(onEnded)
  await worker.start()
  const definition = await found(store, saga.definition.name)

  return {
    store,
    worker,
    async runOne(input = { orderId: 'o-1', amount: 4200 }, { apart } = { apart: false }) {
      const inputBytes = byteLength(JSON.stringify(input))
      const request = { definition, input, inputBytes, requestHash: 'bench' }
      const slot = apart ? undefined : worker.slot(definition.queue)
      const { sagaId } = await store.starts.start(request, slot)
      if (slot === undefined) store.wakeups.due(definition.queue)
      if (early.delete(sagaId)) return
      await new Promise<void>((resolve) => ended.set(sagaId, resolve))
    },
    async close() {
      await worker.stop(0)
      await store.close()
    },
  }
}

async function found(store: ApiStore, name: string): Promise<Registered> {
  const definition = await store.definitions.latest(name)
  if (definition === undefined) throw new Error(`there is no definition "${name}"`)
  return definition
}

/** A logger at its default level, read by nobody. */
export function quiet() {
  return pino({ level: 'info' }, pino.destination({ dest: '/dev/null', sync: false }))
}

/** The document of a saga whose steps are handlers, or HTTP calls to `url`. */
export function documentOf(options: { name: string; steps: number; url?: string }): Json {
  const { name, steps, url } = options
  const act = url === undefined ? { type: 'handler' } : { type: 'http', url }
  return {
    name,
    steps: Array.from({ length: steps }, (_, n) => ({
      name: `step${n + 1}`,
      action: act,
      compensation: act,
    })),
  }
}

/** A saga of handlers: `steps` of them, each with a compensation, each with a result of about `resultBytes`. */
export function sagaOf(options: {
  name: string
  steps: number
  resultBytes?: number
  /** The last step is refused, and the others are undone. */
  fails?: boolean
  /** How long each action takes. */
  stepMs?: number
  /** Told of each action as it is called, by its place in the order. */
  onCall?: (step: number) => void
}): SagaModule {
  const { steps, resultBytes = 30, fails = false, stepMs = 0, onCall = () => undefined } = options
  const checked = checkDefinition(documentOf(options))
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems))
  const result = { id: 'x'.repeat(Math.max(1, resultBytes - 9)) }
  const undo = async () => null
  const action = (step: number) => async () => {
    onCall(step)
    if (stepMs > 0) await sleep(stepMs)
    if (fails && step === steps - 1) throw refusal()
    return result
  }
  const handlers = Array.from({ length: steps }, (_, n) => ({ action: action(n), compensation: undo }))
  return {
    definition: checked.definition,
    handlers: new Map(handlers.map((handler, n) => [`step${n + 1}`, handler])),
  }
}

/** A saga whose steps are HTTP calls. */
export function httpSagaOf(options: { name: string; steps: number; url: string }): SagaModule {
  const checked = checkDefinition(documentOf(options))
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems))
  return { definition: checked.definition, handlers: new Map() }
}

function refusal(): Error {
  return Object.assign(new Error('no'), { [Symbol.for('backstitch.outcome')]: 'rejected' })
}
