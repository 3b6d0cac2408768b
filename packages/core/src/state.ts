import { z } from 'zod'
import type { Json } from './json.ts'

/**
 * SagaState: the one document that says where a saga is. It is persisted as JSONB after every transition and returned
 * by the API under these names. Words and rules: docs/reference/semantics.md.
 */

export const Status = z.enum([
  'running',
  'compensating',
  'stuck',
  'completed',
  'failed',
  'cancelled',
  'abandoned',
])
export type Status = z.infer<typeof Status>

export const Direction = z.enum(['action', 'compensation'])
export type Direction = z.infer<typeof Direction>

/** Why a saga turned round. The first cause decides between `failed` and `cancelled`. */
export const Cause = z.enum(['failure', 'cancel', 'deadline'])
export type Cause = z.infer<typeof Cause>

/** Why automation gave up on a saga. */
export const StuckReason = z.enum(['compensationFailed', 'retriesExhausted', 'crashLoop', 'undecidable'])
export type StuckReason = z.infer<typeof StuckReason>

export const Stuck = z.object({
  step: z.string().nullable(),
  direction: Direction,
  reason: StuckReason,
  message: z.string(),
  since: z.string(),
})
export type Stuck = z.infer<typeof Stuck>

/** Who started this saga, and waits for its end (M4). */
export const Parent = z.object({
  sagaId: z.string(),
  step: z.string(),
  direction: Direction,
  queue: z.string(),
  /** From 1: how many sagas stand above this one. */
  depth: z.int().min(1),
})
export type Parent = z.infer<typeof Parent>

const Act = z.object({ actor: z.string(), reason: z.string(), at: z.string() })

/** An input that a person has put in the place of a step's own (S30a). The value stands in history entry `seq`. */
export const InputOverride = z.object({
  generation: z.int().min(2),
  /** Absent in a saga that undoes another one: what that one's action was given is not given again. */
  seq: z.int().optional(),
  /** An attempt under an older key may have had its effect; a person vouched for it. */
  forced: z.literal(true).optional(),
})
export type InputOverride = z.infer<typeof InputOverride>
export const InputOverrides = z.record(
  z.string(),
  z.object({ action: InputOverride.optional(), compensation: InputOverride.optional() }),
)
export type InputOverrides = z.infer<typeof InputOverrides>

const JsonValue = z.custom<Json>((value) => value !== undefined)
const Steps = z.array(z.string())

export const Waiting = z.discriminatedUnion('for', [
  z.object({ for: z.literal('delay') }),
  /** The first step's condition: a worker looks at it, whoever starts the saga does not. */
  z.object({ for: z.literal('condition') }),
  z.object({ for: z.literal('signal'), signal: z.string() }),
  /** The participant has taken it on, and says later how it ended (M3). */
  z.object({ for: z.literal('callback') }),
  /** The end of a saga of its own: the step itself, or the undoing of one (M4, M5). */
  z.object({
    for: z.literal('saga'),
    sagaId: z.string(),
    /** It needs a person: that is what this saga waits for in truth. */
    stuck: z.literal(true).optional(),
    /** It has been told to turn round. */
    cancelled: z.literal(true).optional(),
  }),
])
export type Waiting = z.infer<typeof Waiting>

