import { Problem, type SagaState, type Status } from '@backstitch/core'
import type { Letter, Posted } from '@backstitch/store'

/** How a letter gets to a saga that moves while it is looked at. */

/** How often it may move between being read and being written to before whoever asks has to decide again. */
const TRIES = 5

/** `attempt` decides on the saga as it stands, and posts: again, where what it decided on holds no more. */
export async function untilTaken(attempt: () => Promise<Posted>): Promise<Posted> {
  for (let tried = 1; ; tried++) {
    const posted = await attempt()
    if (posted.is !== 'refused' || tried === TRIES) return posted
  }
}

export function movesTooFast(status: Status | 'gone'): Problem {
  const detail = `the saga moves faster than it can be written to; it is ${status} now: read it and decide again`
  return new Problem('VERB_NOT_POSSIBLE', detail, status === 'gone' ? {} : { sagaStatus: status })
}

/**
 * The saga as it will stand when what lies in its mail has been read, which comes before whatever is posted now: where it
 * `refuses`, that may be for a pause, or for want of one, that nobody has read yet (S30c).
 */
export async function standing<S>(saga: {
  read(): Promise<S>
  refuses(seen: S): boolean
  unread(): Promise<Letter[]>
  after(seen: S, unread: readonly Letter[]): S
}): Promise<S> {
  const seen = await saga.read()
  if (!saga.refuses(seen)) return seen
  // First the mail: what is read meanwhile stands in the saga.
  const unread = await saga.unread()
  return saga.after(await saga.read(), unread)
}

type Paused = SagaState['paused']

/** Whether it will be paused when these have been read, which come before whatever is posted now (S30c). */
export function pausedAfter(paused: Paused, unread: readonly Letter[]): Paused {
  return unread.reduce((now: Paused, letter) => {
    if (letter.kind === 'cancel') return undefined
    if (letter.kind !== 'verb') return now
    if (letter.verb === 'resume') return undefined
    return letter.verb === 'pause' ? (now ?? { at: '', actor: letter.actor, reason: letter.reason }) : now
  }, paused)
}
