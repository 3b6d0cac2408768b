import { type BulkVerb, hasEnded, isTerminal, PAST_PIVOT, Problem, refusal } from '@backstitch/core'
import type { BulkTools, Judged } from '@backstitch/store'
import { noSuchSaga } from './parameters.ts'
import { movesTooFast, pausedAfter, standing, untilTaken } from './posting.ts'

/** One verb on one saga of many (S30): decided on the saga as it stands when its turn comes. */

export type Operation = { verb: BulkVerb; step?: string | undefined; reason: string; actor: string }

/** These are about a pause, or the want of one, that may still be in the mail. */
const PAUSING: ReadonlySet<BulkVerb> = new Set(['pause', 'resume', 'runNow'])

/** Why the verb is not possible, by the same rules as the worker will apply; undefined if it is. */
export function whyNot(saga: Judged, { verb, step }: Pick<Operation, 'verb' | 'step'>): string | undefined {
  if (isTerminal(saga.status)) return hasEnded(saga)
  if (verb === 'abandon') return undefined
  if (verb === 'cancel') return saga.pastPivot ? PAST_PIVOT : undefined
  if (saga.state === undefined) {
    // A worker may be able to by now; it is looked at as it is.
    const isLookedAtAgain = verb === 'retry' && step === undefined && saga.status === 'stuck'
    return isLookedAtAgain
      ? undefined
      : 'its state cannot be read; it can be cancelled or abandoned, and retried as it is where it is stuck'
  }
  return refusal(saga.state, { verb, step }, saga.version)
}

/** Does it, or throws the `Problem` that says why not. Answers with the queue whose workers are to hear of it. */
export async function operate(
  sagaId: string,
  { verb, step, reason, actor }: Operation,
  { mailbox, read }: BulkTools,
): Promise<string> {
  const posted = await untilTaken(async () => {
    const saga = await standing({
      read: async () => {
        const found = await read()
        if (found === undefined) throw noSuchSaga(sagaId)
        return found
      },
      refuses: (seen) => PAUSING.has(verb) && whyNot(seen, { verb, step }) !== undefined,
      unread: () => mailbox.unread(sagaId),
      after: ({ state, ...seen }, unread) => ({
        ...seen,
        state: state && { ...state, paused: pausedAfter(state.paused, unread) },
      }),
    })
    const why = whyNot(saga, { verb, step })
    if (why !== undefined) throw new Problem('VERB_NOT_POSSIBLE', why, { sagaStatus: saga.status })
    if (verb === 'abandon') return mailbox.abandon(sagaId, { actor, reason })
    if (verb === 'cancel')
      return mailbox.post(sagaId, { kind: 'cancel', actor, reason }, { beforePivot: true })
    const { version, status } = saga
    const letter = { kind: 'verb', verb, actor, reason, step } as const
    // Of one that moves, what no longer holds when this is read is refused there.
    if (status !== 'stuck') return mailbox.post(sagaId, letter)
    return mailbox.post(sagaId, { ...letter, decidedOn: version }, { status, version })
  })
  if (posted.is === 'posted') return posted.queue
  throw movesTooFast('status' in posted ? posted.status : 'gone')
}
