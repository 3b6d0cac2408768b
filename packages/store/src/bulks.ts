import { randomUUID } from 'node:crypto'
import {
  type Bulk,
  BulkFilter,
  type BulkItem,
  BulkItemState,
  BulkState,
  BulkVerb,
  isTerminal,
  MAX_BULK,
  MAX_JUDGED,
  type SagaFilter,
  type SagaState,
  Status,
} from '@backstitch/core'
import { type Selectable, sql } from 'kysely'
import { createAudit } from './audit.ts'
import { decodeState } from './claims.ts'
import type { Database } from './database.ts'
import { isUniqueViolation } from './failure.ts'
import { bucketOf } from './ids.ts'
import { createLists, matching, type Place } from './lists.ts'
import { createMailbox, type Mailbox } from './mailbox.ts'
import type { Tables } from './tables.ts'

/**
 * One verb for many sagas (S30). What is meant is written down when it is asked for, one item for each saga. An item is
 * carried out in a transaction that holds its row: the letter to the saga and the item's result are committed together, so a
 * crash leaves both or neither, and two who carry out the same operation never meet at an item.
 */
export type Bulks = {
  create(wanted: WantedBulk): Promise<{ is: 'created' | 'repeated' | 'conflict'; bulk: Bulk }>
  /** How many there are, up to one more than would be taken; of the newest, whatever `judge` says of each. */
  preview(which: Which, judge: (saga: Judged) => string | undefined): Promise<Preview>
  get(bulkId: string): Promise<Bulk | undefined>
  /** Newest first. */
  list(page: { before?: BulkPlace | undefined; limit: number }): Promise<Bulk[]>
  /** In the order in which they are carried out. */
  items(
    bulkId: string,
    page: { state?: BulkItemState | undefined; after?: number | undefined; limit: number },
  ): Promise<(BulkItem & { n: number })[]>
  /** Answers when nothing more of it will be done. Undefined if it is not there; one that has ended stays as it is. */
  abort(bulkId: string, actor: string): Promise<Bulk | undefined>
  /** Leave to act on some sagas of one operation, as its pace allows; undefined while there is nothing to do. */
  take(): Promise<Turn | undefined>
  /** Milliseconds until there is something to do; undefined if there is no operation under way. */
  nextDueMs(): Promise<number | undefined>
  /** Acts on the next saga of the operation. False: there is none left. Whatever `act` throws leaves it as it was. */
  carryOut(bulkId: string, act: (sagaId: string, tools: BulkTools) => Promise<ItemResult>): Promise<boolean>
  /** What cannot be carried out for a reason nobody expected. */
  fail(bulkId: string, sagaId: string, detail: string): Promise<void>
  /** Ends it if nothing is pending. */
  finish(bulkId: string): Promise<void>
}

/** Sagas by a filter, or by their ids. */
export type Which = { filter: SagaFilter } | { sagaIds: readonly string[] }
export type WantedBulk = Pick<Bulk, 'verb' | 'step' | 'reason' | 'actor' | 'perSecond'> & {
  which: Which
  idempotencyKey?: string | undefined
  /** Tells a repetition from another request under the same key. */
  requestHash: string
}
export type BulkPlace = { createdAt: string; bulkId: string }
export type Turn = Pick<Bulk, 'bulkId' | 'verb' | 'step' | 'reason' | 'actor'> & { sagas: number }
export type ItemResult = { state: Exclude<BulkItemState, 'pending'>; detail?: string | undefined }

/** What an operator's verb is decided on. */
export type Judged = {
  sagaId: string
  status: Status
  version: number
  pastPivot: boolean
  state: SagaState | undefined
}

/** On the item's own transaction. */
export type BulkTools = {
  mailbox: Pick<Mailbox, 'post' | 'abandon' | 'unread'>
  read(): Promise<Judged | undefined>
}

export type Preview = {
  matching: number
  judged: number
  possible: number
  why: Map<string, number>
  /** The newest. */
  sample: string[]
}

type Row = Selectable<Tables['bulk_operations']>
type SagaRow = Pick<
  Selectable<Tables['sagas']>,
  'saga_id' | 'created_at' | 'status' | 'version' | 'past_pivot' | 'state'
>

/** What has been asked for of all sagas may take its time, but nobody waits longer. */
const SEARCH_MS = 25_000
/** Whoever holds an item and is silent for so long is frozen. */
const HOLD_MS = 10_000
/** A saga that somebody else holds locked for longer is come back to. */
const LOCK_MS = 2_000
/** How much is acted on at once: a fifth of what a second allows. */
const SLICES = 5
const PAGE = 1_000
const SAMPLE = 10
const NOT_THERE = 'there is no saga with this id'
/** What any verb is possible for. */
const LIVE: readonly Status[] = Status.options.filter((status) => !isTerminal(status))

