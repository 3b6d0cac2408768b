import { owed, stepOf } from './compensation.ts'
import type { NextAct } from './contract.ts'
import { type Act, isWait, type ResolvedDefinition, type ResolvedStep } from './definition.ts'
import type { AttemptId, Event } from './event.ts'
import { evaluate, type Values } from './expression.ts'
import { type Change, change, type Entry, note } from './history.ts'
import { type Json, sanitizeText } from './json.ts'
import { retryDelayMs } from './retry.ts'
import { entryOf, isMoving, isTerminal, type SagaState, type Status, type Waiting, without } from './state.ts'

/**
 * The rules. `decide` says what one event makes of a saga; it does nothing, knows no clock and draws no random number.
 *
 * Invariants, proven in decide.laws.test.ts:
 *  1. terminal is absorbing (S22)
 *  2. what is compensated is the reverse of what completed, with uncertain steps that ask for it in their place (S8, S9)
 *  3. nothing is compensated twice (S10)
 *  4. attempts are bounded (S5, S11, S19)
 *  5. every moving saga has an attempt under way or scheduled (S15)
 *  6. folding the entries gives the state (S35)
 *  7. once the pivot has completed nothing is undone (S14)
 */

/** One value of a context, the start input or a result, as JSON in UTF-8 (S32). */
export const MAX_VALUE_BYTES = 1024 * 1024
/** A whole context, as JSON (S32). */
export const MAX_CONTEXT_BYTES = 16 * 1024 * 1024
/** An error's text (S32), and the shorter sentence that travels in every later state. */
export const MAX_ERROR_BYTES = 8 * 1024
const MAX_CODE_BYTES = 128
const MAX_REASON_BYTES = 1024
/** S33: results stay inside the state while it is small enough not to leave its row; this leaves room for the rest of it. */
export const INLINE_BYTES = 1400
/** S19 */
export const MAX_LEASES_LOST = 5
/** M2 */
export const MAX_KEPT_SIGNALS = 100

/** What a decision depends on beside state and event. */
export type Given = {
  definition: ResolvedDefinition
  /** Milliseconds since the epoch, by the database's clock (S18). */
  now: number
  /** In [0, 1): the jitter of a retry, should one be decided. */
  random: number
  /** Values of the context that do not stand in the state itself (S33). */
  spilled?: ReadonlyMap<string, Json> | undefined
  /** The row's version, which is the sequence number of its last entry (S17a). */
  version: number
}

export type Decision = { is: 'transition'; entry: Entry; state: SagaState } | { is: 'ignored'; why: string }

