import { DBOS } from '@dbos-inc/dbos-sdk'
import { load } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender } from '../scenario.ts'

/** A workflow of three steps, started and awaited in this process: as its guide writes it, its settings at their defaults. */
export function dbos(inFlight: number, size: number): Contender {
  return {
    name: `DBOS, ${inFlight} in flight`,
    async open(place) {
      const meter = await createMeter(place)
      const result = { id: 'x'.repeat(21) }
      const order = DBOS.registerWorkflow(
        async (_input: { orderId: string; amount: number }) => {
          await DBOS.runStep(async () => result, { name: 'step1' })
          await DBOS.runStep(async () => result, { name: 'step2' })
          return DBOS.runStep(async () => result, { name: 'step3' })
        },
        { name: 'order' },
      )
      DBOS.setConfig({ name: 'bench', systemDatabaseUrl: place.url, logLevel: 'error' })
      await DBOS.launch()
      const one = async () => {
        await order({ orderId: 'o-1', amount: 4200 })
      }
      return {
        run: () => load({ meter, count: size, inFlight, stepsEach: 3, one }),
        async close() {
          await DBOS.shutdown({ deregister: true })
          await meter.close()
        },
      }
    },
  }
}
