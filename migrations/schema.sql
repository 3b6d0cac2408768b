-- What the migrations make of an empty database: written by migrate.test.ts, which fails when it is not so.

CREATE DOMAIN document AS jsonb
  CONSTRAINT document_is_object CHECK ((jsonb_typeof(VALUE) = 'object'::text));

CREATE DOMAIN saga_status AS text
  CONSTRAINT saga_status_known CHECK ((VALUE = ANY (ARRAY['running'::text, 'compensating'::text, 'stuck'::text, 'completed'::text, 'failed'::text, 'cancelled'::text, 'abandoned'::text])));

CREATE TABLE audit_log (
  at timestamp with time zone NOT NULL DEFAULT date_trunc('milliseconds'::text, now()),
  audit_id uuid NOT NULL DEFAULT gen_random_uuid(),
  actor text NOT NULL,
  act text NOT NULL,
  subject_kind text NOT NULL,
  subject_id text NOT NULL,
  reason text,
  refused text,
  CONSTRAINT audit_log_pk PRIMARY KEY (at, audit_id),
  CONSTRAINT audit_log_subject_known CHECK ((subject_kind = ANY (ARRAY['saga'::text, 'definition'::text, 'schedule'::text, 'webhook'::text, 'bulk'::text])))
);
CREATE INDEX audit_log_actor_idx ON audit_log USING btree (actor, at DESC);
CREATE INDEX audit_log_subject_idx ON audit_log USING btree (subject_id, at DESC);

CREATE TABLE bulk_items (
  bulk_id uuid NOT NULL,
  n integer NOT NULL,
  saga_id uuid NOT NULL,
  state text NOT NULL DEFAULT 'pending'::text,
  detail text,
  CONSTRAINT bulk_items_pk PRIMARY KEY (bulk_id, n),
  CONSTRAINT bulk_items_operation_fk FOREIGN KEY (bulk_id) REFERENCES bulk_operations(bulk_id) ON DELETE CASCADE,
  CONSTRAINT bulk_items_state_known CHECK ((state = ANY (ARRAY['pending'::text, 'accepted'::text, 'refused'::text, 'failed'::text])))
) WITH (fillfactor=70);
CREATE INDEX bulk_items_state_idx ON bulk_items USING btree (bulk_id, state, n);

