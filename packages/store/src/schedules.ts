import { randomUUID } from 'node:crypto'
import {
  canonicalJson,
  type Json,
  MAX_DURATION_MS,
  MAX_REMEMBERED,
  nextInstant,
  nextInstants,
  readSpec,
  remember,
  type Schedule,
  ScheduleChange,
  ScheduleRun,
  type ScheduleSpec,
  type ScheduleSummary,
  sanitizeText,
  timingOf,
} from '@backstitch/core'
import { type Selectable, sql, type Transaction } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import { bucketOf } from './ids.ts'
import { isTime, shownTime } from './instants.ts'
import type { Tables } from './tables.ts'

/**
 * Sagas to be started by the calendar (S38).
 *
 * Whoever acts on a schedule, a worker that fires it or a person who changes it, holds the lock of its row until what came of it is
 * committed: a schedule is fired by one, and never with one half of a change. A start is made while the lock is held and
 * before the row moves on. Where a crash falls between, the lock falls with the session, the next one makes the start
 * again, and its key finds the saga that is there.
 */
export type Schedules = {
  /**
   * Creates or replaces. What says the same changes nothing; what says when anew forgets what was due before. `past`: its
   * only time has passed.
   */
  put(name: string, wanted: Wanted, by: By): Promise<Put>
  get(name: string): Promise<Schedule | undefined>
  /** By name. `after` is the last name of the page before. */
  list(page: { after?: string | undefined; limit: number }): Promise<ScheduleSummary[]>
  /** What comes while it is paused is not missed, and not caught up. Paused twice is paused. */
  pause(name: string, by: By): Promise<Changed>
  resume(name: string, by: By): Promise<Changed>
  delete(name: string, by: Pick<By, 'ifVersion'>): Promise<Gone | { is: 'deleted'; schedule: Schedule }>
  /** Has a saga started beside the plan, paused or not. */
  runNow(
    name: string,
    by: By,
    start: (schedule: DueSchedule, now: number) => Promise<string>,
  ): Promise<Gone | Unreadable | { is: 'started'; sagaId: string; instant: string }>
  /**
   * Takes up to `limit` schedules that are due and that nobody else has taken, and has `fire` say what came of them, after
   * the starts. Answers how many. All of it is as if it had not been if this rejects. `onUnreadable` hears of each that is laid
   * aside.
   */
  takeDue(
    limit: number,
    fire: (due: DueSchedule[], now: number) => Promise<Fired[]>,
    onUnreadable?: (name: string, run: ScheduleRun) => void,
  ): Promise<number>
  /** Milliseconds until the next is due, by the database's clock; undefined if none will be. */
  nextDueMs(): Promise<number | undefined>
}

export type Wanted = { spec: ScheduleSpec; input: Json; paused?: boolean | undefined }
export type By = { actor: string; reason?: string | undefined; ifVersion?: number | undefined }
export type Gone = { is: 'unknown' } | { is: 'stale'; version: number | undefined }
/** Its row was damaged by other hands: it can be read, paused, replaced and deleted, and does not run (S29). */
export type Unreadable = { is: 'unreadable'; why: string }
export type Changed = Gone | Unreadable | { is: 'changed'; schedule: Schedule }
export type Put =
  | { is: 'created' | 'replaced' | 'unchanged'; schedule: Schedule }
  | { is: 'past'; now: string }
  | Extract<Gone, { is: 'stale' }>

/** What is needed to act on one. Times are milliseconds since the epoch. */
export type DueSchedule = {
  name: string
  scheduleId: string
  spec: ScheduleSpec
  input: Json
  nextAt: number
  /** The saga started last has not ended. */
  lastRuns: boolean
}

/** What came of a schedule that was due, oldest run first. */
export type Fired = { nextAt: number | undefined; runs: ScheduleRun[] }

type Row = Selectable<Tables['schedules']>
type Tx = Transaction<Tables>

/** Whoever holds a lock and is silent for so long is frozen: the database takes it away. */
const HOLD_MS = 30_000
/** A person is told to come back rather than kept waiting. */
const PATIENCE_MS = 5_000
const NEXT_RUNS = 5
const MAX_WHY_BYTES = 2 * 1024

