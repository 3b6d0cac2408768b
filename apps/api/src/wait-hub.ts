import { tooMuch } from './plugins/overload.ts'

/**
 * All that wait for a saga ask together: one statement answers for every saga whose turn it is, and one at a time.
 *
 * 1. A young wait asks every millisecond or two, an old one every tenth of a second: how late the news is stays in
 *    proportion to how long it took (`LATENESS`). Where hints arrive the asking begins later.
 * 2. Asking never takes more than half of the time: a database that answers slowly is asked less often, whatever is hinted.
 * 3. Whoever gives up, by time-out or because the caller went away, is forgotten at once.
 * 4. A hint brings forward the turn of a saga and nothing else: none that is false, late or lost changes an answer.
 */
export type WaitHub<Found> = {
  /**
   * Resolves to what was found when the saga had ended or needed a person, and to undefined when time is up, the caller has
   * gone or the hub is closed. Throws a `Problem` when too many are waiting.
   */
  wait(
    sagaId: string,
    timeoutMs: number,
    signal?: AbortSignal,
    how?: {
      /** It may have ended already, or need a person, with nobody left to tell of it. */
      isOld?: boolean
    },
  ): Promise<Found | undefined>
  /** These have just ended, or need a person: so says a worker of this process, or another process. */
  hint(sagaIds: readonly string[]): void
  readonly waiting: number
  /** Everybody is answered now, and whoever comes later at once. */
  close(): void
}

type Waiter<Found> = {
  sagaId: string
  since: number
  askAt: number
  /** Others know that it is waited for. */
  isExpected: boolean
  hintedAt: number
  settle: (found: Found | undefined) => void
}

const LATENESS = 0.15
const SHORTEST_MS = 1
const LONGEST_MS = 100
const TOLD_MS = 50
/** Waits that are older than a few of these ask together. */
const GRAIN_MS = 20
const AFTER_FAILURE_MS = 250
const NEVER = Number.NEGATIVE_INFINITY
/** Sagas in one question. */
const MAX_ASKED = 1_000

export function createWaitHub<Found>(options: {
  /** Those of these that have ended, or need a person, by id. */
  resting: (sagaIds: readonly string[]) => Promise<ReadonlyMap<string, Found>>
  maxWaiters: number
  onRefused: () => void
  /** A worker of this process hints at most ends: nobody asks, or tells others that somebody waits, before a while has passed. */
  isTold?: boolean
  /** Tells others that this saga is waited for, so that they may `hint`. False: they could not. */
  expect?: (sagaId: string) => boolean
}): WaitHub<Found> {
  const { resting, maxWaiters, onRefused, isTold = false, expect = () => false } = options
  const waiters = new Set<Waiter<Found>>()
  const waitersOf = new Map<string, Set<Waiter<Found>>>()
  let timer: NodeJS.Timeout | undefined
  let timerAt = Number.POSITIVE_INFINITY
  let asking = false
  let isSoon = false
  let notBefore = 0
  /** Since the last rest that no hint came for. */
  let hintsArrive = false
  let closed = false

  /** Sees to it that somebody asks at `askAt`, or as soon after as is allowed. */
  function plan(askAt: number): void {
    const at = Math.max(askAt, notBefore)
    if (asking || at >= timerAt) return
    clearTimeout(timer)
    timerAt = at
    timer = setTimeout(() => void ask(), Math.max(0, at - performance.now()))
  }

  /** In this turn of the event loop, with all the hints that come in it, or as soon after as is allowed. */
  function soon(): void {
    if (asking || isSoon) return
    isSoon = true
    setImmediate(() => {
      isSoon = false
      if (performance.now() < notBefore) plan(notBefore)
      else if (!asking) void ask()
    })
  }

  function forget(waiter: Waiter<Found>): void {
    waiters.delete(waiter)
    const others = waitersOf.get(waiter.sagaId)
    others?.delete(waiter)
    if (others?.size === 0) waitersOf.delete(waiter.sagaId)
  }

  async function ask(): Promise<void> {
    clearTimeout(timer)
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
      // Whoever is told of already need not be told of once more.
      if (waiter.hintedAt === NEVER) waiter.isExpected ||= expect(waiter.sagaId)
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
      const { sagaId, since, hintedAt } = waiter
      const found = rest.get(sagaId)
      if (found !== undefined) {
        if (hintedAt === NEVER && began - since >= TOLD_MS) hintsArrive = false
        waiter.settle(found)
      } else if (waiters.delete(waiter)) {
        // What was hinted meanwhile the question may have been too early for.
        const isHinted = hintedAt > began
        if (!isHinted) waiter.hintedAt = NEVER
        waiter.askAt = isHinted ? now : nextAsk(now, since, isToldOf(waiter) ? TOLD_MS : 0)
        waiters.add(waiter)
      }
    }
    let earliest = Number.POSITIVE_INFINITY
    for (const { askAt } of waiters) if (askAt < earliest) earliest = askAt
    if (earliest < Number.POSITIVE_INFINITY) plan(earliest)
  }

  function isToldOf({ isExpected }: Waiter<Found>): boolean {
    return isTold || (isExpected && hintsArrive)
  }

  return {
    async wait(sagaId, timeoutMs, signal, { isOld = false } = {}) {
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
          askAt: since + SHORTEST_MS,
          isExpected: !isTold && expect(sagaId),
          hintedAt: NEVER,
          settle(found) {
            clearTimeout(timeout)
            signal?.removeEventListener('abort', giveUp)
            forget(waiter)
            resolve(found)
          },
        }
        if (!isOld && isToldOf(waiter)) waiter.askAt = since + TOLD_MS
        signal?.addEventListener('abort', giveUp)
        waiters.add(waiter)
        const others = waitersOf.get(sagaId)
        if (others === undefined) waitersOf.set(sagaId, new Set([waiter]))
        else others.add(waiter)
        plan(waiter.askAt)
      })
    },
    hint(sagaIds) {
      if (sagaIds.length > 0) hintsArrive = true
      const now = performance.now()
      let isWaitedFor = false
      for (const sagaId of sagaIds) {
        for (const waiter of waitersOf.get(sagaId) ?? []) {
          isWaitedFor = true
          waiter.hintedAt = waiter.askAt = now
        }
      }
      if (isWaitedFor) soon()
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

function nextAsk(now: number, since: number, notBeforeMs: number): number {
  const ageMs = now - since
  const inMs = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, ageMs * LATENESS, notBeforeMs - ageMs))
  const at = now + inMs
  return inMs < GRAIN_MS ? at : Math.ceil(at / GRAIN_MS) * GRAIN_MS
}
