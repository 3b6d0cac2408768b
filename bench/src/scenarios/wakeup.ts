import { setTimeout as sleep } from 'node:timers/promises'
import { openApiStore } from '@backstitch/store'
import { documentOf } from '../installation.ts'
import { bareCommit } from '../limits.ts'
import { median } from '../load.ts'
import { now } from '../now.ts'
import type { Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const IDLE = 'idle worker'
const PAUSE_MS = 20

export const wakeup: Scenario = {
  name: 'wakeup',
  about:
    'From the acknowledgement of a start to the call of its first handler, in an idle worker of another process; one every 20 ms.',
  contenders: ({ size = 300 }) => [
    bareCommit(),
    bareCommit(size, PAUSE_MS),
    {
      name: IDLE,
      async open(place) {
        let heard: (at: number) => void = () => undefined
        const workers = await startWorkers(place, 1, { onCall: (at) => heard(at) })
        const store = await openApiStore({ databaseUrl: place.url })
        const definition = await store.definitions.register(documentOf({ name: 'order', steps: 3 }))
        return {
          async run() {
            const tookMs: number[] = []
            const startTookMs: number[] = []
            for (let n = 0; n < size; n++) {
              const called = new Promise<number>((resolve) => {
                heard = resolve
              })
              const sentAt = now()
              await store.starts.start({ definition, input: null, inputBytes: 4, requestHash: 'bench' })
              store.wakeups.due(definition.queue)
              const startedAt = now()
              startTookMs.push(startedAt - sentAt)
              tookMs.push((await called) - startedAt)
              await sleep(PAUSE_MS)
            }
            return { p50Ms: median(tookMs), startP50Ms: median(startTookMs) }
          },
          async close() {
            await workers.close()
            await store.close()
          },
        }
      },
    },
  ],
  ratios: [
    { name: 'wake-up p50 : bare commit in a row', of: [IDLE, 'p50Ms'], to: ['bare commit', 'p50Ms'] },
    {
      name: 'wake-up p50 : bare commit as seldom',
      of: [IDLE, 'p50Ms'],
      to: [`bare commit every ${PAUSE_MS} ms`, 'p50Ms'],
      goal: '≤ 3',
    },
    { name: 'wake-up p50 : commit of the start', of: [IDLE, 'p50Ms'], to: [IDLE, 'startP50Ms'] },
  ],
}