export function decide(state: SagaState, event: Event, given: Given): Decision {
  if (isTerminal(state.status)) return ignored(`the saga is ${state.status}`)
  const at = new Date(given.now).toISOString()
  const record = recorder(state, given)

  switch (event.type) {
    case 'attemptSucceeded': {
      if (!isAwaited(state, event)) return ignored(notAwaited(event))
      const { type: _, ...facts } = event
      if (event.direction === 'compensation') {
        return record({ kind: 'attemptSucceeded', at, ...facts, outcome: 'succeeded' }, (mid) =>
          backward(mid, given),
        )
      }
      if (state.bytes.total + event.resultBytes > MAX_CONTEXT_BYTES) {
        const { step, direction, attempt } = event
        const error = { code: 'CONTEXT_TOO_LARGE', message: tooLarge(state, event.resultBytes) }
        // What a participant did stays done; a delay did nothing.
        const outcome = entryOf(state.waiting, step) === undefined ? 'uncertain' : 'failed'
        return decide(state, { type: 'attemptFailed', step, direction, attempt, outcome, error }, given)
      }
      const spilled = state.bytes.inline + event.resultBytes > INLINE_BYTES
      return record(
        { kind: 'attemptSucceeded', at, ...facts, outcome: 'succeeded', ...(spilled && { spilled }) },
        (mid) => (mid.cause === undefined ? forward(mid, given, event) : backward(mid, given)),
      )
    }

    case 'conditionDue': {
      if (overdue(state, given.now)?.type !== 'conditionDue') return ignored('no condition is waited for')
      return record({ kind: 'conditionChecked', at }, (mid) => proceed(mid, mid.currentStepIndex, given))
    }

    case 'signalReceived': {
      const { signal, letter, payload: result, payloadBytes: resultBytes } = event
      const step = waitingFor(state, signal)
      const [oldest = letter] = entryOf(state.signals, signal) ?? []
      if (step === undefined || oldest !== letter) return keepSignal(state, event, given, record)
      if (state.bytes.total + resultBytes > MAX_CONTEXT_BYTES) {
        const why = tooLarge(state, resultBytes)
        return record({ kind: 'signalDropped', at, signal, letter, why }, () => ({}))
      }
      const spilled = state.bytes.inline + resultBytes > INLINE_BYTES
      return record(
        {
          kind: 'signalReceived',
          at,
          signal,
          letter,
          step,
          result,
          resultBytes,
          ...(spilled && { spilled }),
        },
        (mid) => forward(mid, given, { step, result }),
      )
    }

    case 'attemptFailed': {
      if (!isAwaited(state, event)) return ignored(notAwaited(event))
      const { type: _, retryAfterMs: __, ...told } = event
      const error = {
        code: sanitizeText(event.error.code, MAX_CODE_BYTES),
        message: sanitizeText(event.error.message, MAX_ERROR_BYTES),
      }
      const facts = { ...told, error }
      const failed = { kind: 'attemptFailed', at, ...facts } as const
      const maxAttempts = attemptsOf(given.definition, event)
      const again = event.outcome !== 'rejected' && event.attempt < maxAttempts
      if (event.direction === 'compensation') {
        return record(failed, (mid) => (again ? retry(mid, event, given) : giveUp(mid, facts, given)))
      }
      return record(failed, (mid) => {
        if (mid.cause !== undefined) return backward(mid, given)
        if (again) return retry(mid, event, given)
        const failureReason = reasonOf(facts, maxAttempts)
        if (mid.pivot === 'completed')
          return stuckAt(mid, event.step, 'retriesExhausted', failureReason, given)
        const pivot = mid.pivot === undefined ? {} : { pivot: 'failed' as const }
        return backward(mid, given, { ...pivot, cause: 'failure', failedStep: event.step, failureReason })
      })
    }

    case 'lateResult': {
      const { type: _, ...facts } = event
      return record({ kind: 'lateResult', at, ...facts }, () => ({}))
    }

    case 'leaseLost': {
      if (!isMoving(state.status) || event.leasesLost <= (state.leasesLost ?? 0))
        return ignored('already recorded')
      const { steps, again, suspect } = cutShort(state, given.now)
      return record({ kind: 'leaseLost', at, leasesLost: event.leasesLost, steps }, (mid) =>
        event.leasesLost < MAX_LEASES_LOST ? again : crashLoop(mid, suspect, given),
      )
    }

    case 'interrupted': {
      if (!isMoving(state.status)) return ignored('nothing was under way')
      const { steps, again } = cutShort(state, given.now)
      return record({ kind: 'interrupted', at, steps }, () => again)
    }

    case 'deadlinePassed': {
      if (!deadlineActs(state)) return ignored('the deadline has nothing left to stop')
      const failureReason = `the saga's deadline (${state.deadlineAt}) has passed`
      return record({ kind: 'deadlinePassed', at }, (mid) =>
        turn(mid, { cause: 'deadline', failureReason }, event.underWay, given),
      )
    }

    case 'cancelRequested': {
      const { type: _, underWay, ...facts } = event
      const failureReason = sanitizeText(`cancelled by ${event.actor}: ${event.reason}`, MAX_REASON_BYTES)
      return record({ kind: 'cancelRequested', at, ...facts }, (mid) => {
        // A saga that is stuck going forward turns round now, whether or not it was to turn round before (S25).
        const goesForward =
          mid.status === 'running' ? mid.cause === undefined : mid.stuck?.direction === 'action'
        return goesForward && mid.pivot === undefined
          ? turn(mid, { cause: 'cancel', failureReason }, underWay, given)
          : {}
      })
    }

    case 'verbRequested': {
      const { verb, actor, reason } = event
      const why = refusal(state, event, given.version)
      const step = state.stuck?.step ?? undefined
      if (why !== undefined || state.stuck === undefined || step === undefined) {
        return record(
          { kind: 'verbRefused', at, verb, actor, reason, why: why ?? 'no step is stuck' },
          () => ({}),
        )
      }
      const { direction } = state.stuck
      if (verb === 'retry') {
        return record({ kind: 'retried', at, actor, reason, step }, () =>
          direction === 'action'
            ? { status: 'running' as const, ...proceed(state, state.currentStepIndex, given) }
            : { status: 'compensating', attempts: { [step]: 1 } },
        )
      }
      if (verb === 'markCompensated') {
        return record({ kind: 'markedCompensated', at, actor, reason, step }, (mid) => backward(mid, given))
      }
      return record({ kind: 'skipped', at, actor, reason, step, direction }, (mid) =>
        direction === 'action' && mid.cause === undefined ? forward(mid, given) : backward(mid, given),
      )
    }
  }
}

