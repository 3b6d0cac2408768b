import { createTestDatabase } from '@backstitch/local-postgres/testing'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newSagaId } from './ids.ts'

/** What no statement, ours or an operator's in psql, can make of a row. */

const { url, drop } = await createTestDatabase()
const client = new pg.Client(url)
beforeAll(() => client.connect())
afterAll(async () => {
  await client.end()
  await drop()
})

type Values = Record<string, unknown>

const sagaId = newSagaId(Date.parse('2026-01-01'), 7)
const at = '2026-01-01T00:00:00Z'
const good: Record<string, Values> = {
  definitions: { name: 'order', version: 1, hash: 'h', queue: 'order', document: '{}' },
  workers: {
    worker_id: sagaId,
    host: 'h',
    pid: 1,
    queues: ['q'],
    handlers: '{}',
    concurrency: 1,
    lease_ms: 1_000,
  },
  sagas: {
    bucket: 7,
    saga_id: sagaId,
    definition_name: 'order',
    definition_version: 1,
    queue: 'order',
    request_hash: 'h',
    status: 'running',
    state: '{"status":"running"}',
    created_at: at,
    updated_at: at,
    due_at: at,
  },
  saga_history: { bucket: 7, saga_id: sagaId, seq: 1, at, kind: 'sagaStarted', epoch: 0, body: '{}' },
  saga_mail: { bucket: 7, saga_id: sagaId, seq: 1, body: '{}', dedup_key: 'd' },
  bulk_operations: {
    bulk_id: sagaId,
    verb: 'cancel',
    reason: 'r',
    actor: 'a',
    per_second: 1,
    idempotency_key: 'k',
    request_hash: 'h',
  },
  bulk_items: { bulk_id: sagaId, n: 1, saga_id: newSagaId(0, 7) },
  installation: { single: true, callback_key: Buffer.alloc(32) },
  schedules: { name: 'nightly', schedule_id: sagaId, spec: '{}', input: 'null' },
  feed: { single: true },
  events: { bucket: 7, batch_id: sagaId, told: '[]' },
  saga_counts: { definition_name: 'order', status: 'running', count: 1 },
  saga_minutes: { minute: at, definition_name: 'order', event: 'started', count: 1 },
  audit_log: { at, audit_id: sagaId, actor: 'a', act: 'retry', subject_kind: 'saga', subject_id: 's' },
  webhooks: { webhook_id: sagaId, url: 'http://x/', types: ['*'], secret: 's' },
  webhook_deliveries: { delivery_id: sagaId, webhook_id: sagaId, type: 'saga.stuck', event: '{}' },
}
const ended = { status: 'failed', state: '{"status":"failed"}', ended_at: at, due_at: null }
const resting = { status: 'stuck', state: '{"status":"stuck"}', due_at: null }
const owner = sagaId

