import { duration } from '../narrator.ts'
import { endedAs, is } from './check.ts'
import { Follower } from './follow.ts'
import { operations, readLedger } from './ledger.ts'
import { DECLINED_CARD, lifetimeMs, order, type Story, startOrder } from './story.ts'

export const declined: Story = {
  title: 'The card is declined',
  about: 'A definite no is not retried: what was done before it is undone, in reverse.',
  async tell(stage) {
    const { sagaId } = await startOrder(stage, order('o-2', { card: DECLINED_CARD }))
    const saga = await new Follower(stage, sagaId).toTheEnd(15_000)
    const entries = await readLedger(stage, sagaId)
    const checks = [
      ...endedAs(saga, 'failed'),
      is('the saga should be clean', saga.clean, true),
      is('the step that failed should be named', saga.failedStep, 'chargePayment'),
      is('one step should be completed', saga.completedSteps, ['reserveInventory']),
      is(
        'what was completed should be undone, in reverse',
        saga.compensatedSteps,
        saga.completedSteps.toReversed(),
      ),
      is('the ledger should show the card refused once', operations(entries, 'refused'), ['chargePayment']),
      is('the ledger should show the goods reserved and released', operations(entries, 'applied'), [
        'reserveInventory',
        'releaseInventory',
      ]),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(
      `Failed and clean in ${took}. The ledger agrees: goods back, no money taken.`,
      checks,
    )
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
