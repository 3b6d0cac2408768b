import type { AttemptError, HandlerCall, Json, Probed } from '@backstitch/core'

/** What a participant is told about the attempt it carries out (S11, S36), and how long it may take. */
export type AttemptRequest = HandlerCall & {
  timeoutMs: number
  /** Where its end may be told later, if it ends by a callback (M3). */
  callback: { token: string; url: string | undefined } | undefined
  /** What a person has put in the place of the input that the definition sends to a service (S30a). */
  edited?: { input: Json } | undefined
  /** Its callback has not come in time: nothing is made any more, its participant is asked what became of it (S11a). */
  overdue?: true
  /** `own`: an earlier attempt of it may have had its effect. `action`: a compensation's action may have had. */
  doubt?: { own: boolean; action: { idempotencyKey: string } | undefined }
}

/** How an attempt ended. `resultBytes` is the length of the result as JSON in UTF-8. */
export type AttemptEnd =
  | ({ outcome: 'succeeded'; result: Json; resultBytes: number } & Course)
  /** The participant has taken it on; a callback will say how it has ended. */
  | ({ outcome: 'pending' } & Course)
  | Unsuccessful

/** What was asked about it, and how long it took from its turn on, in whole ms by this worker's monotonic clock. */
type Course = { probes?: Probed[]; tookMs?: number }

export type Unsuccessful = Course & {
  outcome: 'rejected' | 'failed' | 'uncertain'
  error: AttemptError
  retryAfterMs?: number | undefined
}
