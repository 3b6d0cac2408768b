-- What a table's CHECKs say is parsed and planned anew by every statement that writes the table, 5 to 19 µs for each, which a
-- batch hides and the commit of a single step does not (docs/reference/performance.md). So they are said as shortly as may be,
-- and what concerns one column is said by its type where that is cheaper: a domain's constraint is planned once a session.
CREATE DOMAIN saga_status AS text CONSTRAINT saga_status_known CHECK (
  VALUE IN ('running', 'compensating', 'stuck', 'completed', 'failed', 'cancelled', 'abandoned'));
CREATE DOMAIN document AS jsonb CONSTRAINT document_is_object CHECK (jsonb_typeof(VALUE) = 'object');

ALTER TABLE sagas
  DROP CONSTRAINT sagas_status_known,
  DROP CONSTRAINT sagas_tags_is_object,
  DROP CONSTRAINT sagas_version_positive,
  DROP CONSTRAINT sagas_epoch_counts,
  DROP CONSTRAINT sagas_leases_lost_counts,
  DROP CONSTRAINT sagas_mail_in_order,
  DROP CONSTRAINT sagas_bucket_in_id,
  DROP CONSTRAINT sagas_start_key_has_source,
  DROP CONSTRAINT sagas_ended_when_terminal,
  DROP CONSTRAINT sagas_due_or_leased,
  ALTER COLUMN status TYPE saga_status,
  ALTER COLUMN tags TYPE document,
  ADD CONSTRAINT sagas_numbers_in_range CHECK (
    least(version - 1, epoch, leases_lost, mail_seen, mail_seq - mail_seen) >= 0),
  ADD CONSTRAINT sagas_keys_have_sources CHECK (
    get_byte(uuid_send(saga_id), 15) = bucket
    AND (start_key IS NULL) = (num_nonnulls(saga_key, idempotency_key, parent_saga_id) = 0)),
  ADD CONSTRAINT sagas_ended_when_terminal CHECK (
    (ended_at IS NULL) = (status = ANY ('{running,compensating,stuck}'))),
  -- Ended, held or due, and never two of them; none only where somebody else must move first.
  ADD CONSTRAINT sagas_due_or_leased CHECK (
    num_nonnulls(due_at, owner, ended_at) = 1
    OR num_nonnulls(due_at, owner, ended_at) = 0 AND (paused OR status = 'stuck'));
