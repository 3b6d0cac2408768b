import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  directionOf,
  dueNow,
  isAttempted,
  isPastDeadline,
  keptSignal,
  next,
  overdue,
  wakeAt,
} from './agenda.ts'
import type { Event, Outcome } from './event.ts'
import { Entry, fold, type Verb } from './history.ts'
import { instantText } from './instant.ts'
import { entryOf, generationOf, isTerminal, SagaState } from './state.ts'
import { define, Play } from './testing.ts'
import { verbPlans, whyNot } from './verb-plan.ts'

/**
 * The laws of what a person may ask of a saga on its way: pause, resume, run now, an edited input, and the plan of each verb. A
 * driver plays the worker, whose attempts run for a while, and the people.
 */

const runs = 400

const handler = { type: 'handler' } as const
const one = fc.record({
  action: fc.oneof(
    { weight: 5, arbitrary: fc.constant(handler) },
    { weight: 1, arbitrary: fc.constant({ type: 'delay' as const, delayMs: 5_000 }) },
    { weight: 2, arbitrary: fc.constant({ type: 'signal' as const, signal: 'go' }) },
  ),
  undoable: fc.constantFrom(true, true, false),
  when: fc.constantFrom(undefined, undefined, undefined, 'true'),
})
const recipes = fc.record({
  steps: fc.array(one, { minLength: 2, maxLength: 5 }),
  grouped: fc.nat(4),
  pivot: fc.option(fc.nat(5), { nil: undefined }),
  deadlineMs: fc.option(fc.integer({ min: 1_000, max: 15_000 }), { nil: undefined, freq: 2 }),
  moves: fc.array(
    fc.record({
      do: fc.constantFrom(
        ...'begin begin begin begin begin end end end end end end pause resume resume runNow retry edit skip'.split(
          ' ',
        ),
        ...'markCompensated cancel wait signal look crash park'.split(' '),
      ),
      outcome: fc.constantFrom<Outcome>(
        'succeeded',
        'succeeded',
        'succeeded',
        'rejected',
        'failed',
        'uncertain',
      ),
      pick: fc.nat(10),
      force: fc.boolean(),
      ms: fc.integer({ min: 1, max: 20_000 }),
    }),
    { minLength: 2, maxLength: 30, size: 'max' },
  ),
})
type Recipe = typeof recipes extends fc.Arbitrary<infer R> ? R : never
type Move = Recipe['moves'][number]

function definitionOf({ steps, grouped, pivot, deadlineMs }: Recipe) {
  const written = steps.map(({ action, undoable, when }, index) => {
    const name = `s${index}`
    const isWait = action.type !== 'handler'
    return {
      name,
      action,
      ...(action.type === 'signal' && { timeoutMs: 8_000 }),
      compensation:
        undoable && action.type !== 'delay' ? { ...handler, retry: { maxAttempts: 1 } } : undefined,
      ...(!isWait && { retry: { maxAttempts: 2 } }),
      ...(index === pivot && index > 1 && !isWait && { pivot: true }),
      ...(when !== undefined && { when }),
    }
  })
  const [first, second, ...rest] = written
  const isGroup = grouped === 0 && first !== undefined && second !== undefined
  const sketched = isGroup ? [{ parallel: [first, second] }, ...rest] : written
  return define(sketched, deadlineMs === undefined ? {} : { deadlineMs })
}

/** The worker's side: what runs, and what it does when nothing does. */
class Stage {
  readonly play: Play
  running: string[] = []
  constructor(recipe: Recipe) {
    this.play = new Play(definitionOf(recipe))
  }

  tell(event: Event): void {
    const about = 'step' in event ? event.step : undefined
    this.play.tell(
      event,
      this.running.filter((step) => step !== about || event.type === 'verbRequested'),
    )
    const { state } = this.play
    this.running = this.running.filter((step) => {
      const direction = state.status === 'compensating' ? 'compensation' : 'action'
      const attempt = entryOf(state.attempts, step) ?? 0
      return step !== about && isAttempted(state, { step, direction, attempt })
    })
  }

