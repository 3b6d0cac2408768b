import {
  type Act,
  type AttemptId,
  CALLBACK_OVERDUE,
  entryOf,
  type HttpAction,
  handlerOf,
  type RequestTemplate,
  renderRequest,
  type SagaModule,
  servicesOf,
} from '@backstitch/core'
import { type Admission, FREE, type Permit } from './admission.ts'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { runHandler } from './handler.ts'
import type { Abilities, Missing } from './missing.ts'
import { CALLED_OFF, createAsk, hasProbes, withProbes } from './probing.ts'
import type { Services } from './services.ts'
import { startTimer } from './timer.ts'
import { valuesOf } from './values.ts'

/** Everything that can carry out an attempt: HTTP services, and the handlers this worker was given. */
export type Participants = {
  /** Can this worker carry it out at all (S20), and now (S37)? */
  admit(definition: string, id: AttemptId, act: Act): Admission
  /**
   * Never rejects; undefined if it was not made after all. `abort` fires the request's signal. `onLate` hears of a result
   * that came after the attempt had ended (S4). `mayBegin` is asked when its turn has come: the saga may have been paused while it
   * waited for that (S30c).
   */
  run(
    act: Act,
    request: AttemptRequest,
    permit: Permit,
    abort: () => void,
    onLate: (end: AttemptEnd) => void,
    mayBegin: () => boolean,
  ): Promise<AttemptEnd | undefined>
  /** Which handlers there are, by definition. */
  readonly handlers: Readonly<Record<string, readonly string[]>>
  close(): Promise<void>
}

export type ParticipantsParts = { sagas: readonly SagaModule[]; services: Services; missing: Missing }

export function createParticipants({ sagas, services, missing }: ParticipantsParts): Participants {
  const modules = new Map(sagas.map((saga) => [saga.definition.name, saga]))
  const ask = createAsk(services)
  /** Handlers that still run although their attempt has ended, by saga and step. */
  const zombies = new Map<string, Promise<unknown>>()

  function handlerFor(definition: string, { step, direction }: AttemptId) {
    const saga = modules.get(definition)
    return saga && handlerOf(saga, step, direction)
  }

  /** `permit` is given back with the service's own answer. */
  async function callHttp(
    action: HttpAction,
    template: RequestTemplate | undefined,
    request: AttemptRequest,
    answered: (end: AttemptEnd) => void,
  ): Promise<AttemptEnd> {
    const service = services.of(action)
    if (service === undefined) throw new Error(`no service "${action.service}": admit must be asked first`)
    const { edited } = request
    // An edited body takes the place of one that may be the very thing that could not be written.
    const sent = edited === undefined || template === undefined ? template : { ...template, body: undefined }
    const rendered = sent && renderRequest(sent, valuesOf(request))
    if (rendered?.ok === false) {
      // Nothing was sent, and no retry would make it another request.
      const message = `at ${rendered.pointer}: ${rendered.detail}`
      return { outcome: 'rejected', error: { code: 'EXPRESSION_FAILED', message } }
    }
    const { headers, body: written, ...target } = { ...action, ...rendered?.value }
    // A step that writes no body is sent one that holds the input.
    const body = edited === undefined || action.body === undefined ? written : edited.input
    const given = edited === undefined ? request : { ...request, input: edited.input }
    const call = {
      method: action.method,
      url: service.urlOf(target),
      ...(headers !== undefined && { headers }),
      ...(body !== undefined && { body }),
    }
    const end = await service.caller.call(call, given, { identity: service.identity })
    answered(end)
    return end
  }

  function runOwn(
    request: AttemptRequest,
    abort: () => void,
    onLate: (end: AttemptEnd) => void,
  ): Promise<AttemptEnd> {
    const handler = handlerFor(request.definition.name, request)
    if (handler === undefined)
      throw new Error(`no handler for step "${request.step}": admit must be asked first`)
    const onLeft = (running: Promise<unknown>) => {
      if (request.direction === 'action') watch(zombieKey(request), running)
    }
    return runHandler(handler, request, { abort, onLate, onLeft })
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
      const { call } = act
      if (call.type !== 'http' && handlerFor(definition, id) === undefined) {
        const has = ({ handlers }: Abilities) => entryOf(handlers, definition)?.includes(id.step) === true
        return { is: 'notHere', delayMs: () => missing.delayMs(`handler ${definition}.${id.step}`, has) }
      }
      for (const service of servicesOf(act)) {
        if (services.of({ service }) !== undefined) continue
        const knows = (other: Abilities) => entryOf(other.services, service)?.named === true
        return { is: 'notHere', delayMs: () => missing.delayMs(`service ${service}`, knows) }
      }
      if (call.type !== 'http') return { is: 'now', permit: FREE }
      return services.of(call)?.admit(id.direction) ?? { is: 'now', permit: FREE }
    },

    async run(act, request, permit, abort, onLate, mayBegin) {
      let answer: AttemptEnd | undefined
      try {
        if (permit !== FREE && !(await permit.turn(request.signal))) return undefined
        const zombie = request.direction === 'compensation' ? zombies.get(zombieKey(request)) : undefined
        // S13: undoing what is still being done would leave it done.
        if (zombie !== undefined && !(await endsInTime(zombie, request))) return STILL_RUNNING
        // Called off while it waited: the saga may be another worker's by now (S16).
        if (request.signal.aborted) return CALLED_OFF
        if (!mayBegin()) return undefined
        if (request.overdue) {
          const nothingElse = { ...request, doubt: { own: false, action: undefined } }
          return await withProbes(act, nothingElse, ask, () => Promise.resolve(CALLBACK_OVERDUE))
        }
        const begunMs = performance.now()
        const make = (given: AttemptRequest) =>
          act.call.type === 'http'
            ? callHttp(act.call, act.request, given, (end) => {
                answer = end
              })
            : runOwn(given, abort, onLate)
        const end = await (hasProbes(act) ? withProbes(act, request, ask, make) : make(request))
        return { ...end, tookMs: Math.max(0, Math.round(performance.now() - begunMs)) }
      } finally {
        permit.done(answer)
      }
    },

    close: () => services.close(),
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