export function createSchedules(database: Database): Schedules {
  async function locked<T>(act: (tx: Tx, now: number) => Promise<T>): Promise<T> {
    return database.transaction().execute(async (tx) => {
      const { rows } = await sql<{ now: number }>`
        SELECT set_config('idle_in_transaction_session_timeout', ${String(HOLD_MS)}, true),
               set_config('lock_timeout', ${String(PATIENCE_MS)}, true),
               floor(extract(epoch FROM now()) * 1000)::float8 AS now`.execute(tx)
      return act(tx, rows[0]?.now ?? 0)
    })
  }

  /** Of one that is there, and on the version it was decided on. */
  function change<T>(
    name: string,
    { ifVersion }: Pick<By, 'ifVersion'>,
    act: (tx: Tx, row: Row, now: number) => Promise<T>,
  ): Promise<T | Gone> {
    return locked(async (tx, now) => {
      const row = await tx
        .selectFrom('schedules')
        .selectAll()
        .where('name', '=', name)
        .forUpdate()
        .executeTakeFirst()
      if (row === undefined) return { is: 'unknown' }
      if (ifVersion !== undefined && ifVersion !== row.version) return { is: 'stale', version: row.version }
      return act(tx, row, now)
    })
  }

  function setPaused(name: string, paused: boolean, by: By): Promise<Changed> {
    return change<Changed>(name, by, async (tx, row, now) => {
      const spec = readRow(row)
      if (!paused && 'unreadable' in spec) return { is: 'unreadable', why: spec.unreadable }
      if (row.paused === paused) return { is: 'changed', schedule: present(row) }
      const next = paused || 'unreadable' in spec ? undefined : nextInstant(timingOf(spec), now)
      const saved = await save(tx, row, {
        ...changedBy(row, by, paused ? 'paused' : 'resumed', now),
        paused,
        next_at: dateOf(next),
      })
      return { is: 'changed', schedule: present(saved) }
    })
  }

  async function insert(name: string, wanted: Wanted, by: By): Promise<Put | undefined> {
    return locked(async (tx, now) => {
      const timing = timingOf(wanted.spec)
      const next = nextInstant(timing, now)
      if (next === undefined) return { is: 'past', now: isoOf(now) }
      const { paused = false } = wanted
      const change: ScheduleChange = { at: isoOf(now), actor: by.actor, act: 'created' }
      const row = await tx
        .insertInto('schedules')
        .values({
          name,
          schedule_id: randomUUID(),
          spec: JSON.stringify(wanted.spec),
          input: JSON.stringify(wanted.input),
          paused,
          next_at: paused ? null : new Date(next),
          runs: '[]',
          changes: JSON.stringify([change]),
        })
        .onConflict((conflict) => conflict.doNothing())
        .returningAll()
        .executeTakeFirst()
      return row && { is: 'created', schedule: present(row) }
    })
  }

  function replace(name: string, wanted: Wanted, by: By): Promise<Put | Gone> {
    return change<Put>(name, by, async (tx, row, now) => {
      const { paused = row.paused } = wanted
      const before = readRow(row)
      const timing = timingOf(wanted.spec)
      const isLaidAside =
        'unreadable' in before ||
        (!row.paused && row.next_at === null && nextInstant(timing, now) !== undefined)
      const sameContent = same([wanted.spec, wanted.input], [row.spec, row.input])
      if (sameContent && paused === row.paused && !isLaidAside)
        return { is: 'unchanged', schedule: present(row) }
      // What was due and has not been answered yet, while no worker was there, stays due: only its content is another.
      const keeps = !('unreadable' in before) && same(timing, timingOf(before))
      const next = (keeps ? row.next_at?.getTime() : undefined) ?? nextInstant(timing, now)
      if (next === undefined) return { is: 'past', now: isoOf(now) }
      const saved = await save(tx, row, {
        ...changedBy(row, by, 'replaced', now),
        spec: JSON.stringify(wanted.spec),
        input: JSON.stringify(wanted.input),
        paused,
        next_at: dateOf(paused ? undefined : next),
        last_error: null,
      })
      return { is: 'replaced', schedule: present(saved) }
    })
  }

  return {
    async put(name, wanted, by) {
      // One may be created or deleted between the two looks.
      for (;;) {
        const replaced = await replace(name, wanted, by)
        if (replaced.is !== 'unknown') return replaced
        if (by.ifVersion !== undefined) return { is: 'stale', version: undefined }
        const created = await insert(name, wanted, by)
        if (created !== undefined) return created
      }
    },

    async get(name) {
      const row = await database
        .selectFrom('schedules')
        .selectAll()
        .where('name', '=', name)
        .executeTakeFirst()
      return row && present(row)
    },

    async list({ after = '', limit }) {
      const rows = await database
        .selectFrom('schedules')
        .select([
          'name',
          'version',
          'spec',
          'paused',
          'next_at',
          'last_error',
          'runs',
          'created_at',
          'updated_at',
        ])
        .where('name', '>', after)
        .orderBy('name')
        .limit(limit)
        .execute()
      return rows.map(summarise)
    },

    pause: (name, by) => setPaused(name, true, by),
    resume: (name, by) => setPaused(name, false, by),

    delete: (name, by) =>
      change(name, by, async (tx, row) => {
        await tx.deleteFrom('schedules').where('name', '=', name).execute()
        return { is: 'deleted', schedule: present(row) } as const
      }),

    runNow: (name, by, start) =>
      change(name, by, async (tx, row, now) => {
        const instant = isoOf(now)
        const spec = readRow(row)
        if ('unreadable' in spec) return { is: 'unreadable', why: spec.unreadable } as const
        const sagaId = await start({ ...identityOf(row, spec), nextAt: now, lastRuns: false }, now)
        const runs = runsOf(row.runs)
        const known = runs.find((run) => run.sagaId === sagaId)
        if (known !== undefined) return { is: 'started', sagaId, instant: known.instant } as const
        const { actor } = by
        await save(tx, row, {
          ...changedBy(row, by, 'ranNow', now),
          version: row.version,
          last_saga_id: sagaId,
          runs: JSON.stringify(remember(runs, { instant, at: instant, outcome: 'started', sagaId, actor })),
        })
        return { is: 'started', sagaId, instant } as const
      }),

    takeDue(limit, fire, onUnreadable) {
      return locked(async (tx, now) => {
        const rows = await tx
          .selectFrom('schedules')
          .selectAll()
          .where(sql<boolean>`next_at <= now()`)
          .orderBy('next_at')
          .limit(limit)
          .forUpdate()
          .skipLocked()
          .execute()
        if (rows.length === 0) return 0
        const moving = await movingOf(tx, rows)
        const due: { row: Row; schedule: DueSchedule }[] = []
        for (const row of rows) {
          const { next_at, last_saga_id } = row
          const spec = readRow(row)
          if ('unreadable' in spec) {
            const run = givenUp(now, spec.unreadable)
            await save(tx, row, { next_at: null, last_error: JSON.stringify(run) })
            onUnreadable?.(row.name, run)
          } else if (next_at !== null) {
            const lastRuns = last_saga_id !== null && moving.has(last_saga_id)
            due.push({ row, schedule: { ...identityOf(row, spec), nextAt: next_at.getTime(), lastRuns } })
          }
        }
        const fired = await fire(
          due.map(({ schedule }) => schedule),
          now,
        )
        for (const [index, { row }] of due.entries()) {
          const came = fired[index]
          if (came !== undefined) await save(tx, row, moveOn(row, came))
        }
        return rows.length
      })
    },

    async nextDueMs() {
      const { rows } = await sql<{ ms: number | null }>`
        SELECT ((extract(epoch FROM min(next_at)) - extract(epoch FROM clock_timestamp())) * 1000)::float8 AS ms
        FROM schedules WHERE next_at IS NOT NULL`.execute(database)
      return rows[0]?.ms ?? undefined
    },
  }
}

