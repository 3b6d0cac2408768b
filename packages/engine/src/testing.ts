import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import {
  byteLength,
  checkDefinition,
  type Handler,
  type Json,
  type Saga,
  type SagaModule,
} from '@backstitch/core'
import { createTestDatabase, type TestDatabase } from '@backstitch/local-postgres/testing'
import { type ApiStore, openApiStore, type Registered } from '@backstitch/store'
import { pino } from 'pino'
import { onTestFinished } from 'vitest'
import { createWorker, type Worker, type WorkerOptions } from './worker.ts'

/** A database, the store of the API on it, and workers: all gone when the test has ended. */
export type Stage = {
  url: string
  query: TestDatabase['query']
  store: ApiStore
  worker(options?: Partial<WorkerOptions>): Promise<Worker>
  register(document: Json): Promise<Registered>
  /** Registers a definition and starts a saga of it. */
  start(definition: Json, input?: Json, more?: { deadlineMs?: number; beside?: Worker }): Promise<string>
  saga(sagaId: string): Promise<Saga>
  /** Waits until what is seen satisfies: looks every few milliseconds, fails after ten seconds with what it saw last. */
  eventually(sagaId: string, holds: (saga: Saga) => boolean): Promise<Saga>
  ended(sagaId: string): Promise<Saga>
  history(sagaId: string): ReturnType<ApiStore['history']['read']>
}

export const quiet = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' })

export async function createStage(): Promise<Stage> {
  const { url, query, drop } = await createTestDatabase()
  const store = await openApiStore({ databaseUrl: url })
  const workers: Worker[] = []
  onTestFinished(async () => {
    await Promise.all(workers.map((worker) => worker.stop(0)))
    await store.close()
    await drop()
  })

  async function register(document: Json): Promise<Registered> {
    const checked = checkDefinition(document)
    if (!checked.ok) throw new Error(JSON.stringify(checked.problems))
    return store.definitions.register(document)
  }

  async function saga(sagaId: string): Promise<Saga> {
    const found = await store.queries.saga(sagaId)
    if (found === undefined) throw new Error(`there is no saga ${sagaId}`)
    return found
  }

  async function eventually(sagaId: string, holds: (saga: Saga) => boolean): Promise<Saga> {
    const end = performance.now() + 60_000
    for (;;) {
      const seen = await saga(sagaId)
      if (holds(seen)) return seen
      if (performance.now() > end) throw new Error(`still not so: ${JSON.stringify(seen, undefined, 1)}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  return {
    url,
    query,
    store,
    saga,
    register,
    eventually,
    ended: (sagaId) => eventually(sagaId, ({ endedAt }) => endedAt !== undefined),
    history: (sagaId) => store.history.read(sagaId, { limit: 1_000 }),

    async worker(options = {}) {
      const worker = createWorker({
        databaseUrl: url,
        pollMs: 50,
        // Where receivers of tests are.
        webhookAllow: ['127.0.0.1'],
        log: quiet,
        ...options,
      })
      workers.push(worker)
      await worker.start()
      return worker
    },

    async start(document, input = null, { beside, ...more } = {}) {
      const definition = await register(document)
      const inputBytes = byteLength(JSON.stringify(input))
      const slot = beside?.slot(definition.queue)
      const request = { definition, input, inputBytes, requestHash: 'test', ...more }
      const answer = await store.starts.start(request, slot)
      if (slot === undefined) store.wakeups.due(definition.queue)
      return answer.sagaId
    },
  }
}

type Steps = Record<string, { action: Handler; compensation?: Handler; options?: Record<string, Json> }>

/** A saga of handlers, in the order of the keys. */
export function sagaOf(
  name: string,
  steps: Steps,
  options: Record<string, Json> = {},
): { saga: SagaModule; document: Json } {
  const document: Json = {
    name,
    ...options,
    steps: Object.entries(steps).map(([step, { compensation, options: own }]) => ({
      name: step,
      action: { type: 'handler' },
      ...(compensation && { compensation: { type: 'handler' } }),
      ...own,
    })),
  }
  const checked = checkDefinition(document)
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems))
  const handlers = new Map(
    Object.entries(steps).map(([step, { action, compensation }]) => [
      step,
      compensation ? { action, compensation } : { action },
    ]),
  )
  return { document, saga: { definition: checked.definition, handlers } }
}

/** A gate that a handler waits at, and a bell that says that one is waiting. */
export function createGate() {
  let open: () => void = () => undefined
  let ring: () => void = () => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const reached = new Promise<void>((resolve) => {
    ring = resolve
  })
  return {
    open,
    reached,
    wait: async () => {
      ring()
      await opened
    },
  }
}

/** A participant on a port of its own, gone when the test has ended. Gives its address. */
export async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a server that listens has a port')
  return `http://127.0.0.1:${address.port}`
}

export function rejection(message: string): Error {
  return Object.assign(new Error(message), { [Symbol.for('backstitch.outcome')]: 'rejected' })
}
