import { forkServer } from '../http/fork.ts'
import { httpSagaOf, sagaOf } from '../installation.ts'
import { ours } from '../ours.ts'
import type { Contender, Scenario } from '../scenario.ts'

const IN_FLIGHT = [1, 100]

export const participants: Scenario = {
  name: 'participants',
  about:
    'Sagas of three steps, each an HTTP call to a service on this machine, beside the same with handlers.',
  contenders: ({ size }) =>
    IN_FLIGHT.flatMap((inFlight) => {
      const count = size ?? (inFlight === 1 ? 200 : 2_000)
      return [
        overHttp(inFlight, count),
        ours({
          name: `handlers, ${inFlight}`,
          saga: sagaOf({ name: 'order', steps: 3 }),
          transitions: 3,
          inFlight,
          count,
        }),
      ]
    }),
  ratios: IN_FLIGHT.map((inFlight) => ({
    name: `steps/s, ${inFlight} in flight, HTTP : handlers`,
    of: [`HTTP, ${inFlight}`, 'stepsPerSecond'],
    to: [`handlers, ${inFlight}`, 'stepsPerSecond'],
  })),
}

function overHttp(inFlight: number, count: number): Contender {
  return {
    name: `HTTP, ${inFlight}`,
    async open(place) {
      const service = await forkServer('participant-main.ts', {})
      const saga = httpSagaOf({ name: 'order', steps: 3, url: service.url })
      const running = await ours({ name: 'HTTP', saga, transitions: 3, inFlight, count }).open(place)
      return {
        run: running.run,
        async close() {
          await running.close()
          await service.close()
        },
      }
    },
  }
}
