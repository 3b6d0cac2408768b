/**
 * A circuit breaker that is asked before, not called through: an attempt it does not admit is not made, and its saga goes back to
 * its row (S37). It knows no saga and no service; time is handed in.
 *
 *   closed    all are admitted. Enough of the last calls bad → open
 *   open      none is, for `openMs`, twice as long after each vain trial → half-open when that is over
 *   halfOpen  a few trials at once. As many good ones → closed; one bad → open
 */
export type BreakerOptions = {
  /** The share of bad calls that opens it, from 0 to 1. */
  failureRatio: number
  /** Fewer calls prove nothing. */
  minCalls: number
  /** Older calls prove nothing either. */
  windowMs: number
  openMs: number
  maxOpenMs: number
  trials: number
}

export const DEFAULT_BREAKER: BreakerOptions = {
  failureRatio: 0.5,
  minCalls: 10,
  windowMs: 60_000,
  openMs: 5_000,
  maxOpenMs: 60_000,
  trials: 3,
}

/** How a call ended, as far as the service is to blame for it. `none`: it says nothing about the service. */
export type Verdict = 'good' | 'bad' | 'none'

export type BreakerState = 'closed' | 'open' | 'halfOpen'

export type Breaker = {
  state(now: number): BreakerState
  /** Milliseconds until it is worth asking again; undefined: now. */
  waitMs(now: number): number | undefined
  /** Takes one call in, which `waitMs` has allowed. What it answers is told the call's verdict. */
  enter(now: number): (verdict: Verdict, at: number) => void
}

/** More calls than these need not be remembered. */
const MAX_CALLS = 100

export function createBreaker(options: BreakerOptions): Breaker {
  const { failureRatio, minCalls, windowMs, trials } = options
  let calls: { at: number; bad: boolean }[] = []
  let openMs = options.openMs
  /** Since it opened: none is admitted before this. */
  let opensAt: number | undefined
  let underTrial = 0
  let good = 0
  /** Raised by each change, so that a call from before it counts no more. */
  let era = 0

  function open(now: number): void {
    era++
    opensAt = now + openMs
    openMs = Math.min(2 * openMs, options.maxOpenMs)
    underTrial = 0
    good = 0
    calls = []
  }

  function close(): void {
    era++
    opensAt = undefined
    openMs = options.openMs
    underTrial = 0
    good = 0
  }

  function settleClosed(verdict: Verdict, now: number): void {
    calls.push({ at: now, bad: verdict === 'bad' })
    calls = calls.filter(({ at }) => now - at < windowMs).slice(-MAX_CALLS)
    const bad = calls.filter((call) => call.bad).length
    if (verdict === 'bad' && calls.length >= minCalls && bad / calls.length >= failureRatio) open(now)
  }

  function settleTrial(verdict: Verdict, now: number): void {
    underTrial--
    if (verdict === 'bad') open(now)
    else if (verdict === 'good' && ++good >= trials) close()
  }

  function state(now: number): BreakerState {
    if (opensAt === undefined) return 'closed'
    return now < opensAt ? 'open' : 'halfOpen'
  }

  return {
    state,

    waitMs(now) {
      if (opensAt === undefined) return undefined
      if (now < opensAt) return opensAt - now
      return underTrial < trials ? undefined : options.openMs
    },

    enter(now) {
      const entered = era
      const isTrial = state(now) === 'halfOpen'
      if (isTrial) underTrial++
      return (verdict, at) => {
        if (entered !== era) return
        if (isTrial) settleTrial(verdict, at)
        else if (verdict !== 'none') settleClosed(verdict, at)
      }
    },
  }
}
