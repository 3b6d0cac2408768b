import type { Probed, Verb } from './history.ts'
import type { Json } from './json.ts'
import type { Direction, Status } from './state.ts'

/** Everything that can happen to a saga once it has started. `decide` answers each with at most one history entry. */

/** How one attempt ended (semantics: Terms). */
export type Outcome = 'succeeded' | 'rejected' | 'failed' | 'uncertain'

/** What went wrong in an attempt: a stable code and a sentence for a person. */
export type AttemptError = { code: string; message: string }

/** Which attempt: the n-th (from 1) of a step in one direction. */
export type AttemptId = { step: string; direction: Direction; attempt: number }

/** Who told of an attempt's end, if not the participant's own answer. */
export type Teller = 'callback' | 'child'

export type StartedChild = { sagaId: string; definition: { name: string; version: number } }

/** What a saga tells the one that waits for it. `result` if it has completed; `reason` if it was undone. `clean`: it has ended, and nothing in it is uncertain. */
export type ChildReport = {
  sagaId: string
  status: Status
  clean?: boolean | undefined
  reason?: string | undefined
  result?: Json | undefined
  resultBytes?: number | undefined
}

export type Event =
  | ({
      type: 'attemptSucceeded'
      result: Json
      resultBytes: number
      by?: Teller
      /** Of an undo that left something in doubt: its step is done with, and uncertain (S9, M5a). */
      inDoubt?: boolean
      probes?: Probed[] | undefined
      tookMs?: number | undefined
    } & AttemptId)
  /** The participant has taken it on, and tells later how it ended (M3). */
  | ({ type: 'attemptPending'; probes?: Probed[] | undefined; tookMs?: number | undefined } & AttemptId)
  | ({
      type: 'attemptFailed'
      outcome: Exclude<Outcome, 'succeeded'>
      error: AttemptError
      retryAfterMs?: number | undefined
      by?: Teller
      probes?: Probed[] | undefined
      tookMs?: number | undefined
    } & AttemptId)
  /** A saga has been started to carry the step out, or to undo it (M4, M5). */
  | ({ type: 'childStarted'; child: StartedChild } & AttemptId)
  /** News of such a saga: that it has ended, and how, or that it needs a person, or that it moves again. */
  | ({ type: 'childReported' } & ChildReport)
  /** Somebody has sent a signal; `letter` is its number in the saga's mail (M2). */
  | { type: 'signalReceived'; signal: string; letter: number; payload: Json; payloadBytes: number }
  /** Nothing of it is running, and nothing can be begun at the moment: what gave up need not wait any longer (S12a). */
  | { type: 'nothingRuns' }
  /** The first step's condition is to be looked at. */
  | { type: 'conditionDue' }
  /** An attempt's result came after its time-out: recorded, never applied (S4). */
  | ({ type: 'lateResult'; outcome: Outcome } & AttemptId)
  /** The worker that held the saga died: `leasesLost` in a row now (S17b, S19). */
  | { type: 'leaseLost'; leasesLost: number }
  /**
   * The worker lets the saga go in the middle of its attempts, because it has to stop (S21). `begun`: the steps whose attempt had
   * left the queue at its participant's gate; absent where nobody knows.
   */
  | { type: 'interrupted'; begun?: readonly string[] }
  | { type: 'deadlinePassed' }
  | { type: 'cancelRequested'; actor: string; reason: string }
  /** An operator's verb. `decidedOn` is the version its author was looking at (S30); `input` and `force` go with a retry. */
  | {
      type: 'verbRequested'
      verb: Verb
      actor: string
      reason: string
      step?: string | undefined
      decidedOn?: number | undefined
      input?: Json | undefined
      force?: boolean | undefined
    }
