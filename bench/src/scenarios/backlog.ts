import { randomUUID } from 'node:crypto'
import { openApiStore, openWorkerStore } from '@backstitch/store'
import { fill } from '../fill.ts'
import { median, quantile } from '../load.ts'
import { type Place, query } from '../place.ts'
import type { Contender, Figures, Scenario, ScenarioOptions } from '../scenario.ts'
import { msOf, timed } from '../timed.ts'

const CLAIMS = 200
const LIMIT = 200
const FULL = 'many ended, many due'
const EMPTY = 'nothing else there'

export const backlog: Scenario = {
  name: 'backlog',
  about: `Claims of ${LIMIT} and the statistics: a tenth as many sagas due as ended; --size 10000000 is the goal's (25 GB).`,
  once: true,
  contenders: ({ size = 200_000, say }) => [
    {
      name: FULL,
      async open(place) {
        await fill(place, { ended: size, due: Math.max(CLAIMS * LIMIT * 2, size / 10) }, say)
        return runningOn(place, say)
      },
    },
    {
      name: EMPTY,
      async open(place) {
        await fill(place, { ended: 0, due: CLAIMS * LIMIT * 2 }, say)
        return runningOn(place, say)
      },
    },
  ],
  ratios: ['claimP50Ms', 'nextDueP50Ms', 'pagesPerSaga', 'statsP50Ms'].map((figure) => ({
    name: `${figure}: full : empty`,
    of: [FULL, figure],
    to: [EMPTY, figure],
  })),
}

async function runningOn(place: Place, say: ScenarioOptions['say']): ReturnType<Contender['open']> {
  await countStatements(place)
  const store = await openApiStore({ databaseUrl: place.url })
  return {
    async run() {
      const claims = await claim(place)
      const stats = await timed('stats', () => store.stats(), say)
      return { ...claims, ...stats }
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
