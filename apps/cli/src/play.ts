import path from 'node:path'
import { root } from './root.ts'
import { completes } from './stories/completes.ts'
import { declined } from './stories/declined.ts'
import type { Story } from './stories/story.ts'
import { takeover } from './stories/takeover.ts'
import { booked } from './stories/trip/booked.ts'
import { cutOff } from './stories/trip/cut-off.ts'
import { fullHotel } from './stories/trip/full-hotel.ts'
import { noWorker } from './stories/trip/no-worker.ts'
import { scheduled } from './stories/trip/scheduled.ts'
import { turnedDown } from './stories/trip/turned-down.ts'
import { unpaid } from './stories/trip/unpaid.ts'

/** An example and what is told of it. */
export type Play = {
  /** Of the definition, too, that is registered for it. */
  name: string
  /** Where its database, its ledger and its logs are kept. */
  home: string
  /** Where to read it. */
  folder: string
  /** The definition, with the participants' address as docker-compose has it. */
  document: string
  participants: string
  /** Loaded by the workers. */
  sagas: string
  /** What the names of services in its definition mean, for the workers; `signed` are the names of those that are signed. */
  services?: { at: Readonly<Record<string, string>>; signed: readonly string[] }
  stories: readonly Story[]
  /** To try it by hand: a start, line by line, and what else there is to do. */
  tries: Tries
}

export type Tries = {
  label: string
  /** The fields of the start's input, as lines of JSON. */
  input: readonly string[]
  after?: (apiUrl: string) => readonly [label: string, ...lines: string[]]
}

const home = path.join(root, '.backstitch')

export const order: Play = {
  ...example('order'),
  home,
  stories: [completes, declined, takeover],
  tries: {
    label: 'Start a saga and wait for its end ("order-ts" is the same one in TypeScript)',
    input: ['"orderId":"o-4","sku":"thread",', '"quantity":3,"card":"4000-0000-0000-0000"'],
  },
}

export const trip: Play = {
  ...example('trip'),
  // What is left over from an order would not find its participants here.
  home: path.join(home, 'trip'),
  services: {
    at: { airline: '/flights', hotel: '/hotels', consulate: '/visas', payments: '/payments', mail: '/mail' },
    signed: ['payments'],
  },
  stories: [booked, fullHotel, turnedDown, unpaid, noWorker, cutOff, scheduled],
  tries: {
    label: 'Start a trip, which waits for an approval ("trip-ts" is it in TypeScript)',
    input: [
      '"tripId":"t-8","traveller":"Ada",',
      '"country":"US","nights":2,"airline":"Heron",',
      '"hotel":"Casa Azul","card":"4000-0000-0000-0000"',
    ],
    after: (apiUrl) => [
      'Approve it; SAGA is its sagaId',
      `  curl ${apiUrl}/v1/sagas/$SAGA/signals/approved \\`,
      `    -H 'content-type: application/json' -d '{"by":"you"}'`,
    ],
  },
}

export const plays: readonly Play[] = [order, trip]

function example(name: string) {
  const folder = `examples/${name}`
  return {
    name,
    folder,
    document: path.join(root, folder, `${name}.json`),
    participants: path.join(root, folder, 'src/participants-main.ts'),
    sagas: path.join(root, folder, 'src/saga.ts'),
  }
}
