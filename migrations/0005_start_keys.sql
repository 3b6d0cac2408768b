-- Most sagas have no start key, and those need no entry in its index. A whole index that begins with the bucket misled the
-- planner, too: on a table without statistics it went by it from a bucket to a saga, reading every saga of the bucket
-- (docs/reference/performance.md).
ALTER TABLE sagas DROP CONSTRAINT sagas_start_key_once;
CREATE UNIQUE INDEX sagas_start_key_once ON sagas (bucket, start_key) WHERE start_key IS NOT NULL;
