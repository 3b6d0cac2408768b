import { parseJson } from '@backstitch/core'
import pg from 'pg'
import { ConnectionLost, failureOf, sqlStateOf } from './failure.ts'

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

type Connection = { client: pg.Client; pooled: boolean; is: 'opening' | 'open' | 'lost' }

const CLOSE_MS = 1_000

/** `prepare` is run on each new connection. `pooled`: a transaction-mode pooler stands between, and no session holds. */
export function createLink(
  options: LinkOptions,
  prepare: (client: pg.Client, pooled: boolean) => Promise<void>,
): Link {
  const { silenceMs = 15_000 } = options
  let current: Connection | undefined
  /** The work before: the next begins when it has been answered. */
  let last: Promise<unknown> = Promise.resolve()
  let busy = false
  let closed = false

  async function connection(): Promise<Connection> {
    if (current?.is === 'open') return current
    const made = createConnection(options)
    current = made
    await made.client.connect()
    const { rows } = await made.client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    // A pooler makes up the process id it tells its clients.
    made.pooled = rows[0]?.pid !== processIdOf(made.client)
    await prepare(made.client, made.pooled)
    if (made.is === 'opening') made.is = 'open'
    return made
  }

  async function run<T>(work: (client: pg.Client, pooled: boolean) => Promise<T>): Promise<T> {
    if (closed) throw new ConnectionLost('the connection is closed')
    busy = true
    // From the first packet on: an answer can fail to come while the connection is still being made.
    const silence = setTimeout(() => destroy(current), silenceMs)
    try {
      const { client, pooled } = await connection()
      return await work(client, pooled)
    } catch (error) {
      if (current?.is === 'opening' || failureOf(error) === 'connection') destroy(current)
      if (current?.is === 'lost' && sqlStateOf(error) === undefined) {
        throw new ConnectionLost(`the connection was lost: ${String(error)}`, { cause: error })
      }
      throw error
    } finally {
      clearTimeout(silence)
      busy = false
    }
  }

  return {
    use(work) {
      const before = last
      const answer = (async () => {
        await before
        return run(work)
      })()
      // Whoever asked hears of a failure; whoever comes next only waits for its end.
      last = answer.catch(() => undefined)
      return answer
    },

    async close() {
      closed = true
      if (current?.is === 'open' && !busy) {
        await Promise.race([current.client.end().catch(() => undefined), sleep(CLOSE_MS)])
      }
      destroy(current)
    },
  }
}

/** A connection of our own kind: keep-alive, int8 as number, never a crash for an error while idle. */
function createConnection({ databaseUrl, applicationName }: LinkOptions): Connection {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: applicationName,
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
    types: typeParsers,
  })
  const made: Connection = { client, pooled: false, is: 'opening' }
  const lose = () => {
    made.is = 'lost'
  }
  client.on('error', lose)
  client.on('end', lose)
  return made
}

/** Whoever waits for an answer on it hears that it is gone. `end()` alone would leave a `connect()` waiting for ever. */
function destroy(connection: Connection | undefined): void {
  if (connection === undefined) return
  connection.is = 'lost'
  const socket = socketOf(connection.client)
  if (socket === undefined) connection.client.end().catch(() => undefined)
  else socket.destroy()
}

/** node-postgres has no public way to cut a connection that does not answer. */
function socketOf(client: pg.Client): { destroy(): void } | undefined {
  const wire: unknown = 'connection' in client ? client.connection : undefined
  if (typeof wire !== 'object' || wire === null || !('stream' in wire)) return undefined
  const { stream } = wire
  if (typeof stream !== 'object' || stream === null || !('destroy' in stream)) return undefined
  const { destroy: cut } = stream
  return typeof cut === 'function' ? { destroy: () => void cut.call(stream) } : undefined
}

function processIdOf(client: pg.Client): unknown {
  return 'processID' in client ? client.processID : undefined
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}

const INT8_OID = 20
const JSON_OIDS = [114, 3802]

export const typeParsers = new pg.TypeOverrides()
/** Counters and sequence numbers stay far below 2^53: they are numbers here, not strings. */
typeParsers.setTypeParser(INT8_OID, Number)
for (const oid of JSON_OIDS) typeParsers.setTypeParser(oid, readDocument)

/**
 * V8's JSON.parse may misread keys that contain an escape (nodejs/node#63785); the parser of our own door does not. What it
 * would have refused was put there by other hands, and must be readable all the same (S29).
 */
function readDocument(text: string): unknown {
  if (!text.includes('\\')) return JSON.parse(text)
  const parsed = parseJson(text)
  return parsed.ok ? parsed.value : JSON.parse(text)
}
