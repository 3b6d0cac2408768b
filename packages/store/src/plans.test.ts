import type { SagaFilter } from '@backstitch/core'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { Kysely, type LogEvent, PostgresDialect } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { CLAIM, CLAIM_SUSPECT, NEXT_DUE, TAKE_AGAIN } from './claims.ts'
import { COMMIT, COMMIT_ONE, COMMIT_WITH_FAMILY, PARK, RELEASE, WHERE_NOW } from './commits.ts'
import { createDefinitions } from './definitions.ts'
import { createHistory } from './history.ts'
import { newSagaId } from './ids.ts'
import { createLane, JOIN_SETTINGS, SETTINGS, type Statement } from './lane.ts'
import { createMailbox } from './mailbox.ts'
import { createQueries, RESTING, SAGAS } from './queries.ts'
import { HOLDERS, INSERT, INSERT_ONE } from './starts.ts'
import type { Tables } from './tables.ts'
import { createStage, eventually, heldAs, success, transitionOf } from './testing.ts'
import { LEASES, OFFER, PULSE, SESSION_SETTINGS, SWEEP } from './workers.ts'

/**
 * How the database carries the statements out, on twenty thousand sagas that have ended and one thousand that are due: by
 * the index that is there for it, and never by reading the table; with statistics and without (F41).
 */

const { url, query, drop } = await createTestDatabase()
const [version] = await query("SELECT current_setting('server_version_num')::int >= 160000 AS generic")
/** Before Postgres 16 nobody can be asked for the plan that a lane would use. */
const canExplainLanes = version?.generic === true
const pool = new pg.Pool({ connectionString: url, max: 1 })
beforeAll(async () => {
  await pool.query('ALTER TABLE sagas SET (autovacuum_enabled = false)')
  await pool.query(`
    INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                       created_at, updated_at, ended_at, due_at, start_key, saga_key, tags)
    SELECT get_byte(uuid_send(id), 15), id, 'order', 1, 'order', status,
           jsonb_build_object('status', status, 'filler', repeat('x', 300)), 'h', at, at,
           CASE WHEN ended THEN at END, CASE WHEN NOT ended THEN at END,
           CASE WHEN n % 10 = 0 THEN 'saga:order:' || n END, CASE WHEN n % 10 = 0 THEN n::text END,
           CASE WHEN n % 100 = 0 THEN jsonb_build_object('shop', n::text) ELSE '{}' END
    FROM (
      SELECT n, gen_random_uuid() AS id, n <= 20000 AS ended, now() - interval '1 s' * (30000 - n) AS at,
             CASE WHEN n > 20000 THEN 'running' WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END AS status
      FROM generate_series(1, 21000) AS n
    ) AS sketch`)
  await pool.query(`
    INSERT INTO saga_history (bucket, saga_id, seq, at, kind, epoch, body)
    SELECT bucket, saga_id, 1, created_at, 'sagaStarted', 0, '{}' FROM sagas`)
})
afterAll(async () => {
  await pool.end()
  await drop()
})

/** Gathers all that is there, to give back a little of it. */
const GATHERING = ['Sort', 'Incremental Sort', 'Bitmap Heap Scan']

type Plan = {
  'Node Type': string
  'Relation Name'?: string | undefined
  'Index Name'?: string | undefined
  'Index Cond'?: string | undefined
  Plans?: Plan[] | undefined
}
const Plan: z.ZodType<Plan> = z.object({
  'Node Type': z.string(),
  'Relation Name': z.string().optional(),
  'Index Name': z.string().optional(),
  'Index Cond': z.string().optional(),
  get Plans() {
    return z.array(Plan).optional()
  },
})
const Explained = z.tuple([z.object({ 'QUERY PLAN': z.tuple([z.object({ Plan })]) })])

function nodesOf(plan: Plan): Plan[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]
}

