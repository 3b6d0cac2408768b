-- The first schema: definitions, sagas, their history and mail, and the workers that run them.
--
-- Rules that hold for every table a saga touches (docs/adr/0002-buckets.md): the key begins with the bucket; no trigger,
-- no sequence, no PL/pgSQL; constraints have names; unique keys contain the bucket.

CREATE TABLE definitions (
  name        text        NOT NULL,
  version     integer     NOT NULL,
  hash        text        NOT NULL,  -- SHA-256 of the canonical document, in hex: the same content is the same version
  queue       text        NOT NULL,
  document    jsonb       NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT definitions_pk PRIMARY KEY (name, version),
  CONSTRAINT definitions_content_once UNIQUE (name, hash),
  CONSTRAINT definitions_version_positive CHECK (version >= 1),
  CONSTRAINT definitions_document_is_object CHECK (jsonb_typeof(document) = 'object')
);

-- One row per worker process, and per incarnation of it: an id is never used again (S17).
CREATE TABLE workers (
  worker_id      uuid        NOT NULL,
  host           text        NOT NULL,
  pid            integer     NOT NULL,
  queues         text[]      NOT NULL,
  handlers       jsonb       NOT NULL,  -- {definition: [step, …]}
  concurrency    integer     NOT NULL,
  holds          integer     NOT NULL DEFAULT 0,
  lease_ms       integer     NOT NULL,
  started_at     timestamptz NOT NULL DEFAULT now(),
  heartbeat_at   timestamptz NOT NULL DEFAULT now(),
  -- The session that proves the process alive while it lasts; null where a pooler stands between (S17).
  backend_pid    integer,
  backend_start  timestamptz,
  ended_at       timestamptz,
  end_reason     text,
  CONSTRAINT workers_pk PRIMARY KEY (worker_id),
  CONSTRAINT workers_end_reason_known CHECK (end_reason IN ('stopped', 'connectionLost', 'leaseExpired')),
  CONSTRAINT workers_ended_with_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
  CONSTRAINT workers_session_whole CHECK ((backend_pid IS NULL) = (backend_start IS NULL)),
  CONSTRAINT workers_lease_positive CHECK (lease_ms > 0)
) WITH (fillfactor = 50);

CREATE INDEX workers_alive_idx ON workers (worker_id) WHERE ended_at IS NULL;

