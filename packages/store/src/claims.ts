import { SagaState } from '@backstitch/core'
import { DATABASE_NOW, type DatabaseClock } from './clock.ts'
import type { Lease } from './commits.ts'
import { createLane, type LaneOptions, type Statement } from './lane.ts'

/** A saga that now belongs to this worker, as it stood when it was claimed. */
export type Claimed = {
  lease: Lease
  queue: string
  definition: { name: string; version: number }
  version: number
  /** The state, or a sentence that says why it cannot be read (S29). */
  state: SagaState | { unreadable: string }
  leasesLost: number
  mailSeq: number
  mailSeen: number
}

/** A definition in its queue. */
export type Queued = { queue: string; name: string }

/** Who comes first where more is due than there is room for (S20). Each part may be left out. */
export type Turns = {
  /** By queue: the definition that was served last. */
  after?: ReadonlyMap<string, string>
  /** What the worker holds sagas of, the fewest first: these definitions come after all others. */
  held?: readonly Queued[]
  /** So many of one definition at most. */
  share?: number
  /** So many at most come first because they have mail. */
  mail?: number
}

export type Claims = {
  /**
   * Takes up to `limit` due sagas of these queues, and any with unread mail (S20): first those with mail, then what nothing is
   * held of, then the rest. The queues come in the order given, the definitions of each in the order of their names, from
   * the one after that which was served last, and round; of each the oldest first.
   */
  claim(queues: readonly string[], limit: number, turns?: Turns): Promise<Claimed[]>
  /**
   * Takes the one saga that has waited longest among those whose last two workers died over it (S19). It is run alone.
   */
  claimSuspect(queues: readonly string[]): Promise<Claimed[]>
  /**
   * Takes again, under a new epoch, what already belongs to this worker but is not being run: a claim whose answer was
   * lost, or a saga that was dropped while the database was away.
   */
  takeAgain(leases: readonly Lease[]): Promise<Claimed[]>
  /** Milliseconds until the next saga of these queues is due, if any is waiting. */
  nextDueMs(
    queues: readonly string[],
  ): Promise<{ dueMs: number | undefined; suspectWaitingMs: number | undefined }>
  close(): Promise<void>
}

export function createClaims(options: LaneOptions & { workerId: string }, clock: DatabaseClock): Claims {
  const lane = createLane(options)

  async function take(statement: Statement, values: unknown[]): Promise<Claimed[]> {
    const sentAt = performance.now()
    const rows = await lane.query(statement, values)
    const now = rows[0]?.[9]
    if (typeof now === 'number') clock.saw(now, sentAt)
    return rows.map(decode)
  }

  return {
    claim: (queues, limit, { after, held = [], share = limit, mail = limit } = {}) =>
      take(CLAIM, [
        options.workerId,
        queues,
        queues.map((queue) => after?.get(queue) ?? ''),
        limit,
        held.map(({ queue }) => queue),
        held.map(({ name }) => name),
        share,
        mail,
      ]),
    claimSuspect: (queues) => take(CLAIM_SUSPECT, [options.workerId, queues]),

    takeAgain: (leases) =>
      take(TAKE_AGAIN, [
        options.workerId,
        leases.map(({ bucket }) => bucket),
        leases.map(({ sagaId }) => sagaId),
        leases.map(({ epoch }) => epoch),
      ]),

    async nextDueMs(queues) {
      const [row] = await lane.query(NEXT_DUE, [queues])
      const [dueMs, suspectWaitingMs] = row ?? []
      return {
        dueMs: typeof dueMs === 'number' ? Math.max(0, dueMs) : undefined,
        suspectWaitingMs: typeof suspectWaitingMs === 'number' ? suspectWaitingMs : undefined,
      }
    },

    close: () => lane.close(),
  }
}

/** A claim by a worker that has been declared dead must find nothing. One that slips through is swept up (S17). */
const ALIVE = 'EXISTS (SELECT 1 FROM workers w WHERE w.worker_id = $1::uuid AND w.ended_at IS NULL)'
const TAKE = `
UPDATE sagas s SET owner = $1::uuid, epoch = s.epoch + 1, due_at = NULL
FROM c
WHERE s.bucket = c.bucket AND s.saga_id = c.saga_id
RETURNING s.bucket, s.saga_id, s.epoch, s.version, s.definition_name, s.definition_version, s.leases_lost, s.mail_seq,
          s.mail_seen, ${DATABASE_NOW.replace('clock_timestamp()', 'now()')}, s.state, s.queue`

/** Of queue `q`: the next definition after `name` that has anything due, now or later, and when, by one look into the index. */
const nextAfter = (name: string) => `(
      SELECT s.definition_name AS name, s.due_at FROM sagas s
      WHERE s.queue = q.queue AND s.definition_name > ${name} AND s.due_at IS NOT NULL
      ORDER BY s.definition_name, s.due_at LIMIT 1)`

/** All such definitions, from the one after `low` to `high`, or to the last. Only as many are looked up as are asked for. */
const namesBetween = (low: string, high: string) => `(
    WITH RECURSIVE n AS (
      SELECT f.name, f.due_at FROM ${nextAfter(low)} AS f
      UNION ALL
      SELECT f.name, f.due_at FROM n CROSS JOIN LATERAL ${nextAfter('n.name')} AS f WHERE ${high} IS NULL OR n.name <= ${high}
    )
    SELECT name, due_at FROM n WHERE ${high} IS NULL OR name <= ${high}
  )`

