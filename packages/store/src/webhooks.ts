import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import type { Database } from './database.ts'

/** Who wants to be told, and what is still to be told to them (S34). */
export type Webhook = {
  webhookId: string
  url: string
  types: string[]
  definition: string | undefined
  description: string | undefined
  enabled: boolean
  disabledReason: string | undefined
  createdAt: string
  lastDeliveredAt: string | undefined
  failingSince: string | undefined
}

export type Delivery = {
  deliveryId: string
  eventType: string
  sagaId: string | undefined
  at: string
  state: 'pending' | 'delivered' | 'failed'
  attempts: number
  nextAt: string | undefined
  lastStatus: number | undefined
  lastError: string | undefined
}

/** One that is to be sent now. It comes again after `LEASE_MS`, should whoever took it die. */
export type DueDelivery = {
  deliveryId: string
  webhookId: string
  url: string
  secrets: string[]
  type: string
  event: unknown
  createdAt: string
  /** This one included. */
  attempts: number
}

export type Sent =
  | { is: 'delivered'; status: number }
  | { is: 'failed'; status?: number | undefined; error: string; againMs: number | undefined; gone?: boolean }

type Written = {
  url: string
  types: string[]
  definition?: string | undefined
  description?: string | undefined
  enabled?: boolean | undefined
}

export type Webhooks = {
  create(webhook: Written): Promise<{ webhook: Webhook; secret: string }>
  list(page: { after?: string | undefined; limit: number }): Promise<Webhook[]>
  get(webhookId: string): Promise<Webhook | undefined>
  change(
    webhookId: string,
    change: { [Field in keyof Written]?: Written[Field] | undefined },
  ): Promise<Webhook | undefined>
  remove(webhookId: string): Promise<boolean>
  /** The old secret signs beside the new one for a day. */
  rotate(webhookId: string): Promise<string | undefined>
  /** Sends something harmless, now. */
  test(webhookId: string): Promise<string | undefined>
  deliveries(
    webhookId: string,
    filter: { state?: Delivery['state'] | undefined },
    page: { before?: { at: string; deliveryId: string } | undefined; limit: number },
  ): Promise<Delivery[]>
  redeliver(webhookId: string, deliveryId: string): Promise<boolean>
  /** At most `each` for one webhook, so that one that is slow keeps no other waiting. */
  takeDue(each: number, busy: ReadonlyMap<string, number>): Promise<DueDelivery[]>
  settle(delivery: DueDelivery, sent: Sent): Promise<{ disabled: boolean }>
}

const LEASE_MS = 60_000
/** Nothing but failures for so long: it is given up, and a person is to look. */
const GIVE_UP_DAYS = 5

