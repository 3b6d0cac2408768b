import { duration } from '../../narrator.ts'
import { is } from '../check.ts'
import { Follower } from '../follow.ts'
import { lifetimeMs, type Story } from '../story.ts'
import { awaitsApproval, effectsOf, startTrip, trip, undone } from './trip.ts'

export const turnedDown: Story = {
  title: 'The approval is not given',
  about:
    'Grace cancels instead. A cancel takes effect whatever the saga waits for, and undoes what was done; France ' +
    'asks for no visa, so that step was skipped.',
  async tell(stage) {
    const { client, signal } = stage
    const sagaId = await startTrip(stage, trip('t-3'))
    const follower = new Follower(stage, sagaId)
    await follower.until(awaitsApproval, 15_000)
    await client.sagas.cancel(sagaId, { reason: 'Grace: not this quarter', signal })
    const saga = await follower.toTheEnd(15_000)
    const checks = [
      ...undone(saga, 'cancelled', await effectsOf(stage, saga)),
      is('the visa should be skipped', saga.skippedSteps, ['applyForVisa']),
      is('both bookings should be undone, the last one first', saga.compensatedSteps, [
        'bookHotel',
        'bookFlight',
      ]),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(`Cancelled and clean in ${took}. The ledger agrees: nothing is booked.`, checks)
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
