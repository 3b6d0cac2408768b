/* oxlint-disable vitest/expect-expect -- a law asserts in the function that it is given to */
import { deepStrictEqual } from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dueNow as dispatchable, isPastDeadline, keptSignal, next, overdue, wakeAt } from './agenda.ts'
import { isAct, isWait, type ResolvedDefinition, type Wait } from './definition.ts'
import type { Event, Outcome } from './event.ts'
import { Entry, fold, type Verb } from './history.ts'
import { byteLength, type Json } from './json.ts'
import { INLINE_BYTES, MAX_CONTEXT_BYTES, MAX_KEPT_SIGNALS, MAX_LEASES_LOST } from './limits.ts'
import { plan } from './plan.ts'
import { RETRY_FLOOR_MS } from './retry.ts'
import { type Direction, entryOf, isMoving, isTerminal, SagaState } from './state.ts'
import {
  compensated,
  completed,
  define,
  holding,
  isDone,
  type Moment,
  Play,
  skipped,
  stepsWhere,
} from './testing.ts'
import { hasSpilled, valuesFrom, wantedOf } from './values.ts'

/**
 * The laws of the state machine. Random definitions, and on each a random history, made by a driver that plays the
 * worker, its participants, its crashes and the people who operate it. What is expected is worked out from the history's
 * facts alone, never from the state that the rules have made of them.
 */

const runs = 250

// --- What is drawn -----------------------------------------------------------------------------------------------

const NAMES = 'constructor toString hasOwnProperty valueOf prototype then reserve charge-card Z_9 b'.split(
  ' ',
)
const maxAttempts = fc.integer({ min: 1, max: 4 })
const compensateWhen = fc.constantFrom('completed', 'uncertain')

const waitMs = fc.integer({ min: 1, max: 100_000 })
/** Few names, so that one signal is often waited for more than once, or sent for a step that is still to come. */
const signals = fc.constantFrom('paid', 'constructor')

const action = fc.oneof(
  { weight: 5, arbitrary: fc.constant({ type: 'handler' as const }) },
  { weight: 1, arbitrary: fc.constant({ type: 'http' as const, url: 'http://h/' }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('delay' as const), delayMs: waitMs }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('signal' as const), signal: signals }) },
)

const step = fc.record({
  action,
  timeoutMs: waitMs,
  undoable: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
  compensateWhen,
  forward: maxAttempts,
  back: maxAttempts,
})

const definitions = fc
  .record({
    names: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 8 }),
    steps: fc.array(step, { minLength: 8, maxLength: 8 }),
    deadlineMs: fc.option(waitMs, { nil: undefined }),
    pivot: fc.option(fc.nat(5), { nil: undefined }),
  })
  .map(({ names, steps, deadlineMs, pivot }) => ({
    rest: deadlineMs === undefined ? {} : { deadlineMs },
    steps: names.map((name, index) => {
      const { action, timeoutMs, undoable, forward, back, compensateWhen } = steps[index]!
      if (action.type === 'delay') return { name, action, compensation: undefined }
      const compensation = undoable ? { type: 'handler', retry: { maxAttempts: back } } : undefined
      const undo = { compensation, ...(undoable && { compensateWhen }) }
      if (action.type === 'signal') return { name, action, timeoutMs, ...undo }
      return {
        name,
        action,
        retry: { maxAttempts: forward },
        ...undo,
        ...(index === pivot && { pivot: true }),
      }
    }),
  }))

const outcomes = fc.constantFrom<Outcome>('succeeded', 'rejected', 'failed', 'uncertain')
const messages = fc.oneof(
  fc.constantFrom('no', '\0', '\ud800 half a pair', 'x'.repeat(20_000), '€'.repeat(4_000)),
  fc.string({ unit: 'binary' }),
)
const results = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<Json>(
      null,
      'ok',
      { constructor: 1, toString: [null] },
      'x'.repeat(INLINE_BYTES - 2),
    ),
  },
  { weight: 2, arbitrary: fc.nat(2 * INLINE_BYTES).map((length) => 'x'.repeat(length)) },
)

const moves = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      do: fc.constant('succeed'),
      result: results,
      next: fc.constantFrom('readKept', 'readKept', 'die', 'readMail'),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('signal'),
      signal: fc.oneof({ weight: 3, arbitrary: signals }, { weight: 1, arbitrary: fc.constant('nobody') }),
      payload: results,
      isLarge: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
      times: fc.constantFrom(1, 1, 1, 1, 1, 2, 3, MAX_KEPT_SIGNALS + 1),
    }),
  },
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constant('settle'),
      outcome: outcomes,
      times: fc.integer({ min: 1, max: 4 }),
      message: messages,
      code: messages,
      retryAfterMs: fc.constantFrom(undefined, 0, 5_000, 1e9, Number.NaN, Number.POSITIVE_INFINITY),
      random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('fill'), over: fc.constantFrom(0, 1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait'), ms: waitMs }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('repeat'), pick: fc.nat(100) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('comeLate'), pick: fc.nat(100), outcome: outcomes }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('cancel'), underWay: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('passDeadline'), underWay: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('crash'),
      times: fc.constantFrom(1, 2, 4, MAX_LEASES_LOST, MAX_LEASES_LOST),
      onceDue: fc.boolean(),
      isSkipped: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('interrupt') }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('operate'),
      verb: fc.constantFrom<Verb>('retry', 'skip', 'markCompensated'),
      decidedOn: fc.constantFrom('now', 'now', 'earlier', 'unsaid'),
      step: fc.constantFrom('stuck', 'other', 'unsaid', 'unsaid'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abandon') }) },
)
type Move = typeof moves extends fc.Arbitrary<infer M> ? M : never

const recipes = fc.record({
  definition: definitions,
  input: results,
  moves: fc.array(moves, { minLength: 1, maxLength: 40, size: 'max' }),
})
type Recipe = typeof recipes extends fc.Arbitrary<infer R> ? R : never

