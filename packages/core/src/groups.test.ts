import { describe, expect, test } from 'vitest'
import { checkDefinition } from './lint.ts'
import { plan } from './plan.ts'
import { wakeAt } from './schedule.ts'
import { define, Play, START, sketch } from './testing.ts'

/** One example for each rule of what runs at once. That they hold for every saga is proven in groups.laws.test.ts. */

const both = { action: { type: 'handler' }, compensation: { type: 'handler' } } as const
const flight = { name: 'flight', ...both }
const hotel = { name: 'hotel', ...both }
const visa = { name: 'visa', action: { type: 'signal', signal: 'visa' }, timeoutMs: 60_000 } as const
const trip = define(['quote', { parallel: [flight, hotel] }, 'pay'])
const together = define(['quote', { parallel: [flight, hotel], compensate: 'together' }, 'pay'])

const inGroup = () => new Play(trip).settleAll('succeeded')

describe('a parallel group', () => {
  test('has all its members under way in the commit that comes to it, and is done when all of them are (S1)', () => {
    const play = inGroup()
    expect(play.state).toMatchObject({ currentStepIndex: 1, attempts: { flight: 1, hotel: 1 } })
    play.end('hotel', 'succeeded')
    expect(play.state).toMatchObject({ currentStepIndex: 1, attempts: { flight: 1 } })
    play.end('flight', 'succeeded')
    expect(play.state).toMatchObject({
      currentStepIndex: 2,
      attempts: { pay: 1 },
      completedSteps: ['quote', 'hotel', 'flight'],
    })
  })

  test('is undone in reverse order of completion, one member after the other (S8)', () => {
    const play = inGroup()
    play.end('hotel', 'succeeded')
    play.end('flight', 'succeeded')
    play.end('pay', 'rejected')
    expect(play.state.attempts).toEqual({ flight: 1 })
    play.settleAll('succeeded', 'succeeded', 'succeeded')
    expect(play.state).toMatchObject({ status: 'failed', compensatedSteps: ['flight', 'hotel', 'quote'] })
  })

  test('whose members are undone together has all of them under way at once, and what is before it waits', () => {
    const play = new Play(together).settleAll('succeeded', 'succeeded', 'succeeded', 'rejected')
    expect(play.state).toMatchObject({ status: 'compensating', attempts: { flight: 1, hotel: 1 } })
    play.end('flight', 'succeeded')
    expect(play.state.attempts).toEqual({ hotel: 1 })
    play.end('hotel', 'succeeded')
    expect(play.state.attempts).toEqual({ quote: 1 })
  })

  test('in which one fails lets the others end first, and then undoes what completed', () => {
    const play = inGroup()
    play.end('flight', 'rejected', ['hotel'])
    expect(play.state).toMatchObject({ status: 'running', cause: 'failure', attempts: { hotel: 1 } })
    play.end('hotel', 'succeeded')
    expect(play.state).toMatchObject({ status: 'compensating', failedStep: 'flight', attempts: { hotel: 1 } })
  })

  test('in which one fails retries no other: what fails, too, has had its last attempt', () => {
    const play = inGroup()
    play.end('flight', 'rejected', ['hotel'])
    play.end('hotel', 'failed')
    expect(play.state).toMatchObject({ status: 'compensating', failedStep: 'flight', attempts: { quote: 1 } })
  })

  test('in which one fails waits for nobody who is not at work: neither a back-off nor a signal', () => {
    const play = new Play(define([{ parallel: [flight, hotel, visa] }]))
    play.end('hotel', 'failed')
    play.end('flight', 'rejected')
    expect(play.state).toMatchObject({ status: 'failed', attempts: {} })
  })

  test('takes each result as it comes; a member whose condition is false is passed over (S1)', () => {
    const play = new Play(define([{ parallel: [flight, { ...hotel, when: 'false' }] }, 'pay']))
    play.checkCondition()
    expect(play.state).toMatchObject({ attempts: { flight: 1 }, skippedSteps: ['hotel'] })
    play.end('flight', 'succeeded')
    expect(play.state).toMatchObject({ attempts: { pay: 1 } })
  })

  test('is passed over when no condition in it holds', () => {
    const play = new Play(define(['quote', { parallel: [{ ...flight, when: 'false' }] }, 'pay']))
    play.end('quote', 'succeeded')
    expect(play.state).toMatchObject({ attempts: { pay: 1 }, currentStepIndex: 2, skippedSteps: ['flight'] })
  })

  test('waits for signals, delays and attempts beside each other, and wakes for the first of them (S7a)', () => {
    const nap = { name: 'nap', action: { type: 'delay', delayMs: 1_000 } } as const
    const play = new Play(define([{ parallel: [flight, visa, nap] }]))
    expect(wakeAt(play.state, START)).toBe(START)
    expect(wakeAt(play.state, START, ['flight'])).toBe(START + 1_000)
    play.signal('visa')
    play.end('flight', 'succeeded')
    expect(play.state.waiting).toEqual({ nap: { for: 'delay' } })
    play.end('nap', 'succeeded')
    expect(play.state.status).toBe('completed')
  })

  test('is resumed after a crash where it was: what may have been under way is uncertain and runs again (S17b)', () => {
    const play = inGroup()
    play.end('hotel', 'succeeded')
    play.crash()
    expect(play.state).toMatchObject({ uncertainSteps: ['flight'], attempts: { flight: 1 } })
  })

  test('turned round by a cancel lets what is running end, and undoes that, too (S25)', () => {
    const play = inGroup()
    play.cancel(true)
    expect(play.state).toMatchObject({
      status: 'running',
      cause: 'cancel',
      attempts: { flight: 1, hotel: 1 },
    })
    play.end('flight', 'succeeded', ['hotel'])
    play.end('hotel', 'uncertain')
    expect(play.state).toMatchObject({
      status: 'compensating',
      attempts: { flight: 1 },
      uncertainSteps: ['hotel'],
    })
  })
})

