import { buildApp } from '@backstitch/api/app'
import { dashboardIfBuilt } from '@backstitch/api/dashboard'
import type { Worker } from '@backstitch/engine'
import { openApiStore } from '@backstitch/store'
import type { Logger } from 'pino'

/**
 * The API in the worker's own process: one process is a whole installation, and a saga that is started here runs here without
 * a detour through the queue. With more of them, each starts what it is asked to and all run what is due.
 */
export async function serveApi(options: {
  databaseUrl: string
  worker: Worker
  host: string
  port: number
  maxRequests: number
  basePath: string
  webhookAllow: readonly string[]
  log: Logger
}): Promise<{ url: string; close(): Promise<void> }> {
  const { databaseUrl, worker, host, port, maxRequests, basePath, webhookAllow, log } = options
  const store = await openApiStore({
    databaseUrl,
    onConnectionError: (error) => log.warn({ err: error }, 'a connection to the database was lost'),
  })
  const app = await buildApp({
    store: () => store,
    log,
    hands: worker,
    limits: { maxRequests },
    dashboard: dashboardIfBuilt(log),
    basePath,
    webhookAllow,
  })
  const listenTextResolver = (address: string) => `the API listens at ${address}`
  const url = await app.listen({ host, port, listenTextResolver }).catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  return {
    url,
    async close() {
      await app.close()
      await store.close()
    },
  }
}
