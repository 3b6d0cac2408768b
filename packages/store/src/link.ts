import pg from 'pg'
import { ConnectionLost, failureOf } from './failure.ts'

/**
 * A link is one connection that is made when first needed, and made again after it was lost. It serves one user at a time.
 * Whoever uses it decides about retries: what was under way when it broke may or may not have been carried out.
 */
export type Link = {
  /** Runs `work` when everything before it has been answered. Throws what the database said, or `ConnectionLost`. */
  use<T>(work: (client: pg.Client, pooled: boolean) => Promise<T>): Promise<T>
  /** Never hangs, whatever state the connection is in. */
  close(): Promise<void>
}

export type LinkOptions = {
  databaseUrl: string
  /** Shown in pg_stat_activity. */
  applicationName: string
  /** Work without an answer for this long means that the connection is dead, whatever the socket says. Default 15 s. */
  silenceMs?: number
}

type Connection = { client: pg.Client; pooled: boolean; lost: boolean }

const CLOSE_MS = 1_000

/** `prepare` is run on each new connection. `pooled`: a transaction-mode pooler stands between, and no session holds. */
export function createLink(
  options: LinkOptions,
  prepare: (client: pg.Client, pooled: boolean) => Promise<void>,
): Link {
  const { silenceMs = 15_000 } = options
  let current: Promise<Connection> | undefined
  /** The work before: the next begins when it has been answered. */
  let last: Promise<unknown> = Promise.resolve()
  let closed = false

  async function connection(): Promise<Connection> {
    if (current !== undefined) {
      const known = await current.catch(() => undefined)
      if (known !== undefined && !known.lost) return known
    }
    current = open()
    return current
  }

  async function open(): Promise<Connection> {
    const made = await connect(options)
    try {
      await prepare(made.client, made.pooled)
      return made
    } catch (error) {
      destroy(made)
      throw error
    }
  }

  async function run<T>(work: (client: pg.Client, pooled: boolean) => Promise<T>): Promise<T> {
    if (closed) throw new ConnectionLost('the connection is closed')
    let used: Connection | undefined
    const silence = setTimeout(() => {
      if (used !== undefined) destroy(used)
    }, silenceMs)
    try {
      used = await connection()
      return await work(used.client, used.pooled)
    } catch (error) {
      if (failureOf(error) === 'connection') {
        if (used !== undefined) destroy(used)
        current = undefined
      }
      throw error
    } finally {
      clearTimeout(silence)
    }
  }

  return {
    use(work) {
      const next = () => run(work)
      const answer = last.then(next, next)
      last = answer
      return answer
    },

    async close() {
      closed = true
      const made = await current?.catch(() => undefined)
      if (made === undefined) return
      await Promise.race([made.client.end().catch(() => undefined), sleep(CLOSE_MS)])
      destroy(made)
    },
  }
}

/** Opens a connection of our own kind: keep-alive, int8 as number, never a crash for an error while idle. */
async function connect({ databaseUrl, applicationName }: LinkOptions): Promise<Connection> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: applicationName,
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
    types: typeParsers,
  })
  const made: Connection = { client, pooled: false, lost: false }
  const lose = () => {
    made.lost = true
  }
  client.on('error', lose)
  client.on('end', lose)
  await client.connect()
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  // A pooler makes up the process id it tells its clients.
  made.pooled = rows[0]?.pid !== processIdOf(client)
  return made
}

function destroy(connection: Connection): void {
  connection.lost = true
  connection.client.end().catch(() => undefined)
  socketOf(connection.client)?.destroy()
}

/** node-postgres has no public way to cut a connection that does not answer. */
function socketOf(client: pg.Client): { destroy(): void } | undefined {
  const wire: unknown = 'connection' in client ? client.connection : undefined
  if (typeof wire !== 'object' || wire === null || !('stream' in wire)) return undefined
  const { stream } = wire
  if (typeof stream !== 'object' || stream === null || !('destroy' in stream)) return undefined
  const { destroy: cut } = stream
  return typeof cut === 'function' ? { destroy: () => cut.call(stream) } : undefined
}

function processIdOf(client: pg.Client): unknown {
  return 'processID' in client ? client.processID : undefined
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}

const INT8_OID = 20

/** Counters and sequence numbers stay far below 2^53: they are numbers here, not strings. */
export const typeParsers: pg.CustomTypesConfig = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === INT8_OID && format !== 'binary') return Number
    return pg.types.getTypeParser(oid, format)
  },
}
