import { randomUUID } from 'node:crypto'
import { openApiStore, openWorkerStore } from '@backstitch/store'
import { documentOf } from '../installation.ts'
import { median } from '../load.ts'
import { query } from '../place.ts'
import type { Contender, Scenario } from '../scenario.ts'

const CLAIMS = 20
const LIMIT = 200
const FULL = 'many ended, many due'
const EMPTY = 'nothing else there'

export const backlog: Scenario = {
  name: 'backlog',
  about: `Claims of ${LIMIT}, a page of the list and the statistics: a tenth as many sagas due as ended; --size 10000000 is the goal's.`,
  contenders: ({ size = 200_000 }) => [contender(FULL, size), contender(EMPTY, 0)],
  ratios: ['claimP50Ms', 'nextDueP50Ms', 'pageMs', 'attentionMs', 'statsMs'].map((figure) => ({
    name: `${figure}: full : empty`,
    of: [FULL, figure],
    to: [EMPTY, figure],
  })),
}

function contender(name: string, ended: number): Contender {
  return {
    name,
    async open(place) {
      const store = await openApiStore({ databaseUrl: place.url })
      const workerId = randomUUID()
      const worker = await openWorkerStore({
        databaseUrl: place.url,
        workerId,
        leaseMs: 30_000,
        onDue: () => undefined,
      })
      const definition = await store.definitions.register(documentOf({ name: 'order', steps: 3 }))
      const about = { queues: ['order'], handlers: {}, services: {}, concurrency: LIMIT, leaseMs: 30_000 }
      await worker.session.register({ workerId, ...about })
      const request = { definition, input: null, inputBytes: 4, requestHash: 'bench' }
      const { sagaId } = await store.starts.start(request)
      // Before there is anything to plan for: what a lane plans on its first day it keeps.
      await worker.claims.claim(['order'], 1)
      await query(place.url, FILL, [sagaId, ended, Math.max(CLAIMS * LIMIT * 10, ended / 10)])
      await query(place.url, 'VACUUM ANALYZE sagas')
      return {
        async run() {
          const claimMs: number[] = []
          const nextDueMs: number[] = []
          for (let n = 0; n < CLAIMS; n++) {
            claimMs.push(await timed(() => worker.claims.claim(['order'], LIMIT)))
            nextDueMs.push(await timed(() => worker.claims.nextDueMs(['order'])))
          }
          return {
            claimP50Ms: median(claimMs),
            nextDueP50Ms: median(nextDueMs),
            pageMs: await timed(() => store.queries.sagas({}, { limit: 50 })),
            attentionMs: await timed(() =>
              store.queries.sagas({ status: ['stuck', 'failed'] }, { limit: 50 }),
            ),
            statsMs: await timed(() => store.queries.stats()),
          }
        },
        async close() {
          await worker.close()
          await store.close()
        },
      }
    },
  }
}

/** Copies of one saga: `$2` that have ended, `$3` that are due. */
const FILL = `
INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                   created_at, updated_at, ended_at, due_at)
SELECT get_byte(uuid_send(id), 15), id, s.definition_name, s.definition_version, s.queue, st.status,
       s.state || jsonb_build_object('status', st.status), s.request_hash, at, at,
       CASE WHEN n <= $2 THEN at END, CASE WHEN n > $2 THEN at END
FROM sagas s
CROSS JOIN LATERAL (
  SELECT n, gen_random_uuid() AS id, now() - n * interval '1 ms' AS at FROM generate_series(1, $2::int8 + $3::int8) AS n
) AS sketch
CROSS JOIN LATERAL (
  SELECT CASE WHEN n > $2 THEN 'running' WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END AS status
) AS st
WHERE s.saga_id = $1`

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}
