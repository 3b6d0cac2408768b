import { buildApp } from '@backstitch/api/app'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import pg from 'pg'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { type Installation, install, sagaOf } from './installation.ts'

/**
 * What a saga costs, in counts and not in times: these do not depend on how busy the machine is, and what makes them grow
 * makes everything slower (docs/reference/performance.md).
 */

const { url, query, drop } = await createTestDatabase()
let installation: Installation
beforeAll(async () => {
  installation = await install({ url }, sagaOf({ name: 'order', steps: 3 }), { concurrency: 200 })
  // Whatever is read once and kept has been read.
  await installation.runOne()
  await installation.runOne(undefined, { apart: true })
})
afterAll(async () => {
  vi.restoreAllMocks()
  await installation.close()
  await drop()
})

type Asked = { name: string | undefined; text: string; rows: number }

const Statement = z.object({ name: z.string().optional(), text: z.string(), values: z.array(z.unknown()) })
const Answer = z.object({ rows: z.array(z.unknown()) })

/** Where whatever is sent to Postgres passes. */
const CLIENTS: { query(...given: unknown[]): unknown } = pg.Client.prototype

/** Every statement that is sent while `work` is done, whoever sends it. */
async function statementsOf(work: () => Promise<unknown>): Promise<Asked[]> {
  const asked: Asked[] = []
  const send = CLIENTS.query
  vi.spyOn(CLIENTS, 'query').mockImplementation(async function (this: pg.Client, ...given: unknown[]) {
    const answer: unknown = await Reflect.apply(send, this, given)
    const statement = Statement.safeParse(given[0])
    const { rows } = Answer.safeParse(answer).data ?? { rows: [] }
    if (statement.success) asked.push({ ...pick(statement.data), rows: rows.length })
    else asked.push({ name: undefined, text: String(given[0]), rows: rows.length })
    return answer
  })
  await work()
  vi.restoreAllMocks()
  return asked
}

function pick({ name, text }: z.infer<typeof Statement>) {
  return { name, text }
}

function count(asked: Asked[], name: string): number {
  return asked.filter((one) => one.name === name && one.rows > 0).length
}

test.each([
  ['one start and three commits', { apart: false, claims: 0 }],
  ['one start, one claim and three commits, if it was started elsewhere', { apart: true, claims: 1 }],
])('a saga of three steps is %s: no other statement reads or writes it', async (_, { apart, claims }) => {
  const asked = await statementsOf(() => installation.runOne(undefined, { apart }))
  expect({
    starts: count(asked, 'start_one'),
    claims: count(asked, 'claim'),
    commits: count(asked, 'commit_one'),
    // The last one says that the saga has ended: those who listen are told in the same statement.
    told: count(asked, 'commit_one_told'),
  }).toEqual({ starts: 1, claims, commits: 2, told: 1 })
  const lanes = ['start_one', 'claim', 'commit_one', 'commit_one_told', 'next_due', 'notify']
  const others = asked.filter(({ name }) => name === undefined || !lanes.includes(name))
  // The heartbeat goes on meanwhile: it looks at the workers, and at its own leases. The publisher looks at no saga.
  const ofSagas = others.filter(({ text }) => /\b(sagas|saga_history|saga_mail)\b/.test(text))
  expect(ofSagas.filter(({ text }) => !/\bworkers w\b|WHERE s\.owner = \$1/.test(text))).toEqual([])
})

test('a start over HTTP is one statement: it reads the highest version, too (S26)', async () => {
  const app = await buildApp({ store: () => installation.store, log: pino({ level: 'silent' }) })
  const start = async () => {
    const payload = { definition: 'order', input: { orderId: 'o-1' } }
    const { statusCode } = await app.inject({ method: 'POST', url: '/v1/sagas', payload })
    expect(statusCode).toBe(202)
  }
  await start()
  const asked = await statementsOf(async () => {
    for (let n = 0; n < 10; n++) await start()
  })
  await app.close()
  const ofStarts = asked.filter(({ text }) => /\bdefinitions\b/.test(text))
  expect(ofStarts.map(({ name }) => name)).toEqual(Array.from({ length: 10 }, () => 'start_one'))
})