export function createBulks(database: Database, most = MAX_BULK): Bulks {
  const judgedColumns = ['saga_id', 'created_at', 'status', 'version', 'past_pivot', 'state'] as const
  const lists = createLists<SagaRow>(database, judgedColumns)

  async function insert({ which, ...wanted }: WantedBulk): Promise<Bulk> {
    return database.transaction().execute(async (tx) => {
      await setTimeouts(tx)
      const { bulk_id } = await tx
        .insertInto('bulk_operations')
        .values({
          bulk_id: randomUUID(),
          verb: wanted.verb,
          step: wanted.step ?? null,
          reason: wanted.reason,
          actor: wanted.actor,
          filter: 'filter' in which ? JSON.stringify(which.filter) : null,
          per_second: wanted.perSecond,
          idempotency_key: wanted.idempotencyKey ?? null,
          request_hash: wanted.requestHash,
        })
        .returning('bulk_id')
        .executeTakeFirstOrThrow()
      const meant =
        'filter' in which
          ? sql`SELECT saga_id, row_number() OVER (ORDER BY created_at, saga_id) AS n FROM sagas WHERE ${matching(meantBy(which.filter))}`
          : sql`SELECT saga_id, n FROM unnest(${[...new Set(which.sagaIds)]}::uuid[]) WITH ORDINALITY AS i(saga_id, n)`
      await sql`
        INSERT INTO bulk_items (bulk_id, n, saga_id)
        SELECT ${bulk_id}::uuid, n, saga_id FROM (${meant}) m WHERE n <= ${most + 1}`.execute(tx)
      const { verb, actor, reason } = wanted
      await createAudit(tx).record({ actor, act: verb, kind: 'bulk', id: bulk_id, reason })
      const { numDeletedRows: cut } = await tx
        .deleteFrom('bulk_items')
        .where('bulk_id', '=', bulk_id)
        .where('n', '>', most)
        .executeTakeFirstOrThrow()
      const { rows } = await sql<Row>`
        UPDATE bulk_operations SET cut = ${cut > 0n},
          total = (SELECT count(*) FROM bulk_items WHERE bulk_id = ${bulk_id})
        WHERE bulk_id = ${bulk_id} RETURNING *`.execute(tx)
      const [row] = rows
      if (row === undefined) throw new Error(`bulk operation ${bulk_id} is gone`)
      return present(row)
    })
  }

  async function byKey(key: string): Promise<Row | undefined> {
    return database
      .selectFrom('bulk_operations')
      .selectAll()
      .where('idempotency_key', '=', key)
      .executeTakeFirst()
  }

  /** Of one that goes on, its items are counted; at its end that has been written down. */
  async function counted(row: Row): Promise<Bulk> {
    if (row.state !== 'running') return present(row)
    const { rows } = await sql<Counts>`${countsOf(row.bulk_id)}`.execute(database)
    return present({ ...row, ...rows[0] })
  }

  /** True if it had not ended before. */
  async function end(tx: Database, bulkId: string, state: 'done' | 'aborted'): Promise<boolean> {
    const { numAffectedRows } = await sql`
      UPDATE bulk_operations b SET state = ${state}, next_at = NULL, ended_at = date_trunc('milliseconds', now()),
        accepted = c.accepted, refused = c.refused, failed = c.failed
      FROM (${countsOf(bulkId)}) c WHERE b.bulk_id = ${bulkId} AND b.state = 'running'`.execute(tx)
    return numAffectedRows === 1n
  }

  async function judgedOf(which: Which): Promise<SagaRow[]> {
    if ('sagaIds' in which) {
      const { rows } = await sql<SagaRow>`
        SELECT s.* FROM unnest(${which.sagaIds.map(bucketOf)}::int2[], ${which.sagaIds}::uuid[]) AS i(bucket, saga_id)
        CROSS JOIN LATERAL (
          SELECT ${sql.join(judgedColumns.map((column) => sql.ref(column)))} FROM sagas
          WHERE bucket = i.bucket AND saga_id = i.saga_id
        ) s ORDER BY s.created_at DESC, s.saga_id DESC`.execute(database)
      return rows
    }
    const found: SagaRow[] = []
    let before: Place | undefined
    // A page may be short: what is rare is not looked for without end.
    for (let pages = 0; pages < (2 * MAX_JUDGED) / PAGE && found.length < MAX_JUDGED; pages++) {
      const page = await lists(meantBy(which.filter), { before, limit: PAGE })
      found.push(...page.rows)
      before = page.last
      if (before === undefined) break
    }
    return found
  }

  return {
    async create(wanted) {
      const { idempotencyKey, requestHash } = wanted
      for (let tried = 1; ; tried++) {
        const known = idempotencyKey === undefined ? undefined : await byKey(idempotencyKey)
        if (known !== undefined) {
          return {
            is: known.request_hash === requestHash ? 'repeated' : 'conflict',
            bulk: await counted(known),
          }
        }
        try {
          return { is: 'created', bulk: await insert(wanted) }
        } catch (error) {
          if (!isUniqueViolation(error) || tried > 1) throw error
        }
      }
    },

    async preview(which, judge) {
      const found = await judgedOf(which)
      const why = new Map<string, number>()
      const add = (reason: string | undefined, count = 1) =>
        reason !== undefined && count > 0 && why.set(reason, (why.get(reason) ?? 0) + count)
      for (const row of found) add(judge(judgedFrom(row)))
      const missing = 'sagaIds' in which ? new Set(which.sagaIds).size - found.length : 0
      add(NOT_THERE, missing)
      const judged = found.length + missing
      const impossible = [...why.values()].reduce((sum, count) => sum + count, 0)
      return {
        matching: 'sagaIds' in which ? judged : await countOf(database, which.filter, most),
        judged,
        possible: judged - impossible,
        why,
        sample: found.slice(0, SAMPLE).map(({ saga_id }) => saga_id),
      }
    },

    async get(bulkId) {
      const row = await rowOf(database, bulkId)
      return row && counted(row)
    },

    async list({ before, limit }) {
      let query = database.selectFrom('bulk_operations').selectAll()
      if (before !== undefined) {
        query = query.where(
          sql<boolean>`(created_at, bulk_id) < (${before.createdAt}::timestamptz, ${before.bulkId}::uuid)`,
        )
      }
      const rows = await query.orderBy('created_at', 'desc').orderBy('bulk_id', 'desc').limit(limit).execute()
      return Promise.all(rows.map(counted))
    },

    async items(bulkId, { state, after = 0, limit }) {
      let query = database.selectFrom('bulk_items').selectAll().where('bulk_id', '=', bulkId)
      if (state !== undefined) query = query.where('state', '=', state)
      const rows = await query.where('n', '>', after).orderBy('n').limit(limit).execute()
      return rows.map((row) => ({
        n: row.n,
        sagaId: row.saga_id,
        state: BulkItemState.parse(row.state),
        ...(row.detail !== null && { detail: row.detail }),
      }))
    },

    abort: (bulkId, actor) =>
      database.transaction().execute(async (tx) => {
        // Waits for the items that are under way: they hold its key.
        await sql`SELECT 1 FROM bulk_operations WHERE bulk_id = ${bulkId} FOR UPDATE`.execute(tx)
        if (await end(tx, bulkId, 'aborted'))
          await createAudit(tx).record({ actor, act: 'bulkAborted', kind: 'bulk', id: bulkId })
        const row = await rowOf(tx, bulkId)
        return row && present(row)
      }),

    async take() {
      const { rows } = await sql<Row & { sagas: number }>`
        UPDATE bulk_operations b SET next_at = now() + d.sagas * interval '1 second' / b.per_second
        FROM (
          SELECT bulk_id, greatest(1, per_second / ${sql.lit(SLICES)}) AS sagas FROM bulk_operations
          WHERE next_at <= now() ORDER BY next_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        ) d WHERE b.bulk_id = d.bulk_id RETURNING b.*, d.sagas`.execute(database)
      const [row] = rows
      if (row === undefined) return undefined
      const { bulkId, verb, step, reason, actor } = present(row)
      return { bulkId, verb, step, reason, actor, sagas: row.sagas }
    },

    async nextDueMs() {
      const { rows } = await sql<{ ms: number | null }>`
        SELECT (extract(epoch FROM min(next_at) - now()) * 1000)::float8 AS ms FROM bulk_operations
        WHERE next_at IS NOT NULL`.execute(database)
      return rows[0]?.ms ?? undefined
    },

    carryOut: (bulkId, act) =>
      database.transaction().execute(async (tx) => {
        await sql`SELECT set_config('idle_in_transaction_session_timeout', ${String(HOLD_MS)}, true),
                         set_config('lock_timeout', ${String(LOCK_MS)}, true)`.execute(tx)
        const { rows } = await sql<{ n: number; saga_id: string }>`
          SELECT i.n, i.saga_id FROM bulk_operations b JOIN bulk_items i ON i.bulk_id = b.bulk_id
          WHERE b.bulk_id = ${bulkId} AND b.state = 'running' AND i.state = 'pending'
          ORDER BY i.n LIMIT 1 FOR KEY SHARE OF b FOR UPDATE OF i SKIP LOCKED`.execute(tx)
        const [item] = rows
        if (item === undefined) return false
        const { state, detail } = await act(item.saga_id, {
          mailbox: createMailbox(tx),
          read: () => judgedSaga(tx, item.saga_id),
        })
        await tx
          .updateTable('bulk_items')
          .set({ state, detail: detail ?? null })
          .where('bulk_id', '=', bulkId)
          .where('n', '=', item.n)
          .execute()
        return true
      }),

    async fail(bulkId, sagaId, detail) {
      await sql`
        UPDATE bulk_items SET state = 'failed', detail = ${detail}
        WHERE bulk_id = ${bulkId} AND saga_id = ${sagaId} AND state = 'pending'`.execute(database)
    },

    finish: (bulkId) =>
      database.transaction().execute(async (tx) => {
        const { rows } = await sql`
          SELECT 1 FROM bulk_items WHERE bulk_id = ${bulkId} AND state = 'pending' LIMIT 1`.execute(tx)
        if (rows.length === 0) await end(tx, bulkId, 'done')
      }),
  }
}

