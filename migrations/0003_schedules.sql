-- Sagas to be started by the calendar. Not a table of a saga, and no hot one: a row is written when it is due, and when a
-- person changes it. It has no bucket; where the others are spread over machines this one is a copy on each.

CREATE TABLE schedules (
  name          text        NOT NULL,
  schedule_id   uuid        NOT NULL,  -- in the start key: a schedule made anew under an old name starts anew
  version       bigint      NOT NULL DEFAULT 1,  -- raised by every change, never by a run
  spec          jsonb       NOT NULL,
  input         jsonb       NOT NULL,
  paused        boolean     NOT NULL DEFAULT false,
  next_at       timestamptz,  -- null: paused, or nothing more to come
  last_saga_id  uuid,
  last_error    jsonb,
  runs          jsonb       NOT NULL DEFAULT '[]',  -- the last few, newest first
  changes       jsonb       NOT NULL DEFAULT '[]',  -- by whom; the last few, newest first
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT schedules_pk PRIMARY KEY (name),
  CONSTRAINT schedules_version_positive CHECK (version >= 1),
  CONSTRAINT schedules_paused_is_not_due CHECK (NOT paused OR next_at IS NULL),
  CONSTRAINT schedules_spec_is_object CHECK (jsonb_typeof(spec) = 'object'),
  CONSTRAINT schedules_lists_are_arrays CHECK (jsonb_typeof(runs) = 'array' AND jsonb_typeof(changes) = 'array')
) WITH (fillfactor = 50);

CREATE INDEX schedules_due_idx ON schedules (next_at) WHERE next_at IS NOT NULL;
