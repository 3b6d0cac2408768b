import type { ColumnType, Generated } from 'kysely'

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