/** The indexes a statement goes by, and what it reads from end to end, or gathers before it can give anything back. */
async function explain(
  text: string,
  { settings = [], values }: { settings?: readonly string[]; values?: readonly unknown[] },
): Promise<{ indexes: string[]; scans: string[]; whole: string[]; gathers: string[] }> {
  const client = await pool.connect()
  try {
    for (const setting of settings) await client.query(`SET ${setting}`)
    const options = values === undefined ? 'FORMAT JSON, GENERIC_PLAN' : 'FORMAT JSON'
    // Without values there must be no parameter for the driver to look for: as one simple query.
    const query = `EXPLAIN (${options}) ${text}`
    const { rows } = await (values === undefined ? client.query(query) : client.query(query, [...values]))
    const [
      {
        'QUERY PLAN': [{ Plan: plan }],
      },
    ] = Explained.parse(rows)
    const nodes = nodesOf(plan)
    const whole = nodes.filter((node) => node['Index Name'] !== undefined && node['Index Cond'] === undefined)
    return {
      gathers: nodes.map((node) => node['Node Type']).filter((type) => GATHERING.includes(type)),
      whole: whole.flatMap((node) => node['Index Name'] ?? []),
      indexes: [...new Set(nodes.flatMap((node) => node['Index Name'] ?? []))].toSorted(byName),
      scans: nodes
        .filter((node) => node['Node Type'] === 'Seq Scan')
        .flatMap((node) => node['Relation Name'] ?? []),
    }
  } finally {
    await client.query('RESET ALL')
    client.release()
  }
}

const byName = (a: string, b: string) => (a < b ? -1 : 1)

const onIndexLane: [Statement, string[]][] = [
  [CLAIM, ['sagas_pk', 'sagas_ready_idx', 'sagas_unread_idx']],
  [CLAIM_SUSPECT, ['sagas_pk', 'sagas_suspect_idx']],
  [TAKE_AGAIN, ['sagas_pk']],
  [NEXT_DUE, ['sagas_ready_idx', 'sagas_suspect_idx']],
  [COMMIT, ['sagas_pk']],
  [COMMIT_ONE, ['sagas_pk']],
  [WHERE_NOW, ['saga_history_pk', 'sagas_pk']],
  [RELEASE, ['sagas_pk']],
  [PARK, ['sagas_pk']],
  [SAGAS, ['sagas_pk']],
  [RESTING, ['sagas_pk']],
]

/** What a lane plans on its first day it keeps: on empty tables every index costs the same, and only one is right. */
test.runIf(canExplainLanes)('on the lanes, planned before there is a single saga (F41)', async () => {
  const empty = await createTestDatabase()
  const client = new pg.Client(empty.url)
  await client.connect()
  const settings = [...SETTINGS, JOIN_SETTINGS.index].map((setting) => `SET ${setting}`)
  await client.query(settings.join('; '))
  for (const [{ name, text }, wanted] of onIndexLane) {
    const { rows } = await client.query<{ 'QUERY PLAN': unknown }>(
      `EXPLAIN (FORMAT JSON, GENERIC_PLAN) ${text}`,
    )
    const [
      {
        'QUERY PLAN': [{ Plan: plan }],
      },
    ] = Explained.parse(rows)
    const indexes = new Set(nodesOf(plan).flatMap((node) => node['Index Name'] ?? []))
    const ours = [...indexes].filter((index) => !index.startsWith('workers_')).toSorted(byName)
    expect({ name, indexes: ours }).toEqual({ name, indexes: wanted })
  }
  await client.end()
  await empty.drop()
})

