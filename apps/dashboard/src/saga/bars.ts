import type { AttemptView } from '@backstitch/core'

/** One attempt on the axis of time, in milliseconds since the epoch. */
export type Bar = {
  key: string
  view: AttemptView
  /** When the attempt before it ended, if it had to back off. */
  backOffFrom: number | undefined
  scheduledAt: number
  startedAt: number
  endedAt: number | undefined
  /** Nobody knows when it began: it is drawn from when it could. */
  isExact: boolean
}

export function barsOf(attempts: readonly AttemptView[]): Bar[] {
  const earlier = new Map<string, AttemptView>()
  const seen = new Map<string, number>()
  return attempts.map((view) => {
    const way = `${view.direction} ${view.step}`
    const before = earlier.get(way)
    earlier.set(way, view)
    const endedAt = view.endedAt === undefined ? undefined : Date.parse(view.endedAt)
    const scheduledAt = Date.parse(view.scheduledAt ?? view.startedAt ?? view.endedAt ?? '')
    const startedAt = view.startedAt === undefined ? scheduledAt : Date.parse(view.startedAt)
    const hasBackedOff = before?.nextAt !== undefined && before.endedAt !== undefined
    const place = `${view.seq ?? 'open'} ${way} ${view.attempt}`
    const nth = seen.get(place) ?? 0
    seen.set(place, nth + 1)
    return {
      key: `${place} ${nth}`,
      view,
      backOffFrom: hasBackedOff ? Math.min(Date.parse(before.endedAt ?? ''), scheduledAt) : undefined,
      scheduledAt,
      startedAt,
      endedAt,
      isExact: view.startedAt !== undefined || view.seq === undefined,
    }
  })
}

/** Where the time went. A wait for others is neither work nor queue. */
export function sumsOf(bars: readonly Bar[]) {
  let [atWorkMs, queuedMs, backOffMs] = [0, 0, 0]
  for (const { view, backOffFrom, scheduledAt } of bars) {
    if (view.waiting === undefined && view.by === undefined) atWorkMs += view.tookMs ?? 0
    queuedMs += view.queuedMs ?? 0
    if (backOffFrom !== undefined) backOffMs += scheduledAt - backOffFrom
  }
  return { count: bars.length, atWorkMs, queuedMs, backOffMs }
}
