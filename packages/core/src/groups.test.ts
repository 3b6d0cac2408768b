import { describe, expect, test } from 'vitest'
import { wakeAt } from './agenda.ts'
import { fold } from './history.ts'
import { checkDefinition } from './lint.ts'
import { plan } from './plan.ts'
import { undoEntry } from './start.ts'
import { isClean } from './state.ts'
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

const past = () => {
  const play = new Play(
    define([{ name: 'pay', ...both, pivot: true }, { parallel: [flight, hotel] }, 'mail']),
  )
  play.end('pay', 'succeeded')
  return play
}

describe('past the pivot (S14)', () => {
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

test('who has given up is put before a person as soon as nothing runs, whatever the others are put off for (S12a)', () => {
  const play = new Play(together).settleAll('succeeded', 'succeeded', 'succeeded', 'rejected')
  expect(play.tell({ type: 'nothingRuns' }).is).toBe('ignored')
  play.end('flight', 'rejected', ['hotel'])
  play.tell({ type: 'nothingRuns' })
  expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'flight' }, attempts: { hotel: 1 } })
  expect(play.tell({ type: 'nothingRuns' }).is).toBe('ignored')
  play.operator('markCompensated')
  expect(play.state).toMatchObject({ status: 'compensating', attempts: { hotel: 1 } })
})

test('a group whose workers keep dying is stuck over one member and keeps the others (S19)', () => {
  const play = inGroup()
  for (let n = 0; n < 5; n++) play.crash()
  expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'flight' }, attempts: { hotel: 1 } })
  play.operator('retry')
  expect(play.state).toMatchObject({ status: 'running', attempts: { flight: 1, hotel: 1 } })
})

