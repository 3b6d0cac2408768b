import { defineSaga, delay, http, saga, signal } from '@backstitch/sdk'
import { z } from 'zod'
import { insurance } from './insurance.ts'
import { Trip } from './trip.ts'

/**
 * The trip of trip.json in TypeScript, as `trip-ts`. It is carried out by the same services over HTTP; what they answer has a type
 * here, and the last step is a function that uses it.
 */

/** Where the services are, and what they are called with, each worker is told (SERVICES). */
const to = (service: string, path: string) => ({ service, path })
const Booking = z.object({ bookingId: z.string(), cents: z.int() })

const tripTs = defineSaga({
  name: 'trip-ts',
  description: 'The trip, in TypeScript.',
  input: Trip,
  defaults: { timeoutMs: 5000, compensateWhen: 'uncertain' },
})
  .parallel((group) =>
    group
      .step('bookFlight', {
        action: http({ ...to('airline', '/bookings'), result: Booking }),
        compensation: http(to('airline', '/cancellations')),
      })
      .step('bookHotel', {
        action: http({ ...to('hotel', '/bookings'), completion: 'callback', result: Booking }),
        compensation: http(to('hotel', '/cancellations')),
        timeoutMs: 3_600_000,
      }),
  )
  .step('applyForVisa', {
    when: 'input.country in ["CN", "IN", "US"]',
    action: http({ ...to('consulate', '/applications'), result: z.object({ visaId: z.string() }) }),
    compensation: http(to('consulate', '/withdrawals')),
  })
  .step('approve', {
    action: signal('approved', { result: z.object({ by: z.string() }) }),
    timeoutMs: 86_400_000,
  })
  .step('insure', {
    action: saga(insurance, {
      input: {
        traveller: '${{ input.traveller }}',
        country: '${{ input.country }}',
        days: '${{ input.nights + 1 }}',
      },
    }),
  })
  .step('changeOfMind', { action: delay(300) })
  .step('chargeCard', {
    pivot: true,
    action: http({
      ...to('payments', '/charges'),
      // A lost answer is asked for, before anything is charged again.
      probe: to('payments', '/charges/by-key/${{ saga.idempotencyKey }}'),
      result: z.object({ cents: z.int() }),
    }),
    compensation: http(to('payments', '/refunds')),
  })
  .step('sendItinerary', {
    retry: { maxAttempts: 10 },
    action: http(to('mail', '/itineraries')),
  })
  .step('closeFile', {
    // Every line of this is checked by the compiler: a visa there may be, a policy there is.
    action: ({ context: { bookFlight, bookHotel, applyForVisa, approve, insure, chargeCard } }) => ({
      bookings: [bookFlight.bookingId, bookHotel.bookingId],
      visa: applyForVisa?.visaId ?? 'not needed',
      policy: insure.results?.issuePolicy.policyId ?? insure.sagaId,
      approvedBy: approve.by,
      chargedCents: chargeCard.cents,
    }),
  })

/** What a worker takes from this module. */
export const sagas = [insurance, tripTs]
