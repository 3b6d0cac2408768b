import { randomFillSync } from 'node:crypto'
import {
  type Act,
  type AttemptId,
  contextOf,
  editedInput,
  generationOf,
  hasSpilled,
  type Json,
  type SagaState,
  type Spilled,
  valueIn,
} from '@backstitch/core'
import type { AttemptRequest } from './attempt.ts'

/** What makes the token and the address of a callback, for steps that end by one (M3). */
export type CallbackMaker = (sagaId: string, id: AttemptId, generation: number) => AttemptRequest['callback']

/**
 * What a participant is told. One that undoes a completed saga is told that saga's id and keys (M5). `mayRepeat`: this very
 * attempt may have been begun before, by a worker that has said nothing of it.
 */
export function attemptRequest(
  state: SagaState,
  spilled: Spilled,
  id: AttemptId,
  act: Act,
  signal: AbortSignal,
  callbackOf: CallbackMaker,
  mayRepeat = false,
): AttemptRequest {
  const back = id.direction === 'compensation'
  const sagaId = state.undoOf ?? state.sagaId
  const edited = editedInput(state, spilled, id)
  const isHandler = act.call.type === 'handler'
  // One shape for all, without spreads or accessors: made for every attempt, it was a tenth of what a step allocates.
  const request: AttemptRequest = {
    sagaId,
    definition: deepFreeze(state.definition),
    step: id.step,
    direction: id.direction,
    attempt: id.attempt,
    idempotencyKey: idempotencyKey(state, sagaId, id),
    correlationId: state.correlationId,
    traceparent: traceparent(state),
    input: deepFreeze(
      isHandler && edited !== undefined ? edited.input : (valueIn(state, spilled, 'input') ?? null),
    ),
    context: deepFreeze(state.context),
    result: back ? deepFreeze(valueIn(state, spilled, id.step)) : undefined,
    failure: back ? { step: state.failedStep, reason: state.failureReason ?? '' } : undefined,
    timeoutMs: act.timeoutMs,
    callback:
      act.callbackMs === undefined ? undefined : callbackOf(state.sagaId, id, generationOf(state, id)),
    edited: isHandler ? undefined : edited,
    doubt: doubtOf(state, sagaId, id, mayRepeat),
    signal,
  }
  if (hasSpilled(state)) completeWhenAsked(request, state, spilled)
  // Its time-out and its keys are read again while the participant has it.
  return Object.freeze(request)
}

/**
 * What does not stand in the state is put together when it is first asked for: it grows with every step, and many handlers
 * never look at it.
 */
function completeWhenAsked(request: AttemptRequest, state: SagaState, spilled: Spilled): void {
  let context: Readonly<Record<string, Json>> | undefined
  Object.defineProperty(request, 'context', {
    enumerable: true,
    get() {
      context ??= deepFreeze(contextOf(state, spilled).context)
      return context
    },
  })
}

/**
 * A participant in this process is given the state's own values: what it changed in them would be persisted though no history
 * entry says so. Each value is frozen once, and from then on costs one look.
 */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const part of Object.values(value)) deepFreeze(part)
  return value
}

/** Which actions are uncertain stands in the state; of a compensation only that none before it can have been made. */
function doubtOf(
  state: SagaState,
  sagaId: string,
  id: AttemptId,
  mayRepeat: boolean,
): NonNullable<AttemptRequest['doubt']> {
  const isUncertain = state.uncertainSteps.includes(id.step)
  if (id.direction === 'action') return { own: isUncertain, action: undefined }
  const action = { idempotencyKey: idempotencyKey(state, sagaId, { ...id, direction: 'action' }) }
  return { own: id.attempt > 1 || mayRepeat, action: isUncertain ? action : undefined }
}

/** S2: the same for every attempt of one step in one direction, over retries, workers and restarts; S30a: of one input. */
function idempotencyKey(state: SagaState, sagaId: string, id: AttemptId): string {
  return `${sagaId}:${id.step}:${id.direction}:${generationOf(state, id)}`
}

/** W3C: the trace is the caller's if the start brought one, else the saga's own id is; every attempt is a span of its own. */
function traceparent(state: SagaState): string {
  const trace = state.traceparent?.split('-')[1] ?? state.sagaId.replaceAll('-', '')
  return `00-${trace}-${spanId()}-01`
}

const pool = Buffer.allocUnsafe(8 * 512)
let used = pool.length

function spanId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += 8
  return pool.toString('hex', used - 8, used)
}
