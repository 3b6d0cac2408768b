import { describe, expect, test } from 'vitest'
import { dueNow, isPastDeadline, keptSignal, next, nextAct, overdue, wakeAt } from './agenda.ts'
import type { Outcome } from './event.ts'
import { MAX_CONTEXT_BYTES, MAX_KEPT_SIGNALS } from './limits.ts'
import { entryOf, isClean } from './state.ts'
import { define, Play, START } from './testing.ts'

/** One example for each rule that `decide` keeps. That they hold for every saga is proven in decide.laws.test.ts. */

const order = define(['reserve', 'charge', 'ship'])
const compensating = () => new Play(order).settleAll('succeeded', 'succeeded', 'rejected')
/** The compensation of `reserve` has failed four times. */
const stuckUndoing = () =>
  new Play(define(['reserve', 'charge'])).settleAll('succeeded', 'rejected', ...four('failed'))
/** Five workers have died at `charge`. */
const crashLooping = () => {
  const play = new Play(order).settleAll('succeeded')
  for (let n = 0; n < 5; n++) play.crash()
  return play
}
const delayed = define([
  'reserve',
  { name: 'cool', action: { type: 'delay', delayMs: 60_000 }, compensation: undefined },
  'ship',
])
const asksFor = (signal: string) => ({ action: { type: 'signal', signal }, timeoutMs: 60_000 })
const approved = define(['reserve', { name: 'approve', ...asksFor('approved') }, 'ship'])
const pivoted = define(['reserve', { name: 'charge', pivot: true, compensateWhen: 'uncertain' }, 'ship'])
const IN_A_MINUTE = '2026-01-01T00:01:00.000Z'
const four = (outcome: Outcome) => [outcome, outcome, outcome, outcome]

describe('going forward', () => {
  test('S1 a result is merged under its name, the step listed, the index moved on and the next step scheduled', () => {
    const play = new Play(order, { amount: 5 })
    play.settle('succeeded', { result: { room: 7 } })
    expect(play.state).toMatchObject({
      status: 'running',
      currentStepIndex: 1,
      completedSteps: ['reserve'],
      context: { input: { amount: 5 }, reserve: { room: 7 } },
      attempts: { charge: 1 },
    })
  })

  test('S3 it takes one entry to record a step and to schedule the one after it', () => {
    const play = new Play(order).settleAll('succeeded')
    expect(play.entries).toHaveLength(2)
    expect(play.entries[1]).toMatchObject({
      kind: 'attemptSucceeded',
      step: 'reserve',
      to: { attempts: { charge: 1 } },
    })
  })

  test('S1 after the last step the saga is completed and waits for nothing', () => {
    const { state } = new Play(order).settleAll('succeeded', 'succeeded', 'succeeded')
    expect(state).toMatchObject({ status: 'completed', currentStepIndex: 3, attempts: {} })
    expect(state.completedSteps).toEqual(['reserve', 'charge', 'ship'])
    expect(next(state)).toEqual({ act: 'nothing' })
    expect(wakeAt(state, START)).toBeUndefined()
  })

  test('S4 a result after the time-out is recorded as late and not applied', () => {
    const play = new Play(order).settleAll('uncertain')
    play.tell({ type: 'lateResult', step: 'reserve', direction: 'action', attempt: 1, outcome: 'succeeded' })
    expect(play.entries.at(-1)).toMatchObject({ kind: 'lateResult', outcome: 'succeeded', to: {} })
    expect(play.state).toMatchObject({
      completedSteps: [],
      attempts: { reserve: 2 },
      uncertainSteps: ['reserve'],
    })
  })

  test('S5 a failed attempt is tried again after a pause that stands in the state', () => {
    const play = new Play(order)
    play.settle('failed')
    expect(play.scheduled).toEqual({
      step: 'reserve',
      direction: 'action',
      attempt: 2,
      dueAt: '2026-01-01T00:00:00.100Z',
    })
    expect(dueNow(play.state, START)).toEqual([])
    expect(dueNow(play.state, START + 100)).toEqual(['reserve'])
    expect(wakeAt(play.state, START)).toBe(START + 100)
  })

  test('S5 Retry-After is obeyed', () => {
    const play = new Play(order)
    play.settle('failed', { retryAfterMs: 7_000 })
    expect(wakeAt(play.state, START)).toBe(START + 7_000)
  })

  test('S6 after the third attempt the saga turns round, and says which step, which attempt and why', () => {
    const play = new Play(order).settleAll('succeeded', 'failed', 'uncertain')
    play.settle('failed', { code: 'ECONNREFUSED', message: 'nobody there' })
    expect(play.state).toMatchObject({
      status: 'compensating',
      cause: 'failure',
      failedStep: 'charge',
      failureReason: 'step "charge" failed on attempt 3 of 3: ECONNREFUSED: nobody there',
      attempts: { reserve: 1 },
    })
  })

  test('S5 S6 a rejected step is not tried again', () => {
    const play = new Play(order)
    play.settle('rejected', { code: 'SOLD_OUT', message: 'none left' })
    expect(play.state).toMatchObject({
      status: 'failed',
      failureReason: 'step "reserve" was rejected on attempt 1 of 3: SOLD_OUT: none left',
    })
  })

  test('S17a a result that nobody waits for changes nothing', () => {
    const play = new Play(order).settleAll('failed')
    const stale = { step: 'reserve', direction: 'action', attempt: 1 } as const
    const decision = play.tell({ type: 'attemptSucceeded', ...stale, result: 1, resultBytes: 1 })
    expect(decision).toEqual({
      is: 'ignored',
      why: 'attempt 1 of the action of step "reserve" is not awaited',
    })
  })
})

