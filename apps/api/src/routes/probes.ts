import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { shared } from '../shared-answer.ts'

/** Is this process alive; can it work? And what it counts. Asked by machines, answered also under load. */

const CHECK_MS = 2_000
const KEPT_MS = 500

const Health = z
  .object({
    status: z.enum(['ok', 'unavailable', 'stopping']),
    checks: z.object({ database: z.string(), migrations: z.string() }),
  })
  .meta({ id: 'Health' })
type Health = z.infer<typeof Health>

export function probeRoutes(app: App, { store, metrics, isStopping }: Door): void {
  const always = { config: { always: true } }
  const check = shared(health, KEPT_MS)

  app.get(
    '/livez',
    {
      ...always,
      schema: {
        tags: ['installation'],
        operationId: 'isAlive',
        summary: 'The process answers',
        response: { 200: z.object({ status: z.literal('ok') }) },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  for (const [path, operationId, summary] of [
    ['/readyz', 'isReady', 'It can work: the database answers and is up to date'],
    ['/healthz', 'isHealthy', 'The same as /readyz'],
  ] as const) {
    app.get(
      path,
      {
        ...always,
        schema: { tags: ['installation'], operationId, summary, response: { 200: Health, 503: Health } },
      },
      async (_request, reply) => {
        const found = await check()
        const status = isStopping() ? 'stopping' : found.status
        return reply.code(status === 'ok' ? 200 : 503).send({ ...found, status })
      },
    )
  }

  app.get(
    '/metrics',
    {
      ...always,
      schema: {
        tags: ['installation'],
        operationId: 'getMetrics',
        summary: 'For Prometheus',
        produces: [metrics.registry.contentType],
        response: { 200: z.string() },
      },
    },
    async (_request, reply) => {
      const text = await metrics.registry.metrics()
      return reply.header('content-type', metrics.registry.contentType).send(text)
    },
  )

  async function health(): Promise<Health> {
    try {
      const { missingMigrations } = await withinTime(store().check(), CHECK_MS)
      if (missingMigrations.length === 0)
        return { status: 'ok', checks: { database: 'ok', migrations: 'ok' } }
      const migrations = `missing: ${missingMigrations.join(', ')}`
      return { status: 'unavailable', checks: { database: 'ok', migrations } }
    } catch {
      return { status: 'unavailable', checks: { database: 'unreachable', migrations: 'unknown' } }
    }
  }
}

async function withinTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  return Promise.race([promise, tooLate]).finally(() => clearTimeout(timer))
}
