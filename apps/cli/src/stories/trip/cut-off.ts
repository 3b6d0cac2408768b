import { duration } from '../../narrator.ts'
import { endedAs, is } from '../check.ts'
import { Follower } from '../follow.ts'
import { lifetimeMs, type Story } from '../story.ts'
import { approve, effectsOf, startTrip, trip } from './trip.ts'

export const cutOff: Story = {
  title: "The bank's answer is lost",
  about:
    'The card is charged, and the line goes dead. Nobody charges it again to find out: a probe asks the bank what ' +
    'became of the call, by its key. Each request to the bank is signed, the question too.',
  async tell(stage) {
    const sagaId = await startTrip(stage, trip('t-6', { card: '4000-0000-0000-9995' }))
    await approve(stage, sagaId)
    const saga = await new Follower(stage, sagaId).toTheEnd(15_000)
    const atTheBank = (await effectsOf(stage, saga)).filter(({ service }) => service === 'payments')
    const checks = [
      ...endedAs(saga, 'completed'),
      is(
        'the bank should have been called once, and asked once',
        atTheBank.map(({ event }) => event),
        ['received', 'applied', 'probed'],
      ),
    ]
    const took = duration(lifetimeMs(saga))
    stage.narrator.ending(`Completed in ${took}. The ledger agrees: one charge, one question.`, checks)
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}
