import { createLogSink } from '@backstitch/api/log-sink'
import { createWorker } from '@backstitch/engine'
import { pino } from 'pino'
import { readConfig } from './config.ts'
import { serveHealth } from './health.ts'
import { loadSagas } from './load-sagas.ts'
import { loadServices } from './load-services.ts'
import { createMetrics } from './metrics.ts'
import { serveApi } from './serve-api.ts'

/** A process around the engine: configuration, saga modules, a health port, shutdown. */

const RETRY_MS = 1_000

const read = readConfig(process.env)
if (!read.ok) {
  for (const problem of read.problems) console.error(problem)
  process.exit(1)
}
const { config } = read
const loaded = await loadServices(config.SERVICES)
if (!loaded.ok) {
  for (const problem of loaded.problems) console.error(problem)
  process.exit(1)
}
const { services } = loaded
// A reader that does not keep up loses what does not fit; it does not fill the memory.
const sink = createLogSink({ maxLength: 8 * 1024 * 1024 })
const log = pino({ level: config.LOG_LEVEL, base: { app: 'worker', pid: process.pid } }, sink.stream)

const sagas = await loadSagas(config.SAGAS).catch(async (error: unknown) => {
  log.fatal({ err: error }, 'cannot start')
  await sink.end()
  process.exit(1)
})

function newWorker() {
  return createWorker({
    databaseUrl: config.DATABASE_URL,
    sagas,
    services,
    queues: config.QUEUES,
    concurrency: config.CONCURRENCY,
    leaseMs: config.LEASE_MS,
    pollMs: config.POLL_MS,
    publicUrl: config.PUBLIC_URL,
    webhookAllow: config.WEBHOOK_ALLOW,
    log,
  })
}

let worker = newWorker()
let stopping = false
let signalled = false
let status = 0
let api: Awaited<ReturnType<typeof serveApi>> | undefined

async function stop(why: string): Promise<void> {
  if (stopping) return
  stopping = true
  log.info({ why, holds: worker.holds }, 'stopping')
  // Nothing new is let in before the worker stops: what was started through this door may still run here.
  await api?.close().catch((error: unknown) => log.error({ err: error }, 'closing the API failed'))
  await worker.stop(config.GRACE_MS).catch((error: unknown) => log.error({ err: error }, 'stopping failed'))
  await sink.end()
  process.exit(status)
}

/** A second signal ends the process at once: whatever it held is taken over, nothing is lost (S21). */
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (signalled) process.exit(1)
    signalled = true
    void stop(signal)
  })
}
// Started by a supervisor that is gone: nobody would ever stop us.
process.on('disconnect', () => void stop('the supervisor is gone'))
// Something was left unhandled, most likely in a handler: this process can no longer be trusted to be in order (F92). It
// seldom comes alone, and still what runs may end.
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => {
    log.fatal({ err: error }, `${event}: draining and exiting`)
    status = 1
    void stop(event)
  })
}

// The database may come up after us.
for (;;) {
  try {
    await worker.start()
    break
  } catch (error) {
    if (stopping) break
    log.warn({ err: error }, `cannot start yet; trying again in ${RETRY_MS} ms`)
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    worker = newWorker()
  }
}
if (config.HEALTH_PORT !== undefined) {
  const server = await serveHealth(worker, createMetrics(worker), config.HOST, config.HEALTH_PORT)
  log.info({ address: server.address() }, 'health port open')
}
if (config.API_PORT !== undefined && !stopping) {
  const { DATABASE_URL: databaseUrl, HOST: host, API_PORT: port } = config
  const { MAX_REQUESTS: maxRequests, BASE_PATH: basePath, WEBHOOK_ALLOW: webhookAllow } = config
  try {
    api = await serveApi({ databaseUrl, worker, host, port, maxRequests, basePath, webhookAllow, log })
  } catch (error) {
    log.fatal({ err: error }, `the API cannot be served at ${host}:${port}`)
    status = 1
    await stop('the API cannot be served')
  }
}
process.send?.({ type: 'ready', workerId: worker.workerId, url: api?.url })
