import { z } from 'zod'
import { CallerKey, Instant, SagaSummary, Tags } from './contract.ts'
import { Name } from './definition.ts'
import { Status } from './state.ts'

/** One verb for many sagas (S30): the shapes of `/v1/bulk`. */

/** Sagas that one operation takes; what a filter finds beyond is left for another. */
export const MAX_BULK = 100_000
export const MAX_BULK_IDS = 10_000
/** Sagas that a dry run judges one by one. */
export const MAX_JUDGED = 10_000

export const BulkVerb = z.enum([
  'retry',
  'skip',
  'markCompensated',
  'abandon',
  'cancel',
  'pause',
  'resume',
  'runNow',
])
export type BulkVerb = z.infer<typeof BulkVerb>

const When = Instant.refine((text) => !Number.isNaN(Date.parse(text)), 'is not a time')

/** The same names as the parameters of the list. */
export const BulkFilter = z
  .strictObject({
    status: z.array(Status).min(1).max(20).optional(),
    definition: Name.optional(),
    version: z.int().min(1).optional(),
    sagaKey: CallerKey.optional(),
    failedStep: Name.optional(),
    tags: Tags.optional(),
    createdAfter: When.optional(),
    createdBefore: When.optional(),
    updatedBefore: When.optional(),
    clean: z.boolean().optional(),
    paused: z.boolean().optional(),
    q: CallerKey.optional(),
  })
  .refine((filter) => Object.keys(filter).length > 0, 'finds every saga there is; say which are meant')
  .meta({
    id: 'BulkFilter',
    description: 'as in the list of sagas; without `status` (and `clean`), those that have not ended',
  })
export type BulkFilter = z.infer<typeof BulkFilter>

export const StartBulk = z
  .strictObject({
    filter: BulkFilter.optional(),
    sagaIds: z.array(z.uuid()).min(1).max(MAX_BULK_IDS).optional(),
    verb: BulkVerb,
    reason: z.string().min(1).max(1900).meta({ description: 'why, for the history of each saga' }),
    step: Name.optional().meta({ description: 'the step believed to be stuck; refused where it is another' }),
    perSecond: z.int().min(1).max(500).default(50).meta({ description: 'sagas a second' }),
    dryRun: z.boolean().default(false).meta({ description: 'what would be done, and nothing is' }),
  })
  .refine(
    ({ filter, sagaIds }) => (filter === undefined) !== (sagaIds === undefined),
    'names either a filter or sagaIds',
  )
  .meta({ id: 'StartBulk' })
export type StartBulk = z.infer<typeof StartBulk>
export type StartBulkInput = z.input<typeof StartBulk>

export const BulkState = z.enum(['running', 'done', 'aborted'])

export const Bulk = z
  .object({
    bulkId: z.string(),
    verb: BulkVerb,
    step: z.string().optional(),
    reason: z.string(),
    actor: z.string(),
    filter: BulkFilter.optional(),
    createdAt: z.string(),
    state: BulkState,
    total: z.int(),
    cut: z.boolean().meta({ description: `more than ${MAX_BULK} matched; the oldest of them were taken` }),
    done: z.int(),
    accepted: z.int(),
    refused: z.int(),
    failed: z.int(),
    perSecond: z.int(),
    endedAt: z.string().optional(),
  })
  .meta({ id: 'Bulk' })
export type Bulk = z.infer<typeof Bulk>

export const BulkItemState = z.enum(['pending', 'accepted', 'refused', 'failed'])
export type BulkItemState = z.infer<typeof BulkItemState>

export const BulkItem = z
  .object({
    sagaId: z.string(),
    state: BulkItemState,
    detail: z.string().optional().meta({ description: 'why it was refused, or failed' }),
  })
  .meta({ id: 'BulkItem' })
export type BulkItem = z.infer<typeof BulkItem>

export const BulkPreview = z
  .object({
    matching: z.int().meta({ description: `${MAX_BULK + 1}: more than are taken at once` }),
    judged: z.int().meta({ description: `the newest, at most ${MAX_JUDGED}` }),
    possible: z.int(),
    impossible: z.int(),
    why: z
      .record(z.string(), z.int())
      .meta({ description: 'reason → how many it is impossible for; the most frequent' }),
    sample: z.array(SagaSummary),
  })
  .meta({ id: 'BulkPreview', description: 'of those judged, how many the verb is possible for at present' })
export type BulkPreview = z.infer<typeof BulkPreview>
