import { install, sagaOf } from '../installation.ts'
import { query } from '../place.ts'
import type { Figures, Scenario } from '../scenario.ts'

export const soak: Scenario = {
  name: 'soak',
  about: 'Sagas of three handlers, 1,000 in flight, for ten minutes (--size says how many seconds).',
  onlyIfNamed: true,
  contenders: ({ size = 600 }) => [
    {
      name: 'soak',
      async open(place) {
        const installation = await install(place, sagaOf({ name: 'order', steps: 3 }), { concurrency: 1_000 })
        return {
          async run() {
            const perTenth = await forTenTenths(size * 1_000, () => installation.runOne())
            const [second = 0] = perTenth.slice(1)
            const last = perTenth.at(-1) ?? 0
            return {
              secondTenth: second,
              lastTenth: last,
              lastToSecond: last / second,
              rssMb: process.memoryUsage.rss() / 2 ** 20,
              ...(await tablesOf(place.url)),
            }
          },
          close: () => installation.close(),
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

/** Sagas that ended in each tenth of the time. */
async function forTenTenths(ms: number, one: () => Promise<void>): Promise<number[]> {
  const startedAt = performance.now()
  const ended = Array.from({ length: 10 }, () => 0)
  const tenth = () => Math.floor(((performance.now() - startedAt) / ms) * 10)
  async function client(): Promise<void> {
    while (tenth() < 10) {
      await one()
      const now = tenth()
      if (now < 10) ended[now] = (ended[now] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: 1_000 }, client))
  return ended
}

async function tablesOf(url: string): Promise<Figures> {
  const [row] = await query(
    url,
    `SELECT n_tup_hot_upd::float8 / greatest(n_tup_upd, 1) AS hot, n_dead_tup::float8 AS dead,
            pg_total_relation_size('sagas')::float8 / 1048576 AS sagas,
            pg_total_relation_size('saga_history')::float8 / 1048576 AS history
     FROM pg_stat_user_tables WHERE relname = 'sagas'`,
  )
  const { hot, dead, sagas, history } = row ?? {}
  return {
    hotUpdates: Number(hot),
    deadRows: Number(dead),
    sagasMb: Number(sagas),
    historyMb: Number(history),
  }
}
