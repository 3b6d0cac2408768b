import { Direction, type Json, Status, Verb } from '@backstitch/core'
import { sql } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import { bucketOf } from './ids.ts'
import { outsideTelling, tellOutbox } from './outbox.ts'

/**
 * Notes for the holder of a saga. Whoever is not the holder never writes its state: it leaves a letter here in one small
 * statement, which makes the saga due, and whose answer is exact because no saga ends over unread mail (S25, M1).
 */
export const Letter = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('cancel'), actor: z.string(), reason: z.string() }),
  z.object({
    kind: z.literal('verb'),
    verb: Verb,
    actor: z.string(),
    reason: z.string(),
    step: z.string().optional(),
    decidedOn: z.int().optional(),
    /** What is to take the place of the step's input (S30a). */
    input: z.custom<Json>((value) => value !== undefined).optional(),
    force: z.boolean().optional(),
  }),
  z.object({
    kind: z.literal('signal'),
    signal: z.string(),
    payload: z.custom<Json>((value) => value !== undefined),
  }),
  /** How an asynchronous attempt has ended (M3). */
  z.object({
    kind: z.literal('callback'),
    step: z.string(),
    direction: Direction,
    end: z.union([
      z.object({ result: z.custom<Json>((value) => value !== undefined) }),
      z.object({ error: z.object({ code: z.string(), message: z.string(), retryable: z.boolean() }) }),
    ]),
  }),
  /** News of a saga that was started to carry out a step, or to undo one (M4). */
  z.object({
    kind: z.literal('childReport'),
    sagaId: z.string(),
    status: Status,
    clean: z.boolean().optional(),
    reason: z.string().optional(),
    result: z.custom<Json>((value) => value !== undefined).optional(),
  }),
  z.object({
    kind: z.literal('lateResult'),
    step: z.string(),
    direction: Direction,
    attempt: z.int(),
    outcome: z.enum(['succeeded', 'rejected', 'failed', 'uncertain']),
  }),
])
export type Letter = z.infer<typeof Letter>

/** It was written by a newer release; a worker of that release can read it (F80). */
export class UnknownLetter extends Error {
  override readonly name = 'UnknownLetter'
}

/** Where the saga stood when the letter arrived, or why it could not. */
export type Posted =
  | { is: 'posted'; status: Status; version: number; queue: string }
  | { is: 'ended'; status: Status; version: number }
  /** The row is not in the state the letter requires. */
  | { is: 'refused'; status: Status; version: number; pastPivot: boolean }
  | { is: 'unknown' }

export type Mailbox = {
  /** Leaves a letter. `when` narrows the sagas that take it; a saga that has ended takes none. */
  post(
    sagaId: string,
    letter: Letter,
    when?: { status?: Status; version?: number; beforePivot?: boolean },
  ): Promise<Posted>
  /** The letters after `after`, in order; at most `limit`. */
  read(sagaId: string, after: number, limit?: number): Promise<{ seq: number; letter: Letter }[]>
  /** What nobody has read yet, in order; at most 100. */
  unread(sagaId: string): Promise<Letter[]>
  /** Ends any saga by a statement that reads nothing of its state (S30b). */
  abandon(sagaId: string, by: { actor: string; reason: string }, when?: { version?: number }): Promise<Posted>
}

/**
 * What a statement that ends a saga, or leaves it stuck, without reading its state adds to itself: the saga that waits for
 * it gets a letter in the same commit (M4). `u` are the rows that were updated.
 */
export function tellParent(status: Status): string {
  return `p AS (
    UPDATE sagas s SET mail_seq = s.mail_seq + 1, due_at = CASE WHEN s.owner IS NULL THEN now() END
    FROM u WHERE s.bucket = u.bucket AND s.saga_id = u.parent_saga_id AND s.ended_at IS NULL
    RETURNING s.bucket, s.saga_id, s.mail_seq, u.saga_id AS child
  ), pm AS (
    INSERT INTO saga_mail AS m (bucket, saga_id, seq, body)
    SELECT bucket, saga_id, mail_seq,
           jsonb_build_object('kind', 'childReport', 'sagaId', child, 'status', '${status}') FROM p
  )`
}

/** Before and after who did it and why. */
const [TELL = '', TOLD = ''] = outsideTelling('abandoned', "'{}'::jsonb", '?').split('?')

