import { hostname } from 'node:os'
import { ServiceState } from '@backstitch/core'
import { z } from 'zod'
import { DATABASE_NOW, type DatabaseClock } from './clock.ts'
import type { Lease } from './commits.ts'
import { ConnectionLost } from './failure.ts'
import { createLink, type LinkOptions } from './link.ts'

/**
 * Who is alive. Each worker has one row, and one connection that it keeps open: its session. The heartbeat says that it is
 * alive; the end of the session says at once that it is not (S17).
 */
export type WorkerRecord = {
  workerId: string
  queues: readonly string[]
  handlers: Readonly<Record<string, readonly string[]>>
  concurrency: number
  leaseMs: number
  services: ServiceReport
}

/** What a worker tells about the services it calls, by name, or by origin where it has none. */
export type ServiceReport = Readonly<Record<string, ServiceState>>

/** What a look around has shown. */
export type Pulse = {
  /** False: this worker has been declared dead, and is dead for ever. */
  alive: boolean
  /** Sagas of this worker with mail it has not read. */
  unread: string[]
  /** Other workers that seem to have died. */
  silent: { workerId: string; reason: DeathReason; backendPid: number | null }[]
}

export type DeathReason = 'connectionLost' | 'leaseExpired'

export type Session = {
  /** Announces the worker and listens for hints. */
  register(record: WorkerRecord): Promise<void>
  /** Says that the worker is alive, and what it tells, if there is a `beat`; looks around in any case. */
  pulse(workerId: string, beat: { holds: number; services: ServiceReport } | undefined): Promise<Pulse>
  /** What the other live workers can do. */
  others(workerId: string): Promise<{ handlers: Record<string, string[]>; services: ServiceReport }[]>
  /**
   * Makes due at once what is due by its state and was put off for want of a handler or service, up to `withinMs` ahead. Of
   * these definitions, or of any. Answers how many sagas.
   */
  offer(
    queues: readonly string[],
    definitions: readonly string[] | undefined,
    withinMs: number,
  ): Promise<number>
  /** The leases this worker has, as the database sees it. */
  leases(workerId: string): Promise<Lease[]>
  /**
   * Declares another worker dead, if it still looks dead to the database. From then on its heartbeat changes no row.
   */
  declareDead(worker: Pulse['silent'][number]): Promise<boolean>
  /** Frees up to `limit` sagas whose owner is not alive, whoever that was. Answers how many. */
  sweep(limit: number): Promise<number>
  /** The worker has let go of everything and is about to exit. */
  stop(workerId: string): Promise<void>
  close(): Promise<void>
}

