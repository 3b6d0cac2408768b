import { z } from 'zod'
import { CallerKey, Instant, JsonValue, Tags } from './contract.ts'
import { cronProblems, lastInstants, MAX_CRON_LENGTH, nextInstant, type Timing } from './cron.ts'
import { MAX_DURATION_MS, Name } from './definition.ts'
import type { Json } from './json.ts'

/** Schedules: their shapes in the REST API, and, as a pure function, what is to be done about the instants that have come. */

/** Of a schedule's input, as JSON in UTF-8. It is kept on the row, and read each time. */
export const MAX_SCHEDULE_INPUT_BYTES = 64 * 1024
/** With `missed: all`, so many of the last instants are caught up. */
export const MAX_CAUGHT_UP = 100
/** An instant that is answered this much later has been missed: no two instants of a cron lie closer together. */
export const LATE_MS = 60_000
/** Runs and changes that a schedule remembers; sagas are found by their tags. */
export const MAX_REMEMBERED = 20

/** Put on every saga that a schedule starts. */
export const SCHEDULE_TAGS = ['schedule', 'scheduledAt'] as const
const MAX_OWN_TAGS = 20 - SCHEDULE_TAGS.length

const Missed = z.enum(['skip', 'last', 'all'])
const Overlap = z.enum(['allow', 'skip'])

const what = {
  definition: Name,
  version: z
    .int()
    .min(1)
    .optional()
    .meta({ description: 'the highest at the time of each start, if absent' }),
  instantAs: Name.optional().meta({
    description: 'the field of the input, then an object, that is to hold the instant of the run',
  }),
  tags: Tags.optional().meta({
    description: `up to ${MAX_OWN_TAGS}; "schedule" and "scheduledAt" are added`,
  }),
  correlationId: CallerKey.optional(),
  deadlineMs: z.int().min(1).max(MAX_DURATION_MS).optional(),
}

const when = {
  at: Instant.optional().meta({ description: 'once, at this time' }),
  cron: z
    .string()
    .max(MAX_CRON_LENGTH)
    .optional()
    .meta({ description: 'minute, hour, day of the month, month, day of the week: "0 9 * * MON-FRI"' }),
  timeZone: z
    .string()
    .max(64)
    .optional()
    .meta({ description: 'of the cron, a name of the IANA database; UTC, if absent' }),
}

const how = {
  missed: Missed.default('last').meta({
    description: `instants answered a minute late or more: skip them, start the last, or start all (the last ${MAX_CAUGHT_UP} at most)`,
  }),
  catchUpMs: z.int().min(LATE_MS).max(MAX_DURATION_MS).default(MAX_DURATION_MS).meta({
    description: 'what has been missed for longer than this is skipped in any case',
  }),
  overlap: Overlap.default('allow').meta({
    description: 'skip: start nothing while the saga started last has not ended',
  }),
}

/** What a schedule says, as it is stored and shown. Its input is kept apart. */
export const ScheduleSpec = z.object({ ...what, ...when, ...how })
export type ScheduleSpec = z.infer<typeof ScheduleSpec>

export const PutSchedule = z
  .strictObject({
    ...what,
    input: JsonValue.default(null).meta({ description: 'any JSON value, checked against the inputSchema' }),
    ...when,
    ...how,
    paused: z.boolean().optional().meta({ description: 'as it is, if absent; false for a new schedule' }),
  })
  .superRefine((sent, context) => {
    const { at, cron, timeZone = 'UTC', tags = {}, instantAs, input } = sent
    const wrong = (field: string, message: string) =>
      context.addIssue({ code: 'custom', path: [field], message })
    if ((at === undefined) === (cron === undefined)) {
      context.addIssue({ code: 'custom', message: 'write either "at", for once, or "cron"' })
    } else if (cron !== undefined) {
      for (const { pointer, detail } of cronProblems(cron, timeZone)) wrong(pointer.slice(1), detail)
    } else {
      if (Number.isNaN(Date.parse(at ?? ''))) wrong('at', 'is not a time')
      if (sent.timeZone !== undefined) wrong('timeZone', 'goes with "cron"; an "at" has its own offset')
    }
    for (const tag of SCHEDULE_TAGS) {
      if (Object.hasOwn(tags, tag)) wrong('tags', `the tag "${tag}" is set by the schedule itself`)
    }
    const count = Object.keys(tags).length
    if (count > MAX_OWN_TAGS)
      wrong('tags', `${count} tags; the most is ${MAX_OWN_TAGS}, beside those of the schedule`)
    if (instantAs === undefined) return
    if (!isObject(input)) wrong('instantAs', 'needs an input that is an object')
    else if (Object.hasOwn(input, instantAs))
      wrong('instantAs', `the input has a field "${instantAs}" already`)
  })
  .meta({ id: 'PutSchedule' })
