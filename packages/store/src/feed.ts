import { EVENT_TYPES, Telling } from '@backstitch/core'
import { type Kysely, sql, type Transaction } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import type { Tables } from './tables.ts'

/**
 * The feed: what has happened, in one order for the whole installation (M6). Events leave with the commits that make them happen
 * (outbox.ts). One publisher at a time gives them their places: whoever has locked the feed's row. So no place is ever filled after a
 * later one, and a reader who asks for what comes after the last it has seen misses nothing.
 */
export type Feed = {
  /**
   * Publishes what waits, up to `limit` rows of the outbox. In the same transaction the counts are kept, acts are noted in the
   * audit log, and deliveries are made for the webhooks that want them. `more`: there may be more.
   */
  publish(limit?: number): Promise<Published>
  /** Oldest first. `last`: the place up to which there is nothing else. */
  events(
    filter: EventFilter,
    page: { after: number; limit: number },
  ): Promise<{ items: PlacedEvent[]; last: number }>
  /** The place of the newest event; 0 if there never was one. */
  last(): Promise<number>
  /** Counts the sagas themselves and corrects the counts that are kept. It reads the whole table. */
  recount(): Promise<void>
  /** Removes what is older than it is kept, a little at a time. */
  tidy(): Promise<void>
}

export type Published = {
  events: number
  /** What stood in the outbox and is no event: somebody has written into it by hand. */
  unreadable: number
  more: boolean
  /** Does a webhook want to hear of steps? Unknown where somebody else publishes. */
  steps: boolean | undefined
}

export type EventFilter = {
  types?: readonly string[] | undefined
  definition?: string | undefined
  sagaId?: string | undefined
}

export type PlacedEvent = Telling & { position: number }

const KEPT_DAYS = 7
const TIDY_EVERY_MS = 60_000
const TIDY_ROWS = 5_000
/** Whoever publishes and is silent for so long is frozen: the database takes the feed away from it. */
const HOLD_MS = 10_000

/** One list for each transition that had something to tell. */
const Told = z.array(z.array(z.unknown()))
/** What is counted by the minute. */
const COUNTED = new Set<string>([
  'saga.started',
  'saga.completed',
  'saga.failed',
  'saga.cancelled',
  'saga.abandoned',
  'saga.stuck',
])

