import { randomUUID } from 'node:crypto'
import type { SagaFilter } from '@backstitch/core'
import { type ApiStore, openApiStore, openWorkerStore } from '@backstitch/store'
import { fill } from '../fill.ts'
import { median, quantile } from '../load.ts'
import { type Place, query } from '../place.ts'
import type { Contender, Figures, Scenario, ScenarioOptions } from '../scenario.ts'

const CLAIMS = 200
const LIMIT = 200
const FULL = 'many ended, many due'
const EMPTY = 'nothing else there'
const DAY_MS = 86_400_000

export const backlog: Scenario = {
  name: 'backlog',
  about: `Claims of ${LIMIT}, pages of the list under every filter and the statistics: a tenth as many sagas due as ended; --size 10000000 is the goal's (25 GB).`,
  once: true,
  contenders: ({ size = 200_000, say }) => [
    {
      name: FULL,
      async open(place) {
        await fill(place, { ended: size, due: Math.max(CLAIMS * LIMIT * 2, size / 10) }, say)
        return runningOn(place, say, true)
      },
    },
    {
      name: EMPTY,
      async open(place) {
        await fill(place, { ended: 0, due: CLAIMS * LIMIT * 2 }, say)
        return runningOn(place, say, false)
      },
    },
  ],
  ratios: ['claimP50Ms', 'nextDueP50Ms', 'pagesPerSaga', 'statsP50Ms'].map((figure) => ({
    name: `${figure}: full : empty`,
    of: [FULL, figure],
    to: [EMPTY, figure],
  })),
}

async function runningOn(
  place: Place,
  say: ScenarioOptions['say'],
  withLists: boolean,
): ReturnType<Contender['open']> {
  await countStatements(place)
  const store = await openApiStore({ databaseUrl: place.url })
  return {
    async run() {
      const claims = await claim(place)
      const stats = await timed('stats', () => store.stats(), say)
      return { ...claims, ...stats, ...(withLists ? await lists(store, say) : {}) }
    },
    close: () => store.close(),
  }
}

/** A worker that takes, and runs nothing. */
async function claim(place: Place): Promise<Figures> {
  const workerId = randomUUID()
  const worker = await openWorkerStore({
    databaseUrl: place.url,
    workerId,
    leaseMs: 30_000,
    onDue: () => undefined,
  })
  const about = { queues: ['order'], handlers: {}, services: {}, concurrency: LIMIT, leaseMs: 30_000 }
  await worker.session.register({ workerId, ...about })
  const claimMs: number[] = []
  const nextDueMs: number[] = []
  for (let n = 0; n < CLAIMS; n++) {
    claimMs.push(await msOf(() => worker.claims.claim(['order'], LIMIT)))
    nextDueMs.push(await msOf(() => worker.claims.nextDueMs(['order'])))
  }
  const pages = await pagesPerRow(place, 'WITH c AS (%FROM sagas s%UPDATE sagas s SET owner%')
  await worker.close()
  const tookMs = claimMs.reduce((sum, ms) => sum + ms, 0)
  return {
    claimedPerSecond: (CLAIMS * LIMIT * 1_000) / tookMs,
    claimP50Ms: median(claimMs),
    claimP99Ms: quantile(
      claimMs.toSorted((a, b) => a - b),
      0.99,
    ),
    nextDueP50Ms: median(nextDueMs),
    pagesPerSaga: pages,
  }
}

