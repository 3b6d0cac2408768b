/* oxlint-disable vitest/expect-expect -- a law asserts in the function that it is given to */
import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  directionOf,
  dueNow,
  isAwaited,
  isPastDeadline,
  keptSignal,
  next,
  overdue,
  wakeAt,
} from './agenda.ts'
import { actOf } from './decide.ts'
import { isAct, isChild, isWait, type ResolvedDefinition, type ResolvedStep } from './definition.ts'
import type { AttemptId, ChildReport, Event, Outcome } from './event.ts'
import { evaluate } from './expression.ts'
import { Entry, fold, type Started, type Verb } from './history.ts'
import { instantText } from './instant.ts'
import { byteLength, type Json } from './json.ts'
import { INLINE_BYTES, MAX_CONTEXT_BYTES, MAX_LEASES_LOST } from './limits.ts'
import { plan } from './plan.ts'
import { undoEntry } from './start.ts'
import { type Direction, entryOf, isMoving, isTerminal, SagaState } from './state.ts'
import {
  compensated,
  completed,
  define,
  type Fields,
  holding,
  isDone,
  type Moment,
  Play,
  type StepSketch,
  skipped,
  stepsWhere,
} from './testing.ts'
import { hasSpilled, missingIn, valuesFrom, wantedOf } from './values.ts'

/**
 * The laws of what runs at once: groups, callbacks, sagas that start sagas, conditions. The driver plays a worker with
 * several attempts under way, whose ends come in any order, beside participants that call back early, late and twice,
 * children, crashes and people. What is expected is worked out from the history's facts and from what the driver itself
 * has done, never from the state that the rules have made of them.
 */

const runs = 250

// --- What is drawn -----------------------------------------------------------------------------------------------

const NAMES = 'constructor toString valueOf then a b c d e f g h i j k l m n o p q r s t u'.split(' ')
const waitMs = fc.integer({ min: 1, max: 100_000 })
const signals = fc.constantFrom('paid', 'constructor')
const attempts = fc.integer({ min: 1, max: 3 })
const results = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom<Json>('ok', 'ok', null, { toString: 1 }) },
  { weight: 1, arbitrary: fc.constant('x'.repeat(INLINE_BYTES)) },
)

const member = fc.record({
  kind: fc.oneof(
    { weight: 5, arbitrary: fc.constant('handler' as const) },
    { weight: 4, arbitrary: fc.constant('callback' as const) },
    { weight: 1, arbitrary: fc.constant('delay' as const) },
    { weight: 2, arbitrary: fc.constant('signal' as const) },
    { weight: 4, arbitrary: fc.constant('saga' as const) },
  ),
  signal: signals,
  ms: waitMs,
  forward: attempts,
  undo: fc.constantFrom('none', 'handler', 'handler', 'callback'),
  back: attempts,
  compensateWhen: fc.constantFrom('completed', 'uncertain'),
  when: fc.constantFrom(
    '',
    '',
    '',
    '',
    '',
    '',
    'true',
    'false',
    'input.go == true',
    'input.go == true',
    'earlier',
    'there',
    'there',
    'error',
  ),
  earlier: fc.nat(100),
})
type Drawn = typeof member extends fc.Arbitrary<infer M> ? M : never

const groups = fc.array(
  fc.record({
    members: fc.array(member, { minLength: 1, maxLength: 5, size: 'max' }),
    isAlone: fc.boolean(),
    compensate: fc.constantFrom('oneByOne', 'together'),
  }),
  { minLength: 1, maxLength: 5 },
)

const definitions = fc
  .record({
    groups,
    pivot: fc.option(fc.nat(4), { nil: undefined }),
    deadlineMs: fc.option(waitMs, { nil: undefined }),
    isUncertainByDefault: fc.boolean(),
  })
  .map(({ groups, pivot, deadlineMs, isUncertainByDefault }) => {
    const names: string[] = []
    const steps = groups.map(({ members, isAlone, compensate }, place): StepSketch => {
      const known = [...names]
      const written = (drawn: Drawn, isPivot: boolean) => {
        const name = NAMES[names.length]!
        names.push(name)
        return write(drawn, name, known, isPivot)
      }
      if (isAlone || place === pivot) return written(members[0]!, place === pivot)
      return { parallel: members.map((drawn) => written(drawn, false)), compensate }
    })
    const rest: Record<string, Json> = {
      ...(deadlineMs !== undefined && { deadlineMs }),
      ...(isUncertainByDefault && { defaults: { compensateWhen: 'uncertain' } }),
    }
    return { steps, rest }
  })

/** One step as its author would write it. */
function write(
  drawn: Drawn,
  name: string,
  known: readonly string[],
  isPivot: boolean,
): { readonly name: string } & Fields {
  const { kind, ms, forward, back, compensateWhen } = drawn
  const http = { type: 'http', url: 'http://h/' } as const
  const earlier = known[drawn.earlier % Math.max(1, known.length)]
  const conditions: Record<string, string> = {
    there: earlier === undefined ? 'true' : `has(context.${earlier})`,
    earlier: earlier === undefined ? 'false' : `has(context.${earlier}) && context.${earlier} == "ok"`,
    error: 'input.nowhere.at.all == 1',
  }
  const when = drawn.when === '' ? {} : { when: conditions[drawn.when] ?? drawn.when }
  const retry = { maxAttempts: back }
  const undo =
    drawn.undo === 'callback'
      ? { ...http, completion: 'callback', timeoutMs: ms, retry }
      : { type: 'handler', retry }
  const compensation = drawn.undo === 'none' ? undefined : undo
  const undoing = { compensation, ...(compensation !== undefined && { compensateWhen }) }
  const pivot = isPivot ? { pivot: true } : {}
  switch (kind) {
    case 'delay':
      if (isPivot) return { name, action: { type: 'handler' }, ...when, ...undoing, ...pivot }
      return { name, action: { type: 'delay', delayMs: ms }, compensation: undefined, ...when }
    case 'signal':
      if (isPivot) return { name, action: { type: 'handler' }, ...when, ...undoing, ...pivot }
      return { name, action: { type: 'signal', signal: drawn.signal }, timeoutMs: ms, ...when, ...undoing }
    case 'saga':
      return {
        name,
        action: { type: 'saga', definition: 'other' },
        compensation: undefined,
        ...when,
        ...pivot,
      }
    case 'callback':
      return {
        name,
        action: { ...http, completion: 'callback' },
        timeoutMs: ms,
        retry: { maxAttempts: forward },
        ...when,
        ...undoing,
        ...pivot,
      }
    case 'handler':
      return {
        name,
        action: { type: 'handler' },
        retry: { maxAttempts: forward },
        ...when,
        ...undoing,
        ...pivot,
      }
  }
}

const outcomes = fc.constantFrom<Outcome>('succeeded', 'rejected', 'failed', 'uncertain', 'uncertain')
const pick = fc.nat(1_000)

