import { type BulkVerb, hasEnded, isTerminal, PAST_PIVOT, Problem, refusal } from '@backstitch/core'
import type { BulkTools, Judged, Posted } from '@backstitch/store'
import { noSuchSaga } from './parameters.ts'

/** One verb on one saga of many (S30): decided on the saga as it stands when its turn comes. */

export type Operation = { verb: BulkVerb; step?: string | undefined; reason: string; actor: string }

/** How often the saga may move between being read and being written to. */
const TRIES = 5

/** Why the verb is not possible, by the same rules as the worker will apply; undefined if it is. */
export function whyNot(saga: Judged, { verb, step }: Pick<Operation, 'verb' | 'step'>): string | undefined {
  if (isTerminal(saga.status)) return hasEnded(saga)
  if (verb === 'abandon') return undefined
  if (verb === 'cancel') return saga.pastPivot ? PAST_PIVOT : undefined
  if (saga.state === undefined) return 'its state cannot be read; it can only be cancelled or abandoned'
  return refusal(saga.state, { verb, step }, saga.version)
}

/** Does it, or throws the `Problem` that says why not. Answers with the queue whose workers are to hear of it. */
export async function operate(
  sagaId: string,
  { verb, step, reason, actor }: Operation,
  { mailbox, read }: BulkTools,
): Promise<string> {
  let posted: Posted | undefined
  for (let tried = 1; tried <= TRIES; tried++) {
    const saga = await read()
    if (saga === undefined) throw noSuchSaga(sagaId)
    const why = whyNot(saga, { verb, step })
    if (why !== undefined) throw new Problem('VERB_NOT_POSSIBLE', why, { sagaStatus: saga.status })
    const { version } = saga
    if (verb === 'abandon') posted = await mailbox.abandon(sagaId, { actor, reason })
    else if (verb === 'cancel')
      posted = await mailbox.post(sagaId, { kind: 'cancel', actor, reason }, { beforePivot: true })
    else {
      // Of one that moves, what no longer holds when this is read is refused there.
      const isForStuck = saga.status === 'stuck'
      const letter = {
        kind: 'verb',
        verb,
        actor,
        reason,
        step,
        ...(isForStuck && { decidedOn: version }),
      } as const
      posted = await mailbox.post(sagaId, letter, isForStuck ? { status: 'stuck', version } : {})
    }
    if (posted.is === 'posted') return posted.queue
  }
  const now = posted !== undefined && 'status' in posted ? posted.status : 'gone'
  throw new Problem(
    'VERB_NOT_POSSIBLE',
    `the saga moves faster than it can be written to; it is ${now} now: read it and decide again`,
  )
}