/** What anybody may filter by, and what an operator would ask for. */
function filters(): [string, SagaFilter][] {
  const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS).toISOString()
  return [
    ['all', {}],
    ['status=running', { status: ['running'] }],
    ['status=compensating', { status: ['compensating'] }],
    ['status=stuck', { status: ['stuck'] }],
    ['status=completed', { status: ['completed'] }],
    ['status=failed', { status: ['failed'] }],
    ['status=stuck,failed', { status: ['stuck', 'failed'] }],
    ['definition, nine tenths', { definition: 'order' }],
    ['definition, a tenth', { definition: 'payment' }],
    ['definition, one in 100,000', { definition: 'rare' }],
    ['definition, none', { definition: 'nobody' }],
    ['definition and version, the older half', { definition: 'order', version: 1 }],
    ['definition and status=failed', { definition: 'payment', status: ['failed'] }],
    ['definition, one in 100,000, and status=failed', { definition: 'rare', status: ['failed'] }],
    ['sagaKey', { sagaKey: 'key-2' }],
    ['sagaKey, none', { sagaKey: 'nobody' }],
    ['failedStep', { failedStep: 'step1' }],
    ['failedStep and status=failed', { failedStep: 'step1', status: ['failed'] }],
    ['failedStep, none', { failedStep: 'nobody' }],
    ['tag, one in 4,000', { tags: { shop: 's7' } }],
    ['tag, one in 20', { tags: { region: 'r1' } }],
    ['createdAfter, a day', { createdAfter: daysAgo(1) }],
    ['createdBefore, 50 days', { createdBefore: daysAgo(50) }],
    ['updatedBefore, 50 days', { updatedBefore: daysAgo(50) }],
    ['status=running and updatedBefore, a day', { status: ['running'], updatedBefore: daysAgo(1) }],
    ['status=stuck and updatedBefore, a day', { status: ['stuck'], updatedBefore: daysAgo(1) }],
  ]
}

/** The first page, and one far back: where nine tenths of all sagas are newer. */
async function lists(store: ApiStore, say: ScenarioOptions['say']): Promise<Figures> {
  const far = new Date(Date.now() - 90 * DAY_MS).toISOString()
  const before = { createdAt: far, sagaId: 'ffffffff-ffff-7fff-bfff-ffffffffffff' }
  let figures: Figures = {}
  for (const [name, filter] of filters()) {
    const first = () => store.queries.sagas(filter, { limit: 50 })
    const deep = () => store.queries.sagas(filter, { limit: 50, before })
    figures = {
      ...figures,
      ...(await timed(`list, ${name}: first page `, first, say)),
      ...(await timed(`list, ${name}: far back `, deep, say)),
    }
  }
  return figures
}

const SAMPLES = 200
const ENOUGH_MS = 4_000

/** As often as it takes for a p99, but not for ever: what takes seconds is known to be slow after a few. */
async function timed(
  name: string,
  work: () => Promise<unknown>,
  say: ScenarioOptions['say'],
): Promise<Figures> {
  const tookMs: number[] = []
  const startedAt = performance.now()
  while (tookMs.length < SAMPLES && performance.now() - startedAt < ENOUGH_MS) {
    // A question that the API gives up after half a minute took at least as long.
    tookMs.push(await msOf(() => work().catch(() => undefined)))
  }
  const sorted = tookMs.toSorted((a, b) => a - b)
  const [p50, p99] = [quantile(sorted, 0.5), quantile(sorted, 0.99)]
  say(`${name}: ${sorted.length} times, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`)
  return { [`${name}P50Ms`]: p50, [`${name}P99Ms`]: p99 }
}

async function msOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

/** From the next connection on. Only a server of our own can be relied on to know how. */
async function countStatements({ url }: Place): Promise<void> {
  const name = new URL(url).pathname.slice(1)
  await query(url, 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements').catch(() => undefined)
  await query(url, `ALTER DATABASE "${name}" SET pg_stat_statements.track = 'top'`).catch(() => undefined)
}

async function pagesPerRow({ url }: Place, like: string): Promise<number> {
  const [row] = await query(
    url,
    `SELECT (sum(shared_blks_hit + shared_blks_read) / sum(rows))::float8 AS pages FROM pg_stat_statements
     WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND rows > 0 AND query LIKE $1`,
    [`%${like}`],
  ).catch(() => [])
  return Number(row?.pages ?? Number.NaN)
}
