import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { sql } from 'kysely'
import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { openDatabase } from './database.ts'
import { ConnectionLost, type Failure, failureOf, isOutage, reconnectDelayMs } from './failure.ts'
import { createNetwork } from './testing-proxy.ts'

const sqlStates: [string, string, Failure][] = [
  ['08000', 'connection_exception', 'connection'],
  ['08006', 'connection_failure', 'connection'],
  ['57P01', 'admin_shutdown', 'connection'],
  ['57P02', 'crash_shutdown', 'connection'],
  ['57P03', 'cannot_connect_now', 'connection'],
  ['57P05', 'idle_session_timeout', 'connection'],
  ['53300', 'too_many_connections', 'connection'],
  ['25006', 'read_only_sql_transaction: a standby', 'connection'],
  ['25P03', 'idle_in_transaction_session_timeout', 'connection'],
  ['25P04', 'transaction_timeout', 'connection'],
  ['26000', 'invalid_sql_statement_name: the session is not the one that prepared it', 'connection'],
  ['28P01', 'invalid_password', 'connection'],
  ['28000', 'invalid_authorization_specification', 'connection'],
  ['3D000', 'invalid_catalog_name: no such database', 'connection'],
  ['40001', 'serialization_failure', 'transient'],
  ['40003', 'statement_completion_unknown', 'transient'],
  ['40P01', 'deadlock_detected', 'transient'],
  ['55P03', 'lock_not_available', 'transient'],
  ['57014', 'query_canceled', 'transient'],
  ['XX000', 'internal_error', 'transient'],
  ['XX001', 'data_corrupted', 'transient'],
  ['53100', 'disk_full', 'unavailable'],
  ['53200', 'out_of_memory', 'unavailable'],
  ['58030', 'io_error', 'unavailable'],
  ['F0000', 'config_file_error', 'unavailable'],
  ['22021', 'character_not_in_repertoire', 'statement'],
  ['22P05', 'untranslatable_character', 'statement'],
  ['23505', 'unique_violation', 'statement'],
  ['23514', 'check_violation', 'statement'],
  ['42P01', 'undefined_table', 'statement'],
  ['42501', 'insufficient_privilege', 'statement'],
  ['54000', 'program_limit_exceeded', 'statement'],
  ['0A000', 'feature_not_supported', 'statement'],
]

describe('what Postgres reports', () => {
  test.each(sqlStates)('%s, %s: it is %s (F32, F37, F40)', (code, _, failure) => {
    const error = new pg.DatabaseError('no matter what it says', 1, 'error')
    error.code = code
    error.severity = 'FEHLER'
    expect(failureOf(error)).toBe(failure)
    expect(isOutage(error)).toBe(failure !== 'statement')
  })
})

describe('what does not come from Postgres', () => {
  test.each([
    new TypeError('Do not know how to serialize a BigInt'),
    new RangeError('The value of "value" is out of range.'),
    new SyntaxError('Unexpected token'),
    new z.ZodError([]),
    new Error('something else'),
    'a string',
    undefined,
    null,
    { code: 'ECONNRESET' },
  ])('is a bug, which no waiting mends: %s', (thrown) => {
    expect(failureOf(thrown)).toBe('statement')
    expect(isOutage(thrown)).toBe(false)
  })

  test.each([
    'ECONNREFUSED',
    'ECONNRESET',
    'EPIPE',
    'ETIMEDOUT',
    'ENOTFOUND',
    'EAI_AGAIN',
    'EHOSTUNREACH',
    'ERR_STREAM_DESTROYED',
  ])('is the network when it says %s', (code) => {
    expect(failureOf(Object.assign(new Error('no'), { code }))).toBe('connection')
  })

  test('is the network when we said so ourselves', () => {
    expect(failureOf(new ConnectionLost('gone'))).toBe('connection')
  })
})

