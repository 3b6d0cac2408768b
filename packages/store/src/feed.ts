import { EVENT_TYPES, Status, Telling } from '@backstitch/core'
import { type Kysely, sql, type Transaction } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import { isSagaId } from './ids.ts'
import { tidy } from './retention.ts'
import type { Tables } from './tables.ts'

/**
 * The feed: what has happened, in one order for the whole installation (M6). Events leave with the commits that make them happen
 * (outbox.ts). One publisher at a time gives them their places: whoever has locked the feed's row. So no place is ever filled after a
 * later one, and a reader who asks for what comes after the last it has seen misses nothing.
 */
export type Feed = {
  /**
   * Gives what waits its places, up to `limit` rows of it. In the same transaction the counts are kept, acts are noted in the
   * audit log, and deliveries are made for the webhooks that want them. `more`: there may be more.
   */
  publish(limit?: number): Promise<Published>
  /** Oldest first. `last`: the place up to which there is nothing else; where there is `more`, ask again from there. */
  events(filter: EventFilter, page: { after: number; limit: number }): Promise<FeedPage>
  /** The place of the newest event; 0 if there never was one. */
  last(): Promise<number>
  /** Counts the sagas themselves and corrects the counts that are kept. It reads the whole table. */
  recount(): Promise<void>
  /** Removes what is older than it is kept, a little at a time: events, and whatever else is kept for a time only. */
  tidy(): Promise<void>
}

export type Published = {
  events: number
  /** What was there and is no event: somebody has written into the table by hand. */
  unreadable: number
  more: boolean
  /** Does a webhook want to hear of steps? */
  steps: boolean
}

export type EventFilter = {
  types?: readonly string[] | undefined
  definition?: string | undefined
  sagaId?: string | undefined
}

export type PlacedEvent = Telling & { position: number }

export type FeedPage = { items: PlacedEvent[]; last: number; more: boolean }

/** Whoever publishes and is silent for so long is frozen: the database takes the feed away from it. */
const HOLD_MS = 10_000