// --- The driver --------------------------------------------------------------------------------------------------

/** Plays a recipe, then lets every participant answer and an operator retry what is stuck, until the saga has ended. */
function drive({ definition, input, moves }: Recipe): Play {
  const play = new Play(define(definition.steps, definition.rest), input)
  for (const move of moves) make(play, move)
  for (let patience = 100; !isTerminal(play.state.status); patience--) {
    if (patience === 0) throw new Error(`a saga that never ends: ${JSON.stringify(play.state)}`)
    const { stuck, bytes } = play.state
    // Where no result fits in any more, no step will ever succeed.
    const isFull = bytes.total + 4 > MAX_CONTEXT_BYTES
    if (stuck !== undefined) play.operator(isFull && stuck.direction === 'action' ? 'skip' : 'retry')
    else play.settle(isFull && waitAt(play, play.state) !== undefined ? 'failed' : 'succeeded')
    play.readKept()
  }
  return play
}

function make(play: Play, move: Move): void {
  const { told } = play
  play.now += 1
  switch (move.do) {
    case 'succeed':
      if (play.scheduled !== undefined) play.settle('succeeded', { result: move.result })
      // The worker dies before it has read what is kept for the step that the saga has come to, or more mail comes first.
      if (move.next === 'die') return
      if (move.next === 'readMail') {
        const wait = waitAt(play, play.state)
        if (wait?.for === 'signal') play.signal(wait.signal, move.result)
      }
      play.readKept()
      return
    case 'settle':
      play.random = move.random
      for (let n = 0; n < move.times && play.scheduled !== undefined; n++) {
        play.settle(move.outcome, move)
        play.readKept()
      }
      return
    case 'signal':
      for (let n = 0; n < move.times; n++) {
        if (move.isLarge) play.signal(move.signal, 'large', MAX_CONTEXT_BYTES)
        else play.signal(move.signal, move.payload)
      }
      play.readKept()
      return
    case 'fill': {
      const resultBytes = MAX_CONTEXT_BYTES - play.state.bytes.total + move.over
      if (play.scheduled !== undefined && resultBytes > 0) play.settle('succeeded', { resultBytes })
      play.readKept()
      return
    }
    case 'wait':
      play.now += move.ms
      return
    case 'repeat': {
      const event = told[move.pick % told.length]
      if (event !== undefined && isRepeatable(play, event)) play.tell(event)
      return
    }
    case 'comeLate': {
      const attempts = told.filter((event) => event.type === 'attemptFailed')
      const late = attempts[move.pick % attempts.length]
      if (late === undefined) return
      const { step, direction, attempt } = late
      play.tell({ type: 'lateResult', step, direction, attempt, outcome: move.outcome })
      return
    }
    case 'cancel':
      play.cancel(move.underWay && isUnderWay(play))
      return
    case 'passDeadline':
      if (play.state.deadlineAt !== undefined)
        play.now = Math.max(play.now, Date.parse(play.state.deadlineAt))
      play.passDeadline(move.underWay && isUnderWay(play))
      return
    case 'crash':
      if (move.onceDue) play.waitUntilDue()
      for (let n = 0; n < move.times; n++) play.crash()
      if (move.isSkipped && play.state.stuck?.direction === 'action') play.operator('skip')
      return
    case 'interrupt':
      play.interrupt()
      return
    case 'operate': {
      const stuckAt = play.state.stuck?.step ?? undefined
      const named = { stuck: stuckAt, other: 'another', unsaid: undefined }[move.step]
      const decidedOn = { now: play.version, earlier: play.version - 1, unsaid: undefined }[move.decidedOn]
      play.operator(move.verb, {
        ...(named !== undefined && { step: named }),
        ...(decidedOn !== undefined && { decidedOn }),
      })
      play.readKept()
      return
    }
    case 'abandon': {
      const at = new Date(play.now).toISOString()
      const to = { status: 'abandoned' } as const
      if (!isTerminal(play.state.status))
        play.write({ kind: 'abandoned', at, actor: 'ada', reason: 'enough', to })
      return
    }
  }
}

/** What may come twice. A letter is read once when it comes, and a wait ends once: the worker itself sees to both. */
function isRepeatable({ state }: Play, event: Event): boolean {
  // The row counts lost leases: a count higher than its own is not a repetition.
  if (event.type === 'leaseLost') return event.leasesLost <= (state.leasesLost ?? 0)
  if (event.type === 'signalReceived')
    return entryOf(state.signals, event.signal)?.includes(event.letter) === true
  const isEnd = event.type === 'attemptSucceeded' || event.type === 'attemptFailed'
  return !isEnd || entryOf(state.waiting, event.step) === undefined
}

/** May the scheduled attempt be running at this moment? Only one that is due, of a saga that moves. */
function isUnderWay(play: Play): boolean {
  return dueNow(play, play.state, play.now).length > 0 && isMoving(play.state.status)
}

// --- What the facts say ------------------------------------------------------------------------------------------

const stepOf = (definition: ResolvedDefinition, name: string) =>
  definition.steps.find((one) => one.name === name)

/** What may have been dispatched: everything that is due and has somebody who carries it out. */
function dueNow({ definition }: Play, state: SagaState, now: number): string[] {
  return Object.keys(state.attempts).filter((name) => {
    if (state.status !== 'compensating' && waitOf(definition, name) !== undefined) return false
    return Date.parse(entryOf(state.dueAt, name) ?? state.startedAt) <= now
  })
}

function waitOf(definition: ResolvedDefinition, name: string | undefined): Wait | undefined {
  const action = name === undefined ? undefined : stepOf(definition, name)?.action
  return action !== undefined && isWait(action) ? action : undefined
}