describe('a group that is stuck before the pivot (S19)', () => {
  const charge = {
    name: 'charge',
    ...both,
    action: { type: 'http', url: 'http://h/', completion: 'callback' },
    timeoutMs: 60_000,
  } as const

  /** Its workers died of the flight while the charge was to be called back about. */
  const looping = () => {
    const play = new Play(define(['quote', { parallel: [flight, charge] }])).settleAll('succeeded')
    play.tell({ type: 'attemptPending', step: 'charge', direction: 'action', attempt: 1 }, [
      'flight',
      'charge',
    ])
    for (let n = 0; n < 5; n++) play.crash()
    return play
  }

  const fail = (play: Play) =>
    play.tell({
      type: 'attemptFailed',
      step: 'charge',
      direction: 'action',
      attempt: 1,
      outcome: 'rejected',
      error: { code: 'DECLINED', message: 'no' },
      by: 'callback',
    })

  test.each(['failed', 'pending'] as const)(
    'and of which another member fails meanwhile turns round with the next end, and neither retries it nor waits on (%s)',
    (how) => {
      const play = new Play(define(['quote', { parallel: [{ ...charge, name: 'flight' }, charge] }]))
      play.end('quote', 'succeeded')
      play.tell({ type: 'attemptPending', step: 'charge', direction: 'action', attempt: 1 }, [
        'flight',
        'charge',
      ])
      for (let n = 0; n < 5; n++) play.crash()
      fail(play)
      expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'flight' }, gaveUp: { charge: {} } })
      play.operator('retry')
      const id = { step: 'flight', direction: 'action', attempt: 1 } as const
      const error = { code: 'DOWN', message: 'down' }
      const outcome = 'failed' as const
      play.tell(
        how === 'failed'
          ? { type: 'attemptFailed', ...id, outcome, error }
          : { type: 'attemptPending', ...id },
        ['flight'],
      )
      expect(play.state).toMatchObject({
        status: 'compensating',
        failedStep: 'charge',
        attempts: { quote: 1 },
      })
      expect(play.state.gaveUp).toBeUndefined()
    },
  )
  test('turned round by a cancel asks nobody about a member that had failed', () => {
    const play = looping()
    fail(play)
    play.cancel()
    expect(play.state).toMatchObject({ status: 'compensating', cause: 'cancel', attempts: { quote: 1 } })
    play.settle('succeeded')
    expect(play.state.status).toBe('cancelled')
  })
  test('over a wait for a callback waits on: what is heard meanwhile counts, and a retry goes on from there', () => {
    const play = new Play(define([charge, 'mail']))
    play.tell({ type: 'attemptPending', step: 'charge', direction: 'action', attempt: 1 })
    for (let n = 0; n < 5; n++) play.crash()
    expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'charge' }, attempts: { charge: 1 } })
    expect(play.operator('skip')).toMatchObject({ entry: { kind: 'verbRefused' } })
    play.tell({
      type: 'attemptSucceeded',
      step: 'charge',
      direction: 'action',
      attempt: 1,
      result: null,
      resultBytes: 4,
    })
    expect(play.state).toMatchObject({ status: 'stuck', completedSteps: ['charge'] })
    expect(play.operator('skip')).toMatchObject({ entry: { kind: 'verbRefused' } })
    play.operator('retry')
    expect(play.state).toMatchObject({ status: 'running', attempts: { mail: 1 } })
  })

  test('over a wait for another saga starts no second one when a person has it retried', () => {
    const play = new Play(define([{ name: 'insure', action: { type: 'saga', definition: 'insurance' } }]))
    const child = { sagaId: 'child-1', definition: { name: 'insurance', version: 1 } }
    play.tell({ type: 'childStarted', step: 'insure', direction: 'action', attempt: 1, child })
    for (let n = 0; n < 5; n++) play.crash()
    play.operator('retry')
    expect(play.state.waiting).toEqual({ insure: { for: 'saga', sagaId: 'child-1' } })
    for (let n = 0; n < 5; n++) play.crash()
    play.tell({ type: 'childReported', sagaId: 'child-1', status: 'failed', clean: true })
    expect(play.state).toMatchObject({ status: 'stuck', stuck: { reason: 'retriesExhausted' }, attempts: {} })
    play.cancel()
    expect(play.state.status).toBe('cancelled')
  })

  test('and is to turn round begins nothing again but the attempt that was under way', () => {
    const play = new Play(define(['quote', { parallel: [flight, hotel] }])).settleAll('succeeded')
    play.end('hotel', 'failed', ['flight'])
    play.tell({ type: 'cancelRequested', actor: 'ada', reason: 'no' }, ['flight'])
    for (let n = 0; n < 5; n++) play.crash()
    play.operator('retry')
    expect(play.state).toMatchObject({ status: 'running', cause: 'cancel', attempts: { flight: 1 } })
    expect(Object.keys(play.state.attempts)).toEqual(['flight'])
  })
  test('begins the attempts afresh of a member that was backing off when its workers had died of it', () => {
    const play = new Play(define([{ ...charge, retry: { maxAttempts: 3 } }]))
    const id = { step: 'charge', direction: 'action', attempt: 1 } as const
    play.tell({ type: 'attemptPending', ...id })
    for (let n = 0; n < 5; n++) play.crash()
    const error = { code: 'BUSY', message: 'busy' }
    play.tell({ type: 'attemptFailed', ...id, outcome: 'failed', error, by: 'callback' })
    expect(play.state).toMatchObject({ status: 'stuck', attempts: { charge: 2 } })
    play.operator('retry')
    expect(play.state).toMatchObject({ status: 'running', attempts: { charge: 1 } })
    expect(play.state.dueAt).toBeUndefined()
  })

  test('over a child that was told to turn round tells it so no second time, and begins no other', () => {
    const insure = { name: 'insure', action: { type: 'saga', definition: 'insurance' } } as const
    const play = new Play(define([insure]))
    const child = { sagaId: 'child-1', definition: { name: 'insurance', version: 1 } }
    play.tell({ type: 'childStarted', step: 'insure', direction: 'action', attempt: 1, child })
    expect(play.cancel()).toMatchObject({ entry: { to: { cancelledChildren: ['child-1'] } } })
    for (let n = 0; n < 5; n++) play.crash()
    const again = play.cancel()
    expect(again).toMatchObject({ state: { status: 'running', cause: 'cancel' } })
    expect(again).not.toHaveProperty('entry.to.cancelledChildren')
    for (let n = 0; n < 5; n++) play.crash()
    play.tell({ type: 'childReported', sagaId: 'child-1', status: 'cancelled', clean: true })
    play.operator('retry')
    expect(play.state.status).toBe('cancelled')
  })
})

test('a member that may have happened is undone before those of its group that did (S9)', () => {
  const asks = { ...flight, compensateWhen: 'uncertain', retry: { maxAttempts: 1 } }
  const play = new Play(define(['quote', { parallel: [asks, hotel] }])).settleAll('succeeded')
  play.end('hotel', 'succeeded')
  play.end('flight', 'uncertain')
  play.settleAll('succeeded', 'succeeded', 'succeeded')
  expect(play.state).toMatchObject({ status: 'failed', compensatedSteps: ['flight', 'hotel', 'quote'] })
})

