import { openBacklog } from '../backlog.ts'
import type { Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const HOUR_MS = 3_600_000

export const recovery: Scenario = {
  name: 'recovery',
  about: 'A worker that holds 10,000 sagas is killed: until another has carried all of them to their end.',
  contenders: ({ size = 10_000 }) => [
    {
      name: 'killed worker',
      async open(place) {
        const backlog = await openBacklog(place)
        return {
          async run() {
            await backlog.start(size)
            const victim = await startWorkers(place, 1, { concurrency: size, stepMs: HOUR_MS })
            await backlog.held()
            const heir = await startWorkers(place, 1, { concurrency: 1_000 })
            const killedAt = performance.now()
            victim.kill(0)
            await backlog.drained()
            const seconds = (performance.now() - killedAt) / 1_000
            await Promise.all([heir.close(), victim.close()])
            return { seconds, sagasPerSecond: size / seconds }
          },
          close: () => backlog.close(),
        }
      },
    },
  ],
  ratios: [],
}