/** Of one definition of a queue, oldest first, and no more than is still wanted: the rest waits there in its order (F07). */
const DUE_OF_NAME = `(
    SELECT s.bucket, s.saga_id FROM sagas s
    WHERE s.queue = n.queue AND s.definition_name = n.name AND s.due_at <= now() AND s.leases_lost < 2
    ORDER BY s.due_at LIMIT least($4::int4, $7::int4) FOR UPDATE SKIP LOCKED
  )`

/**
 * Mail first: it asks for little, and an operator waits for it. Then the definitions that this worker holds nothing of: the
 * queues, and in each its definitions, from the one whose turn it is and round. Then those that it does hold, the fewest
 * first: what becomes free goes to whoever has least (S20). What was taken for its mail is passed by where it comes again.
 */
export const CLAIM: Statement = {
  name: 'claim',
  text: `
WITH c AS (
  SELECT m.bucket, m.saga_id FROM (
    SELECT s.bucket, s.saga_id FROM sagas s
    WHERE s.mail_seq > s.mail_seen AND s.owner IS NULL AND s.due_at <= now() AND s.leases_lost < 2
    ORDER BY s.due_at LIMIT $8::int4 FOR UPDATE SKIP LOCKED
  ) m
  WHERE ${ALIVE}
  UNION ALL
  SELECT d.bucket, d.saga_id FROM (
    SELECT q.queue, n.name FROM unnest($2::text[], $3::text[]) AS q(queue, after)
    CROSS JOIN LATERAL (VALUES (q.after, NULL::text), ('', q.after)) AS pass(low, high)
    CROSS JOIN LATERAL ${namesBetween('pass.low', 'pass.high')} AS n
    WHERE n.due_at <= now() AND (q.queue, n.name) NOT IN (SELECT * FROM unnest($5::text[], $6::text[]))
    UNION ALL
    SELECT h.queue, h.name FROM unnest($5::text[], $6::text[]) AS h(queue, name) WHERE h.queue = ANY ($2::text[])
  ) AS n
  CROSS JOIN LATERAL ${DUE_OF_NAME} AS d
  WHERE ${ALIVE}
  LIMIT $4::int4
)${TAKE}`,
}

export const CLAIM_SUSPECT: Statement = {
  name: 'claim_suspect',
  text: `
WITH c AS (
  SELECT s.bucket, s.saga_id FROM sagas s
  WHERE s.leases_lost >= 2 AND s.due_at <= now() AND (s.queue = ANY($2::text[]) OR s.mail_seq > s.mail_seen) AND ${ALIVE}
  ORDER BY s.due_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED
)${TAKE}`,
}

export const TAKE_AGAIN: Statement = {
  name: 'take_again',
  text: `
WITH c AS (
  SELECT s.bucket, s.saga_id FROM unnest($2::int2[], $3::uuid[], $4::int8[]) AS i(bucket, saga_id, epoch)
  JOIN sagas s ON s.bucket = i.bucket AND s.saga_id = i.saga_id AND s.epoch = i.epoch
    AND s.owner IS NOT DISTINCT FROM $1::uuid  -- not '=', which would lead the planner to the index of all that is held
  WHERE ${ALIVE}
  FOR UPDATE OF s
)${TAKE}`,
}

export const NEXT_DUE: Statement = {
  name: 'next_due',
  text: `
SELECT
  (SELECT (extract(epoch FROM min(CASE WHEN n.due_at > now() THEN n.due_at ELSE (
     SELECT s.due_at FROM sagas s
     WHERE s.queue = q.queue AND s.definition_name = n.name AND s.due_at > now() ORDER BY s.due_at LIMIT 1) END) - now()) * 1000)::float8
   FROM unnest($1::text[]) AS q(queue)
   CROSS JOIN LATERAL ${namesBetween("''", 'NULL::text')} AS n),
  (SELECT (extract(epoch FROM now() - s.due_at) * 1000)::float8 FROM sagas s
   WHERE s.leases_lost >= 2 AND s.due_at <= now() AND (s.queue = ANY($1::text[]) OR s.mail_seq > s.mail_seen) ORDER BY s.due_at LIMIT 1)`,
}

function decode(row: unknown[]): Claimed {
  const [
    bucket,
    sagaId,
    epoch,
    version,
    name,
    definitionVersion,
    leasesLost,
    mailSeq,
    mailSeen,
    ,
    document,
    queue,
  ] = row
  return {
    lease: { bucket: Number(bucket), sagaId: String(sagaId), epoch: Number(epoch) },
    queue: String(queue),
    version: Number(version),
    definition: { name: String(name), version: Number(definitionVersion) },
    leasesLost: Number(leasesLost),
    mailSeq: Number(mailSeq),
    mailSeen: Number(mailSeen),
    state: decodeState(document),
  }
}

/** What a newer release has added is kept as it is, and written back: this worker may hold its sagas, too (F80). */
const StoredState = SagaState.loose()

export function decodeState(document: unknown): SagaState | { unreadable: string } {
  const parsed = StoredState.safeParse(document)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  return {
    unreadable: `the stored state cannot be read: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
  }
}