/** One list for each transition that had something to tell. */
const Told = z.array(z.array(z.unknown()))
/** Rows looked at for one page, and events: a filter that fits few is answered in several pages. */
const READ_ROWS = 20
const READ_EVENTS = 5_000
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
    async publish(limit = 500) {
      const { rows: known } = await sql<{ waiting: boolean; steps: boolean }>`
        SELECT EXISTS (SELECT 1 FROM events WHERE last_position IS NULL) AS waiting,
          EXISTS (SELECT 1 FROM webhooks w, unnest(w.types) t WHERE w.enabled AND t LIKE ANY ('{step.%,*}')) AS steps`.execute(
        database,
      )
      const { waiting = false, steps = false } = known[0] ?? {}
      if (!waiting) return { events: 0, unreadable: 0, more: false, steps }
      return database.transaction().execute(async (trx) => {
        await sql`SELECT set_config('idle_in_transaction_session_timeout', ${String(HOLD_MS)}, true)`.execute(
          trx,
        )
        const { rows: lock } = await sql<{ position: number }>`
          SELECT position FROM feed FOR UPDATE SKIP LOCKED`.execute(trx)
        const [feed] = lock
        // Somebody else is at it.
        if (feed === undefined) return { events: 0, unreadable: 0, more: false, steps }
        const { rows } = await sql<{ bucket: number; batch_id: string; told: unknown }>`
          SELECT bucket, batch_id, told FROM events WHERE last_position IS NULL ORDER BY at LIMIT ${limit}`.execute(
          trx,
        )
        let position = feed.position
        const batches = rows.map(({ bucket, batch_id, told }) => {
          const all = tellingsIn(told)
          const first = position + 1
          position += Math.max(1, all.length)
          return { bucket, batch_id, first, last: position, all }
        })
        const placed = batches.flatMap(({ first, all }) =>
          all.flatMap((one, index) => (one === undefined ? [] : [{ ...one, position: first + index }])),
        )
        if (batches.length > 0) {
          await place(trx, batches)
          await count(trx, placed)
          await noteActs(trx, placed)
          await makeDeliveries(trx, placed)
          await sql`UPDATE feed SET position = ${position}`.execute(trx)
        }
        const events = placed.length
        const unreadable = position - feed.position - events
        return { events, unreadable, more: rows.length === limit, steps }
      })
    },

    async events(filter, { after, limit }) {
      // First, so that nothing that comes between the two is passed over.
      const newest = await last()
      const fits = fitting(filter)
      const items: PlacedEvent[] = []
      let place = after
      for (let looked = 0; place < newest && looked < READ_EVENTS; ) {
        const { rows } = await sql<{ first_position: number; last_position: number; told: unknown }>`
          SELECT first_position, last_position, told FROM events
          WHERE last_position > ${place} AND last_position <= ${newest} ORDER BY last_position LIMIT ${READ_ROWS}`.execute(
          database,
        )
        if (rows.length === 0) return { items, last: newest, more: false }
        for (const row of rows) {
          for (const [index, one] of tellingsIn(row.told).entries()) {
            const position = row.first_position + index
            if (position <= place) continue
            place = position
            looked++
            const event = one === undefined ? undefined : Telling.safeParse(one).data
            if (event === undefined || !fits(event)) continue
            items.push({ ...event, position })
            if (items.length === limit) return { items, last: place, more: place < newest }
          }
          place = Math.max(place, row.last_position)
        }
      }
      return { items, last: place, more: place < newest }
    },

    last,

    async recount() {
      await database.transaction().execute(async (trx) => {
        await sql`SELECT 1 FROM feed FOR UPDATE`.execute(trx)
        // Another statement, so that its snapshot is from after the wait: what has been published meanwhile is in it.
        await sql`
        WITH waiting AS (
          SELECT e->'definition'->>'name' AS definition_name, d.status, sum(d.n) AS n
          FROM (SELECT told FROM events WHERE last_position IS NULL) w
          CROSS JOIN LATERAL json_array_elements(told) l CROSS JOIN LATERAL json_array_elements(l) e
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

    tidy: () => tidy(database),
  }
}

/** Each by its place; undefined where something is no event. Only as much is looked at as a publisher needs. */
function tellingsIn(told: unknown): (Telling | undefined)[] {
  const lists = Told.safeParse(told)
  if (!lists.success) return []
  return lists.data.flat().map((one) => (isTelling(one) ? one : undefined))
}

/** A shape of ours, made by the release that is running or by the next: hundreds a second need not be parsed in full. */
function isTelling(one: unknown): one is Telling {
  if (typeof one !== 'object' || one === null) return false
  if (!('type' in one) || !('at' in one) || !('sagaId' in one) || !('status' in one)) return false
  if (!('definition' in one) || typeof one.definition !== 'object' || one.definition === null) return false
  if (!('data' in one) || typeof one.data !== 'object' || one.data === null) return false
  if (!Status.safeParse(one.status).success) return false
  if ('was' in one && !Status.safeParse(one.was).success) return false
  return (
    typeof one.type === 'string' &&
    typeof one.at === 'string' &&
    !Number.isNaN(Date.parse(one.at)) &&
    typeof one.sagaId === 'string' &&
    isSagaId(one.sagaId) &&
    'name' in one.definition &&
    typeof one.definition.name === 'string'
  )
}

function fitting({ types, definition, sagaId }: EventFilter): (event: Telling) => boolean {
  const wanted = types === undefined ? undefined : new Set(types)
  return (event) =>
    (wanted === undefined || wanted.has(event.type)) &&
    (definition === undefined || definition === event.definition.name) &&
    (sagaId === undefined || sagaId === event.sagaId)
}

type Connection = Transaction<Tables> | Kysely<Tables>

type Batch = { bucket: number; batch_id: string; first: number; last: number }

async function place(trx: Connection, batches: readonly Batch[]): Promise<void> {
  await sql`
    UPDATE events e SET first_position = i.first, last_position = i.last
    FROM unnest(
      ${batches.map(({ bucket }) => bucket)}::int2[], ${batches.map(({ batch_id }) => batch_id)}::uuid[],
      ${batches.map(({ first }) => first)}::int8[], ${batches.map(({ last }) => last)}::int8[]
    ) AS i(bucket, batch_id, first, last)
    WHERE e.bucket = i.bucket AND e.batch_id = i.batch_id`.execute(trx)
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
