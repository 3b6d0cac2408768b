import { z } from 'zod'
import { Name } from './definition.ts'
import { Entry } from './history.ts'
import type { Json } from './json.ts'
import { Direction, SagaState, Status, Stuck, Waiting } from './state.ts'

/** The shapes of the REST API, shared by the server that validates them, the client that sends them and the OpenAPI page. */

export const JsonValue = z
  .custom<Json>((value) => value !== undefined)
  .meta({ description: 'any JSON value' })
export const Instant = z.iso.datetime({ offset: true })

/** A key the caller chose: visible text without control characters. */
export const CallerKey = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'has a control character or half of a surrogate pair')

export const Tags = z
  .record(z.string(), z.string().max(255))
  .superRefine((tags, context) => {
    const names = Object.keys(tags)
    if (names.length > 20)
      context.addIssue({ code: 'custom', message: `${names.length} tags; the most is 20` })
    for (const name of names) {
      if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) {
        const message = 'a tag is named with 1 to 64 letters, digits, "_", "." or "-"'
        context.addIssue({ code: 'custom', path: [name], message })
      }
    }
  })
  .meta({ description: 'up to 20 labels to find the saga by' })

export const StartSaga = z
  .strictObject({
    definition: Name,
    version: z.int().min(1).optional().meta({ description: 'the highest, if absent' }),
    input: JsonValue.default(null).meta({ description: 'any JSON value, checked against the inputSchema' }),
    sagaKey: CallerKey.optional().meta({
      description: "the caller's own name for this saga, unique within the definition",
    }),
    correlationId: CallerKey.optional(),
    tags: Tags.optional(),
    deadlineMs: z
      .int()
      .min(1)
      .max(366 * 86_400_000)
      .optional(),
  })
  .meta({ id: 'StartSaga' })
export type StartSaga = z.infer<typeof StartSaga>
/** What a caller writes, before defaults. */
export type StartSagaInput = z.input<typeof StartSaga>

/** What the engine will do next with a saga, and when. */
export const NextAct = z
  .object({
    act: z.enum(['nothing', 'waitForOperator', 'attempt']),
    attempts: z
      .array(
        z.object({
          step: z.string(),
          direction: Direction,
          attempt: z.int(),
          dueAt: z.string().optional(),
          waiting: Waiting.optional().meta({
            description: 'nobody carries it out: it ends at dueAt, or by its signal',
          }),
        }),
      )
      .optional(),
    /** The worker that holds the saga now. */
    worker: z.string().optional(),
    /** True when it is due and no live worker serves its queue (S20). */
    waitingForWorker: z.boolean().optional(),
  })
  .meta({ id: 'NextAct' })
export type NextAct = z.infer<typeof NextAct>

/** What the row knows beside the state. */
const RowFacts = {
  version: z.int().meta({ description: 'the sequence number of the last history entry; the ETag' }),
  sagaKey: z.string().optional(),
  tags: z.record(z.string(), z.string()),
  endedAt: z.string().optional(),
}

/** A saga as the API returns it: its state with every value in place, and what happens next. */
export const Saga = SagaState.omit({ bytes: true, traceparent: true })
  .extend({
    ...RowFacts,
    clean: z.boolean().optional().meta({ description: 'for failed and cancelled: no effect is uncertain' }),
    unreadable: z
      .string()
      .optional()
      .meta({ description: 'what of the stored saga cannot be shown, and why' }),
    next: NextAct,
  })
  .meta({ id: 'Saga' })
export type Saga = z.infer<typeof Saga>

export const SagaSummary = z
  .object({
    sagaId: z.string(),
    definition: z.object({ name: z.string(), version: z.int() }),
    status: Status,
    startedAt: z.string(),
    updatedAt: z.string(),
    completedSteps: z.array(z.string()),
    compensatedSteps: z.array(z.string()),
    uncertainSteps: z.array(z.string()),
    currentSteps: z.array(z.string()).meta({ description: 'under way, or waited for' }),
    dueAt: z.string().optional().meta({ description: 'when the first of them that is put off is due' }),
    paused: z.boolean(),
    clean: z.boolean().optional().meta({ description: 'for failed and cancelled: no effect is uncertain' }),
    correlationId: z.string().optional(),
    failureReason: z.string().optional(),
    failedStep: z.string().optional(),
    stuck: Stuck.optional(),
    ...RowFacts,
  })
  .meta({ id: 'SagaSummary' })
export type SagaSummary = z.infer<typeof SagaSummary>

/** Stands for an entry that cannot be read: it is damaged, or a newer release wrote it (S29). */
const UnreadableEntry = z.object({
  kind: z.literal('unreadable'),
  at: z.string(),
  storedKind: z.string(),
  why: z.string(),
})

