-- Within a queue the definitions take turns (S20): one with a million sagas due does not keep another waiting with its ten.
-- So the index of what is due leads from the queue to its definitions, and from each to its oldest.
DROP INDEX sagas_ready_idx;
CREATE INDEX sagas_ready_idx ON sagas (queue, definition_name, due_at) WHERE due_at IS NOT NULL;
