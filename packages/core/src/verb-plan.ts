import { z } from 'zod'
import { next, type Scheduled } from './agenda.ts'
import { owed, stepOf } from './compensation.ts'
import { type Decision, decide } from './decide.ts'
import { isAct, isWait, type ResolvedDefinition, type ResolvedStep } from './definition.ts'
import type { Event } from './event.ts'
import { change } from './history.ts'
import { Direction, isTerminal, type SagaState, Status } from './state.ts'
import { hasEnded, PAST_PIVOT, refusal } from './verbs.ts'

/**
 * What each verb would make of a saga (S30): whether it is possible, and what would run from then on if everything succeeded.
 * It is the engine's own `decide` that is asked, so that this cannot differ from what will happen.
 */

const VERBS = ['retry', 'skip', 'markCompensated', 'abandon', 'cancel', 'pause', 'resume', 'runNow'] as const
type PlannedVerb = (typeof VERBS)[number]

export const PlannedAct = z.object({
  step: z.string(),
  direction: Direction,
  outcome: z.enum(['succeeded', 'rejected']),
  round: z.int().meta({ description: 'from 1; what has the same round is under way together' }),
})
type PlannedAct = z.infer<typeof PlannedAct>

export const VerbPlan = z
  .object({
    verb: z.enum(VERBS),
    possible: z.boolean(),
    why: z.string().optional().meta({ description: 'why it is not possible' }),
    step: z.string().optional().meta({ description: 'the step that it is about' }),
    direction: Direction.optional(),
    acts: z
      .array(PlannedAct)
      .meta({ description: 'what would run if everything succeeded from then on, in order' }),
    ends: Status.meta({ description: 'how the saga would end, or where it would rest' }),
    notes: z.array(z.string()).meta({ description: 'what a person should know before' }),
  })
  .meta({ id: 'VerbPlan' })
export type VerbPlan = z.infer<typeof VerbPlan>

export const SagaPlan = z
  .object({ sagaId: z.string(), version: z.int(), status: Status, verbs: z.array(VerbPlan) })
  .meta({ id: 'SagaPlan', description: 'what each verb would make of the saga as it stands' })
export type SagaPlan = z.infer<typeof SagaPlan>

/** A plan is made at an instant, of a saga at a version. `underWay`: what a worker is carrying out at this moment. */
export type Moment = { now: number; version: number; underWay: readonly string[] }

export function verbPlans(state: SagaState, registered: ResolvedDefinition, moment: Moment): VerbPlan[] {
  const definition = takenToHold(registered)
  return VERBS.map((verb) => planOf(state, definition, verb, moment))
}

/** Of a saga of which nothing can be decided here. It can be abandoned, if it has not ended; the rest is for a worker that can decide. */
export function plansOfUnreadable(status: Status, why: string): VerbPlan[] {
  return VERBS.map((verb): VerbPlan => {
    if (isTerminal(status)) return impossible(verb, status, hasEnded({ status }))
    if (verb === 'abandon') {
      const notes = ['nobody knows what of it is still to be undone']
      return { verb, possible: true, acts: [], ends: 'abandoned', notes }
    }
    if (verb === 'cancel') {
      const notes = [
        'it turns round, unless it is past its pivot, as soon as a worker can decide about it; till then it is stuck',
      ]
      return { verb, possible: true, acts: [], ends: 'stuck', notes }
    }
    if (verb !== 'retry' || status !== 'stuck') return impossible(verb, status, why)
    const notes = ['it goes on if a worker can decide about it by now, and else is stuck again']
    return { verb, possible: true, acts: [], ends: 'stuck', notes }
  })
}

/** The sentence that refuses it, the same wherever it is asked for; or undefined. */
export function whyNot(state: SagaState, verb: PlannedVerb, version: number): string | undefined {
  if (verb === 'abandon' || verb === 'cancel') {
    if (isTerminal(state.status)) return hasEnded(state)
    return verb === 'cancel' && state.pivot !== undefined ? PAST_PIVOT : undefined
  }
  return refusal(state, { verb }, version)
}

function planOf(
  state: SagaState,
  definition: ResolvedDefinition,
  verb: PlannedVerb,
  moment: Moment,
): VerbPlan {
  const why = whyNot(state, verb, moment.version)
  if (why !== undefined) return impossible(verb, state.status, why)
  const isForStuck = verb === 'retry' || verb === 'skip' || verb === 'markCompensated'
  const { step, direction } = state.stuck ?? {}
  const about = isForStuck && step !== null && step !== undefined ? { step, direction } : {}
  const notes = notesOn(state, definition, verb, moment)
  const plan = { verb, possible: true, ...about }
  if (verb === 'abandon') return { ...plan, acts: [], ends: 'abandoned', notes }
  const asked: Event =
    verb === 'cancel'
      ? { type: 'cancelRequested', actor: '', reason: '' }
      : { type: 'verbRequested', verb, actor: '', reason: '' }
  const first = told(state, asked, definition, moment, 0)
  const { acts, end } = ifAllSucceeds(first, definition, moment)
  const passedBy = passedOver(definition, end)
  return { ...plan, acts, ends: end.status, notes: [...notes, ...passedBy] }
}