export const HistoryItem = z
  .intersection(
    z.object({ seq: z.int(), epoch: z.int(), worker: z.string().nullable() }),
    z.union([Entry, UnreadableEntry]),
  )
  .meta({ id: 'HistoryItem' })
export type HistoryItem = z.infer<typeof HistoryItem>

const reason = z.string().min(1).max(2000).meta({ description: 'why, for the history' })

export const CancelSaga = z.strictObject({ reason }).meta({ id: 'CancelSaga' })
export type CancelSaga = z.infer<typeof CancelSaga>

export const OperatorVerb = z
  .strictObject({
    reason,
    step: Name.optional().meta({ description: 'the step believed to be stuck; refused if it is another' }),
  })
  .meta({ id: 'OperatorVerb' })
export type OperatorVerb = z.infer<typeof OperatorVerb>

export const RetrySaga = z
  .strictObject({
    ...OperatorVerb.shape,
    input: JsonValue.optional().meta({
      description:
        "takes the place of the step's own input, under a new idempotency key: the body of an HTTP step, what a handler gets as `input`, the input of a saga",
    }),
    force: z.boolean().optional().meta({
      description:
        'edit the input of a step that may have happened, or of a compensation: under its new key it may be done twice',
    }),
  })
  .refine(({ input, force }) => input !== undefined || force === undefined, {
    path: ['force'],
    message: 'goes with an input',
  })
  .meta({ id: 'RetrySaga' })
export type RetrySaga = z.infer<typeof RetrySaga>

export const OperatorReason = z.strictObject({ reason }).meta({ id: 'OperatorReason' })

export const Abandon = z.strictObject({ reason }).meta({ id: 'Abandon' })

export const Accepted = z
  .object({ accepted: z.literal(true), sagaId: z.string(), status: Status, version: z.int() })
  .meta({ id: 'Accepted' })
export type Accepted = z.infer<typeof Accepted>

/** How an asynchronous step has ended, as its participant tells it (M3). */
export const CallbackEnd = z
  .union([
    z.strictObject({ result: JsonValue.optional() }).meta({ description: 'it succeeded' }),
    z
      .strictObject({
        error: z.strictObject({
          code: z
            .string()
            .regex(/^[A-Za-z][A-Za-z0-9_.-]{0,63}$/, 'letters, digits, "_", "." or "-", at most 64'),
          message: z.string().max(8192),
          retryable: z.boolean().meta({
            description:
              'true: another attempt may succeed; false: a definite no. In either case nothing has happened',
          }),
        }),
      })
      .meta({ description: 'it failed, and had no effect' }),
  ])
  .meta({ id: 'CallbackEnd' })
export type CallbackEnd = z.infer<typeof CallbackEnd>

export const CallbackTaken = z.object({ accepted: z.literal(true) }).meta({ id: 'CallbackTaken' })
export type CallbackTaken = z.infer<typeof CallbackTaken>

export const RegisteredDefinition = z
  .object({
    name: z.string(),
    version: z.int(),
    hash: z.string(),
    warnings: z.array(z.object({ pointer: z.string(), detail: z.string() })),
  })
  .meta({ id: 'RegisteredDefinition' })
export type RegisteredDefinition = z.infer<typeof RegisteredDefinition>

export const Worker = z
  .object({
    workerId: z.string(),
    host: z.string(),
    pid: z.int(),
    queues: z.array(z.string()),
    handlers: z.record(z.string(), z.array(z.string())),
    services: z.array(z.string()).meta({ description: 'services it is configured for' }),
    concurrency: z.int(),
    holds: z.int(),
    startedAt: z.string(),
    heartbeatAt: z.string(),
  })
  .meta({ id: 'Worker' })
export type Worker = z.infer<typeof Worker>

/** How one worker stands with a service it calls (S37). */
export const ServiceState = z.object({
  /** Named in the worker's configuration; false for the origin of a plain URL. */
  named: z.boolean(),
  breaker: z.enum(['closed', 'open', 'halfOpen']),
  inFlight: z.int(),
  waiting: z.int().meta({ description: 'attempts that wait in this worker for their turn' }),
  limit: z.int().meta({ description: 'calls at once' }),
  lastError: z.string().optional().meta({ description: 'code of the last call that counted against it' }),
})
export type ServiceState = z.infer<typeof ServiceState>

export const Service = z
  .object({
    service: z.string().meta({ description: 'its name, or the origin of the URLs of a definition' }),
    configured: z.boolean().meta({ description: 'false: definitions name it, and no live worker knows it' }),
    breaker: z
      .enum(['closed', 'open', 'halfOpen'])
      .optional()
      .meta({ description: 'the worst among its workers' }),
    inFlight: z.int(),
    waiting: z.int(),
    limit: z.int(),
    definitions: z.array(z.string()).meta({ description: 'whose highest version names it' }),
    workers: z.array(ServiceState.extend({ workerId: z.string() })),
  })
  .meta({ id: 'Service', description: 'what sagas call, as the live workers see it' })
