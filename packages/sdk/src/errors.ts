import type { ErrorCode, JsonProblem, Status } from '@backstitch/core'

/** Codes this package gives by itself; all others are the server's. */
export type OwnCode = 'NETWORK_ERROR' | 'TIMED_OUT' | 'UNEXPECTED_RESPONSE'

export type BackstitchErrorFacts = {
  code: BackstitchError['code']
  detail: string
  status?: number | undefined
  errors?: readonly JsonProblem[] | undefined
  requestId?: string | undefined
  sagaStatus?: Status | undefined
  sagaId?: string | undefined
  retryAfterMs?: number | undefined
  cause?: unknown
}

/** How many places in a document a message names before it says that there are more. */
const PLACES_NAMED = 3

/** Whatever went wrong, here or there: what was found, what was expected, what to do. */
export class BackstitchError extends Error {
  override readonly name = 'BackstitchError'
  /** Stable; a newer server may have codes this package does not know. */
  readonly code: ErrorCode | OwnCode | (string & {})
  readonly detail: string
  /** The HTTP status; undefined where no answer was received, or none was asked for. */
  readonly status: number | undefined
  /** Places in the document that was sent. */
  readonly errors: readonly JsonProblem[]
  readonly requestId: string | undefined
  /** Where the saga stood, if the conflict is with that. */
  readonly sagaStatus: Status | undefined
  /** The saga that has the start key already, if the conflict is with that. */
  readonly sagaId: string | undefined
  /** How long the server asks to be left alone. */
  readonly retryAfterMs: number | undefined

  constructor(facts: BackstitchErrorFacts) {
    const { code, detail, status, errors = [], cause } = facts
    super(`${code}: ${detail}${placesOf(errors)}`, cause === undefined ? undefined : { cause })
    this.code = code
    this.detail = detail
    this.status = status
    this.errors = errors
    this.requestId = facts.requestId
    this.sagaStatus = facts.sagaStatus
    this.sagaId = facts.sagaId
    this.retryAfterMs = facts.retryAfterMs
  }
}

function placesOf(errors: readonly JsonProblem[]): string {
  const named = errors
    .slice(0, PLACES_NAMED)
    .map(({ pointer, detail }) => (pointer === '' ? detail : `${pointer}: ${detail}`))
  if (errors.length > PLACES_NAMED) named.push(`and ${errors.length - PLACES_NAMED} more`)
  return named.length === 0 ? '' : ` (${named.join('; ')})`
}
