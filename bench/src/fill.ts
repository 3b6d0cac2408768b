import pg from 'pg'
import { install, sagaOf } from './installation.ts'
import { type Place, query } from './place.ts'

/**
 * Millions of sagas, without running them: copies of one that has ended and of one that has just been started, of the
 * sizes that ours have. The oldest lies first, as it would have come to; who is due came last, within an hour.
 */
export async function fill(
  place: Place,
  amounts: { ended: number; due: number },
  say: (line: string) => void,
): Promise<void> {
  const lanes = [new pg.Client(place.url), new pg.Client(place.url)]
  try {
    for (const lane of lanes) {
      await lane.connect()
      await lane.query("SET maintenance_work_mem = '1GB'; SET synchronous_commit = off")
    }
    await fillOn(lanes, await patternsOf(place), amounts, say)
  } finally {
    for (const lane of lanes) await lane.end()
  }
}

async function fillOn(
  lanes: readonly pg.Client[],
  patterns: Patterns,
  { ended, due }: { ended: number; due: number },
  say: (line: string) => void,
): Promise<void> {
  const [first] = lanes
  const { rows: indexes = [] } = (await first?.query<{ name: string; text: string }>(SECONDARY)) ?? {}
  for (const { name } of indexes) await first?.query(`DROP INDEX ${name}`)
  await first?.query('ALTER TABLE sagas SET (autovacuum_enabled = false)')
  const startedAt = performance.now()
  const took = () => `${Math.round((performance.now() - startedAt) / 1_000)} s`

  let next = 1
  async function copy(lane: pg.Client): Promise<void> {
    while (next <= ended + due) {
      const [from, to] = [next, Math.min(next + CHUNK - 1, ended + due)]
      next = to + 1
      await lane.query(COPY, [patterns.ended, patterns.due, ended, due, from, to])
      if (from % (CHUNK * 8) === 1) say(`filling: ${to.toLocaleString('en')} sagas after ${took()}`)
    }
  }
  await Promise.all(lanes.map(copy))
  for (const { text } of indexes) await first?.query(text)
  say(`filling: indexes after ${took()}`)
  await first?.query(HISTORY, [patterns.endedId])
  await first?.query('ALTER TABLE sagas RESET (autovacuum_enabled)')
  await first?.query('VACUUM (ANALYZE) sagas')
  await first?.query('CHECKPOINT').catch(() => undefined)
  say(`filled after ${took()}`)
}

const CHUNK = 50_000

/** The states to be copied, and whose history. */
type Patterns = { ended: string; due: string; endedId: string }

/** Of a saga that was run to its end, and of one that waits for a worker. */
async function patternsOf(place: Place): Promise<Patterns> {
  const installation = await install(place, sagaOf({ name: 'order', steps: 3 }), { concurrency: 1 })
  const { store, worker } = installation
  await installation.runOne()
  await worker.stop(0)
  const definition = await store.definitions.latest('order')
  if (definition === undefined) throw new Error('there is no definition "order"')
  const input = { orderId: 'o-1', amount: 4200 }
  await store.starts.start({ definition, input, inputBytes: 34, requestHash: 'bench' })
  await installation.close()
  const states = await query(place.url, 'SELECT saga_id, state::text FROM sagas ORDER BY ended_at NULLS LAST')
  const [ended, due] = states.map(({ state }) => String(state))
  return { ended: ended ?? '', due: due ?? '', endedId: String(states[0]?.saga_id) }
}

const SECONDARY = `
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS text FROM pg_index
WHERE indrelid = 'sagas'::regclass AND NOT indisprimary`

/**
 * Of a thousand: five have failed, one of them unclean, two were cancelled, one abandoned; of those that have not ended, one is
 * being undone and one in ten thousand is stuck. A tenth is of another definition, and one in 100,000 of a third. Half of them
 * have a key, a third a correlation id, a quarter have tags: one of a thousand shops and one of five regions.
 */