export type Service = z.infer<typeof Service>

export const ProblemDetails = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    requestId: z.string(),
    errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
    sagaStatus: Status.optional(),
    sagaId: z.string().optional().meta({ description: 'the saga that has the start key' }),
  })
  .meta({ id: 'Problem', description: 'RFC 9457' })
export type ProblemDetails = z.infer<typeof ProblemDetails>

/** One version of a definition, without its document. */
export const DefinitionSummary = z
  .object({
    name: z.string(),
    version: z.int(),
    hash: z.string().meta({ description: 'SHA-256 of the canonical document, in hex' }),
    queue: z.string(),
    createdAt: z.string(),
  })
  .meta({ id: 'DefinitionSummary' })
export type DefinitionSummary = z.infer<typeof DefinitionSummary>

/** The document as its author sent it, unchecked on the way back: a newer server may know more than its reader. */
export const DefinitionVersion = DefinitionSummary.extend({
  document: z.record(z.string(), JsonValue),
}).meta({ id: 'DefinitionVersion' })
export type DefinitionVersion = z.infer<typeof DefinitionVersion>

/** The answer of `POST /v1/definitions/validate` to what could be registered; to what could not it is a problem. */
export const ValidatedDefinition = RegisteredDefinition.pick({ warnings: true }).meta({
  id: 'ValidatedDefinition',
})
export type ValidatedDefinition = z.infer<typeof ValidatedDefinition>

/** The dry run of a definition, as `plan.ts` makes it (S28). */
export const DefinitionPlan = z
  .object({
    definition: z.object({ name: z.string(), version: z.int() }),
    failAt: z.string().optional(),
    acts: z.array(
      z.object({
        step: z.string(),
        direction: Direction,
        outcome: z.enum(['succeeded', 'rejected']),
        round: z.int().meta({ description: 'from 1; what has the same round is under way together' }),
      }),
    ),
    ends: Status,
  })
  .meta({ id: 'DefinitionPlan' })
export type DefinitionPlan = z.infer<typeof DefinitionPlan>

export const MAX_BATCH = 1000

export const StartBatch = z
  .strictObject({ sagas: z.array(StartSaga).min(1).max(MAX_BATCH) })
  .meta({ id: 'StartBatch' })
export type StartBatch = z.infer<typeof StartBatch>

/** One entry per start, in their order. */
export const StartBatchAnswer = z
  .object({
    items: z.array(
      z.discriminatedUnion('accepted', [
        Accepted,
        z.object({ accepted: z.literal(false), problem: ProblemDetails }),
      ]),
    ),
  })
  .meta({ id: 'StartBatchAnswer' })
export type StartBatchAnswer = z.infer<typeof StartBatchAnswer>

/** A list's page: `nextCursor` asks for the one after it, and the last page has none. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), nextCursor: z.string().optional() })
}
export type Page<T> = { items: T[]; nextCursor?: string | undefined }

const Percentiles = z.object({
  p50: z.number().nullable(),
  p90: z.number().nullable(),
  p99: z.number().nullable(),
})

export const Stats = z
  .object({
    sagas: z.array(z.object({ definition: z.string(), status: Status, count: z.int() })),
    perMinute: z.object({ started: z.int(), ended: z.int() }).meta({ description: 'over the last minute' }),
    minutes: z
      .array(
        z.object({
          at: z.string(),
          started: z.int(),
          completed: z.int(),
          failed: z.int(),
          cancelled: z.int(),
          abandoned: z.int(),
          stuck: z.int(),
        }),
      )
      .meta({ description: 'the last hour, a minute each, the one that goes on last' }),
    durationMs: Percentiles.meta({ description: 'from start to end, over the sagas started last' }),
    stepMs: Percentiles.meta({ description: 'of one step, over the same sagas' }),
    oldestDueAt: z.string().nullable(),
    oldestStuckAt: z.string().nullable(),
  })
  .meta({ id: 'Stats' })
export type Stats = z.infer<typeof Stats>

/** Filters of `GET /v1/sagas`. */
export type SagaFilter = {
  status?: Status[] | undefined
  definition?: string | undefined
  version?: number | undefined
  sagaKey?: string | undefined
  failedStep?: string | undefined
  tags?: Record<string, string> | undefined
  createdAfter?: string | undefined
  createdBefore?: string | undefined
  updatedBefore?: string | undefined
  /** Failed or cancelled: with no effect left uncertain, or with one. */
  clean?: boolean | undefined
  paused?: boolean | undefined
  /**
   * Beginning of a saga's id (8 digits or more), of its sagaKey or its correlationId; value of a tag; name of the definition or of
   * the failed step; words of the failure's reason.
   */
  q?: string | undefined
}
