import { z } from 'zod'
import type { Json } from './json.ts'
import {
  Cause,
  Direction,
  entryOf,
  InputOverrides,
  isTerminal,
  overrideOf,
  Parent,
  type SagaState,
  Status,
  Stuck,
  StuckReason,
  Waiting,
  without,
} from './state.ts'

/**
 * The history: one entry per transition, in order, append-only. An entry states a fact and, under `to`, what changed
 * with it; nothing in it needs the definition or the rules to be understood. Folding the entries gives the state (S35).
 */

const JsonValue = z.custom<Json>((value) => value !== undefined)
const Attempt = { step: z.string(), direction: Direction, attempt: z.int().min(1) }
/** A participant was asked what became of an attempt, and this is what came of it. In the order of asking. */
export const Probed = z.object({
  of: Direction,
  answer: z.enum(['happened', 'willNotHappen', 'unknown']),
  why: z.string().optional(),
})
export type Probed = z.infer<typeof Probed>
const Probes = { probes: z.array(Probed).optional() }
/** How long it was under way, by the worker's monotonic clock: decides nothing. */
const Took = { tookMs: z.int().min(0).optional() }
const Letter = { signal: z.string(), letter: z.int().min(1) }
const Act = { actor: z.string(), reason: z.string() }
const by = z.enum(['callback', 'child']).optional()

/** What a person asks of a saga's holder, beside a cancel (S30). */
export const Verb = z.enum(['retry', 'skip', 'markCompensated', 'pause', 'resume', 'runNow'])
export type Verb = z.infer<typeof Verb>

/** What a person has put in the place of the step's input, and the generation of its keys from then on (S30a). */
const Edited = z.object({
  direction: Direction,
  input: JsonValue,
  inputBytes: z.int(),
  generation: z.int().min(2),
  forced: z.literal(true).optional(),
})

/** What a saga that undoes another one begins with: where that one stood when it had completed (M5). */
const Undo = z.object({
  of: z.string(),
  completedSteps: z.array(z.string()),
  uncertainSteps: z.array(z.string()),
  children: z.record(z.string(), z.string()).optional(),
  /** By the name of the step. */
  results: z.record(z.string(), JsonValue),
  resultsBytes: z.int(),
  /** The generations of its keys, where they were raised. */
  inputOverrides: InputOverrides.optional(),
})

/** What a fact changed beside itself. `attempts`, `dueAt` and `waiting` replace the schedule as a whole. */
export const Change = z.object({
  status: Status.optional(),
  currentStepIndex: z.int().min(0).optional(),
  attempts: z.record(z.string(), z.int().min(1)).optional(),
  dueAt: z.record(z.string(), z.string()).optional(),
  waiting: z.record(z.string(), Waiting).optional(),
  pivot: z.enum(['dispatched', 'completed', 'failed']).optional(),
  /** Steps that are no longer waited for and may yet happen, or whose undo left something in doubt. */
  uncertain: z.array(z.string()).optional(),
  /** Replaces those that had given up. */
  gaveUp: z.record(z.string(), z.object({ reason: StuckReason, message: z.string() })).optional(),
  /** Sagas that are told to turn round, too; the news rides in the same commit (M4). */
  cancelledChildren: z.array(z.string()).optional(),
  /** Steps whose condition was false. */
  skipped: z.array(z.string()).optional(),
  failureReason: z.string().optional(),
  failedStep: z.string().optional(),
  cause: Cause.optional(),
  stuck: Stuck.optional(),
})
export type Change = z.infer<typeof Change>