const anotherBulk = { bulk_id: newSagaId(0), idempotency_key: null }
const bad: [constraint: string, sqlState: string, changes: Values[]][] = [
  ['definitions_pk', '23505', [{ hash: 'other' }]],
  ['definitions_content_once', '23505', [{ version: 2 }]],
  ['definitions_version_positive', '23514', [{ version: 0, hash: 'other' }]],
  [
    'definitions_document_is_object',
    '23514',
    ['[]', '"{}"', 'null'].map((document) => ({ document, version: 2, hash: 'other' })),
  ],

  ['schedules_pk', '23505', [{}]],
  ['schedules_version_positive', '23514', [{ name: 'other', version: 0 }]],
  ['schedules_paused_is_not_due', '23514', [{ name: 'other', paused: true, next_at: at }]],
  ['schedules_spec_is_object', '23514', ['[]', 'null'].map((spec) => ({ name: 'other', spec }))],
  [
    'schedules_lists_are_arrays',
    '23514',
    [{ runs: '{}' }, { changes: 'null' }].map((change) => ({ name: 'other', ...change })),
  ],

  ['workers_pk', '23505', [{}]],
  ['workers_end_reason_known', '23514', [{ worker_id: newSagaId(0), end_reason: 'bored', ended_at: at }]],
  [
    'workers_ended_with_reason',
    '23514',
    [{ end_reason: 'stopped' }, { ended_at: at }].map((change) => ({ worker_id: newSagaId(0), ...change })),
  ],
  [
    'workers_session_whole',
    '23514',
    [{ backend_pid: 1 }, { backend_start: at }].map((change) => ({ worker_id: newSagaId(0), ...change })),
  ],
  ['workers_services_is_object', '23514', [{ worker_id: newSagaId(0), services: '[]' }]],
  ['workers_lease_positive', '23514', [{ worker_id: newSagaId(0), lease_ms: 0 }]],

  ['sagas_pk', '23505', [{}]],
  ['sagas_start_key_once', '23505', [{ saga_id: newSagaId(0, 7), start_key: 'k', saga_key: 'k' }]],
  ['saga_status_known', '23514', [{ status: 'parked', state: '{"status":"parked"}' }]],
  ['sagas_state_agrees', '23514', [{ state: '{"status":"completed"}' }]],
  [
    'sagas_ended_when_terminal',
    '23514',
    [
      { ...ended, ended_at: null, due_at: at },
      { ...resting, ended_at: at },
    ],
  ],
  [
    'sagas_due_or_leased',
    '23514',
    [
      { due_at: null },
      { owner },
      { ...ended, due_at: at },
      { ...ended, owner },
      { ...resting, due_at: at, owner },
      { paused: true, owner },
      { status: 'compensating', state: '{"status":"compensating"}', due_at: null },
    ],
  ],
  [
    'sagas_numbers_in_range',
    '23514',
    [{ mail_seen: 1 }, { mail_seq: -1, mail_seen: -1 }, { version: 0 }, { epoch: -1 }, { leases_lost: -1 }],
  ],
  [
    'sagas_keys_have_sources',
    '23514',
    [
      { bucket: 8 },
      { bucket: 256 },
      { bucket: -1 },
      { start_key: 'other' },
      { saga_key: 'k' },
      { idempotency_key: 'k' },
    ],
  ],
  ['document_is_object', '23514', ['[]', 'null', '"a"'].map((tags) => ({ tags }))],

  ['saga_history_pk', '23505', [{}]],
  ['saga_history_seq_positive', '23514', [{ seq: 0 }]],
  ['saga_history_body_is_object', '23514', ['[]', 'null', '"{}"'].map((body) => ({ body, seq: 2 }))],

  ['saga_mail_pk', '23505', [{}]],
  ['saga_mail_once_idx', '23505', [{ seq: 2 }]],
  ['saga_mail_saga_fk', '23503', [{ saga_id: newSagaId(0, 7) }]],
  ['saga_mail_body_is_object', '23514', ['[]', 'null', '"{}"'].map((body) => ({ body, seq: 2 }))],

  ['feed_pk', '23505', [{}]],
  ['feed_is_one', '23514', [{ single: false }]],
  ['events_pk', '23505', [{}]],
  ['events_placed_whole', '23514', [{ batch_id: newSagaId(0), first_position: 1 }]],
  ['saga_counts_pk', '23505', [{}]],
  ['saga_minutes_pk', '23505', [{}]],
  ['audit_log_pk', '23505', [{}]],
  ['audit_log_subject_known', '23514', [{ audit_id: newSagaId(0), subject_kind: 'weather' }]],
  ['webhooks_pk', '23505', [{}]],
  [
    'webhooks_old_secret_ends',
    '23514',
    [{ old_secret: 's' }, { old_secret_until: at }].map((change) => ({
      webhook_id: newSagaId(0),
      ...change,
    })),
  ],
  [
    'webhooks_disabled_with_reason',
    '23514',
    [{ enabled: false }, { disabled_reason: 'r' }].map((change) => ({ webhook_id: newSagaId(0), ...change })),
  ],
  ['webhook_deliveries_pk', '23505', [{}]],
  ['webhook_deliveries_webhook_fk', '23503', [{ delivery_id: newSagaId(0), webhook_id: newSagaId(0) }]],
  ['webhook_deliveries_state_known', '23514', [{ delivery_id: newSagaId(0), state: 'lost', next_at: null }]],
  [
    'webhook_deliveries_due_while_pending',
    '23514',
    [{ next_at: null }, { state: 'failed' }].map((change) => ({ delivery_id: newSagaId(0), ...change })),
  ],

  ['bulk_operations_pk', '23505', [{ idempotency_key: null }]],
  ['bulk_operations_once', '23505', [{ bulk_id: newSagaId(0) }]],
  ['bulk_operations_state_known', '23514', [{ ...anotherBulk, state: 'lost', ended_at: at, next_at: null }]],
  [
    'bulk_operations_ended',
    '23514',
    [{ state: 'done' }, { ended_at: at }, { next_at: null }, { state: 'aborted', ended_at: at }].map(
      (change) => ({
        ...anotherBulk,
        ...change,
      }),
    ),
  ],
  ['bulk_operations_pace', '23514', [{ ...anotherBulk, per_second: 0 }]],
  ['bulk_items_pk', '23505', [{}]],
  ['bulk_items_operation_fk', '23503', [{ bulk_id: newSagaId(0) }]],
  ['bulk_items_state_known', '23514', [{ n: 2, state: 'lost' }]],

  ['installation_pk', '23505', [{}]],
  ['installation_is_one', '23514', [{ single: false }]],
  ['installation_callback_key_is_long', '23514', [{ callback_key: Buffer.alloc(31) }]],
]

