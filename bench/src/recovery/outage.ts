import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkDefinition, type Json, type SagaModule } from '@backstitch/core'
import { openBacklog } from '../backlog.ts'
import { query } from '../place.ts'
import type { Contender } from '../scenario.ts'
import { startWorkers } from '../workers.ts'

const WORKERS = 2
const CONCURRENCY = 200
/** A worker makes so many calls at once to one service: a quarter of its sagas (S37). */
const LIMIT = (WORKERS * CONCURRENCY) / 4
const ANSWER_MS = 20

/**
 * A service is away for a while, and 10,000 sagas come to it meanwhile: from its return to the end of the last of them. Beside
 * it, what they would take at the limit of calls at once, and how many calls there were at once at most.
 */
export function outage(options: { sagas: number; outageMs: number }): Contender {
  const { sagas, outageMs } = options
  return {
    name: `service away for ${outageMs / 1_000} s`,
    open: async (place) => {
      const service = await startService()
      const backlog = await openBacklog(place, patientDocument(service.url))
      return {
        async run() {
          const workers = await startWorkers(place, WORKERS, {
            concurrency: CONCURRENCY,
            serviceUrl: service.url,
          })
          await service.stop()
          const goneAt = performance.now()
          await backlog.start(sagas)
          await sleep(outageMs - (performance.now() - goneAt))
          await service.start()
          const backAt = performance.now()
          await allEnded(place.url)
          const seconds = (performance.now() - backAt) / 1_000
          await workers.close()
          const [row] = await query(
            place.url,
            "SELECT count(*) FILTER (WHERE status = 'completed')::int AS completed FROM sagas",
          )
          return {
            seconds,
            atTheLimitSeconds: (sagas / LIMIT) * (ANSWER_MS / 1_000),
            completed: Number(row?.completed),
            callsAtOnceMost: service.mostAtOnce(),
            callsAtOnceLimit: LIMIT,
          }
        },
        async close() {
          await service.stop()
          await backlog.close()
        },
      }
    },
  }
}

/** One call, tried often enough for any outage: while the breaker is open no attempt is used up. */
function patientDocument(url: string): Json {
  const retry = { maxAttempts: 100, initialDelayMs: 200, factor: 2, maxDelayMs: 30_000 }
  return { name: 'patient', defaults: { retry }, steps: [{ name: 'one', action: { type: 'http', url } }] }
}

export function patientSagaOf(url: string): SagaModule {
  const checked = checkDefinition(patientDocument(url))
  if (!checked.ok) throw new Error(JSON.stringify(checked.problems))
  return { definition: checked.definition, handlers: new Map() }
}

async function allEnded(url: string): Promise<void> {
  const left = 'SELECT EXISTS (SELECT 1 FROM sagas WHERE ended_at IS NULL) AS so'
  while ((await query(url, left))[0]?.so === true) await sleep(100)
}

async function startService() {
  let server: Server | undefined
  let port = 0
  let atOnce = 0
  let most = 0

  async function start(): Promise<void> {
    server = createServer((request, response) => {
      most = Math.max(most, ++atOnce)
      response.once('close', () => atOnce--)
      request.resume()
      setTimeout(() => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end('{"id":"1"}')
      }, ANSWER_MS)
    })
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    port = typeof address === 'object' && address !== null ? address.port : 0
  }
  await start()

  return {
    url: `http://127.0.0.1:${port}/`,
    start,
    async stop() {
      server?.closeAllConnections()
      if (server?.listening !== true) return
      server.close()
      await once(server, 'close')
    },
    mostAtOnce: () => most,
  }
}