/** What a saga waits for, as a value: what the worker does, and what the API says will happen next. */
export type Next = { act: 'nothing' } | { act: 'waitForOperator' } | { act: 'attempt'; attempts: Scheduled[] }

/** `waiting`: nobody carries it out; it ends at `dueAt`, or before that when its signal comes. */
export type Scheduled = AttemptId & { dueAt: string | undefined; waiting: Waiting | undefined }

export function next(state: SagaState): Next {
  if (isTerminal(state.status)) return { act: 'nothing' }
  if (state.status === 'stuck') return { act: 'waitForOperator' }
  const direction = state.status === 'compensating' ? 'compensation' : 'action'
  return {
    act: 'attempt',
    attempts: Object.entries(state.attempts).map(([step, attempt]) => ({
      step,
      direction,
      attempt,
      dueAt: entryOf(state.dueAt, step),
      waiting: entryOf(state.waiting, step),
    })),
  }
}

/** `next` as the API shows it: what is absent is left out. */
export function nextAct(state: SagaState): NextAct {
  const due = next(state)
  if (due.act !== 'attempt') return { act: due.act }
  const attempts = due.attempts.map(({ dueAt, waiting, ...id }) => ({
    ...id,
    ...(dueAt !== undefined && { dueAt }),
    ...(waiting !== undefined && { waiting }),
  }))
  return { act: 'attempt', attempts }
}

/** What a wait comes to when its time is over: a delay has done its work, a signal has not come (S7a). */
export function overdue(state: SagaState, now: number): Event | undefined {
  const due = next(state)
  if (due.act !== 'attempt') return undefined
  for (const { step, direction, attempt, dueAt, waiting } of due.attempts) {
    if (waiting === undefined || dueAt === undefined || Date.parse(dueAt) > now) continue
    // It came in time and lies in its letter, however late the letter is read.
    if (waiting.for === 'signal' && entryOf(state.signals, waiting.signal) !== undefined) continue
    if (waiting.for === 'condition') return { type: 'conditionDue' }
    if (waiting.for === 'delay')
      return { type: 'attemptSucceeded', step, direction, attempt, result: null, resultBytes: 4 }
    const error = { code: 'SIGNAL_TIMEOUT', message: `the signal "${waiting.signal}" had not come in time` }
    return { type: 'attemptFailed', step, direction, attempt, outcome: 'failed', error }
  }
  return undefined
}

/** A letter whose signal came before its step, and whose step now waits for it (M2). */
export function keptSignal(state: SagaState): { signal: string; letter: number } | undefined {
  if (state.status !== 'running') return undefined
  for (const waiting of Object.values(state.waiting ?? {})) {
    if (waiting.for !== 'signal') continue
    const [letter] = entryOf(state.signals, waiting.signal) ?? []
    if (letter !== undefined) return { signal: waiting.signal, letter }
  }
  return undefined
}

/**
 * When a worker must look at the saga again, in milliseconds since the epoch: its earliest attempt or its deadline.
 * `undefined` where no time will change anything: the saga has ended or a person must act.
 */
export function wakeAt(state: SagaState, now: number): number | undefined {
  const due = next(state)
  if (due.act !== 'attempt') return undefined
  const attempts = due.attempts.map(({ dueAt }) => (dueAt === undefined ? now : Date.parse(dueAt)))
  if (deadlineActs(state)) attempts.push(Date.parse(state.deadlineAt))
  return Math.min(...attempts)
}

/** Has the deadline passed, with something left for it to stop? */
export function isPastDeadline(state: SagaState, now: number): boolean {
  return deadlineActs(state) && Date.parse(state.deadlineAt) <= now
}