  /** As a runner does between two things it hears of. */
  look(): void {
    for (let n = 0; n < 50; n++) {
      const { state, now } = this.play
      const kept = keptSignal(state)
      const over = overdue(state, now)
      if (isPastDeadline(state, now)) this.tell({ type: 'deadlinePassed' })
      else if (over !== undefined) this.tell(over)
      else if (kept !== undefined) this.play.read(kept.letter)
      else if (
        state.gaveUp !== undefined &&
        state.paused === undefined &&
        state.status !== 'stuck' &&
        this.running.length === 0 &&
        this.ready().length === 0
      )
        this.tell({ type: 'nothingRuns' })
      else return
    }
    throw new Error('it looks without end')
  }

  ready(): string[] {
    const { state, now } = this.play
    if (next(state).act !== 'attempt') return []
    return dueNow(state, now).filter((step) => !this.running.includes(step))
  }

  begin(): void {
    this.look()
    this.running.push(...this.ready())
  }

  end(step: string | undefined, outcome: Outcome): void {
    if (step === undefined) return
    const { state } = this.play
    const direction = state.status === 'compensating' ? 'compensation' : 'action'
    const id = { step, direction, attempt: entryOf(state.attempts, step) ?? 1 } as const
    if (outcome === 'succeeded') this.tell({ type: 'attemptSucceeded', ...id, result: 1, resultBytes: 1 })
    else this.tell({ type: 'attemptFailed', ...id, outcome, error: { code: 'NO', message: 'no' } })
  }

  ask(verb: Verb, more: { input?: string; force?: boolean } = {}): void {
    this.tell({ type: 'verbRequested', verb, actor: 'ada', reason: 'why', ...more })
  }

  cancel(): void {
    this.tell({ type: 'cancelRequested', actor: 'ada', reason: 'enough' })
  }

  make(move: Move): void {
    this.play.now += 1
    const { state } = this.play
    // What is stuck is not left alone for long.
    const isLeft = state.stuck === undefined || move.pick < 6
    const what = isLeft ? move.do : 'edit'
    switch (what) {
      case 'begin':
        this.begin()
        return
      case 'end':
        this.end(this.running[move.pick % Math.max(1, this.running.length)], move.outcome)
        return
      case 'pause':
      case 'resume':
      case 'runNow':
      case 'retry':
      case 'skip':
      case 'markCompensated':
        this.ask(what)
        return
      case 'edit':
        this.ask('retry', { input: 'edited', ...(move.force && { force: true }) })
        return
      case 'cancel':
        // At the door it would be refused (S25).
        if (state.pivot === undefined) this.cancel()
        return
      case 'wait':
        this.play.now += move.ms
        this.look()
        return
      case 'signal':
        this.play.signal('go')
        return
      case 'crash':
        this.running = []
        this.play.crash()
        return
      case 'park':
        this.park()
        return
      default:
        this.look()
    }
  }

  /** Its worker can decide nothing more about it, and lets it go as it stands. */
  park(): void {
    const { state, now } = this.play
    if (isTerminal(state.status)) return
    this.running = []
    const at = instantText(now)
    const { since = at } = state.stuck ?? {}
    const direction = directionOf(state)
    const stuck = { step: null, direction, reason: 'undecidable', message: 'no sense', since } as const
    this.play.write({ kind: 'parked', at, reason: 'no sense', to: { status: 'stuck', stuck } })
  }

  /** Everything that is asked to succeed does, in the order in which it is begun. */
  succeed(): void {
    for (let n = 0; n < 200 && !isTerminal(this.play.state.status); n++) {
      const { state } = this.play
      if (state.paused !== undefined) this.ask('resume')
      else if (state.stuck !== undefined) this.ask('retry')
      else if (this.running.length > 0) this.end(this.running[0], 'succeeded')
      else {
        const waits = Object.values(state.waiting ?? {})
        if (waits.some((waiting) => waiting.for === 'signal')) this.play.signal('go')
        this.begin()
        const at = wakeAt(this.play.state, this.play.now)
        if (this.running.length === 0 && at !== undefined) this.play.now = Math.max(this.play.now, at)
      }
    }
  }
}

function played(recipe: Recipe, after: (stage: Stage) => void = () => undefined): Stage {
  const stage = new Stage(recipe)
  for (const move of recipe.moves) {
    stage.make(move)
    after(stage)
  }
  return stage
}

function holds(law: (recipe: Recipe) => void): void {
  fc.assert(fc.property(recipes, law), { numRuns: runs })
}

