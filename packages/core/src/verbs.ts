import { agendaWith, agendaWithout, isPastDeadline } from './agenda.ts'
import { stepOf } from './compensation.ts'
import { again, type Given, goOn, isChildAction, moveOn, settle, turn } from './course.ts'
import type { ResolvedDefinition } from './definition.ts'
import type { Event } from './event.ts'
import { type Change, change, type Fact } from './history.ts'
import { instantText } from './instant.ts'
import { byteLength } from './json.ts'
import { entryOf, generationOf, isTerminal, type SagaState } from './state.ts'

/** What a person asks of a saga (S30, S30a): when it is possible, why it is not, and what it makes of the saga. */

type Requested = Extract<Event, { type: 'verbRequested' }>
export type Asked = Pick<Requested, 'verb' | 'step' | 'decidedOn' | 'input' | 'force'>

/** What is looked at. */
type Standing = Pick<
  SagaState,
  | 'status'
  | 'stuck'
  | 'cause'
  | 'attempts'
  | 'waiting'
  | 'completedSteps'
  | 'compensatedSteps'
  | 'uncertainSteps'
  | 'paused'
>

export const PAST_PIVOT = 'the saga is past its pivot: it can only be finished, no longer be undone'

export function hasEnded({ status }: Pick<SagaState, 'status'>): string {
  return `the saga has ended: it is ${status}`
}

/** Why a verb is not possible, or undefined. The definition is looked at where an input is to be replaced. */
export function refusal(
  state: Standing,
  asked: Asked,
  version: number,
  definition?: ResolvedDefinition,
): string | undefined {
  if (isTerminal(state.status)) return hasEnded(state)
  const { verb, decidedOn } = asked
  const isForStuck = verb === 'retry' || verb === 'skip' || verb === 'markCompensated'
  if (isForStuck && (state.status !== 'stuck' || state.stuck === undefined))
    return `the saga is ${state.status}; only a stuck saga takes this verb`
  // Where nothing could be decided, the mail before this is read with it: it moves the saga on, and changes nothing of why it is stuck.
  const isAsItStood = state.stuck?.reason === 'undecidable'
  if (decidedOn !== undefined && decidedOn !== version && !isAsItStood) {
    return `decided on version ${decidedOn}, but the saga has moved on to version ${version}; read it again`
  }
  switch (verb) {
    case 'pause':
      return state.paused === undefined ? undefined : `the saga is paused already, by ${state.paused.actor}`
    case 'resume':
      return state.paused === undefined ? 'the saga is not paused' : undefined
    case 'runNow':
      return runNowRefusal(state)
    default:
      return stuckRefusal(state, { ...asked, verb }, definition)
  }
}

function runNowRefusal({ status, paused, attempts, waiting }: Standing): string | undefined {
  if (paused !== undefined) return 'the saga is paused; resume it first'
  if (status === 'stuck') return 'the saga is stuck; nothing goes on until a person has acted on its step'
  const isOurs = (step: string) => isScheduled(entryOf(waiting, step)?.for)
  return Object.keys(attempts).some(isOurs)
    ? undefined
    : 'nothing is scheduled for later: what the saga waits for comes from outside'
}

function stuckRefusal(
  state: Standing,
  { verb, step, input, force }: Asked & { verb: 'retry' | 'skip' | 'markCompensated' },
  definition: ResolvedDefinition | undefined,
): string | undefined {
  const { stuck } = state
  if (stuck === undefined || stuck.step === null) {
    // Nothing could be decided about it, or its workers died with nothing under way: what stopped them may be mended by now.
    const isPlain = verb === 'retry' && input === undefined && step === undefined
    return isPlain ? undefined : 'the saga is stuck at no step; it can only be retried as it is, or abandoned'
  }
  if (step !== undefined && step !== stuck.step)
    return `the saga is stuck at step "${stuck.step}", not at "${step}"`
  if (verb === 'markCompensated' && stuck.direction === 'action') {
    return `step "${stuck.step}" is stuck going forward; there is no compensation to mark as done`
  }
  if (verb === 'retry' && input === undefined) return undefined
  const only = verb === 'retry' ? 'retried as it is' : 'retried'
  // What workers died of while it was waited for may still be ended by others.
  if (entryOf(state.waiting, stuck.step) !== undefined)
    return `step "${stuck.step}" is still waited for; it can only be ${only}, which waits on`
  const { completedSteps, compensatedSteps } = state
  if ((stuck.direction === 'action' ? completedSteps : compensatedSteps).includes(stuck.step))
    return `step "${stuck.step}" has been done meanwhile; it can only be ${only}, which goes on from there`
  if (verb !== 'retry') return undefined
  return inputRefusal(state, { step: stuck.step, direction: stuck.direction }, force === true, definition)
}