/** A deadline stops what goes forward; it stops no compensation, and nothing once the pivot is under way (S7). */
function deadlineActs(state: SagaState): state is SagaState & { deadlineAt: string } {
  return (
    state.deadlineAt !== undefined &&
    state.status === 'running' &&
    state.cause === undefined &&
    state.pivot === undefined
  )
}

/** The next step in the order of the definition, or the end (S1). The pivot is behind once it is done, or was skipped. */
function forward(state: SagaState, given: Given, latest?: Latest): Change {
  const pivot =
    given.definition.steps[state.currentStepIndex]?.pivot === true ? { pivot: 'completed' as const } : {}
  return { ...pivot, ...proceed(change(state, pivot), state.currentStepIndex + 1, given, latest) }
}

/** Comes to the first step from `index` on whose condition holds; the saga is completed if there is none. */
function proceed(state: SagaState, index: number, given: Given, latest?: Latest): Change {
  const { definition, now } = given
  const skipped: string[] = []
  for (let at = index; at < definition.steps.length; at++) {
    const step = stepAt(definition, at)
    const holds = step.when === undefined || evaluate(step.when, scopeOf(state, given, step.name, latest))
    const passed = skipped.length > 0 ? { skipped } : {}
    if (holds !== true && !holds.ok)
      return { ...passed, currentStepIndex: at, ...undecided(state, step.name, holds.detail, given) }
    if (holds === true || holds.value === true)
      return { ...running(state), ...passed, ...enter(definition, at, now) }
    skipped.push(step.name)
  }
  return {
    status: 'completed',
    currentStepIndex: definition.steps.length,
    attempts: {},
    ...(skipped.length > 0 && { skipped }),
  }
}

/** A condition nobody can answer fails its step for good: no retry would answer it either. */
function undecided(state: SagaState, step: string, detail: string, given: Given): Change {
  const failureReason = sanitizeText(
    `the condition of step "${step}" cannot be evaluated: ${detail}`,
    MAX_REASON_BYTES,
  )
  if (state.pivot === 'completed') return stuckAt(state, step, 'retriesExhausted', failureReason, given)
  return backward(state, given, { cause: 'failure', failedStep: step, failureReason })
}

/** What a condition may ask about. */
function scopeOf(state: SagaState, { spilled = new Map() }: Given, step: string, latest?: Latest): Values {
  const context: Record<string, Json> = { ...state.context, ...Object.fromEntries(spilled) }
  if (latest !== undefined) context[latest.step] = latest.result
  const { name, version } = state.definition
  return {
    input: entryOf(context, 'input') ?? null,
    context,
    saga: { id: state.sagaId, definition: name, version, step },
  }
}

/** A result that is too large for the state stands nowhere else yet. */
type Latest = { step: string; result: Json }

/** Where a saga begins: at its first step, or at that step's condition. */
export function beginning(definition: ResolvedDefinition, now: number): Change {
  const first = stepAt(definition, 0)
  if (first.when === undefined) return enter(definition, 0, now)
  const dueAt = { [first.name]: new Date(now).toISOString() }
  return { attempts: { [first.name]: 1 }, dueAt, waiting: { [first.name]: { for: 'condition' } } }
}

/** What it means to come to a step: its first attempt, or the beginning of its wait. */
function enter(definition: ResolvedDefinition, currentStepIndex: number, now: number): Change {
  const { name, action, pivot } = stepAt(definition, currentStepIndex)
  const attempts = { [name]: 1 }
  if (!isWait(action)) return { currentStepIndex, attempts, ...(pivot && { pivot: 'dispatched' }) }
  const waitMs = action.for === 'delay' ? action.delayMs : action.timeoutMs
  const waiting: Waiting =
    action.for === 'delay' ? { for: 'delay' } : { for: 'signal', signal: action.signal }
  return {
    currentStepIndex,
    attempts,
    dueAt: { [name]: new Date(now + waitMs).toISOString() },
    waiting: { [name]: waiting },
  }
}

function stepAt(definition: ResolvedDefinition, index: number): ResolvedStep {
  const step = definition.steps[index]
  if (step === undefined) throw new Error(`definition "${definition.name}" has no step ${index}`)
  return step
}