export function createWebhooks(database: Database): Webhooks {
  const rows = () =>
    database
      .selectFrom('webhooks')
      .select([
        'webhook_id',
        'url',
        'types',
        'definition_name',
        'description',
        'enabled',
        'disabled_reason',
        'created_at',
        'last_delivered_at',
        'failing_since',
      ])
  type Row = Awaited<ReturnType<ReturnType<typeof rows>['execute']>>[number]
  const present = (row: Row): Webhook => ({
    webhookId: row.webhook_id,
    url: row.url,
    types: row.types,
    definition: row.definition_name ?? undefined,
    description: row.description ?? undefined,
    enabled: row.enabled,
    disabledReason: row.disabled_reason ?? undefined,
    createdAt: row.created_at.toISOString(),
    lastDeliveredAt: row.last_delivered_at?.toISOString(),
    failingSince: row.failing_since?.toISOString(),
  })
  const get = async (webhookId: string) => {
    const row = await rows().where('webhook_id', '=', webhookId).executeTakeFirst()
    return row && present(row)
  }

  return {
    async create({ url, types, definition, description, enabled = true }) {
      const webhookId = randomUUID()
      const secret = newSecret()
      await database
        .insertInto('webhooks')
        .values({
          webhook_id: webhookId,
          url,
          types,
          definition_name: definition ?? null,
          description: description ?? null,
          secret,
          enabled,
          disabled_reason: enabled ? null : BY_HAND,
        })
        .execute()
      const webhook = await get(webhookId)
      if (webhook === undefined) throw new Error(`the webhook ${webhookId} is gone already`)
      return { webhook, secret }
    },

    async list({ after, limit }) {
      let query = rows()
      if (after !== undefined) query = query.where('webhook_id', '>', after)
      return (await query.orderBy('webhook_id').limit(limit).execute()).map(present)
    },

    get,

    async change(webhookId, { url, types, definition, description, enabled }) {
      const changes = {
        ...(url !== undefined && { url }),
        ...(types !== undefined && { types }),
        ...(definition !== undefined && { definition_name: definition }),
        ...(description !== undefined && { description }),
        ...(enabled !== undefined && {
          enabled,
          disabled_reason: enabled ? null : BY_HAND,
          failing_since: null,
        }),
      }
      if (Object.keys(changes).length > 0)
        await database.updateTable('webhooks').set(changes).where('webhook_id', '=', webhookId).execute()
      return get(webhookId)
    },

    async remove(webhookId) {
      const { numDeletedRows } = await database
        .deleteFrom('webhooks')
        .where('webhook_id', '=', webhookId)
        .executeTakeFirst()
      return numDeletedRows > 0n
    },

    async rotate(webhookId) {
      const secret = newSecret()
      const { rows: changed } = await sql`
        UPDATE webhooks SET old_secret = secret, old_secret_until = now() + interval '1 day', secret = ${secret}
        WHERE webhook_id = ${webhookId} RETURNING 1`.execute(database)
      return changed.length === 0 ? undefined : secret
    },

    async test(webhookId) {
      const event = JSON.stringify({
        type: 'webhook.test',
        at: new Date().toISOString(),
        data: { webhookId },
      })
      const { rows: made } = await sql<{ delivery_id: string }>`
        INSERT INTO webhook_deliveries (webhook_id, type, event)
        SELECT webhook_id, 'webhook.test', ${event}::json FROM webhooks WHERE webhook_id = ${webhookId}
        RETURNING delivery_id`.execute(database)
      return made[0]?.delivery_id
    },

    async deliveries(webhookId, { state }, { before, limit }) {
      let query = database
        .selectFrom('webhook_deliveries')
        .select([
          'delivery_id',
          'type',
          'saga_id',
          'created_at',
          'state',
          'attempts',
          'next_at',
          'last_status',
          'last_error',
        ])
        .where('webhook_id', '=', webhookId)
      if (state !== undefined) query = query.where('state', '=', state)
      if (before !== undefined) {
        query = query.where(
          sql<boolean>`(created_at, delivery_id) < (${before.at}::timestamptz, ${before.deliveryId}::uuid)`,
        )
      }
      const found = await query
        .orderBy('created_at', 'desc')
        .orderBy('delivery_id', 'desc')
        .limit(limit)
        .execute()
      return found.map((row) => ({
        deliveryId: row.delivery_id,
        eventType: row.type,
        sagaId: row.saga_id ?? undefined,
        at: row.created_at.toISOString(),
        state: row.state,
        attempts: row.attempts,
        nextAt: row.next_at?.toISOString(),
        lastStatus: row.last_status ?? undefined,
        lastError: row.last_error ?? undefined,
      }))
    },

    async redeliver(webhookId, deliveryId) {
      const { rows: again } = await sql`
        UPDATE webhook_deliveries SET state = 'pending', next_at = now(), attempts = 0
        WHERE webhook_id = ${webhookId} AND delivery_id = ${deliveryId} RETURNING 1`.execute(database)
      return again.length > 0
    },

    async takeDue(each, busy) {
      const { rows: due } = await sql<{
        delivery_id: string
        webhook_id: string
        url: string
        secret: string
        old_secret: string | null
        type: string
        event: unknown
        created_at: Date
        attempts: number
      }>`
        WITH t AS (
          SELECT w.webhook_id, w.url, w.secret, CASE WHEN w.old_secret_until > now() THEN w.old_secret END AS old_secret, d.delivery_id
          FROM webhooks w LEFT JOIN unnest(${[...busy.keys()]}::uuid[], ${[...busy.values()]}::int4[]) AS b(webhook_id, n) USING (webhook_id)
          CROSS JOIN LATERAL (
            SELECT delivery_id FROM webhook_deliveries
            WHERE webhook_id = w.webhook_id AND next_at <= now() AND (w.enabled OR type = 'webhook.test')
            ORDER BY next_at LIMIT greatest(0, ${each} - coalesce(b.n, 0)) FOR UPDATE SKIP LOCKED
          ) d
        )
        UPDATE webhook_deliveries d SET attempts = d.attempts + 1, last_at = now(), next_at = now() + ${LEASE_MS} * interval '1 millisecond'
        FROM t WHERE d.delivery_id = t.delivery_id
        RETURNING d.delivery_id, t.webhook_id, t.url, t.secret, t.old_secret, d.type, d.event, d.created_at, d.attempts`.execute(
        database,
      )
      return due.map((row) => ({
        deliveryId: row.delivery_id,
        webhookId: row.webhook_id,
        url: row.url,
        secrets: [row.secret, ...(row.old_secret === null ? [] : [row.old_secret])],
        type: row.type,
        event: row.event,
        createdAt: row.created_at.toISOString(),
        attempts: row.attempts,
      }))
    },

    async settle({ deliveryId, webhookId, attempts }, sent) {
      if (sent.is === 'delivered') {
        await sql`
          WITH d AS (
            UPDATE webhook_deliveries SET state = 'delivered', next_at = NULL, last_status = ${sent.status}, last_error = NULL
            WHERE delivery_id = ${deliveryId} AND attempts = ${attempts}
          )
          UPDATE webhooks SET last_delivered_at = now(), failing_since = NULL WHERE webhook_id = ${webhookId}`.execute(
          database,
        )
        return { disabled: false }
      }
      const { status = null, error, againMs, gone = false } = sent
      const { rows: found } = await sql<{ disabled: boolean }>`
        WITH d AS (
          UPDATE webhook_deliveries SET last_status = ${status}, last_error = ${error},
            state = ${againMs === undefined ? 'failed' : 'pending'},
            next_at = now() + ${againMs ?? null}::float8 * interval '1 millisecond'
          WHERE delivery_id = ${deliveryId} AND attempts = ${attempts}
        ), w AS (
          UPDATE webhooks SET failing_since = coalesce(failing_since, now()) WHERE webhook_id = ${webhookId} AND enabled
          RETURNING webhook_id, failing_since
        )
        SELECT (${gone} OR failing_since < now() - ${GIVE_UP_DAYS} * interval '1 day') AS disabled FROM w`.execute(
        database,
      )
      if (found[0]?.disabled !== true) return { disabled: false }
      const reason = gone
        ? 'it answered 410: it is gone for good'
        : `nothing could be delivered for ${GIVE_UP_DAYS} days; the last error: ${error}`
      await sql`
        WITH w AS (
          UPDATE webhooks SET enabled = false, disabled_reason = ${reason} WHERE webhook_id = ${webhookId} AND enabled RETURNING 1
        )
        INSERT INTO audit_log (actor, act, subject_kind, subject_id, reason)
        SELECT 'backstitch', 'disabled', 'webhook', ${webhookId}, ${reason} FROM w`.execute(database)
      return { disabled: true }
    },
  }
}

const BY_HAND = 'disabled by hand'

/** As Standard Webhooks write them. */
function newSecret(): string {
  return `whsec_${randomBytes(24).toString('base64')}`
}