-- The row is the truth and the queue (S15). While a saga moves it has either a lease (owner) or a due time, never both.
CREATE TABLE sagas (
  bucket              smallint    NOT NULL,
  saga_id             uuid        NOT NULL,
  definition_name     text        NOT NULL,
  definition_version  integer     NOT NULL,
  queue               text        NOT NULL,
  status              text        NOT NULL,
  state               jsonb       NOT NULL,
  version             bigint      NOT NULL DEFAULT 1,  -- sequence number of the last history entry (S17a)
  epoch               bigint      NOT NULL DEFAULT 0,  -- raised by every claim, release and loss of a lease (S16)
  owner               uuid,
  due_at              timestamptz,
  leases_lost         integer     NOT NULL DEFAULT 0,  -- since the last commit of progress (S19)
  mail_seq            bigint      NOT NULL DEFAULT 0,
  mail_seen           bigint      NOT NULL DEFAULT 0,
  past_pivot          boolean     NOT NULL DEFAULT false,
  paused              boolean     NOT NULL DEFAULT false,
  failed_step         text,
  start_key           text,
  request_hash        text        NOT NULL,
  saga_key            text,
  idempotency_key     text,
  correlation_id      text,
  tags                jsonb       NOT NULL DEFAULT '{}',
  parent_saga_id      uuid,
  created_at          timestamptz NOT NULL,
  updated_at          timestamptz NOT NULL,
  ended_at            timestamptz,
  CONSTRAINT sagas_pk PRIMARY KEY (bucket, saga_id),
  CONSTRAINT sagas_start_key_once UNIQUE (bucket, start_key),
  CONSTRAINT sagas_bucket_in_id CHECK (get_byte(uuid_send(saga_id), 15) = bucket),  -- and so from 0 to 255
  CONSTRAINT sagas_status_known CHECK (
    status IN ('running', 'compensating', 'stuck', 'completed', 'failed', 'cancelled', 'abandoned')),
  CONSTRAINT sagas_state_agrees CHECK (state->>'status' = status),
  CONSTRAINT sagas_ended_when_terminal CHECK (
    (ended_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled', 'abandoned'))),
  CONSTRAINT sagas_due_or_leased CHECK (
    CASE WHEN ended_at IS NOT NULL THEN due_at IS NULL AND owner IS NULL
         WHEN status IN ('running', 'compensating') AND NOT paused THEN (due_at IS NULL) <> (owner IS NULL)
         ELSE due_at IS NULL OR owner IS NULL END),
  CONSTRAINT sagas_mail_in_order CHECK (0 <= mail_seen AND mail_seen <= mail_seq),
  CONSTRAINT sagas_version_positive CHECK (version >= 1),
  CONSTRAINT sagas_epoch_counts CHECK (epoch >= 0),
  CONSTRAINT sagas_leases_lost_counts CHECK (leases_lost >= 0),
  CONSTRAINT sagas_start_key_has_source CHECK (
    (start_key IS NULL) = (saga_key IS NULL AND idempotency_key IS NULL AND parent_saga_id IS NULL)),
  CONSTRAINT sagas_tags_is_object CHECK (jsonb_typeof(tags) = 'object')
) WITH (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_cost_limit = 2000,
  autovacuum_analyze_scale_factor = 0.05
);

-- What a worker may claim, oldest first, per queue. Nothing that changes from step to step is in any index, so that a
-- step's update stays on its page (HOT).
CREATE INDEX sagas_ready_idx ON sagas (queue, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sagas_owner_idx ON sagas (owner) WHERE owner IS NOT NULL;
CREATE INDEX sagas_unread_idx ON sagas (due_at, owner) WHERE mail_seq > mail_seen;  -- due: to be claimed; held: no due time
CREATE INDEX sagas_suspect_idx ON sagas (due_at) WHERE leases_lost >= 2 AND due_at IS NOT NULL;
CREATE INDEX sagas_created_idx ON sagas (created_at DESC, saga_id DESC);
CREATE INDEX sagas_attention_idx ON sagas (status, created_at DESC, saga_id DESC)
  WHERE status IN ('compensating', 'stuck', 'failed', 'cancelled', 'abandoned');
CREATE INDEX sagas_key_idx ON sagas (saga_key) WHERE saga_key IS NOT NULL;
CREATE INDEX sagas_tags_idx ON sagas USING gin (tags jsonb_path_ops) WHERE tags <> '{}';

-- Append-only: every transition, one row, in order (S35). A large value is stored here once and never rewritten (S33).
CREATE TABLE saga_history (
  bucket   smallint    NOT NULL,
  saga_id  uuid        NOT NULL,
  seq      bigint      NOT NULL,
  at       timestamptz NOT NULL,
  kind     text        NOT NULL,
  epoch    bigint      NOT NULL,
  worker   uuid,
  body     jsonb       NOT NULL,
  CONSTRAINT saga_history_pk PRIMARY KEY (bucket, saga_id, seq),
  CONSTRAINT saga_history_seq_positive CHECK (seq >= 1),
  CONSTRAINT saga_history_body_is_object CHECK (jsonb_typeof(body) = 'object')
);
-- Compressing 64 KB takes longer than writing it.
ALTER TABLE saga_history ALTER COLUMN body SET STORAGE EXTERNAL;

-- Notes for whoever holds the saga: cancels, operators' verbs, late results (idea 2 of ARCHITECTURE.md).
CREATE TABLE saga_mail (
  bucket   smallint    NOT NULL,
  saga_id  uuid        NOT NULL,
  seq      bigint      NOT NULL,
  at       timestamptz NOT NULL DEFAULT now(),
  body     jsonb       NOT NULL,
  CONSTRAINT saga_mail_pk PRIMARY KEY (bucket, saga_id, seq),
  CONSTRAINT saga_mail_saga_fk FOREIGN KEY (bucket, saga_id) REFERENCES sagas (bucket, saga_id) ON DELETE CASCADE,
  CONSTRAINT saga_mail_body_is_object CHECK (jsonb_typeof(body) = 'object')
);