const moves = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('dispatch'), mask: fc.nat(31), isAll: fc.boolean() }),
  },
  {
    weight: 24,
    arbitrary: fc.record({
      do: fc.constant('end'),
      pick,
      outcome: fc.oneof(
        { weight: 2, arbitrary: fc.constant<Outcome>('succeeded') },
        { weight: 1, arbitrary: outcomes },
      ),
      isPending: fc.boolean(),
      result: results,
      isLarge: fc.nat(30).map((n) => n === 0),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({ do: fc.constant('callBack'), pick, outcome: outcomes, result: results }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant('report'),
      pick,
      status: fc.constantFrom(
        'completed',
        'completed',
        'stuck',
        'running',
        'failed',
        'cancelled',
        'abandoned',
      ),
      clean: fc.boolean(),
      result: results,
      isLarge: fc.nat(10).map((n) => n === 0),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('signal'), signal: signals, payload: results }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait'), ms: waitMs }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('repeat'), pick }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('passDeadline') }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('crash'),
      times: fc.constantFrom(1, 2, MAX_LEASES_LOST, MAX_LEASES_LOST),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('interrupt') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('park') }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('beginNothing') }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('operate'),
      verb: fc.constantFrom<Verb>('retry', 'retry', 'skip', 'markCompensated'),
    }),
  },
)
type Move = typeof moves extends fc.Arbitrary<infer M> ? M : never

const recipes = fc.record({
  definition: definitions,
  input: fc.constantFrom<Json>(
    null,
    { go: true },
    { go: true, pad: 'x'.repeat(INLINE_BYTES) },
    { go: false },
  ),
  moves: fc.array(moves, { minLength: 1, maxLength: 60, size: 'max' }),
})
type Recipe = typeof recipes extends fc.Arbitrary<infer R> ? R : never

// --- The driver --------------------------------------------------------------------------------------------------

/** Something that was done with an attempt when the history had `seq` entries. */
type Deed = AttemptId & { did: 'dispatched' | 'calledOff' | 'lost'; seq: number; because?: Event }

/** A saga of another saga's step; `end` is what it has told, or will. */
type Born = AttemptId & { sagaId: string; seq: number; end?: ChildReport; endedAt?: number }

/** A saga with all that is around it. */
class World {
  readonly play: Play
  /** What a worker is at. */
  readonly running = new Map<string, AttemptId>()
  readonly children = new Map<string, Born>()
  readonly deeds: Deed[] = []

  constructor(play: Play) {
    this.play = play
  }

  get state(): SagaState {
    return this.play.state
  }

  tell(event: Event, ended?: string): boolean {
    const decision = this.play.tell(event, [...this.running.keys()])
    if (ended !== undefined) this.running.delete(ended)
    for (const id of this.running.values()) {
      if (isAwaited(this.state, id) && entryOf(this.state.waiting, id.step) === undefined) continue
      this.running.delete(id.step)
      this.#did('calledOff', id, event)
    }
    return decision.is === 'transition'
  }

  /** What is due and not begun. */
  get ready(): AttemptId[] {
    const due = next(this.state)
    if (due.act !== 'attempt') return []
    const now = dueNow(this.state, this.play.now)
    return due.attempts
      .filter(({ step }) => now.includes(step) && !this.running.has(step))
      .map(({ step, direction, attempt }) => ({ step, direction, attempt }))
  }

  dispatch(isMeant: (place: number) => boolean = () => true): void {
    for (const id of this.ready.filter((_, place) => isMeant(place))) {
      this.#did('dispatched', id)
      if (isBorn(this.play.definition, id)) this.#bear(id)
      else this.running.set(id.step, id)
    }
  }

  end(id: AttemptId, outcome: Outcome, result: Json, resultBytes = byteLength(JSON.stringify(result))): void {
    this.tell(ended(id, outcome, result, resultBytes), id.step)
  }

  pend(id: AttemptId): void {
    this.tell({ type: 'attemptPending', ...id }, id.step)
  }

  /** The participant calls back; whoever reads it takes it for the attempt that is awaited, if one is. */
  callBack(step: string, outcome: Outcome, result: Json): void {
    const due = this.state
    const direction =
      due.status === 'compensating' || due.stuck?.direction === 'compensation' ? 'compensation' : 'action'
    const attempt = entryOf(due.attempts, step) ?? 0
    const event = ended({ step, direction, attempt }, outcome, result, byteLength(JSON.stringify(result)))
    this.tell({ ...event, by: 'callback' } as Event)
  }

  /** A child tells of itself: how it ended it tells again and again, and never otherwise. */
  report(child: Born, told: Omit<ChildReport, 'sagaId'>): void {
    if (child.end === undefined && isTerminal(told.status)) {
      child.end = { ...told, sagaId: child.sagaId }
      child.endedAt = this.play.version + 1
    }
    this.tell({ type: 'childReported', ...(child.end ?? { ...told, sagaId: child.sagaId }) })
  }

  /** What a worker does after every transition: it ends what nobody carries out (S7a, M2). */
  pump(): void {
    for (let patience = 300; ; patience--) {
      if (patience === 0) throw new Error(`it never comes to rest: ${JSON.stringify(this.state)}`)
      const over = overdue(this.state, this.play.now)
      const kept = keptSignal(this.state)
      if (isPastDeadline(this.state, this.play.now)) this.tell({ type: 'deadlinePassed' })
      else if (over !== undefined) this.tell(over)
      else if (kept !== undefined) this.read(kept.letter)
      else return
    }
  }

  signal(signal: string, payload: Json): void {
    const payloadBytes = byteLength(JSON.stringify(payload))
    this.read(this.play.letters.push({ signal, payload, payloadBytes }))
  }

  read(letter: number): void {
    this.tell({ type: 'signalReceived', letter, ...this.play.letters[letter - 1]! })
  }

  /** All that was under way ends without a word. */
  lose(): void {
    for (const id of this.running.values()) this.#did('lost', id)
    this.running.clear()
  }

  /** Its worker can decide nothing more about it, and lets it go as it stands. */
  park(): void {
    if (!isMoving(this.state.status)) return
    this.lose()
    const since = instantText(this.play.now)
    const direction = directionOf(this.state)
    const stuck = { step: null, direction, reason: 'undecidable', message: 'no sense', since } as const
    this.play.write({ kind: 'parked', at: since, reason: 'no sense', to: { status: 'stuck', stuck } })
  }

  /** The sagas that its steps have started, and that have not ended as far as anybody has heard. */
  alive(direction: Direction, seq = Number.MAX_SAFE_INTEGER): Born[] {
    return [...this.children.values()].filter(
      (one) =>
        one.direction === direction && one.seq <= seq && (one.endedAt ?? Number.MAX_SAFE_INTEGER) > seq,
    )
  }

  #bear(id: AttemptId): void {
    const sagaId = `child-${this.children.size + 1}`
    const child = { sagaId, definition: { name: 'other', version: 1 } }
    if (this.tell({ type: 'childStarted', ...id, child }))
      this.children.set(sagaId, { sagaId, ...id, seq: this.play.version })
  }

  #did(did: Deed['did'], id: AttemptId, because?: Event): void {
    this.deeds.push({ did, ...id, seq: this.play.version, ...(because !== undefined && { because }) })
  }
}

function ended(id: AttemptId, outcome: Outcome, result: Json, resultBytes: number) {
  const { step, direction, attempt } = id
  if (outcome === 'succeeded')
    return { type: 'attemptSucceeded' as const, step, direction, attempt, result, resultBytes }
  const error = { code: 'DECLINED', message: 'no' }
  return { type: 'attemptFailed' as const, step, direction, attempt, outcome, error }
}

/** Is it a saga that carries this out? */
function isBorn(definition: ResolvedDefinition, { step, direction }: AttemptId): boolean {
  const way = stepOf(definition, step)[direction]!
  return 'undoes' in way || isChild(way)
}

