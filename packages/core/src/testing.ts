import { dueNow, keptSignal, next, overdue, type Scheduled } from './agenda.ts'
import { type Decision, decide } from './decide.ts'
import { Definition, type ResolvedDefinition, resolveDefinition } from './definition.ts'
import type { AttemptId, Event, Outcome } from './event.ts'
import { apply, begin, type Entry, type Started, type Verb } from './history.ts'
import { byteLength, type Json, parseJson } from './json.ts'
import { startedEntry } from './start.ts'
import type { Direction, SagaState, Waiting } from './state.ts'
import { HOLDERS, holdersOf, valuesFrom, wantedOf } from './values.ts'

/** For this package's own tests: a definition in a line, and a saga played one event at a time. */

export const START = Date.parse('2026-01-01T00:00:00.000Z')

export type Fields = { readonly [field: string]: Json | undefined }
export type StepSketch =
  | string
  | ({ readonly name: string; readonly parallel?: undefined } & Fields)
  | { readonly parallel: readonly Fields[]; readonly compensate?: string }

/** A step given by its name alone has a handler in both directions; `compensation: undefined` takes one away. */
export function define(steps: readonly StepSketch[], rest: Record<string, Json> = {}): ResolvedDefinition {
  return resolveDefinition(Definition.parse(sketch(steps, rest)), 1)
}

/** The document itself, as its author would write it. */
export function sketch(steps: readonly StepSketch[], rest: Record<string, Json> = {}): Json {
  const both = { action: { type: 'handler' }, compensation: { type: 'handler' } }
  const written = steps.map((step) => {
    if (typeof step === 'string') return { ...both, name: step }
    return step.parallel === undefined ? { ...both, ...step } : step
  })
  const verdict = parseJson(JSON.stringify({ name: 'order', ...rest, steps: written }))
  if (!verdict.ok) throw new Error(verdict.problem.detail)
  return verdict.value
}

/** What an attempt's end brings with it, where a test cares. */
type Details = {
  result?: Json
  resultBytes?: number
  code?: string
  message?: string
  retryAfterMs?: number | undefined
}

/** One event and what came of it. `event` is absent where an entry was written without a decision. */
export type Moment = {
  before: SagaState
  event?: Event
  decision: Decision
  after: SagaState
  now: number
  /** What was running then. */
  underWay: readonly string[]
}

/** A saga in memory: it remembers every decision, keeps the history, and freezes whatever `decide` is given. */
export class Play {
  readonly definition: ResolvedDefinition
  readonly entries: Entry[]
  readonly moments: Moment[] = []
  /** The signals in the saga's mail; a letter's number is its place, from 1. */
  readonly letters: { signal: string; payload: Json; payloadBytes: number }[] = []
  state: SagaState
  now = START
  random = 0.5

  /** `started`: how it began, if not by a plain start. */
  constructor(definition: ResolvedDefinition, input: Json = null, started = start(definition, input)) {
    this.definition = definition
    this.entries = [started]
    this.state = begin(started)
  }

  /** What the worker keeps beside the state: values that stand in the history alone (S33). */
  get spilled(): Map<string, Json> {
    return valuesFrom(holding(this.state, this.entries), wantedOf(this.state))
  }

  /** The sequence number of the last entry (S17a). */
  get version(): number {
    return this.entries.length
  }

  /** The one attempt that is under way or scheduled. */
  get scheduled(): Scheduled | undefined {
    const due = next(this.state)
    return due.act === 'attempt' ? due.attempts[0] : undefined
  }

  /** The events so far. */
  get told(): Event[] {
    return this.moments.flatMap(({ event }) => (event === undefined ? [] : [event]))
  }

  /** `underWay`: what is running at this moment, beside what the event is about. */
  tell(event: Event, underWay: readonly string[] = []): Decision {
    const before = freeze(this.state)
    const { definition, now, random, version, spilled } = this
    const given = { definition, now, random, version, spilled, underWay }
    const decision = decide(before, freeze(event), given)
    if (decision.is === 'transition') this.#record(decision.entry, decision.state)
    this.moments.push({ before, event, decision, after: this.state, now, underWay })
    return decision
  }

  /** What a statement of its own writes, which decides nothing (S30b). */
  write(entry: Entry): void {
    const before = freeze(this.state)
    const state = apply(before, entry, this.version + 1)
    this.#record(entry, state)
    this.moments.push({
      before,
      decision: { is: 'transition', entry, state },
      after: state,
      now: this.now,
      underWay: [],
    })
  }

  /**
   * The scheduled attempt ends like this. Time moves to the instant at which it is due. What waits for a signal gets it
   * if it is to succeed, and else is waited out, like every delay.
   */
  settle(outcome: Outcome, more: Details = {}): Decision {
    const attempt = this.scheduled
    if (attempt === undefined) throw new Error(`nothing is scheduled: the saga is ${this.state.status}`)
    if (attempt.waiting !== undefined) return this.#endWait(attempt.waiting, outcome, more)
    this.waitUntilDue()
    return this.tell(settled(attempt, outcome, more))
  }

  /** What is scheduled of this step ends like this, at once or when it is due, while others are running. */
  end(step: string, outcome: Outcome, underWay: readonly string[] = [], more: Details = {}): Decision {
    const due = next(this.state)
    const attempt = due.act === 'attempt' ? due.attempts.find((one) => one.step === step) : undefined
    if (attempt === undefined) throw new Error(`step "${step}" is not scheduled`)
    if (attempt.dueAt !== undefined) this.now = Math.max(this.now, Date.parse(attempt.dueAt))
    return this.tell(settled(attempt, outcome, more), underWay)
  }

