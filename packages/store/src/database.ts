import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { typeParsers } from './link.ts'
import type { Tables } from './tables.ts'

export type Database = Kysely<Tables>

export type PoolOptions = {
  databaseUrl: string
  applicationName: string
  max: number
  /** How long to wait for a connection, and for an answer on it. Zero: for ever. */
  connectMs?: number
  silenceMs?: number
  /** An error on a connection that nobody is using at the moment: worth a line in the log, never a crash (F31). */
  onError?: (error: Error) => void
}

/** The pool for everything that is not on a lane of its own. */
export function openDatabase(options: PoolOptions): Database {
  const pool = new pg.Pool({
    connectionString: options.databaseUrl,
    application_name: options.applicationName,
    max: options.max,
    keepAlive: true,
    connectionTimeoutMillis: options.connectMs ?? 5_000,
    idleTimeoutMillis: 30_000,
    // Through a black hole no answer ever comes: nobody may wait for it for ever.
    query_timeout: options.silenceMs ?? 30_000,
    types: typeParsers,
  })
  const onError = options.onError ?? (() => undefined)
  pool.on('error', onError)
  pool.on('connect', (client) => client.on('error', onError))
  // After such a time-out the connection still waits for its answer, and so would the next who is given it.
  pool.on('release', (_, client) => {
    if ('readyForQuery' in client && client.readyForQuery !== true) client.end().catch(onError)
  })
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
}