const facts = [
  z.object({
    kind: z.literal('sagaStarted'),
    at: z.string(),
    sagaId: z.string(),
    definition: z.object({ name: z.string(), version: z.int() }),
    input: JsonValue,
    inputBytes: z.int(),
    spilled: z.boolean().optional(),
    deadlineAt: z.string().optional(),
    correlationId: z.string().optional(),
    traceparent: z.string().optional(),
    parent: Parent.optional(),
    undo: Undo.optional(),
    to: Change,
  }),
  z.object({
    kind: z.literal('attemptSucceeded'),
    at: z.string(),
    ...Attempt,
    outcome: z.literal('succeeded'),
    ...Probes,
    ...Took,
    result: JsonValue,
    resultBytes: z.int(),
    spilled: z.boolean().optional(),
    by,
    to: Change,
  }),
  /** The participant has taken it on; its callback is waited for (M3). */
  z.object({ kind: z.literal('attemptPending'), at: z.string(), ...Attempt, ...Probes, ...Took, to: Change }),
  z.object({
    kind: z.literal('childStarted'),
    at: z.string(),
    ...Attempt,
    child: z.object({
      sagaId: z.string(),
      definition: z.object({ name: z.string(), version: z.int() }),
    }),
    to: Change,
  }),
  /** It needs a person, or does so no more. */
  z.object({
    kind: z.literal('childReported'),
    at: z.string(),
    step: z.string(),
    child: z.string(),
    status: Status,
    to: Change,
  }),
  z.object({
    kind: z.literal('signalReceived'),
    at: z.string(),
    ...Letter,
    step: z.string(),
    result: JsonValue,
    resultBytes: z.int(),
    spilled: z.boolean().optional(),
    to: Change,
  }),
  /** It came before its step, and waits in its letter (M2). */
  z.object({ kind: z.literal('signalKept'), at: z.string(), ...Letter, to: Change }),
  z.object({ kind: z.literal('signalDropped'), at: z.string(), ...Letter, why: z.string(), to: Change }),
  z.object({
    kind: z.literal('attemptFailed'),
    at: z.string(),
    ...Attempt,
    outcome: z.enum(['rejected', 'failed', 'uncertain']),
    error: z.object({ code: z.string(), message: z.string() }),
    by,
    ...Probes,
    ...Took,
    to: Change,
  }),
  z.object({
    kind: z.literal('lateResult'),
    at: z.string(),
    ...Attempt,
    outcome: z.enum(['succeeded', 'rejected', 'failed', 'uncertain']),
    to: Change,
  }),
  z.object({
    kind: z.literal('leaseLost'),
    at: z.string(),
    leasesLost: z.int(),
    steps: z.array(z.string()),
    to: Change,
  }),
  z.object({ kind: z.literal('interrupted'), at: z.string(), steps: z.array(z.string()), to: Change }),
  z.object({ kind: z.literal('conditionChecked'), at: z.string(), to: Change }),
  /** What had given up while others were under way waited for them no longer. */
  z.object({ kind: z.literal('waitedNoLonger'), at: z.string(), to: Change }),
  z.object({ kind: z.literal('deadlinePassed'), at: z.string(), to: Change }),
  z.object({ kind: z.literal('cancelRequested'), at: z.string(), ...Act, to: Change }),
  z.object({
    kind: z.literal('retried'),
    at: z.string(),
    ...Act,
    step: z.string().optional().meta({ description: 'absent where the saga was stuck at no step' }),
    edited: Edited.optional(),
    to: Change,
  }),
  z.object({
    kind: z.literal('skipped'),
    at: z.string(),
    ...Act,
    step: z.string(),
    direction: Direction,
    to: Change,
  }),
  z.object({ kind: z.literal('markedCompensated'), at: z.string(), ...Act, step: z.string(), to: Change }),
  z.object({
    kind: z.literal('verbRefused'),
    at: z.string(),
    ...Act,
    verb: Verb,
    why: z.string(),
    to: Change,
  }),
  z.object({ kind: z.literal('paused'), at: z.string(), ...Act, to: Change }),
  z.object({ kind: z.literal('resumed'), at: z.string(), ...Act, to: Change }),
  /** What was scheduled for later is due now. */
  z.object({
    kind: z.literal('broughtForward'),
    at: z.string(),
    ...Act,
    steps: z.array(z.string()),
    to: Change,
  }),
  /** Written by a statement of its own, which reads no state (S30b). */
  z.object({ kind: z.literal('abandoned'), at: z.string(), ...Act, to: Change }),
  /** Written by a statement of its own: nothing could be decided about this saga. */
  z.object({ kind: z.literal('parked'), at: z.string(), reason: z.string(), to: Change }),
] as const

/** One entry as it is stored, without its sequence number, epoch and worker, which are columns of their own. */
export const Entry = z.discriminatedUnion('kind', facts)
export type Entry = z.infer<typeof Entry>
export type Kind = Entry['kind']
/** An entry before it is known what follows from it. */
export type Fact = Entry extends infer E ? (E extends { to: Change } ? Omit<E, 'to'> : never) : never
export type Started = Extract<Entry, { kind: 'sagaStarted' }>