export function createFeed(database: Database): Feed {
  async function last(): Promise<number> {
    const { position } = await database.selectFrom('feed').select('position').executeTakeFirstOrThrow()
    return position
  }

  return {
    publish: (limit = 500) =>
      database.transaction().execute(async (trx) => {
        await sql`SELECT set_config('idle_in_transaction_session_timeout', ${String(HOLD_MS)}, true)`.execute(
          trx,
        )
        const { rows: lock } = await sql<{ position: number; tidied_at: Date; now: Date; steps: boolean }>`
          SELECT position, tidied_at, now() AS now,
            EXISTS (SELECT 1 FROM webhooks WHERE enabled AND EXISTS (SELECT 1 FROM unnest(types) t WHERE t LIKE 'step.%')) AS steps
          FROM feed FOR UPDATE SKIP LOCKED`.execute(trx)
        const [feed] = lock
        // Somebody else is at it.
        if (feed === undefined) return { events: 0, unreadable: 0, more: false, steps: undefined }
        const { rows } = await sql<{ events: unknown }>`
          WITH t AS (SELECT bucket, outbox_id FROM outbox ORDER BY at LIMIT ${limit}),
          d AS (DELETE FROM outbox o USING t WHERE o.bucket = t.bucket AND o.outbox_id = t.outbox_id RETURNING o.at, o.events)
          SELECT events FROM d ORDER BY at`.execute(trx)
        const read = rows.map(({ events }) => tellingsIn(events))
        const events = read.flatMap(({ tellings }) => tellings)
        const unreadable = read.reduce((sum, one) => sum + one.unreadable, 0)
        if (events.length > 0) {
          const placed = events.map((event, index) => ({ ...event, position: feed.position + index + 1 }))
          await place(trx, placed)
          await count(trx, placed)
          await noteActs(trx, placed)
          await makeDeliveries(trx, placed)
          await sql`UPDATE feed SET position = ${feed.position + placed.length}`.execute(trx)
        }
        return { events: events.length, unreadable, more: rows.length === limit, steps: feed.steps }
      }),

    async events({ types, definition, sagaId }, { after, limit }) {
      let query = database.selectFrom('events').select(['position', 'body']).where('position', '>', after)
      if (types !== undefined) query = query.where('type', 'in', types)
      if (definition !== undefined) query = query.where('definition_name', '=', definition)
      if (sagaId !== undefined) query = query.where('saga_id', '=', sagaId)
      // First, so that nothing that comes between the two is passed over.
      const newest = await last()
      const rows = await query.where('position', '<=', newest).orderBy('position').limit(limit).execute()
      const items = rows.map(({ position, body }) => ({ ...Telling.parse(body), position }))
      const full = items.length === limit ? items.at(-1)?.position : undefined
      return { items, last: full ?? Math.max(newest, after) }
    },

    last,

    async recount() {
      await database.transaction().execute(async (trx) => {
        await sql`SELECT 1 FROM feed FOR UPDATE`.execute(trx)
        // Another statement, so that its snapshot is from after the wait: what has been published meanwhile is in it.
        await sql`
        WITH waiting AS (
          SELECT e->'definition'->>'name' AS definition_name, d.status, sum(d.n) AS n
          FROM outbox CROSS JOIN LATERAL json_array_elements(events) l CROSS JOIN LATERAL json_array_elements(l) e
          CROSS JOIN LATERAL (VALUES (e->>'status', 1), (e->>'was', -1)) AS d(status, n)
          WHERE d.status IS NOT NULL AND e->>'type' LIKE 'saga.%' AND e->>'type' <> 'saga.acted'
          GROUP BY 1, 2
        ), counted AS (
          SELECT definition_name, status::text, count(*) AS n FROM sagas GROUP BY 1, 2
        ), right_ones AS (
          SELECT definition_name, status, coalesce(c.n, 0) - coalesce(w.n, 0) AS n
          FROM counted c FULL JOIN waiting w USING (definition_name, status)
        ), cleared AS (
          UPDATE saga_counts k SET count = 0 WHERE NOT EXISTS (
            SELECT 1 FROM right_ones r WHERE r.definition_name = k.definition_name AND r.status = k.status::text)
        )
        INSERT INTO saga_counts AS k (definition_name, status, count)
        SELECT definition_name, status, n FROM right_ones
        ON CONFLICT (definition_name, status) DO UPDATE SET count = excluded.count`.execute(trx)
      })
    },

    async tidy() {
      const { rows } = await sql`
        UPDATE feed SET tidied_at = now() WHERE tidied_at < now() - ${TIDY_EVERY_MS} * interval '1 millisecond'
        RETURNING 1`.execute(database)
      if (rows.length === 0) return
      await sql`DELETE FROM events WHERE position IN (
        SELECT position FROM events WHERE at < now() - ${KEPT_DAYS} * interval '1 day' ORDER BY position LIMIT ${TIDY_ROWS})`.execute(
        database,
      )
      await sql`DELETE FROM saga_minutes WHERE minute < now() - ${KEPT_DAYS} * interval '1 day'`.execute(
        database,
      )
      await sql`DELETE FROM webhook_deliveries WHERE delivery_id IN (
        SELECT delivery_id FROM webhook_deliveries
        WHERE state <> 'pending' AND created_at < now() - ${KEPT_DAYS} * interval '1 day' LIMIT ${TIDY_ROWS})`.execute(
        database,
      )
    },
  }
}

function tellingsIn(events: unknown): { tellings: Telling[]; unreadable: number } {
  const lists = Told.safeParse(events)
  if (!lists.success) return { tellings: [], unreadable: 1 }
  const parsed = lists.data.flat().map((one) => Telling.safeParse(one))
  const tellings = parsed.flatMap(({ data }) => data ?? [])
  return { tellings, unreadable: parsed.length - tellings.length }
}

type Connection = Transaction<Tables> | Kysely<Tables>

async function place(trx: Connection, events: readonly PlacedEvent[]): Promise<void> {
  await sql`
    INSERT INTO events (position, at, type, definition_name, saga_id, body)
    SELECT * FROM unnest(
      ${events.map(({ position }) => position)}::int8[], ${events.map(({ at }) => at)}::timestamptz[],
      ${events.map(({ type }) => type)}::text[], ${events.map(({ definition }) => definition.name)}::text[],
      ${events.map(({ sagaId }) => sagaId)}::uuid[], ${events.map(bodyOf)}::json[])`.execute(trx)
}

function bodyOf(placed: PlacedEvent): string {
  const { position: _, ...event } = placed
  return JSON.stringify(event)
}