describe('the deadline (S7)', () => {
  const inAMinute = define(['reserve', 'charge'], { deadlineMs: 60_000 })

  test('wakes the worker while the saga goes forward, and only then', () => {
    const play = new Play(inAMinute)
    play.settle('succeeded')
    play.settle('failed', { retryAfterMs: 20_000 })
    play.settle('failed', { retryAfterMs: 1e9 })
    expect(wakeAt(play.state, play.now)).toBe(START + 20_000 + 30_000)
    expect(wakeAt({ ...play.state, dueAt: { charge: '2027-01-01T00:00:00Z' } }, play.now)).toBe(
      START + 60_000,
    )
    expect(isPastDeadline(play.state, START + 59_999)).toBe(false)
    expect(isPastDeadline(play.state, START + 60_000)).toBe(true)
  })

  test('turns the saga round, and the saga ends failed', () => {
    const play = new Play(inAMinute).settleAll('succeeded')
    play.passDeadline(false)
    expect(play.state).toMatchObject({
      status: 'compensating',
      cause: 'deadline',
      failureReason: "the saga's deadline (2026-01-01T00:01:00.000Z) has passed",
      attempts: { reserve: 1 },
    })
    expect(play.settleAll('succeeded').state.status).toBe('failed')
  })

  test('lets the attempt under way end first, and undoes its success', () => {
    const play = new Play(inAMinute).settleAll('succeeded')
    play.passDeadline(true)
    expect(play.state).toMatchObject({ status: 'running', attempts: { charge: 1 } })
    expect(play.settleAll('succeeded').scheduled).toMatchObject({ step: 'charge', direction: 'compensation' })
  })

  test('does not move a stuck saga: that is for a person (S30)', () => {
    const play = new Play(inAMinute)
    for (let n = 0; n < 5; n++) play.crash()
    expect(play.passDeadline(false).is).toBe('ignored')
  })

  test('never stops a compensation (F25)', () => {
    const play = new Play(inAMinute).settleAll('succeeded', 'rejected')
    expect(isPastDeadline(play.state, START + 60_000)).toBe(false)
    expect(play.passDeadline(false).is).toBe('ignored')
  })
})

describe('going backward', () => {
  test('S8 undoes what completed, last first, one after the other, and passes over what has no compensation', () => {
    const definition = define(['a', { name: 'look', compensation: undefined }, 'c', 'd'])
    const play = new Play(definition).settleAll('succeeded', 'succeeded', 'succeeded', 'rejected')
    expect(play.state.attempts).toEqual({ c: 1 })
    expect(play.settleAll('succeeded').state.attempts).toEqual({ a: 1 })
    expect(play.settleAll('succeeded').state).toMatchObject({
      status: 'failed',
      compensatedSteps: ['c', 'a'],
    })
    expect(isClean(play.state)).toBe(true)
  })

  test('S9 the failing step is not undone by default, and where it is uncertain this is never silent', () => {
    const play = new Play(order).settleAll('succeeded', 'uncertain', 'rejected', 'succeeded')
    expect(play.state).toMatchObject({
      status: 'failed',
      compensatedSteps: ['reserve'],
      uncertainSteps: ['charge'],
    })
    expect(isClean(play.state)).toBe(false)
  })

  test('S9 an uncertain step whose definition asks for it is undone first, and is then no longer uncertain (F22)', () => {
    const definition = define(['reserve', { name: 'charge', compensateWhen: 'uncertain' }])
    const play = new Play(definition).settleAll('succeeded', 'uncertain', 'rejected')
    expect(play.state.attempts).toEqual({ charge: 1 })
    const { state } = play.settleAll('succeeded', 'succeeded')
    expect(state).toMatchObject({
      status: 'failed',
      compensatedSteps: ['charge', 'reserve'],
      uncertainSteps: [],
    })
  })

  test('S9 a step that is certain not to have happened is not undone, whatever its definition asks for', () => {
    const definition = define(['reserve', { name: 'charge', compensateWhen: 'uncertain' }])
    const play = new Play(definition).settleAll('succeeded', 'failed', 'rejected')
    expect(play.state.attempts).toEqual({ reserve: 1 })
  })

  test('S9 an uncertain step that was skipped is undone in its place, between those that completed', () => {
    const risky = { name: 'charge', compensateWhen: 'uncertain' }
    const play = new Play(define(['reserve', risky, { ...risky, name: 'book' }, 'ship', 'mail']))
    play.settleAll('succeeded')
    for (let n = 0; n < 5; n++) play.crash()
    play.operator('skip')
    for (let n = 0; n < 5; n++) play.crash()
    play.operator('skip')
    play.settleAll('succeeded', 'rejected')
    expect(play.state).toMatchObject({ skippedSteps: ['charge', 'book'], uncertainSteps: ['charge', 'book'] })
    expect(play.settleAll(...four('succeeded')).state).toMatchObject({
      status: 'failed',
      compensatedSteps: ['ship', 'book', 'charge', 'reserve'],
      uncertainSteps: [],
    })
  })

  test('S10 each compensation is recorded as it succeeds, and a crash resumes at the first not yet undone', () => {
    const play = compensating().settleAll('succeeded')
    play.crash()
    expect(play.state).toMatchObject({
      compensatedSteps: ['charge'],
      attempts: { reserve: 1 },
      uncertainSteps: [],
    })
  })

  test('S11 a compensation has one attempt and three retries, each backed off', () => {
    const play = compensating().settleAll('failed', 'uncertain', 'failed')
    expect(play.scheduled).toMatchObject({ step: 'charge', direction: 'compensation', attempt: 4 })
    expect(wakeAt(play.state, play.now)).toBeGreaterThanOrEqual(play.now + 100)
  })

  test('S12 then the saga is stuck there, and no other compensation goes ahead of it', () => {
    const play = compensating().settleAll(...four('failed'))
    expect(play.state).toMatchObject({
      status: 'stuck',
      compensatedSteps: [],
      stuck: {
        step: 'charge',
        direction: 'compensation',
        reason: 'compensationFailed',
        message: 'the compensation of step "charge" failed on attempt 4: DECLINED: no',
        since: new Date(play.now).toISOString(),
      },
    })
    expect(next(play.state)).toEqual({ act: 'waitForOperator' })
    expect(wakeAt(play.state, play.now)).toBeUndefined()
  })

  test('S12 a rejected compensation is stuck at once', () => {
    expect(compensating().settleAll('rejected').state.status).toBe('stuck')
  })
})