function takesCallback(definition: ResolvedDefinition, id: AttemptId): boolean {
  const way = stepOf(definition, id.step)[id.direction]
  return way !== undefined && isAct(way) && way.callbackMs !== undefined
}

/** Plays a recipe, then lets everyone answer and an operator retry what is stuck, until the saga has ended. */
function drive({ definition, input, moves }: Recipe, started?: Started): World {
  const world = new World(new Play(define(definition.steps, definition.rest), input, started))
  for (const move of moves) make(world, move)
  finish(world)
  return world
}

function finish(world: World): void {
  const { play } = world
  for (let patience = 400; !isTerminal(world.state.status); patience--) {
    if (patience === 0) throw new Error(`a saga that never ends: ${JSON.stringify(world.state)}`)
    const { stuck, bytes } = world.state
    const isFull = bytes.total + 1_000 > MAX_CONTEXT_BYTES
    // No retry answers a condition that nobody can answer, nor makes room.
    const isHopeless = stuck?.message.includes('cannot be evaluated') === true || isFull
    if (stuck !== undefined) {
      const verb = isHopeless && stuck.direction === 'action' && stuck.step !== null ? 'skip' : 'retry'
      world.tell({ type: 'verbRequested', verb, actor: 'ada', reason: 'again' })
    }
    world.pump()
    world.dispatch()
    for (const id of world.running.values()) {
      if (takesCallback(play.definition, id)) world.pend(id)
      else world.end(id, 'succeeded', 'ok')
    }
    for (const [step, waiting] of Object.entries(world.state.waiting ?? {})) {
      if (waiting.for === 'signal') world.signal(waiting.signal, 'ok')
      if (waiting.for === 'callback') world.callBack(step, 'succeeded', 'ok')
    }
    for (const child of world.children.values()) {
      if (child.end === undefined) world.report(child, { status: 'completed', result: 'ok', resultBytes: 4 })
    }
    world.pump()
    const wake = wakeAt(world.state, play.now, [...world.running.keys()])
    if (wake !== undefined && world.ready.length === 0 && world.running.size === 0 && wake - play.now < 1e9)
      play.now = Math.max(play.now, wake)
  }
}

function make(world: World, move: Move): void {
  const { play } = world
  play.now += 1
  switch (move.do) {
    case 'dispatch':
      world.pump()
      world.dispatch((place) => move.isAll || (move.mask & (1 << place)) !== 0)
      return
    case 'end': {
      const id = [...world.running.values()][move.pick % Math.max(1, world.running.size)]
      if (id === undefined) world.dispatch()
      else if (takesCallback(play.definition, id) && move.isPending) world.pend(id)
      else if (move.isLarge) world.end(id, move.outcome, 'large', MAX_CONTEXT_BYTES)
      else world.end(id, move.outcome, move.result)
      return
    }
    case 'callBack': {
      const { definition, state } = play
      const direction =
        state.status === 'compensating' || state.stuck?.direction === 'compensation'
          ? 'compensation'
          : 'action'
      const called = definition.steps.filter(
        ({ name }) =>
          takesCallback(definition, { step: name, direction, attempt: 1 }) &&
          // Nobody else has been given a token.
          world.deeds.some(
            ({ did, ...id }) => did === 'dispatched' && id.step === name && id.direction === direction,
          ),
      )
      const awaited = called.filter(({ name }) => entryOf(state.attempts, name) !== undefined)
      const from = awaited.length > 0 ? awaited : called
      const step = from[move.pick % Math.max(1, from.length)]
      if (step !== undefined) world.callBack(step.name, move.outcome, move.result)
      return
    }
    case 'report': {
      const all = [...world.children.values()]
      const alive = all.filter(({ end }) => end === undefined)
      const from = alive.length > 0 && move.pick % 5 > 0 ? alive : all
      const child = from[move.pick % Math.max(1, from.length)]
      if (child === undefined) return
      const { status, clean, result, isLarge } = move
      const resultBytes = isLarge ? MAX_CONTEXT_BYTES : byteLength(JSON.stringify(result))
      const isEnd = status !== 'stuck' && status !== 'running'
      world.report(child, {
        status: status as ChildReport['status'],
        ...(isEnd &&
          status !== 'completed' && { clean: clean && status !== 'abandoned', reason: 'so it went' }),
        ...(status === 'completed' && { result, resultBytes }),
      })
      return
    }
    case 'signal': {
      world.signal(move.signal, move.payload)
      world.pump()
      return
    }
    case 'wait':
      play.now += move.ms
      world.pump()
      return
    case 'repeat': {
      const event = play.told[move.pick % Math.max(1, play.told.length)]
      if (event !== undefined && isRepeatable(world, event)) world.tell(event)
      return
    }
    case 'cancel':
      world.tell({ type: 'cancelRequested', actor: 'ada', reason: 'changed my mind' })
      return
    case 'passDeadline':
      if (play.state.deadlineAt === undefined) return
      play.now = Math.max(play.now, Date.parse(play.state.deadlineAt))
      world.tell({ type: 'deadlinePassed' })
      return
    case 'crash':
      for (let n = 0; n < move.times; n++) {
        world.lose()
        world.tell({ type: 'leaseLost', leasesLost: (world.state.leasesLost ?? 0) + 1 })
        // The next worker gets as far as the last one did.
        if (n < move.times - 1) world.dispatch()
      }
      return
    case 'interrupt':
      world.lose()
      world.tell({ type: 'interrupted' })
      return
    case 'park':
      world.park()
      return
    case 'beginNothing':
      // Another worker takes over, and what is due is put off there.
      world.lose()
      world.tell({ type: 'interrupted' })
      world.tell({ type: 'nothingRuns' })
      return
    case 'operate':
      world.tell({ type: 'verbRequested', verb: move.verb, actor: 'ada', reason: 'looked into it' })
      world.pump()
      return
  }
}

/** What may come twice. A worker tells of each attempt it has dispatched once, and a letter is read once. */
function isRepeatable({ state }: World, event: Event): boolean {
  switch (event.type) {
    case 'attemptSucceeded':
    case 'attemptFailed':
      return !isAwaited(state, event)
    case 'attemptPending':
    case 'childStarted':
      return !isAwaited(state, event) || entryOf(state.waiting, event.step) !== undefined
    case 'childReported':
    case 'conditionDue':
    case 'deadlinePassed':
      return true
    default:
      return false
  }
}

// --- What the facts say ------------------------------------------------------------------------------------------

function stepOf(definition: ResolvedDefinition, name: string): ResolvedStep {
  return definition.steps.find((one) => one.name === name)!
}

/** Steps whose condition was false. */
const passedOver = (entries: readonly Entry[]) => entries.flatMap(({ to }) => to.skipped ?? [])
/** The steps that are behind the saga on its way forward. */
const done = (entries: readonly Entry[]) =>
  new Set([...completed(entries), ...skipped(entries, 'action'), ...passedOver(entries)])
/** The steps dealt with on the way back, in order, by whomever. */
const undone = (entries: readonly Entry[]) =>
  stepsWhere(
    entries,
    (entry) =>
      entry.kind === 'markedCompensated' ||
      ((entry.kind === 'attemptSucceeded' || entry.kind === 'skipped') && entry.direction === 'compensation'),
  )
const hasTurned = (entries: readonly Entry[]) => entries.some(({ to }) => to.cause !== undefined)

