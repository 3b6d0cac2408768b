import { sagaOf } from '../installation.ts'
import { ours } from '../ours.ts'
import type { Scenario } from '../scenario.ts'

const FORWARD = 'forward: five steps'
const BACKWARD = 'backward: three steps, the last refused, two undone'

export const compensation: Scenario = {
  name: 'compensation',
  about: 'Five transitions a saga, 1,000 sagas in flight: all forward, or two of them undoing.',
  contenders: ({ size: count = 8_000 }) => [
    ours({
      name: FORWARD,
      saga: sagaOf({ name: 'order', steps: 5 }),
      transitions: 5,
      inFlight: 1_000,
      count,
    }),
    ours({
      name: BACKWARD,
      saga: sagaOf({ name: 'order', steps: 3, fails: true }),
      transitions: 5,
      inFlight: 1_000,
      count,
    }),
  ],
  ratios: [
    {
      name: 'steps/s, backward : forward',
      of: [BACKWARD, 'stepsPerSecond'],
      to: [FORWARD, 'stepsPerSecond'],
      goal: '≥ 0.9',
    },
  ],
}
