import type { Direction } from '@backstitch/core'
import type { Admission, Permit } from './admission.ts'
import type { AttemptEnd } from './attempt.ts'
import { type BreakerOptions, type BreakerState, createBreaker, type Verdict } from './breaker.ts'

/**
 * The way to one service, shared by every saga of a worker (S37): so many calls at once, a few waiting for their turn,
 * compensations first, and a breaker before all.
 *
 * 1. What is not admitted is not made: no attempt is used up and nothing is sent.
 * 2. What waits takes up room in the worker. So only that waits whose turn, at the present pace, comes in a moment: at a
 *    quick service many, at a slow one few, at one that hangs soon nobody, and while the breaker is open nobody at all.
 * 3. What does not fit gets an appointment: when the service, at its present pace, will have come to it.
 */
export type Gate = {
  admit(direction: Direction): Extract<Admission, { is: 'now' | 'later' }>
  state(): GateState
}

export type GateState = {
  breaker: BreakerState
  inFlight: number
  waiting: number
  limit: number
  lastError: string | undefined
}

export type GateOptions = {
  /** Calls at once. */
  limit: number
  /** Who would wait for longer is put off; who has waited for twice as long is, too. */
  maxWaitMs: number
  /** Undefined: it is always closed. */
  breaker: BreakerOptions | undefined
  /** Milliseconds, monotonic. */
  now?: () => number
}

const MIN_APPOINTMENT_MS = 100
const MAX_APPOINTMENT_MS = 30_000
/** A service that asks for peace is given it, up to this long. */
const MAX_PEACE_MS = 30_000
/** Of how long a call takes, until one has shown it. */
const ASSUMED_CALL_MS = 100

type Waiter = { direction: Direction; resolve(turn: boolean): void }

export function createGate(options: GateOptions): Gate {
  const { limit, maxWaitMs, now = () => performance.now() } = options
  const breaker = createBreaker(options.breaker ?? ALWAYS_CLOSED)
  /** When each call under way began, the oldest first. */
  const inFlight = new Map<Permit, number>()
  const waiting: Record<Direction, Waiter[]> = { compensation: [], action: [] }
  let callMs = ASSUMED_CALL_MS
  let appointedAt = 0
  let peaceUntil = 0
  let lastError: string | undefined

  const waitingCount = () => waiting.action.length + waiting.compensation.length

  /** Why nothing is to be called now, in milliseconds. */
  function closedForMs(at: number): number | undefined {
    if (at < peaceUntil) return peaceUntil - at
    return breaker.waitMs(at)
  }

  /** How long until the next one's turn, one after the other: what hangs is as slow as it has shown. */
  function paceMs(at: number): number {
    const [oldest = at] = inFlight.values()
    return Math.max(callMs, at - oldest) / limit
  }

  function hasRoom(at: number): boolean {
    return inFlight.size < limit || (waitingCount() + 1) * paceMs(at) <= maxWaitMs
  }

  function appointment(at: number): number {
    appointedAt = Math.min(Math.max(appointedAt, at) + paceMs(at), at + MAX_APPOINTMENT_MS)
    return Math.max(MIN_APPOINTMENT_MS, appointedAt - at)
  }

  /** Sends everybody back who waits in vain, or lets in whom there is room for. */
  function advance(): void {
    for (;;) {
      const isClosed = closedForMs(now()) !== undefined
      if (!isClosed && inFlight.size >= limit) return
      const waiter = waiting.compensation.shift() ?? waiting.action.shift()
      if (waiter === undefined) return
      waiter.resolve(!isClosed)
    }
  }

  function permitFor(direction: Direction): Permit {
    let settle: ((verdict: Verdict, at: number) => void) | undefined
    let over = false
    let waiter: Waiter | undefined

    function begin(): void {
      const at = now()
      inFlight.set(permit, at)
      settle = breaker.enter(at)
    }

    function leaveQueue(): void {
      if (waiter === undefined) return
      const at = waiting[direction].indexOf(waiter)
      if (at >= 0) waiting[direction].splice(at, 1)
    }

    function giveUp(): void {
      leaveQueue()
      waiter?.resolve(false)
    }

    const turn = new Promise<boolean>((resolve) => {
      if (inFlight.size < limit && waitingCount() === 0) {
        resolve(true)
        return
      }
      const patience = setTimeout(() => giveUp(), 2 * maxWaitMs)
      waiter = {
        direction,
        resolve(isTurn) {
          clearTimeout(patience)
          waiter = undefined
          if (isTurn && !over) begin()
          resolve(isTurn && !over)
        },
      }
      waiting[direction].push(waiter)
    })

    const permit: Permit = {
      turn(signal) {
        if (waiter !== undefined) signal.addEventListener('abort', giveUp, { once: true })
        return turn.finally(() => signal.removeEventListener('abort', giveUp))
      },

      done(end) {
        if (over) return
        over = true
        giveUp()
        const beganAt = inFlight.get(permit)
        if (beganAt === undefined) return
        inFlight.delete(permit)
        const at = now()
        const verdict = verdictOf(end)
        if (verdict !== 'none') callMs += (at - beganAt - callMs) / 10
        if (end !== undefined && 'error' in end) {
          const { retryAfterMs } = end
          if (verdict === 'bad' || isRefusedForNow(end)) lastError = end.error.code
          if (isRefusedForNow(end) && retryAfterMs !== undefined) {
            peaceUntil = Math.max(peaceUntil, at + Math.min(retryAfterMs, MAX_PEACE_MS))
          }
        }
        settle?.(verdict, at)
        advance()
      },
    }
    if (waiter === undefined) begin()
    return permit
  }

  return {
    admit(direction) {
      const at = now()
      const closedMs = closedForMs(at)
      // Not all of them in the moment it may open again.
      if (closedMs !== undefined)
        return { is: 'later', delayMs: closedMs + (Math.random() * Math.max(closedMs, 1_000)) / 2 }
      if (hasRoom(at)) return { is: 'now', permit: permitFor(direction) }
      // A compensation goes before the action that came last.
      const displaced = direction === 'compensation' ? waiting.action.pop() : undefined
      if (displaced === undefined) return { is: 'later', delayMs: appointment(at) }
      displaced.resolve(false)
      return { is: 'now', permit: permitFor(direction) }
    },

    state: () => ({
      breaker: breaker.state(now()),
      inFlight: inFlight.size,
      waiting: waitingCount(),
      limit,
      lastError,
    }),
  }
}

const ALWAYS_CLOSED: BreakerOptions = {
  failureRatio: 2,
  minCalls: Number.POSITIVE_INFINITY,
  windowMs: 0,
  openMs: 0,
  maxOpenMs: 0,
  trials: 1,
}

/** It works, and does not want to be asked so often. */
function isRefusedForNow(end: AttemptEnd): boolean {
  return end.outcome === 'failed' && (end.error.code === 'HTTP_429' || end.error.code === 'HTTP_425')
}

/**
 * A service is to blame for what it did not answer, and for 5xx and 408. A rejection is an answer, and so is a result that
 * cannot be taken: one saga's oversized result must not close the way for the others.
 */
function verdictOf(end: AttemptEnd | undefined): Verdict {
  if (end === undefined) return 'none'
  if (!('error' in end)) return 'good'
  const { code } = end.error
  if (isRefusedForNow(end) || code === 'ABORTED' || code === 'CLOSED' || code === 'INVALID_REQUEST')
    return 'none'
  return end.outcome === 'rejected' || code.startsWith('RESULT_') ? 'good' : 'bad'
}
