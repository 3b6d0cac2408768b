import type { Probed } from './history.ts'
import type { Json } from './json.ts'
import type { Direction } from './state.ts'

/** Everything that can happen to a saga once it has started. `decide` answers each with at most one history entry. */

/** How one attempt ended (semantics: Terms). */
export type Outcome = 'succeeded' | 'rejected' | 'failed' | 'uncertain'

/** What went wrong in an attempt: a stable code and a sentence for a person. */
export type AttemptError = { code: string; message: string }

/** Which attempt: the n-th (from 1) of a step in one direction. */
export type AttemptId = { step: string; direction: Direction; attempt: number }

export type Verb = 'retry' | 'skip' | 'markCompensated'

export type Event =
  | ({
      type: 'attemptSucceeded'
      result: Json
      resultBytes: number
      probes?: Probed[] | undefined
    } & AttemptId)
  | ({
      type: 'attemptFailed'
      outcome: Exclude<Outcome, 'succeeded'>
      error: AttemptError
      retryAfterMs?: number | undefined
      probes?: Probed[] | undefined
    } & AttemptId)
  /** Somebody has sent a signal; `letter` is its number in the saga's mail (M2). */
  | { type: 'signalReceived'; signal: string; letter: number; payload: Json; payloadBytes: number }
  /** The first step's condition is to be looked at. */
  | { type: 'conditionDue' }
  /** An attempt's result came after its time-out: recorded, never applied (S4). */
  | ({ type: 'lateResult'; outcome: Outcome } & AttemptId)
  /** The worker that held the saga died: `leasesLost` in a row now (S17b, S19). */
  | { type: 'leaseLost'; leasesLost: number }
  /** The worker lets the saga go in the middle of its attempts, because it has to stop (S21). */
  | { type: 'interrupted' }
  /** `underWay`: an attempt is running at this moment, and is allowed to end first (S7, S25). */
  | { type: 'deadlinePassed'; underWay: boolean }
  | { type: 'cancelRequested'; actor: string; reason: string; underWay: boolean }
  /** An operator's verb on a stuck saga. `decidedOn` is the version its author was looking at (S30). */
  | {
      type: 'verbRequested'
      verb: Verb
      actor: string
      reason: string
      step?: string | undefined
      decidedOn?: number | undefined
    }
