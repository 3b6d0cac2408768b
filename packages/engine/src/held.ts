import {
  type AttemptId,
  type Direction,
  entryOf,
  isAwaited,
  type Json,
  type ResolvedDefinition,
  type SagaState,
} from '@backstitch/core'
import type { Lease } from '@backstitch/store'
import type { AttemptEnd } from './attempt/attempt.ts'

/** What there is to hear while a saga is held. */
export type News =
  | { is: 'ended'; id: AttemptId; end: AttemptEnd }
  /** It was admitted, and then not made after all: nothing happened, and nothing is used up. */
  | { is: 'notMade'; id: AttemptId }
  | { is: 'late'; id: AttemptId; end: AttemptEnd }
  | { is: 'mail' }
  /** Something else has become due meanwhile. */
  | { is: 'due' }
  | { is: 'interrupt' }

/** A saga while it is held. */
export type Held = {
  readonly lease: Lease
  readonly definition: ResolvedDefinition
  version: number
  mailSeq: number
  mailSeen: number
  /** While something waits for mail to be read first: the last letter before it, if it came in one itself. */
  mailSettled: number | undefined
  /** And the steps that it is about: they have ended, whatever the mail makes of the saga. */
  endedFirst: string[]
  /** A cancel is among what waits: no letter after it may end the saga, or take it past its pivot. */
  cancelWaits: boolean
  state: SagaState
  /** Values that do not stand in the state itself. */
  spilled: Map<string, Json>
  /**
   * Attempts under way, by step: until their end has been committed. `begun`: it no longer waits for its turn. A question about
   * an overdue callback is one that never begins: if it is cut short, nothing of the participant's was.
   */
  underWay: Map<string, { id: AttemptId; controller: AbortController; begun: boolean }>
  news: News[]
  wake: (() => void) | undefined
  /** False once the row is no longer ours to write. */
  ours: boolean
  onProgress: (() => void) | undefined
  /** An attempt's end has been committed since it was claimed: what has been come to since was not dispatched before. */
  progressed: boolean
  /** As it was claimed: what was under way then may have been begun by whoever had it before. Not the state, which would live on. */
  readonly found: { readonly direction: Direction; readonly attempts: Readonly<Record<string, number>> }
}

/** May whoever had the saga before have begun this very attempt? */
export function mayRepeat({ progressed, found }: Held, { step, direction, attempt }: AttemptId): boolean {
  return !progressed || (found.direction === direction && entryOf(found.attempts, step) === attempt)
}

export function notify(saga: Held, one: News): void {
  saga.news.push(one)
  saga.wake?.()
}

/** The next thing there is to hear, or that there was nothing for so long. */
export async function nextNews(saga: Held, withinMs: number | undefined): Promise<News> {
  const alarm =
    withinMs === undefined ? undefined : setTimeout(() => notify(saga, { is: 'due' }), Math.max(1, withinMs))
  try {
    for (;;) {
      const first = saga.news.shift()
      if (first !== undefined) return first
      // Forsaken while it waited: there is nothing more to hear.
      if (!saga.ours) return { is: 'mail' }
      await new Promise<void>((resolve) => {
        saga.wake = resolve
      })
      saga.wake = undefined
    }
  } finally {
    clearTimeout(alarm)
  }
}

/** Is it this very attempt? One that was called off may still have its say when its step is being undone already. */
export function isUnderWay(saga: Held, id: AttemptId): boolean {
  return saga.underWay.get(id.step)?.id === id
}

/** Attempts that nobody waits for any more: their step was decided otherwise. */
export function callOff(saga: Held, ended: string | undefined): void {
  for (const { id, controller } of saga.underWay.values()) {
    if (id.step === ended || isAwaited(saga.state, id)) continue
    controller.abort()
    saga.underWay.delete(id.step)
  }
}

/** Aborts what is under way and forgets it: whatever it still answers is not listened to. */
export function abandonAttempts(saga: Held): void {
  for (const { controller } of saga.underWay.values()) controller.abort()
  saga.underWay.clear()
}