export type PutSchedule = z.infer<typeof PutSchedule>
/** What a caller writes, before defaults. */
export type PutScheduleInput = z.input<typeof PutSchedule>

/** What became of an instant, or of several in a row that were skipped for the same reason. */
export const ScheduleRun = z
  .object({
    instant: z.string(),
    until: z.string().optional().meta({ description: 'the last instant, where several were skipped' }),
    at: z.string().meta({ description: 'when this was decided' }),
    outcome: z.enum(['started', 'skipped', 'failed']),
    sagaId: z.string().optional(),
    why: z.enum(['missed', 'overlap']).optional().meta({ description: 'of what was skipped' }),
    error: z.object({ code: z.string(), detail: z.string() }).optional(),
    actor: z.string().optional().meta({ description: 'who asked for it: run-now' }),
  })
  .meta({ id: 'ScheduleRun' })
export type ScheduleRun = z.infer<typeof ScheduleRun>

export const ScheduleChange = z
  .object({
    at: z.string(),
    actor: z.string(),
    act: z.enum(['created', 'replaced', 'paused', 'resumed', 'ranNow']),
    reason: z.string().optional(),
  })
  .meta({ id: 'ScheduleChange' })
export type ScheduleChange = z.infer<typeof ScheduleChange>

/**
 * What is stored, if it can be acted on. Other hands may have been at it, or a release that knew other time zones; what is
 * wrong with it is for a person to read.
 */
export function readSpec(stored: unknown): ScheduleSpec | { unreadable: string } {
  const parsed = ScheduleSpec.safeParse(stored)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    return { unreadable: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not what it should be'}` }
  }
  const { at, cron, timeZone = 'UTC' } = parsed.data
  if (at !== undefined) return parsed.data
  if (cron === undefined) return { unreadable: 'it has neither "at" nor "cron"' }
  const [problem] = cronProblems(cron, timeZone)
  return problem === undefined
    ? parsed.data
    : { unreadable: `${problem.pointer.slice(1)}: ${problem.detail}` }
}

export const ScheduleSummary = ScheduleSpec.extend({
  definition: z.string().meta({ description: 'empty if that is what cannot be read' }),
  name: z.string(),
  version: z.int().meta({ description: 'raised by every change, not by runs; the ETag' }),
  paused: z.boolean(),
  nextRunAt: z
    .string()
    .nullable()
    .meta({ description: 'null while paused, and when there is nothing more to come' }),
  unreadable: z.string().optional().meta({
    description: 'what of the stored schedule cannot be read; it does not run until it is replaced',
  }),
  lastRun: ScheduleRun.optional(),
  lastError: ScheduleRun.optional().meta({ description: 'the last run, if its start was refused' }),
  createdAt: z.string(),
  updatedAt: z.string().meta({ description: 'of the last change' }),
}).meta({ id: 'ScheduleSummary' })
export type ScheduleSummary = z.infer<typeof ScheduleSummary>

export const Schedule = ScheduleSummary.extend({
  input: JsonValue,
  nextRuns: z.array(z.string()).meta({ description: 'the next few' }),
  runs: z.array(ScheduleRun).meta({ description: `newest first, up to ${MAX_REMEMBERED}` }),
  changes: z.array(ScheduleChange).meta({ description: `newest first, up to ${MAX_REMEMBERED}` }),
}).meta({ id: 'Schedule' })
export type Schedule = z.infer<typeof Schedule>