export const SagaState = z.object({
  sagaId: z.string(),
  definition: z.object({ name: z.string(), version: z.int() }),
  status: Status,
  /** The place in the definition's list of steps; a parallel group is one place. */
  currentStepIndex: z.int().min(0),
  /** Names, in order of completion. */
  completedSteps: Steps,
  /** Names, in order of compensation. */
  compensatedSteps: Steps,
  /** `input`, and each completed step's result under its name. What is not here stands in its history entry alone (S33). */
  context: z.record(z.string(), JsonValue),
  startedAt: z.string(),
  updatedAt: z.string(),
  failureReason: z.string().optional(),
  /** The step that failed for good and so turned the saga round. */
  failedStep: z.string().optional(),
  cause: Cause.optional(),
  /** Steps one of whose attempts was uncertain and none succeeded; children whose undo left such a one (M5a). */
  uncertainSteps: Steps,
  /** Steps that were passed over: an operator skipped their action, or their condition was false. */
  skippedSteps: Steps,
  /** Steps whose compensation an operator skipped: the saga ends `abandoned`. */
  skippedCompensations: Steps.optional(),
  /** The attempt each step is at: under way, or about to be once `dueAt` has come. */
  attempts: z.record(z.string(), z.int().min(1)),
  /** When a scheduled attempt is due; a step without an entry here is dispatched at once. */
  dueAt: z.record(z.string(), z.string()).optional(),
  /** Steps that no worker carries out: they end at their `dueAt`, or by what they wait for. */
  waiting: z.record(z.string(), Waiting).optional(),
  /** Signals that came before their step: name → the letters they came in, first in first out (M2). */
  signals: z.record(z.string(), z.array(z.int())).optional(),
  /** The step after which nothing is undone: about to be tried, or done (S14). */
  pivot: z.enum(['dispatched', 'completed']).optional(),
  /** Members that failed for good while others of their group were still under way: the saga will be stuck over them. */
  gaveUp: z.record(z.string(), z.object({ reason: StuckReason, message: z.string() })).optional(),
  parent: Parent.optional(),
  /** Step → the saga that carried it out. */
  children: z.record(z.string(), z.string()).optional(),
  /** The completed saga that this one undoes (M5). */
  undoOf: z.string().optional(),
  deadlineAt: z.string().optional(),
  cancel: Act.optional(),
  /** Nothing new is dispatched until somebody resumes it (S30a). */
  paused: Act.optional(),
  /** Step → direction → what a person has put in the place of its input (S30a). */
  inputOverrides: InputOverrides.optional(),
  stuck: Stuck.optional(),
  /** Leases lost with their worker since the last commit of progress (S19). */
  leasesLost: z.int().min(1).optional(),
  /** Bytes of the values as JSON: of those in `context`, and of all. */
  bytes: z.object({ inline: z.int(), total: z.int() }),
  correlationId: z.string().optional(),
  traceparent: z.string().optional(),
})
export type SagaState = z.infer<typeof SagaState>

export const TERMINAL = ['completed', 'failed', 'cancelled', 'abandoned'] as const
export type Terminal = (typeof TERMINAL)[number]

export function isTerminal(status: Status): status is Terminal {
  return status === 'completed' || status === 'failed' || status === 'cancelled' || status === 'abandoned'
}

/** Does the saga need nobody but a worker? If not it has ended or a person must act. */
export function isMoving(status: Status): boolean {
  return status === 'running' || status === 'compensating'
}

/** S9: `failed` and `cancelled` are clean when nothing uncertain is left; the other ends speak for themselves. */
export function isClean(state: SagaState): boolean {
  return (state.status === 'failed' || state.status === 'cancelled') && state.uncertainSteps.length === 0
}

export type Way = { step: string; direction: Direction }

/**
 * Of a step, in its idempotency keys and callback tokens: raised when a person changes its input, since the old key would
 * bring the old answer (S30a).
 */
export function generationOf(state: Pick<SagaState, 'inputOverrides'>, way: Way): number {
  return overrideOf(state, way)?.generation ?? 1
}

export function overrideOf(
  { inputOverrides }: Pick<SagaState, 'inputOverrides'>,
  { step, direction }: Way,
): InputOverride | undefined {
  return entryOf(inputOverrides, step)?.[direction]
}

/** A map's own entry. Steps may be named `constructor` or `toString`: what an object inherits is not an entry. */
export function entryOf<T>(map: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined
}

/** The map without some keys. */
export function without<T>(map: Readonly<Record<string, T>>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(map).filter(([key]) => !keys.includes(key)))
}
