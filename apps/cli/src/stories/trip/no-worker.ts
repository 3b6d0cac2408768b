import type { SagaSnapshot } from '@backstitch/sdk'
import { duration } from '../../narrator.ts'
import { endedAs, is } from '../check.ts'
import { Follower } from '../follow.ts'
import { operations } from '../ledger.ts'
import { lifetimeMs, type Stage, type Story } from '../story.ts'
import { approve, effectsOf, startTrip, trip } from './trip.ts'

export const noWorker: Story = {
  title: 'No worker is left when the hotel calls back',
  about:
    'A saga that waits holds nothing but its row. Both workers are killed meanwhile; the API takes the callback, and ' +
    'whoever comes next goes on. This trip is the one in TypeScript.',
  async tell(stage) {
    const { narrator, workers } = stage
    const sagaId = await startTrip(stage, trip('t-5', { hotel: 'Grand Pensive' }), true)
    await approve(stage, sagaId)
    const follower = new Follower(stage, sagaId)
    const waiting = await follower.until(waitsForTheHotelOnly, 15_000)
    try {
      await Promise.all(workers.map((worker) => worker.killAndHold()))
      narrator.aside(`✗ ${workers.map(({ name }) => name).join(' and ')} are killed (SIGKILL)`, 'bad')
      await follower.until(async () => (await calledBack(stage, waiting)).length > 0, 15_000)
      narrator.aside('✓ the hotel calls back; the API takes it', 'good')
    } finally {
      await Promise.all(workers.map((worker) => worker.revive()))
    }
    const saga = await follower.toTheEnd(30_000)
    const checks = [
      ...endedAs(saga, 'completed'),
      is('the hotel should have called back while no worker was there', await calledBack(stage, saga), [
        'bookHotel',
      ]),
      is(
        'the ledger should show every effect once, in order',
        operations(await effectsOf(stage, saga), 'applied'),
        ['bookFlight', 'bookHotel', 'issuePolicy', 'chargeCard', 'sendItinerary'],
      ),
    ]
    const took = duration(lifetimeMs(saga))
    narrator.ending(`Completed in ${took}. The ledger agrees: five effects, each exactly once.`, checks)
    return { right: checks.every(({ holds }) => holds), sagaId }
  },
}

function waitsForTheHotelOnly({ completedSteps, next }: SagaSnapshot): boolean {
  const waits = next.attempts?.every(({ waiting }) => waiting?.for === 'callback') === true
  return waits && completedSteps.includes('bookFlight') && next.worker === undefined
}

async function calledBack(stage: Stage, saga: SagaSnapshot): Promise<string[]> {
  return operations(await effectsOf(stage, saga), 'calledBack')
}
