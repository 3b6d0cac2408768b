import { openBacklog } from '../backlog.ts'
import { outage } from '../recovery/outage.ts'
import { restart } from '../recovery/restart.ts'
import { killed, vanished } from '../recovery/takeover.ts'
import type { Contender, Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const HOUR_MS = 3_600_000
const OUTAGE_MS = 600_000

export const recovery: Scenario = {
  name: 'recovery',
  about:
    'After the death of a worker, the disappearance of its machine, ten minutes without a service, and a restart of Postgres.',
  onlyIfNamed: true,
  once: true,
  contenders: ({ size = 10_000 }) => [
    killed(),
    vanished(),
    drained(size),
    restart(),
    outage({ sagas: size, outageMs: OUTAGE_MS }),
  ],
  ratios: [],
}

/** Until another has carried all that it held to their ends. */
function drained(size: number): Contender {
  return {
    name: `killed worker, ${size} sagas`,
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
  }
}
