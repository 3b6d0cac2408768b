import { duration } from '../narrator.ts'
import { endedAs, is } from './check.ts'
import { Follower } from './follow.ts'
import { operations, readLedger } from './ledger.ts'
import { lifetimeMs, order, type Story, startOrder } from './story.ts'

const STEPS = ['reserveInventory', 'chargePayment', 'shipOrder', 'sendConfirmation']

export const completes: Story = {
  title: 'An order completes',
  about: 'Four steps, four services; each result is saved before the next step runs.',
  async tell(stage) {
    const { sagaId } = await startOrder(stage, order('o-1'))
    const saga = await new Follower(stage, sagaId).toTheEnd(15_000)
    const entries = await readLedger(stage, sagaId)
    const checks = [
      ...endedAs(saga, 'completed'),
      is('every step should be completed, in order', saga.completedSteps, STEPS),
      is('the ledger should show every effect once, in order', operations(entries, 'applied'), STEPS),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(`Completed in ${took}. The ledger agrees: four effects, each exactly once.`, checks)
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