/** S30a: is there an input to replace, and would the old key's effect be known? */
function inputRefusal(
  state: Standing,
  { step, direction }: { step: string; direction: 'action' | 'compensation' },
  force: boolean,
  definition: ResolvedDefinition | undefined,
): string | undefined {
  const way = definition && stepOf(definition, step)?.[direction]
  if (way !== undefined && 'undoes' in way)
    return `step "${step}" is undone by a saga of its own; what that one is given can be edited there`
  if (way !== undefined && 'for' in way) return `step "${step}" waits, and takes no input`
  if (way !== undefined && 'call' in way && way.call.type === 'http' && way.call.method === 'GET')
    return `the ${direction} of step "${step}" is a GET, which sends no body: there is no input to replace`
  if (definition && direction === 'action' && state.cause !== undefined && isChildAction(definition, step))
    return `the saga is to turn round, and step "${step}" starts no saga any more`
  if (force) return undefined
  if (direction === 'compensation')
    return `an earlier attempt of the compensation of step "${step}" may have had its effect, and under a new key it may be had twice; force it if you know better`
  return state.uncertainSteps.includes(step)
    ? `step "${step}" is uncertain: it may have happened, and under a new key it may happen twice; force it if you know better`
    : undefined
}

/** An operator's verb as a fact, and what follows from it. */
export function byOperator(
  state: SagaState,
  event: Requested,
  given: Given,
): { fact: Fact; follow: (mid: SagaState) => Change } {
  const { verb, actor, reason } = event
  const by = { at: instantText(given.now), actor, reason }
  const refused = (why: string) => ({
    fact: { kind: 'verbRefused', ...by, verb, why } as const,
    follow: () => ({}),
  })
  const why = refusal(state, event, given.version, given.definition)
  if (why !== undefined) return refused(why)
  switch (verb) {
    case 'pause':
      return { fact: { kind: 'paused', ...by }, follow: () => ({}) }
    case 'resume':
      return { fact: { kind: 'resumed', ...by }, follow: (mid) => resumed(mid, given) }
    case 'runNow': {
      const steps = scheduledLater(state, given.now)
      return {
        fact: { kind: 'broughtForward', ...by, steps },
        follow: (mid) => broughtForward(mid, steps, by.at),
      }
    }
    default:
      break
  }
  if (state.stuck === undefined) return refused('no step is stuck')
  const { direction } = state.stuck
  const status = direction === 'action' ? ('running' as const) : ('compensating' as const)
  /** What is no longer stuck goes the way it went. */
  const unstuck = (mid: SagaState, follow: (moving: SagaState) => Change): Change => ({
    status,
    ...follow(change(mid, { status })),
  })
  const step = state.stuck.step ?? undefined
  if (step === undefined) {
    return {
      fact: { kind: 'retried', ...by },
      follow: (mid) => moveOn(mid, given, (known) => unstuck(known, (moving) => resumed(moving, given))),
    }
  }
  if (verb === 'retry') {
    const { input, force } = event
    const edited = input !== undefined && {
      edited: {
        direction,
        input,
        inputBytes: byteLength(JSON.stringify(input)),
        generation: generationOf(state, { step, direction }) + 1,
        ...(force === true && { forced: true as const }),
      },
    }
    return {
      fact: { kind: 'retried', ...by, step, ...edited },
      follow: (mid) => unstuck(mid, (moving) => again(moving, step, given)),
    }
  }
  const over = (mid: SagaState) => unstuck(mid, (moving) => goOn(moving, step, given))
  if (verb === 'markCompensated') return { fact: { kind: 'markedCompensated', ...by, step }, follow: over }
  return { fact: { kind: 'skipped', ...by, step, direction }, follow: over }
}

/** What a pause has held back, or a worker that could decide nothing, goes on; a deadline that has passed meanwhile acts first. */
export function resumed(mid: SagaState, given: Given): Change {
  if (isPastDeadline(mid, given.now)) return pastDeadline(mid, mid.deadlineAt, given)
  // It is looked at before anything else, by a worker.
  if (Object.values(mid.waiting ?? {}).some((waiting) => waiting.for === 'condition')) return {}
  return settle(mid, agendaWithout(mid, []), given)
}

export function pastDeadline(mid: SagaState, deadlineAt: string | undefined, given: Given): Change {
  const failureReason = `the saga's deadline (${deadlineAt}) has passed`
  return turn(mid, { cause: 'deadline', failureReason }, given)
}

/** What nobody outside decides about: a back-off, and a delay. */
function isScheduled(waitingFor: string | undefined): boolean {
  return waitingFor === undefined || waitingFor === 'delay'
}

function scheduledLater(state: SagaState, now: number): string[] {
  return Object.entries(state.dueAt ?? {})
    .filter(([step, dueAt]) => isScheduled(entryOf(state.waiting, step)?.for) && Date.parse(dueAt) > now)
    .map(([step]) => step)
}

function broughtForward(before: SagaState, steps: readonly string[], at: string): Change {
  let state = before
  for (const step of steps) {
    const waiting = entryOf(state.waiting, step)
    const attempt = entryOf(state.attempts, step) ?? 1
    const slot = waiting === undefined ? { attempt } : { attempt, waiting, dueAt: at }
    state = change(state, agendaWith(state, step, slot))
  }
  if (steps.length === 0) return {}
  const { attempts, dueAt, waiting } = state
  return { attempts, ...(dueAt !== undefined && { dueAt }), ...(waiting !== undefined && { waiting }) }
}