export function createSession(
  options: LinkOptions,
  clock: DatabaseClock,
  /** By channel: what is told there. */
  hints: Readonly<Record<string, (words: string[]) => void>>,
): Session {
  let current: WorkerRecord | undefined

  /** After every connect the row must name the new session, or the old one's end would be taken for a death. */
  const link = createLink({ ...options, silenceMs: SILENCE_MS }, async (client, pooled) => {
    if (!pooled) await client.query(SESSION_SETTINGS.map((setting) => `SET ${setting}`).join('; '))
    if (current !== undefined) await client.query(ANNOUNCE, [current.workerId, !pooled])
    if (pooled) return
    client.on('notification', ({ channel, payload }) => hints[channel]?.((payload ?? '').split(',')))
    await client.query(
      Object.keys(hints)
        .map((channel) => `LISTEN ${channel}`)
        .join('; '),
    )
  })

  function query<T>(shape: z.ZodType<T>, text: string, values: unknown[]): Promise<T[]> {
    return link.use(async (client) => z.array(shape).parse((await client.query(text, values)).rows))
  }

  return {
    async register(record) {
      const { workerId, queues, handlers, concurrency, leaseMs, services } = record
      await link.use(async (client, pooled) => {
        const values = [
          workerId,
          hostname(),
          process.pid,
          queues,
          JSON.stringify(handlers),
          concurrency,
          leaseMs,
          JSON.stringify(services),
        ]
        await client.query(REGISTER, values)
        await client.query(ANNOUNCE, [workerId, !pooled])
      })
      current = record
    },

    async pulse(workerId, beat) {
      const sentAt = performance.now()
      const told = [
        beat?.holds ?? 0,
        beat !== undefined,
        beat === undefined ? null : JSON.stringify(beat.services),
      ]
      const [row] = await query(PulseRow, PULSE, [workerId, ...told])
      if (row === undefined) throw new ConnectionLost('a pulse was not answered')
      clock.saw(row.now, sentAt)
      return { alive: row.alive, unread: row.unread ?? [], silent: row.silent ?? [] }
    },

    others: (workerId) => query(AbilitiesRow, OTHERS, [workerId]),

    async offer(queues, definitions, withinMs) {
      const rows = await query(z.object({ saga_id: z.string() }), OFFER, [
        queues,
        definitions ?? null,
        withinMs,
      ])
      return rows.length
    },

    async leases(workerId) {
      const rows = await query(LeaseRow, LEASES, [workerId])
      return rows.map(({ bucket, saga_id, epoch }) => ({ bucket, sagaId: saga_id, epoch }))
    },

    async declareDead({ workerId, reason, backendPid }) {
      const rows = await query(z.object({ worker_id: z.string() }), DECLARE_DEAD, [
        workerId,
        reason,
        backendPid,
      ])
      return rows.length > 0
    },

    async sweep(limit) {
      const rows = await query(z.object({ saga_id: z.string() }), SWEEP, [limit])
      return rows.length
    },

    async stop(workerId) {
      await query(z.object({}), STOP, [workerId])
    },

    close: () => link.close(),
  }
}

/**
 * Heartbeats need not survive a crash of the database: after one, a whole lease is waited for anyway. And without
 * statistics the sweep would read the whole table. What is held changes hands all the time, and only a plain scan of its index
 * marks the dead entries that it passes: a bitmap of them met those of all sagas since the last vacuum, each second.
 */
export const SESSION_SETTINGS = [
  'synchronous_commit = off',
  'enable_seqscan = off',
  'enable_bitmapscan = off',
  'jit = off',
]

/** A heartbeat that is not answered soon is one that must be sent again on another connection. */
const SILENCE_MS = 5_000

const REGISTER = `
INSERT INTO workers AS w (worker_id, host, pid, queues, handlers, concurrency, lease_ms, services)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (worker_id) DO NOTHING`

const ANNOUNCE = `
UPDATE workers w SET
  backend_pid = CASE WHEN $2 THEN pg_backend_pid() END,
  backend_start = CASE WHEN $2 THEN (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) END
WHERE w.worker_id = $1 AND w.ended_at IS NULL`

/**
 * Since when this incarnation of the database has taken writes. A crash of one backend restarts them all, and a standby is
 * promoted, without a restart of the postmaster; the WAL writer starts with each. Where we may not see it, only sessions
 * younger than ours prove anything.
 */
const UP_SINCE = `
greatest(pg_postmaster_start_time(), coalesce(
  (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'walwriter'),
  (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())))`

/** Why a worker must be dead, or null. A lost connection proves nothing about a session older than the database (S17). */
const DEAD = `
CASE
  WHEN greatest(w.heartbeat_at, db.up_since) < now() - w.lease_ms * interval '1 millisecond' THEN 'leaseExpired'
  WHEN w.backend_start > db.up_since AND NOT EXISTS (
    SELECT 1 FROM pg_stat_activity a
    WHERE a.pid = w.backend_pid AND (a.backend_start IS NULL OR a.backend_start = w.backend_start)
  ) THEN 'connectionLost'
END`