export function createMailbox(database: Database): Mailbox {
  async function whereNow(sagaId: string): Promise<Posted> {
    const row = await database
      .selectFrom('sagas')
      .select(['status', 'version', 'ended_at', 'past_pivot'])
      .where('bucket', '=', bucketOf(sagaId))
      .where('saga_id', '=', sagaId)
      .executeTakeFirst()
    if (row === undefined) return { is: 'unknown' }
    const { version, past_pivot: pastPivot } = row
    const status = Status.parse(row.status)
    return row.ended_at !== null
      ? { is: 'ended', status, version }
      : { is: 'refused', status, version, pastPivot }
  }

  return {
    async post(sagaId, letter, when = {}) {
      const { rows } = await sql<{ status: Status; version: number; queue: string }>`
        WITH u AS (
          UPDATE sagas s SET mail_seq = s.mail_seq + 1, due_at = CASE WHEN s.owner IS NULL THEN now() END
          WHERE s.bucket = ${bucketOf(sagaId)} AND s.saga_id = ${sagaId} AND s.ended_at IS NULL
            AND (${when.status ?? null}::text IS NULL OR s.status = ${when.status ?? null})
            AND (${when.version ?? null}::int8 IS NULL OR s.version = ${when.version ?? null})
            AND NOT (${when.beforePivot === true} AND s.past_pivot)
          RETURNING s.bucket, s.saga_id, s.mail_seq, s.status, s.version, s.queue
        ), m AS (
          INSERT INTO saga_mail AS m (bucket, saga_id, seq, body)
          SELECT bucket, saga_id, mail_seq, ${JSON.stringify(letter)}::jsonb FROM u
        )
        SELECT status, version, queue FROM u`.execute(database)
      const [row] = rows
      return row === undefined ? whereNow(sagaId) : { is: 'posted', ...row }
    },

    async read(sagaId, after, limit = 100) {
      const rows = await database
        .selectFrom('saga_mail')
        .select(['seq', 'body'])
        .where('bucket', '=', bucketOf(sagaId))
        .where('saga_id', '=', sagaId)
        .where('seq', '>', after)
        .orderBy('seq')
        .limit(limit)
        .execute()
      return rows.map(({ seq, body }) => {
        const parsed = Letter.safeParse(body)
        if (!parsed.success)
          throw new UnknownLetter(`letter ${seq} of saga ${sagaId} is of a kind unknown to this release`)
        return { seq, letter: parsed.data }
      })
    },

    async unread(sagaId) {
      const rows = await database
        .selectFrom('saga_mail as m')
        .innerJoin('sagas as s', (join) =>
          join.onRef('s.bucket', '=', 'm.bucket').onRef('s.saga_id', '=', 'm.saga_id'),
        )
        .select('m.body')
        .where('m.bucket', '=', bucketOf(sagaId))
        .where('m.saga_id', '=', sagaId)
        .whereRef('m.seq', '>', 's.mail_seen')
        .orderBy('m.seq')
        .limit(100)
        .execute()
      return rows.flatMap(({ body }) => Letter.safeParse(body).data ?? [])
    },

    async abandon(sagaId, { actor, reason }, when = {}) {
      const { rows } = await sql<{ version: number; queue: string }>`
        WITH u AS (
          UPDATE sagas s SET
            version = s.version + 1, epoch = s.epoch + 1, status = 'abandoned', owner = NULL, due_at = NULL, paused = false,
            mail_seen = s.mail_seq,
            updated_at = date_trunc('milliseconds', now()), ended_at = date_trunc('milliseconds', now()),
            state = CASE WHEN jsonb_typeof(s.state) = 'object' THEN (s.state - ARRAY['dueAt', 'waiting', 'stuck', 'gaveUp', 'leasesLost', 'paused']) || jsonb_build_object(
              'status', 'abandoned', 'attempts', '{}'::jsonb,
              'updatedAt', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) ELSE s.state END
          FROM (SELECT status FROM sagas WHERE bucket = ${bucketOf(sagaId)} AND saga_id = ${sagaId} FOR UPDATE) AS before
          WHERE s.bucket = ${bucketOf(sagaId)} AND s.saga_id = ${sagaId} AND s.ended_at IS NULL
            AND (${when.version ?? null}::int8 IS NULL OR s.version = ${when.version ?? null})
          RETURNING s.bucket, s.saga_id, s.version, s.updated_at, s.epoch, s.queue, s.parent_saga_id, 1 AS n,
            ${sql.raw(TELL)}${JSON.stringify({ verb: 'abandon', actor, reason })}::jsonb${sql.raw(TOLD)} AS events
        ), ${sql.raw(tellParent('abandoned'))}, ${sql.raw(tellOutbox)}, h AS (
          INSERT INTO saga_history AS h (bucket, saga_id, seq, at, kind, epoch, worker, body)
          SELECT bucket, saga_id, version, updated_at, 'abandoned', epoch, NULL,
                 ${JSON.stringify({ actor, reason, to: { status: 'abandoned', attempts: {} } })}::json FROM u
        )
        SELECT version, queue FROM u`.execute(database)
      const [row] = rows
      return row === undefined ? whereNow(sagaId) : { is: 'posted', status: 'abandoned', ...row }
    },
  }
}
