import { randomFillSync } from 'node:crypto'
import {
  type Act,
  type AttemptId,
  contextOf,
  entryOf,
  GENERATION,
  type Json,
  type SagaState,
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
  spilled: ReadonlyMap<string, Json>,
  id: AttemptId,
  act: Act,
  signal: AbortSignal,
  callbackOf: CallbackMaker,
  mayRepeat = false,
): AttemptRequest {
  const { input, context } = contextOf(state, spilled)
  const back = id.direction === 'compensation'
  const sagaId = state.undoOf ?? state.sagaId
  return {
    sagaId,
    definition: state.definition,
    ...id,
    idempotencyKey: idempotencyKey(sagaId, id),
    correlationId: state.correlationId,
    traceparent: traceparent(state),
    input,
    context,
    result: back ? entryOf(context, id.step) : undefined,
    failure: back ? { step: state.failedStep, reason: state.failureReason ?? '' } : undefined,
    timeoutMs: act.timeoutMs,
    callback: act.callbackMs === undefined ? undefined : callbackOf(state.sagaId, id, GENERATION),
    doubt: doubtOf(state, sagaId, id, mayRepeat),
    signal,
  }
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
  const action = { idempotencyKey: idempotencyKey(sagaId, { ...id, direction: 'action' }) }
  return { own: id.attempt > 1 || mayRepeat, action: isUncertain ? action : undefined }
}

/** S2: the same for every attempt of one step in one direction, over retries, workers and restarts. */
function idempotencyKey(sagaId: string, { step, direction }: AttemptId): string {
  return `${sagaId}:${step}:${direction}:${GENERATION}`
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
