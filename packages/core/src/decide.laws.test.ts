/* oxlint-disable vitest/expect-expect -- a law asserts in the function that it is given to */
import { deepStrictEqual } from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { INLINE_BYTES, isPastDeadline, MAX_CONTEXT_BYTES, MAX_LEASES_LOST, next, wakeAt } from './decide.ts'
import type { ResolvedDefinition } from './definition.ts'
import type { Event, Outcome, Verb } from './event.ts'
import { Entry, fold } from './history.ts'
import { byteLength, type Json } from './json.ts'
import { plan } from './plan.ts'
import { RETRY_FLOOR_MS } from './retry.ts'
import { entryOf, isMoving, isTerminal, SagaState } from './state.ts'
import { define, type Moment, Play } from './testing.ts'

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

const step = fc.record({
  undoable: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
  compensateWhen,
  forward: maxAttempts,
  back: maxAttempts,
})

const definitions = fc
  .record({
    names: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 8 }),
    steps: fc.array(step, { minLength: 8, maxLength: 8 }),
    deadlineMs: fc.option(fc.integer({ min: 1, max: 100_000 }), { nil: undefined }),
  })
  .map(({ names, steps, deadlineMs }) => ({
    rest: deadlineMs === undefined ? {} : { deadlineMs },
    steps: names.map((name, index) => {
      const { undoable, forward, back, ...drawn } = steps[index]!
      const compensation = { type: 'handler', retry: { maxAttempts: back } }
      const own = { name, ...drawn, retry: { maxAttempts: forward } }
      return { ...own, compensation: undoable ? compensation : undefined }
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
  { weight: 30, arbitrary: fc.record({ do: fc.constant('succeed'), result: results }) },
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
  { weight: 1, arbitrary: fc.record({ do: fc.constant('overflow') }) },
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
    if (play.state.status === 'stuck') play.operator('retry')
    else play.settle('succeeded')
  }
  return play
}

function make(play: Play, move: Move): void {
  const { told } = play
  play.now += 1
  switch (move.do) {
    case 'succeed':
      if (play.scheduled !== undefined) play.settle('succeeded', { result: move.result })
      return
    case 'settle':
      play.random = move.random
      for (let n = 0; n < move.times && play.scheduled !== undefined; n++) play.settle(move.outcome, move)
      return
    case 'overflow':
      if (play.scheduled !== undefined) play.settle('succeeded', { resultBytes: MAX_CONTEXT_BYTES })
      return
    case 'repeat': {
      const event = told[move.pick % told.length]
      // The row counts lost leases: a count higher than its own is not a repetition.
      if (event?.type === 'leaseLost' && event.leasesLost > (play.state.leasesLost ?? 0)) return
      if (event !== undefined) play.tell(event)
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
      play.tell({ type: 'deadlinePassed', underWay: move.underWay && isUnderWay(play) })
      return
    case 'crash':
      if (move.onceDue) play.waitUntilDue()
      for (let n = 0; n < move.times; n++) play.crash()
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

/** May the scheduled attempt be running at this moment? Only one that is due, of a saga that moves. */
function isUnderWay(play: Play): boolean {
  return dueNow(play.state, play.now).length > 0 && isMoving(play.state.status)
}

// --- What the facts say ------------------------------------------------------------------------------------------

function dueNow(state: SagaState, now: number): string[] {
  return Object.keys(state.attempts).filter(
    (name) => Date.parse(entryOf(state.dueAt, name) ?? state.startedAt) <= now,
  )
}

const isForward = (state: SagaState) => state.status === 'running' || state.stuck?.direction === 'action'

function stepsWhere(entries: readonly Entry[], isMeant: (entry: Entry) => boolean): string[] {
  return entries.filter(isMeant).map((entry) => ('step' in entry ? entry.step : ''))
}

const completed = (entries: readonly Entry[]) =>
  stepsWhere(entries, (entry) => entry.kind === 'attemptSucceeded' && entry.direction === 'action')
const compensated = (entries: readonly Entry[]) =>
  stepsWhere(
    entries,
    (e) =>
      (e.kind === 'attemptSucceeded' && e.direction === 'compensation') || e.kind === 'markedCompensated',
  )
const skipped = (entries: readonly Entry[], direction: string) =>
  stepsWhere(entries, (entry) => entry.kind === 'skipped' && entry.direction === direction)
/** The steps that are behind the saga on its way forward, in order. */
const done = (entries: readonly Entry[]) =>
  stepsWhere(entries, (entry) => {
    return (entry.kind === 'attemptSucceeded' || entry.kind === 'skipped') && entry.direction === 'action'
  })
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
  if (entry.kind !== 'attemptSucceeded' || entry.direction !== 'action') return undefined
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

/** S8, S9: what is to be undone, in order. */
function toUndo(definition: ResolvedDefinition, entries: readonly Entry[]): string[] {
  const stepOf = (name: string) => definition.steps.find((one) => one.name === name)
  const asks = uncertain(entries).filter((name) => stepOf(name)?.compensateWhen === 'uncertain')
  return [...asks.reverse(), ...completed(entries).reverse()].filter(
    (name) => stepOf(name)?.compensation !== undefined,
  )
}

/** What first turned the saga round. */
function causeOf({ definition, moments }: Play): 'failure' | 'cancel' | 'deadline' | undefined {
  for (const { before, event, decision } of moments) {
    if (decision.is === 'ignored' || event === undefined || !isForward(before)) continue
    if (event.type === 'cancelRequested') return 'cancel'
    if (event.type === 'deadlinePassed') return 'deadline'
    if (isLastFailure(definition, event, decision.entry)) return 'failure'
  }
  return undefined
}

function isLastFailure(definition: ResolvedDefinition, event: Event, entry: Entry): boolean {
  if (entry.kind !== 'attemptFailed' || !event.type.startsWith('attempt')) return false
  const act = definition.steps.find(({ name }) => name === entry.step)?.[entry.direction]
  return entry.outcome === 'rejected' || entry.attempt >= act!.retry.maxAttempts
}

// --- The laws ----------------------------------------------------------------------------------------------------

function holds(law: (play: Play) => void): void {
  const property = fc.property(recipes, (recipe) => {
    law(drive(recipe))
  })
  fc.assert(property, { numRuns: runs })
}

/** For each moment with the history as it was then. */
function always(law: (moment: Moment, entries: readonly Entry[], play: Play) => void): void {
  holds((play) => {
    let seq = 1
    for (const moment of play.moments) {
      if (moment.decision.is === 'transition') seq++
      law(moment, play.entries.slice(0, seq), play)
    }
  })
}

const slot = (state: SagaState) => {
  const due = next(state)
  return due.act === 'attempt' ? due.attempts[0] : undefined
}

describe('the end', () => {
  test('is absorbing: a saga that has ended answers every event with nothing (S22)', () => {
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
    always(({ before, event, decision, after }) => {
      if (event?.type !== 'cancelRequested' && event?.type !== 'deadlinePassed') return
      if (decision.is === 'ignored' || !isForward(before) || before.cause !== undefined) return
      if (event.underWay && before.status === 'running') expect(slot(after)).toEqual(slot(before))
      else expect(['compensating', 'failed', 'cancelled']).toContain(after.status)
    })
  })

  test('is stopped by the deadline there is, once, and only while the saga runs (S7)', () => {
    always(({ before, event, decision }) => {
      if (event?.type !== 'deadlinePassed') return
      const isHeard =
        before.deadlineAt !== undefined && before.status === 'running' && before.cause === undefined
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
        const bound = definition.steps.find(({ name }) => name === entry.step)?.[entry.direction]?.retry
          .maxAttempts
        expect(count).toBeLessThanOrEqual(bound!)
        expect(entry.attempt).toBe(count)
      }
    })
  })

  test('fail for good when they are used up or rejected, and not before; till then the next one backs off (S5, S6, S12)', () => {
    always(({ before, event, decision, after, now }, _, { definition }) => {
      if (decision.is === 'ignored' || decision.entry.kind !== 'attemptFailed' || event === undefined) return
      const { step, direction, attempt, error } = decision.entry
      const { retry } = definition.steps.find(({ name }) => name === step)![direction]!
      if (direction === 'action' && before.cause !== undefined) return
      if (!isLastFailure(definition, event, decision.entry)) {
        expect(after.status).toBe(before.status)
        expect(slot(after)).toMatchObject({ step, direction, attempt: attempt + 1 })
        const delayMs = Date.parse(slot(after)!.dueAt!) - now
        expect(delayMs).toBeGreaterThanOrEqual(RETRY_FLOOR_MS)
        expect(delayMs).toBeLessThanOrEqual(Math.max(RETRY_FLOOR_MS, retry.maxDelayMs))
        const asked = event.type === 'attemptFailed' ? event.retryAfterMs || 0 : 0
        expect(delayMs).toBeGreaterThanOrEqual(Math.min(asked, retry.maxDelayMs))
        return
      }
      if (direction === 'action') {
        expect(after).toMatchObject({ cause: 'failure', failedStep: step })
        expect(after.failureReason).toContain(`step "${step}"`)
        expect(after.failureReason).toContain(`attempt ${attempt} of ${retry.maxAttempts}`)
        expect(['compensating', 'failed']).toContain(after.status)
      } else {
        expect(after.status).toBe('stuck')
        expect(after.stuck).toMatchObject({ step, direction, reason: 'compensationFailed' })
        expect(after.stuck?.message).toContain(`attempt ${attempt}: ${error.code}`)
      }
    })
  })

  test('are not used up by a lost lease or a stopping worker, until the fifth in a row at one step says that it kills its workers (S17b, S19)', () => {
    holds(({ moments }) => {
      const progress = ['attemptSucceeded', 'attemptFailed', 'retried', 'skipped', 'markedCompensated']
      let inARow = 0
      for (const { before, decision, after, now } of moments) {
        if (decision.is === 'ignored') continue
        const { entry } = decision
        if (entry.kind === 'leaseLost' || entry.kind === 'interrupted') {
          if (entry.kind === 'leaseLost') inARow++
          const { step, direction, dueAt } = slot(before)!
          const dispatched = dueNow(before, now)
          expect(entry.steps).toEqual(direction === 'action' ? dispatched : [])
          expect(after.attempts).toEqual(before.attempts)
          expect(after.status).toBe(inARow < MAX_LEASES_LOST ? before.status : 'stuck')
          if (after.status === 'stuck')
            expect(after.stuck).toMatchObject({ step, direction, reason: 'crashLoop' })
          else expect(slot(after)!.dueAt).toBe(dispatched.length > 0 ? undefined : dueAt)
        }
        if (progress.includes(entry.kind) || slot(after)?.direction !== slot(before)?.direction) inARow = 0
      }
    })
  })

  test('or the deadline have a time at which a worker must look, and only they (S7, S15)', () => {
    always(({ after, now }) => {
      const wake = wakeAt(after, now)
      if (!isMoving(after.status)) return expect(wake).toBeUndefined()
      expect(wake).toBeTypeOf('number')
      expect(Number.isFinite(wake)).toBe(true)
      const dueAt = slot(after)!.dueAt
      const attemptAt = dueAt === undefined ? now : Date.parse(dueAt)
      const stops = after.status === 'running' && after.cause === undefined
      const deadlineAt = stops && after.deadlineAt !== undefined ? Date.parse(after.deadlineAt) : attemptAt
      expect(wake).toBe(Math.min(attemptAt, deadlineAt))
      expect(isPastDeadline(after, now)).toBe(stops && after.deadlineAt !== undefined && deadlineAt <= now)
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

  test('includes every step that may have happened without a word of it, until it has been undone (S9)', () => {
    always(({ after }, entries) => {
      const known = compensated(entries)
      expect(after.uncertainSteps).toEqual(uncertain(entries).filter((name) => !known.includes(name)))
    })
  })

  test('holds every result exactly once: in the context while it is small, else in its entry (S1, S33)', () => {
    always(({ after }, entries) => {
      const values = new Map<string, number>()
      entries.forEach((entry, index) => {
        const value = addedBy(entry)
        if (value === undefined) return
        const { name, bytes } = value
        values.set(name, bytes)
        if (value.spilled) expect(entryOf(after.spilled, name)).toBe(index + 1)
        else expect(entryOf(after.context, name)).toEqual(value.json)
      })
      const names = [...Object.keys(after.context), ...Object.keys(after.spilled ?? {})]
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
      const play = new Play(definition)
      const acts = []
      for (let due = play.scheduled; due !== undefined; due = play.scheduled) {
        expect(acts.length).toBeLessThan(2 * definition.steps.length)
        const { step, direction } = due
        const outcome = step === failAt && direction === 'action' ? 'rejected' : 'succeeded'
        acts.push({ step, direction, outcome })
        play.settle(outcome)
      }
      expect(plan(definition, failAt)).toEqual({ acts, ends: play.state.status })
    }),
    { numRuns: runs },
  )
})

test('the driver gets everywhere: every kind of entry but one, every status, both reasons to be stuck', () => {
  const seen = new Set<string>()
  for (const recipe of fc.sample(recipes, { numRuns: runs, seed: 7 })) {
    for (const { decision, after } of drive(recipe).moments) {
      if (decision.is === 'ignored') continue
      for (const what of [
        decision.entry.kind,
        after.status,
        after.stuck?.reason,
        after.spilled && 'spilled',
      ]) {
        if (what !== undefined) seen.add(what)
      }
    }
  }
  const kinds = Entry.options
    .map((option) => option.shape.kind.value)
    .filter((kind) => kind !== 'sagaStarted' && kind !== 'parked')
  const statuses = SagaState.shape.status.options
  expect([...seen]).toEqual(
    expect.arrayContaining([...kinds, ...statuses, 'compensationFailed', 'crashLoop', 'spilled']),
  )
})
