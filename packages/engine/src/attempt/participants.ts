import {
  type Act,
  type AttemptId,
  entryOf,
  type HttpAction,
  handlerOf,
  type RequestTemplate,
  renderRequest,
  type SagaModule,
  type Values,
} from '@backstitch/core'
import { type Admission, FREE, type Permit } from './admission.ts'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { runHandler } from './handler.ts'
import { createHttpCaller } from './http.ts'
import type { Abilities, Missing } from './missing.ts'
import { startTimer } from './timer.ts'

/** Everything that can carry out an attempt: HTTP services, and the handlers this worker was given. */
export type Participants = {
  /** Can this worker carry it out at all (S20), and now (S37)? */
  admit(definition: string, id: AttemptId, act: Act): Admission
  /**
   * Never rejects; undefined if it was not made after all. `abort` fires the request's signal. `onLate` hears of a result
   * that came after the attempt had ended (S4).
   */
  run(
    act: Act,
    request: AttemptRequest,
    permit: Permit,
    abort: () => void,
    onLate: (end: AttemptEnd) => void,
  ): Promise<AttemptEnd | undefined>
  /** Which handlers there are, by definition. */
  readonly handlers: Readonly<Record<string, readonly string[]>>
  close(): Promise<void>
}

export type ParticipantsParts = { sagas: readonly SagaModule[]; missing: Missing }

export function createParticipants({ sagas, missing }: ParticipantsParts): Participants {
  const modules = new Map(sagas.map((saga) => [saga.definition.name, saga]))
  const http = createHttpCaller()
  /** Handlers that still run although their attempt has ended, by saga and step. */
  const zombies = new Map<string, Promise<unknown>>()

  function handlerFor(definition: string, { step, direction }: AttemptId) {
    const saga = modules.get(definition)
    return saga && handlerOf(saga, step, direction)
  }

  async function callHttp(
    action: HttpAction,
    template: RequestTemplate | undefined,
    request: AttemptRequest,
  ): Promise<AttemptEnd> {
    const rendered = template && renderRequest(template, valuesOf(request))
    if (rendered?.ok === false) {
      // Nothing was sent, and no retry would make it another request.
      const message = `at ${rendered.pointer}: ${rendered.detail}`
      return { outcome: 'rejected', error: { code: 'EXPRESSION_FAILED', message } }
    }
    return http.call({ ...action, ...rendered?.value }, request)
  }

  async function runOwn(
    request: AttemptRequest,
    abort: () => void,
    onLate: (end: AttemptEnd) => void,
  ): Promise<AttemptEnd> {
    const handler = handlerFor(request.definition.name, request)
    if (handler === undefined)
      throw new Error(`no handler for step "${request.step}": admit must be asked first`)
    const { end, settled } = runHandler(handler, request, abort, onLate)
    const ended = await end
    if (ended.outcome === 'uncertain' && request.direction === 'action') watch(zombieKey(request), settled)
    return ended
  }

  function watch(key: string, settled: Promise<unknown>): void {
    const all = Promise.all([zombies.get(key), settled])
    zombies.set(key, all)
    void all.then(() => {
      if (zombies.get(key) === all) zombies.delete(key)
    })
  }

  return {
    handlers: Object.fromEntries(sagas.map((saga) => [saga.definition.name, [...saga.handlers.keys()]])),

    admit(definition, id, act) {
      if (act.call.type === 'http' || handlerFor(definition, id) !== undefined)
        return { is: 'now', permit: FREE }
      const has = (other: Abilities) => entryOf(other.handlers, definition)?.includes(id.step) === true
      return {
        is: 'notHere',
        delayMs: () => missing.delayMs(`handler ${definition}.${id.step}`, has),
      }
    },

    async run(act, request, permit, abort, onLate) {
      if (!(await permit.turn(request.signal))) return undefined
      const zombie = request.direction === 'compensation' ? zombies.get(zombieKey(request)) : undefined
      // S13: undoing what is still being done would leave it done.
      if (zombie !== undefined && !(await endsInTime(zombie, request))) return STILL_RUNNING
      // Called off while it waited: the saga may be another worker's by now (S16).
      if (request.signal.aborted) return CALLED_OFF
      return act.call.type === 'http'
        ? callHttp(act.call, act.request, request)
        : runOwn(request, abort, onLate)
    },

    close: () => http.close(),
  }
}

/** What the expressions of a request may ask about. */
function valuesOf({ sagaId, definition, step, direction, attempt, ...request }: AttemptRequest): Values {
  const { input, context, result = null, failure } = request
  const saga = {
    id: sagaId,
    definition: definition.name,
    version: definition.version,
    step,
    direction,
    attempt,
  }
  if (direction === 'action') return { input, context, saga }
  return {
    input,
    context,
    saga,
    result,
    failure: { step: failure?.step ?? null, reason: failure?.reason ?? '' },
  }
}

const STILL_RUNNING: AttemptEnd = {
  outcome: 'failed',
  error: {
    code: 'ACTION_STILL_RUNNING',
    message:
      "an attempt of this step's action is past its time-out and its handler is still running in this worker: it ignores its AbortSignal",
  },
}

const CALLED_OFF: AttemptEnd = {
  outcome: 'failed',
  error: { code: 'ABORTED', message: 'the attempt was called off before it had begun' },
}

function zombieKey({ sagaId, step }: AttemptRequest): string {
  return `${sagaId} ${step}`
}

/** False after the time-out. True as soon as it has ended, or the attempt is called off. */
function endsInTime(promise: Promise<unknown>, { timeoutMs, signal }: AttemptRequest): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(true)
  return new Promise((resolve) => {
    const over = (inTime: boolean) => {
      stopTimer()
      signal.removeEventListener('abort', onAbort)
      resolve(inTime)
    }
    const onAbort = () => over(true)
    const stopTimer = startTimer(timeoutMs, () => over(false))
    signal.addEventListener('abort', onAbort)
    void promise.then(() => over(true))
  })
}
