import { createServer, type Server } from 'node:http'
import type { Worker } from '@backstitch/engine'
import type { Registry } from 'prom-client'

/** /livez: the process answers. /readyz: it can work. /metrics: Prometheus. Nothing else, and nothing secret. */
export async function serveHealth(
  worker: Worker,
  metrics: Registry,
  host: string,
  port: number,
): Promise<Server> {
  const server = createServer((request, response) => {
    answer(request.url ?? '/', worker, metrics).then(
      ({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body),
      () => response.writeHead(500).end(),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  return server
}

async function answer(url: string, worker: Worker, metrics: Registry) {
  switch (url.split('?')[0]) {
    case '/livez':
      return json(200, { status: 'ok' })
    case '/readyz':
    case '/healthz':
      return readiness(worker)
    case '/metrics':
      return { status: 200, type: metrics.contentType, body: await metrics.metrics() }
    default:
      return json(404, { status: 'not found' })
  }
}

async function readiness(worker: Worker) {
  try {
    const { missingMigrations } = await worker.check()
    const migrations = missingMigrations.length === 0 ? 'ok' : `missing: ${missingMigrations.join(', ')}`
    const status = missingMigrations.length === 0 ? 'ok' : 'unavailable'
    return json(status === 'ok' ? 200 : 503, { status, checks: { database: 'ok', migrations } })
  } catch {
    return json(503, { status: 'unavailable', checks: { database: 'unreachable', migrations: 'unknown' } })
  }
}

function json(status: number, body: unknown) {
  return { status, type: 'application/json', body: JSON.stringify(body) }
}
