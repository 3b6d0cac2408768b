import { type Door, openDoor } from '../http/door.ts'
import { load } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender, Scenario } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const CLIENTS = [1, 64]

export const wait: Scenario = {
  name: 'wait',
  about:
    'POST /v1/sagas?waitMs=… until the saga of three steps has ended: API and worker in two processes, or in one; clients in another.',
  contenders: ({ size }) =>
    CLIENTS.flatMap((clients) =>
      (['stored', 'together'] as const).map((door) =>
        contender(door, clients, size ?? (clients === 1 ? 1_000 : 6_000)),
      ),
    ),
  ratios: [],
}

function contender(door: Door, clients: number, size: number): Contender {
  return {
    name: `${clients} client${clients === 1 ? '' : 's'}, ${door === 'together' ? 'one process' : 'two'}`,
    async open(place) {
      const workers = await startWorkers(place, door === 'together' ? 0 : 1)
      const api = await openDoor(place, door, clients)
      const meter = await createMeter(place, [...workers.pids, api.pid])
      const body = JSON.stringify({ definition: 'order', input: { orderId: 'o-1', amount: 4200 } })
      async function one(): Promise<void> {
        const status = await api.post('/v1/sagas?waitMs=20000', body)
        if (status !== 200) throw new Error(`a start was answered ${status}`)
      }
      return {
        run: () => load({ meter, count: size, inFlight: clients, stepsEach: 3, one }),
        async close() {
          await api.close()
          await workers.close()
          await meter.close()
        },
      }
    },
  }
}