const filters: [string, SagaFilter, string[]][] = [
  ['all', {}, ['sagas_status_idx']],
  ['what needs attention', { status: ['stuck', 'failed'] }, ['sagas_status_idx']],
  ['a definition', { definition: 'nobody' }, ['sagas_definition_idx']],
  ['a definition that most are of', { definition: 'order', version: 2 }, ['sagas_definition_idx']],
  ['a failed step', { failedStep: 'step1' }, ['sagas_failed_step_idx']],
  ['what ended unclean', { clean: false }, ['sagas_unclean_idx']],
  ['what is paused', { paused: true }, ['sagas_paused_idx']],
  ['one key', { sagaKey: '10' }, ['sagas_key_idx', 'sagas_pk']],
  ['one tag', { tags: { shop: '100' } }, ['sagas_pk', 'sagas_status_idx', 'sagas_tags_idx']],
  [
    'a text',
    { q: 'nobody' },
    [
      'sagas_correlation_idx',
      'sagas_definition_idx',
      'sagas_failed_step_idx',
      'sagas_failure_idx',
      'sagas_key_idx',
      'sagas_pk',
      'sagas_status_idx',
      'sagas_tags_idx',
    ],
  ],
]

describe.each(['without statistics', 'with statistics'])('%s', (which) => {
  beforeAll(async () => {
    if (which === 'with statistics') await pool.query('VACUUM ANALYZE')
  })

  test.runIf(canExplainLanes).each(onIndexLane)('on the lanes: $name', async ({ text }, wanted) => {
    const { indexes, ...read } = await explain(text, { settings: [...SETTINGS, JOIN_SETTINGS.index] })
    expect(read).toEqual({ scans: [], whole: [], gathers: [] })
    expect(indexes.filter((index) => !index.startsWith('workers_'))).toEqual(wanted)
  })

  test.runIf(canExplainLanes)('on the lanes: a commit that tells other sagas', async () => {
    const { text } = COMMIT_WITH_FAMILY
    const plan = await explain(text, { settings: [...SETTINGS, JOIN_SETTINGS.index] })
    expect(plan).toMatchObject({ scans: [], whole: [], indexes: ['sagas_pk'] })
  })

  test.runIf(canExplainLanes).each<[Statement, string[]]>([
    [INSERT, ['definitions_pk', 'workers_alive_idx']],
    [INSERT_ONE, ['definitions_pk', 'workers_alive_idx']],
    [HOLDERS, ['sagas_pk', 'sagas_start_key_once']],
  ])('on the lanes of the starts: $name', async ({ text }, wanted) => {
    const { indexes, ...read } = await explain(text, { settings: [...SETTINGS, JOIN_SETTINGS.hash] })
    expect(read).toEqual({ scans: [], whole: [], gathers: [] })
    expect(indexes).toEqual(wanted)
  })

  test.each([
    ['pulse', PULSE, [newSagaId(0), 0, true, '{}'], ['sagas_unread_idx']],
    ['leases', LEASES, [newSagaId(0)], ['sagas_owner_idx']],
    ['sweep', SWEEP, [1_000], ['sagas_owner_idx']],
    ['offer', OFFER, [['order'], ['order'], 30_000], ['sagas_ready_idx']],
  ])('in the session: %s', async (_, text, values, wanted) => {
    const { indexes, scans, gathers } = await explain(text, { settings: SESSION_SETTINGS, values })
    expect(scans).toEqual([])
    // Only a plain scan marks the dead entries it meets: the others would meet those of all sagas since the last vacuum again.
    expect(gathers).not.toContain('Bitmap Heap Scan')
    expect(indexes).toEqual(expect.arrayContaining(wanted))
  })

  /** Runs something on a pool that notes what it was asked, and explains the statements that read or write sagas. */
  async function explainAll(
    work: (database: Kysely<Tables>) => Promise<unknown>,
    settings: readonly string[] = [],
  ) {
    const asked: { text: string; values: readonly unknown[] }[] = []
    const log = ({ query: { sql: text, parameters: values } }: LogEvent) => void asked.push({ text, values })
    const database = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }), log })
    await work(database)
    const ours = asked.filter(({ text }) => /\bsagas\b/.test(text))
    expect(ours.length).toBeGreaterThan(0)
    return Promise.all(ours.map(({ text, values }) => explain(text, { settings, values })))
  }

  const queriesOf = (database: Kysely<Tables>) => {
    const lane = createLane({ databaseUrl: url, applicationName: 'test' })
    return createQueries(database, lane, createDefinitions(database, lane), createHistory(database))
  }

  test.each(filters)('a page of %s', async (_, filter, wanted) => {
    const before = { createdAt: new Date().toISOString(), sagaId: newSagaId(0) }
    for (const page of [{ limit: 20 }, { limit: 20, before }]) {
      const plans = await explainAll(
        (database) => queriesOf(database).sagas(filter, page),
        ['enable_seqscan = off'],
      )
      expect(plans.flatMap(({ scans }) => scans)).toEqual([])
      expect(new Set(plans.flatMap(({ indexes }) => indexes))).toEqual(new Set(wanted))
    }
  })

  test('a letter, an end by hand', async () => {
    const { rows } = await pool.query<{ saga_id: string }>(
      `SELECT saga_id FROM sagas WHERE status = 'running' LIMIT 2`,
    )
    const [one = '', other = ''] = rows.map(({ saga_id }) => saga_id)
    const plans = await explainAll(async (database) => {
      await createMailbox(database).post(one, { kind: 'cancel', actor: 'a', reason: 'b' })
      await createMailbox(database).abandon(other, { actor: 'a', reason: 'b' })
    })
    expect(plans).toEqual([1, 2].map(() => ({ indexes: ['sagas_pk'], scans: [], whole: [], gathers: [] })))
  })
})