type Counts = { accepted: number; refused: number; failed: number }

function countsOf(bulkId: string) {
  return sql<Counts>`
    SELECT count(*) FILTER (WHERE state = 'accepted')::int AS accepted, count(*) FILTER (WHERE state = 'refused')::int AS refused,
           count(*) FILTER (WHERE state = 'failed')::int AS failed
    FROM bulk_items WHERE bulk_id = ${bulkId}`
}

/** A verb is for what has not ended, unless other sagas are named. */
function meantBy(filter: SagaFilter): SagaFilter {
  return filter.status === undefined && filter.clean === undefined ? { ...filter, status: [...LIVE] } : filter
}

async function countOf(database: Database, filter: SagaFilter, most: number): Promise<number> {
  return database.transaction().execute(async (tx) => {
    await setTimeouts(tx)
    const { rows } = await sql<{ count: number }>`
      SELECT count(*) AS count FROM (
        SELECT 1 FROM sagas WHERE ${matching(meantBy(filter))} LIMIT ${most + 1}
      ) s`.execute(tx)
    return rows[0]?.count ?? 0
  })
}

async function setTimeouts(tx: Database): Promise<void> {
  await sql`SELECT set_config('statement_timeout', ${String(SEARCH_MS)}, true)`.execute(tx)
}