describe('crashes', () => {
  test('S17b a lost lease uses up no attempt, marks the step uncertain and stands in the history', () => {
    const play = new Play(order).settleAll('failed')
    play.waitUntilDue()
    play.crash()
    expect(play.entries.at(-1)).toMatchObject({ kind: 'leaseLost', leasesLost: 1, steps: ['reserve'] })
    expect(play.state).toMatchObject({
      status: 'running',
      attempts: { reserve: 2 },
      uncertainSteps: ['reserve'],
    })
    expect(play.settleAll('succeeded').state.uncertainSteps).toEqual([])
  })

  test('S17b a step that was only waiting for its retry is not uncertain, and goes on waiting', () => {
    const play = new Play(order).settleAll('failed')
    const { dueAt } = play.state
    play.crash()
    expect(play.state).toMatchObject({ uncertainSteps: [], attempts: { reserve: 2 }, dueAt })
  })

  test('S19 the fifth lease lost at one step makes the saga stuck, and names the step even if it was waiting', () => {
    expect(crashLooping().state.stuck).toMatchObject({
      step: 'charge',
      direction: 'action',
      reason: 'crashLoop',
    })
    const waiting = new Play(order).settleAll('failed')
    for (let n = 0; n < 5; n++) waiting.crash()
    expect(waiting.state.stuck).toMatchObject({ step: 'reserve', reason: 'crashLoop' })
  })

  test('S19 a paused saga with nothing under way is stuck at no step, and goes on when it is retried and resumed', () => {
    const play = new Play(order)
    play.operator('pause')
    play.tell(
      {
        type: 'attemptSucceeded',
        step: 'reserve',
        direction: 'action',
        attempt: 1,
        result: 1,
        resultBytes: 1,
      },
      [],
    )
    for (let n = 0; n < 5; n++) play.crash()
    expect(play.state.stuck).toMatchObject({ step: null, reason: 'crashLoop' })
    expect(play.state.stuck?.message).toContain('with nothing under way')
    for (const [verb, more] of [
      ['skip', {}],
      ['markCompensated', {}],
      ['retry', { input: 1 }],
      ['retry', { step: 'charge' }],
    ] as const) {
      play.operator(verb, more)
      expect(play.entries.at(-1)).toMatchObject({ kind: 'verbRefused', verb })
    }
    play.operator('retry')
    expect(play.entries.at(-1)).toMatchObject({ kind: 'retried' })
    expect(play.state).toMatchObject({ status: 'running', attempts: {} })
    play.operator('resume')
    expect(play.settleAll('succeeded', 'succeeded').state.status).toBe('completed')
  })

  test('S19 progress starts the count anew', () => {
    const play = new Play(order)
    for (let n = 0; n < 4; n++) play.crash()
    expect(play.state.leasesLost).toBe(4)
    expect(play.settleAll('failed').state.leasesLost).toBeUndefined()
    for (let n = 0; n < 4; n++) play.crash()
    expect(play.settleAll('succeeded').state.leasesLost).toBeUndefined()
  })

  test('S19 leases lost going forward do not count against a compensation', () => {
    const play = new Play(order).settleAll('succeeded')
    for (let n = 0; n < 4; n++) play.crash()
    play.cancel()
    play.crash()
    expect(play.state).toMatchObject({ status: 'compensating', leasesLost: 1 })
    const looping = crashLooping()
    looping.cancel()
    looping.crash()
    expect(looping.state).toMatchObject({ status: 'compensating', leasesLost: 1 })
  })

  test('S21 an attempt that a stopping worker cut short runs again under its number, and counts as no crash', () => {
    const play = new Play(order)
    play.interrupt()
    expect(play.entries.at(-1)).toMatchObject({ kind: 'interrupted', steps: ['reserve'] })
    expect(play.state).toMatchObject({
      status: 'running',
      attempts: { reserve: 1 },
      uncertainSteps: ['reserve'],
    })
    expect(play.state.leasesLost).toBeUndefined()
  })

  test('S17b the same lost lease is recorded once', () => {
    const play = new Play(order)
    play.crash()
    expect(play.tell({ type: 'leaseLost', leasesLost: 1 }).is).toBe('ignored')
  })
})