  /** A worker looks at the conditions of the first group. */
  checkCondition(): Decision {
    return this.tell({ type: 'conditionDue' })
  }

  /** Somebody sends a signal, and its letter is read. */
  signal(signal: string, payload: Json = null, payloadBytes = byteLength(JSON.stringify(payload))): Decision {
    return this.read(this.letters.push({ signal, payload, payloadBytes }))
  }

  /** A letter is read: when it comes, and again when its step waits for it. */
  read(letter: number): Decision {
    const found = this.letters[letter - 1]
    if (found === undefined) throw new Error(`there is no letter ${letter}`)
    return this.tell({ type: 'signalReceived', letter, ...found })
  }

  /** What a runner does after every transition: it reads the letters of the signals that are waited for now (M2). */
  readKept(): this {
    for (let kept = keptSignal(this.state); kept !== undefined; kept = keptSignal(this.state)) {
      const { is } = this.read(kept.letter)
      if (is === 'ignored' || keptSignal(this.state)?.letter === kept.letter)
        throw new Error(`letter ${kept.letter} was read and is kept all the same`)
    }
    return this
  }

  /** As `settle`, for several attempts one after the other. */
  settleAll(...outcomes: Outcome[]): this {
    for (const outcome of outcomes) this.settle(outcome)
    return this
  }

  /** `underWay`: everything that is due is running meanwhile. */
  cancel(underWay = false): Decision {
    return this.tell(
      { type: 'cancelRequested', actor: 'ada', reason: 'changed my mind' },
      this.#due(underWay),
    )
  }

  passDeadline(underWay = false): Decision {
    return this.tell({ type: 'deadlinePassed' }, this.#due(underWay))
  }

  #due(isRunning: boolean): string[] {
    return isRunning ? dueNow(this.state, this.now) : []
  }

  /** The worker that holds the saga dies; the row's counter rises. */
  crash(): Decision {
    return this.tell({ type: 'leaseLost', leasesLost: (this.state.leasesLost ?? 0) + 1 })
  }

  /** The worker has to stop and lets the saga go (S21). */
  interrupt(): Decision {
    return this.tell({ type: 'interrupted' })
  }

  operator(
    verb: Verb,
    more: { step?: string; decidedOn?: number; input?: Json; force?: boolean } = {},
  ): Decision {
    return this.tell({ type: 'verbRequested', verb, actor: 'ada', reason: 'looked into it', ...more })
  }

  waitUntilDue(): void {
    const due = next(this.state)
    const dueAt = due.act === 'attempt' ? due.attempts[0]?.dueAt : undefined
    if (dueAt !== undefined) this.now = Math.max(this.now, Date.parse(dueAt))
  }

  #endWait(waiting: Waiting, outcome: Outcome, { result, resultBytes }: Details): Decision {
    const kept = keptSignal(this.state)
    if (kept !== undefined) return this.read(kept.letter)
    if (waiting.for === 'signal' && outcome === 'succeeded') {
      return this.signal(waiting.signal, result, resultBytes)
    }
    this.waitUntilDue()
    const event = overdue(this.state, this.now)
    if (event === undefined) throw new Error('a wait whose time is over has to end')
    return this.tell(event)
  }

  #record(entry: Entry, state: SagaState): void {
    this.entries.push(entry)
    this.state = state
  }
}

/** What a store looks at for the values of a state: as few as it may. */
export function holding(state: SagaState, entries: readonly Entry[]): { seq: number; entry: Entry }[] {
  const numbered = entries.map((entry, index) => ({ seq: index + 1, entry }))
  const results = numbered.filter(({ entry }) => HOLDERS.some((kind) => kind === entry.kind))
  const edits = new Set(wantedOf(state).edits.values())
  return [...results.slice(0, holdersOf(state)), ...numbered.filter(({ seq }) => edits.has(seq))]
}

function start(definition: ResolvedDefinition, input: Json): Started {
  const inputBytes = byteLength(JSON.stringify(input))
  return startedEntry({ sagaId: 'saga-1', definition, input, inputBytes, now: START })
}

function settled({ step, direction, attempt }: AttemptId, outcome: Outcome, more: Details): Event {
  const id = { step, direction, attempt }
  if (outcome === 'succeeded') {
    const result = more.result ?? null
    const resultBytes = more.resultBytes ?? byteLength(JSON.stringify(result))
    return { type: 'attemptSucceeded', ...id, result, resultBytes }
  }
  const error = { code: more.code ?? 'DECLINED', message: more.message ?? 'no' }
  return { type: 'attemptFailed', ...id, outcome, error, retryAfterMs: more.retryAfterMs }
}

/** Freezes a value through and through. What is frozen already has been so all the way down. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const part of Object.values(value)) freeze(part)
  return value
}

// --- What the entries of a history say, without the state that was made of them ------------------------------------

export function stepsWhere(entries: readonly Entry[], isMeant: (entry: Entry) => boolean): string[] {
  return entries.filter(isMeant).map((entry) => ('step' in entry ? (entry.step ?? '') : ''))
}

/** It has completed a step. */
export const isDone = (entry: Entry) =>
  entry.kind === 'signalReceived' || (entry.kind === 'attemptSucceeded' && entry.direction === 'action')
export const completed = (entries: readonly Entry[]) => stepsWhere(entries, isDone)
export const compensated = (entries: readonly Entry[]) =>
  stepsWhere(
    entries,
    (e) =>
      (e.kind === 'attemptSucceeded' && e.direction === 'compensation') || e.kind === 'markedCompensated',
  )
/** By an operator. */
export const skipped = (entries: readonly Entry[], direction: Direction) =>
  stepsWhere(entries, (entry) => entry.kind === 'skipped' && entry.direction === direction)
