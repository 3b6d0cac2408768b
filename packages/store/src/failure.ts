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

/** An internal error may be one row's fault, so it is not waited out: tried again a few times, then the batch is halved. */
const TRANSIENT = /^(40001|40003|40P01|55P03|57014|XX...)$/
/** Also whoever is not let in (28, 3D000), reached a standby (25006), or has a session that lost its statements (26000). */
const CONNECTION = /^(08...|57P..|28...|3D000|53300|25006|25P03|25P04|26000)$/
const UNAVAILABLE = /^(53...|58...|F0...)$/

/** Right for anything that was thrown: what nobody recognises is a bug, and waiting does not mend it. */
export function failureOf(error: unknown): Failure {
  const code = sqlStateOf(error)
  if (code === undefined) return isOfTheNetwork(error) ? 'connection' : 'statement'
  if (CONNECTION.test(code)) return 'connection'
  if (TRANSIENT.test(code)) return 'transient'
  if (UNAVAILABLE.test(code)) return 'unavailable'
  return 'statement'
}

/** Is it the database that cannot answer at present? */
export function isOutage(error: unknown): boolean {
  return failureOf(error) !== 'statement'
}

/** Errors of the network and of node-postgres itself come without a SQLSTATE. */
function isOfTheNetwork(error: unknown): boolean {
  if (error instanceof ConnectionLost) return true
  if (!(error instanceof Error)) return false
  return ('code' in error && NETWORK.test(String(error.code))) || DRIVER.test(error.message)
}

const NETWORK =
  /^(ECONN(REFUSED|RESET|ABORTED)|E(HOST|NET)(UNREACH|DOWN)|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|ERR_(STREAM|SOCKET|SSL|TLS)_.*)$/
/** What node-postgres and its pool say in sentences only. */
const DRIVER =
  /^(timeout e|Connection terminated|Query read timeout|Client (was closed|has encountered a connection error)|Received unexpected .* message from backend|The server does not support SSL|There was an error establishing an SSL|Cannot use a pool after|driver has already been destroyed)/

/** The five characters of an error that Postgres itself reported. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('severity' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** A connection was lost, or never had: nothing is known about the statement. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost'
}

export function isUniqueViolation(error: unknown): boolean {
  return sqlStateOf(error) === '23505'
}

/** Waits before the n-th try in a row (from 1): 100 ms doubling to 5 s, with jitter, so that a fleet does not come back as one. */
export function reconnectDelayMs(attempt: number): number {
  const ceiling = Math.min(5_000, 100 * 2 ** Math.min(attempt - 1, 10))
  return ceiling / 2 + Math.random() * (ceiling / 2)
}
