import type { SagaSnapshot } from '@backstitch/sdk'
import type { Check } from '../../narrator.ts'
import { endedAs, is } from '../check.ts'
import { inForce, type LedgerEntry, readLedger } from '../ledger.ts'
import { DECLINED_CARD, type Stage } from '../story.ts'

export { DECLINED_CARD }

export type TripInput = {
  tripId: string
  traveller: string
  country: string
  nights: number
  airline: string
  hotel: string
  card: string
}

export function trip(tripId: string, more: Partial<TripInput> = {}): TripInput {
  return {
    tripId,
    traveller: 'Ada',
    country: 'FR',
    nights: 3,
    airline: 'Heron',
    hotel: 'Casa Azul',
    card: '4000-0000-0000-0000',
    ...more,
  }
}

export async function startTrip(stage: Stage, input: TripInput, inTypeScript = false): Promise<string> {
  const { client, version, narrator, signal } = stage
  const which = inTypeScript ? (['trip-ts', {}] as const) : (['trip', { version }] as const)
  const { sagaId } = await client.sagas.start(which[0], input, { ...which[1], signal })
  narrator.aside(`trip ${input.tripId}, saga ${sagaId}`)
  return sagaId
}

export async function approve({ client, signal }: Stage, sagaId: string): Promise<void> {
  await client.sagas.signal(sagaId, 'approved', { by: 'Grace' }, { signal })
}

/** Does it wait for somebody to say yes? */
export function awaitsApproval({ next }: SagaSnapshot): boolean {
  return next.attempts?.some(({ waiting }) => waiting?.for === 'signal') === true
}

/** What was done for it, by the insurance that is a saga of its own, too. */
export async function effectsOf(
  stage: Stage,
  { sagaId, children = {} }: SagaSnapshot,
): Promise<LedgerEntry[]> {
  return await readLedger(stage, sagaId, ...Object.values(children))
}

/** What must be so whenever a trip was undone: nobody holds anything for it any more. */
export function undone(
  saga: SagaSnapshot,
  status: SagaSnapshot['status'],
  entries: readonly LedgerEntry[],
): Check[] {
  return [
    ...endedAs(saga, status),
    is('the saga should be clean', saga.clean, true),
    is('no service should hold anything for it', inForce(entries), []),
  ]
}