describe('the end', () => {
  test('S22 is never left', () => {
    const play = new Play(order).settleAll('rejected')
    expect(play.cancel()).toEqual({ is: 'ignored', why: 'the saga is failed' })
    expect(play.crash().is).toBe('ignored')
    expect(play.operator('retry').is).toBe('ignored')
  })
})

describe('cancel (S25)', () => {
  test('compensates at once what only waits for a retry, and ends cancelled', () => {
    const play = new Play(order).settleAll('succeeded', 'failed')
    play.cancel()
    expect(play.state).toMatchObject({
      status: 'compensating',
      cause: 'cancel',
      failureReason: 'cancelled by ada: changed my mind',
      cancel: { actor: 'ada', reason: 'changed my mind', at: '2026-01-01T00:00:00.000Z' },
      attempts: { reserve: 1 },
    })
    expect(play.state.dueAt).toBeUndefined()
    expect(play.settleAll('succeeded').state.status).toBe('cancelled')
  })

  test('ends at once where nothing is owed', () => {
    const play = new Play(order)
    play.cancel()
    expect(play.state).toMatchObject({ status: 'cancelled', attempts: {} })
  })

  test('lets the attempt under way end, and undoes its success even where it was the last step', () => {
    const play = new Play(order).settleAll('succeeded', 'succeeded')
    play.cancel(true)
    expect(play.state).toMatchObject({ status: 'running', attempts: { ship: 1 } })
    play.settleAll('succeeded')
    expect(play.state).toMatchObject({ status: 'compensating', attempts: { ship: 1 } })
    expect(play.settleAll('succeeded', 'succeeded', 'succeeded').state).toMatchObject({
      status: 'cancelled',
      compensatedSteps: ['ship', 'charge', 'reserve'],
    })
  })

  test('lets the attempt under way fail, which is not tried again and is not the reason', () => {
    const play = new Play(order).settleAll('succeeded')
    play.cancel(true)
    play.settle('failed')
    expect(play.state).toMatchObject({
      status: 'compensating',
      failureReason: 'cancelled by ada: changed my mind',
    })
    expect(play.state.failedStep).toBeUndefined()
  })

  test('of a saga that already compensates is recorded and changes neither its course nor its end', () => {
    const play = compensating()
    play.cancel()
    expect(play.state.cancel).toMatchObject({ actor: 'ada' })
    expect(play.settleAll('succeeded', 'succeeded').state.status).toBe('failed')
  })

  test('of a paused saga turns it round, beside resuming it: what was next is not begun (S30a)', () => {
    const play = new Play(order).settleAll('succeeded')
    play.operator('pause')
    play.cancel()
    expect(play.state).toMatchObject({ status: 'compensating', cause: 'cancel', attempts: { reserve: 1 } })
    expect(play.state.paused).toBeUndefined()
    expect(play.settleAll('succeeded').state.status).toBe('cancelled')
  })

  test.each([true, false])(
    'of a saga stuck going forward compensates, whatever the worker believes (underWay: %s)',
    (underWay) => {
      const play = crashLooping()
      play.cancel(underWay)
      expect(play.state).toMatchObject({ status: 'compensating', cause: 'cancel', attempts: { reserve: 1 } })
      expect(play.state.stuck).toBeUndefined()
    },
  )
})

test.each([
  ['a cancel', 'cancel', 'cancelled'],
  ['the deadline', 'deadline', 'failed'],
] as const)(
  'S25 a saga that is stuck before it could turn round for %s turns round at the next cancel',
  (_, cause, end) => {
    const play = new Play(define(['reserve', 'charge'], { deadlineMs: 60_000 })).settleAll('succeeded')
    if (cause === 'cancel') play.cancel(true)
    else play.passDeadline(true)
    for (let n = 0; n < 5; n++) play.crash()
    expect(play.state).toMatchObject({
      status: 'stuck',
      cause,
      stuck: { step: 'charge', direction: 'action' },
    })
    play.cancel()
    expect(play.state).toMatchObject({ status: 'compensating', cause, attempts: { reserve: 1 } })
    expect(play.state.stuck).toBeUndefined()
    expect(play.settleAll('succeeded').state.status).toBe(end)
  },
)

