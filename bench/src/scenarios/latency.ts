import { install, sagaOf } from '../installation.ts'
import { bareCommit } from '../limits.ts'
import { load, median } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender, Scenario } from '../scenario.ts'

const FORWARD = 'three steps'
const BACKWARD = 'two steps and their undo'

/** Forward: the start and three steps. Backward: the start, two steps, a refusal, two undone. */
export const latency: Scenario = {
  name: 'latency',
  about: 'One saga at a time, from its start to the commit of its end, in this process.',
  contenders: ({ size = 1_500 }) => [
    bareCommit(size * 3),
    ours(FORWARD, { fails: false, transitions: 3 }, size),
    ours(BACKWARD, { fails: true, transitions: 5 }, size),
  ],
  ratios: [
    {
      name: 'step p50 : bare commit, the time between two steps',
      of: [FORWARD, 'betweenStepsP50Ms'],
      to: ['bare commit', 'p50Ms'],
      goal: '≤ 1.35',
    },
    { name: 'saga p50 : bare commit', of: [FORWARD, 'p50Ms'], to: ['bare commit', 'p50Ms'], goal: '≤ 6' },
    {
      name: 'compensated saga p50 : bare commit',
      of: [BACKWARD, 'p50Ms'],
      to: ['bare commit', 'p50Ms'],
      goal: '≤ 9',
    },
  ],
}

function ours(name: string, path: { fails: boolean; transitions: number }, size: number): Contender {
  return {
    name,
    async open(place) {
      const meter = await createMeter(place)
      const betweenMs: number[] = []
      let calledAt = 0
      const saga = sagaOf({
        name: 'order',
        steps: 3,
        fails: path.fails,
        onCall: (n) => {
          const now = performance.now()
          if (n > 0) betweenMs.push(now - calledAt)
          calledAt = now
        },
      })
      const installation = await install(place, saga, { concurrency: 200 })
      return {
        async run() {
          betweenMs.length = 0
          const figures = await load({
            meter,
            count: size,
            inFlight: 1,
            stepsEach: path.transitions,
            one: () => installation.runOne(),
          })
          return { ...figures, betweenStepsP50Ms: median(betweenMs) }
        },
        async close() {
          await installation.close()
          await meter.close()
        },
      }
    },
  }
}
