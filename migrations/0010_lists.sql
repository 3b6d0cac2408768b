-- What a list is narrowed by, each in the order of the list, so that a page is read and not gathered (docs/adr/0020-lists.md).
-- One status after the other is read and merged: this index serves every set of statuses, and all of them.
CREATE INDEX sagas_status_idx ON sagas (status, created_at, saga_id);
-- Its own collation keeps the planner from reading all that has a status for the few of a definition it believes to be many.
CREATE INDEX sagas_definition_idx ON sagas (definition_name, status COLLATE "C", created_at, saga_id);
DROP INDEX sagas_created_idx;
DROP INDEX sagas_attention_idx;

-- Of those few that have failed, ended unclean, or are paused.
ALTER TABLE sagas ADD COLUMN clean boolean, ADD COLUMN failure_words tsvector;
UPDATE sagas SET
  clean = CASE WHEN status IN ('failed', 'cancelled') THEN state->'uncertainSteps' = '[]' END,
  failure_words = strip(to_tsvector('simple', state->>'failureReason'))
WHERE state ? 'failureReason';
CREATE INDEX sagas_failed_step_idx ON sagas (failed_step, created_at, saga_id) WHERE failed_step IS NOT NULL;
CREATE INDEX sagas_unclean_idx ON sagas (created_at, saga_id) WHERE NOT clean;
CREATE INDEX sagas_paused_idx ON sagas (created_at, saga_id) WHERE paused;

-- What is searched for: keys by how they begin, tags also by their value alone, failures by their words.
DROP INDEX sagas_key_idx;
CREATE INDEX sagas_key_idx ON sagas (saga_key text_pattern_ops) WHERE saga_key IS NOT NULL;
CREATE INDEX sagas_correlation_idx ON sagas (correlation_id text_pattern_ops) WHERE correlation_id IS NOT NULL;
DROP INDEX sagas_tags_idx;
CREATE INDEX sagas_tags_idx ON sagas USING gin (tags) WHERE tags <> '{}';
CREATE INDEX sagas_failure_idx ON sagas USING gin (failure_words) WHERE failure_words IS NOT NULL;
