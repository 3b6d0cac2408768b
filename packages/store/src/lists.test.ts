import { type SagaFilter, type SagaState, Status } from '@backstitch/core'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from './database.ts'
import { isOutage } from './failure.ts'
import { bucketOf, newSagaId } from './ids.ts'
import { type Bounds, createLists, type Lists, type Place } from './lists.ts'
import {
  createStage,
  eventually,
  failure,
  heldAs,
  order,
  type Stage,
  success,
  transitionOf,
} from './testing.ts'

/** A saga as anybody might have left it, told by what a list can be narrowed by. */
type Sketch = {
  sagaId: string
  definition: string
  version: number
  status: Status
  createdAt: number
  updatedAt: number
  uncertain: boolean
  paused: boolean
  failedStep: string | undefined
  failureReason: string | undefined
  sagaKey: string | undefined
  correlationId: string | undefined
  tags: Record<string, string>
}

const ENDED: readonly Status[] = ['completed', 'failed', 'cancelled', 'abandoned']
const BEGIN = Date.parse('2026-01-01T00:00:00Z')
const REASONS = [
  'charge was rejected: No funds',
  "the bank's host did not answer",
  'cancelled by ann: 100% sure',
]

function sketchOf(n: number): Sketch {
  // Different divisors, so that every combination comes about; several are of the same instant.
  const createdAt = BEGIN + Math.floor(n / 3) * 1_000
  const status = Status.options[(n * 5 + Math.floor(n / 11)) % 7] ?? 'running'
  const failedStep = n % 4 === 0 ? ['reserve', 'charge'][n % 8 === 0 ? 0 : 1] : undefined
  return {
    sagaId: newSagaId(createdAt),
    definition: ['order', 'trip', 'reserve'][n % 13 === 0 ? 2 : n % 2] ?? 'order',
    version: 1 + (n % 3),
    status,
    createdAt,
    updatedAt: createdAt + (n % 5) * 3_000,
    uncertain: n % 3 === 1,
    paused: !ENDED.includes(status) && n % 6 === 0,
    failedStep,
    failureReason: n % 4 === 0 ? REASONS[n % 3] : undefined,
    sagaKey: n % 3 === 0 ? `k-${n % 20}_${n}` : undefined,
    correlationId: n % 5 === 0 ? `k-req%${n}` : undefined,
    tags: n % 2 === 0 ? { shop: `s${n % 6}`, 'no"te': n % 4 === 0 ? 'a "b" \\ c' : 'trip' } : {},
  }
}

const SAGAS = Array.from({ length: 400 }, (_, n) => sketchOf(n))

async function insert(stage: Stage, sketches: readonly Sketch[]): Promise<void> {
  const rows = sketches.map((one) => {
    const isoOf = (ms: number) => new Date(ms).toISOString()
    const state: Partial<SagaState> = {
      sagaId: one.sagaId,
      definition: { name: one.definition, version: one.version },
      status: one.status,
      currentStepIndex: 0,
      completedSteps: [],
      compensatedSteps: [],
      context: {},
      startedAt: isoOf(one.createdAt),
      updatedAt: isoOf(one.updatedAt),
      uncertainSteps: one.uncertain ? ['charge'] : [],
      skippedSteps: [],
      attempts: ENDED.includes(one.status) ? {} : { charge: 1, ship: 2 },
      dueAt: { ship: '2030-01-02T00:00:00.000Z', charge: '2030-01-01T00:00:00.000Z' },
      bytes: { inline: 0, total: 0 },
      ...(one.failureReason !== undefined && { failureReason: one.failureReason }),
      ...(one.failedStep !== undefined && { failedStep: one.failedStep }),
    }
    const ended = ENDED.includes(one.status)
    const rests = ended || one.paused || one.status === 'stuck'
    return {
      bucket: bucketOf(one.sagaId),
      saga_id: one.sagaId,
      state,
      status: one.status,
      tags: one.tags,
      definition_name: one.definition,
      definition_version: one.version,
      created_at: isoOf(one.createdAt),
      updated_at: isoOf(one.updatedAt),
      paused: one.paused,
      ended_at: ended ? isoOf(one.updatedAt) : null,
      due_at: rests ? null : isoOf(one.createdAt),
      failed_step: one.failedStep,
      saga_key: one.sagaKey,
      correlation_id: one.correlationId,
      clean: cleanOf(one),
    }
  })
  await stage.sql(
    `INSERT INTO sagas (bucket, saga_id, state, status, tags, definition_name, definition_version, queue, request_hash, created_at,
       updated_at, paused, ended_at, due_at, failed_step, saga_key, correlation_id, start_key, clean, failure_words)
     SELECT bucket, saga_id, state, status, tags, definition_name, definition_version, 'q', 'h', created_at, updated_at,
       paused, ended_at, due_at, failed_step, saga_key, correlation_id, saga_key, clean,
       strip(to_tsvector('simple', state->>'failureReason'))
     FROM jsonb_populate_recordset(NULL::sagas, $1::jsonb)`,
    [JSON.stringify(rows)],
  )
}