/** One saga has room on its page; of many that grow, some must move to another. */
test.each([
  [1, 1],
  [20, 0.9],
])('the steps of %i sagas stay on their page, touching no index (HOT)', async (sagas, least) => {
  const stage = await createStage({ own: true })
  for (const table of ['sagas', 'workers'])
    await stage.sql(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`)
  const definition = await stage.register({
    name: 'order',
    steps: Array.from({ length: 12 }, (_, n) => ({ name: `step${n}`, action: { type: 'handler' } })),
  })
  const input = 'x'.repeat(300)
  await Promise.all(Array.from({ length: sagas }, () => stage.start(definition, { input, inputBytes: 302 })))
  const worker = await stage.worker({ leaseMs: 30_001 })
  let held = (await worker.claims.claim(['order'], sagas)).map(heldAs)
  // Old rows stay on their pages while somebody may still see them: an analyze of another table, and whoever writes anywhere on this
  // server since before they were old. Those that come later see only the new ones.
  const lookers = `SELECT count(*)::int AS n FROM pg_stat_activity, (SELECT min(age(xmin)) AS age FROM sagas) AS newest
    WHERE pid <> pg_backend_pid()
      AND (age(backend_xid) >= newest.age OR (datname = current_database() AND age(backend_xmin) >= newest.age))`
  for (let step = 0; step < 11; step++) {
    await eventually('nobody else looks', async () =>
      (await stage.sql<{ n: number }>(lookers))[0]?.n === 0 ? true : undefined,
    )
    const transitions = held.map((one) =>
      transitionOf(one, success(one.state, 'y'.repeat(60)), definition.resolved),
    )
    await worker.commits.commit(transitions, step % 2)
    held = held.map((one, n) => ({
      ...one,
      version: one.version + 1,
      state: transitions[n]?.state ?? one.state,
    }))
  }
  for (let n = 0; n < 5; n++) await worker.session.pulse(worker.workerId, { holds: sagas, services: {} })
  // A session reports its figures at the latest when it ends.
  await worker.close()
  const figuresOf = async (table: string) => {
    const figures =
      'SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = $1'
    return (await stage.sql<{ updates: number; hot: number }>(figures, [table]))[0]
  }
  const { hot } = await eventually('the figures are in', async () => {
    const found = await figuresOf('sagas')
    return found?.updates === sagas * 12 ? found : undefined
  })
  // The claim is the one update that moves the row in the indexes.
  expect(hot).toBeLessThanOrEqual(sagas * 11)
  expect(hot).toBeGreaterThanOrEqual(sagas * 11 * least)
  const workers = await eventually('theirs too', async () => {
    const found = await figuresOf('workers')
    return found?.updates === 6 ? found : undefined
  })
  expect(workers.hot).toBe(6)
})
