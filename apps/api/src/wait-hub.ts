import { tooMuch } from './plugins/overload.ts'

/**
 * All that wait for a saga ask together: one statement answers for every saga whose turn it is, and one at a time.
 *
 * 1. A young wait asks every millisecond or two, an old one every tenth of a second: how late the news is stays in
 *    proportion to how long it took (`LATENESS`).
 * 2. Asking never takes more than half of the time: a database that answers slowly is asked less often.
 * 3. Whoever gives up, by time-out or because the caller went away, is forgotten at once.
 */
export type WaitHub<Found> = {
  /**
   * Resolves to what was found when the saga had ended or needed a person, and to undefined when that was only told,
   * when time is up, the caller has gone or the hub is closed. Throws a `Problem` when too many are waiting.
   */
  wait(sagaId: string, timeoutMs: number, signal?: AbortSignal): Promise<Found | undefined>
  /** This saga has just ended, or needs a person: whoever waits for it may read it. */
  tell(sagaId: string): void
  readonly waiting: number
  /** Everybody is answered now, and whoever comes later at once. */
  close(): void
}

type Waiter<Found> = {
  sagaId: string
  since: number
  askAt: number
  settle: (found: Found | undefined) => void
}

const LATENESS = 0.15
const SHORTEST_MS = 1
const LONGEST_MS = 100
const TOLD_MS = 50
/** Waits that are older than a few of these ask together. */
const GRAIN_MS = 20
const AFTER_FAILURE_MS = 250
/** Sagas in one question. */
const MAX_ASKED = 1_000

export function createWaitHub<Found>(options: {
  /** Those of these that have ended, or need a person, by id. */
  resting: (sagaIds: readonly string[]) => Promise<ReadonlyMap<string, Found>>
  maxWaiters: number
  onRefused: () => void
  /** Most ends are told of by `tell`: nobody asks before a while has passed. */
  isTold?: boolean
}): WaitHub<Found> {
  const { resting, maxWaiters, onRefused } = options
  const firstAskMs = options.isTold === true ? TOLD_MS : SHORTEST_MS
  const waiters = new Set<Waiter<Found>>()
  const waitersOf = new Map<string, Set<Waiter<Found>>>()
  let timer: NodeJS.Timeout | undefined
  let timerAt = Number.POSITIVE_INFINITY
  let asking = false
  let notBefore = 0
  let closed = false

  /** Sees to it that somebody asks at `askAt`, or as soon after as is allowed. */
  function plan(askAt: number): void {
    const at = Math.max(askAt, notBefore)
    if (asking || at >= timerAt) return
    clearTimeout(timer)
    timerAt = at
    timer = setTimeout(() => void ask(), Math.max(0, at - performance.now()))
  }

  function forget(waiter: Waiter<Found>): void {
    waiters.delete(waiter)
    const others = waitersOf.get(waiter.sagaId)
    others?.delete(waiter)
    if (others?.size === 0) waitersOf.delete(waiter.sagaId)
  }

  async function ask(): Promise<void> {
    timerAt = Number.POSITIVE_INFINITY
    const began = performance.now()
    const due = new Set<Waiter<Found>>()
    const sagaIds = new Set<string>()
    for (const waiter of waiters) {
      if (waiter.askAt > began + SHORTEST_MS / 2) continue
      // The others keep their time and are asked about next; who has been asked about goes behind them.
      if (!sagaIds.has(waiter.sagaId) && sagaIds.size >= MAX_ASKED) continue
      sagaIds.add(waiter.sagaId)
      due.add(waiter)
    }
    asking = true
    let rest: ReadonlyMap<string, Found> = new Map()
    let pauseMs = AFTER_FAILURE_MS
    try {
      if (sagaIds.size > 0) rest = await resting([...sagaIds])
      pauseMs = performance.now() - began
    } catch {
      // The database is away: those who wait find out when they read the saga.
    }
    asking = false
    const now = performance.now()
    notBefore = now + pauseMs
    for (const waiter of due) {
      const found = rest.get(waiter.sagaId)
      if (found !== undefined) waiter.settle(found)
      else if (waiters.delete(waiter)) {
        waiter.askAt = nextAsk(now, waiter.since)
        waiters.add(waiter)
      }
    }
    let earliest = Number.POSITIVE_INFINITY
    for (const { askAt } of waiters) if (askAt < earliest) earliest = askAt
    if (earliest < Number.POSITIVE_INFINITY) plan(earliest)
  }

  return {
    async wait(sagaId, timeoutMs, signal) {
      if (closed || timeoutMs <= 0 || signal?.aborted === true) return undefined
      if (waiters.size >= maxWaiters) {
        onRefused()
        throw tooMuch('waiters')
      }
      return new Promise((resolve) => {
        const since = performance.now()
        const giveUp = () => waiter.settle(undefined)
        const timeout = setTimeout(giveUp, timeoutMs)
        const waiter: Waiter<Found> = {
          sagaId,
          since,
          askAt: since + firstAskMs,
          settle(found) {
            clearTimeout(timeout)
            signal?.removeEventListener('abort', giveUp)
            forget(waiter)
            resolve(found)
          },
        }
        signal?.addEventListener('abort', giveUp)
        waiters.add(waiter)
        const others = waitersOf.get(sagaId)
        if (others === undefined) waitersOf.set(sagaId, new Set([waiter]))
        else others.add(waiter)
        plan(waiter.askAt)
      })
    },
    tell(sagaId) {
      for (const waiter of waitersOf.get(sagaId) ?? []) waiter.settle(undefined)
    },
    get waiting() {
      return waiters.size
    },
    close() {
      closed = true
      clearTimeout(timer)
      for (const waiter of waiters) waiter.settle(undefined)
    },
  }
}

function nextAsk(now: number, since: number): number {
  const inMs = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, (now - since) * LATENESS))
  const at = now + inMs
  return inMs < GRAIN_MS ? at : Math.ceil(at / GRAIN_MS) * GRAIN_MS
}