/** Terms, M3: what may have happened without a word of it, and what was to be called back about and is waited for no longer. */
function uncertain(entries: readonly Entry[]): Set<string> {
  const ever = new Set<string>()
  const pending = new Set<string>()
  let turned = false
  let parked = false
  for (const entry of entries) {
    if (parked && (entry.kind === 'retried' || entry.kind === 'cancelRequested')) {
      for (const step of entry.to.uncertain ?? []) ever.add(step)
      parked = false
    }
    parked ||= entry.kind === 'parked'
    if (entry.kind === 'sagaStarted') for (const step of entry.undo?.uncertainSteps ?? []) ever.add(step)
    if (entry.kind === 'leaseLost' || entry.kind === 'interrupted')
      for (const step of entry.steps) ever.add(step)
    if (entry.kind === 'attemptPending' && entry.direction === 'action') pending.add(entry.step)
    if (entry.kind === 'attemptFailed' && entry.direction === 'action') {
      pending.delete(entry.step)
      if (entry.outcome === 'uncertain') ever.add(entry.step)
    }
    if (isDone(entry) && 'step' in entry && entry.step !== undefined) pending.delete(entry.step)
    turned ||= entry.to.cause !== undefined
    if (turned) for (const step of pending) ever.add(step)
  }
  for (const step of completed(entries)) ever.delete(step)
  return ever
}

/** What there is to undo, in places that follow one another: a place is one step, or a group whose members go together. */
function toUndo(definition: ResolvedDefinition, entries: readonly Entry[]): Set<string>[] {
  const [first] = entries
  const undo = first?.kind === 'sagaStarted' ? first.undo : undefined
  const happened = [...(undo?.completedSteps ?? []), ...completed(entries)]
  const mayHave = uncertain(entries)
  const places: Set<string>[] = []
  definition.groups.toReversed().forEach(({ members, compensate }) => {
    const owes = (name: string) => stepOf(definition, name).compensation !== undefined
    const ours = new Set(members.map(({ name }) => name))
    const asked = members.filter(
      ({ name, compensateWhen, action }) =>
        mayHave.has(name) &&
        !happened.includes(name) &&
        compensateWhen === 'uncertain' &&
        owes(name) &&
        !isChild(action),
    )
    const back = happened.filter((name) => ours.has(name) && owes(name)).toReversed()
    const first = asked.map(({ name }) => name)
    if (compensate === 'together') places.push(new Set([...first, ...back]))
    else places.push(new Set(first), ...back.map((name) => new Set([name])))
  })
  return places.filter((place) => place.size > 0)
}

/** S14: where the pivot stands. One that its condition has passed over takes no way back. */
function pivotOf(
  definition: ResolvedDefinition,
  entries: readonly Entry[],
): 'ahead' | 'dispatched' | 'behind' {
  const at = definition.groups.findIndex(({ members }) => members.some(({ pivot }) => pivot))
  if (at === -1) return 'ahead'
  const { name } = definition.groups[at]!.members[0]!
  const skipping = entries.findIndex(
    (entry) => entry.kind === 'skipped' && entry.step === name && entry.direction === 'action',
  )
  // One that was never dispatched can have done nothing, whoever has skipped it.
  const isSkipped = skipping > 0 && isComeTo(definition, entries.slice(0, skipping), at)
  if (completed(entries).includes(name) || isSkipped) return 'behind'
  if (done(entries).has(name) || hasTurned(entries)) return 'ahead'
  const isCome = isComeTo(definition, entries, at)
  return isCome && !isUndecided(definition, entries, name) ? 'dispatched' : 'ahead'
}

/** Has the saga come to a group: is all before it behind, and have its conditions been looked at? */
function isComeTo(definition: ResolvedDefinition, entries: readonly Entry[], at: number): boolean {
  const gone = done(entries)
  if (!definition.groups.slice(0, at).every(({ members }) => members.every(({ name }) => gone.has(name))))
    return false
  const isFirst = definition.groups[0]!.members.some(({ when }) => when !== undefined)
  // A person's verb on a saga whose workers died of them has them looked at, too.
  return (
    !isFirst ||
    entries.some(
      (entry) =>
        entry.kind === 'conditionChecked' ||
        entry.kind === 'skipped' ||
        (entry.kind === 'retried' && entry.step !== undefined),
    )
  )
}

/** The value of a step's condition by what is known then: false, true, or that it cannot be said. */
function conditionOf(
  definition: ResolvedDefinition,
  entries: readonly Entry[],
  name: string,
): boolean | undefined {
  const { when } = stepOf(definition, name)
  if (when === undefined) return true
  const [first] = entries
  if (first?.kind !== 'sagaStarted') throw new Error('it begins with its start')
  const context: Record<string, Json> = { input: first.input }
  for (const entry of entries) if (isDone(entry) && 'result' in entry) context[entry.step] = entry.result
  const { name: definitionName, version } = first.definition
  const saga = { id: first.sagaId, definition: definitionName, version, step: name }
  const value = evaluate(when, { input: first.input, context, saga })
  return value.ok ? value.value === true : undefined
}

function isUndecided(definition: ResolvedDefinition, entries: readonly Entry[], name: string): boolean {
  return conditionOf(definition, entries, name) === undefined
}

const isForward = (state: SagaState) => state.status === 'running' || state.stuck?.direction === 'action'

// --- The laws ----------------------------------------------------------------------------------------------------

function holds(law: (world: World) => void): void {
  const property = fc.property(recipes, (recipe) => {
    law(drive(recipe))
  })
  fc.assert(property, { numRuns: runs })
}

type Seen = {
  world: World
  definition: ResolvedDefinition
  entries: readonly Entry[]
  earlier: readonly Entry[]
}

/** For each moment with the history as it was then, and as it was just before. */
function always(law: (moment: Moment, seen: Seen) => void): void {
  holds((world) => each(world, law))
}

function each(world: World, law: (moment: Moment, seen: Seen) => void): void {
  const { play } = world
  const { definition } = play
  let earlier = play.entries.slice(0, 1)
  for (const moment of play.moments) {
    const entries = moment.decision.is === 'ignored' ? earlier : play.entries.slice(0, earlier.length + 1)
    law(moment, { world, definition, entries, earlier })
    earlier = entries
  }
}

/** What else was running, beside what the event tells of. */
const others = ({ event, underWay }: Moment) =>
  underWay.filter((step) => event === undefined || !('step' in event) || event.step !== step)

const dispatchesOf = ({ deeds }: World) => deeds.filter(({ did }) => did === 'dispatched')