/** What a running saga waits for, with nobody at work. */
function waitAt({ definition }: Play, state: SagaState): Wait | undefined {
  return state.status === 'running' ? waitOf(definition, slot(state)?.step) : undefined
}

function maxAttemptsOf(definition: ResolvedDefinition, name: string, direction: Direction): number {
  const act = stepOf(definition, name)![direction]!
  return isAct(act) ? act.retry.maxAttempts : 1
}

const isForward = (state: SagaState) => state.status === 'running' || state.stuck?.direction === 'action'

/** The steps that are behind the saga on its way forward, in order. */
const done = (entries: readonly Entry[]) =>
  stepsWhere(entries, (entry) => isDone(entry) || (entry.kind === 'skipped' && entry.direction === 'action'))
/** The steps dealt with on the way back, in order, by whomever. */
const undone = (entries: readonly Entry[]) =>
  stepsWhere(entries, (entry) => {
    if (entry.kind === 'markedCompensated') return true
    return (
      (entry.kind === 'attemptSucceeded' || entry.kind === 'skipped') && entry.direction === 'compensation'
    )
  })

/** What an entry adds to the context. */
function addedBy(entry: Entry) {
  const spilled = 'spilled' in entry && entry.spilled === true
  if (entry.kind === 'sagaStarted')
    return { name: 'input', json: entry.input, bytes: entry.inputBytes, spilled }
  if (entry.kind !== 'signalReceived' && entry.kind !== 'attemptSucceeded') return undefined
  if (!isDone(entry)) return undefined
  return { name: entry.step, json: entry.result, bytes: entry.resultBytes, spilled }
}

/** Terms: one of whose attempts was uncertain and none succeeded, whatever came later. */
function uncertain(entries: readonly Entry[]): string[] {
  const ever = entries.flatMap((entry) => {
    if (entry.kind === 'leaseLost' || entry.kind === 'interrupted') return entry.steps
    return entry.kind === 'attemptFailed' && entry.direction === 'action' && entry.outcome === 'uncertain'
      ? [entry.step]
      : []
  })
  const succeeded = new Set(completed(entries))
  return [...new Set(ever)].filter((name) => !succeeded.has(name))
}

/** S8, S9: what is to be undone, in order: steps go forward in the order of the definition, so the way back is its reverse. */
function toUndo(definition: ResolvedDefinition, entries: readonly Entry[]): string[] {
  const happened = new Set(completed(entries))
  const mayHave = new Set(uncertain(entries))
  const undo = definition.steps.filter(({ name, compensation, compensateWhen }) => {
    if (compensation === undefined) return false
    return happened.has(name) || (compensateWhen === 'uncertain' && mayHave.has(name))
  })
  return undo.map(({ name }) => name).reverse()
}

/** S14: where a saga stands that goes forward: its pivot is the next step, or behind it. Else there is no way past. */
function pivotOf(
  definition: ResolvedDefinition,
  entries: readonly Entry[],
): 'dispatched' | 'completed' | undefined {
  const pivot = definition.steps.findIndex((one) => one.pivot)
  const gone = done(entries).length
  if (pivot === -1 || gone < pivot) return undefined
  return gone === pivot ? 'dispatched' : 'completed'
}

/** What first turned the saga round. */
function causeOf({ definition, moments, entries }: Play): 'failure' | 'cancel' | 'deadline' | undefined {
  let seq = 1
  for (const { before, event, decision } of moments) {
    const pivot = pivotOf(definition, entries.slice(0, seq))
    if (decision.is === 'ignored') continue
    seq++
    if (event === undefined || !isForward(before)) continue
    if (event.type === 'cancelRequested' && pivot === undefined) return 'cancel'
    if (event.type === 'deadlinePassed' && pivot === undefined) return 'deadline'
    if (isLastFailure(definition, event, decision.entry) && pivot !== 'completed') return 'failure'
  }
  return undefined
}

function isLastFailure(definition: ResolvedDefinition, event: Event, entry: Entry): boolean {
  if (entry.kind !== 'attemptFailed' || !event.type.startsWith('attempt')) return false
  return (
    entry.outcome === 'rejected' || entry.attempt >= maxAttemptsOf(definition, entry.step, entry.direction)
  )
}

/** When the saga came to the step it is at: the last entry that says where it is. */
function enteredAt(entries: readonly Entry[]): number {
  return Date.parse(entries.findLast(({ to }) => to.currentStepIndex !== undefined)!.at)
}

/** Letters by signal name, in the order they came, without those that were used or thrown away. */
function inTheMail(moments: readonly Moment[]): Map<string, number[]> {
  const mail = new Map<string, number[]>()
  for (const { event, decision } of moments) {
    if (event?.type !== 'signalReceived' || decision.is === 'ignored') continue
    const { signal, letter } = event
    const others = (mail.get(signal) ?? []).filter((one) => one !== letter)
    mail.set(signal, decision.entry.kind === 'signalKept' ? [...others, letter] : others)
  }
  return mail
}

// --- The laws ----------------------------------------------------------------------------------------------------

function holds(law: (play: Play) => void): void {
  const property = fc.property(recipes, (recipe) => {
    law(drive(recipe))
  })
  fc.assert(property, { numRuns: runs })
}

/** For each moment with the history as it was then, and as it was just before. */
function always(
  law: (moment: Moment, entries: readonly Entry[], play: Play, earlier: readonly Entry[]) => void,
): void {
  holds((play) => {
    let earlier = play.entries.slice(0, 1)
    for (const moment of play.moments) {
      const entries = moment.decision.is === 'ignored' ? earlier : play.entries.slice(0, earlier.length + 1)
      law(moment, entries, play, earlier)
      earlier = entries
    }
  })
}

const id = (step: string) => ({ step, direction: 'action', attempt: 1 })

const slot = (state: SagaState) => {
  const due = next(state)
  return due.act === 'attempt' ? due.attempts[0] : undefined
}

