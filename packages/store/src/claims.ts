import { SagaState } from '@backstitch/core'
import { DATABASE_NOW, type DatabaseClock } from './clock.ts'
import type { Lease } from './commits.ts'
import { createLane, type LaneOptions, type Statement } from './lane.ts'

/** A saga that now belongs to this worker, as it stood when it was claimed. */
export type Claimed = {
  lease: Lease
  definition: { name: string; version: number }
  version: number
  /** The state, or a sentence that says why it cannot be read (S29). */
  state: SagaState | { unreadable: string }
  leasesLost: number
  mailSeq: number
  mailSeen: number
}

export type Claims = {
  /** Takes up to `limit` due sagas of these queues, oldest first, and any with unread mail (S20). */
  claim(queues: readonly string[], limit: number): Promise<Claimed[]>
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
    claim: (queues, limit) => take(CLAIM, [options.workerId, queues, limit]),
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
          s.mail_seen, ${DATABASE_NOW.replace('clock_timestamp()', 'now()')}, s.state`

/**
 * Mail first: it asks for little, and an operator waits for it. Then each queue in the caller's order, oldest first, and no
 * more than is still wanted; what one queue has too much of waits there in its order (F07).
 */
export const CLAIM: Statement = {
  name: 'claim',
  text: `
WITH c AS (
  SELECT m.bucket, m.saga_id FROM (
    SELECT s.bucket, s.saga_id FROM sagas s
    WHERE s.mail_seq > s.mail_seen AND s.owner IS NULL AND s.due_at <= now() AND s.leases_lost < 2
    ORDER BY s.due_at LIMIT $3::int4 FOR UPDATE SKIP LOCKED
  ) m
  WHERE ${ALIVE}
  UNION ALL
  SELECT d.bucket, d.saga_id FROM unnest($2::text[]) AS q(queue)
  CROSS JOIN LATERAL (
    SELECT s.bucket, s.saga_id FROM sagas s
    WHERE s.queue = q.queue AND s.due_at <= now() AND s.leases_lost < 2 AND s.mail_seq = s.mail_seen
    ORDER BY s.due_at LIMIT $3::int4 FOR UPDATE SKIP LOCKED
  ) d
  WHERE ${ALIVE}
  LIMIT $3::int4
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
  (SELECT min(d.ms) FROM unnest($1::text[]) AS q(queue) CROSS JOIN LATERAL (
     SELECT (extract(epoch FROM s.due_at - now()) * 1000)::float8 AS ms FROM sagas s
     WHERE s.queue = q.queue AND s.due_at > now() ORDER BY s.due_at LIMIT 1) d),
  (SELECT (extract(epoch FROM now() - s.due_at) * 1000)::float8 FROM sagas s
   WHERE s.leases_lost >= 2 AND s.due_at <= now() AND (s.queue = ANY($1::text[]) OR s.mail_seq > s.mail_seen) ORDER BY s.due_at LIMIT 1)`,
}

function decode(row: unknown[]): Claimed {
  const [bucket, sagaId, epoch, version, name, definitionVersion, leasesLost, mailSeq, mailSeen, , document] =
    row
  return {
    lease: { bucket: Number(bucket), sagaId: String(sagaId), epoch: Number(epoch) },
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
