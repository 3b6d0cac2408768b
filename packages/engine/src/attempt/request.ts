import { randomFillSync } from 'node:crypto'
import { type Act, type AttemptId, entryOf, type Json, type SagaState } from '@backstitch/core'
import type { AttemptRequest } from './attempt.ts'

/**
 * What a participant is told. `spilled` holds the values that do not stand in the state itself (S33). `mayRepeat`: this very
 * attempt may have been begun before, by a worker that has said nothing of it.
 */
export function attemptRequest(
  state: SagaState,
  spilled: ReadonlyMap<string, Json>,
  id: AttemptId,
  act: Act,
  signal: AbortSignal,
  mayRepeat = false,
): AttemptRequest {
  const context: Record<string, Json> = { ...state.context, ...Object.fromEntries(spilled) }
  const back = id.direction === 'compensation'
  return {
    sagaId: state.sagaId,
    definition: state.definition,
    ...id,
    idempotencyKey: idempotencyKey(state.sagaId, id),
    correlationId: state.correlationId,
    traceparent: traceparent(state),
    input: entryOf(context, 'input') ?? null,
    context,
    result: back ? entryOf(context, id.step) : undefined,
    failure: back ? { step: state.failedStep, reason: state.failureReason ?? '' } : undefined,
    timeoutMs: act.timeoutMs,
    doubt: doubtOf(state, id, mayRepeat),
    signal,
  }
}

/** Which actions are uncertain stands in the state; of a compensation only that none before it can have been made. */
function doubtOf(state: SagaState, id: AttemptId, mayRepeat: boolean): NonNullable<AttemptRequest['doubt']> {
  const isUncertain = state.uncertainSteps.includes(id.step)
  if (id.direction === 'action') return { own: isUncertain, action: undefined }
  const action = { idempotencyKey: idempotencyKey(state.sagaId, { ...id, direction: 'action' }) }
  return { own: id.attempt > 1 || mayRepeat, action: isUncertain ? action : undefined }
}

/** The generation is raised when an operator changes a step's input, since the old key would bring the old answer (S30a). */
const GENERATION = 1

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