describe('the end', () => {
  test('is absorbing: a saga that has ended answers every event with nothing (S22, F24)', () => {
    holds((play) => {
      for (const event of play.told) play.tell(event)
      for (const { before, decision, after } of play.moments) {
        if (!isTerminal(before.status)) continue
        expect(decision.is).toBe('ignored')
        expect(after).toBe(before)
      }
    })
  })

  test('is completed when every step is done and nothing turned the saga round, and else named by what did (Terms)', () => {
    holds((play) => {
      const cause = causeOf(play)
      const { state, entries, definition } = play
      expect(state.cause).toBe(cause)
      if (entries.at(-1)!.kind === 'abandoned') return expect(state.status).toBe('abandoned')
      if (cause === undefined) {
        expect(state.status).toBe('completed')
        expect(done(entries)).toEqual(definition.steps.map(({ name }) => name))
        return
      }
      const dirty = skipped(entries, 'compensation').length > 0
      expect(state.status).toBe(dirty ? 'abandoned' : cause === 'cancel' ? 'cancelled' : 'failed')
      expect(state.failureReason).toBeTypeOf('string')
    })
  })
})

describe('going forward', () => {
  test('follows the order of the definition, one step at a time (S1)', () => {
    always(({ after }, entries, { definition }) => {
      const names = definition.steps.map(({ name }) => name)
      const gone = done(entries)
      expect(after.completedSteps).toEqual(completed(entries))
      expect(after.skippedSteps).toEqual(skipped(entries, 'action'))
      expect(gone).toEqual(names.slice(0, gone.length))
      if (after.status !== 'running' || after.cause !== undefined) return
      expect(after.currentStepIndex).toBe(gone.length)
      expect(Object.keys(after.attempts)).toEqual([names[gone.length]])
    })
  })

  test('never happens again once a compensation has been scheduled (S6)', () => {
    holds(({ moments }) => {
      const turned = moments.findIndex(({ after }) => after.status === 'compensating')
      if (turned === -1) return
      for (const { after } of moments.slice(turned)) {
        expect(['running', 'completed']).not.toContain(after.status)
        expect(after.stuck?.direction).not.toBe('action')
      }
    })
  })

  test('goes on until the attempt under way has ended, when a cancel or the deadline comes (S7, S13, S25)', () => {
    always(({ before, event, decision, after, underWay }, entries, { definition }) => {
      if (event?.type !== 'cancelRequested' && event?.type !== 'deadlinePassed') return
      if (decision.is === 'ignored' || !isForward(before)) return
      if (pivotOf(definition, entries) !== undefined) return
      if (before.cause !== undefined && before.status === 'running')
        return expect(slot(after)).toEqual(slot(before))
      if (underWay.length > 0 && before.status === 'running') expect(slot(after)).toEqual(slot(before))
      else expect(['compensating', 'failed', 'cancelled']).toContain(after.status)
    })
  })

  test('is stopped by the deadline there is, once, and only while the saga runs (S7)', () => {
    always(({ before, event, decision }, _, { definition }, earlier) => {
      if (event?.type !== 'deadlinePassed') return
      const stops = before.status === 'running' && before.cause === undefined
      const isHeard = before.deadlineAt !== undefined && stops && pivotOf(definition, earlier) === undefined
      expect(decision.is).toBe(isHeard ? 'transition' : 'ignored')
    })
  })

  test('turns round as soon as that attempt has ended, however it ended (S25)', () => {
    always(({ before, event, decision, after }) => {
      if (!isForward(before) || before.cause === undefined || decision.is === 'ignored') return
      const ended = event?.type === 'attemptSucceeded' || event?.type === 'attemptFailed'
      if (ended || decision.entry.kind === 'skipped')
        expect(['compensating', 'failed', 'cancelled']).toContain(after.status)
    })
  })
})

describe('going backward', () => {
  test('undoes what completed in reverse, after the uncertain steps that ask for it, and passes over what cannot be undone (S8, S9)', () => {
    always(({ after }, entries, { definition }) => {
      const order = toUndo(definition, entries)
      const done = undone(entries)
      expect(done).toEqual(order.slice(0, done.length))
      expect(after.compensatedSteps).toEqual(compensated(entries))
      expect(after.skippedCompensations ?? []).toEqual(skipped(entries, 'compensation'))
      const isBackward = after.status === 'compensating' || after.stuck?.direction === 'compensation'
      if (isBackward) expect(after.stuck?.step ?? slot(after)?.step).toBe(order[done.length])
      if (after.status === 'failed' || after.status === 'cancelled') expect(done).toEqual(order)
    })
  })

  test('compensates nothing twice (S10)', () => {
    always(({ after }, entries) => {
      const done = undone(entries)
      expect(new Set(done).size).toBe(done.length)
      const scheduled = slot(after)
      if (scheduled?.direction === 'compensation') expect(done).not.toContain(scheduled.step)
    })
  })

  test('is never begun for a step whose action is scheduled (S13)', () => {
    always(({ before, after, decision }) => {
      if (before.status !== 'running' || after.status !== 'compensating' || decision.is === 'ignored') return
      const { entry } = decision
      const ended = entry.kind === 'attemptSucceeded' || entry.kind === 'attemptFailed'
      expect(ended || entry.kind === 'cancelRequested' || entry.kind === 'deadlinePassed').toBe(true)
      expect(Object.keys(after.attempts)).toHaveLength(1)
    })
  })
})