describe('past the pivot (S14)', () => {
  const past = () => {
    const play = new Play(
      define([{ name: 'pay', ...both, pivot: true }, { parallel: [flight, hotel] }, 'mail']),
    )
    play.end('pay', 'succeeded')
    return play
  }

  test('one that fails for good goes to a person once the others have ended', () => {
    const play = past()
    play.end('flight', 'rejected', ['hotel'])
    expect(play.state).toMatchObject({ status: 'running', gaveUp: { flight: {} }, attempts: { hotel: 1 } })
    play.end('hotel', 'succeeded')
    expect(play.state).toMatchObject({
      status: 'stuck',
      stuck: { step: 'flight', reason: 'retriesExhausted' },
    })
    expect(play.state.gaveUp).toBeUndefined()
    play.operator('retry')
    expect(play.state).toMatchObject({ status: 'running', attempts: { flight: 1 } })
    play.end('flight', 'succeeded')
    expect(play.state.attempts).toEqual({ mail: 1 })
  })

  test('two that fail for good are put before a person one after the other', () => {
    const play = past()
    play.end('flight', 'rejected', ['hotel'])
    play.end('hotel', 'rejected')
    expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'hotel' }, gaveUp: { flight: {} } })
    play.operator('skip')
    expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'flight' } })
    play.operator('skip')
    expect(play.state).toMatchObject({ status: 'running', attempts: { mail: 1 } })
  })

  test('a signal that others wait for is no reason not to ask a person at once, and is not forgotten', () => {
    const play = new Play(define([{ name: 'pay', ...both, pivot: true }, { parallel: [flight, visa] }]))
    play.end('pay', 'succeeded')
    play.end('flight', 'rejected')
    expect(play.state).toMatchObject({ status: 'stuck', waiting: { visa: { for: 'signal' } } })
    play.signal('visa')
    play.operator('skip')
    play.readKept()
    expect(play.state.status).toBe('completed')
  })
})

test('a compensation that fails beside others goes to a person once they have ended, and nothing is undone before it (S12)', () => {
  const play = new Play(together).settleAll('succeeded', 'succeeded', 'succeeded', 'rejected')
  play.end('flight', 'rejected', ['hotel'])
  expect(play.state).toMatchObject({ status: 'compensating', gaveUp: { flight: {} } })
  play.end('hotel', 'succeeded')
  expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'flight', direction: 'compensation' } })
  play.operator('markCompensated')
  expect(play.state).toMatchObject({ status: 'compensating', attempts: { quote: 1 } })
})

test('a group whose workers keep dying is stuck over one member and keeps the others (S19)', () => {
  const play = inGroup()
  for (let n = 0; n < 5; n++) play.crash()
  expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'flight' }, attempts: { hotel: 1 } })
  play.operator('retry')
  expect(play.state).toMatchObject({ status: 'running', attempts: { flight: 1, hotel: 1 } })
})

test('the plan shows what is under way together, and undoes all that can have completed before the failure (S28)', () => {
  const { acts, ends } = plan(trip, 'flight')
  expect(acts.map(({ step, direction, round }) => `${round} ${direction} ${step}`)).toEqual([
    '1 action quote',
    '2 action hotel',
    '2 action flight',
    '3 compensation hotel',
    '4 compensation quote',
  ])
  expect(ends).toBe('failed')
})

describe('a definition', () => {
  const problems = (steps: Parameters<typeof sketch>[0]) => {
    const checked = checkDefinition(sketch(steps))
    return checked.ok ? [] : checked.problems
  }

  test('gives each step of a group a name of its own', () => {
    expect(problems(['flight', { parallel: [hotel, flight] }])).toEqual([
      { pointer: '/steps/1/parallel/1/name', detail: '"flight" is already the name of step 0' },
    ])
  })

  test('has its pivot alone', () => {
    expect(problems([{ parallel: [{ ...hotel, pivot: true }] }])[0]?.pointer).toBe(
      '/steps/0/parallel/0/pivot',
    )
  })

  test('reads no result of a member in another of the same group, and any of them after it', () => {
    const reads = { ...flight, when: 'context.hotel != null' }
    expect(problems([{ parallel: [hotel, reads] }])[0]).toMatchObject({ pointer: '/steps/0/parallel/1/when' })
    expect(problems([{ parallel: [hotel] }, reads])).toEqual([])
  })

  test('says what is wrong inside a group at its place, and of a step that is neither', () => {
    expect(problems([{ parallel: [{ name: 'hotel', action: { type: 'handler' }, color: 'red' }] }])).toEqual([
      { pointer: '/steps/0/parallel/0/color', detail: 'unknown field; remove it or check its spelling' },
    ])
    expect(problems([{ parallel: [] }])[0]?.pointer).toBe('/steps/0/parallel')
    expect(problems([{ name: 'a', ...both, color: 'red' }])).toEqual([
      { pointer: '/steps/0/color', detail: 'unknown field; remove it or check its spelling' },
    ])
  })
})
