import { install, sagaOf } from '../installation.ts'
import { batches, commitPerStep } from '../limits.ts'
import { load } from '../load.ts'
import { createMeter } from '../meter.ts'
import { dbos } from '../peers/dbos.ts'
import { graphileWorker } from '../peers/graphile-worker.ts'
import type { Contender, Ratio, Scenario } from '../scenario.ts'

const IN_FLIGHT = [1_000, 100, 10, 1]
const SIZES: Record<number, number> = { 1: 300, 10: 2_000, 100: 6_000, 1000: 20_000 }

/** Where they do best: with more they wait for connections. */
const PEERS_IN_FLIGHT = 100

export const throughput: Scenario = {
  name: 'throughput',
  about: 'Sagas of three handlers, 1, 10, 100 and 1,000 in flight, started and run in this process.',
  contenders: ({ size, peers }) => [
    commitPerStep(),
    batches(),
    ...IN_FLIGHT.map((inFlight) => ours(inFlight, size ?? SIZES[inFlight] ?? 1_000)),
    ...(peers ? [dbos(PEERS_IN_FLIGHT, 1_000), graphileWorker(PEERS_IN_FLIGHT, 1_000)] : []),
  ],
  ratios: [
    {
      name: 'steps/s, 1000 in flight : DBOS',
      of: ['1000 in flight', 'stepsPerSecond'],
      to: [`DBOS, ${PEERS_IN_FLIGHT} in flight`, 'stepsPerSecond'],
      goal: '≥ 30',
    },
    {
      name: 'steps/s, 1000 in flight : graphile-worker',
      of: ['1000 in flight', 'stepsPerSecond'],
      to: [`graphile-worker, ${PEERS_IN_FLIGHT} in flight`, 'stepsPerSecond'],
      goal: '≥ 15',
    },
    ...IN_FLIGHT.flatMap(againstTheLimits),
  ],
}

function againstTheLimits(inFlight: number): Ratio[] {
  return [
    {
      name: `steps/s, ${inFlight} in flight : one commit per step`,
      of: [`${inFlight} in flight`, 'stepsPerSecond'],
      to: ['commit per step', 'stepsPerSecond'],
    },
    {
      name: `steps/s, ${inFlight} in flight : multi-row batch`,
      of: [`${inFlight} in flight`, 'stepsPerSecond'],
      to: ['multi-row batch', 'stepsPerSecond'],
    },
  ]
}

function ours(inFlight: number, size: number): Contender {
  return {
    name: `${inFlight} in flight`,
    async open(place) {
      const meter = await createMeter(place)
      const installation = await install(place, sagaOf({ name: 'order', steps: 3 }), {
        concurrency: Math.max(200, inFlight),
      })
      return {
        run: () => load({ meter, count: size, inFlight, stepsEach: 3, one: () => installation.runOne() }),
        async close() {
          await installation.close()
          await meter.close()
        },
      }
    },
  }
}