describe('attempts', () => {
  test('are scheduled, one at a time, exactly while the saga moves; a stuck one says where; an ended one has neither (S15)', () => {
    always(({ after }) => {
      const due = next(after)
      if (isMoving(after.status)) {
        const direction = after.status === 'running' ? 'action' : 'compensation'
        expect(due).toMatchObject({ act: 'attempt', attempts: [{ direction }] })
        expect(Object.keys(after.attempts)).toHaveLength(1)
        expect(after.stuck).toBeUndefined()
      } else if (after.status === 'stuck') {
        expect(due).toEqual({ act: 'waitForOperator' })
        expect(after.stuck?.step).toBeTypeOf('string')
      } else {
        expect(due).toEqual({ act: 'nothing' })
        expect(after.attempts).toEqual({})
        expect(after.stuck).toBeUndefined()
      }
      expect(Object.keys(after.attempts)).toEqual(expect.arrayContaining(Object.keys(after.dueAt ?? {})))
    })
  })

  test('are heard only while they are the scheduled one: a duplicate or a stale result changes nothing (S17a)', () => {
    always(({ before, event, decision }) => {
      if (event?.type !== 'attemptSucceeded' && event?.type !== 'attemptFailed') return
      const { step, direction, attempt } = event
      const isScheduled = isDeepStrictEqual(
        { ...slot(before), dueAt: 0, waiting: 0 },
        { step, direction, attempt, dueAt: 0, waiting: 0 },
      )
      expect(decision.is).toBe(isScheduled ? 'transition' : 'ignored')
    })
  })

  test("are no more than the step may have, counted afresh by an operator's retry (S5, S11)", () => {
    holds(({ definition, entries }) => {
      const used = new Map<string, number>()
      for (const entry of entries) {
        if (entry.kind === 'retried') used.clear()
        if (entry.kind !== 'attemptSucceeded' && entry.kind !== 'attemptFailed') continue
        const key = `${entry.direction} of ${entry.step}`
        const count = (used.get(key) ?? 0) + 1
        used.set(key, count)
        expect(count).toBeLessThanOrEqual(maxAttemptsOf(definition, entry.step, entry.direction))
        expect(entry.attempt).toBe(count)
      }
    })
  })

  test('fail for good when they are used up or rejected, and not before; till then the next one backs off (S5, S6, S12)', () => {
    always(({ before, event, decision, after, now }, _, { definition }, earlier) => {
      if (decision.is === 'ignored' || decision.entry.kind !== 'attemptFailed' || event === undefined) return
      const { step, direction, attempt, error } = decision.entry
      if (direction === 'action' && before.cause !== undefined) return
      if (!isLastFailure(definition, event, decision.entry)) {
        expect(after.status).toBe(before.status)
        expect(slot(after)).toMatchObject({ step, direction, attempt: attempt + 1 })
        const act = stepOf(definition, step)![direction]!
        if (!isAct(act)) throw new Error('a wait has one attempt')
        const { retry } = act
        const delayMs = Date.parse(slot(after)!.dueAt!) - now
        expect(delayMs).toBeGreaterThanOrEqual(RETRY_FLOOR_MS)
        expect(delayMs).toBeLessThanOrEqual(Math.max(RETRY_FLOOR_MS, retry.maxDelayMs))
        const asked = event.type === 'attemptFailed' ? event.retryAfterMs || 0 : 0
        expect(delayMs).toBeGreaterThanOrEqual(Math.min(asked, retry.maxDelayMs))
        return
      }
      if (direction === 'action') {
        const isPast = pivotOf(definition, earlier) === 'completed'
        const reason = isPast ? after.stuck?.message : after.failureReason
        expect(reason).toContain(`step "${step}"`)
        expect(reason).toContain(`attempt ${attempt} of ${maxAttemptsOf(definition, step, direction)}`)
        if (isPast) {
          expect(after.stuck).toMatchObject({ step, direction, reason: 'retriesExhausted' })
          expect(after.cause ?? after.failureReason ?? after.failedStep).toBeUndefined()
        } else {
          expect(after).toMatchObject({ cause: 'failure', failedStep: step })
          expect(['compensating', 'failed']).toContain(after.status)
        }
      } else {
        expect(after.status).toBe('stuck')
        expect(after.stuck).toMatchObject({ step, direction, reason: 'compensationFailed' })
        expect(after.stuck?.message).toContain(`attempt ${attempt}: ${error.code}`)
      }
    })
  })

  test('are not used up by a lost lease or a stopping worker, until the fifth in a row at one step says that it kills its workers (S17b, S19)', () => {
    holds((play) => {
      const { moments } = play
      const progress = 'attemptSucceeded attemptFailed signalReceived retried skipped markedCompensated'
      let inARow = 0
      for (const { before, decision, after, now } of moments) {
        if (decision.is === 'ignored') continue
        const { entry } = decision
        if (entry.kind === 'leaseLost' || entry.kind === 'interrupted') {
          if (entry.kind === 'leaseLost') inARow++
          const { step, direction, dueAt, waiting } = slot(before)!
          const dispatched = dueNow(play, before, now)
          expect(entry.steps).toEqual(direction === 'action' ? dispatched : [])
          expect(after.attempts).toEqual(inARow < MAX_LEASES_LOST ? before.attempts : {})
          expect(after.status).toBe(inARow < MAX_LEASES_LOST ? before.status : 'stuck')
          if (after.status === 'stuck')
            expect(after.stuck).toMatchObject({ step, direction, reason: 'crashLoop' })
          else {
            expect(slot(after)!.dueAt).toBe(dispatched.length > 0 ? undefined : dueAt)
            expect(slot(after)!.waiting).toEqual(waiting)
          }
        }
        if (progress.includes(entry.kind) || slot(after)?.direction !== slot(before)?.direction) inARow = 0
      }
    })
  })

  test('or the deadline have a time at which a worker must look, and only they (S7, S15)', () => {
    always(({ after, now }, entries, { definition }) => {
      const wake = wakeAt(after, now)
      if (!isMoving(after.status)) return expect(wake).toBeUndefined()
      expect(wake).toBeTypeOf('number')
      expect(Number.isFinite(wake)).toBe(true)
      const dueAt = slot(after)!.dueAt
      const attemptAt = dueAt === undefined ? now : Date.parse(dueAt)
      const isOnItsWay = after.status === 'running' && after.cause === undefined
      const stops = isOnItsWay && pivotOf(definition, entries) === undefined
      const deadlineAt = stops && after.deadlineAt !== undefined ? Date.parse(after.deadlineAt) : attemptAt
      expect(wake).toBe(Math.min(attemptAt, deadlineAt))
      expect(isPastDeadline(after, now)).toBe(stops && after.deadlineAt !== undefined && deadlineAt <= now)
    })
  })
})

