import { beforeEach, describe, expect, test } from 'vitest'
import { createStage, type Stage } from './testing.ts'

/** What was told, done and noted so long ago, and has ended. */
async function past(stage: Stage, days: number, count = 1) {
  const at = `now() - ${days} * interval '1 day'`
  const rows = (columns: string, into: string) =>
    stage.sql(`INSERT INTO ${into} SELECT ${columns} FROM generate_series(1, ${count}) AS n`)
  const [last] = await stage.sql<{ place: number }>(
    'SELECT coalesce(max(last_position), 0) AS place FROM events',
  )
  const place = `${Number(last?.place)} + n`
  await rows(`0, ${place}, ${place}, '[]', ${at}`, 'events (bucket, first_position, last_position, told, at)')
  await rows(`${at} + n * interval '1 second', 'order', 'started', 1`, 'saga_minutes')
  const { webhook } = await stage.api.webhooks.create({ url: 'https://hooks.example', types: ['*'] })
  await rows(
    `'${webhook.webhookId}', 'saga.failed', '{}', ${at}, 'delivered', NULL`,
    'webhook_deliveries (webhook_id, type, event, created_at, state, next_at)',
  )
  const [bulk] = await stage.sql<{ bulk_id: string }>(
    `INSERT INTO bulk_operations (bulk_id, verb, reason, actor, per_second, state, next_at, request_hash, created_at, ended_at)
     VALUES (gen_random_uuid(), 'cancel', 'r', 'a', 1, 'done', NULL, '', ${at}, ${at}) RETURNING bulk_id`,
  )
  await rows(
    `'${String(bulk?.bulk_id)}', n, gen_random_uuid(), 'accepted'`,
    'bulk_items (bulk_id, n, saga_id, state)',
  )
  await rows(`${at}, 'ada', 'cancel', 'saga', 'x'`, 'audit_log (at, actor, act, subject_kind, subject_id)')
  return { webhookId: webhook.webhookId, bulkId: String(bulk?.bulk_id) }
}

async function tidied(stage: Stage): Promise<void> {
  await stage.sql(`UPDATE feed SET tidied_at = now() - interval '2 minutes'`)
  await stage.api.feed.tidy()
}

async function left(stage: Stage) {
  const [row] = await stage.sql(
    `SELECT (SELECT count(*) FROM events)::int AS events, (SELECT count(*) FROM saga_minutes)::int AS minutes,
       (SELECT count(*) FROM webhook_deliveries)::int AS deliveries, (SELECT count(*) FROM bulk_operations)::int AS bulks,
       (SELECT count(*) FROM bulk_items)::int AS items, (SELECT count(*) FROM audit_log)::int AS audit`,
  )
  return row
}

describe('what is kept for a time only', () => {
  let stage: Stage
  beforeEach(async () => {
    stage = await createStage({ own: true })
  })

  test.each([
    [6, { events: 1, minutes: 1, deliveries: 1, bulks: 1, items: 1, audit: 1 }],
    [8, { events: 0, minutes: 0, deliveries: 0, bulks: 1, items: 1, audit: 1 }],
    [31, { events: 0, minutes: 0, deliveries: 0, bulks: 0, items: 0, audit: 1 }],
    [401, { events: 0, minutes: 0, deliveries: 0, bulks: 0, items: 0, audit: 0 }],
  ])('is there after %i days, or not', async (days, expected) => {
    await past(stage, days)
    await tidied(stage)
    expect(await left(stage)).toEqual(expected)
  })

  test('stays while something is still to be done about it', async () => {
    const { webhookId } = await past(stage, 500)
    await stage.sql(`UPDATE webhook_deliveries SET state = 'pending', next_at = now()`)
    await stage.sql(`UPDATE bulk_operations SET state = 'running', ended_at = NULL, next_at = now()`)
    await stage.sql(`UPDATE events SET first_position = NULL, last_position = NULL`)
    await tidied(stage)
    expect(await left(stage)).toMatchObject({ events: 1, deliveries: 1, bulks: 1, items: 1 })

    await stage.api.webhooks.change(webhookId, { enabled: false })
    await tidied(stage)
    expect(await left(stage)).toMatchObject({ deliveries: 0, bulks: 1, items: 1 })
  })

  test('is looked through once a minute, and at once again while there is more than is removed at once', async () => {
    await past(stage, 500, 12_000)
    await tidied(stage)
    expect(await left(stage)).toMatchObject({ events: 7_000, items: 7_000, bulks: 1, audit: 7_000 })
    for (let round = 0; round < 2; round++) await stage.api.feed.tidy()
    expect(await left(stage)).toEqual({ events: 0, minutes: 0, deliveries: 0, bulks: 0, items: 0, audit: 0 })
    await past(stage, 500)
    await stage.api.feed.tidy()
    expect(await left(stage)).toMatchObject({ events: 1, bulks: 1 })
  })
})