test('three that fail for good are put before a person one after the other, none forgotten (S30)', () => {
  const play = new Play(
    define([
      { name: 'pay', ...both, pivot: true },
      { parallel: [flight, hotel, { ...visa, ...both, name: 'visa' }] },
    ]),
  )
  play.end('pay', 'succeeded')
  play.end('flight', 'rejected', ['hotel', 'visa'])
  play.end('hotel', 'rejected', ['visa'])
  play.end('visa', 'rejected')
  for (let n = 0; n < 3; n++) play.operator('skip')
  expect(play.state).toMatchObject({ status: 'completed' })
  expect(play.state.skippedSteps.toSorted()).toEqual(['flight', 'hotel', 'visa'])
  expect(play.entries.filter(({ kind }) => kind === 'skipped')).toHaveLength(3)
})

describe('a condition that nobody can answer', () => {
  const broken = { ...flight, when: 'input.nowhere == 1' }

  test('fails its step, and what was passed over on the way to it stays so', () => {
    const play = new Play(define(['quote', { ...hotel, when: 'false' }, broken])).settleAll('succeeded')
    expect(play.state).toMatchObject({
      status: 'compensating',
      failedStep: 'flight',
      skippedSteps: ['hotel'],
      currentStepIndex: 2,
    })
  })

  test('goes to a person behind the pivot', () => {
    const play = new Play(define([{ name: 'pay', ...both, pivot: true }, broken, 'mail'])).settleAll(
      'succeeded',
    )
    expect(play.state).toMatchObject({ status: 'stuck', pivot: 'completed', stuck: { step: 'flight' } })
    play.operator('skip')
    expect(play.state).toMatchObject({ status: 'running', attempts: { mail: 1 } })
  })
})

test('undoing a completed saga undoes what it may have done, too, if that asks for it (M5)', () => {
  const asks = { ...flight, compensateWhen: 'uncertain', retry: { maxAttempts: 1 } }
  const definition = define([{ name: 'quote', ...both }, asks])
  const child = new Play(definition).settleAll('succeeded')
  for (let n = 0; n < 5; n++) child.crash()
  child.operator('skip')
  expect(child.state).toMatchObject({ status: 'completed', uncertainSteps: ['flight'] })
  const parent = { sagaId: 'p', step: 'trip', direction: 'compensation', queue: 'default', depth: 1 } as const
  const started = undoEntry({
    sagaId: 'undo-1',
    child: { ...child.state, children: { quote: 'child-1' } },
    context: child.state.context,
    definition,
    reason: 'off',
    now: START,
    parent,
  })
  const undo = new Play(definition, null, started)
  expect(undo.state.children).toEqual({ quote: 'child-1' })
  undo.settleAll('succeeded', 'succeeded')
  expect(undo.state).toMatchObject({ status: 'completed', compensatedSteps: ['flight', 'quote'] })
})

