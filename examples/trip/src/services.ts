import { type Operation, ok, refusal } from '@backstitch/example-participants'
import type { Cover, Trip } from './trip.ts'

/** What the six services of a trip do. They decide by the trip alone: by its airline, its hotel, its card. */

/** Declined, as the test cards of a payment provider are. */
export const DECLINED_CARD = '4000-0000-0000-0002'
/** Charged, and then the line goes dead. */
export const CUT_OFF_CARD = '4000-0000-0000-9995'
/** Has no room, ever. */
export const FULL_HOTEL = 'Full House'
/** Takes its time. */
export const SLOW_HOTEL = 'Grand Pensive'
export const SLOW_AIRLINE = 'Snail Air'

export type Paces = { hotelMs: number; slowHotelMs: number; slowAirlineMs: number }
export type Settings = Paces & { paymentsSecret?: string | undefined }

const FLIGHT_CENTS = 18_000
const NIGHT_CENTS = 9500

export function tripServices(settings: Settings): Operation<Trip>[] {
  const { hotelMs, slowHotelMs, slowAirlineMs, paymentsSecret } = settings
  const signed = paymentsSecret === undefined ? {} : { signedWith: paymentsSecret }
  return [
    {
      service: 'airline',
      operation: 'bookFlight',
      path: '/flights/bookings',
      direction: 'action',
      takesMs: ({ airline }) => (airline === SLOW_AIRLINE ? slowAirlineMs : 0),
      decide: ({ airline }, id) => ok({ bookingId: id, airline, cents: FLIGHT_CENTS }),
    },
    {
      service: 'airline',
      operation: 'cancelFlight',
      path: '/flights/cancellations',
      direction: 'compensation',
      decide: (_, id) => ok({ cancellationId: id }),
    },
    {
      // Somebody at the desk has to look at the book.
      service: 'hotel',
      operation: 'bookHotel',
      path: '/hotels/bookings',
      direction: 'action',
      callsBack: true,
      takesMs: ({ hotel }) => (hotel === SLOW_HOTEL ? slowHotelMs : hotelMs),
      decide: ({ hotel, nights }, id) =>
        hotel === FULL_HOTEL
          ? refusal(409, 'hotel-full', `${hotel} has no room left`)
          : ok({ bookingId: id, hotel, cents: NIGHT_CENTS * nights }),
    },
    {
      service: 'hotel',
      operation: 'cancelHotel',
      path: '/hotels/cancellations',
      direction: 'compensation',
      decide: (_, id) => ok({ cancellationId: id }),
    },
    {
      service: 'consulate',
      operation: 'applyForVisa',
      path: '/visas/applications',
      direction: 'action',
      decide: ({ country }, id) => ok({ visaId: id, country }),
    },
    {
      service: 'consulate',
      operation: 'withdrawVisa',
      path: '/visas/withdrawals',
      direction: 'compensation',
      decide: (_, id) => ok({ withdrawalId: id }),
    },
    {
      service: 'payments',
      operation: 'chargeCard',
      path: '/payments/charges',
      direction: 'action',
      ...signed,
      losesAnswer: ({ card }) => card === CUT_OFF_CARD,
      decide: ({ card, nights }, id) =>
        card === DECLINED_CARD
          ? refusal(402, 'card-declined', `the bank declined the card ending in ${card.slice(-4)}`)
          : ok({ chargeId: id, cents: FLIGHT_CENTS + NIGHT_CENTS * nights }),
    },
    {
      service: 'payments',
      operation: 'refundCard',
      path: '/payments/refunds',
      direction: 'compensation',
      ...signed,
      decide: (_, id) => ok({ refundId: id }),
    },
    {
      service: 'mail',
      operation: 'sendItinerary',
      path: '/mail/itineraries',
      direction: 'action',
      decide: ({ traveller }, id) => ok({ messageId: id, to: traveller }),
    },
  ]
}

/** Called by the saga that insures a trip. */
export function coverServices(): Operation<Cover>[] {
  return [
    {
      service: 'insurer',
      operation: 'issuePolicy',
      path: '/insurance/policies',
      direction: 'action',
      decide: ({ days }, id) => ok({ policyId: id, days }),
    },
    {
      service: 'insurer',
      operation: 'cancelPolicy',
      path: '/insurance/cancellations',
      direction: 'compensation',
      decide: (_, id) => ok({ cancellationId: id }),
    },
  ]
}
