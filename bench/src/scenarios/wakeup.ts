import { setTimeout as sleep } from 'node:timers/promises'
import { openApiStore } from '@backstitch/store'
import { documentOf } from '../installation.ts'
import { bareCommit } from '../limits.ts'
import { median } from '../load.ts'
import type { Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const IDLE = 'idle worker'

export const wakeup: Scenario = {
  name: 'wakeup',
  about:
    'From the acknowledgement of a start to the call of its first handler, in an idle worker of another process.',
  contenders: ({ size = 100 }) => [
    bareCommit(),
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
            for (let n = 0; n < size; n++) {
              const called = new Promise<number>((resolve) => {
                heard = resolve
              })
              await store.starts.start({ definition, input: null, inputBytes: 4, requestHash: 'bench' })
              store.wakeups.due(definition.queue)
              const startedAt = performance.timeOrigin + performance.now()
              tookMs.push((await called) - startedAt)
              await sleep(20)
            }
            return { p50Ms: median(tookMs) }
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
    { name: 'wake-up p50 : bare commit', of: [IDLE, 'p50Ms'], to: ['bare commit', 'p50Ms'], goal: '≤ 3' },
  ],
}
