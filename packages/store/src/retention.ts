import { type RawBuilder, sql } from 'kysely'
import type { Database } from './database.ts'

/** What is told, counted and noted is kept for a time. Sagas and their histories are not touched. */

/** Events, what became of deliveries, and what is counted by the minute. */
const TOLD_DAYS = 7
/** Operations on many sagas, from their end. */
const BULK_DAYS = 30
/** Who did what, and why: a year, and time to notice that it has passed. */
const AUDIT_DAYS = 400

const EVERY_MS = 60_000
/** At once: nobody waits long for a row, and the log is written evenly. */
const ROWS = 5_000

/**
 * Removes some of what is older than it is kept. Once a minute, whoever comes first; where there was more than is removed at
 * once, the next may go on at once.
 */
export async function tidy(database: Database): Promise<void> {
  const { rows } = await sql`
    UPDATE feed SET tidied_at = now() WHERE tidied_at < now() - ${EVERY_MS} * interval '1 millisecond'
    RETURNING 1`.execute(database)
  if (rows.length === 0) return
  let more = false
  for (const statement of [
    // Places are given in the order of time.
    sql`DELETE FROM events WHERE at < ${daysAgo(TOLD_DAYS)} AND last_position IN (
      SELECT last_position FROM events WHERE last_position IS NOT NULL ORDER BY last_position LIMIT ${ROWS})`,
    sql`DELETE FROM saga_minutes WHERE (minute, definition_name, event) IN (
      SELECT minute, definition_name, event FROM saga_minutes WHERE minute < ${daysAgo(TOLD_DAYS)} LIMIT ${ROWS})`,
    // What a disabled webhook was still to be told is no news when it is enabled again.
    sql`DELETE FROM webhook_deliveries WHERE delivery_id IN (
      SELECT d.delivery_id FROM webhooks w CROSS JOIN LATERAL (
        SELECT delivery_id FROM webhook_deliveries
        WHERE webhook_id = w.webhook_id AND created_at < ${daysAgo(TOLD_DAYS)} AND (state <> 'pending' OR NOT w.enabled)
        ORDER BY created_at LIMIT ${ROWS}) d
      LIMIT ${ROWS})`,
    sql`DELETE FROM bulk_items WHERE (bulk_id, n) IN (
      SELECT i.bulk_id, i.n FROM bulk_operations b JOIN bulk_items i USING (bulk_id)
      WHERE b.ended_at < ${daysAgo(BULK_DAYS)} LIMIT ${ROWS})`,
    sql`DELETE FROM bulk_operations b WHERE ended_at < ${daysAgo(BULK_DAYS)}
      AND NOT EXISTS (SELECT FROM bulk_items i WHERE i.bulk_id = b.bulk_id)`,
    sql`DELETE FROM audit_log WHERE (at, audit_id) IN (
      SELECT at, audit_id FROM audit_log WHERE at < ${daysAgo(AUDIT_DAYS)} ORDER BY at LIMIT ${ROWS})`,
  ]) {
    const { numAffectedRows = 0n } = await statement.execute(database)
    if (numAffectedRows >= BigInt(ROWS)) more = true
  }
  if (more) await sql`UPDATE feed SET tidied_at = '-infinity'`.execute(database)
}

function daysAgo(days: number): RawBuilder<Date> {
  return sql`now() - ${days} * interval '1 day'`
}