describe('going forward', () => {
  test('begins no member of a group before everything in the earlier ones is done or passed over (S1)', () => {
    holds((world) => {
      const { definition, entries } = world.play
      for (const { step, direction, seq } of dispatchesOf(world)) {
        if (direction === 'compensation') continue
        expect(isComeTo(definition, entries.slice(0, seq), stepOf(definition, step).group)).toBe(true)
      }
    })
    always(({ after }, { definition, entries }) => {
      for (const [step, waiting] of Object.entries(after.waiting ?? {})) {
        if (waiting.for !== 'delay' && waiting.for !== 'signal') continue
        expect(isComeTo(definition, entries, stepOf(definition, step).group)).toBe(true)
      }
    })
  })

  test('has every member of its group scheduled that is not done, and nothing else, until something goes wrong (S1)', () => {
    always(({ after }, { definition, entries }) => {
      if (after.status !== 'running' || after.cause !== undefined || after.gaveUp !== undefined) return
      const gone = done(entries)
      const group = definition.groups.find(({ members }) => members.some(({ name }) => !gone.has(name)))!
      expect(after.currentStepIndex).toBe(definition.groups.indexOf(group))
      if (Object.values(after.waiting ?? {}).some((waiting) => waiting.for === 'condition')) return
      const open = group.members.map(({ name }) => name).filter((name) => !gone.has(name))
      expect(Object.keys(after.attempts).toSorted()).toEqual(open.toSorted())
    })
  })

  test('ends in completed exactly when every step is done or passed over and nothing turned it round (Terms)', () => {
    holds((world) => {
      const { state, entries, definition } = world.play
      const dirty = skipped(entries, 'compensation').length > 0
      const cause = entries.find(({ to }) => to.cause !== undefined)?.to.cause
      if (cause === undefined) {
        expect(state.status).toBe('completed')
        expect(done(entries)).toEqual(new Set(definition.steps.map(({ name }) => name)))
      } else {
        expect(state.status).toBe(dirty ? 'abandoned' : cause === 'cancel' ? 'cancelled' : 'failed')
        expect(state.failureReason).toBeTypeOf('string')
      }
    })
  })

  test('completes each step once, and no step that was passed over or skipped', () => {
    always((_, { entries }) => {
      const all = [...completed(entries), ...passedOver(entries), ...skipped(entries, 'action')]
      expect(new Set(all).size).toBe(all.length)
    })
  })
})

describe('a condition', () => {
  test('that is false passes its step over, and the history says so: it is neither begun nor undone', () => {
    always(({ after, decision }, { definition, entries, world }) => {
      const over = passedOver(entries)
      expect(new Set(after.skippedSteps)).toEqual(new Set([...over, ...skipped(entries, 'action')]))
      for (const name of over) {
        expect(after.completedSteps).not.toContain(name)
        expect(entryOf(after.attempts, name)).toBeUndefined()
        expect(undone(entries)).not.toContain(name)
        expect(dispatchesOf(world).some(({ step }) => step === name)).toBe(false)
      }
      if (decision.is === 'ignored') return
      for (const name of decision.entry.to.skipped ?? []) {
        expect(conditionOf(definition, entries, name)).toBe(false)
        expect(isComeTo(definition, entries, stepOf(definition, name).group)).toBe(true)
      }
    })
  })

  test('holds by what is known when its step is begun', () => {
    holds((world) => {
      const { definition, entries } = world.play
      for (const { step, direction, seq } of dispatchesOf(world)) {
        if (direction === 'action') expect(conditionOf(definition, entries.slice(0, seq), step)).toBe(true)
      }
    })
  })

  test('that nobody can answer fails its step for good, with a reason, and nothing of its group is begun', () => {
    always(({ after, before, decision }, { definition, entries }) => {
      if (decision.is === 'ignored' || hasTurned(entries.slice(0, -1))) return
      const { entry } = decision
      const gone = done(entries)
      const group = definition.groups.find(({ members }) => members.some(({ name }) => !gone.has(name)))
      const at = group === undefined ? -1 : definition.groups.indexOf(group)
      if (after.status === 'stuck' || group === undefined || !isComeTo(definition, entries, at)) return
      const wrong = group.members.find(
        ({ name }) => !gone.has(name) && isUndecided(definition, entries, name),
      )
      if (wrong === undefined || entry.to.cause === 'cancel' || entry.to.cause === 'deadline') return
      if (!isForward(before)) return
      expect(after).toMatchObject({ cause: 'failure', failedStep: wrong.name })
      expect(after.failureReason).toContain(`the condition of step "${wrong.name}" cannot be evaluated`)
      expect(after.currentStepIndex).toBe(at)
    })
  })
})

describe('a saga that turns round', () => {
  test('lets end what is running, and calls off nothing but what was decided otherwise (S7, S25)', () => {
    holds(({ deeds }) => {
      for (const { did, step, direction, because } of deeds) {
        if (did !== 'calledOff') continue
        const isAbout = because !== undefined && 'step' in because && because.step === step
        const isOfSignal = because?.type === 'signalReceived'
        expect([direction, because?.type, isAbout || isOfSignal]).toEqual([direction, because?.type, true])
      }
    })
  })

  test('waits for what was running and for the sagas it has started, and for nothing else', () => {
    always((moment, { world, entries }) => {
      const { after, decision } = moment
      if (decision.is === 'ignored' || !hasTurned(entries) || !isForward(after)) return
      const turnedAt = entries.findIndex(({ to }) => to.cause !== undefined) + 1
      const turn = world.play.moments.findLast(
        (one) => one.decision.is === 'transition' && one.decision.entry === entries[turnedAt - 1],
      )!
      const allowed = new Set([...others(turn), ...world.alive('action', turnedAt).map(({ step }) => step)])
      for (const step of Object.keys(after.attempts)) expect([...allowed]).toContain(step)
      for (const waiting of Object.values(after.waiting ?? {})) expect(waiting.for).toBe('saga')
    })
  })

  test('retries nothing and begins nothing: what runs again is what a worker has lost, or a person has retried (S17b)', () => {
    holds((world) => {
      const { entries } = world.play
      const turnedAt = entries.findIndex(({ to }) => to.cause !== undefined) + 1
      if (turnedAt === 0) return
      for (const { step, direction, attempt, seq } of dispatchesOf(world)) {
        if (direction === 'compensation' || seq < turnedAt) continue
        const lost = world.deeds.some(
          (one) => one.did === 'lost' && one.step === step && one.seq <= seq && one.attempt === attempt,
        )
        const retried =
          !isChild(stepOf(world.play.definition, step).action) &&
          entries.slice(0, seq).some((entry) => entry.kind === 'retried' && entry.step === step)
        expect([step, lost || retried]).toEqual([step, true])
      }
    })
  })

  test('tells each saga that it has started and that has not ended to turn round, exactly once (M4)', () => {
    holds((world) => {
      const { entries } = world.play
      const told = entries.flatMap(({ to }) => to.cancelledChildren ?? [])
      const turnedAt = entries.findIndex(({ to }) => to.cause !== undefined) + 1
      const due = turnedAt === 0 ? [] : world.alive('action', turnedAt).map(({ sagaId }) => sagaId)
      expect(told.toSorted()).toEqual(due.toSorted())
      if (told.length > 0) expect(entries[turnedAt - 1]!.to.cancelledChildren).toEqual(told)
    })
  })

  test('undoes nothing while an action is running or a saga of an action has not ended (S13)', () => {
    holds((world) => {
      each(world, (moment, { entries }) => {
        const { before, after, decision } = moment
        if (
          decision.is === 'ignored' ||
          !isForward(before) ||
          isForward(after) ||
          after.status === 'completed'
        )
          return
        expect(others(moment)).toEqual([])
        expect(world.alive('action', entries.length)).toEqual([])
      })
    })
  })

  test('begins each saga once: a second one only for an attempt of its own, when the first has ended (M4)', () => {
    holds((world) => {
      for (const child of world.children.values()) {
        const before = [...world.children.values()].filter(
          (one) => one.step === child.step && one.seq < child.seq && one.direction === child.direction,
        )
        for (const one of before)
          expect(one.endedAt ?? Number.MAX_SAFE_INTEGER).toBeLessThanOrEqual(child.seq)
      }
    })
  })
})