describe('a step that is a saga (M4, M5)', () => {
  const insure = {
    name: 'insure',
    action: { type: 'saga', definition: 'insurance' },
    compensation: undefined,
  }
  const child = { sagaId: 'child-1', definition: { name: 'insurance', version: 1 } }
  const waiting = (rest = {}) => {
    const play = new Play(define([insure, 'pay'], rest))
    play.tell({ type: 'childStarted', step: 'insure', direction: 'action', attempt: 1, child })
    return play
  }

  test('has completed and is undone even where there is no room for its results', () => {
    const play = waiting()
    const result = { sagaId: 'child-1', results: {} }
    play.tell({ type: 'childReported', sagaId: 'child-1', status: 'completed', result, resultBytes: 2 ** 24 })
    expect(play.state.context).toMatchObject({ insure: { sagaId: 'child-1', results: null } })
    play.end('pay', 'rejected')
    expect(play.state).toMatchObject({ status: 'compensating', attempts: { insure: 1 } })
  })

  test('is known by its step, wakes nobody while it runs, and is not waited for in place of another', () => {
    const play = new Play(define([{ parallel: [insure, { ...insure, name: 'guide' }] }]))
    for (const [step, sagaId] of Object.entries({ insure: 'child-1', guide: 'child-2' })) {
      play.tell({ type: 'childStarted', step, direction: 'action', attempt: 1, child: { ...child, sagaId } })
    }
    expect(play.state.children).toEqual({ insure: 'child-1', guide: 'child-2' })
    expect(wakeAt(play.state, START)).toBeGreaterThan(START + 1e9)
  })

  test('that needs a person shows why its parent waits, until it moves again', () => {
    const play = waiting()
    const report = { type: 'childReported', sagaId: 'child-1' } as const
    play.tell({ ...report, status: 'stuck' })
    expect(play.state.waiting).toEqual({ insure: { for: 'saga', sagaId: 'child-1', stuck: true } })
    expect(play.tell({ ...report, status: 'stuck' }).is).toBe('ignored')
    play.tell({ ...report, status: 'running' })
    expect(play.state.waiting).toEqual({ insure: { for: 'saga', sagaId: 'child-1' } })
  })

  test.each<[boolean | undefined, string[], string]>([
    [false, ['insure'], 'leaves it so: the saga is not clean (S9, M5a)'],
    [true, [], 'leaves nothing: the saga is clean'],
    [undefined, [], 'says nothing of it, as a letter may: the saga is clean (F80)'],
  ])('whose undo reports clean: %s has uncertain steps %j: it %s', (clean, uncertainSteps, _why) => {
    const play = waiting()
    play.tell({ type: 'childReported', sagaId: 'child-1', status: 'completed', clean: false })
    expect(play.state).toMatchObject({ completedSteps: ['insure'], uncertainSteps: [] })
    play.end('pay', 'rejected')
    const undo = { ...child, sagaId: 'undo-1' }
    play.tell({ type: 'childStarted', step: 'insure', direction: 'compensation', attempt: 1, child: undo })
    play.tell({ type: 'childReported', sagaId: 'undo-1', status: 'completed', clean })
    expect(play.state).toMatchObject({ status: 'failed', compensatedSteps: ['insure'], uncertainSteps })
    expect(isClean(play.state)).toBe(uncertainSteps.length === 0)
    expect(fold(play.entries)).toEqual(play.state)
  })

  test('that has ended with something left is uncertain, and never undone a second time', () => {
    const play = waiting({ defaults: { compensateWhen: 'uncertain' } })
    play.tell({ type: 'childReported', sagaId: 'child-1', status: 'abandoned', clean: false })
    expect(play.state).toMatchObject({ status: 'failed', uncertainSteps: ['insure'], compensatedSteps: [] })
  })
})

test('a callback that does not come in time leaves its step uncertain (M3)', () => {
  const http = { type: 'http', url: 'http://h/', completion: 'callback' }
  const play = new Play(define([{ ...flight, action: http, timeoutMs: 1_000, retry: { maxAttempts: 1 } }]))
  play.tell({ type: 'attemptPending', step: 'flight', direction: 'action', attempt: 1 })
  play.settle('uncertain')
  expect(play.now).toBe(START + 1_000)
  expect(play.state).toMatchObject({ status: 'failed', uncertainSteps: ['flight'] })
})

test('a saga that is abandoned holds nothing that a person is still to be asked about (S22)', () => {
  const play = past()
  play.end('flight', 'rejected', ['hotel'])
  play.write({
    kind: 'abandoned',
    at: play.state.updatedAt,
    actor: 'ada',
    reason: 'enough',
    to: { status: 'abandoned' },
  })
  expect(play.state.gaveUp).toBeUndefined()
})

test('an attempt is pending once: said again it puts no time-out off, and no second saga takes the place of the first (M3, M4)', () => {
  const pay = {
    ...flight,
    action: { type: 'http', url: 'http://h/', completion: 'callback' },
    timeoutMs: 1_000,
  }
  const insure = { name: 'insure', action: { type: 'saga', definition: 'insurance' } }
  const play = new Play(define([{ parallel: [pay, insure] }]))
  const pending = { type: 'attemptPending', step: 'flight', direction: 'action', attempt: 1 } as const
  const child = { sagaId: 'child-1', definition: { name: 'insurance', version: 1 } }
  const started = { type: 'childStarted', step: 'insure', direction: 'action', attempt: 1 } as const
  play.tell(pending)
  play.tell({ ...started, child })
  const { state } = play
  play.now += 500
  expect(play.tell(pending).is).toBe('ignored')
  expect(play.tell({ ...started, child: { ...child, sagaId: 'child-2' } }).is).toBe('ignored')
  expect(play.state).toBe(state)
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
