import { duration } from '../../narrator.ts'
import { endedAs, is } from '../check.ts'
import { Follower } from '../follow.ts'
import { lifetimeMs, type Story } from '../story.ts'
import { approve, trip } from './trip.ts'

const NAME = 'trip-of-the-month'

export const scheduled: Story = {
  title: 'A trip by the calendar',
  about:
    'A schedule starts a trip on the first of each month at nine, Berlin time. Nobody waits for that here: somebody ' +
    'asks for a run now, and the schedule is deleted again.',
  async tell(stage) {
    const { client, version, narrator, signal } = stage
    const input = trip('t-7')
    const when = { version, cron: '0 9 1 * *', timeZone: 'Europe/Berlin' }
    const { nextRunAt } = await client.schedules.put(NAME, 'trip', input, when, { signal })
    narrator.aside(`schedule "${NAME}", next at ${nextRunAt ?? 'never'}`)
    try {
      const { sagaId } = await client.schedules.runNow(NAME, { reason: 'the demo will not wait', signal })
      narrator.aside(`trip ${input.tripId}, saga ${sagaId}`)
      await approve(stage, sagaId)
      const saga = await new Follower(stage, sagaId).toTheEnd(15_000)
      const checks = [
        ...endedAs(saga, 'completed'),
        is('the saga should say which schedule started it', saga.tags.schedule, NAME),
      ]
      const took = duration(lifetimeMs(saga))
      narrator.ending(`Completed in ${took}; its tags name the schedule.`, checks)
      return { right: checks.every(({ holds }) => holds), sagaId }
    } finally {
      await client.schedules.delete(NAME, { signal })
    }
  },
}
