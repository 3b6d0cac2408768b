import pg from 'pg'
import { load } from './load.ts'
import { createMeter } from './meter.ts'
import type { Place } from './place.ts'
import type { Contender, Running } from './scenario.ts'

/** What the machine can do at all: an engine is measured against these, never against a figure from another day. */

const TABLE = `
CREATE TABLE limits (id integer NOT NULL PRIMARY KEY, step integer NOT NULL DEFAULT 0, state jsonb NOT NULL) WITH (fillfactor = 50);
CREATE TABLE limits_history (id integer NOT NULL, step integer NOT NULL, body jsonb NOT NULL, PRIMARY KEY (id, step))`
/** About what a saga's state takes. */
const STATE = JSON.stringify({ status: 'running', filler: 'x'.repeat(450) })
const ENTRY = JSON.stringify({ kind: 'attemptSucceeded', filler: 'x'.repeat(120) })

/**
 * One row, one commit, one after the other: the time no durable step can be faster than. With a pause after each they find the
 * processors asleep and their caches cold, as whatever comes seldom does.
 */
export function bareCommit(size = 2_000, pauseMs = 0): Contender {
  return {
    name: pauseMs === 0 ? 'bare commit' : `bare commit every ${pauseMs} ms`,
    async open(place) {
      const { clients, meter, close } = await connect(place, 1)
      const [client] = clients
      return {
        run: () =>
          load({
            meter,
            count: size,
            inFlight: 1,
            stepsEach: 1,
            pauseMs,
            one: (n) => insertOne(client, unique(n)),
          }),
        close,
      }
    },
  }
}

/** Each step its own transaction, on 16 connections: the ceiling of whoever does not group commits. */
export function commitPerStep(size = 6_000): Contender {
  const connections = 16
  return {
    name: 'commit per step',
    async open(place) {
      const { clients, meter, close } = await connect(place, connections)
      return {
        run: () =>
          load({
            meter,
            count: size,
            inFlight: connections,
            stepsEach: 1,
            one: (n) => insertOne(clients[n % connections], unique(n)),
          }),
        close,
      }
    },
  }
}

/** A state rewritten and an entry appended for each of 300 rows in one statement, on two connections. */
export function batches(size = 20_000): Contender {
  const rows = 300
  return {
    name: 'multi-row batch',
    async open(place) {
      const { clients, meter, close } = await connect(place, 2)
      const [first] = clients
      await first?.query(
        'INSERT INTO limits (id, state) SELECT n, $1 FROM generate_series(1, $2::int) AS n',
        [STATE, rows * 2],
      )
      const states = jsonbArray(Array.from({ length: rows }, () => STATE))
      const entries = jsonbArray(Array.from({ length: rows }, () => ENTRY))
      const ids = [0, 1].map((lane) => int4Array(Array.from({ length: rows }, (_, n) => lane * rows + n + 1)))
      return {
        async run() {
          const count = Math.ceil(size / rows)
          const values = (n: number) => [ids[n % 2], states, entries]
          return load({
            meter,
            count,
            inFlight: 2,
            stepsEach: rows,
            one: async (n) => {
              await clients[n % 2]?.query({ name: 'batch', text: BATCH, values: values(n) })
            },
          })
        },
        close,
      }
    },
  }
}

const BATCH = `
WITH u AS (
  UPDATE limits l SET step = l.step + 1, state = i.state
  FROM unnest($1::int4[], $2::jsonb[], $3::jsonb[]) AS i(id, state, entry) WHERE l.id = i.id
  RETURNING l.id, l.step, i.entry
)
INSERT INTO limits_history SELECT id, step, entry FROM u`

async function connect(
  place: Place,
  connections: number,
): Promise<{
  clients: pg.Client[]
  meter: Awaited<ReturnType<typeof createMeter>>
  close: Running['close']
}> {
  const clients = Array.from({ length: connections }, () => new pg.Client(place.url))
  for (const client of clients) await client.connect()
  await clients[0]?.query(TABLE)
  for (const client of clients) {
    await client.query(
      'SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off',
    )
  }
  const meter = await createMeter(place)
  return {
    clients,
    meter,
    async close() {
      await Promise.all([meter.close(), ...clients.map((client) => client.end())])
    },
  }
}

async function insertOne(client: pg.Client | undefined, id: number): Promise<void> {
  await client?.query({
    name: 'one',
    text: 'INSERT INTO limits (id, state) VALUES ($1, $2)',
    values: [id, STATE],
  })
}

let used = 1_000_000
/** Ids grow, as those of a UUIDv7 do. */
function unique(_n: number): number {
  return used++
}

function int4Array(values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(20 + values.length * 8)
  header(buffer, 23, values.length)
  values.forEach((value, n) => {
    buffer.writeInt32BE(4, 20 + n * 8)
    buffer.writeInt32BE(value, 24 + n * 8)
  })
  return buffer
}

function jsonbArray(values: readonly string[]): Buffer {
  const head = Buffer.alloc(20)
  header(head, 3802, values.length)
  const parts = values.flatMap((value) => {
    const body = Buffer.from(`\u0001${value}`)
    const length = Buffer.alloc(4)
    length.writeInt32BE(body.length)
    return [length, body]
  })
  return Buffer.concat([head, ...parts])
}

/** Postgres's binary format of a one-dimensional array: dimensions, no nulls, element type, length, lower bound. */
function header(buffer: Buffer, type: number, count: number): void {
  for (const [n, value] of [1, 0, type, count, 1].entries()) buffer.writeInt32BE(value, n * 4)
}
