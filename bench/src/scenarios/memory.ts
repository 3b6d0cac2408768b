import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { openBacklog } from '../backlog.ts'
import { createMeter } from '../meter.ts'
import { query } from '../place.ts'
import type { Contender, Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const IN_FLIGHT = 1_000
const WATCHED_MS = 10_000
const HOUR_MS = 3_600_000
const WAITING = {
  name: 'waiting',
  steps: [{ name: 'wait', action: { type: 'delay', delayMs: HOUR_MS } }],
}

export const memory: Scenario = {
  name: 'memory',
  about: `What a worker process takes: with nothing to do, with ${IN_FLIGHT} sagas in flight until 60,000 have ended, and while 100,000 wait for an hour.`,
  once: true,
  contenders: ({ size }) => [
    watched('nothing to do', 0),
    atWork(size ?? 60_000),
    watched('sagas that wait', size ?? 100_000),
  ],
  ratios: [
    {
      name: 'resident, sagas that wait : nothing to do',
      of: ['sagas that wait', 'rssMb'],
      to: ['nothing to do', 'rssMb'],
    },
  ],
}

function atWork(count: number): Contender {
  return {
    name: `${IN_FLIGHT} in flight`,
    async open(place) {
      const backlog = await openBacklog(place)
      return {
        async run() {
          await backlog.hold(count)
          const workers = await startWorkers(place, 1, { concurrency: IN_FLIGHT })
          await backlog.release()
          await backlog.drained()
          const figures = residentOf(workers.pids)
          await workers.close()
          return figures
        },
        close: () => backlog.close(),
      }
    },
  }
}

/** A worker that was started when its sagas were waiting already, so that nothing is left in it of bringing them there. */
function watched(name: string, count: number): Contender {
  return {
    name,
    async open(place) {
      const backlog = await openBacklog(place, WAITING)
      return {
        async run() {
          const before = await startWorkers(place, 1, { concurrency: IN_FLIGHT })
          await backlog.start(count)
          await backlog.drained()
          await before.close()
          const workers = await startWorkers(place, 1, { concurrency: IN_FLIGHT })
          const meter = await createMeter(place, workers.pids)
          const cost = await meter.measure(() => sleep(WATCHED_MS))
          await meter.close()
          const figures = residentOf(workers.pids)
          await workers.close()
          const [rows] = await query(
            place.url,
            "SELECT (pg_total_relation_size('sagas') + pg_total_relation_size('saga_history'))::float8 AS bytes",
          )
          return {
            ...figures,
            nodeCpuMsPerSecond: cost.childrenCpuUs / 1_000 / cost.seconds,
            postgresCpuMsPerSecond: cost.postgresCpuUs / 1_000 / cost.seconds,
            bytesPerSaga: count === 0 ? Number.NaN : Number(rows?.bytes) / count,
          }
        },
        close: () => backlog.close(),
      }
    },
  }
}

/** As the kernel sees it: now, and at the most since the process was started. */
function residentOf(pids: readonly number[]): { rssMb: number; peakRssMb: number } {
  const [pid] = pids
  const status = pid === undefined ? '' : fs.readFileSync(`/proc/${pid}/status`, 'utf8')
  const mb = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]) / 1024
  return { rssMb: mb('VmRSS'), peakRssMb: mb('VmHWM') }
}
