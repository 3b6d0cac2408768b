import type { SagaModule } from '@backstitch/core'
import { install } from './installation.ts'
import { load } from './load.ts'
import { createMeter } from './meter.ts'
import type { Contender } from './scenario.ts'

/** Sagas started and run in this process, so many in flight; `transitions` counts what each commits after its start. */
export function ours(options: {
  name: string
  saga: SagaModule
  transitions: number
  inFlight: number
  count: number
}): Contender {
  const { name, saga, transitions, inFlight, count } = options
  return {
    name,
    async open(place) {
      const meter = await createMeter(place)
      const installation = await install(place, saga, { concurrency: Math.max(200, 2 * inFlight) })
      return {
        run: () => load({ meter, count, inFlight, stepsEach: transitions, one: () => installation.runOne() }),
        async close() {
          await installation.close()
          await meter.close()
        },
      }
    },
  }
}
