import { duration } from '../../narrator.ts'
import { is } from '../check.ts'
import { Follower } from '../follow.ts'
import { operations } from '../ledger.ts'
import { lifetimeMs, type Story } from '../story.ts'
import { approve, DECLINED_CARD, effectsOf, startTrip, trip, undone } from './trip.ts'

export const unpaid: Story = {
  title: 'The card is declined, at the point of no return',
  about:
    'Grace approves at once: the signal is kept for its step. But the pivot fails, so everything is undone in ' +
    'reverse, and the insurance, a saga that had completed, as one unit.',
  async tell(stage) {
    const sagaId = await startTrip(stage, trip('t-4', { card: DECLINED_CARD }))
    await approve(stage, sagaId)
    const saga = await new Follower(stage, sagaId).toTheEnd(15_000)
    const entries = await effectsOf(stage, saga)
    const checks = [
      ...undone(saga, 'failed', entries),
      is('the step that failed should be named', saga.failedStep, 'chargeCard'),
      is('all should be undone, in reverse', saga.compensatedSteps, ['insure', 'bookHotel', 'bookFlight']),
      is('the ledger should show the policy cancelled first', operations(entries, 'applied'), [
        'bookFlight',
        'bookHotel',
        'issuePolicy',
        'cancelPolicy',
        'cancelHotel',
        'cancelFlight',
      ]),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(
      `Failed and clean in ${took}. The ledger agrees: no policy, no room, no seat, no money.`,
      checks,
    )
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