function cleanOf({ status, uncertain }: Sketch): boolean | undefined {
  return status === 'failed' || status === 'cancelled' ? !uncertain : undefined
}

/** The filter, as anybody would write it without a database. */
function fits(one: Sketch, filter: SagaFilter): boolean {
  const { tags = {} } = filter
  return (
    (filter.status === undefined || filter.status.includes(one.status)) &&
    (filter.definition === undefined || filter.definition === one.definition) &&
    (filter.version === undefined || filter.version === one.version) &&
    (filter.sagaKey === undefined || filter.sagaKey === one.sagaKey) &&
    (filter.failedStep === undefined || filter.failedStep === one.failedStep) &&
    Object.entries(tags).every(([name, value]) => one.tags[name] === value) &&
    (filter.createdAfter === undefined || one.createdAt > Date.parse(filter.createdAfter)) &&
    (filter.createdBefore === undefined || one.createdAt < Date.parse(filter.createdBefore)) &&
    (filter.updatedBefore === undefined || one.updatedAt < Date.parse(filter.updatedBefore)) &&
    (filter.clean === undefined || filter.clean === cleanOf(one)) &&
    (filter.paused === undefined || filter.paused === one.paused) &&
    (filter.q === undefined || speaksOf(one, filter.q))
  )
}

function speaksOf(one: Sketch, q: string): boolean {
  const wordsOf = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? []
  const words = wordsOf(q)
  return (
    (q.length >= 8 && one.sagaId.startsWith(q.toLowerCase())) ||
    one.sagaKey?.startsWith(q) === true ||
    one.correlationId?.startsWith(q) === true ||
    Object.values(one.tags).includes(q) ||
    one.definition === q ||
    one.failedStep === q ||
    (words.length > 0 && words.every((word) => wordsOf(one.failureReason ?? '').includes(word)))
  )
}

const newestFirst = (one: Sketch, other: Sketch) =>
  other.createdAt - one.createdAt || (one.sagaId > other.sagaId ? -1 : 1)

type Row = { saga_id: string; created_at: Date }

async function pagesOf(list: Lists<Row>, filter: SagaFilter, limit: number): Promise<string[]> {
  const found: string[] = []
  let before: Place | undefined
  do {
    const page = await list(filter, { limit, before })
    expect(page.rows.length).toBeLessThanOrEqual(limit)
    found.push(...page.rows.map(({ saga_id }) => saga_id))
    before = page.last
  } while (before !== undefined)
  return found
}

const instants = fc.integer({ min: -2, max: 140 }).map((s) => new Date(BEGIN + s * 1_000).toISOString())
const someSaga = fc.constantFrom(...SAGAS)
const texts = fc.oneof(
  fc.constantFrom(
    'k-',
    'k-1',
    'k-1_',
    'k-%',
    'k-req%',
    '%',
    '_',
    '\\',
    "'",
    '"',
    's2',
    's4',
    'trip',
    'reserve',
    'charge',
  ),
  fc.constantFrom(
    'no funds',
    'FUNDS',
    'the bank',
    'ann 100',
    'nobody',
    'a "b" \\ c',
    '$.* == 1',
    ':* & | !',
    '019b7',
    '-',
  ),
  someSaga.map(({ sagaId }) => sagaId),
  fc.tuple(someSaga, fc.integer({ min: 8, max: 35 })).map(([{ sagaId }, length]) => sagaId.slice(0, length)),
  fc.string({ minLength: 1, maxLength: 20 }).filter((text) => !/[\p{Cc}\p{Cs}]/u.test(text)),
)
const filters: fc.Arbitrary<SagaFilter> = fc.record(
  {
    status: fc.uniqueArray(fc.constantFrom(...Status.options), { minLength: 1, maxLength: 4 }),
    definition: fc.constantFrom('order', 'trip', 'reserve', 'nobody'),
    version: fc.integer({ min: 1, max: 4 }),
    sagaKey: someSaga.map(({ sagaKey = 'none' }) => sagaKey),
    failedStep: fc.constantFrom('reserve', 'charge', 'nobody'),
    tags: fc.constantFrom(
      { shop: 's2' },
      { shop: 's4', 'no"te': 'a "b" \\ c' },
      { 'no"te': 'trip' },
      { shop: 'none' },
    ),
    createdAfter: instants,
    createdBefore: instants,
    updatedBefore: instants,
    clean: fc.boolean(),
    paused: fc.boolean(),
    q: texts,
  },
  { requiredKeys: [] },
)
/** Three at most, else nearly nothing is ever found. */
const fewFilters = fc
  .tuple(
    filters,
    fc.shuffledSubarray(
      [
        'status',
        'definition',
        'version',
        'failedStep',
        'tags',
        'createdAfter',
        'createdBefore',
        'updatedBefore',
        'clean',
        'paused',
        'q',
        'sagaKey',
      ],
      { maxLength: 3 },
    ),
  )
  .map(
    ([filter, keys]): SagaFilter =>
      Object.fromEntries(Object.entries(filter).filter(([key]) => keys.includes(key))),
  )