/** The state a saga starts in: what its first entry says. */
export function begin(entry: Started): SagaState {
  const { undo } = entry
  const spilled = entry.spilled === true
  const context = { input: entry.input, ...undo?.results }
  const bytes = entry.inputBytes + (undo?.resultsBytes ?? 0)
  const state: SagaState = {
    sagaId: entry.sagaId,
    definition: entry.definition,
    status: 'running',
    currentStepIndex: 0,
    completedSteps: undo?.completedSteps ?? [],
    compensatedSteps: [],
    context: spilled ? {} : context,
    startedAt: entry.at,
    updatedAt: entry.at,
    uncertainSteps: undo?.uncertainSteps ?? [],
    skippedSteps: [],
    attempts: {},
    bytes: { inline: spilled ? 0 : bytes, total: bytes },
  }
  if (undo !== undefined) {
    state.undoOf = undo.of
    if (undo.children !== undefined) state.children = undo.children
    if (undo.inputOverrides !== undefined) state.inputOverrides = undo.inputOverrides
  }
  if (entry.parent !== undefined) state.parent = entry.parent
  if (entry.deadlineAt !== undefined) state.deadlineAt = entry.deadlineAt
  if (entry.correlationId !== undefined) state.correlationId = entry.correlationId
  if (entry.traceparent !== undefined) state.traceparent = entry.traceparent
  return change(state, entry.to)
}

/** The state after one more entry, which has sequence number `seq`. */
export function apply(state: SagaState, entry: Entry, seq: number): SagaState {
  return change(note(state, entry, seq), entry.to)
}

/** Folds a whole history, first entry first, into the state it leads to. */
export function fold(entries: readonly Entry[]): SagaState {
  const [first, ...rest] = entries
  if (first?.kind !== 'sagaStarted') throw new Error('a history begins with sagaStarted')
  return rest.reduce((state, entry, index) => apply(state, entry, index + 2), begin(first))
}

/** What the fact itself says, before anything that follows from it. */
export function note(before: SagaState, entry: Entry, seq: number): SagaState {
  const state: SagaState = { ...before, updatedAt: entry.at }
  switch (entry.kind) {
    case 'sagaStarted':
      throw new Error('a saga starts once')
    case 'attemptSucceeded':
      delete state.leasesLost
      state.uncertainSteps = state.uncertainSteps.filter((name) => name !== entry.step)
      if (entry.direction === 'compensation') {
        state.compensatedSteps = [...state.compensatedSteps, entry.step]
        return state
      }
      state.completedSteps = [...state.completedSteps, entry.step]
      return keep(state, entry)
    case 'signalReceived':
      delete state.leasesLost
      dropLetter(state, entry.signal, entry.letter)
      state.completedSteps = [...state.completedSteps, entry.step]
      return keep(state, entry)
    case 'signalKept':
      state.signals = {
        ...state.signals,
        [entry.signal]: [...(entryOf(state.signals, entry.signal) ?? []), entry.letter],
      }
      return state
    case 'childStarted':
      delete state.leasesLost
      if (entry.direction === 'action')
        state.children = { ...state.children, [entry.step]: entry.child.sagaId }
      return state
    case 'attemptPending':
      delete state.leasesLost
      return state
    case 'attemptFailed':
      delete state.leasesLost
      if (entry.direction === 'compensation') return state
      if (entry.outcome === 'uncertain') addUncertain(state, [entry.step])
      else if (isWithdrawn(entry.probes) && overrideOf(state, entry)?.forced !== true) {
        state.uncertainSteps = state.uncertainSteps.filter((name) => name !== entry.step)
      }
      return state
    case 'leaseLost':
      state.leasesLost = entry.leasesLost
      addUncertain(state, entry.steps)
      return state
    case 'interrupted':
      addUncertain(state, entry.steps)
      return state
    case 'cancelRequested':
      state.cancel ??= { actor: entry.actor, reason: entry.reason, at: entry.at }
      // A cancel resumes (S30a).
      delete state.paused
      return state
    case 'paused':
      state.paused = { actor: entry.actor, reason: entry.reason, at: entry.at }
      return state
    case 'resumed':
      delete state.paused
      return state
    case 'skipped':
      delete state.leasesLost
      if (entry.direction === 'compensation') {
        state.skippedCompensations = [...(state.skippedCompensations ?? []), entry.step]
      } else {
        state.skippedSteps = [...state.skippedSteps, entry.step]
      }
      return state
    case 'markedCompensated':
      delete state.leasesLost
      state.uncertainSteps = state.uncertainSteps.filter((name) => name !== entry.step)
      state.compensatedSteps = [...state.compensatedSteps, entry.step]
      return state
    case 'retried':
      delete state.leasesLost
      if (entry.step !== undefined && entry.edited !== undefined) {
        const { direction, generation, forced } = entry.edited
        const override = { generation, seq, ...(forced && { forced }) }
        const ways = { ...entryOf(state.inputOverrides, entry.step), [direction]: override }
        state.inputOverrides = { ...state.inputOverrides, [entry.step]: ways }
      }
      return state
    case 'broughtForward':
      return state
    case 'signalDropped':
      dropLetter(state, entry.signal, entry.letter)
      return state
    case 'childReported':
    case 'conditionChecked':
    case 'waitedNoLonger':
    case 'deadlinePassed':
    case 'lateResult':
    case 'verbRefused':
    case 'abandoned':
    case 'parked':
      return state
  }
}