CREATE TABLE bulk_operations (
  bulk_id uuid NOT NULL,
  verb text NOT NULL,
  step text,
  reason text NOT NULL,
  actor text NOT NULL,
  filter jsonb,
  per_second integer NOT NULL,
  total integer NOT NULL DEFAULT 0,
  cut boolean NOT NULL DEFAULT false,
  state text NOT NULL DEFAULT 'running'::text,
  accepted integer NOT NULL DEFAULT 0,
  refused integer NOT NULL DEFAULT 0,
  failed integer NOT NULL DEFAULT 0,
  next_at timestamp with time zone DEFAULT now(),
  idempotency_key text,
  request_hash text NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT date_trunc('milliseconds'::text, now()),
  ended_at timestamp with time zone,
  CONSTRAINT bulk_operations_pk PRIMARY KEY (bulk_id),
  CONSTRAINT bulk_operations_ended CHECK ((((state = 'running'::text) = (ended_at IS NULL)) AND ((ended_at IS NULL) = (next_at IS NOT NULL)))),
  CONSTRAINT bulk_operations_pace CHECK ((per_second >= 1)),
  CONSTRAINT bulk_operations_state_known CHECK ((state = ANY (ARRAY['running'::text, 'done'::text, 'aborted'::text])))
) WITH (fillfactor=50);
CREATE INDEX bulk_operations_created_idx ON bulk_operations USING btree (created_at, bulk_id);
CREATE INDEX bulk_operations_due_idx ON bulk_operations USING btree (next_at) WHERE (next_at IS NOT NULL);
CREATE UNIQUE INDEX bulk_operations_once ON bulk_operations USING btree (idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE TABLE definitions (
  name text NOT NULL,
  version integer NOT NULL,
  hash text NOT NULL,
  queue text NOT NULL,
  document jsonb NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  CONSTRAINT definitions_pk PRIMARY KEY (name, version),
  CONSTRAINT definitions_content_once UNIQUE (name, hash),
  CONSTRAINT definitions_document_is_object CHECK ((jsonb_typeof(document) = 'object'::text)),
  CONSTRAINT definitions_version_positive CHECK ((version >= 1))
);

CREATE TABLE events (
  bucket smallint NOT NULL,
  batch_id uuid NOT NULL DEFAULT gen_random_uuid(),
  at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
  first_position bigint,
  last_position bigint,
  told json NOT NULL,
  CONSTRAINT events_pk PRIMARY KEY (bucket, batch_id),
  CONSTRAINT events_placed_whole CHECK (((first_position IS NULL) = (last_position IS NULL)))
) WITH (autovacuum_vacuum_scale_factor=0.05);
ALTER TABLE events ALTER COLUMN told SET STORAGE EXTERNAL;
CREATE INDEX events_place_idx ON events USING btree (last_position) WHERE (last_position IS NOT NULL);
CREATE INDEX events_waiting_idx ON events USING btree (at) WHERE (last_position IS NULL);

CREATE TABLE feed (
  single boolean NOT NULL DEFAULT true,
  "position" bigint NOT NULL DEFAULT 0,
  tidied_at timestamp with time zone NOT NULL DEFAULT now(),
  CONSTRAINT feed_pk PRIMARY KEY (single),
  CONSTRAINT feed_is_one CHECK (single)
) WITH (fillfactor=50);

CREATE TABLE installation (
  single boolean NOT NULL DEFAULT true,
  callback_key bytea NOT NULL,
  CONSTRAINT installation_pk PRIMARY KEY (single),
  CONSTRAINT installation_callback_key_is_long CHECK ((length(callback_key) >= 32)),
  CONSTRAINT installation_is_one CHECK (single)
);

CREATE TABLE saga_counts (
  definition_name text NOT NULL,
  status saga_status NOT NULL,
  count bigint NOT NULL,
  CONSTRAINT saga_counts_pk PRIMARY KEY (definition_name, status)
) WITH (fillfactor=50);

CREATE TABLE saga_history (
  bucket smallint NOT NULL,
  saga_id uuid NOT NULL,
  seq bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  kind text NOT NULL,
  epoch bigint NOT NULL,
  worker uuid,
  body json NOT NULL,
  CONSTRAINT saga_history_pk PRIMARY KEY (bucket, saga_id, seq),
  CONSTRAINT saga_history_body_is_object CHECK ((json_typeof(body) = 'object'::text)),
  CONSTRAINT saga_history_seq_positive CHECK ((seq >= 1))
);
ALTER TABLE saga_history ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE saga_mail (
  bucket smallint NOT NULL,
  saga_id uuid NOT NULL,
  seq bigint NOT NULL,
  at timestamp with time zone NOT NULL DEFAULT now(),
  body jsonb NOT NULL,
  dedup_key text,
  CONSTRAINT saga_mail_pk PRIMARY KEY (bucket, saga_id, seq),
  CONSTRAINT saga_mail_saga_fk FOREIGN KEY (bucket, saga_id) REFERENCES sagas(bucket, saga_id) ON DELETE CASCADE,
  CONSTRAINT saga_mail_body_is_object CHECK ((jsonb_typeof(body) = 'object'::text))
);
CREATE UNIQUE INDEX saga_mail_once_idx ON saga_mail USING btree (bucket, saga_id, dedup_key) WHERE (dedup_key IS NOT NULL);

CREATE TABLE saga_minutes (
  minute timestamp with time zone NOT NULL,
  definition_name text NOT NULL,
  event text NOT NULL,
  count bigint NOT NULL,
  CONSTRAINT saga_minutes_pk PRIMARY KEY (minute, definition_name, event)
) WITH (fillfactor=50);

CREATE TABLE sagas (
  bucket smallint NOT NULL,
  saga_id uuid NOT NULL,
  definition_name text NOT NULL,
  definition_version integer NOT NULL,
  queue text NOT NULL,
  status saga_status NOT NULL,
  state jsonb NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  epoch bigint NOT NULL DEFAULT 0,
  owner uuid,
  due_at timestamp with time zone,
  leases_lost integer NOT NULL DEFAULT 0,
  mail_seq bigint NOT NULL DEFAULT 0,
  mail_seen bigint NOT NULL DEFAULT 0,
  past_pivot boolean NOT NULL DEFAULT false,
  paused boolean NOT NULL DEFAULT false,
  failed_step text,
  start_key text,
  request_hash text NOT NULL,
  saga_key text,
  idempotency_key text,
  correlation_id text,
  tags document NOT NULL DEFAULT '{}'::jsonb,
  parent_saga_id uuid,
  created_at timestamp with time zone NOT NULL,
  updated_at timestamp with time zone NOT NULL,
  ended_at timestamp with time zone,
  clean boolean,
  failure_words tsvector,
  CONSTRAINT sagas_pk PRIMARY KEY (bucket, saga_id),
  CONSTRAINT sagas_due_or_leased CHECK (((num_nonnulls(due_at, owner, ended_at) = 1) OR ((num_nonnulls(due_at, owner, ended_at) = 0) AND (paused OR ((status)::text = 'stuck'::text))))),
  CONSTRAINT sagas_ended_when_terminal CHECK (((ended_at IS NULL) = ((status)::text = ANY ('{running,compensating,stuck}'::text[])))),
  CONSTRAINT sagas_keys_have_sources CHECK (((get_byte(uuid_send(saga_id), 15) = bucket) AND ((start_key IS NULL) = (num_nonnulls(saga_key, idempotency_key, parent_saga_id) = 0)))),
  CONSTRAINT sagas_numbers_in_range CHECK ((LEAST((version - 1), epoch, (leases_lost)::bigint, mail_seen, (mail_seq - mail_seen)) >= 0)),
  CONSTRAINT sagas_state_agrees CHECK (((state ->> 'status'::text) = (status)::text))
) WITH (autovacuum_analyze_scale_factor=0.05, autovacuum_vacuum_cost_limit=2000, autovacuum_vacuum_scale_factor=0.02, fillfactor=50);
CREATE INDEX sagas_correlation_idx ON sagas USING btree (correlation_id text_pattern_ops) WHERE (correlation_id IS NOT NULL);
CREATE INDEX sagas_definition_idx ON sagas USING btree (definition_name, status COLLATE "C", created_at, saga_id);
CREATE INDEX sagas_failed_step_idx ON sagas USING btree (failed_step, created_at, saga_id) WHERE (failed_step IS NOT NULL);
CREATE INDEX sagas_failure_idx ON sagas USING gin (failure_words) WHERE (failure_words IS NOT NULL);
CREATE INDEX sagas_key_idx ON sagas USING btree (saga_key text_pattern_ops) WHERE (saga_key IS NOT NULL);
CREATE INDEX sagas_owner_idx ON sagas USING btree (owner) WHERE (owner IS NOT NULL);
CREATE INDEX sagas_paused_idx ON sagas USING btree (created_at, saga_id) WHERE paused;
CREATE INDEX sagas_ready_idx ON sagas USING btree (queue, definition_name, due_at) WHERE (due_at IS NOT NULL);
CREATE UNIQUE INDEX sagas_start_key_once ON sagas USING btree (bucket, start_key) WHERE (start_key IS NOT NULL);
CREATE INDEX sagas_status_idx ON sagas USING btree (status, created_at, saga_id);
CREATE INDEX sagas_suspect_idx ON sagas USING btree (due_at) WHERE ((leases_lost >= 2) AND (due_at IS NOT NULL));
CREATE INDEX sagas_tags_idx ON sagas USING gin (tags) WHERE ((tags)::jsonb <> '{}'::jsonb);
CREATE INDEX sagas_unclean_idx ON sagas USING btree (created_at, saga_id) WHERE (NOT clean);
CREATE INDEX sagas_unread_idx ON sagas USING btree (due_at, owner) WHERE (mail_seq > mail_seen);

CREATE TABLE schedules (
  name text NOT NULL,
  schedule_id uuid NOT NULL,
  version bigint NOT NULL DEFAULT 1,
  spec jsonb NOT NULL,
  input jsonb NOT NULL,
  paused boolean NOT NULL DEFAULT false,
  next_at timestamp with time zone,
  last_saga_id uuid,
  last_error jsonb,
  runs jsonb NOT NULL DEFAULT '[]'::jsonb,
  changes jsonb NOT NULL DEFAULT '[]'::jsonb,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  updated_at timestamp with time zone NOT NULL DEFAULT now(),
  CONSTRAINT schedules_pk PRIMARY KEY (name),
  CONSTRAINT schedules_lists_are_arrays CHECK (((jsonb_typeof(runs) = 'array'::text) AND (jsonb_typeof(changes) = 'array'::text))),
  CONSTRAINT schedules_paused_is_not_due CHECK (((NOT paused) OR (next_at IS NULL))),
  CONSTRAINT schedules_spec_is_object CHECK ((jsonb_typeof(spec) = 'object'::text)),
  CONSTRAINT schedules_version_positive CHECK ((version >= 1))
) WITH (fillfactor=50);
CREATE INDEX schedules_due_idx ON schedules USING btree (next_at) WHERE (next_at IS NOT NULL);

CREATE TABLE webhook_deliveries (
  delivery_id uuid NOT NULL DEFAULT gen_random_uuid(),
  webhook_id uuid NOT NULL,
  type text NOT NULL,
  saga_id uuid,
  event json NOT NULL,
  created_at timestamp with time zone NOT NULL DEFAULT date_trunc('milliseconds'::text, now()),
  state text NOT NULL DEFAULT 'pending'::text,
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamp with time zone DEFAULT now(),
  last_at timestamp with time zone,
  last_status integer,
  last_error text,
  CONSTRAINT webhook_deliveries_pk PRIMARY KEY (delivery_id),
  CONSTRAINT webhook_deliveries_webhook_fk FOREIGN KEY (webhook_id) REFERENCES webhooks(webhook_id) ON DELETE CASCADE,
  CONSTRAINT webhook_deliveries_due_while_pending CHECK (((state = 'pending'::text) = (next_at IS NOT NULL))),
  CONSTRAINT webhook_deliveries_state_known CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text])))
);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries USING btree (webhook_id, next_at) WHERE (next_at IS NOT NULL);
CREATE INDEX webhook_deliveries_list_idx ON webhook_deliveries USING btree (webhook_id, created_at DESC, delivery_id DESC);