describe('a delay (S7a)', () => {
  test('stands in the state with its end, is dispatched by nobody and wakes a worker when it is over', () => {
    const play = new Play(delayed).settleAll('succeeded')
    const attempt = {
      step: 'cool',
      direction: 'action',
      attempt: 1,
      dueAt: IN_A_MINUTE,
      waiting: { for: 'delay' },
    }
    expect(nextAct(play.state)).toEqual({ act: 'attempt', attempts: [attempt] })
    expect(dueNow(play.state, START + 60_000)).toEqual([])
    expect(wakeAt(play.state, START)).toBe(START + 60_000)
  })

  test('succeeds with null once its time is over', () => {
    const play = new Play(delayed).settleAll('succeeded')
    expect(overdue(play.state, START + 59_999)).toBeUndefined()
    const over = overdue(play.state, START + 60_000)
    expect(over).toMatchObject({ type: 'attemptSucceeded', step: 'cool', result: null, resultBytes: 4 })
    expect(play.settleAll('succeeded').state).toMatchObject({
      completedSteps: ['reserve', 'cool'],
      context: { cool: null },
      attempts: { ship: 1 },
    })
    expect(play.state.waiting ?? play.state.dueAt).toBeUndefined()
    expect(overdue(play.state, START + 120_000)).toBeUndefined()
  })

  test('goes on through the death of its worker, and nothing is uncertain', () => {
    const play = new Play(delayed).settleAll('succeeded')
    play.crash()
    play.now = START + 61_000
    play.interrupt()
    expect(play.state).toMatchObject({
      uncertainSteps: [],
      attempts: { cool: 1 },
      dueAt: { cool: IN_A_MINUTE },
    })
    expect(play.state.waiting).toEqual({ cool: { for: 'delay' } })
    expect(play.entries.at(-1)).toMatchObject({ kind: 'interrupted', steps: [] })
  })

  test('at which workers die is stuck like any step, and is waited out anew when it is retried (S19)', () => {
    const play = new Play(delayed).settleAll('succeeded')
    for (let n = 0; n < 5; n++) play.crash()
    expect(play.state).toMatchObject({ status: 'stuck', stuck: { step: 'cool', reason: 'crashLoop' } })
    expect(overdue(play.state, START + 60_000)).toBeUndefined()
    play.now = START + 30_000
    play.operator('retry')
    expect(wakeAt(play.state, play.now)).toBe(START + 90_000)
  })

  test('for which the context has no room left fails, and is not uncertain: it did nothing', () => {
    const play = new Play(delayed)
    play.settle('succeeded', { resultBytes: MAX_CONTEXT_BYTES - 4 })
    play.settle('succeeded')
    expect(play.entries.at(-1)).toMatchObject({ outcome: 'failed', error: { code: 'CONTEXT_TOO_LARGE' } })
    expect(play.state).toMatchObject({ status: 'compensating', failedStep: 'cool', uncertainSteps: [] })
  })

  test.each(['cancel', 'deadline'])('is ended by a %s at once (S7, S25)', (by) => {
    const play = new Play({ ...delayed, deadlineMs: 30_000 }).settleAll('succeeded')
    if (by === 'cancel') play.cancel()
    else play.passDeadline(false)
    expect(play.state).toMatchObject({ status: 'compensating', attempts: { reserve: 1 } })
    expect(play.state.waiting ?? play.state.dueAt).toBeUndefined()
  })
})