describe('going backward', () => {
  test('undoes in reverse order of completion, across groups and within; together what goes together (S8, S9)', () => {
    always(({ after }, { definition, entries }) => {
      expect(after.compensatedSteps).toEqual(compensated(entries))
      expect(after.skippedCompensations ?? []).toEqual(skipped(entries, 'compensation'))
      const left = toUndo(definition, entries)
      for (const step of undone(entries)) {
        const [place] = left
        expect([...(place ?? [])]).toContain(step)
        place?.delete(step)
        if (place?.size === 0) left.shift()
      }
      if (after.status === 'failed' || after.status === 'cancelled') expect(left).toEqual([])
      if (isForward(after) || isTerminal(after.status)) return
      const open = [...Object.keys(after.attempts), ...Object.keys(after.gaveUp ?? {})]
      // Somebody else may have ended what it is stuck over, or was parked over; nothing is begun then until a person has acted.
      const { step: stuckAt } = after.stuck ?? {}
      const isOver = stuckAt === null || (typeof stuckAt === 'string' && undone(entries).includes(stuckAt))
      if (typeof stuckAt === 'string' && !isOver) open.push(stuckAt)
      // What is next is under way, all of it if it goes together.
      const [place] = left
      const isTogether =
        place !== undefined &&
        definition.groups[stepOf(definition, [...place][0]!).group]!.compensate === 'together'
      for (const step of open) expect([...(place ?? [])]).toContain(step)
      if (isOver && open.length === 0) return
      if (isTogether) expect(new Set(open)).toEqual(place)
      else expect(new Set(open).size).toBe(1)
    })
  })

  test('compensates nothing twice, and what is undone is never begun again (S10)', () => {
    holds((world) => {
      const { entries } = world.play
      const gone = undone(entries)
      expect(new Set(gone).size).toBe(gone.length)
      for (const { step, direction, seq } of dispatchesOf(world)) {
        if (direction === 'compensation') expect(undone(entries.slice(0, seq))).not.toContain(step)
      }
    })
  })

  test('compensates only what completed, or may have and asks for it (S9)', () => {
    holds((world) => {
      const { entries, definition } = world.play
      for (const { step, direction, seq } of dispatchesOf(world)) {
        if (direction === 'action') continue
        const known = entries.slice(0, seq)
        const asks = stepOf(definition, step).compensateWhen === 'uncertain' && uncertain(known).has(step)
        expect(completed(known).includes(step) || asks).toBe(true)
      }
    })
  })

  test('is never begun behind the pivot; then no cancel and no deadline changes anything (S14, S25)', () => {
    always(({ before, after, event, decision }, { definition, entries, earlier }) => {
      const pivot = pivotOf(definition, earlier)
      if (pivotOf(definition, entries) === 'behind') {
        expect(['running', 'stuck', 'completed']).toContain(after.status)
        expect(after.stuck?.direction).not.toBe('compensation')
        expect(undone(entries)).toEqual([])
        expect(after.cause ?? after.failureReason ?? after.failedStep).toBeUndefined()
      }
      if (decision.is === 'ignored' || pivot === 'ahead' || before.cause !== undefined || !isForward(before))
        return
      // Stuck before it came to the pivot, it has come to it since, by children that went on: until a person acts nothing is begun.
      if (before.status === 'stuck' && before.pivot === undefined) return
      if (before.stuck?.step === null) return
      if (event?.type === 'deadlinePassed') throw new Error('the deadline has nothing to stop')
      if (event?.type === 'cancelRequested')
        expect(after).toEqual({ ...before, cancel: after.cancel, updatedAt: after.updatedAt })
    })
  })

  test('is begun by every cancel and deadline before the pivot (S7, S25)', () => {
    always(({ before, after, event, decision }, { definition, earlier }) => {
      if (decision.is === 'ignored' || pivotOf(definition, earlier) !== 'ahead' || !isForward(before)) return
      if (event?.type !== 'cancelRequested' && event?.type !== 'deadlinePassed') return
      expect(after.cause).toBeDefined()
      expect(after.status).not.toBe('stuck')
    })
  })
})

describe('what fails for good behind the pivot, or on the way back,', () => {
  test('goes to a person only when nothing else is running (S12, S14)', () => {
    always((moment) => {
      const { before, after, event } = moment
      if (after.status !== 'stuck' || before.status === 'stuck' || event?.type === 'leaseLost') return
      expect(others(moment)).toEqual([])
    })
  })

  test('is put before a person each, and not passed without a word from one (S30)', () => {
    always(({ after }, { definition, entries }) => {
      const failed = new Map<string, Direction>()
      for (const entry of entries) {
        if (entry.kind === 'attemptFailed' && isLast(definition, entry))
          failed.set(entry.step, entry.direction)
        if (entry.kind === 'retried' || entry.kind === 'skipped' || entry.kind === 'markedCompensated')
          failed.delete(entry.step ?? '')
        if (entry.to.cause !== undefined) failed.clear()
      }
      if (isTerminal(after.status) || (hasTurned(entries) && isForward(after))) return
      const open = new Set([
        ...Object.keys(after.gaveUp ?? {}),
        ...(after.stuck?.step ? [after.stuck.step] : []),
      ])
      for (const [step, direction] of failed) {
        if (isForward(after) === (direction === 'action')) expect([...open]).toContain(step)
      }
    })
  })

  test('leaves what is stuck to be acted upon: a retry begins its step again or waits on for it, a skip goes past it', () => {
    always(({ before, after, event, decision }, { entries, definition }) => {
      if (
        event?.type !== 'verbRequested' ||
        decision.is === 'ignored' ||
        decision.entry.kind === 'verbRefused'
      )
        return
      const { step } = before.stuck!
      expect(before.status).toBe('stuck')
      if (step === null) return
      const isOver = hasEnded(definition, entries, before, step)
      if (decision.entry.kind !== 'retried' || isOver) return
      if (isUndecided(definition, entries, step) && isForward(before)) return
      // Its group's conditions are looked at only now.
      if (before.cause === undefined && after.failureReason?.includes('cannot be evaluated') === true) return
      expect(after.status).toBe(isForward(before) ? 'running' : 'compensating')
      expect(Object.keys(after.attempts)).toContain(step)
    })
  })
})

/** Has what a saga is stuck over ended meanwhile? Only what others end can have (M3, M4). */
function hasEnded(
  definition: ResolvedDefinition,
  entries: readonly Entry[],
  stuck: SagaState,
  step: string,
): boolean {
  if (!isForward(stuck)) return compensated(entries).includes(step)
  // A saga that is to turn round begins no other.
  const child = isChild(stepOf(definition, step).action) && entryOf(stuck.attempts, step) === undefined
  return done(entries).has(step) || (hasTurned(entries) && child)
}

function isLast(definition: ResolvedDefinition, entry: Extract<Entry, { kind: 'attemptFailed' }>): boolean {
  const way = stepOf(definition, entry.step)[entry.direction]!
  return entry.outcome === 'rejected' || entry.attempt >= (isAct(way) ? way.retry.maxAttempts : 1)
}