describe('a wait (S7a)', () => {
  test('is dispatched by nobody: it stands in the state as what it is, with the time at which it ends (F12)', () => {
    always(({ after, now }, entries, play) => {
      const wait = waitAt(play, after)
      if (wait === undefined) return expect(after.waiting).toBeUndefined()
      const { step, attempt, dueAt, waiting } = slot(after)!
      expect(attempt).toBe(1)
      expect(waiting).toEqual(
        wait.for === 'delay' ? { for: 'delay' } : { for: 'signal', signal: wait.signal },
      )
      const waitMs = wait.for === 'delay' ? wait.delayMs : wait.timeoutMs
      expect(Date.parse(dueAt!)).toBe(enteredAt(entries) + waitMs)
      expect(dispatchable(after, now)).not.toContain(step)
      expect(dispatchable(after, Number.MAX_SAFE_INTEGER)).toEqual([])
    })
  })

  test('marks nothing uncertain, whatever happens to its worker (S17b)', () => {
    always(({ before, decision, after }, _, play) => {
      if (decision.is === 'ignored' || waitAt(play, before) === undefined) return
      expect(after.uncertainSteps).toEqual(before.uncertainSteps)
      if ('steps' in decision.entry) expect(decision.entry.steps).toEqual([])
    })
    always(({ after }, _, { definition }) => {
      for (const name of after.uncertainSteps) expect(waitOf(definition, name)).toBeUndefined()
    })
  })

  test('is over when its time has come, and not before: a delay with null, a signal that has not come with a definite failure', () => {
    always(({ after, now }, _, play) => {
      const wait = waitAt(play, after)
      if (wait === undefined) {
        expect(overdue(after, Number.MAX_SAFE_INTEGER)).toBeUndefined()
        return
      }
      const { step, dueAt } = slot(after)!
      const end = Date.parse(dueAt!)
      expect(overdue(after, end - 1)).toBeUndefined()
      const over = overdue(after, Math.max(now, end))
      if (wait.for === 'delay') {
        expect(over).toEqual({ type: 'attemptSucceeded', ...id(step), result: null, resultBytes: 4 })
      } else if (entryOf(after.signals, wait.signal) === undefined) {
        expect(over).toMatchObject({ type: 'attemptFailed', ...id(step), outcome: 'failed' })
      } else {
        expect(over).toBeUndefined()
      }
    })
  })

  test('ends once, by its time, its signal or whatever turns the saga round; a time-out is not tried again', () => {
    always(({ before, decision, after, now }, entries, play, earlier) => {
      const wait = waitAt(play, before)
      if (wait === undefined || decision.is === 'ignored') return
      const { entry } = decision
      const { step, dueAt } = slot(before)!
      if (entry.kind === 'attemptSucceeded') {
        expect(wait.for).toBe('delay')
        expect(entry).toMatchObject({ ...id(step), result: null })
        expect(now).toBeGreaterThanOrEqual(Date.parse(dueAt!))
        expect(done(entries)).toEqual([...done(earlier), step])
      } else if (entry.kind === 'attemptFailed') {
        expect(entry.outcome).toBe('failed')
        expect(entry.error.code).toBe(wait.for === 'signal' ? 'SIGNAL_TIMEOUT' : 'CONTEXT_TOO_LARGE')
        expect(now).toBeGreaterThanOrEqual(Date.parse(dueAt!))
        expect(after.status).not.toBe('running')
      } else if (entry.kind === 'signalReceived') {
        expect(wait).toMatchObject({ for: 'signal', signal: entry.signal })
        expect(entry.step).toBe(step)
      } else if (after.status === 'running') {
        expect(slot(after)).toEqual(slot(before))
      }
    })
  })

  test('is ended at once by a cancel or the deadline, unless the pivot is behind the saga (S7, S25)', () => {
    always(({ before, event, decision, after }, _, play, earlier) => {
      if (event?.type !== 'cancelRequested' && event?.type !== 'deadlinePassed') return
      if (decision.is === 'ignored' || waitAt(play, before) === undefined) return
      if (pivotOf(play.definition, earlier) !== undefined) return
      expect(['compensating', 'failed', 'cancelled']).toContain(after.status)
      expect(after.waiting).toBeUndefined()
    })
  })
})

