import { buildParticipants, type Ledger } from '@backstitch/example-participants'
import { coverServices, type Paces, tripServices } from './services.ts'
import { Cover, Trip } from './trip.ts'

/** The services a trip needs: airline, hotel, consulate, payments, mail and insurer. */
export function tripParticipants(ledger: Ledger, paces: Paces) {
  return buildParticipants(ledger).add(Trip, tripServices(paces)).add(Cover, coverServices()).app
}