describe('attempts', () => {
  test('are there while the saga moves, each with somebody or some time to end it, and a worker knows when to look (S15)', () => {
    always(({ after, now }, { world, entries }) => {
      const wake = wakeAt(after, now)
      if (!isMoving(after.status)) return expect(wake).toBeUndefined()
      expect(Number.isFinite(wake)).toBe(true)
      expect(Object.keys(after.attempts)).not.toEqual([])
      const living = new Set(
        world
          .alive(after.status === 'running' ? 'action' : 'compensation', entries.length)
          .map(({ sagaId }) => sagaId),
      )
      for (const [step, waiting] of Object.entries(after.waiting ?? {})) {
        expect(Object.keys(after.attempts)).toContain(step)
        if (waiting.for === 'saga') expect([...living]).toContain(waiting.sagaId)
        else expect(Date.parse(entryOf(after.dueAt, step)!)).toBeLessThan(now + 1e9)
      }
      for (const step of Object.keys(after.dueAt ?? {})) expect(Object.keys(after.attempts)).toContain(step)
      expect(wakeAt(after, now, Object.keys(after.attempts))).toBeGreaterThan(now - 1e9)
    })
  })

  test("are no more than a step may have, counted afresh by an operator's retry of it alone (S5, S11)", () => {
    holds((world) => {
      const { definition, entries } = world.play
      const used = new Map<string, number>()
      for (const entry of entries) {
        if (entry.kind === 'retried') {
          used.delete(`action of ${entry.step}`)
          used.delete(`compensation of ${entry.step}`)
        }
        if (entry.kind !== 'attemptSucceeded' && entry.kind !== 'attemptFailed') continue
        const key = `${entry.direction} of ${entry.step}`
        const count = (used.get(key) ?? 0) + 1
        used.set(key, count)
        const way = stepOf(definition, entry.step)[entry.direction]!
        expect(entry.attempt).toBe(count)
        expect(count).toBeLessThanOrEqual(isAct(way) ? way.retry.maxAttempts : 1)
      }
    })
  })

  test('that a worker loses make their steps uncertain, and no others; waits go on as they were (S17b)', () => {
    always(({ before, after, decision, now }, { world, earlier, definition }) => {
      if (decision.is === 'ignored') return
      const { entry } = decision
      if (entry.kind !== 'leaseLost' && entry.kind !== 'interrupted') return
      const lost = world.deeds.filter(({ did, seq }) => did === 'lost' && seq === earlier.length)
      if (before.status === 'running') for (const { step } of lost) expect(entry.steps).toContain(step)
      else expect(entry.steps).toEqual([])
      for (const step of entry.steps) {
        const { action } = stepOf(definition, step)
        expect(isWait(action) || isChild(action)).toBe(false)
        expect(entryOf(before.waiting, step)).toBeUndefined()
        expect(Date.parse(entryOf(before.dueAt, step) ?? before.startedAt)).toBeLessThanOrEqual(now)
      }
      if (after.status === 'stuck') return
      expect(after.attempts).toEqual(before.attempts)
      expect(after.waiting).toEqual(before.waiting)
    })
  })

  test('that were under way when the saga was parked are uncertain once it moves on (S17b, S30)', () => {
    always(({ before, after, decision }, { world, earlier }) => {
      if (decision.is === 'ignored' || before.stuck?.reason !== 'undecidable') return
      const { kind } = decision.entry
      if (kind !== 'retried' && kind !== 'cancelRequested') return
      const parkedAt = earlier.findLastIndex((entry) => entry.kind === 'parked')
      for (const { did, step, direction, seq } of world.deeds) {
        if (did !== 'lost' || seq !== parkedAt || direction === 'compensation') continue
        // What somebody has called back about meanwhile has succeeded, or failed.
        if (entryOf(before.attempts, step) !== undefined) expect(after.uncertainSteps).toContain(step)
      }
    })
  })

  test('that are pending wait as long as their callback may take, from then on, however often that is said (M3)', () => {
    always(({ before, after, event, decision, now }, { definition, entries }) => {
      if (event?.type !== 'attemptPending' || decision.is === 'ignored') return
      expect(entryOf(before.waiting, event.step)).toBeUndefined()
      if (hasTurned(entries) && event.direction === 'action') {
        if (isForward(after)) expect(entryOf(after.attempts, event.step)).toBeUndefined()
        return
      }
      expect(entryOf(after.attempts, event.step)).toBe(event.attempt)
      const { callbackMs } = actOf(definition, event)
      expect(after.waiting![event.step]).toEqual({ for: 'callback' })
      expect(Date.parse(after.dueAt![event.step]!)).toBe(now + callbackMs!)
    })
  })
})

describe('a saga of a step', () => {
  test('ends it as it ends itself: completed, undone without a trace, or leaving something behind (M4)', () => {
    always(({ event, decision, before }) => {
      if (event?.type !== 'childReported' || !isTerminal(event.status) || isTerminal(before.status)) return
      const isAwaitedHere = Object.values(before.waiting ?? {}).some(
        (one) => one.for === 'saga' && one.sagaId === event.sagaId,
      )
      expect(decision.is).toBe(isAwaitedHere ? 'transition' : 'ignored')
      if (decision.is === 'ignored') return
      const { entry } = decision
      const outcome =
        event.status === 'completed' ? 'succeeded' : event.clean === true ? 'rejected' : 'uncertain'
      expect(entry).toMatchObject({ by: 'child', outcome })
    })
  })

  test('that needs a person shows in the state of the one that waits for it, and no longer when it moves again (M4)', () => {
    holds((world) => {
      const told = new Map<string, boolean>()
      each(world, ({ event, after }, { entries }) => {
        if (event?.type === 'childReported') told.set(event.sagaId, event.status === 'stuck')
        for (const waiting of Object.values(after.waiting ?? {})) {
          if (waiting.for !== 'saga') continue
          expect(waiting.stuck === true).toBe(told.get(waiting.sagaId) ?? false)
          expect(world.children.get(waiting.sagaId)!.seq).toBeLessThanOrEqual(entries.length)
        }
      })
    })
  })

  test('is forgotten by nobody: it has ended before the one that started it does', () => {
    holds((world) => {
      expect(
        world.alive('action', world.play.version).concat(world.alive('compensation', world.play.version)),
      ).toEqual([])
    })
  })
})

describe('what is remembered', () => {
  test('is the history: folding it gives the state, after every prefix (S35)', () => {
    always(({ after }, { entries }) => deepStrictEqual(fold(entries), after))
  })

  test('survives the way through JSON and its schema, state and entry alike', () => {
    always(({ after, decision }) => {
      deepStrictEqual(SagaState.parse(JSON.parse(JSON.stringify(after))), after)
      if (decision.is === 'transition')
        deepStrictEqual(Entry.parse(JSON.parse(JSON.stringify(decision.entry))), decision.entry)
    })
  })

  test('includes every step that may have happened without a word of it, until it has been undone (S9, M3)', () => {
    always(({ after }, { entries }) => {
      const known = uncertain(entries)
      for (const step of compensated(entries)) known.delete(step)
      expect(after.uncertainSteps.toSorted()).toEqual([...known].toSorted())
    })
  })

  test('holds every result exactly once: in the context while it is small, else in its entry (S1, S33)', () => {
    always(({ after }, { entries }) => {
      const names = new Set(['input', ...completed(entries)])
      const inline = Object.keys(after.context)
      const wanted = wantedOf(after)
      expect([...inline, ...wanted.names].toSorted()).toEqual([...names].toSorted())
      expect(missingIn(wanted, valuesFrom(holding(after, entries), wanted))).toBeUndefined()
      for (const entry of entries) {
        if (isDone(entry) && 'result' in entry && entry.spilled !== true)
          expect(entryOf(after.context, entry.step)).toEqual(entry.result)
      }
      expect(after.bytes.inline).toBeLessThanOrEqual(INLINE_BYTES)
      expect(after.bytes.total).toBeLessThanOrEqual(MAX_CONTEXT_BYTES)
    })
  })

  test('of a saga that has ended never changes again (S22)', () => {
    holds((world) => {
      for (const event of world.play.told) world.tell(event)
      for (const { before, decision, after } of world.play.moments) {
        if (!isTerminal(before.status)) continue
        expect(decision.is).toBe('ignored')
        expect(after).toBe(before)
      }
      expect(world.state.attempts).toEqual({})
      expect(
        world.state.waiting ?? world.state.dueAt ?? world.state.gaveUp ?? world.state.stuck,
      ).toBeUndefined()
    })
  })

  test('never changes once it is the first failure, its step or the cause (SagaState)', () => {
    always(({ before, after }) => {
      for (const first of ['failureReason', 'failedStep', 'cause', 'cancel'] as const) {
        if (before[first] !== undefined) expect(after[first]).toEqual(before[first])
      }
    })
  })
})