export const PULSE = `
WITH db AS (SELECT ${UP_SINCE} AS up_since),
beat AS (
  UPDATE workers w SET heartbeat_at = now(), holds = $2::int4, services = coalesce($4::jsonb, w.services)
  WHERE $3::bool AND w.worker_id = $1::uuid AND w.ended_at IS NULL
)
SELECT
  EXISTS (SELECT 1 FROM workers w WHERE w.worker_id = $1::uuid AND w.ended_at IS NULL) AS alive,
  (SELECT json_agg(s.saga_id) FROM sagas s
   WHERE s.owner = $1::uuid AND s.due_at IS NULL AND s.mail_seq > s.mail_seen) AS unread,
  (SELECT json_agg(json_build_object('workerId', w.worker_id, 'reason', ${DEAD}, 'backendPid', w.backend_pid))
   FROM workers w, db WHERE w.ended_at IS NULL AND w.worker_id <> $1::uuid AND ${DEAD} IS NOT NULL) AS silent,
  ${DATABASE_NOW} AS now`

export const LEASES = 'SELECT s.bucket, s.saga_id, s.epoch FROM sagas s WHERE s.owner = $1::uuid'
const LeaseRow = z.object({ bucket: z.number(), saga_id: z.string(), epoch: z.number() })

const PulseRow = z.object({
  alive: z.boolean(),
  unread: z.array(z.string()).nullable(),
  silent: z
    .array(
      z.object({
        workerId: z.string(),
        reason: z.enum(['connectionLost', 'leaseExpired']),
        backendPid: z.number().nullable(),
      }),
    )
    .nullable(),
  now: z.number(),
})

const OTHERS = `
SELECT w.handlers, w.services FROM workers w WHERE w.ended_at IS NULL AND w.worker_id <> $1::uuid LIMIT 1000`
const AbilitiesRow = z.object({
  handlers: z.record(z.string(), z.array(z.string())),
  services: z.record(z.string(), ServiceState),
})

/**
 * A saga is put off if its row waits although an attempt is due by its state; texts are compared, so that no state, whatever
 * it holds, is an error. What is locked is being claimed, or offered, by somebody else.
 */
export const OFFER = `
WITH put_off AS (
  SELECT s.bucket, s.saga_id FROM unnest($1::text[]) AS q(queue)
  JOIN sagas s ON s.queue = q.queue AND s.due_at > now() AND s.due_at <= now() + $3::int8 * interval '1 millisecond'
  WHERE s.status IN ('running', 'compensating') AND ($2::text[] IS NULL OR s.definition_name = ANY($2::text[]))
    AND EXISTS (
      SELECT 1 FROM jsonb_object_keys(CASE jsonb_typeof(s.state->'attempts') WHEN 'object' THEN s.state->'attempts' ELSE '{}' END) AS a(step)
      WHERE coalesce(s.state->'dueAt'->>a.step, '') <= to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
  FOR UPDATE OF s SKIP LOCKED
)
UPDATE sagas s SET due_at = now() FROM put_off p
WHERE s.bucket = p.bucket AND s.saga_id = p.saga_id AND s.due_at > now()
RETURNING s.saga_id`

export const DECLARE_DEAD = `
WITH db AS (SELECT ${UP_SINCE} AS up_since)
UPDATE workers w SET ended_at = now(), end_reason = $2, holds = 0
FROM db
WHERE w.worker_id = $1::uuid AND w.ended_at IS NULL AND w.backend_pid IS NOT DISTINCT FROM $3::int4
  AND ${DEAD} IS NOT NULL
RETURNING w.worker_id`

/** Locks in no particular order, so it skips what is locked: the next sweep finds it. */
export const SWEEP = `
WITH lost AS (
  SELECT s.bucket, s.saga_id FROM sagas s
  WHERE s.owner IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.worker_id = s.owner AND w.ended_at IS NULL)
  LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE sagas s SET owner = NULL, epoch = s.epoch + 1, leases_lost = s.leases_lost + 1,
  due_at = CASE WHEN (s.status = 'stuck' OR s.paused) AND s.mail_seq = s.mail_seen THEN NULL ELSE now() END
FROM lost
WHERE s.bucket = lost.bucket AND s.saga_id = lost.saga_id AND s.owner IS NOT NULL
RETURNING s.saga_id`

const STOP = `UPDATE workers w SET ended_at = now(), end_reason = 'stopped', holds = 0
WHERE w.worker_id = $1::uuid AND w.ended_at IS NULL`
