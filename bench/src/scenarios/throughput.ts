import { sagaOf } from '../installation.ts'
import { batches, commitPerStep } from '../limits.ts'
import { ours } from '../ours.ts'
import { dbos } from '../peers/dbos.ts'
import { graphileWorker } from '../peers/graphile-worker.ts'
import { restate } from '../peers/restate.ts'
import type { Ratio, Scenario } from '../scenario.ts'

const IN_FLIGHT = [1_000, 100, 10, 1]
const SIZES: Record<number, number> = { 1: 300, 10: 2_000, 100: 6_000, 1000: 20_000 }

/** Where they do best: with more they wait for connections. */
const PEERS_IN_FLIGHT = 100
const RESTATE = `Restate, ${PEERS_IN_FLIGHT} in flight`
const RESTATE_TUNED = `Restate with one partition, ${PEERS_IN_FLIGHT} in flight`

export const throughput: Scenario = {
  name: 'throughput',
  about: 'Sagas of three handlers, 1, 10, 100 and 1,000 in flight, started and run in this process.',
  contenders: ({ size, peers }) => [
    commitPerStep(),
    batches(),
    ...IN_FLIGHT.map((inFlight) =>
      ours({
        name: `${inFlight} in flight`,
        saga: sagaOf({ name: 'order', steps: 3 }),
        transitions: 3,
        inFlight,
        count: size ?? SIZES[inFlight] ?? 1_000,
      }),
    ),
    ...(peers
      ? [
          dbos(PEERS_IN_FLIGHT, 1_000),
          graphileWorker(PEERS_IN_FLIGHT, 1_000),
          restate({ name: RESTATE, inFlight: PEERS_IN_FLIGHT, size: 3_000 }),
          restate({ name: RESTATE_TUNED, partitions: 1, inFlight: PEERS_IN_FLIGHT, size: 3_000 }),
        ]
      : []),
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
    {
      name: 'steps/s, 1000 in flight : Restate',
      of: ['1000 in flight', 'stepsPerSecond'],
      to: [RESTATE, 'stepsPerSecond'],
    },
    {
      name: 'steps/s, 1000 in flight : Restate, one partition',
      of: ['1000 in flight', 'stepsPerSecond'],
      to: [RESTATE_TUNED, 'stepsPerSecond'],
      goal: '≥ 8',
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