describe('a signal (M2)', () => {
  test('is used by the step that waits for it, the oldest first, and each once', () => {
    holds(({ moments, entries, letters }) => {
      const last = new Map<string, number>()
      for (const { before, decision } of moments) {
        if (decision.is === 'ignored' || decision.entry.kind !== 'signalReceived') continue
        const { signal, letter, result } = decision.entry
        expect(letter).toBeGreaterThan(last.get(signal) ?? 0)
        last.set(signal, letter)
        expect(entryOf(before.signals, signal)?.[0] ?? letter).toBe(letter)
        expect(letters[letter - 1]).toMatchObject({ signal, payload: result })
      }
      const used = entries.flatMap((entry) => (entry.kind === 'signalReceived' ? [entry.letter] : []))
      expect(new Set(used).size).toBe(used.length)
    })
  })

  test('ends the wait for it there and then, unless older ones are to be read first or its payload is too large', () => {
    always(({ before, event, decision }, _, play) => {
      if (event?.type !== 'signalReceived' || isTerminal(before.status)) return
      const wait = waitAt(play, before)
      const kept = entryOf(before.signals, event.signal) ?? []
      const isWaitedFor = wait?.for === 'signal' && wait.signal === event.signal && before.cause === undefined
      const isNext = (kept[0] ?? event.letter) === event.letter
      const kind = decision.is === 'ignored' ? 'ignored' : decision.entry.kind
      if (isWaitedFor && isNext) {
        const isLarge = before.bytes.total + event.payloadBytes > MAX_CONTEXT_BYTES
        expect(kind).toBe(isLarge ? 'signalDropped' : 'signalReceived')
      } else if (kept.includes(event.letter)) {
        expect(kind).toBe('ignored')
      } else {
        const isKnown = play.definition.steps.some(
          ({ action }) => 'signal' in action && action.signal === event.signal,
        )
        expect(kind).toBe(isKnown && kept.length < MAX_KEPT_SIGNALS ? 'signalKept' : 'signalDropped')
      }
    })
  })

  test('that came before its step is kept in order of arrival until it is used, up to 100 of a name', () => {
    holds((play) => {
      play.moments.forEach(({ after }, index) => {
        const mail = inTheMail(play.moments.slice(0, index + 1))
        const kept = Object.entries(after.signals ?? {})
        for (const [, letters] of kept) expect(letters.length).toBeLessThanOrEqual(MAX_KEPT_SIGNALS)
        expect(new Map(kept)).toEqual(new Map([...mail].filter(([, letters]) => letters.length > 0)))
        expect(after.signals === undefined || kept.length > 0).toBe(true)
      })
    })
  })

  test('that is kept is asked for as soon as its step waits, and only then', () => {
    always(({ after }, _, play) => {
      const wait = waitAt(play, after)
      const letter = wait?.for === 'signal' ? entryOf(after.signals, wait.signal)?.[0] : undefined
      const signal = wait?.for === 'signal' ? wait.signal : ''
      expect(keptSignal(after)).toEqual(letter === undefined ? undefined : { signal, letter })
    })
  })

  test('that is kept or dropped changes nothing else', () => {
    always(({ before, decision, after }) => {
      if (decision.is === 'ignored') return
      if (decision.entry.kind !== 'signalKept' && decision.entry.kind !== 'signalDropped') return
      const { signals: _, ...rest } = after
      const { signals: __, ...same } = before
      expect(rest).toEqual({ ...same, updatedAt: after.updatedAt })
    })
  })
})

describe('the pivot (S14)', () => {
  test('stands in the state from its dispatch on, and is gone once it has failed for good', () => {
    always(({ before, after, decision }, entries, { definition }) => {
      if (decision.is === 'transition' && decision.entry.kind === 'abandoned') {
        expect(after.pivot).toBe(before.pivot)
        return
      }
      const goesOn = isForward(after) || after.status === 'completed' || before.pivot === 'completed'
      if (isTerminal(before.status)) return
      expect(after.pivot).toBe(goesOn && after.cause === undefined ? pivotOf(definition, entries) : undefined)
    })
  })

  test('is the last point of return: once it is behind, nothing is undone and nothing turns the saga round', () => {
    always(({ after }, entries, { definition }) => {
      if (pivotOf(definition, entries) !== 'completed') return
      expect(['running', 'stuck', 'completed', 'abandoned']).toContain(after.status)
      expect(slot(after)?.direction).not.toBe('compensation')
      expect(after.stuck?.direction).not.toBe('compensation')
      expect(undone(entries)).toEqual([])
      expect(after.cause ?? after.failureReason ?? after.failedStep).toBeUndefined()
    })
  })

  test('lets no cancel and no deadline through, from its dispatch on (S7, S25)', () => {
    always(({ before, event, decision, after }, _, { definition }, earlier) => {
      if (event?.type !== 'cancelRequested' && event?.type !== 'deadlinePassed') return
      if (pivotOf(definition, earlier) === undefined || !isForward(before) || before.cause !== undefined)
        return
      if (event.type === 'deadlinePassed') return expect(decision.is).toBe('ignored')
      expect(after).toEqual({ ...before, cancel: after.cancel, updatedAt: after.updatedAt })
      expect(decision).toMatchObject({ entry: { kind: 'cancelRequested', to: {} } })
    })
  })

  test('that fails for good is a failure like any other: everything before it is undone, whoever has asked for a cancel', () => {
    always(({ event, decision, after }, entries, { definition }, earlier) => {
      if (decision.is === 'ignored' || event === undefined) return
      if (pivotOf(definition, earlier) !== 'dispatched' || decision.entry.kind !== 'attemptFailed') return
      const { step, direction } = decision.entry
      if (direction !== 'action' || !isLastFailure(definition, event, decision.entry)) return
      expect(stepOf(definition, step)?.pivot).toBe(true)
      expect(after).toMatchObject({ cause: 'failure', failedStep: step })
      expect(after.pivot).toBeUndefined()
      const [first] = toUndo(definition, entries)
      if (first === undefined) expect(after.status).toBe('failed')
      else expect(slot(after)).toMatchObject({ step: first, direction: 'compensation', attempt: 1 })
    })
  })
})