test.each<[string, Bounds | undefined]>([
  ['', undefined],
  [
    ', also where each question may look at a few sagas only',
    { scanned: 40, firstScanned: 15, gathered: 20, patienceMs: 10_000 },
  ],
])(
  'the list under any filter, page by page, is what anybody would have picked out by hand%s',
  async (_, most) => {
    const stage = await createStage()
    await insert(stage, SAGAS)
    const database = openDatabase({ databaseUrl: stage.url, applicationName: 'test', max: 1 })
    onTestFinished(() => database.destroy())
    const list = createLists<Row>(database, ['saga_id', 'created_at'], most)
    let found = 0
    await fc.assert(
      fc.asyncProperty(fewFilters, fc.integer({ min: 10, max: 60 }), async (filter, limit) => {
        const wanted = SAGAS.filter((one) => fits(one, filter)).toSorted(newestFirst)
        expect(await pagesOf(list, filter, limit)).toEqual(wanted.map(({ sagaId }) => sagaId))
        found += wanted.length
      }),
      { numRuns: 150 },
    )
    expect(found).toBeGreaterThan(500)
  },
)

test('a page that takes too long is given up by the database, too: nobody goes on scanning', async () => {
  const stage = await createStage()
  const database = openDatabase({ databaseUrl: stage.url, applicationName: 'impatient', max: 1 })
  onTestFinished(() => database.destroy())
  const bounds = { scanned: 5, firstScanned: 5, gathered: 5, patienceMs: 20 }
  const list = createLists<Row>(database, ['saga_id', 'created_at'], bounds)
  await stage.sql('BEGIN')
  await stage.sql('LOCK TABLE sagas IN ACCESS EXCLUSIVE MODE')
  const asked = list({ status: ['failed'] }, { limit: 5 })
  await expect(asked).rejects.toSatisfy(isOutage)
  await stage.sql('ROLLBACK')
  const busy =
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'impatient' AND state <> 'idle'"
  await eventually('the connection rests', async () => (await stage.sql(busy)).length === 0 || undefined)
  const patient = createLists<Row>(database, ['saga_id', 'created_at'])
  expect(await patient({ status: ['failed'] }, { limit: 5 })).toEqual({ rows: [] })
})

test('what the list says of a saga', async () => {
  const stage = await createStage()
  const moving = SAGAS.filter(
    ({ status, correlationId }) => status === 'running' && correlationId !== undefined,
  )
  const unclean = SAGAS.filter((one) => cleanOf(one) === false)
  await insert(stage, [...moving.slice(0, 1), ...unclean.slice(0, 1)])
  const { items } = await stage.api.queries.sagas({}, { limit: 2 })
  expect(items.find(({ status }) => status === 'running')).toMatchObject({
    correlationId: moving[0]?.correlationId,
    currentSteps: ['charge', 'ship'],
    dueAt: '2030-01-01T00:00:00.000Z',
    paused: moving[0]?.paused,
  })
  expect(items.find(({ clean }) => clean === false)).toMatchObject({
    currentSteps: [],
    paused: false,
    endedAt: new Date(unclean[0]?.updatedAt ?? 0).toISOString(),
  })
})

test('a failure is found by its words as soon as the saga turns round, and an unclean end when it has come (S9)', async () => {
  const stage = await createStage()
  const definition = await stage.register({ ...order, defaults: { retry: { maxAttempts: 1 } } })
  const sagaId = await stage.start(definition)
  const worker = await stage.worker()
  const [claimed] = await worker.claims.claim(['order'], 1)
  if (claimed === undefined) throw new Error('nothing was claimed')
  const idsOf = async (filter: SagaFilter) =>
    (await stage.api.queries.sagas(filter, { limit: 10 })).items.map((one) => one.sagaId)
  let held = heldAs(claimed)
  expect(await idsOf({ q: 'Insufficient funds' })).toEqual([])
  for (const event of [success(held.state), undefined]) {
    const step = transitionOf(
      held,
      event ?? failure(held.state, 'uncertain', 'insufficient funds'),
      definition.resolved,
    )
    await worker.commits.commit([step], 0)
    held = { ...held, version: held.version + 1, state: step.state }
  }
  expect(held.state.status).toBe('compensating')
  expect(await idsOf({ q: 'Insufficient funds' })).toEqual([sagaId])
  expect(await idsOf({ clean: false })).toEqual([])
  const end = transitionOf(held, success(held.state), definition.resolved)
  expect(end.state).toMatchObject({ status: 'failed', uncertainSteps: ['step2'] })
  await worker.commits.commit([end], 0)
  expect(await idsOf({ q: 'Insufficient funds', clean: false })).toEqual([sagaId])
  expect(await idsOf({ clean: true })).toEqual([])
})
