import { duration } from '../../narrator.ts'
import { endedAs, is } from '../check.ts'
import { Follower } from '../follow.ts'
import { operations } from '../ledger.ts'
import { lifetimeMs, type Story } from '../story.ts'
import { approve, awaitsApproval, effectsOf, startTrip, trip } from './trip.ts'

const STEPS = [
  'bookFlight',
  'bookHotel',
  'applyForVisa',
  'approve',
  'insure',
  'changeOfMind',
  'chargeCard',
  'sendItinerary',
]

export const booked: Story = {
  title: 'A trip is booked',
  about:
    'Flight and hotel at once; the hotel answers later, by a callback. India asks for a visa. Grace approves. The ' +
    'insurance is a saga of its own. Then a last moment for a change of mind, and the card is charged.',
  async tell(stage) {
    const sagaId = await startTrip(stage, trip('t-1', { country: 'IN' }))
    const follower = new Follower(stage, sagaId)
    await follower.until(awaitsApproval, 15_000)
    await approve(stage, sagaId)
    const saga = await follower.toTheEnd(15_000)
    const checks = [
      ...endedAs(saga, 'completed'),
      is('every step should be completed, in order', saga.completedSteps, STEPS),
      is(
        'the ledger should show every effect once, in order',
        operations(await effectsOf(stage, saga), 'applied'),
        ['bookFlight', 'bookHotel', 'applyForVisa', 'issuePolicy', 'chargeCard', 'sendItinerary'],
      ),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(`Completed in ${took}. The ledger agrees: six effects, each exactly once.`, checks)
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