/** What followed from the fact. */
export function change(before: SagaState, to: Change): SagaState {
  const state: SagaState = { ...before }
  if (to.status !== undefined) {
    state.status = to.status
    if (to.status !== 'stuck') {
      delete state.stuck
      // Whatever the saga does now, it is not what its workers died of (S19).
      delete state.leasesLost
    }
  }
  if (to.currentStepIndex !== undefined) state.currentStepIndex = to.currentStepIndex
  if (to.attempts !== undefined) {
    state.attempts = to.attempts
    if (to.dueAt === undefined) delete state.dueAt
    else state.dueAt = to.dueAt
    if (to.waiting === undefined) delete state.waiting
    else state.waiting = to.waiting
  }
  if (to.skipped !== undefined) state.skippedSteps = [...state.skippedSteps, ...to.skipped]
  if (to.pivot === 'failed') delete state.pivot
  else if (to.pivot !== undefined) state.pivot = to.pivot
  // The first cause stands: a later failure never overwrites it.
  if (to.failureReason !== undefined) state.failureReason ??= to.failureReason
  if (to.failedStep !== undefined) state.failedStep ??= to.failedStep
  if (to.cause !== undefined) state.cause ??= to.cause
  if (to.uncertain !== undefined) addUncertain(state, to.uncertain)
  if (to.gaveUp !== undefined) {
    if (Object.keys(to.gaveUp).length > 0) state.gaveUp = to.gaveUp
    else delete state.gaveUp
  }
  if (to.stuck !== undefined) state.stuck = to.stuck
  if (isTerminal(state.status)) {
    state.attempts = {}
    delete state.dueAt
    delete state.waiting
    delete state.gaveUp
    delete state.paused
  }
  return state
}

/** A value that is small, with those before it, stands in the state; another in its entry alone (S33). */
function keep(
  state: SagaState,
  {
    step,
    result,
    resultBytes,
    spilled,
  }: { step: string; result: Json; resultBytes: number; spilled?: boolean | undefined },
): SagaState {
  const { inline, total } = state.bytes
  if (spilled !== true) state.context = { ...state.context, [step]: result }
  state.bytes = { inline: spilled === true ? inline : inline + resultBytes, total: total + resultBytes }
  return state
}

/** A kept signal is used up; one that was never kept leaves nothing to drop. */
function dropLetter(state: SagaState, signal: string, letter: number): void {
  const left = (entryOf(state.signals, signal) ?? []).filter((one) => one !== letter)
  const others = without(state.signals ?? {}, [signal])
  const signals = left.length > 0 ? { ...others, [signal]: left } : others
  if (Object.keys(signals).length > 0) state.signals = signals
  else delete state.signals
}

/**
 * One promise covers every attempt before it, since all have one key; what this attempt itself left open is its outcome. It
 * does not cover those under an older key, which a person vouched for (S30a).
 */
function isWithdrawn(probes: readonly Probed[] = []): boolean {
  return probes.some(({ of, answer }) => of === 'action' && answer === 'willNotHappen')
}

function addUncertain(state: SagaState, steps: readonly string[]): void {
  const done = state.completedSteps.filter((name) => !state.compensatedSteps.includes(name))
  const known = new Set([...state.uncertainSteps, ...done])
  const added = steps.filter((name) => !known.has(name))
  if (added.length > 0) state.uncertainSteps = [...state.uncertainSteps, ...added]
}
