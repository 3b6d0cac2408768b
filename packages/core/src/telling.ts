import { z } from 'zod'
import type { Entry } from './history.ts'
import { isClean, type SagaState, Status, Stuck } from './state.ts'

/** What those who listen are told of a transition: little of it, and never what is in the saga's context. */

export const EVENT_TYPES = [
  'saga.started',
  'saga.running',
  'saga.compensating',
  'saga.stuck',
  'saga.completed',
  'saga.failed',
  'saga.cancelled',
  'saga.abandoned',
  'saga.acted',
  'step.succeeded',
  'step.failed',
  'step.compensated',
  'step.compensationFailed',
] as const
export const EventType = z.enum(EVENT_TYPES)
export type EventType = z.infer<typeof EventType>

const EventData = z.looseObject({
  failureReason: z.string().optional(),
  failedStep: z.string().optional(),
  stuck: Stuck.optional(),
  clean: z.boolean().optional(),
  /** Of an operator's act. */
  verb: z.string().optional(),
  actor: z.string().optional(),
  reason: z.string().optional(),
  refused: z.string().optional(),
  /** Of a step. */
  step: z.string().optional(),
  attempt: z.int().optional(),
  outcome: z.string().optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
})

/** As it leaves with the commit, before it has a place in the feed. */
export const Telling = z.object({
  /** One of EVENT_TYPES, or of those of a later release. */
  type: z.string(),
  at: z.string(),
  sagaId: z.string(),
  definition: z.object({ name: z.string(), version: z.int() }),
  seq: z.int().meta({ description: 'the entry of its history that says the same in full' }),
  status: Status,
  was: Status.optional(),
  data: EventData,
})
export type Telling = z.infer<typeof Telling>

/** `was`: the status before; undefined for what has just been started. `steps`: somebody wants to hear of steps, too. */
export function tellingsOf(
  { was, state, entry, seq }: { was: Status | undefined; state: SagaState; entry: Entry; seq: number },
  { steps }: { steps: boolean },
): Telling[] {
  const { sagaId, definition, status } = state
  const one = (type: EventType, data: Telling['data'], before?: Status): Telling => ({
    type,
    at: entry.at,
    sagaId,
    definition,
    seq,
    status,
    ...(before !== undefined && { was: before }),
    data,
  })
  const tellings: Telling[] = []
  if (steps) tellings.push(...stepOf(entry).map(({ type, data }) => one(type, data)))
  if ('actor' in entry) {
    const { actor, reason } = entry
    const step = 'step' in entry && entry.step !== undefined ? { step: entry.step } : {}
    const refused = entry.kind === 'verbRefused' ? { refused: entry.why } : {}
    const verb = entry.kind === 'verbRefused' ? entry.verb : VERBS[entry.kind]
    tellings.push(one('saga.acted', { verb, actor, reason, ...step, ...refused }))
  }
  if (was !== status)
    tellings.push(one(was === undefined ? 'saga.started' : `saga.${status}`, dataOf(state), was))
  return tellings
}

type Act = Extract<Entry, { actor: string }>['kind']

const VERBS: Readonly<Record<Exclude<Act, 'verbRefused'>, string>> = {
  cancelRequested: 'cancel',
  retried: 'retry',
  skipped: 'skip',
  markedCompensated: 'markCompensated',
  abandoned: 'abandon',
  paused: 'pause',
  resumed: 'resume',
  broughtForward: 'runNow',
}

function dataOf(state: SagaState): Telling['data'] {
  const { failureReason, failedStep, stuck, status } = state
  return {
    ...(failureReason !== undefined && { failureReason }),
    ...(failedStep !== undefined && { failedStep }),
    ...(stuck !== undefined && { stuck }),
    ...((status === 'failed' || status === 'cancelled') && { clean: isClean(state) }),
  }
}

function stepOf(entry: Entry): { type: EventType; data: Telling['data'] }[] {
  if (entry.kind === 'attemptSucceeded') {
    const { step, attempt, direction } = entry
    return [{ type: direction === 'action' ? 'step.succeeded' : 'step.compensated', data: { step, attempt } }]
  }
  if (entry.kind === 'signalReceived') return [{ type: 'step.succeeded', data: { step: entry.step } }]
  if (entry.kind !== 'attemptFailed') return []
  const { step, attempt, direction, outcome, error } = entry
  return [
    {
      type: direction === 'action' ? 'step.failed' : 'step.compensationFailed',
      data: { step, attempt, outcome, error },
    },
  ]
}
