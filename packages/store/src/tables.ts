import type { ColumnType, Generated } from 'kysely'
import type { AuditSubject } from './audit.ts'
import type { Delivery } from './webhooks.ts'

/** The tables as kysely sees them. What a jsonb column holds is `unknown` until it has been decoded. */

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>
type Document = ColumnType<unknown, string, string>

export type Tables = {
  definitions: {
    name: string
    version: number
    hash: string
    queue: string
    document: Document
    created_at: Timestamp
  }
  workers: {
    worker_id: string
    host: string
    pid: number
    queues: string[]
    handlers: Document
    concurrency: number
    holds: Generated<number>
    lease_ms: number
    started_at: Timestamp
    heartbeat_at: Timestamp
    backend_pid: number | null
    backend_start: Timestamp | null
    ended_at: Timestamp | null
    end_reason: string | null
    services: ColumnType<unknown, string | undefined, string>
  }
  sagas: {
    bucket: number
    saga_id: string
    definition_name: string
    definition_version: number
    queue: string
    status: string
    state: Document
    version: Generated<number>
    epoch: Generated<number>
    owner: string | null
    due_at: Timestamp | null
    leases_lost: Generated<number>
    mail_seq: Generated<number>
    mail_seen: Generated<number>
    past_pivot: Generated<boolean>
    paused: Generated<boolean>
    failed_step: string | null
    start_key: string | null
    request_hash: string
    saga_key: string | null
    idempotency_key: string | null
    correlation_id: string | null
    tags: Document
    parent_saga_id: string | null
    created_at: Timestamp
    updated_at: Timestamp
    ended_at: Timestamp | null
    clean: boolean | null
    failure_words: string | null
  }
  saga_history: {
    bucket: number
    saga_id: string
    seq: number
    at: Timestamp
    kind: string
    epoch: number
    worker: string | null
    body: Document
  }
  saga_mail: {
    bucket: number
    saga_id: string
    seq: number
    at: Timestamp
    body: Document
    dedup_key: string | null
  }
  feed: { single: Generated<boolean>; position: Generated<number>; tidied_at: Timestamp }
  events: {
    bucket: number
    batch_id: Generated<string>
    at: Timestamp
    first_position: number | null
    last_position: number | null
    told: Document
  }
  saga_counts: { definition_name: string; status: string; count: number }
  saga_minutes: { minute: Timestamp; definition_name: string; event: string; count: number }
  audit_log: {
    at: Timestamp
    audit_id: Generated<string>
    actor: string
    act: string
    subject_kind: AuditSubject
    subject_id: string
    reason: string | null
    refused: Generated<string | null>
  }
  webhooks: {
    webhook_id: string
    url: string
    types: string[]
    definition_name: string | null
    description: string | null
    enabled: Generated<boolean>
    disabled_reason: string | null
    secret: string
    old_secret: Generated<string | null>
    old_secret_until: Timestamp | null
    created_at: Timestamp
    last_delivered_at: Timestamp | null
    failing_since: Timestamp | null
  }
  webhook_deliveries: {
    delivery_id: Generated<string>
    webhook_id: string
    type: string
    saga_id: string | null
    event: Document
    created_at: Timestamp
    state: Generated<Delivery['state']>
    attempts: Generated<number>
    next_at: Timestamp | null
    last_at: Timestamp | null
    last_status: number | null
    last_error: string | null
  }
  installation: { single: Generated<boolean>; callback_key: Buffer }
  schedules: {
    name: string
    schedule_id: string
    version: Generated<number>
    spec: Document
    input: Document
    paused: Generated<boolean>
    next_at: Timestamp | null
    last_saga_id: string | null
    last_error: Document | null
    runs: Document
    changes: Document
    created_at: Timestamp
    updated_at: Timestamp
  }
  bulk_operations: {
    bulk_id: string
    verb: string
    step: string | null
    reason: string
    actor: string
    filter: Document | null
    per_second: number
    total: Generated<number>
    cut: Generated<boolean>
    state: Generated<string>
    accepted: Generated<number>
    refused: Generated<number>
    failed: Generated<number>
    next_at: Timestamp | null
    idempotency_key: string | null
    request_hash: string
    created_at: Timestamp
    ended_at: Timestamp | null
  }
  bulk_items: {
    bulk_id: string
    n: number
    saga_id: string
    state: Generated<string>
    detail: string | null
  }
}
