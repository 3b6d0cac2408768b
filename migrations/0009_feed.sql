-- What has happened, for whoever listens. The statement that makes it happen adds one row for all that it did; a publisher gives
-- that row its places in the feed, keeps the counts, and sees to it that webhooks are told. What has been written is not written again.

-- `at` orders what depends on one another: a transition is made after the one before it has been committed.
CREATE TABLE events (
  bucket smallint NOT NULL,
  batch_id uuid NOT NULL DEFAULT gen_random_uuid(),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  first_position bigint,
  last_position bigint,
  told json NOT NULL,
  CONSTRAINT events_pk PRIMARY KEY (bucket, batch_id),
  CONSTRAINT events_placed_whole CHECK ((first_position IS NULL) = (last_position IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE events ALTER COLUMN told SET STORAGE EXTERNAL;
CREATE INDEX events_waiting_idx ON events (at) WHERE last_position IS NULL;
CREATE INDEX events_place_idx ON events (last_position) WHERE last_position IS NOT NULL;

-- Whoever holds this row publishes.
CREATE TABLE feed (
  single boolean NOT NULL DEFAULT true,
  position bigint NOT NULL DEFAULT 0,
  tidied_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT feed_pk PRIMARY KEY (single),
  CONSTRAINT feed_is_one CHECK (single)
) WITH (fillfactor = 50);
INSERT INTO feed DEFAULT VALUES;

CREATE TABLE saga_counts (
  definition_name text NOT NULL,
  status saga_status NOT NULL,
  count bigint NOT NULL,
  CONSTRAINT saga_counts_pk PRIMARY KEY (definition_name, status)
) WITH (fillfactor = 50);
INSERT INTO saga_counts SELECT definition_name, status, count(*) FROM sagas GROUP BY 1, 2;

CREATE TABLE saga_minutes (
  minute timestamptz NOT NULL,
  definition_name text NOT NULL,
  event text NOT NULL,
  count bigint NOT NULL,
  CONSTRAINT saga_minutes_pk PRIMARY KEY (minute, definition_name, event)
) WITH (fillfactor = 50);

CREATE TABLE audit_log (
  at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
  audit_id uuid NOT NULL DEFAULT gen_random_uuid(),
  actor text NOT NULL,
  act text NOT NULL,
  subject_kind text NOT NULL,
  subject_id text NOT NULL,
  reason text,
  refused text,
  CONSTRAINT audit_log_pk PRIMARY KEY (at, audit_id),
  CONSTRAINT audit_log_subject_known CHECK (subject_kind IN ('saga', 'definition', 'schedule', 'webhook', 'bulk'))
);
CREATE INDEX audit_log_subject_idx ON audit_log (subject_id, at DESC);
CREATE INDEX audit_log_actor_idx ON audit_log (actor, at DESC);

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
  old_secret_until timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_delivered_at timestamptz,
  failing_since timestamptz,
  CONSTRAINT webhooks_pk PRIMARY KEY (webhook_id),
  CONSTRAINT webhooks_old_secret_ends CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
  CONSTRAINT webhooks_disabled_with_reason CHECK (enabled = (disabled_reason IS NULL))
);

CREATE TABLE webhook_deliveries (
  delivery_id uuid NOT NULL DEFAULT gen_random_uuid(),
  webhook_id uuid NOT NULL,
  type text NOT NULL,
  saga_id uuid,
  event json NOT NULL,
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
  state text NOT NULL DEFAULT 'pending',
  attempts integer NOT NULL DEFAULT 0,
  next_at timestamptz DEFAULT now(),
  last_at timestamptz,
  last_status integer,
  last_error text,
  CONSTRAINT webhook_deliveries_pk PRIMARY KEY (delivery_id),
  CONSTRAINT webhook_deliveries_webhook_fk FOREIGN KEY (webhook_id) REFERENCES webhooks ON DELETE CASCADE,
  CONSTRAINT webhook_deliveries_state_known CHECK (state IN ('pending', 'delivered', 'failed')),
  CONSTRAINT webhook_deliveries_due_while_pending CHECK ((state = 'pending') = (next_at IS NOT NULL))
);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (webhook_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX webhook_deliveries_list_idx ON webhook_deliveries (webhook_id, created_at DESC, delivery_id DESC);
