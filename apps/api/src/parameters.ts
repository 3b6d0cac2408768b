import { CallerKey, Instant, Name, Problem, Status, Tags } from '@backstitch/core'
import { isSagaId } from '@backstitch/store'
import { z } from 'zod'
import { MAX_VERSION } from './definition-of.ts'

/** What comes in paths, queries and headers: text that has to be read as something. */

const whole = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `is not a whole number; write one from ${least} to ${most}`)
    .transform(Number)
    .refine(
      (number) => number >= least && number <= most,
      `is out of range; write a number from ${least} to ${most}`,
    )

/** On paper it is a number; on its way in, like everything in a path or a query, it is text. */
const shownAsInteger = (minimum: number, maximum: number, absent: number | string) => ({
  type: 'integer',
  pattern: undefined,
  minimum,
  maximum,
  description: `${absent}, if absent`,
})

export const Version = whole(1, MAX_VERSION).meta(shownAsInteger(1, MAX_VERSION, 'any'))

export const waitMs = (absent: number) =>
  whole(0, 60_000)
    .default(absent)
    .meta(shownAsInteger(0, 60_000, absent))

export const Paging = {
  limit: whole(1, 200)
    .default(50)
    .meta(shownAsInteger(1, 200, 50)),
  cursor: z.string().max(4_096).optional().meta({ description: 'the nextCursor of the page before' }),
}

const When = Instant.refine((text) => !Number.isNaN(Date.parse(text)), 'is not a time').meta({
  description: 'RFC 3339; a "+" in it is written %2B',
  pattern: undefined,
})

/** `?status=stuck&status=failed` and `?status=stuck,failed` are the same. */
const Statuses = z
  .union([z.string(), z.array(z.string())])
  .transform((given) => [given].flat().flatMap((text) => text.split(',')))
  .pipe(z.array(Status).max(20))
  .meta({
    description: 'one or more, by commas or repeated',
    anyOf: undefined,
    type: 'array',
    items: { type: 'string', enum: Status.options },
  })

const Flag = z
  .enum(['true', 'false'])
  .transform((text) => text === 'true')
  .meta({ type: 'boolean', enum: undefined })

const PAGED_FILTER = z.object({
  ...Paging,
  q: CallerKey.optional().meta({
    description:
      "beginning of a saga's id (8 digits or more), of its sagaKey or its correlationId; value of a tag; name of the definition or of the failed step; words of the failure's reason",
  }),
  status: Statuses.optional(),
  definition: Name.optional(),
  version: Version.optional(),
  sagaKey: CallerKey.optional(),
  failedStep: Name.optional(),
  createdAfter: When.optional(),
  createdBefore: When.optional(),
  updatedBefore: When.optional(),
  clean: Flag.optional().meta({
    description: 'failed or cancelled: with no effect left uncertain, or with one',
  }),
  paused: Flag.optional(),
})

/** Tags come as `tag.<name>=<value>`; any other parameter that is not known would silently list too much. */
export const SagaQuery = PAGED_FILTER.catchall(z.union([z.string(), z.array(z.string())])).superRefine(
  (query, context) => {
    const tags = tagsOf(query)
    const parsed = Tags.safeParse(tags)
    for (const issue of parsed.error?.issues ?? []) {
      context.addIssue({ code: 'custom', path: [`tag.${issue.path.join('.')}`], message: issue.message })
    }
    for (const [name, value] of Object.entries(tags)) {
      if (typeof value !== 'string' || value.includes('\0')) {
        context.addIssue({ code: 'custom', path: [`tag.${name}`], message: 'is not one plain text' })
      }
    }
    for (const key of Object.keys(query)) {
      if (!Object.hasOwn(PAGED_FILTER.shape, key) && !key.startsWith('tag.')) {
        context.addIssue({ code: 'custom', path: [key], message: 'is not a filter that is known here' })
      }
    }
  },
)
export type SagaQuery = z.infer<typeof SagaQuery>

export function tagsOf(query: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const tags = Object.entries(query).filter(([key]) => key.startsWith('tag.'))
  return Object.fromEntries(tags.map(([key, value]) => [key.slice('tag.'.length), value]))
}

export const SagaPath = z.object({ sagaId: z.string() })
export const DefinitionPath = z.object({ name: z.string() })
export const DefinitionVersionPath = z.object({ name: z.string(), version: z.string() })

/** Whatever is not a saga's id names no saga: nobody need be asked. */
export function sagaIdOf({ sagaId }: { sagaId: string }): string {
  if (!isSagaId(sagaId)) throw noSuchSaga(sagaId)
  return sagaId
}

export function noSuchSaga(sagaId: string): Problem {
  return new Problem('SAGA_NOT_FOUND', `there is no saga "${sagaId}"`)
}

export const SchedulePath = z.object({ name: z.string() })

/** Whatever is no name names no schedule. */
export function scheduleNameOf({ name }: { name: string }): string {
  if (!Name.safeParse(name).success) throw noSuchSchedule(name)
  return name
}

export function noSuchSchedule(name: string): Problem {
  return new Problem(
    'SCHEDULE_NOT_FOUND',
    `there is no schedule "${name}"; PUT /v1/schedules/{name} creates one`,
  )
}

export const StartHeaders = z.object({
  'idempotency-key': CallerKey.optional().meta({ description: 'starts with the same key are one start' }),
  'x-correlation-id': CallerKey.optional().meta({ description: 'where the body has no correlationId' }),
  traceparent: z.string().optional().meta({ description: 'W3C Trace Context; kept if it is valid' }),
})

export const VerbHeaders = z.object({
  'if-match': z.string().optional().meta({ description: 'the ETag of what this was decided on' }),
  'x-actor': z.string().optional().meta({ description: 'who acts, for the history; "anonymous" if absent' }),
})

/** Sent on to every participant, so nothing but what the standard says. */
export function traceparentOf(header: string | undefined): string | undefined {
  const match = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(header ?? '')
  if (match === null || /^0+$/.test(match[1] ?? '') || /^0+$/.test(match[2] ?? '')) return undefined
  return header
}

/** The version named by `If-Match`, if any is: a saga's ETag is its version. */
export function matchedVersion(header: string | undefined): number | undefined {
  const text = header?.trim() ?? '*'
  if (text === '*') return undefined
  const digits = /^"?(\d{1,15})"?$/.exec(text)?.[1]
  if (digits !== undefined) return Number(digits)
  throw new Problem(
    'BAD_REQUEST',
    'If-Match is not an ETag of this API; send it as it was received, such as "7"',
  )
}
