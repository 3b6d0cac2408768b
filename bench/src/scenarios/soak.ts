import { install, sagaOf } from '../installation.ts'
import { type Cost, createMeter } from '../meter.ts'
import { query } from '../place.ts'
import type { Figures, Scenario } from '../scenario.ts'

const IN_FLIGHT = 1_000
const TENTHS = 10

export const soak: Scenario = {
  name: 'soak',
  about: `Sagas of three handlers, ${IN_FLIGHT} in flight, for ten minutes (--size says how many seconds); --verbose shows each minute.`,
  onlyIfNamed: true,
  once: true,
  contenders: ({ size = 600, say }) => [
    {
      name: 'soak',
      async open(place) {
        const meter = await createMeter(place)
        const installation = await install(place, sagaOf({ name: 'order', steps: 3 }), {
          concurrency: IN_FLIGHT,
        })
        return {
          async run() {
            const perSecond: number[] = []
            let before = await standing(place.url)
            for (let n = 1; n <= TENTHS; n++) {
              const { ended, cost } = await forAWhile(meter, (size * 1_000) / TENTHS, installation.runOne)
              const after = await standing(place.url)
              perSecond.push(ended / cost.seconds)
              say(`tenth ${n}: ${JSON.stringify(tenth(ended, cost, before, after))}`)
              before = after
            }
            const [, second = 0] = perSecond
            const last = perSecond.at(-1) ?? 0
            return { secondTenth: second, lastTenth: last, ...inTheEnd(before) }
          },
          async close() {
            await installation.close()
            await meter.close()
          },
        }
      },
    },
  ],
  ratios: [
    {
      name: 'last tenth : second tenth',
      of: ['soak', 'lastTenth'],
      to: ['soak', 'secondTenth'],
      goal: '≥ 0.9',
    },
  ],
}

/** So many at a time until the time is over, and then no new ones; a tenth ends when its last saga has. */
async function forAWhile(
  meter: Awaited<ReturnType<typeof createMeter>>,
  ms: number,
  one: () => Promise<void>,
): Promise<{ ended: number; cost: Cost }> {
  let ended = 0
  const cost = await meter.measure(async () => {
    const startedAt = performance.now()
    async function client(): Promise<void> {
      while (performance.now() - startedAt < ms) {
        await one()
        ended++
      }
    }
    await Promise.all(Array.from({ length: IN_FLIGHT }, client))
  })
  return { ended, cost }
}

type Standing = Awaited<ReturnType<typeof standing>>

/** What has been counted since the database was made, and how large things are. */
async function standing(url: string) {
  const [row = {}] = await query(
    url,
    `SELECT n_tup_upd::float8 AS updates, n_tup_hot_upd::float8 AS hot, n_tup_newpage_upd::float8 AS moved, n_dead_tup::float8 AS dead,
            autovacuum_count::float8 AS vacuums, pg_relation_size('sagas') / 1048576.0::float8 AS heap, pg_indexes_size('sagas') / 1048576.0::float8 AS keys,
            pg_relation_size('sagas_ready_idx') / 1048576.0::float8 AS ready, pg_relation_size('sagas_owner_idx') / 1048576.0::float8 AS owned,
            pg_total_relation_size('saga_history') / 1048576.0::float8 AS history,
            (SELECT sum(num_timed + num_requested)::float8 FROM pg_stat_checkpointer) AS checkpoints,
            (SELECT wal_fpi::float8 FROM pg_stat_wal) AS images,
            (SELECT sum(reads)::float8 FROM pg_stat_io WHERE object = 'relation') AS reads,
            (SELECT sum(writes)::float8 FROM pg_stat_io WHERE object = 'relation' AND backend_type = 'client backend') AS writes
     FROM pg_stat_user_tables WHERE relname = 'sagas'`,
  )
  const number = (name: string) => Number(row[name])
  return {
    updates: number('updates'),
    hot: number('hot'),
    moved: number('moved'),
    deadRows: number('dead'),
    vacuums: number('vacuums'),
    sagasMb: number('heap'),
    indexesMb: number('keys'),
    readyIndexMb: number('ready'),
    ownerIndexMb: number('owned'),
    historyMb: number('history'),
    checkpoints: number('checkpoints'),
    pageImages: number('images'),
    pagesRead: number('reads'),
    pagesWrittenByClients: number('writes'),
    rssMb: process.memoryUsage.rss() / 2 ** 20,
  }
}

function tenth(ended: number, cost: Cost, before: Standing, after: Standing): Figures {
  const steps = ended * 3
  const updates = after.updates - before.updates
  const figures = {
    sagasPerSecond: ended / cost.seconds,
    nodeCpuUsPerStep: cost.nodeCpuUs / steps,
    postgresCpuUsPerStep: cost.postgresCpuUs / steps,
    walBytesPerStep: cost.walBytes / steps,
    pageImagesPerStep: (after.pageImages - before.pageImages) / steps,
    pagesReadPerStep: (after.pagesRead - before.pagesRead) / steps,
    pagesWrittenByClientsPerStep: (after.pagesWrittenByClients - before.pagesWrittenByClients) / steps,
    hot: (after.hot - before.hot) / updates,
    toAnotherPage: (after.moved - before.moved) / updates,
    checkpoints: after.checkpoints - before.checkpoints,
    vacuums: after.vacuums - before.vacuums,
    ...sizes(after),
  }
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(3))]),
  )
}

function sizes(at: Standing): Figures {
  const { deadRows, sagasMb, indexesMb, readyIndexMb, ownerIndexMb, historyMb, rssMb } = at
  return { deadRows, sagasMb, indexesMb, readyIndexMb, ownerIndexMb, historyMb, rssMb }
}

function inTheEnd(at: Standing): Figures {
  return { hotUpdates: at.hot / at.updates, toAnotherPage: at.moved / at.updates, ...sizes(at) }
}
