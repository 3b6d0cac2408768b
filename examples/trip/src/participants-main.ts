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
  /** Payments are signed with it, or refused. */
  PAYMENTS_SECRET: z.string().min(16).optional(),
})

await serve(Env, (ledger, { HOTEL_MS, SLOW_HOTEL_MS, SLOW_AIRLINE_MS, PAYMENTS_SECRET }) =>
  tripParticipants(ledger, {
    hotelMs: HOTEL_MS,
    slowHotelMs: SLOW_HOTEL_MS,
    slowAirlineMs: SLOW_AIRLINE_MS,
    paymentsSecret: PAYMENTS_SECRET,
  }),
)
