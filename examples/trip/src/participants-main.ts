import { serve } from '@backstitch/example-participants'
import { z } from 'zod'
import { tripParticipants } from './participants.ts'

/** `node examples/trip/src/participants-main.ts`: airline, hotel, consulate, payments, mail and insurer on one port. */

const milliseconds = z.coerce.number().int().min(0).max(600_000)
const Env = z.object({
  /** How long the desk of a hotel takes to call back. */
  HOTEL_MS: milliseconds.default(400),
  SLOW_HOTEL_MS: milliseconds.default(1500),
  SLOW_AIRLINE_MS: milliseconds.default(900),
})

await serve(
  Env,
  (ledger, { HOTEL_MS: hotelMs, SLOW_HOTEL_MS: slowHotelMs, SLOW_AIRLINE_MS: slowAirlineMs }) =>
    tripParticipants(ledger, { hotelMs, slowHotelMs, slowAirlineMs }),
)
