import { openApiStore } from '@backstitch/store'
import { type Door, openDoor } from '../http/door.ts'
import { documentOf } from '../installation.ts'
import { load } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender, Ratio, Scenario } from '../scenario.ts'

const CLIENTS = [1, 64, 256]
type Compared = Exclude<Door, 'together'>
const NAMES: Record<Compared, string> = {
  stored: 'started',
  unstored: 'same route, nothing stored',
  statement: 'same route, one statement each',
  bare: 'a bare route',
}
const DOORS: readonly Compared[] = ['stored', 'unstored', 'statement', 'bare']

export const start: Scenario = {
  name: 'start',
  about: 'POST /v1/sagas from 1, 64 and 256 clients, no worker; clients, API and Postgres share the machine.',
  contenders: ({ size }) =>
    CLIENTS.flatMap((clients) =>
      DOORS.map((door) => contender(door, clients, size ?? (clients === 1 ? 2_000 : 20_000))),
    ),
  ratios: CLIENTS.flatMap((clients) => [
    ratio(clients, 'unstored', clients === 64 ? '≥ 0.4' : undefined),
    ratio(clients, 'statement', clients === 64 ? '≥ 2' : undefined),
    ratio(clients, 'bare', undefined),
  ]),
}

function nameOf(door: Compared, clients: number): string {
  return `${NAMES[door]}, ${clients} client${clients === 1 ? '' : 's'}`
}

function ratio(clients: number, to: Compared, goal: string | undefined): Ratio {
  return {
    name: `starts/s, ${clients} clients : ${NAMES[to]}`,
    of: [nameOf('stored', clients), 'perSecond'],
    to: [nameOf(to, clients), 'perSecond'],
    ...(goal !== undefined && { goal }),
  }
}

function contender(door: Compared, clients: number, size: number): Contender {
  return {
    name: nameOf(door, clients),
    async open(place) {
      const store = await openApiStore({ databaseUrl: place.url })
      await store.definitions.register(documentOf({ name: 'order', steps: 3 }))
      await store.close()
      const api = await openDoor(place, door, clients)
      const meter = await createMeter(place, [api.pid])
      const body = JSON.stringify({ definition: 'order', input: { orderId: 'o-1', amount: 4200 } })
      async function one(): Promise<void> {
        const status = await api.post('/v1/sagas', body)
        if (status !== 202) throw new Error(`a start was answered ${status}`)
      }
      return {
        run: () => load({ meter, count: size, inFlight: clients, stepsEach: 1, one }),
        async close() {
          await api.close()
          await meter.close()
        },
      }
    },
  }
}