async function insert(table: string, values: Values): Promise<void> {
  const columns = Object.keys(values)
  const places = columns.map((_, index) => `$${index + 1}`)
  await client.query(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${places.join(', ')})`,
    Object.values(values),
  )
}

beforeAll(async () => {
  // The migrations themselves have made the rows of these.
  for (const [table, values] of Object.entries(good).filter(
    ([name]) => name !== 'installation' && name !== 'feed',
  )) {
    await insert(table, table === 'sagas' ? { ...values, start_key: 'k', saga_key: 'k' } : values)
  }
})

/** Constraints of types, and a table where they are tried. */
const OF_TYPES: Record<string, string> = { saga_status_known: 'sagas', document_is_object: 'sagas' }

function tableOf(constraint: string): string {
  const tables = Object.keys(good).toSorted((a, b) => b.length - a.length)
  return tables.find((table) => constraint.startsWith(`${table}_`)) ?? OF_TYPES[constraint] ?? constraint
}

/** A row that differs from a good one in what is wrong, and in its key where the good one is there already. */
function rowsAgainst(constraint: string, changes: Values[]): Values[] {
  const table = tableOf(constraint)
  const fresh = table === 'sagas' && constraint !== 'sagas_pk' ? { saga_id: newSagaId(1, 7) } : {}
  return changes.map((change) => ({ ...good[table], ...fresh, ...change }))
}

describe('is refused by', () => {
  test.each(bad)('%s (F02)', async (constraint, sqlState, changes) => {
    for (const row of rowsAgainst(constraint, changes)) {
      const error: unknown = await insert(tableOf(constraint), row).catch((thrown: unknown) => thrown)
      expect(error, JSON.stringify(row)).toMatchObject({ code: sqlState, constraint })
    }
  })

  test('one of these, and there is no constraint or unique index that is not tried', async () => {
    const { rows } = await client.query<{ name: string }>(`
      SELECT conname AS name FROM pg_constraint n LEFT JOIN pg_class c ON c.oid = n.conrelid
      WHERE n.connamespace = 'public'::regnamespace AND n.contype <> 'n' AND coalesce(c.relname, '') NOT LIKE 'kysely%'
      UNION SELECT indexrelid::regclass::text FROM pg_index
      WHERE indisunique AND indpred IS NOT NULL AND indrelid::regclass::text NOT LIKE 'kysely%'`)
    expect(bad.map(([constraint]) => constraint).toSorted()).toEqual(rows.map(({ name }) => name).toSorted())
  })
})

describe('is accepted:', () => {
  test.each<[string, Values]>([
    ['a saga that is due', {}],
    ['one that is leased', { due_at: null, owner }],
    ['one that is stuck and rests', resting],
    ['one that is stuck, with mail to apply', { ...resting, due_at: at, mail_seq: 1 }],
    ['one that is stuck and held', { ...resting, owner }],
    ['one that is paused and rests', { paused: true, due_at: null }],
    ['one that has ended', ended],
    ['one whose state is damaged in any way', { state: '[]' }],
    ['one that was started by a key', { start_key: 'fresh', idempotency_key: 'fresh' }],
  ])('%s', async (_, change) => {
    await expect(
      insert('sagas', { ...good.sagas, saga_id: newSagaId(2, 7), ...change }),
    ).resolves.toBeUndefined()
  })
})
