import { sagaOf } from '../installation.ts'
import { ours } from '../ours.ts'
import type { Contender, Ratio, Scenario } from '../scenario.ts'

const STEPS = [3, 10, 50, 200]
const RESULT_KB = [0.2, 1, 64]
const IN_FLIGHT = 200
/** Steps carried out in a round, at least, whatever the number in each saga. */
const ALL_STEPS = 20_000

export const growth: Scenario = {
  name: 'growth',
  about:
    'Sagas of 3, 10, 50 and 200 steps, and of three steps with results of 0.2, 1 and 64 KB; 200 in flight.',
  contenders: ({ size = ALL_STEPS }) => [
    ...STEPS.map((steps) => contender(`${steps} steps`, { steps }, size / steps)),
    ...RESULT_KB.map((kb) =>
      contender(`${kb} KB`, { steps: 3, resultBytes: kb * 1024 }, size / 3 / (kb > 1 ? 10 : 1)),
    ),
  ],
  ratios: STEPS.slice(1).flatMap((steps): Ratio[] => [
    {
      name: `steps/s, ${steps} steps : 3 steps`,
      of: [`${steps} steps`, 'stepsPerSecond'],
      to: ['3 steps', 'stepsPerSecond'],
      ...(steps === 50 && { goal: '≥ 1.0' }),
      ...(steps === 200 && { goal: '≥ 0.7' }),
    },
    {
      name: `log bytes per step, ${steps} steps : 3 steps`,
      of: [`${steps} steps`, 'walBytesPerStep'],
      to: ['3 steps', 'walBytesPerStep'],
    },
  ]),
}

function contender(name: string, shape: { steps: number; resultBytes?: number }, count: number): Contender {
  return ours({
    name,
    saga: sagaOf({ name: 'order', ...shape }),
    transitions: shape.steps,
    inFlight: IN_FLIGHT,
    // As many are under way most of the time, however long each takes.
    count: Math.max(2 * IN_FLIGHT, Math.ceil(count)),
  })
}
