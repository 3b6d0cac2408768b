import { type Stats, Status } from '@backstitch/core'
import { sql } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import type { Feed } from './feed.ts'
import { newest } from './lists.ts'

/**
 * How it stands, from what is counted as it happens (feed.ts), and a sample of the newest: nothing here grows with the number of
 * sagas. What has not been published yet is published first, so that whoever has just started a saga finds it counted.
 */
export async function statsOf(database: Database, feed: Pick<Feed, 'publish'>): Promise<Stats> {
  await feed.publish()
  const [counts, minutes, sample] = await Promise.all([
    database
      .selectFrom('saga_counts')
      .selectAll()
      .where('count', '>', 0)
      .orderBy('definition_name')
      .orderBy('status')
      .execute(),
    sql<{ at: Date; event: string | null; count: number; now: Date }>`
      SELECT m.at, c.event, coalesce(sum(c.count), 0)::int8 AS count, now() AS now
      FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', now(), interval '1 minute') AS m(at)
      LEFT JOIN saga_minutes c ON c.minute = m.at
      GROUP BY 1, 2 ORDER BY 1`.execute(database),
    sql<unknown>`
      WITH RECURSIVE n AS (
        (SELECT queue, definition_name, due_at FROM sagas WHERE due_at IS NOT NULL ORDER BY queue, definition_name, due_at LIMIT 1)
        UNION ALL
        SELECT f.queue, f.definition_name, f.due_at FROM n CROSS JOIN LATERAL (
          SELECT s.queue, s.definition_name, s.due_at FROM sagas s
          WHERE s.due_at IS NOT NULL AND (s.queue, s.definition_name) > (n.queue, n.definition_name)
          ORDER BY s.queue, s.definition_name, s.due_at LIMIT 1) f
      ), recent AS (
        ${newest(['bucket', 'saga_id', 'created_at', 'ended_at'], 1_000)}
      ), steps AS (
        SELECT h.kind, extract(epoch FROM h.at - lag(h.at) OVER (PARTITION BY h.bucket, h.saga_id ORDER BY h.seq)) * 1000 AS ms
        FROM recent r JOIN saga_history h ON h.bucket = r.bucket AND h.saga_id = r.saga_id
      )
      SELECT
        (SELECT percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - created_at) * 1000)
          FROM recent WHERE ended_at IS NOT NULL) AS durations,
        (SELECT percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY ms)
          FROM steps WHERE kind = 'attemptSucceeded') AS steps,
        (SELECT min(due_at) FROM n WHERE due_at <= now()) AS oldest_due,
        (SELECT min(updated_at) FROM sagas WHERE status = 'stuck') AS oldest_stuck`.execute(database),
  ])
  const row = Sample.parse(sample.rows[0])
  const hour = minutesOf(minutes.rows)
  return {
    sagas: counts.map(({ definition_name, status, count }) => ({
      definition: definition_name,
      status: Status.parse(status),
      count: Number(count),
    })),
    perMinute: overLastMinute(hour, minutes.rows[0]?.now ?? new Date(0)),
    minutes: hour,
    durationMs: percentiles(row.durations),
    stepMs: percentiles(row.steps),
    oldestDueAt: row.oldest_due?.toISOString() ?? null,
    oldestStuckAt: row.oldest_stuck?.toISOString() ?? null,
  }
}

type Minute = Stats['minutes'][number]
const NONE = { started: 0, completed: 0, failed: 0, cancelled: 0, abandoned: 0, stuck: 0 }

function minutesOf(rows: readonly { at: Date; event: string | null; count: number }[]): Minute[] {
  const minutes = new Map<string, Minute>()
  for (const { at, event, count } of rows) {
    const key = at.toISOString()
    const minute = minutes.get(key) ?? { at: key, ...NONE }
    minutes.set(key, event === null ? minute : { ...minute, [event]: Number(count) })
  }
  return [...minutes.values()]
}

/** The minute that goes on, and as much of the one before as the last sixty seconds reach into it. */
function overLastMinute(minutes: readonly Minute[], now: Date): Stats['perMinute'] {
  const share = 1 - (now.getTime() % 60_000) / 60_000
  const [before, current] = [minutes.at(-2), minutes.at(-1)]
  const sum = (of: (minute: Minute) => number) =>
    Math.round((before === undefined ? 0 : of(before)) * share + (current === undefined ? 0 : of(current)))
  return {
    started: sum(({ started }) => started),
    ended: sum(({ completed, failed, cancelled, abandoned }) => completed + failed + cancelled + abandoned),
  }
}

const Sample = z.object({
  durations: z.array(z.number()).nullable(),
  steps: z.array(z.number()).nullable(),
  oldest_due: z.date().nullable(),
  oldest_stuck: z.date().nullable(),
})

function percentiles(values: number[] | null): Stats['durationMs'] {
  const [p50 = null, p90 = null, p99 = null] = (values ?? []).map((value) => Math.round(value * 100) / 100)
  return { p50, p90, p99 }
}