describe('a signal (S7a, M2)', () => {
  test('ends the step that waits for it, and its payload is the result', () => {
    const play = new Play(approved).settleAll('succeeded')
    expect(play.state.waiting).toEqual({ approve: { for: 'signal', signal: 'approved' } })
    play.signal('approved', { by: 'ada' })
    expect(play.entries.at(-1)).toMatchObject({ kind: 'signalReceived', step: 'approve', letter: 1 })
    expect(play.state).toMatchObject({
      completedSteps: ['reserve', 'approve'],
      context: { approve: { by: 'ada' } },
      attempts: { ship: 1 },
    })
    expect(play.state.waiting ?? play.state.dueAt ?? play.state.signals).toBeUndefined()
  })

  test('that is large stays in its entry (S33)', () => {
    const play = new Play(approved).settleAll('succeeded')
    play.signal('approved', 'x'.repeat(2_000))
    expect([...play.spilled.keys()]).toEqual(['approve'])
    expect(play.state.context).not.toHaveProperty('approve')
  })

  test('that does not come in time is a definite failure, and is not waited for again', () => {
    const play = new Play(approved).settleAll('succeeded')
    expect(overdue(play.state, START + 59_999)).toBeUndefined()
    play.settle('failed')
    expect(play.now).toBe(START + 60_000)
    expect(play.state).toMatchObject({
      status: 'compensating',
      failedStep: 'approve',
      failureReason:
        'step "approve" failed on attempt 1 of 1: SIGNAL_TIMEOUT: the signal "approved" had not come in time',
      uncertainSteps: [],
      attempts: { reserve: 1 },
    })
  })

  test('that is early is kept for its step, the first to come being the first to be used', () => {
    const twice = [{ name: 'one', ...asksFor('paid') }, 'check', { name: 'two', ...asksFor('paid') }]
    const play = new Play(define(['reserve', ...twice]))
    for (const payload of ['a', 'b', 'c']) play.signal('paid', payload)
    expect(play.state.signals).toEqual({ paid: [1, 2, 3] })
    expect(keptSignal(play.state)).toBeUndefined()
    play.settle('succeeded')
    expect(keptSignal(play.state)).toEqual({ signal: 'paid', letter: 1 })
    play.readKept().settle('succeeded')
    play.readKept()
    expect(play.state).toMatchObject({
      status: 'completed',
      context: { one: 'a', two: 'b' },
      signals: { paid: [3] },
    })
  })

  test('that comes while an older one waits to be read waits behind it', () => {
    const play = new Play(approved)
    play.signal('approved', 'old')
    play.settle('succeeded')
    play.signal('approved', 'new')
    expect(play.state.signals).toEqual({ approved: [1, 2] })
    expect(play.readKept().state).toMatchObject({ context: { approve: 'old' }, signals: { approved: [2] } })
  })

  test('that is kept was there in time, however late a worker reads it', () => {
    const play = new Play(approved)
    play.signal('approved', 'early')
    play.settle('succeeded')
    expect(overdue(play.state, START + 60_000)).toBeUndefined()
    play.now = START + 120_000
    expect(play.readKept().state).toMatchObject({ status: 'running', context: { approve: 'early' } })
  })

  test('that is kept is not kept twice', () => {
    const play = new Play(approved)
    play.signal('approved')
    expect(play.read(1)).toEqual({
      is: 'ignored',
      why: 'signal "approved" is kept already, and no step waits for it',
    })
  })

  test('is dropped beyond the hundredth of its name, and the history says why', () => {
    const play = new Play(approved)
    for (let n = 0; n < MAX_KEPT_SIGNALS; n++) play.signal('approved')
    play.signal('approved')
    expect(play.entries.at(-1)).toMatchObject({
      kind: 'signalDropped',
      letter: 101,
      why: '100 signals of this name are kept already',
    })
    expect(entryOf(play.state.signals, 'approved')).toHaveLength(100)
    play.signal('constructor')
    expect(play.entries.at(-1)).toMatchObject({
      kind: 'signalDropped',
      letter: 102,
      why: 'no step waits for this signal',
    })
  })

  test.each([0, 1])(
    'that no context could hold is dropped, and its step goes on waiting (kept before: %i)',
    (kept) => {
      const play = new Play(approved)
      if (kept === 1) play.signal('approved', 'large', MAX_CONTEXT_BYTES)
      play.settle('succeeded')
      if (kept === 0) play.signal('approved', 'large', MAX_CONTEXT_BYTES)
      play.readKept()
      expect(play.entries.at(-1)).toMatchObject({
        kind: 'signalDropped',
        why: expect.stringContaining('bytes'),
      })
      expect(play.state).toMatchObject({ attempts: { approve: 1 }, dueAt: { approve: IN_A_MINUTE } })
      expect(play.state.signals).toBeUndefined()
      play.signal('approved', 'small')
      expect(play.state.context).toMatchObject({ approve: 'small' })
    },
  )

  test('moves no saga that is stuck or goes backward, and blocks no end', () => {
    const play = new Play(approved).settleAll('succeeded')
    for (let n = 0; n < 5; n++) play.crash()
    play.signal('approved', 'while stuck')
    expect(play.state).toMatchObject({ status: 'stuck', signals: { approved: [1] } })
    expect(keptSignal(play.state)).toBeUndefined()
    play.operator('retry')
    expect(play.readKept().state.context).toMatchObject({ approve: 'while stuck' })
    play.settle('rejected')
    play.signal('approved', 'on the way back')
    expect(play.settleAll('succeeded', 'succeeded').state).toMatchObject({
      status: 'failed',
      signals: { approved: [2] },
    })
  })

  test('is undone like any step, where its definition says how', () => {
    const play = new Play(approved).settleAll('succeeded', 'succeeded', 'rejected')
    expect(play.scheduled).toMatchObject({ step: 'approve', direction: 'compensation', attempt: 1 })
  })

  test.each(['cancel', 'deadline'])('is no longer waited for after a %s (S7, S25)', (by) => {
    const play = new Play({ ...approved, deadlineMs: 30_000 }).settleAll('succeeded')
    if (by === 'cancel') play.cancel()
    else play.passDeadline(false)
    expect(play.state).toMatchObject({ status: 'compensating', attempts: { reserve: 1 } })
    play.signal('approved')
    expect(play.state.completedSteps).toEqual(['reserve'])
  })
})

