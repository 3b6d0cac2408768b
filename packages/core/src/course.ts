import { type Agenda, agendaWith, agendaWithout, directionOf, dueNow, isEmpty } from './agenda.ts'
import { nextOwed, stepOf } from './compensation.ts'
import { isChild, isWait, type ResolvedDefinition, type ResolvedStep } from './definition.ts'
import { evaluate, type Values } from './expression.ts'
import { type Change, change } from './history.ts'
import { instantText } from './instant.ts'
import { type Json, sanitizeText } from './json.ts'
import { MAX_REASON_BYTES } from './limits.ts'
import { entryOf, type SagaState, type Status, type Stuck, type Waiting } from './state.ts'
import { contextOf, type Spilled } from './values.ts'

/**
 * The course of a saga: onward through the groups of its definition, round, and back. Each function says what follows
 * from a state in which a fact has been noted already.
 */

/** What a decision depends on beside state and event. */
export type Given = {
  definition: ResolvedDefinition
  /** Milliseconds since the epoch, by the database's clock (S18). */
  now: number
  /** In [0, 1): the jitter of a retry, should one be decided. */
  random: number
  /** Values of the context that do not stand in the state itself (S33). */
  spilled?: Spilled | undefined
  /** Steps of which an attempt is running at this moment: they are let end, whatever happens to the saga (S7, S25). */
  underWay?: readonly string[] | undefined
  /** The row's version, which is the sequence number of its last entry (S17a). */
  version: number
}

/** A result that is too large for the state stands nowhere else yet. */
export type Latest = { step: string; result: Json }

/** Why automation gives up on one step. */
export type GaveUp = { reason: Stuck['reason']; message: string }

/** Where a saga begins: at its first group, or at the conditions of that. */
export function beginning(definition: ResolvedDefinition, now: number): Change {
  const members = definition.groups[0]?.members ?? []
  const [first] = members
  if (first === undefined) throw new Error(`definition "${definition.name}" has no steps`)
  if (members.every(({ when }) => when === undefined)) return entering(members, 0, now)
  const dueAt = { [first.name]: instantText(now) }
  return { attempts: { [first.name]: 1 }, dueAt, waiting: { [first.name]: { for: 'condition' } } }
}

/** What follows when `ended` is over: done, passed over or undone. */
export function goOn(state: SagaState, ended: string, given: Given, latest?: Latest): Change {
  return settle(state, agendaWithout(state, [ended]), given, latest)
}

/**
 * What follows when the agenda has become `left`: what is running is let end first; what gave up goes to a person; and
 * when a group is done, the next one comes. Where a person is to act first, or to resume the saga, nothing follows till then:
 * a pivot that nobody dispatches must not stand in the state as dispatched.
 */
export function settle(before: SagaState, left: Agenda, given: Given, latest?: Latest): Change {
  if (before.status === 'stuck' || before.paused !== undefined || isRunning(left, given)) return left
  const state = change(before, left)
  const [gaveUp] = Object.entries(state.gaveUp ?? {})
  if (gaveUp !== undefined) {
    const [failedStep, { message }] = gaveUp
    if (state.status === 'compensating' || state.pivot === 'completed')
      return stuckOver(state, gaveUp, left, given)
    return turn(state, { cause: 'failure', failedStep, failureReason: message }, given)
  }
  if (state.status === 'compensating' || state.cause !== undefined)
    return isEmpty(left) ? backward(state, given) : left
  return onward(state, state.currentStepIndex, given, latest)
}

/**
 * Comes to the first group from `index` on that has something left to do, and begins what is not under way there already;
 * the saga is completed if there is none.
 */
export function onward(state: SagaState, index: number, given: Given, latest?: Latest): Change {
  const { definition, now } = given
  const { groups } = definition
  const isBegun = (name: string) =>
    entryOf(state.attempts, name) !== undefined ||
    entryOf(state.gaveUp, name) !== undefined ||
    state.completedSteps.includes(name) ||
    state.skippedSteps.includes(name)
  const skipped: string[] = []
  let { pivot } = state
  for (let at = index; at < groups.length; at++) {
    const members: ResolvedStep[] = []
    for (const step of groups[at]?.members ?? []) {
      if (isBegun(step.name)) continue
      const holds = step.when === undefined || evaluate(step.when, scopeOf(state, given, step.name, latest))
      if (holds !== true && !holds.ok) {
        const so = { ...passed(state, pivot, skipped), currentStepIndex: at }
        return { ...so, ...undecided(change(state, so), step.name, holds.detail, given) }
      }
      if (holds === true || holds.value === true) members.push(step)
      else skipped.push(step.name)
    }
    if (members.length > 0 || Object.keys(state.attempts).length > 0) {
      const entered = entering(members, at, now, state)
      return { ...running(state), ...passed(state, pivot, skipped), ...entered }
    }
    // A pivot that its condition has skipped was never dispatched, and takes no way back.
    if (pivot === 'dispatched') pivot = 'completed'
  }
  return {
    ...passed(state, pivot, skipped),
    status: 'completed',
    currentStepIndex: groups.length,
    attempts: {},
  }
}