type Update = Partial<{
  version: number
  spec: string
  input: string
  paused: boolean
  next_at: Date | null
  last_saga_id: string
  last_error: string | null
  runs: string
  changes: string
  updated_at: Date
}>

async function save(tx: Tx, { name }: Row, update: Update): Promise<Row> {
  return tx
    .updateTable('schedules')
    .set(update)
    .where('name', '=', name)
    .returningAll()
    .executeTakeFirstOrThrow()
}

function changedBy(row: Row, { actor, reason }: By, act: ScheduleChange['act'], now: number): Update {
  const change: ScheduleChange = { at: isoOf(now), actor, act, ...(reason !== undefined && { reason }) }
  const changes = [change, ...changesOf(row.changes)].slice(0, MAX_REMEMBERED)
  return { version: row.version + 1, changes: JSON.stringify(changes), updated_at: new Date(now) }
}

function moveOn(row: Row, { nextAt, runs }: Fired): Update {
  const started = runs.findLast(({ outcome }) => outcome === 'started')
  const told = runs.findLast(({ outcome }) => outcome !== 'skipped')
  return {
    next_at: dateOf(nextAt),
    runs: JSON.stringify(runs.reduce(remember, runsOf(row.runs))),
    ...(started?.sagaId !== undefined && { last_saga_id: started.sagaId }),
    ...(told !== undefined && { last_error: told.outcome === 'failed' ? JSON.stringify(told) : null }),
  }
}