/** What follows if everything succeeds from here on; of a paused saga, what is under way. */
export function ifAllSucceeds(
  from: SagaState,
  definition: ResolvedDefinition,
  moment: Moment,
): { acts: PlannedAct[]; end: SagaState } {
  const acts: PlannedAct[] = []
  let state = from
  let underWay = [...moment.underWay]
  const most = 3 * definition.steps.length + 3
  for (let round = 1; acts.length <= most; round++) {
    const due = dueIn(state, underWay)
    if (due.length === 0) return { acts, end: state }
    for (const { step, direction, attempt, waiting } of due) {
      if (waiting?.for === 'condition') {
        state = told(state, { type: 'conditionDue' }, definition, { ...moment, underWay }, acts.length)
        continue
      }
      acts.push({ step, direction, outcome: 'succeeded', round })
      underWay = underWay.filter((one) => one !== step)
      const event: Event = {
        type: 'attemptSucceeded',
        step,
        direction,
        attempt,
        result: null,
        resultBytes: 0,
      }
      state = told(state, event, definition, { ...moment, underWay }, acts.length)
    }
  }
  throw new Error(`the plan of saga ${from.sagaId} did not end after ${most} acts`)
}

function dueIn(state: SagaState, underWay: readonly string[]): Scheduled[] {
  const { paused, ...moving } = state
  const due = next(moving)
  if (due.act !== 'attempt') return []
  return paused === undefined ? due.attempts : due.attempts.filter(({ step }) => underWay.includes(step))
}

function told(
  state: SagaState,
  event: Event,
  definition: ResolvedDefinition,
  { now, version, underWay }: Moment,
  later: number,
): SagaState {
  const given = { definition, now, random: 0, version: version + later, underWay }
  const decision: Decision = decide(state, event, given)
  if (decision.is === 'ignored') throw new Error(`the plan came to a halt: ${decision.why}`)
  return decision.state
}

/** What is still to come is not known, and so every condition is taken to hold, as in the plan of a definition (S28). */
function takenToHold(definition: ResolvedDefinition): ResolvedDefinition {
  const unconditional = (steps: readonly ResolvedStep[]) =>
    steps.map((step) => ({ ...step, when: undefined }))
  return {
    ...definition,
    steps: unconditional(definition.steps),
    groups: definition.groups.map((group) => ({ ...group, members: unconditional(group.members) })),
  }
}

function impossible(verb: PlannedVerb, ends: Status, why: string): VerbPlan {
  return { verb, possible: false, why, acts: [], ends, notes: [] }
}

// --- What a person should know -----------------------------------------------------------------------------------

function notesOn(
  state: SagaState,
  definition: ResolvedDefinition,
  verb: PlannedVerb,
  { underWay }: Moment,
): string[] {
  const { stuck, uncertainSteps } = state
  const notes: string[] = []
  const say = (applies: boolean, note: string) => {
    if (applies) notes.push(note)
  }
  const step = stuck?.step ?? ''
  const isUncertain = uncertainSteps.includes(step)
  const back = stuck?.direction === 'compensation'
  if (verb === 'retry') {
    say(
      stuck?.reason === 'undecidable',
      'it goes on as it stood: what may have been under way then is made again under its key, and counts as uncertain',
    )
    say(
      isUncertain && !back,
      `step "${step}" is uncertain: retried under its old key its participant can tell that it was done; with an edited input it has a new key, may be done twice, and must be forced`,
    )
    say(
      back && step !== '',
      `an edited input of the compensation of "${step}" has a new key, may be undone twice, and must be forced`,
    )
  }
  if (verb === 'skip') {
    say(
      back,
      `the compensation of "${step}" is not carried out: its effect stays, and the saga ends abandoned`,
    )
    say(!back, `step "${step}" is not carried out; later steps find no result of it`)
    say(!back && isUncertain, `step "${step}" is uncertain: it may have happened all the same`)
  }
  if (verb === 'markCompensated')
    say(true, `the compensation of "${step}" is not carried out: somebody has done it by hand`)
  if (verb === 'abandon') {
    const left = owed(change(state, { status: 'compensating' }), definition)
    say(left.length > 0, `not undone: ${left.map((name) => `"${name}"`).join(', ')}`)
    say(
      uncertainSteps.length > 0,
      `uncertain, and left so: ${uncertainSteps.map((name) => `"${name}"`).join(', ')}`,
    )
    say(underWay.length > 0, 'attempts under way are called off, and may have had their effect')
  }
  if (verb === 'cancel') {
    say(
      state.status === 'compensating',
      'the saga is being undone already; this changes nothing but its history',
    )
    say(underWay.length > 0, 'attempts under way are let end; what they did is undone with the rest')
    say(state.paused !== undefined, 'the saga is paused; a cancel resumes it')
  }
  if (verb === 'pause') {
    say(underWay.length > 0, 'attempts under way are let end, and recorded')
    say(
      state.status === 'stuck',
      'the saga stays stuck; what a person does about it begins when it is resumed',
    )
    say(state.deadlineAt !== undefined, 'its deadline acts when it is resumed')
  } else if (verb === 'retry' || verb === 'skip' || verb === 'markCompensated') {
    say(state.paused !== undefined, 'the saga is paused: what follows begins when it is resumed')
  }
  if (verb === 'runNow')
    say(true, 'a service whose breaker is open, or that has no room, keeps it waiting all the same')
  return notes
}

/** What was taken for granted, and what nothing undoes. */
function passedOver(definition: ResolvedDefinition, end: SagaState): string[] {
  const isUndone = end.status === 'failed' || end.status === 'cancelled' || end.status === 'abandoned'
  const gone = isUndone ? end.completedSteps : []
  return gone.flatMap((name) => {
    const step = stepOf(definition, name)
    if (step === undefined || step.compensation !== undefined || isWait(step.action)) return []
    const isRead = isAct(step.action) && step.action.call.type === 'http' && step.action.call.method === 'GET'
    return isRead ? [] : [`"${name}" has no compensation: nothing undoes it`]
  })
}