test('a hundred at once share their starts, claims and commits', async () => {
  const asked = await statementsOf(() =>
    Promise.all(Array.from({ length: 100 }, () => installation.runOne(undefined, { apart: true }))),
  )
  // Alone they would be 100, 100 and 300. How many it is depends on the machine; that it is a fraction does not.
  expect(count(asked, 'start') + count(asked, 'start_one')).toBeLessThanOrEqual(25)
  expect(count(asked, 'claim')).toBeLessThanOrEqual(50)
  expect(count(asked, 'commit') + count(asked, 'commit_one')).toBeLessThanOrEqual(100)
})

type Plan = {
  'Node Type': string
  'WAL Bytes'?: number | undefined
  'WAL FPI'?: number | undefined
  'Shared Hit Blocks': number
  'Shared Read Blocks': number
  Plans?: Plan[] | undefined
}
const Plan: z.ZodType<Plan> = z.object({
  'Node Type': z.string(),
  'WAL Bytes': z.number().optional(),
  'WAL FPI': z.number().optional(),
  'Shared Hit Blocks': z.number(),
  'Shared Read Blocks': z.number(),
  get Plans() {
    return z.array(Plan).optional()
  },
})
const Explained = z.object({
  rows: z.tuple([z.object({ 'QUERY PLAN': z.tuple([z.object({ Plan })]) })]),
})

function literalOf(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string') return `'${value}'`
  if (!Array.isArray(value)) return undefined
  return value.length === 0 ? "'{}'" : `ARRAY[${value.map(literalOf).join(', ')}]`
}

function nodesOf(plan: Plan): Plan[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]
}

/** What the first statement of this name costs for each of its rows: carried out once more before, and rolled back. */
async function costOf(
  name: string,
  sagas: number,
): Promise<{ pages: number; logBytes: number; fullPages: number }> {
  const seen: { pages: number; logBytes: number; fullPages: number }[] = []
  const send = CLIENTS.query
  vi.spyOn(CLIENTS, 'query').mockImplementation(async function (this: pg.Client, ...given: unknown[]) {
    const ask = async (...one: unknown[]): Promise<unknown> => Reflect.apply(send, this, one)
    const statement = Statement.safeParse(given[0])
    if (!statement.success || statement.data.name !== name) return ask(...given)
    const { text, values } = statement.data
    await ask('BEGIN')
    const how = 'EXPLAIN (ANALYZE, WAL, BUFFERS, FORMAT JSON)'
    const literals = values.map(literalOf)
    // By the plan that the connection has kept since its first day, where the values can be written down.
    const explained: unknown = literals.includes(undefined)
      ? await ask(`${how} ${text}`, values)
      : await ask(`${how} EXECUTE ${name}(${literals.join(', ')})`)
    await ask('ROLLBACK')
    const answer = await ask(...given)
    const rows = Answer.parse(answer).rows.length
    const [
      {
        'QUERY PLAN': [{ Plan: plan }],
      },
    ] = Explained.parse(explained).rows
    const writes = nodesOf(plan).filter((node) => node['Node Type'] === 'ModifyTable')
    const sum = (of: (node: Plan) => number) => writes.reduce((total, node) => total + of(node), 0)
    if (rows >= 20) {
      seen.push({
        pages: sum((node) => node['Shared Hit Blocks'] + node['Shared Read Blocks']) / rows,
        logBytes: sum((node) => node['WAL Bytes'] ?? 0) / rows,
        fullPages: sum((node) => node['WAL FPI'] ?? 0),
      })
    }
    return answer
  })
  await Promise.all(Array.from({ length: sagas }, () => installation.runOne(undefined, { apart: true })))
  vi.restoreAllMocks()
  const [first] = seen
  if (first === undefined) throw new Error(`no statement "${name}" carried twenty sagas`)
  return first
}

test('among thousands that have ended, a claim looks at a few pages for each saga, and so does a commit', async () => {
  await query(`
    INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                       created_at, updated_at, ended_at)
    SELECT get_byte(uuid_send(id), 15), id, 'order', 1, 'order', 'completed', '{"status": "completed"}', 'h', now(), now(), now()
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 20000)) AS sketch`)
  const claim = await costOf('claim', 200)
  // 15 when this was written; 90 when a claim went from a bucket to all its sagas.
  expect(claim.pages).toBeLessThanOrEqual(40)
  const commit = await costOf('commit', 200)
  expect(commit.pages).toBeLessThanOrEqual(40)
  // Where the server writes whole pages after a checkpoint, the bytes say when the last checkpoint was.
  if (claim.fullPages === 0) expect(claim.logBytes).toBeLessThanOrEqual(1_000)
  if (commit.fullPages === 0) expect(commit.logBytes).toBeLessThanOrEqual(2_500)
})
