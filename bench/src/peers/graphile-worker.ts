import { randomUUID } from 'node:crypto'
import { Logger, run, type TaskList } from 'graphile-worker'
import pg from 'pg'
import { load } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender } from '../scenario.ts'

/** Three chained jobs, each adding the next, with the batching and the local queue that its guide to performance names. */
export function graphileWorker(inFlight: number, size: number): Contender {
  return {
    name: `graphile-worker, ${inFlight} in flight`,
    async open(place) {
      const meter = await createMeter(place)
      const ended = new Map<string, () => void>()
      const tasks: TaskList = {
        step1: async (payload, { addJob }) => void (await addJob('step2', payload)),
        step2: async (payload, { addJob }) => void (await addJob('step3', payload)),
        step3: async (payload) => {
          const id = idOf(payload)
          ended.get(id)?.()
          ended.delete(id)
        },
      }
      // Its own pool is left open, and brings the process down when the server ends.
      const pool = new pg.Pool({ connectionString: place.url, max: 25 })
      pool.on('error', ignore)
      pool.on('connect', (client) => client.on('error', ignore))
      const runner = await run({
        taskList: tasks,
        pgPool: pool,
        noHandleSignals: true,
        logger: new Logger(() => () => undefined),
        preset: {
          worker: {
            concurrentJobs: 24,
            localQueue: { size: 100 },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
          },
        },
      })
      async function one(): Promise<void> {
        const id = randomUUID()
        const end = new Promise<void>((resolve) => ended.set(id, resolve))
        await runner.addJob('step1', { id, orderId: 'o-1', amount: 4200 })
        await end
      }
      return {
        run: () => load({ meter, count: size, inFlight, stepsEach: 3, one }),
        async close() {
          await runner.stop()
          await pool.end()
          await meter.close()
        },
      }
    },
  }
}

function ignore(): void {}

function idOf(payload: unknown): string {
  return typeof payload === 'object' && payload !== null && 'id' in payload ? String(payload.id) : ''
}
