import type { AttemptError, Direction, Json } from '@backstitch/core'

/** What a participant is told about the attempt it carries out (S11, S36). */
export type AttemptRequest = {
  sagaId: string
  definition: { name: string; version: number }
  step: string
  direction: Direction
  /** From 1. A participant may see one number twice: a lost lease uses up no attempt (S17b). */
  attempt: number
  /** The same for every attempt of this step in this direction (S2). */
  idempotencyKey: string
  correlationId: string | undefined
  /** W3C trace context. */
  traceparent: string
  /** The saga's start input. */
  input: Json
  /** Results of completed steps by name, and `input`. */
  context: Readonly<Record<string, Json>>
  /** A compensation's: the result of the action it undoes, if the action is known to have succeeded. */
  result: Json | undefined
  /** A compensation's: why the saga turned round. */
  failure: { step: string | undefined; reason: string } | undefined
  timeoutMs: number
  /** Fires when the time-out passes or the lease is lost; then nothing the attempt returns counts any more. */
  signal: AbortSignal
}

/** How an attempt ended. `resultBytes` is the length of the result as JSON in UTF-8. */
export type AttemptEnd =
  | { outcome: 'succeeded'; result: Json; resultBytes: number }
  | {
      outcome: 'rejected' | 'failed' | 'uncertain'
      error: AttemptError
      retryAfterMs?: number | undefined
    }