test('whatever a person asks, the history folds to the state, and both survive their schemas (S35)', () => {
  holds((recipe) => {
    const { play } = played(recipe, ({ play: { entries, state } }) => expect(fold(entries)).toEqual(state))
    expect(SagaState.parse(JSON.parse(JSON.stringify(play.state)))).toEqual(play.state)
    for (const entry of play.entries) expect(Entry.parse(JSON.parse(JSON.stringify(entry)))).toEqual(entry)
  })
})

test('a paused saga begins nothing, waits for nothing, and comes to no pivot and to no end but by a failure (S30a)', () => {
  holds((recipe) => {
    const { play } = played(recipe)
    for (const { before, event, decision, after, now } of play.moments) {
      if (after.paused !== undefined) {
        expect(next(after)).toEqual({ act: 'waitForOperator' })
        expect([wakeAt(after, now), overdue(after, now), keptSignal(after)]).toEqual([
          undefined,
          undefined,
          undefined,
        ])
        expect(isPastDeadline(after, Number.MAX_SAFE_INTEGER)).toBe(false)
      }
      if (before.paused === undefined || decision.is === 'ignored') continue
      if (event?.type === 'cancelRequested') {
        expect(after.paused).toBeUndefined()
        // What went forward is to turn round, at once or when what is under way has ended.
        if (before.status === 'running' && before.pivot === undefined) expect(after.cause).toBeDefined()
      } else if (event?.type !== 'verbRequested' || event.verb !== 'resume') {
        if (!isTerminal(after.status)) expect(after.paused).toEqual(before.paused)
        expect(decision.entry.to.pivot).not.toBe('dispatched')
        expect(['completed', 'cancelled']).not.toContain(after.status)
        if (isTerminal(after.status)) expect(decision.entry.kind).toBe('attemptFailed')
      }
    }
  })
})

test('a paused saga that is resumed comes to its end, and so does one that was brought forward (S15)', () => {
  holds((recipe) => {
    const stage = played(recipe)
    stage.succeed()
    expect(stage.play.state.status).toSatisfy(isTerminal)
  })
})

test('a deadline that has passed acts when the saga is resumed, before anything is begun (S7, S30a)', () => {
  holds((recipe) => {
    for (const { before, event, decision, after, now } of played(recipe).play.moments) {
      if (event?.type !== 'verbRequested' || event.verb !== 'resume' || decision.is === 'ignored') continue
      const { paused: _, ...unpaused } = before
      if (decision.entry.kind !== 'resumed' || !isPastDeadline(unpaused, now)) continue
      expect(after.cause).toBe('deadline')
      expect(decision.entry.to.pivot).toBeUndefined()
    }
  })
})

test('an edited input raises the generation of its step in its direction by one, and nothing else does (S30a)', () => {
  holds((recipe) => {
    for (const { before, decision, after } of played(recipe).play.moments) {
      if (decision.is === 'ignored') continue
      const edited = decision.entry.kind === 'retried' ? decision.entry.edited : undefined
      for (const { name } of new Stage(recipe).play.definition.steps) {
        for (const direction of ['action', 'compensation'] as const) {
          const way = { step: name, direction }
          const isIt = decision.entry.kind === 'retried' && edited?.direction === direction
          const raised = isIt && 'step' in decision.entry && decision.entry.step === name ? 1 : 0
          expect(generationOf(after, way)).toBe(generationOf(before, way) + raised)
        }
      }
      expect(after.context.input).toEqual(before.context.input)
      // Unforced, nothing was done under the older key that anybody does not know of.
      if (edited !== undefined && edited.forced !== true) {
        expect(edited.direction).toBe('action')
        const step = 'step' in decision.entry ? decision.entry.step : undefined
        expect(before.uncertainSteps).not.toContain(step)
      }
    }
  })
})

test('what was under way when a saga was parked counts as uncertain once a person moves it on (S17b)', () => {
  holds((recipe) => {
    const { moments } = played(recipe).play
    for (const { before, decision, after } of moments) {
      if (decision.is === 'ignored' || before.stuck?.reason !== 'undecidable') continue
      const { kind } = decision.entry
      if (kind !== 'retried' && kind !== 'cancelRequested') continue
      if (before.stuck.direction === 'compensation')
        expect(after.uncertainSteps).toEqual(before.uncertainSteps)
      else
        for (const step of dueNow(before, Date.parse(before.stuck.since)))
          expect(after.uncertainSteps).toContain(step)
    }
  })
})