CREATE TABLE webhooks (
  webhook_id uuid NOT NULL,
  url text NOT NULL,
  types text[] NOT NULL,
  definition_name text,
  description text,
  enabled boolean NOT NULL DEFAULT true,
  disabled_reason text,
  secret text NOT NULL,
  old_secret text,
  old_secret_until timestamp with time zone,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  last_delivered_at timestamp with time zone,
  failing_since timestamp with time zone,
  CONSTRAINT webhooks_pk PRIMARY KEY (webhook_id),
  CONSTRAINT webhooks_disabled_with_reason CHECK ((enabled = (disabled_reason IS NULL))),
  CONSTRAINT webhooks_old_secret_ends CHECK (((old_secret IS NULL) = (old_secret_until IS NULL)))
);

CREATE TABLE workers (
  worker_id uuid NOT NULL,
  host text NOT NULL,
  pid integer NOT NULL,
  queues text[] NOT NULL,
  handlers jsonb NOT NULL,
  concurrency integer NOT NULL,
  holds integer NOT NULL DEFAULT 0,
  lease_ms integer NOT NULL,
  started_at timestamp with time zone NOT NULL DEFAULT now(),
  heartbeat_at timestamp with time zone NOT NULL DEFAULT now(),
  backend_pid integer,
  backend_start timestamp with time zone,
  ended_at timestamp with time zone,
  end_reason text,
  services jsonb NOT NULL DEFAULT '{}'::jsonb,
  CONSTRAINT workers_pk PRIMARY KEY (worker_id),
  CONSTRAINT workers_end_reason_known CHECK ((end_reason = ANY (ARRAY['stopped'::text, 'connectionLost'::text, 'leaseExpired'::text]))),
  CONSTRAINT workers_ended_with_reason CHECK (((ended_at IS NULL) = (end_reason IS NULL))),
  CONSTRAINT workers_lease_positive CHECK ((lease_ms > 0)),
  CONSTRAINT workers_services_is_object CHECK ((jsonb_typeof(services) = 'object'::text)),
  CONSTRAINT workers_session_whole CHECK (((backend_pid IS NULL) = (backend_start IS NULL)))
) WITH (fillfactor=50);
CREATE INDEX workers_alive_idx ON workers USING btree (worker_id) WHERE (ended_at IS NULL);