/**
 * What a person's retry makes of the step that the saga was stuck over: its attempts are counted afresh. Where somebody else
 * is to end it, it is waited on for; where that has happened meanwhile, the saga goes on.
 */
export function again(state: SagaState, step: string, given: Given): Change {
  const isForward = directionOf(state) === 'action'
  const done = isForward ? state.completedSteps : state.compensatedSteps
  const waiting = entryOf(state.waiting, step)
  if (waiting !== undefined) {
    const dueAt = entryOf(state.dueAt, step)
    return agendaWith(state, step, { attempt: 1, waiting, ...(dueAt !== undefined && { dueAt }) })
  }
  // A saga that is to turn round begins nothing more: a child that it does not wait for has ended.
  if (
    done.includes(step) ||
    (isForward && state.cause !== undefined && isChildAction(given.definition, step))
  )
    return goOn(state, step, given)
  if (!isForward || state.cause !== undefined) return agendaWith(state, step, { attempt: 1 })
  return onward(change(state, agendaWithout(state, [step])), state.currentStepIndex, given)
}

/** The next step to undo, or the end (S8). `why` is given by what turned the saga round. */
export function backward(state: SagaState, { definition }: Given, why: Change = {}): Change {
  const mid = change(state, why)
  const steps = nextOwed(mid, definition)
  if (steps.length === 0) return { ...why, status: endOf(mid), attempts: {} }
  return {
    ...why,
    ...(state.status === 'compensating' ? {} : { status: 'compensating' as const }),
    attempts: Object.fromEntries(steps.map((step) => [step, 1])),
  }
}

/**
 * Turns a saga round: at once, or as soon as the attempts that are running have ended, and the sagas it has started, which
 * turn round, too (S7, S25, S7a). Nothing else is waited for; what a participant was to call back about may yet happen.
 */
export function turn(before: SagaState, why: Change, given: Given): Change {
  const uncertain = stepsWaitingFor(before, 'callback')
  const so = {
    ...why,
    ...(uncertain.length > 0 && { uncertain }),
    // It goes to no person any more: the saga leaves it behind.
    ...(before.gaveUp !== undefined && { gaveUp: {} }),
  }
  const kept = new Set([...stepsWaitingFor(before, 'saga'), ...(given.underWay ?? [])])
  const left = agendaWithout(
    before,
    Object.keys(before.attempts).filter((step) => !kept.has(step)),
  )
  if (isEmpty(left)) return backward(before, given, so)
  const { waiting, cancelled } = cancelChildren(left.waiting ?? {})
  return {
    ...so,
    ...(before.status === 'stuck' && { status: 'running' as const }),
    ...left,
    ...(Object.keys(waiting).length > 0 && { waiting }),
    ...(cancelled.length > 0 && { cancelledChildren: cancelled }),
  }
}

/** One step has failed for good, and no way leads back from it: once nothing else is running it goes to a person (S12). */
export function giveUp(state: SagaState, step: string, why: GaveUp, given: Given): Change {
  const left = agendaWithout(state, [step])
  const isElsewhere = state.status === 'stuck' && state.stuck?.step !== step
  if (isElsewhere || isRunning(left, given)) return { ...left, gaveUp: { ...state.gaveUp, [step]: why } }
  return stuckAt(state, step, why, left, given)
}

/** What is scheduled stays so, and goes on when a person has acted. */
function stuckAt(
  state: SagaState,
  step: string | undefined,
  { reason, message }: GaveUp,
  left: Agenda,
  given: Given,
): Change {
  const direction = directionOf(state)
  const since = instantText(given.now)
  return { status: 'stuck', ...left, stuck: { step: step ?? null, direction, reason, message, since } }
}

/** S19: one step goes to a person. It loses its place unless somebody else is to end it: a participant or a child. */
export function crashLooped(
  state: SagaState,
  step: string | undefined,
  message: string,
  given: Given,
): Change {
  const waiting = entryOf(state.waiting, step ?? '')?.for
  const isTold = waiting === 'callback' || waiting === 'saga'
  const left = agendaWithout(state, step === undefined || isTold ? [] : [step])
  return stuckAt(state, step, { reason: 'crashLoop', message }, left, given)
}

/** A condition nobody can answer fails its step for good: no retry would answer it either. */
function undecided(state: SagaState, step: string, detail: string, given: Given): Change {
  const message = sanitizeText(
    `the condition of step "${step}" cannot be evaluated: ${detail}`,
    MAX_REASON_BYTES,
  )
  if (state.pivot === 'completed') return giveUp(state, step, { reason: 'retriesExhausted', message }, given)
  const why = { cause: 'failure', failedStep: step, failureReason: message } as const
  return turn(state, why, given)
}