async function rowOf(database: Database, bulkId: string): Promise<Row | undefined> {
  return database.selectFrom('bulk_operations').selectAll().where('bulk_id', '=', bulkId).executeTakeFirst()
}

async function judgedSaga(database: Database, sagaId: string): Promise<Judged | undefined> {
  const row = await database
    .selectFrom('sagas')
    .select(['saga_id', 'created_at', 'status', 'version', 'past_pivot', 'state'])
    .where('bucket', '=', bucketOf(sagaId))
    .where('saga_id', '=', sagaId)
    .executeTakeFirst()
  return row && judgedFrom(row)
}

function judgedFrom({ saga_id, status, version, past_pivot, state }: SagaRow): Judged {
  const decoded = decodeState(state)
  return {
    sagaId: saga_id,
    status: Status.parse(status),
    version,
    pastPivot: past_pivot,
    state: 'unreadable' in decoded ? undefined : decoded,
  }
}

function present(row: Row): Bulk {
  const { accepted, refused, failed } = row
  const filter = BulkFilter.safeParse(row.filter)
  return {
    bulkId: row.bulk_id,
    verb: BulkVerb.parse(row.verb),
    ...(row.step !== null && { step: row.step }),
    reason: row.reason,
    actor: row.actor,
    ...(filter.success && { filter: filter.data }),
    createdAt: row.created_at.toISOString(),
    state: BulkState.parse(row.state),
    total: row.total,
    cut: row.cut,
    done: accepted + refused + failed,
    accepted,
    refused,
    failed,
    perSecond: row.per_second,
    ...(row.ended_at !== null && { endedAt: row.ended_at.toISOString() }),
  }
}