describe('undoing a completed saga (M5)', () => {
  /** One that has completed, and another world in which it is undone. */
  function undo(recipe: Recipe, law: (world: World, child: World) => void): void {
    const definition = define(recipe.definition.steps, recipe.definition.rest)
    const child = new World(new Play(definition, recipe.input))
    for (const move of recipe.moves.slice(0, 10))
      if (move.do !== 'cancel' && move.do !== 'passDeadline') make(child, move)
    finish(child)
    fc.pre(child.state.status === 'completed' && child.state.pivot !== 'completed')
    const context = { ...child.state.context, ...Object.fromEntries(child.play.spilled) }
    const started = undoEntry({
      sagaId: 'undo-1',
      child: child.state,
      context,
      definition,
      reason: 'the trip is off',
      now: child.play.now,
      parent: { sagaId: 'parent-1', step: 'trip', direction: 'compensation', queue: 'default', depth: 1 },
    })
    law(drive({ ...recipe, moves: recipe.moves.slice(10) }, started), child)
  }

  test('undoes what it owes, in order, and ends completed; abandoned if something was left', () => {
    fc.assert(
      fc.property(recipes, (recipe) => {
        undo(recipe, (world, child) => {
          const { entries, state, definition } = world.play
          const owes = toUndo(definition, child.play.entries)
          expect(undone(entries).length).toBe(owes.reduce((sum, place) => sum + place.size, 0))
          for (const step of undone(entries)) {
            expect([...(owes[0] ?? [])]).toContain(step)
            owes[0]?.delete(step)
            if (owes[0]?.size === 0) owes.shift()
          }
          const isLeft = skipped(entries, 'compensation').length > 0
          expect(state.status).toBe(isLeft ? 'abandoned' : 'completed')
          expect(state.undoOf).toBe('saga-1')
          expect(state.bytes.total).toBe(child.state.bytes.total)
          expect(state.bytes.inline).toBeLessThanOrEqual(INLINE_BYTES)
          expect(dispatchesOf(world).every(({ direction }) => direction === 'compensation')).toBe(true)
          each(world, (moment, seen) => {
            deepStrictEqual(fold(seen.entries), moment.after)
            deepStrictEqual(SagaState.parse(JSON.parse(JSON.stringify(moment.after))), moment.after)
          })
          deepStrictEqual(Entry.parse(JSON.parse(JSON.stringify(entries[0]))), entries[0])
          const wanted = wantedOf(state)
          expect(missingIn(wanted, valuesFrom(holding(state, entries), wanted))).toBeUndefined()
          const names = [...Object.keys(state.context), ...wanted.names]
          expect(names.toSorted()).toEqual(['input', ...child.state.completedSteps].toSorted())
        })
      }),
      { numRuns: runs },
    )
  })
})

function unconditional(step: StepSketch): StepSketch {
  if (typeof step === 'string') return step
  if (step.parallel === undefined) return { ...step, when: undefined }
  return { ...step, parallel: step.parallel.map((one) => ({ ...one, when: undefined })) }
}

test('the plan is what happens, round by round (S28)', () => {
  fc.assert(
    fc.property(definitions, fc.nat(30), (drawn, index) => {
      const definition = define(drawn.steps.map(unconditional), drawn.rest)
      const failAt = definition.steps[index]?.name
      const world = new World(new Play(definition))
      const acts = []
      for (let round = 1; isMoving(world.state.status); round++) {
        const due = next(world.state)
        if (due.act !== 'attempt') throw new Error('what moves has something to do')
        const isFailing = ({ step, direction }: AttemptId) => step === failAt && direction === 'action'
        const inOrder = [...due.attempts.filter((id) => !isFailing(id)), ...due.attempts.filter(isFailing)]
        for (const { step, direction, attempt } of inOrder) {
          const outcome = isFailing({ step, direction, attempt })
            ? ('rejected' as const)
            : ('succeeded' as const)
          acts.push({ step, direction, outcome, round })
          world.tell(ended({ step, direction, attempt }, outcome, null, 4))
        }
      }
      expect(plan(define(drawn.steps, drawn.rest), failAt)).toEqual({ acts, ends: world.state.status })
    }),
    { numRuns: runs },
  )
})

test('the driver gets everywhere', () => {
  const seen = new Set<string>()
  for (const recipe of fc.sample(recipes, { numRuns: 4 * runs, seed: 7 })) {
    const { play } = drive(recipe)
    for (const { decision, before, after } of play.moments) {
      if (decision.is === 'ignored') continue
      const { entry } = decision
      const what = [
        entry.kind,
        after.status,
        after.stuck?.reason,
        after.gaveUp && `${after.status} gaveUp`,
        hasSpilled(after) && 'spilled',
        entry.to.cancelledChildren && 'cancelledChildren',
        entry.to.skipped && 'skipped by condition',
        entry.to.uncertain && 'uncertain callback',
        'by' in entry && entry.by,
        before.status === 'stuck' && entry.kind === 'attemptSucceeded' && 'succeeded while stuck',
        before.status === 'stuck' && entry.kind === 'attemptFailed' && 'failed while stuck',
        Object.keys(after.attempts).length > 3 && 'many at once',
        ...Object.values(after.waiting ?? {}).map((waiting) => `${after.status} for ${waiting.for}`),
      ]
      for (const one of what) if (typeof one === 'string') seen.add(one)
    }
  }
  const kinds = Entry.options
    .map((option) => option.shape.kind.value)
    .filter(
      (kind) =>
        ![
          'sagaStarted',
          'abandoned',
          'lateResult',
          'paused',
          'resumed',
          'broughtForward',
          'signalDropped',
        ].includes(kind),
    )
  expect([...seen]).toEqual(
    expect.arrayContaining([
      ...kinds,
      ...SagaState.shape.status.options.filter((status) => status !== 'abandoned'),
      ...'compensationFailed retriesExhausted crashLoop spilled cancelledChildren callback child'.split(' '),
      'skipped by condition',
      'uncertain callback',
      'succeeded while stuck',
      'failed while stuck',
      'many at once',
      'running gaveUp',
      'compensating gaveUp',
      'stuck gaveUp',
      'running for saga',
      'compensating for saga',
      'stuck for saga',
      'stuck for callback',
      'running for condition',
    ]),
  )
})
