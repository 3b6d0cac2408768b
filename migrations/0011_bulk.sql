-- One verb for many sagas (S30). The sagas are written down when it is asked for; each is acted on in a transaction of its own,
-- with its result, so that nothing is done twice and nothing is forgotten, whoever carries it out and however often that ends.
CREATE TABLE bulk_operations (
  bulk_id          uuid        NOT NULL,
  verb             text        NOT NULL,
  step             text,
  reason           text        NOT NULL,
  actor            text        NOT NULL,
  filter           jsonb,
  per_second       int         NOT NULL,
  total            int         NOT NULL DEFAULT 0,
  cut              boolean     NOT NULL DEFAULT false,  -- more were meant than are taken at once
  state            text        NOT NULL DEFAULT 'running',
  accepted         int         NOT NULL DEFAULT 0,      -- these are counted when it ends
  refused          int         NOT NULL DEFAULT 0,
  failed           int         NOT NULL DEFAULT 0,
  next_at          timestamptz DEFAULT now(),           -- when the next of them may be acted on
  idempotency_key  text,
  request_hash     text        NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()),
  ended_at         timestamptz,
  CONSTRAINT bulk_operations_pk PRIMARY KEY (bulk_id),
  CONSTRAINT bulk_operations_state_known CHECK (state IN ('running', 'done', 'aborted')),
  CONSTRAINT bulk_operations_ended CHECK ((state = 'running') = (ended_at IS NULL) AND (ended_at IS NULL) = (next_at IS NOT NULL)),
  CONSTRAINT bulk_operations_pace CHECK (per_second >= 1)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX bulk_operations_once ON bulk_operations (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX bulk_operations_due_idx ON bulk_operations (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX bulk_operations_created_idx ON bulk_operations (created_at, bulk_id);

CREATE TABLE bulk_items (
  bulk_id  uuid  NOT NULL,
  n        int   NOT NULL,
  saga_id  uuid  NOT NULL,
  state    text  NOT NULL DEFAULT 'pending',
  detail   text,
  CONSTRAINT bulk_items_pk PRIMARY KEY (bulk_id, n),
  CONSTRAINT bulk_items_operation_fk FOREIGN KEY (bulk_id) REFERENCES bulk_operations (bulk_id) ON DELETE CASCADE,
  CONSTRAINT bulk_items_state_known CHECK (state IN ('pending', 'accepted', 'refused', 'failed'))
) WITH (fillfactor = 70);
CREATE INDEX bulk_items_state_idx ON bulk_items (bulk_id, state, n);