const COPY = `
INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, version, epoch, request_hash,
                   created_at, updated_at, ended_at, due_at, failed_step, start_key, saga_key, correlation_id, tags, clean, failure_words)
SELECT get_byte(uuid_send(id), 15), id, name, CASE WHEN n * 2 < $3::int8 THEN 1 ELSE 2 END, 'order', sketch.status,
       CASE WHEN n <= $3::int8 THEN $1::jsonb ELSE $2::jsonb END || jsonb_build_object('status', sketch.status)
         || CASE WHEN sketch.why IS NULL THEN '{}' ELSE jsonb_build_object('failureReason', sketch.why) END
         || CASE WHEN sketch.clean THEN '{}' ELSE '{"uncertainSteps": ["step2"]}'::jsonb END,
       CASE WHEN n <= $3::int8 THEN 4 ELSE 1 END, CASE WHEN n <= $3::int8 THEN 1 ELSE 0 END, md5(n::text) || md5(id::text),
       at, at + interval '20 ms', CASE WHEN n <= $3::int8 THEN at + interval '20 ms' END,
       CASE WHEN n > $3::int8 AND sketch.status <> 'stuck' THEN at END,
       CASE WHEN sketch.status = 'failed' THEN 'step' || 1 + n / 1000 % 3 END,
       CASE WHEN n % 2 = 0 THEN 'saga:' || name || ':key-' || n END, CASE WHEN n % 2 = 0 THEN 'key-' || n END,
       CASE WHEN n % 3 = 0 THEN 'request-' || md5(n::text) END,
       CASE WHEN n % 4 = 0 THEN jsonb_build_object('shop', 's' || n / 4 % 1000, 'region', 'r' || n / 4 % 5) ELSE '{}' END,
       CASE WHEN sketch.status IN ('failed', 'cancelled') THEN sketch.clean END, strip(to_tsvector('simple', sketch.why))
FROM (
  SELECT n, now() - CASE WHEN n > $3::int8 THEN interval '1 hour' * (1 - (n - $3::int8) / $4::float8)
                         ELSE interval '1 hour' + interval '100 days' * (1 - n / $3::float8) END AS at
  FROM generate_series($5::int8, $6::int8) AS n
) AS places
CROSS JOIN LATERAL (
  SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::int8), 12, '0') || '7' || left(md5(n::text), 3)
          || '8' || substr(md5(n::text), 4, 15))::uuid AS id,
         CASE WHEN n % 100000 = 1 THEN 'rare' WHEN n % 10 = 3 THEN 'payment' ELSE 'order' END AS name,
         CASE WHEN n <= $3::int8 THEN CASE WHEN n % 1000 < 5 THEN 'failed' WHEN n % 1000 < 7 THEN 'cancelled'
                                           WHEN n % 1000 = 7 THEN 'abandoned' ELSE 'completed' END
              WHEN n % 10000 = 8 THEN 'stuck' WHEN n % 1000 = 9 THEN 'compensating' ELSE 'running' END AS status,
         n > $3::int8 OR n % 1000 > 0 AS clean,
         CASE WHEN n <= $3::int8 AND n % 1000 < 5 THEN 'step' || 1 + n / 1000 % 3 || ' was declined: card ' || n % 5000 || ' has no funds' END AS why
) AS sketch`

/** Of the newest, about whom the statistics ask. */
const HISTORY = `
INSERT INTO saga_history (bucket, saga_id, seq, at, kind, epoch, worker, body)
SELECT s.bucket, s.saga_id, h.seq, s.created_at + (h.seq - 1) * interval '5 ms', h.kind, h.epoch, h.worker, h.body
FROM (SELECT bucket, saga_id, created_at FROM sagas ORDER BY created_at DESC LIMIT 1000) AS s
CROSS JOIN saga_history h
WHERE h.saga_id = $1::uuid
ON CONFLICT DO NOTHING`
