import type { ServiceReport } from '@backstitch/store'
import type { Logger } from 'pino'

/**
 * How long a saga is put off whose step needs what this worker does not have: a handler, or a service (S20). The longer
 * nobody has it the longer it waits, whatever the number of sagas; as soon as another worker has it, hardly at all, so that
 * the other can take it.
 */
export type Missing = {
  /** @param need such as `handler order.charge`: one clock for all sagas that lack the same */
  delayMs(need: string, isElsewhere: (other: Abilities) => boolean): Promise<number>
}

/** What a live worker can do. */
export type Abilities = {
  handlers: Readonly<Record<string, readonly string[]>>
  services: ServiceReport
}

const FIRST_MS = 500
/** A worker that brings what was missing makes what was put off due at once (`store.session.offer`), up to this far ahead. */
export const MOST_MS = 30_000
/** Between two claims of a saga that another worker could run, at first and at most. */
const HANDOVER_MS = 100
const MOST_HANDOVER_MS = 1_000
/** What is known of the others is good for this long. */
const FRESH_MS = 200

type Clock = { delayMs: number; grownAt: number; elsewhereSince: number | undefined }

export function createMissing(parts: { others(): Promise<Abilities[]>; log: Logger }): Missing {
  const clocks = new Map<string, Clock>()
  let others: Abilities[] = []
  let asking: Promise<void> | undefined
  let askedAt = Number.NEGATIVE_INFINITY

  function lookAround(): Promise<void> {
    if (performance.now() - askedAt < FRESH_MS) return Promise.resolve()
    asking ??= parts
      .others()
      .then((found) => {
        others = found
        askedAt = performance.now()
      })
      // Nobody known is nobody: the wait only grows a little too soon.
      .catch(() => undefined)
      .finally(() => {
        asking = undefined
      })
    return asking
  }

  return {
    async delayMs(need, isElsewhere) {
      await lookAround()
      const now = performance.now()
      let clock = clocks.get(need)
      if (clock === undefined) {
        clock = { delayMs: FIRST_MS, grownAt: now, elsewhereSince: undefined }
        clocks.set(need, clock)
        parts.log.warn({ need }, 'this worker lacks what a saga needs; such sagas are left to others')
      }
      if (others.some(isElsewhere)) {
        clock.elsewhereSince ??= now
        clock.delayMs = FIRST_MS
        const handoverMs = (now - clock.elsewhereSince) / 10
        return Math.min(MOST_HANDOVER_MS, Math.max(HANDOVER_MS, handoverMs))
      }
      clock.elsewhereSince = undefined
      if (now - clock.grownAt >= clock.delayMs) {
        clock.grownAt = now
        if (clock.delayMs < MOST_MS) {
          clock.delayMs = Math.min(2 * clock.delayMs, MOST_MS)
          if (clock.delayMs === MOST_MS) parts.log.warn({ need }, 'no live worker has what sagas wait for')
        }
      }
      // Not all in one moment.
      return clock.delayMs * (0.75 + Math.random() / 4)
    },
  }
}
