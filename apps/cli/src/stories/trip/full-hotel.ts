import { duration } from '../../narrator.ts'
import { is } from '../check.ts'
import { Follower } from '../follow.ts'
import { operations } from '../ledger.ts'
import { lifetimeMs, type Story } from '../story.ts'
import { effectsOf, startTrip, trip, undone } from './trip.ts'

export const fullHotel: Story = {
  title: 'The hotel is full',
  about:
    'It calls back with a no, while the airline is still at work. What is under way is let end, since it may ' +
    'have its effect: the flight is booked, and then given back.',
  async tell(stage) {
    const sagaId = await startTrip(stage, trip('t-2', { airline: 'Snail Air', hotel: 'Full House' }))
    const saga = await new Follower(stage, sagaId).toTheEnd(15_000)
    const entries = await effectsOf(stage, saga)
    const checks = [
      ...undone(saga, 'failed', entries),
      is('the step that failed should be named', saga.failedStep, 'bookHotel'),
      is('the flight should be undone', saga.compensatedSteps, ['bookFlight']),
      is('the ledger should show it booked, then cancelled', operations(entries, 'applied'), [
        'bookFlight',
        'cancelFlight',
      ]),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(`Failed and clean in ${took}. The ledger agrees: no seat is held.`, checks)
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
