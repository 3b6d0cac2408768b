import { openBacklog } from '../backlog.ts'
import { perStep } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender, Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const PROCESSES = [1, 2, 4]

export const processes: Scenario = {
  name: 'processes',
  about: 'A backlog of three-step sagas, drained by one, two and four worker processes.',
  contenders: ({ size = 8_000 }) => PROCESSES.map((count) => contender(count, size)),
  ratios: PROCESSES.slice(1).map((count) => ({
    name: `steps/s, ${count} processes : 1 process`,
    of: [nameOf(count), 'stepsPerSecond'],
    to: [nameOf(1), 'stepsPerSecond'],
  })),
}

function nameOf(count: number): string {
  return `${count} process${count === 1 ? '' : 'es'}`
}

function contender(count: number, size: number): Contender {
  return {
    name: nameOf(count),
    async open(place) {
      const backlog = await openBacklog(place)
      return {
        async run() {
          await backlog.hold(size)
          const workers = await startWorkers(place, count)
          const meter = await createMeter(place, workers.pids)
          const cost = await meter.measure(async () => {
            await backlog.release()
            await backlog.drained()
          })
          await meter.close()
          await workers.close()
          return perStep(cost, size, 3)
        },
        close: () => backlog.close(),
      }
    },
  }
}
