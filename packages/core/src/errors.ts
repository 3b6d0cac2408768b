import type { Status } from './state.ts'

/**
 * The one table of errors that callers see: a stable code, its HTTP status and its title. Each is raised as a `Problem`,
 * whose detail says what was found, what was expected and what to do.
 */
export const ERRORS = {
  MALFORMED_JSON: { status: 400, title: 'The body is not acceptable JSON' },
  BAD_REQUEST: { status: 400, title: 'The request is malformed' },
  INVALID_REQUEST: { status: 422, title: 'The request does not fit the contract' },
  INVALID_DEFINITION: { status: 422, title: 'The definition cannot be accepted' },
  INVALID_INPUT: { status: 422, title: "The input does not fit the definition's inputSchema" },
  INVALID_CURSOR: { status: 400, title: 'The cursor does not belong to this list' },
  NOT_FOUND: { status: 404, title: 'There is nothing here' },
  DEFINITION_NOT_FOUND: { status: 404, title: 'There is no such definition' },
  SAGA_NOT_FOUND: { status: 404, title: 'There is no such saga' },
  CALLBACK_NOT_AWAITED: { status: 404, title: 'No step waits for this callback' },
  SCHEDULE_NOT_FOUND: { status: 404, title: 'There is no such schedule' },
  WEBHOOK_NOT_FOUND: { status: 404, title: 'There is no such webhook' },
  BULK_NOT_FOUND: { status: 404, title: 'There is no such bulk operation' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The method is not allowed here' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive in time' },
  START_CONFLICT: { status: 409, title: 'The key belongs to another start' },
  KEY_CONFLICT: { status: 409, title: 'The Idempotency-Key belongs to another request' },
  ALREADY_ENDED: { status: 409, title: 'The saga has already ended' },
  PAST_PIVOT: { status: 409, title: 'The saga is past its pivot' },
  VERB_NOT_POSSIBLE: { status: 409, title: 'Its state does not allow this' },
  STALE_VERSION: { status: 412, title: 'It has moved on since it was read' },
  BODY_TOO_LARGE: { status: 413, title: 'The body is too large' },
  INPUT_TOO_LARGE: { status: 413, title: 'The input is too large' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body is not of a type that is understood here' },
  TOO_MANY_REQUESTS: { status: 429, title: 'Too many requests' },
  HEADERS_TOO_LARGE: { status: 431, title: 'The headers of the request are too large' },
  INTERNAL: { status: 500, title: 'Something is broken on our side' },
  UNAVAILABLE: { status: 503, title: 'The service cannot answer at the moment' },
} as const

export type ErrorCode = keyof typeof ERRORS

export type ProblemExtras = {
  /** Places in the document at fault. */
  errors?: { pointer: string; detail: string }[]
  /** Seconds, sent as `Retry-After`. */
  retryAfterS?: number
  /** The status of the saga, where the conflict is with it. */
  sagaStatus?: Status
  /** The saga that has the start key, where that is the conflict. */
  sagaId?: string
}

/** An error that a caller is meant to see. Everything else that is thrown is a bug. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly code: ErrorCode
  readonly extras: ProblemExtras

  constructor(code: ErrorCode, detail: string, extras: ProblemExtras = {}) {
    super(detail)
    this.code = code
    this.extras = extras
  }

  get status(): number {
    return ERRORS[this.code].status
  }
}