/** A row that other hands have damaged must not keep the others from being fired, nor be tried for ever. */
function givenUp(now: number, why: string): ScheduleRun {
  const at = isoOf(now)
  const detail = `${sanitizeText(why, MAX_WHY_BYTES)}; the schedule runs no more; PUT it anew`
  return { instant: at, at, outcome: 'failed', error: { code: 'INTERNAL', detail } }
}

/** Which of the sagas started last have not ended. */
async function movingOf(tx: Tx, rows: Row[]): Promise<Set<string>> {
  const ids = rows.flatMap(({ last_saga_id }) => last_saga_id ?? [])
  if (ids.length === 0) return new Set()
  const { rows: found } = await sql<{ saga_id: string }>`
    SELECT s.saga_id
    FROM unnest(${ids.map(bucketOf)}::int2[], ${ids}::uuid[]) AS i(bucket, saga_id)
    CROSS JOIN LATERAL (
      SELECT saga_id FROM sagas WHERE bucket = i.bucket AND saga_id = i.saga_id AND ended_at IS NULL
    ) s`.execute(tx)
  return new Set(found.map(({ saga_id }) => saga_id))
}

const AnyJson = z.custom<Json>((value) => value !== undefined)

function readRow({ spec, next_at }: Pick<Row, 'spec' | 'next_at'>): ScheduleSpec | { unreadable: string } {
  const read = readSpec(spec)
  if ('unreadable' in read) return { unreadable: `the stored schedule cannot be read: ${read.unreadable}` }
  if (next_at === null || isTime(next_at)) return read
  return { unreadable: 'the time stored for its next run is none that can be read' }
}

/** What is shown of one that cannot be read: what of it is beyond doubt. */
function substitute(spec: unknown): ScheduleSpec {
  const definition = z.object({ definition: z.string() }).safeParse(spec).data?.definition ?? ''
  return { definition, missed: 'last', catchUpMs: MAX_DURATION_MS, overlap: 'allow' }
}

function identityOf(
  row: Row,
  spec: ScheduleSpec,
): Pick<DueSchedule, 'name' | 'scheduleId' | 'spec' | 'input'> {
  const { name, schedule_id: scheduleId, input } = row
  return { name, scheduleId, spec, input: AnyJson.parse(input) }
}

/** One that is damaged is shown as such, and hides no other (S29). */
function summarise(row: Omit<Row, 'input' | 'changes' | 'schedule_id' | 'last_saga_id'>): ScheduleSummary {
  const [lastRun] = runsOf(row.runs)
  const lastError = ScheduleRun.safeParse(row.last_error)
  const read = readRow(row)
  const isDamaged = 'unreadable' in read
  return {
    ...(isDamaged ? { ...substitute(row.spec), ...read } : read),
    name: row.name,
    version: row.version,
    paused: row.paused,
    nextRunAt: isDamaged ? null : (row.next_at?.toISOString() ?? null),
    ...(lastRun !== undefined && { lastRun }),
    ...(lastError.success && { lastError: lastError.data }),
    createdAt: shownTime(row.created_at),
    updatedAt: shownTime(row.updated_at),
  }
}

function present(row: Row): Schedule {
  const summary = summarise(row)
  const next = summary.nextRunAt === null ? undefined : Date.parse(summary.nextRunAt)
  const following = next === undefined ? [] : [next, ...nextInstants(timingOf(summary), next, NEXT_RUNS - 1)]
  return {
    ...summary,
    input: AnyJson.parse(row.input),
    nextRuns: following.map(isoOf),
    runs: runsOf(row.runs),
    changes: changesOf(row.changes),
  }
}

function runsOf(runs: unknown): ScheduleRun[] {
  return z.array(ScheduleRun).catch([]).parse(runs)
}

function changesOf(changes: unknown): ScheduleChange[] {
  return z.array(ScheduleChange).catch([]).parse(changes)
}

function same(one: unknown, other: unknown): boolean {
  return canonicalJson(AnyJson.parse(one)) === canonicalJson(AnyJson.parse(other))
}

function dateOf(instant: number | undefined): Date | null {
  return instant === undefined ? null : new Date(instant)
}

function isoOf(instant: number): string {
  return new Date(instant).toISOString()
}
