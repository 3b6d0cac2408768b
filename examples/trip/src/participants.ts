import { buildParticipants, type Ledger } from '@backstitch/example-participants'
import { coverServices, type Settings, tripServices } from './services.ts'
import { Cover, Trip } from './trip.ts'

/** The services a trip needs: airline, hotel, consulate, payments, mail and insurer. */
export function tripParticipants(ledger: Ledger, settings: Settings) {
  return buildParticipants(ledger).add(Trip, tripServices(settings)).add(Cover, coverServices()).app
}
