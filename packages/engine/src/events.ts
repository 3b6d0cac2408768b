import { type AttemptId, type Event, entryOf, type SagaState } from '@backstitch/core'
import type { Letter } from '@backstitch/store'
import type { AttemptEnd } from './attempt/attempt.ts'

/** What the rules are told: attempts that have ended, and letters that have come. */

export function eventOf(id: AttemptId, end: AttemptEnd): Event {
  const { step, direction, attempt } = id
  const { probes, tookMs } = end
  const probed = { ...(probes !== undefined && { probes }), ...(tookMs !== undefined && { tookMs }) }
  if (end.outcome === 'succeeded') {
    return {
      type: 'attemptSucceeded',
      step,
      direction,
      attempt,
      result: end.result,
      resultBytes: end.resultBytes,
      ...probed,
    }
  }
  if (end.outcome === 'pending') return { type: 'attemptPending', step, direction, attempt, ...probed }
  const { outcome, error, retryAfterMs } = end
  return { type: 'attemptFailed', step, direction, attempt, outcome, error, retryAfterMs, ...probed }
}

export function eventOfLetter(letter: Letter, seq: number, state: SagaState): Event {
  switch (letter.kind) {
    case 'signal': {
      const { signal, payload } = letter
      const payloadBytes = Buffer.byteLength(JSON.stringify(payload))
      return { type: 'signalReceived', signal, letter: seq, payload, payloadBytes }
    }
    case 'cancel':
      return { type: 'cancelRequested', actor: letter.actor, reason: letter.reason }
    case 'callback': {
      const { step, direction, end } = letter
      // It was awaited when it came; if it no longer is, no attempt has this number.
      const id = { step, direction, attempt: entryOf(state.attempts, step) ?? 0, by: 'callback' as const }
      if ('result' in end) {
        const resultBytes = Buffer.byteLength(JSON.stringify(end.result))
        return { type: 'attemptSucceeded', ...id, result: end.result, resultBytes }
      }
      const { retryable, ...error } = end.error
      return { type: 'attemptFailed', ...id, outcome: retryable ? 'failed' : 'rejected', error }
    }
    case 'childReport': {
      const { kind: _, ...report } = letter
      const resultBytes = report.result === undefined ? 4 : Buffer.byteLength(JSON.stringify(report.result))
      return { type: 'childReported', ...report, resultBytes }
    }
    case 'verb': {
      const { kind: _, ...facts } = letter
      return { type: 'verbRequested', ...facts }
    }
    case 'lateResult': {
      const { kind: _, ...facts } = letter
      return { type: 'lateResult', ...facts }
    }
  }
}
