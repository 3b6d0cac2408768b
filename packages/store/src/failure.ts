/** What a failed statement means for whoever sent it. Decided by SQLSTATE, never by a constraint's name or a message. */
export type Failure =
  /** The connection is gone or useless: destroy it, wait, connect again. The statement may have been carried out. */
  | 'connection'
  /** The statement was not carried out and may well succeed if sent again: a deadlock, a lock time-out. */
  | 'transient'
  /** The database cannot take writes at present: full, read-only, shutting down. Not carried out; wait and go on. */
  | 'unavailable'
  /** The statement or its data is at fault: sending it again changes nothing. */
  | 'statement'

/** Errors of the network and of node-postgres itself come without a SQLSTATE. */
const TRANSIENT = new Set(['40001', '40P01', '55P03', '57014'])
const UNAVAILABLE = /^(53|25006|58|F0|XX)/

export function failureOf(error: unknown): Failure {
  const code = sqlStateOf(error)
  if (code === undefined) return isBug(error) ? 'statement' : 'connection'
  if (TRANSIENT.has(code)) return 'transient'
  if (code === '25006' || code.startsWith('08') || code.startsWith('57P') || code === '53300') return 'connection'
  if (code === '25P03' || code === '57P05') return 'connection'
  if (UNAVAILABLE.test(code)) return 'unavailable'
  return 'statement'
}

/** Waiting for the database does not mend what our own code, or a row that does not decode, got wrong. */
function isBug(error: unknown): boolean {
  if (!(error instanceof Error)) return true
  return ['TypeError', 'RangeError', 'ReferenceError', 'SyntaxError', 'ZodError', '$ZodError'].includes(error.name)
}

/** The five characters of an error that Postgres itself reported. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('severity' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** A connection was lost, or never had: nothing is known about the statement. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

/**
 * Is it the database that cannot answer at present? Unlike `failureOf`, which is asked about statements only, this may be
 * asked about anything that was thrown: what nobody recognises is a bug and no outage.
 */
export function isOutage(error: unknown): boolean {
  if (error instanceof ConnectionLost) return true
  if (sqlStateOf(error) !== undefined) return failureOf(error) !== 'statement'
  if (!(error instanceof Error)) return false
  return ('syscall' in error && 'code' in error && NETWORK.has(String(error.code))) || DRIVER.test(error.message)
}

const NETWORK = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
])
/** What node-postgres and its pool say in sentences only. */
const DRIVER =
  /^(timeout exceeded when trying to connect|Connection terminated|Query read timeout|Client (was closed|has encountered a connection error)|Cannot use a pool after calling end|driver has already been destroyed)/

export function isUniqueViolation(error: unknown): boolean {
  return sqlStateOf(error) === '23505'
}

/** Waits before the n-th try in a row (from 1): 100 ms doubling to 5 s, with jitter, so that a fleet does not come back as one. */
export function reconnectDelayMs(attempt: number): number {
  const ceiling = Math.min(5_000, 100 * 2 ** Math.min(attempt - 1, 10))
  return ceiling / 2 + Math.random() * (ceiling / 2)
}