/** The next step to undo, or the end (S8). `why` is given by what turned the saga round. */
function backward(state: SagaState, { definition }: Given, why: Change = {}): Change {
  const mid = change(state, why)
  const [step] = owed(mid, definition)
  return step === undefined
    ? { ...why, status: endOf(mid), attempts: {} }
    : {
        ...why,
        ...(state.status === 'compensating' ? {} : { status: 'compensating' as const }),
        attempts: { [step]: 1 },
      }
}

/** Turns a saga round at once, or as soon as the attempt that is under way has ended (S25). */
function turn(state: SagaState, why: Change, underWay: boolean, given: Given): Change {
  return underWay && state.status === 'running' ? why : backward(state, given, why)
}

function endOf(state: SagaState): Status {
  if ((state.skippedCompensations ?? []).length > 0) return 'abandoned'
  return state.cause === 'cancel' ? 'cancelled' : 'failed'
}

function running(state: SagaState): Change {
  return state.status === 'running' ? {} : { status: 'running' }
}

function retry(
  state: SagaState,
  failed: AttemptId & { retryAfterMs?: number | undefined },
  given: Given,
): Change {
  const act = actOf(given.definition, failed)
  const delayMs = retryDelayMs(act.retry, failed.attempt, given.random, failed.retryAfterMs)
  return {
    attempts: { ...state.attempts, [failed.step]: failed.attempt + 1 },
    dueAt: { ...state.dueAt, [failed.step]: new Date(given.now + delayMs).toISOString() },
  }
}

/** S12: a compensation that cannot be done goes to a person; none is skipped ahead of it. */
function giveUp(
  state: SagaState,
  event: AttemptId & { error: { code: string; message: string } },
  given: Given,
): Change {
  const message = sanitizeText(
    `the compensation of step "${event.step}" failed on attempt ${event.attempt}: ${event.error.code}: ${event.error.message}`,
    MAX_REASON_BYTES,
  )
  return stuckAt(state, event.step, 'compensationFailed', message, given)
}

function crashLoop(state: SagaState, step: string | undefined, given: Given): Change {
  const message = `${MAX_LEASES_LOST} workers in a row died while they held this saga at step "${step ?? '?'}", without progress between`
  return stuckAt(state, step, 'crashLoop', message, given)
}

function stuckAt(
  state: SagaState,
  step: string | undefined,
  reason: 'compensationFailed' | 'retriesExhausted' | 'crashLoop',
  message: string,
  given: Given,
): Change {
  const direction = state.status === 'compensating' ? 'compensation' : 'action'
  const since = new Date(given.now).toISOString()
  return {
    status: 'stuck',
    attempts: state.attempts,
    stuck: { step: step ?? null, direction, reason, message, since },
  }
}

/** Why a verb is not possible, or undefined. */
export function refusal(
  state: Pick<SagaState, 'status' | 'stuck'>,
  {
    verb,
    step,
    decidedOn,
  }: {
    verb: 'retry' | 'skip' | 'markCompensated'
    step?: string | undefined
    decidedOn?: number | undefined
  },
  version: number,
): string | undefined {
  const { stuck } = state
  if (state.status !== 'stuck' || stuck === undefined)
    return `the saga is ${state.status}; only a stuck saga takes this verb`
  if (decidedOn !== undefined && decidedOn !== version) {
    return `decided on version ${decidedOn}, but the saga has moved on to version ${version}; read it again`
  }
  if (stuck.step === null) return 'no step is known to be stuck; the saga can only be abandoned'
  if (step !== undefined && step !== stuck.step)
    return `the saga is stuck at step "${stuck.step}", not at "${step}"`
  if (verb === 'markCompensated' && stuck.direction === 'action') {
    return `step "${stuck.step}" is stuck going forward; there is no compensation to mark as done`
  }
  return undefined
}

/**
 * Attempts whose end nobody will hear of: each runs again under its number, and an action among them is uncertain (S17b).
 */
function cutShort(
  state: SagaState,
  now: number,
): { steps: string[]; again: Change; suspect: string | undefined } {
  const dispatched = dueNow(state, now)
  const dueAt = without(state.dueAt ?? {}, dispatched)
  return {
    steps: state.status === 'running' ? dispatched : [],
    again: {
      attempts: state.attempts,
      ...(Object.keys(dueAt).length > 0 && { dueAt }),
      ...(state.waiting !== undefined && { waiting: state.waiting }),
    },
    suspect: dispatched[0] ?? Object.keys(state.attempts)[0],
  }
}