async function count(trx: Connection, events: readonly PlacedEvent[]): Promise<void> {
  const standing = new Map<string, { name: string; status: string; by: number }>()
  const minutes = new Map<string, { minute: string; name: string; event: string; by: number }>()
  const add = (name: string, status: string | undefined, by: number) => {
    if (status === undefined) return
    const one = standing.get(`${name} ${status}`) ?? { name, status, by: 0 }
    one.by += by
    standing.set(`${name} ${status}`, one)
  }
  for (const { type, at, definition, status, was } of events) {
    if (type === 'saga.acted' || !type.startsWith('saga.')) continue
    add(definition.name, status, 1)
    add(definition.name, was, -1)
    if (!COUNTED.has(type)) continue
    const minute = `${at.slice(0, 16)}:00Z`
    const key = `${minute} ${definition.name} ${type}`
    const one = minutes.get(key) ?? {
      minute,
      name: definition.name,
      event: type.slice('saga.'.length),
      by: 0,
    }
    one.by += 1
    minutes.set(key, one)
  }
  const changes = [...standing.values()].filter(({ by }) => by !== 0)
  await sql`
    INSERT INTO saga_counts AS c (definition_name, status, count)
    SELECT * FROM unnest(${changes.map(({ name }) => name)}::text[], ${changes.map(({ status }) => status)}::text[],
                         ${changes.map(({ by }) => by)}::int8[])
    ON CONFLICT (definition_name, status) DO UPDATE SET count = c.count + excluded.count`.execute(trx)
  const some = [...minutes.values()]
  await sql`
    INSERT INTO saga_minutes AS m (minute, definition_name, event, count)
    SELECT * FROM unnest(${some.map(({ minute }) => minute)}::timestamptz[], ${some.map(({ name }) => name)}::text[],
                         ${some.map(({ event }) => event)}::text[], ${some.map(({ by }) => by)}::int8[])
    ON CONFLICT (minute, definition_name, event) DO UPDATE SET count = m.count + excluded.count`.execute(trx)
}

async function noteActs(trx: Connection, events: readonly PlacedEvent[]): Promise<void> {
  const acts = events.filter(({ type }) => type === 'saga.acted')
  if (acts.length === 0) return
  // One parameter for each column: there may be more acts than a statement may have parameters.
  await sql`
    INSERT INTO audit_log (at, actor, act, subject_kind, subject_id, reason, refused)
    SELECT at, actor, act, 'saga', saga_id, reason, refused FROM unnest(
      ${acts.map(({ at }) => at)}::timestamptz[], ${acts.map(({ data }) => data.actor ?? '')}::text[],
      ${acts.map(({ data }) => data.verb ?? '')}::text[], ${acts.map(({ sagaId }) => sagaId)}::text[],
      ${acts.map(({ data }) => data.reason ?? null)}::text[], ${acts.map(({ data }) => data.refused ?? null)}::text[]
    ) AS a(at, actor, act, saga_id, reason, refused)`.execute(trx)
}

/** `saga.*` and `step.*` stand for all of their kind, `*` for everything. */
async function makeDeliveries(trx: Connection, events: readonly PlacedEvent[]): Promise<void> {
  const webhooks = await trx
    .selectFrom('webhooks')
    .select(['webhook_id', 'types', 'definition_name'])
    .where('enabled', '=', true)
    .execute()
  const deliveries = webhooks.flatMap(({ webhook_id, types, definition_name }) => {
    const wanted = typesMeant(types)
    return events
      .filter(
        ({ type, definition }) =>
          wanted.has(type) && (definition_name === null || definition_name === definition.name),
      )
      .map((event) => ({
        webhook_id,
        type: event.type,
        saga_id: event.sagaId,
        event: JSON.stringify(shown(event)),
      }))
  })
  for (let from = 0; from < deliveries.length; from += 1_000) {
    await trx
      .insertInto('webhook_deliveries')
      .values(deliveries.slice(from, from + 1_000))
      .execute()
  }
}

export function typesMeant(types: readonly string[]): Set<string> {
  return new Set(
    EVENT_TYPES.filter((type) =>
      types.some(
        (one) => one === '*' || one === type || (one.endsWith('.*') && type.startsWith(one.slice(0, -1))),
      ),
    ),
  )
}

/** A place is a number to us and a text to others: it may grow. */
export function shown({ position, ...event }: PlacedEvent) {
  return { position: String(position), ...event }
}