describe('the pivot (S14)', () => {
  const deadline = { type: 'deadlinePassed' } as const
  const past = () => new Play(pivoted).settleAll('succeeded', 'succeeded')

  test('stands in the state from its dispatch on, in the commit of the step before it', () => {
    const play = new Play({ ...pivoted, deadlineMs: 60_000 })
    expect(play.state.pivot).toBeUndefined()
    play.settle('succeeded')
    expect(play.entries.at(-1)).toMatchObject({ step: 'reserve', to: { pivot: 'dispatched' } })
    expect(wakeAt(play.state, START)).toBe(START)
    expect(play.settleAll('succeeded').state).toMatchObject({ pivot: 'completed', attempts: { ship: 1 } })
    expect(new Play(define([{ name: 'charge', pivot: true }])).state.pivot).toBe('dispatched')
  })

  test.each([
    ['is about to be tried', [], 'reserve,charge,ship'],
    ['waits for its second attempt', ['failed'], 'reserve,charge,ship'],
    ['is behind', ['succeeded'], 'reserve,charge,ship'],
  ] as const)('that %s lets no cancel and no deadline through (S7, S25)', (_, outcomes, completed) => {
    const play = new Play({ ...pivoted, deadlineMs: 60_000 }).settleAll('succeeded', ...outcomes)
    const { state } = play
    expect(isPastDeadline(state, START + 60_000)).toBe(false)
    expect(play.tell(deadline).is).toBe('ignored')
    play.cancel()
    expect(play.entries.at(-1)).toMatchObject({ kind: 'cancelRequested', to: {} })
    expect(play.state).toEqual({ ...state, cancel: play.state.cancel, updatedAt: play.state.updatedAt })
    while (play.scheduled !== undefined) play.settle('succeeded')
    expect(play.state.status).toBe('completed')
    expect(play.state.completedSteps.join()).toBe(completed)
  })

  test('is not dispatched once a cancel has come, though the step before it still succeeds', () => {
    const play = new Play(pivoted)
    play.cancel(true)
    expect(play.settleAll('succeeded').state).toMatchObject({
      status: 'compensating',
      attempts: { reserve: 1 },
    })
    expect(play.state.pivot).toBeUndefined()
  })

  test('that fails for good is compensated as ever, uncertain or not, even if a cancel has come too late', () => {
    const play = new Play(pivoted).settleAll('succeeded')
    play.cancel(true)
    play.settleAll('uncertain', 'rejected')
    expect(play.entries.at(-1)).toMatchObject({ to: { pivot: 'failed', cause: 'failure' } })
    expect(play.state).toMatchObject({ status: 'compensating', cause: 'failure', attempts: { charge: 1 } })
    expect(play.state.pivot).toBeUndefined()
    expect(play.settleAll('succeeded', 'succeeded').state).toMatchObject({
      status: 'failed',
      compensatedSteps: ['charge', 'reserve'],
    })
  })

  test('behind a step turns its last failure into a stuck saga, with nothing undone', () => {
    const play = past().settleAll('failed', 'failed', 'failed')
    expect(play.state).toMatchObject({
      status: 'stuck',
      pivot: 'completed',
      compensatedSteps: [],
      stuck: {
        step: 'ship',
        direction: 'action',
        reason: 'retriesExhausted',
        message: 'step "ship" failed on attempt 3 of 3: DECLINED: no',
        since: new Date(play.now).toISOString(),
      },
    })
    expect(play.state.cause ?? play.state.failureReason ?? play.state.failedStep).toBeUndefined()
    expect(wakeAt(play.state, play.now)).toBeUndefined()
    play.cancel()
    expect(play.state.status).toBe('stuck')
    play.operator('retry')
    expect(play.state).toMatchObject({ status: 'running', attempts: { ship: 1 }, pivot: 'completed' })
    expect(play.settleAll('succeeded').state.status).toBe('completed')
  })

  test('behind a wait for a signal leaves a saga that is stuck when it has not come, and that waits anew when retried', () => {
    const steps = [
      { name: 'charge', pivot: true },
      { name: 'approve', ...asksFor('approved') },
    ]
    const play = new Play(define(steps)).settleAll('succeeded', 'failed')
    expect(play.state).toMatchObject({
      status: 'stuck',
      stuck: { step: 'approve', reason: 'retriesExhausted' },
    })
    play.operator('retry')
    expect(wakeAt(play.state, play.now)).toBe(START + 120_000)
    play.signal('approved')
    expect(play.state.status).toBe('completed')
  })

  test('that an operator skips counts as behind the saga', () => {
    const play = new Play(pivoted).settleAll('succeeded')
    for (let n = 0; n < 5; n++) play.crash()
    play.cancel()
    expect(play.state).toMatchObject({ status: 'stuck', pivot: 'dispatched' })
    play.operator('skip')
    expect(play.state).toMatchObject({ status: 'running', pivot: 'completed', skippedSteps: ['charge'] })
    play.settle('rejected')
    expect(play.state).toMatchObject({ status: 'stuck', stuck: { reason: 'retriesExhausted' } })
    play.operator('skip')
    expect(play.state).toMatchObject({ status: 'completed', skippedSteps: ['charge', 'ship'] })
  })
})