const reason = z.string().min(1).max(2000).meta({ description: 'why, for the record' })

export const ScheduleVerb = z.strictObject({ reason }).meta({ id: 'ScheduleVerb' })

export const ScheduleStarted = z
  .object({ sagaId: z.string(), instant: z.string() })
  .meta({ id: 'ScheduleStarted' })
export type ScheduleStarted = z.infer<typeof ScheduleStarted>

export function timingOf({ at, cron = '', timeZone = 'UTC' }: ScheduleSpec): Timing {
  return at === undefined ? { cron, timeZone } : { at }
}

/** What is to be done about the instants that have come, `nextAt` the first of them. */
export type DuePlan = {
  /** Oldest first. */
  fire: number[]
  /** Came before those, and are not to be started: from the first to the last. */
  missed: { from: number; to: number } | undefined
  /** Undefined if there is nothing more to come. */
  nextAt: number | undefined
}

/** All times in milliseconds since the epoch. The cost does not grow with what has been missed. */
export function planDue(spec: ScheduleSpec, nextAt: number, now: number): DuePlan {
  if (nextAt > now) return { fire: [], missed: undefined, nextAt }
  const timing = timingOf(spec)
  const due = dueInstants(timing, nextAt, now, spec.missed === 'all' ? MAX_CAUGHT_UP + 1 : 2)
  const firing = due.filter((instant, index) => isWanted(spec, instant, index, now))
  const oldest = firing.at(-1)
  const before = oldest === undefined ? due[0] : due[due.indexOf(oldest) + 1]
  return {
    fire: firing.toReversed(),
    missed: before === undefined ? undefined : { from: nextAt, to: before },
    nextAt: nextInstant(timing, now),
  }
}

/** Up to `count` instants that have come, the newest first. */
function dueInstants(timing: Timing, nextAt: number, now: number, count: number): number[] {
  const second = nextInstant(timing, nextAt)
  if (second === undefined || second > now) return [nextAt]
  const found = lastInstants(timing, nextAt + 1, now, count)
  // An instant once promised is kept, also if another release of the time zones would no longer make it one.
  return found.length < count ? [...found, nextAt] : found
}

/** `index`: how many instants have come since. */
function isWanted({ missed, catchUpMs }: ScheduleSpec, instant: number, index: number, now: number): boolean {
  const lateMs = now - instant
  if (lateMs < LATE_MS) return true
  if (lateMs > catchUpMs) return false
  return missed === 'all' ? index < MAX_CAUGHT_UP : missed === 'last' && index === 0
}

/** One start for each (schedule, instant), whoever makes it and however often: the key of it (S23). */
export function scheduleKey(scheduleId: string, instant: number): string {
  return `${scheduleId}:${new Date(instant).toISOString()}`
}

/** What a run hands to its saga. */
export function startOf(name: string, spec: ScheduleSpec, input: Json, instant: number) {
  const scheduledAt = new Date(instant).toISOString()
  const { definition, version, tags, correlationId, deadlineMs, instantAs } = spec
  const withInstant =
    instantAs !== undefined && isObject(input) ? { ...input, [instantAs]: scheduledAt } : input
  return {
    definition,
    version,
    input: withInstant,
    tags: { ...tags, schedule: name, scheduledAt },
    correlationId,
    deadlineMs,
  }
}

/** Newest first. Skips in a row for the same reason are one line, or they would push out everything else. */
export function remember(runs: readonly ScheduleRun[], run: ScheduleRun): ScheduleRun[] {
  const [last, ...before] = runs
  const continues =
    last !== undefined && last.outcome === 'skipped' && run.outcome === 'skipped' && last.why === run.why
  const line = continues ? { ...run, instant: last.instant, until: run.until ?? run.instant } : run
  return [line, ...(continues ? before : runs)].slice(0, MAX_REMEMBERED)
}

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
