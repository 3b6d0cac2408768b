import pg from 'pg'
import { ConnectionLost, failureOf } from './failure.ts'

/**
 * A lane is one connection that carries one kind of statement, over and over, one at a time: the group commits, the
 * starts, the claims. It connects when first needed and again after it was lost; whoever uses it decides about retries.
 *
 * Direct lanes use named prepared statements with generic plans: planning each flush afresh costs more than the flush, and
 * a plan made while a table was empty must not be kept as a scan. Behind a transaction-mode pooler neither names nor
 * settings would hold, so statements go unnamed there (docs/reference/performance.md).
 */
export type Lane = {
  /** Rows as arrays of columns. Throws what the database said, or `ConnectionLost`. */
  query(statement: Statement, values: readonly unknown[]): Promise<unknown[][]>
  close(): Promise<void>
}

export type Statement = { name: string; text: string }

export type LaneOptions = {
  databaseUrl: string
  /** Shown in pg_stat_activity. */
  applicationName: string
  /** How this lane's statements join: batch with big table by index, or batch with batch by hash. Default `index`. */
  joins?: 'index' | 'hash'
  /** A statement without an answer for this long means that the connection is dead, whatever the socket says. */
  silenceMs?: number
}

const SETTINGS = ['plan_cache_mode = force_generic_plan', 'jit = off', 'idle_in_transaction_session_timeout = 10000']
const JOIN_SETTINGS = {
  index: ['enable_seqscan = off', 'enable_hashjoin = off', 'enable_mergejoin = off'],
  hash: ['enable_nestloop = off', 'enable_mergejoin = off'],
}

type Connection = { client: pg.Client; pooled: boolean }

export function createLane(options: LaneOptions): Lane {
  const { silenceMs = 15_000 } = options
  let connecting: Promise<Connection> | undefined
  /** The statement before: the next goes out when it has been answered. */
  let last: Promise<unknown> = Promise.resolve()
  let closed = false

  function connection(): Promise<Connection> {
    connecting ??= connect(options, () => {
      connecting = undefined
    }).catch((error: unknown) => {
      connecting = undefined
      throw error
    })
    return connecting
  }

  async function send(statement: Statement, values: readonly unknown[]): Promise<unknown[][]> {
    if (closed) throw new ConnectionLost('the lane is closed')
    const { client, pooled } = await connection()
    const silence = setTimeout(() => destroy(client), silenceMs)
    try {
      const named = pooled ? {} : { name: statement.name }
      const { rows } = await client.query({ ...named, text: statement.text, values: [...values], rowMode: 'array' })
      return rows
    } catch (error) {
      if (failureOf(error) === 'connection') {
        connecting = undefined
        destroy(client)
      }
      throw error
    } finally {
      clearTimeout(silence)
    }
  }

  return {
    query(statement, values) {
      const answer = last.then(
        () => send(statement, values),
        () => send(statement, values),
      )
      last = answer
      return answer
    },

    async close() {
      closed = true
      const current = connecting
      connecting = undefined
      await current?.then(
        ({ client }) => client.end(),
        () => undefined,
      )
    },
  }
}

/** Opens a connection of our own kind: keep-alive, int8 as number, never a crash for an error while idle. */
export async function connectClient(
  { databaseUrl, applicationName }: LaneOptions,
  onLost: () => void,
): Promise<{ client: pg.Client; pooled: boolean }> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: applicationName,
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
    types: typeParsers,
  })
  client.on('error', onLost)
  client.on('end', onLost)
  await client.connect()
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  // A pooler makes up the process id it tells its clients.
  return { client, pooled: rows[0]?.pid !== processIdOf(client) }
}

async function connect(options: LaneOptions, onLost: () => void): Promise<Connection> {
  const connection = await connectClient(options, onLost)
  if (!connection.pooled) {
    const settings = [...SETTINGS, ...JOIN_SETTINGS[options.joins ?? 'index']]
    await connection.client.query(settings.map((setting) => `SET ${setting}`).join('; '))
  }
  return connection
}

function destroy(client: pg.Client): void {
  client.end().catch(() => undefined)
  const stream: unknown = 'connection' in client ? client.connection : undefined
  if (typeof stream === 'object' && stream !== null && 'stream' in stream) {
    const socket = stream.stream
    if (typeof socket === 'object' && socket !== null && 'destroy' in socket && typeof socket.destroy === 'function') {
      socket.destroy()
    }
  }
}

function processIdOf(client: pg.Client): unknown {
  return 'processID' in client ? client.processID : undefined
}

const INT8_OID = 20

/** Counters and sequence numbers stay far below 2^53: they are numbers here, not strings. */
export const typeParsers: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8_OID && format !== 'binary') return Number
    return pg.types.getTypeParser(oid, format)
  },
}