describe('an operator (S30)', () => {
  test('retries a stuck step with fresh attempts', () => {
    const play = stuckUndoing()
    play.operator('retry', { step: 'reserve', decidedOn: play.version })
    expect(play.state).toMatchObject({ status: 'compensating', attempts: { reserve: 1 } })
    expect(play.settleAll('failed', 'failed', 'failed').scheduled?.attempt).toBe(4)
    const forward = crashLooping()
    forward.operator('retry')
    expect(forward.state).toMatchObject({
      status: 'running',
      attempts: { charge: 1 },
      uncertainSteps: ['charge'],
    })
    expect(forward.state.leasesLost).toBeUndefined()
  })

  test('skips an action, which is then listed as skipped and never as completed', () => {
    const play = crashLooping()
    play.operator('skip')
    expect(play.state).toMatchObject({ status: 'running', currentStepIndex: 2, attempts: { ship: 1 } })
    const { state } = play.settleAll('succeeded')
    expect(state).toMatchObject({
      status: 'completed',
      completedSteps: ['reserve', 'ship'],
      skippedSteps: ['charge'],
    })
  })

  test('who skips the last thing a cancelled saga was waiting for lets it turn round', () => {
    const play = new Play(order).settleAll('succeeded')
    play.cancel(true)
    for (let n = 0; n < 5; n++) play.crash()
    play.operator('skip')
    expect(play.state).toMatchObject({
      status: 'compensating',
      attempts: { reserve: 1 },
      skippedSteps: ['charge'],
    })
  })

  test('skips a compensation, and the saga ends abandoned', () => {
    const play = stuckUndoing()
    play.operator('skip')
    expect(play.state).toMatchObject({
      status: 'abandoned',
      skippedCompensations: ['reserve'],
      compensatedSteps: [],
    })
  })

  test('marks a step compensated by hand, and the saga ends as if it had been', () => {
    const play = stuckUndoing()
    play.operator('markCompensated')
    expect(play.state).toMatchObject({ status: 'failed', compensatedSteps: ['reserve'] })
  })

  test.each([
    ['that is not stuck', compensating, {}, 'the saga is compensating; only a stuck saga takes this verb'],
    [
      'that has moved on',
      stuckUndoing,
      { decidedOn: 1 },
      'decided on version 1, but the saga has moved on to version 7; read it again',
    ],
    [
      'that is stuck elsewhere',
      stuckUndoing,
      { step: 'charge' },
      'the saga is stuck at step "reserve", not at "charge"',
    ],
  ])('is refused by a saga %s, and the refusal is recorded', (_, given, more, why) => {
    const play = given()
    play.operator('retry', more)
    expect(play.entries.at(-1)).toMatchObject({
      kind: 'verbRefused',
      verb: 'retry',
      actor: 'ada',
      why,
      to: {},
    })
  })

  test('cannot mark a step compensated that is stuck going forward', () => {
    const play = crashLooping()
    play.operator('markCompensated')
    expect(play.entries.at(-1)).toMatchObject({
      kind: 'verbRefused',
      why: expect.stringContaining('going forward'),
    })
  })
})

describe('what participants say', () => {
  test('S31 no error can wedge the failure path', () => {
    const play = new Play(order)
    play.settle('failed', { code: 'a\0b'.repeat(100), message: 'half of \ud83d', retryAfterMs: Number.NaN })
    const entry = play.entries.at(-1)
    expect(entry).toMatchObject({ kind: 'attemptFailed', error: { message: 'half of \ufffd' } })
    expect(JSON.stringify(entry)).not.toContain('\\u0000')
    expect(wakeAt(play.state, START)).toBe(START + 100)
  })

  test('S32 an error text is cut to 8 KiB in the history and to 1 KiB in the state', () => {
    const play = new Play(order)
    play.settle('rejected', { message: '€'.repeat(10_000) })
    const entry = play.entries.at(-1)
    expect(Buffer.byteLength(entry?.kind === 'attemptFailed' ? entry.error.message : '')).toBeLessThanOrEqual(
      8 * 1024,
    )
    expect(Buffer.byteLength(play.state.failureReason ?? '')).toBeLessThanOrEqual(1024)
  })

  test('S32 a result that would bring the context over its limit fails its step, and is not kept', () => {
    const play = new Play(order)
    play.settle('succeeded', { result: 'large', resultBytes: MAX_CONTEXT_BYTES })
    expect(play.entries.at(-1)).toMatchObject({
      kind: 'attemptFailed',
      outcome: 'uncertain',
      error: { code: 'CONTEXT_TOO_LARGE' },
    })
    expect(play.state).toMatchObject({
      uncertainSteps: ['reserve'],
      attempts: { reserve: 2 },
      context: { input: null },
    })
  })

  test('S33 a large result stays in its entry', () => {
    const play = new Play(order)
    play.settle('succeeded', { result: 'x'.repeat(2_000) })
    play.settle('succeeded', { result: 'small' })
    expect([...play.spilled.keys()]).toEqual(['reserve'])
    expect(play.state.context).toEqual({ input: null, charge: 'small' })
    expect(play.state.bytes).toEqual({ inline: 11, total: 2_013 })
  })
})
