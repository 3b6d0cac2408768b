import { OUTCOME } from '@backstitch/core'

/**
 * What a handler throws to say how its attempt ended. Any other error counts as `failed`: a definite error without effect,
 * tried again within the step's bounds. (An attempt that runs into its time-out is uncertain whatever it throws.)
 *
 * The engine knows these by their mark, not by their class, so that two copies of this package do not misunderstand.
 */

export type OutcomeOptions = {
  /** Stable and short, for programs: `CARD_DECLINED`. */
  code?: string
  cause?: unknown
}

export type RetryableOptions = OutcomeOptions & {
  /** Not to be tried again before this time has passed; honoured up to the cap of the step's back-off. */
  retryAfterMs?: number
}

/** A definite no: nothing happened, and trying again is of no use. The saga turns round at once. */
export class StepRejected extends Error {
  override readonly name = 'StepRejected'
  readonly [OUTCOME] = 'rejected'
  readonly code: string

  constructor(message: string, { code = 'REJECTED', cause }: OutcomeOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** A definite error without effect, tried again. Like any other error, but with a code and a time to wait. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed'
  readonly [OUTCOME] = 'failed'
  readonly code: string
  readonly retryAfterMs: number | undefined

  constructor(message: string, { code = 'FAILED', cause, retryAfterMs }: RetryableOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

/** It may have happened: the request went out and no answer came back. Tried again, and never forgotten if none succeeds. */
export class StepUncertain extends Error {
  override readonly name = 'StepUncertain'
  readonly [OUTCOME] = 'uncertain'
  readonly code: string
  readonly retryAfterMs: number | undefined

  constructor(message: string, { code = 'UNCERTAIN', cause, retryAfterMs }: RetryableOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}