/** The attempts that may have been dispatched: those without a due time, or with one that has come. Nobody dispatches a wait. */
export function dueNow(state: SagaState, now: number): string[] {
  return Object.keys(state.attempts).filter((step) => {
    if (entryOf(state.waiting, step) !== undefined) return false
    const dueAt = entryOf(state.dueAt, step)
    return dueAt === undefined || Date.parse(dueAt) <= now
  })
}

/** What is carried out in this direction of a step. */
export function actOf(definition: ResolvedDefinition, { step, direction }: AttemptId): Act {
  const act = stepOf(definition, step)?.[direction]
  // The schedule only ever names what the pinned definition has: anything else is a bug.
  if (act === undefined || isWait(act))
    throw new Error(
      `definition "${definition.name}" version ${definition.version} has no ${direction} of step "${step}" to carry out`,
    )
  return act
}

/** A wait is waited out once (S7a). */
function attemptsOf(definition: ResolvedDefinition, id: AttemptId): number {
  const action = stepOf(definition, id.step)?.action
  return id.direction === 'action' && action !== undefined && isWait(action)
    ? 1
    : actOf(definition, id).retry.maxAttempts
}

/** Duplicates and results of attempts that are no longer current change nothing. */
function isAwaited(state: SagaState, { step, direction, attempt }: AttemptId): boolean {
  const due = next(state)
  if (due.act !== 'attempt') return false
  return due.attempts.some(
    (one) => one.step === step && one.direction === direction && one.attempt === attempt,
  )
}

function notAwaited({ step, direction, attempt }: AttemptId): string {
  return `attempt ${attempt} of the ${direction} of step "${step}" is not awaited`
}

function tooLarge(state: SagaState, bytes: number): string {
  return `the result has ${bytes} bytes and the context already ${state.bytes.total}; together they may have ${MAX_CONTEXT_BYTES}`
}

function waitingFor(state: SagaState, signal: string): string | undefined {
  if (state.status !== 'running' || state.cause !== undefined) return undefined
  return Object.entries(state.waiting ?? {}).find(
    ([, waiting]) => waiting.for === 'signal' && waiting.signal === signal,
  )?.[0]
}

/**
 * M2: it waits for its step in its letter, first in first out. A letter that is kept already stays where it is. What no step
 * of the definition ever waits for is not kept: the state would grow with every name that somebody thinks of.
 */
function keepSignal(
  state: SagaState,
  { signal, letter }: { signal: string; letter: number },
  { definition, now }: Given,
  record: ReturnType<typeof recorder>,
): Decision {
  const at = new Date(now).toISOString()
  const kept = entryOf(state.signals, signal) ?? []
  if (
    !definition.steps.some(
      ({ action }) => isWait(action) && action.for === 'signal' && action.signal === signal,
    )
  ) {
    return record(
      { kind: 'signalDropped', at, signal, letter, why: 'no step waits for this signal' },
      () => ({}),
    )
  }
  if (kept.includes(letter)) return ignored(`signal "${signal}" is kept already, and no step waits for it`)
  if (kept.length < MAX_KEPT_SIGNALS) return record({ kind: 'signalKept', at, signal, letter }, () => ({}))
  const why = `${MAX_KEPT_SIGNALS} signals of this name are kept already`
  return record({ kind: 'signalDropped', at, signal, letter, why }, () => ({}))
}

function reasonOf(
  event: AttemptId & { outcome: string; error: { code: string; message: string } },
  maxAttempts: number,
): string {
  const which = `step "${event.step}" ${event.outcome === 'rejected' ? 'was rejected' : 'failed'} on attempt ${event.attempt} of ${maxAttempts}`
  return sanitizeText(`${which}: ${event.error.code}: ${event.error.message}`, MAX_REASON_BYTES)
}

function ignored(why: string): Decision {
  return { is: 'ignored', why }
}

type Fact = Entry extends infer E ? (E extends { to: Change } ? Omit<E, 'to'> : never) : never

/** Completes a fact with what follows from it, and the state with both. */
function recorder(state: SagaState, given: Given) {
  return (fact: Fact, follow: (mid: SagaState) => Change): Decision => {
    const draft: Entry = { ...fact, to: {} }
    const mid = note(state, draft, given.version + 1)
    const to = follow(mid)
    return { is: 'transition', entry: { ...draft, to }, state: change(mid, to) }
  }
}