test('nothing of the first place is begun before its conditions have been looked at, whatever a person asks (S1b)', () => {
  holds((recipe) => {
    const [first, ...rest] = recipe.steps
    const [move, ...moves] = recipe.moves
    if (first === undefined || move === undefined) return
    const steps = [{ ...first, when: 'true' as const }, ...rest]
    const { play } = played({ ...recipe, grouped: 0, steps, moves: [{ ...move, do: 'park' }, ...moves] })
    for (const { after } of play.moments) {
      if (Object.values(after.waiting ?? {}).every((waiting) => waiting.for !== 'condition')) continue
      expect(Object.keys(after.attempts)).toHaveLength(1)
    }
  })
})

test('run now leaves no back-off and no delay for later, and touches no wait for what comes from outside (S30)', () => {
  holds((recipe) => {
    for (const { before, decision, after, now } of played(recipe).play.moments) {
      if (decision.is === 'ignored' || decision.entry.kind !== 'broughtForward') continue
      for (const [step, dueAt] of Object.entries(after.dueAt ?? {})) {
        if (after.waiting?.[step]?.for === 'signal') expect(dueAt).toBe(before.dueAt?.[step])
        else expect(Date.parse(dueAt)).toBeLessThanOrEqual(now)
      }
      expect(after.attempts).toEqual(before.attempts)
      expect(after.waiting).toEqual(before.waiting)
    }
  })
})

test('the plan of a verb is what happens if everything succeeds, and refuses with the sentence of the refusal (S30)', () => {
  holds((recipe) => {
    const { play, running } = played(recipe)
    const { state, definition, now, version } = play
    const plans = verbPlans(state, definition, { now, version, underWay: running })
    expect(plans.map(({ verb }) => verb)).toEqual(
      'retry skip markCompensated abandon cancel pause resume runNow'.split(' '),
    )
    for (const { verb, possible, why, acts, ends } of plans) {
      const again = played(recipe)
      const { play: other } = again
      expect(why).toBe(whyNot(state, verb, version))
      if (verb === 'abandon') continue
      if (verb === 'cancel') {
        if (!possible) continue
        again.cancel()
      } else again.ask(verb)
      const { decision } = other.moments.at(-1) ?? {}
      if (!possible) {
        expect(acts).toEqual([])
        expect(ends).toBe(state.status)
        if (decision?.is === 'transition')
          expect(decision.entry).toMatchObject({ kind: 'verbRefused', why: String(why) })
        else expect(isTerminal(state.status)).toBe(true)
        continue
      }
      expect(decision?.is === 'transition' && decision.entry.kind).not.toBe('verbRefused')
      expect({ verb, acts, ends }).toEqual({ verb, ...whatHappens(again) })
    }
  })
})

test('the driver gets to where each verb is possible', () => {
  const seen = new Set<string>()
  for (const recipe of fc.sample(recipes, { numRuns: 1_500, seed: 7 })) {
    const { play, running } = played(recipe)
    const moment = { now: play.now, version: play.version, underWay: running }
    for (const { verb, possible } of verbPlans(play.state, play.definition, moment))
      if (possible) seen.add(verb)
  }
  expect([...seen].sort()).toEqual('abandon cancel markCompensated pause resume retry runNow skip'.split(' '))
})

/** Whatever is scheduled or waited for comes to a good end, a round after the other. */
function whatHappens({ play, running }: Stage) {
  const acts: unknown[] = []
  let left = running
  for (let round = 1; round < 50; round++) {
    const { attempts, status, paused } = play.state
    const due = Object.entries(attempts).filter(([step]) => paused === undefined || left.includes(step))
    if (due.length === 0 || isTerminal(status) || status === 'stuck') return { acts, ends: status }
    const direction = status === 'compensating' ? 'compensation' : 'action'
    for (const [step, attempt] of due) {
      if (entryOf(play.state.waiting, step)?.for === 'condition') {
        play.tell({ type: 'conditionDue' }, left)
        continue
      }
      left = left.filter((other) => other !== step)
      play.tell({ type: 'attemptSucceeded', step, direction, attempt, result: null, resultBytes: 0 }, left)
      acts.push({ step, direction, outcome: 'succeeded', round })
    }
  }
  throw new Error('it goes on without end')
}