function stuckOver(state: SagaState, [step, why]: [string, GaveUp], left: Agenda, given: Given): Change {
  const { [step]: _, ...gaveUp } = state.gaveUp ?? {}
  return { ...stuckAt(state, step, why, left, given), gaveUp }
}

/** What it means to come to steps: their first attempt, or the beginning of their wait. What is under way there goes on. */
function entering(
  members: readonly ResolvedStep[],
  currentStepIndex: number,
  now: number,
  state?: SagaState,
): Change {
  const attempts: Record<string, number> = { ...state?.attempts }
  const dueAt: Record<string, string> = { ...state?.dueAt }
  const waiting: Record<string, Waiting> = { ...state?.waiting }
  for (const { name, action } of members) {
    attempts[name] = 1
    if (!isWait(action)) continue
    const waitMs = action.for === 'delay' ? action.delayMs : action.timeoutMs
    dueAt[name] = new Date(now + waitMs).toISOString()
    waiting[name] = action.for === 'delay' ? { for: 'delay' } : { for: 'signal', signal: action.signal }
  }
  return {
    currentStepIndex,
    attempts,
    ...(Object.keys(dueAt).length > 0 && { dueAt }),
    ...(Object.keys(waiting).length > 0 && { waiting }),
    ...(members.some(({ pivot }) => pivot) && { pivot: 'dispatched' as const }),
  }
}

/** What changed on the way to a group, beside the group itself. */
function passed(state: SagaState, pivot: SagaState['pivot'], skipped: string[]): Change {
  return {
    ...(pivot !== undefined && pivot !== state.pivot && { pivot }),
    ...(skipped.length > 0 && { skipped }),
  }
}

/** What a condition may ask about. */
function scopeOf(state: SagaState, { spilled = new Map() }: Given, step: string, latest?: Latest): Values {
  const { input, context } = contextOf(state, spilled)
  if (latest !== undefined) context[latest.step] = latest.result
  const { name, version } = state.definition
  return {
    input,
    context,
    saga: { id: state.sagaId, definition: name, version, step },
  }
}

function isRunning({ attempts }: Agenda, { underWay = [] }: Given): boolean {
  return underWay.some((step) => entryOf(attempts, step) !== undefined)
}

function stepsWaitingFor({ waiting = {} }: SagaState, what: Waiting['for']): string[] {
  return Object.keys(waiting).filter((step) => entryOf(waiting, step)?.for === what)
}

function cancelChildren(waiting: Record<string, Waiting>) {
  const cancelled: string[] = []
  const told = Object.entries(waiting).map(([step, wait]) => {
    if (wait.for !== 'saga' || wait.cancelled === true) return [step, wait] as const
    cancelled.push(wait.sagaId)
    return [step, { ...wait, cancelled: true as const }] as const
  })
  return { waiting: Object.fromEntries(told), cancelled }
}

/** S9 and M5: a saga that undoes another one has done all that it was to do when everything is undone. */
function endOf(state: SagaState): Status {
  if ((state.skippedCompensations ?? []).length > 0) return 'abandoned'
  if (state.undoOf !== undefined) return 'completed'
  return state.cause === 'cancel' ? 'cancelled' : 'failed'
}

function running(state: SagaState): Change {
  return state.status === 'running' ? {} : { status: 'running' }
}

export function isChildAction(definition: ResolvedDefinition, step: string): boolean {
  const action = stepOf(definition, step)?.action
  return action !== undefined && isChild(action)
}

/**
 * What a person's word makes of a saga. Where nothing could be decided about it any more it was let go as it stood: what may
 * have been under way then has an end that nobody has heard of, and counts as uncertain (S17b).
 */
export function moveOn(mid: SagaState, given: Given, follow: (known: SagaState) => Change): Change {
  const { stuck } = mid
  if (stuck?.reason !== 'undecidable') return follow(mid)
  const { steps } = cutShort(given.definition, mid, dueNow(mid, Date.parse(stuck.since)))
  const { uncertain = [], ...followed } = follow(change(mid, { uncertain: steps }))
  const all = [...steps, ...uncertain]
  return { ...followed, ...(all.length > 0 && { uncertain: all }) }
}

/** The attempts whose end nobody will hear of. A child cannot have been started without a word in the history. */
export function cutShort(
  definition: ResolvedDefinition,
  state: SagaState,
  steps: readonly string[],
): { steps: string[]; left: Agenda } {
  const lost = steps.filter((step) => !isChildAction(definition, step))
  const dueAt = Object.entries(state.dueAt ?? {}).filter(([step]) => !steps.includes(step))
  return {
    steps: directionOf(state) === 'action' ? lost : [],
    left: {
      attempts: state.attempts,
      ...(dueAt.length > 0 && { dueAt: Object.fromEntries(dueAt) }),
      ...(state.waiting !== undefined && { waiting: state.waiting }),
    },
  }
}