describe('what is remembered', () => {
  test('is the history: folding it gives the state, after every prefix (S35)', () => {
    always(({ after }, entries) => deepStrictEqual(fold(entries), after))
  })

  test('survives the way through JSON and its schema, state and entry alike', () => {
    always(({ after, decision }) => {
      deepStrictEqual(SagaState.parse(JSON.parse(JSON.stringify(after))), after)
      if (decision.is === 'ignored') return
      deepStrictEqual(Entry.parse(JSON.parse(JSON.stringify(decision.entry))), decision.entry)
    })
  })

  test('never changes once it is the first failure, its step or the cause (SagaState)', () => {
    always(({ before, after }) => {
      for (const first of ['failureReason', 'failedStep', 'cause', 'cancel'] as const) {
        if (before[first] !== undefined) expect(after[first]).toEqual(before[first])
      }
    })
  })

  test('includes every step that may have happened without a word of it, until it has been undone (S9, F22)', () => {
    always(({ after }, entries) => {
      const known = compensated(entries)
      expect(after.uncertainSteps).toEqual(uncertain(entries).filter((name) => !known.includes(name)))
    })
  })

  test('holds every result exactly once: in the context while it is small, else in its entry (S1, S33)', () => {
    always(({ after }, entries) => {
      const values = new Map<string, number>()
      const wanted = wantedOf(after)
      const spilled = valuesFrom(holding(after, entries), wanted)
      for (const entry of entries) {
        const value = addedBy(entry)
        if (value === undefined) continue
        const { name, bytes } = value
        values.set(name, bytes)
        const where = value.spilled ? Object.fromEntries(spilled) : after.context
        expect(entryOf(where, name)).toEqual(value.json)
      }
      const names = [...Object.keys(after.context), ...wanted.names]
      expect(names.toSorted()).toEqual([...values.keys()].toSorted())
      const bytes = (of: string[]) => of.reduce((sum, name) => sum + values.get(name)!, 0)
      expect(after.bytes).toEqual({ inline: bytes(Object.keys(after.context)), total: bytes(names) })
      expect(after.bytes.inline).toBeLessThanOrEqual(INLINE_BYTES)
      expect(after.bytes.total).toBeLessThanOrEqual(MAX_CONTEXT_BYTES)
    })
  })

  test('can be stored whatever a participant said: no NUL, no half of a surrogate pair, no endless text (S31, S32)', () => {
    always(({ after, decision }) => {
      if (decision.is === 'ignored') return
      const text = JSON.stringify([decision.entry, after])
      expect(text).not.toMatch(/\\u0000|\\ud[89ab]/)
      if (decision.entry.kind !== 'attemptFailed') return
      const { code, message } = decision.entry.error
      expect(byteLength(message)).toBeLessThanOrEqual(8 * 1024)
      expect(byteLength(code)).toBeLessThanOrEqual(128)
      expect(byteLength(after.failureReason ?? '')).toBeLessThanOrEqual(1024)
    })
  })

  test('of a late result or a refused verb is that it came: nothing else changes (S4, S30)', () => {
    always(({ before, decision, after }) => {
      if (decision.is === 'ignored') return
      if (decision.entry.kind !== 'lateResult' && decision.entry.kind !== 'verbRefused') return
      expect(after).toEqual({ ...before, updatedAt: after.updatedAt })
    })
  })

  test('of a verb is refused unless the saga is stuck there, at that version (S30)', () => {
    holds(({ moments }) => {
      let version = 1
      for (const { before, event, decision } of moments) {
        const seen = version
        if (decision.is === 'transition') version++
        if (event?.type !== 'verbRequested' || decision.is === 'ignored') continue
        const { stuck } = before
        const fits =
          stuck !== undefined &&
          (event.decidedOn ?? seen) === seen &&
          (event.step ?? stuck.step) === stuck.step &&
          (event.verb !== 'markCompensated' || stuck.direction === 'compensation')
        expect(decision.entry.kind === 'verbRefused').toBe(!fits)
      }
    })
  })
})

test('the plan is what happens (S28)', () => {
  fc.assert(
    fc.property(definitions, fc.nat(8), (drawn, index) => {
      const definition = define(drawn.steps, drawn.rest)
      const failAt = definition.steps[index]?.name
      // No delay can fail.
      fc.pre(waitOf(definition, failAt)?.for !== 'delay')
      const play = new Play(definition)
      const acts = []
      for (let due = play.scheduled; due !== undefined; due = play.scheduled) {
        expect(acts.length).toBeLessThan(2 * definition.steps.length)
        const { step, direction } = due
        const outcome = step === failAt && direction === 'action' ? 'rejected' : 'succeeded'
        acts.push({ step, direction, outcome, round: acts.length + 1 })
        play.settle(outcome)
      }
      expect(plan(definition, failAt)).toEqual({ acts, ends: play.state.status })
    }),
    { numRuns: runs },
  )
})

/** What begins a saga, what is written without a decision, and what groups.laws.test.ts and verbs.laws.test.ts drive. */
const NOT_DRIVEN: ReadonlySet<string> = new Set(
  'sagaStarted parked conditionChecked attemptPending childStarted childReported waitedNoLonger paused resumed broughtForward'.split(
    ' ',
  ),
)

test('the driver gets everywhere: every kind of entry but those it has no part in, every status, every reason to be stuck', () => {
  const seen = new Set<string>()
  for (const recipe of fc.sample(recipes, { numRuns: runs, seed: 7 })) {
    for (const { decision, after } of drive(recipe).moments) {
      if (decision.is === 'ignored') continue
      for (const what of [
        decision.entry.kind,
        after.status,
        after.stuck?.reason,
        hasSpilled(after) && 'spilled',
        after.pivot && `pivot ${after.pivot}`,
        after.waiting && Object.values(after.waiting)[0]?.for,
        decision.entry.kind === 'signalDropped' && decision.entry.why.replaceAll(/\d+/g, 'n'),
      ]) {
        if (what !== undefined && what !== false) seen.add(what)
      }
    }
  }
  const kinds = Entry.options.map((option) => option.shape.kind.value).filter((kind) => !NOT_DRIVEN.has(kind))
  const statuses = SagaState.shape.status.options
  expect([...seen]).toEqual(
    expect.arrayContaining([
      ...kinds,
      ...statuses,
      ...'compensationFailed retriesExhausted crashLoop spilled delay signal'.split(' '),
      'pivot dispatched',
      'pivot completed',
      'n signals of this name are kept already',
      'no step waits for this signal',
      'the result has n bytes and the context already n; together they may have n',
    ]),
  )
})