/** The sentences of node-postgres, from the horse's mouth: should an update change them, these fail. */
describe('what node-postgres throws', () => {
  async function server() {
    const { url, drop } = await createTestDatabase({ empty: true })
    onTestFinished(drop)
    const network = await createNetwork(url)
    onTestFinished(network.close)
    return { url, network }
  }

  async function thrownBy(
    url: string,
    provoke: (client: pg.Client) => Promise<unknown>,
    options: pg.ClientConfig = {},
  ) {
    const { connectionString = '', ...rest } = options
    const changed = connectionString.startsWith('/')
      ? new URL(connectionString, url).href
      : url.replace(/^.*@/, connectionString || '$&')
    const client = new pg.Client({ connectionString: changed, connectionTimeoutMillis: 100, ...rest })
    client.on('error', () => undefined)
    try {
      return await provoke(client).catch((error: unknown) => error)
    } finally {
      void client.end()
    }
  }

  async function connected(client: pg.Client, then: () => Promise<unknown>) {
    await client.connect()
    return then()
  }

  const provocations: [
    string,
    (client: pg.Client, network: Awaited<ReturnType<typeof createNetwork>>) => Promise<unknown>,
    pg.ClientConfig?,
  ][] = [
    ['nothing listens', (client, network) => network.close().then(() => client.connect())],
    [
      'nothing answers',
      (client, network) => {
        network.goBlack()
        return client.connect()
      },
    ],
    ['there is no such user', (client) => client.connect(), { connectionString: 'postgres://nobody:wrong@' }],
    ['there is no such database', (client) => client.connect(), { connectionString: '/nowhere' }],
    ['the server has no TLS', (client) => client.connect(), { ssl: true }],
    [
      'the connection is cut',
      (client, network) =>
        connected(client, () => {
          network.when('pg_sleep', network.cut)
          return client.query('SELECT pg_sleep(9)')
        }),
    ],
    [
      'the session is terminated',
      (client) => connected(client, () => client.query('SELECT pg_terminate_backend(pg_backend_pid())')),
    ],
    [
      'the client has ended',
      (client) => connected(client, () => client.end().then(() => client.query('SELECT 1'))),
    ],
    [
      'no answer comes',
      (client, network) =>
        connected(client, () => {
          network.goBlack()
          return client.query('SELECT 1')
        }),
      { query_timeout: 50 },
    ],
  ]

  test.each(provocations)('when %s, says that the connection is at fault', async (_, provoke, options) => {
    const { network } = await server()
    const error = await thrownBy(network.url, (client) => provoke(client, network), options)
    expect(error).toBeInstanceOf(Error)
    expect(failureOf(error), String(error)).toBe('connection')
  })

  test('when the pool is exhausted or closed, says so too', async () => {
    const { url } = await server()
    // The first has all the time it needs to connect.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const database = openDatabase({ databaseUrl: url, applicationName: 'test', max: 1, connectMs: 50 })
    await database.connection().execute(async () => {
      const asked = sql`SELECT 1`.execute(database).catch((thrown: unknown) => thrown)
      await vi.advanceTimersByTimeAsync(50)
      const error = await asked
      expect(failureOf(error), String(error)).toBe('connection')
    })
    await database.destroy()
    const error = await sql`SELECT 1`.execute(database).catch((thrown: unknown) => thrown)
    expect(failureOf(error), String(error)).toBe('connection')
  })
})

test('the waits between tries double from 100 ms to 5 s, and no two workers wait alike (F39)', () => {
  for (let attempt = 1; attempt <= 2_000; attempt++) {
    const ceiling = Math.min(5_000, 100 * 2 ** (attempt - 1))
    const delay = reconnectDelayMs(attempt)
    expect(delay).toBeGreaterThanOrEqual(ceiling / 2)
    expect(delay).toBeLessThanOrEqual(ceiling)
  }
  expect(new Set(Array.from({ length: 50 }, () => reconnectDelayMs(5))).size).toBeGreaterThan(40)
})
