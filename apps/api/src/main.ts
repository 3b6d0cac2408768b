import { openApiStore } from '@backstitch/store'
import { pino } from 'pino'
import { buildApp } from './app.ts'
import { readConfig } from './config.ts'
import { connect } from './connection.ts'
import { errorForLog } from './error-for-log.ts'
import { createLogSink } from './log-sink.ts'
import { dashboardIfBuilt } from './plugins/dashboard.ts'

/** The process: configuration, a port, and an orderly end. */

/** Whatever is under way is answered in a few seconds; a caller that reads slowly is not waited for any longer. */
const GRACE_MS = 15_000

const read = readConfig(process.env)
if (!read.ok) {
  for (const problem of read.problems) console.error(problem)
  process.exit(1)
}
const { config } = read
// A write for each line would be a good part of what a small request costs. A process that is killed loses the last lines,
// and a reader that does not keep up loses what does not fit: neither holds up those who are served.
const sink = createLogSink({
  minLength: 8 * 1024,
  periodicFlush: 100,
  maxLength: 8 * 1024 * 1024,
})
const log = pino(
  {
    level: config.LOG_LEVEL,
    base: { app: 'api', pid: process.pid },
    serializers: { err: (error: unknown) => errorForLog(error) },
    redact: ['headers.authorization', 'headers.cookie'],
  },
  sink.stream,
)

const connection = connect(
  () =>
    openApiStore({
      databaseUrl: config.DATABASE_URL,
      onConnectionError: (error) => log.warn({ err: error }, 'a connection to the database was lost'),
    }),
  log,
)
const app = await buildApp({
  store: connection.store,
  log,
  limits: { maxRequests: config.MAX_REQUESTS },
  dashboard: dashboardIfBuilt(log),
  basePath: config.BASE_PATH,
  webhookAllow: config.WEBHOOK_ALLOW,
})

let stopping = false
async function stop(why: string, status: number): Promise<void> {
  // Asked twice: at once. What was acknowledged is in the database, what was not will be asked again.
  if (stopping) process.exit(1)
  stopping = true
  log.info({ why }, 'stopping')
  setTimeout(() => {
    log.error('something would not end in time')
    void sink.end().then(() => process.exit(1))
  }, GRACE_MS).unref()
  await app.close().catch((error: unknown) => log.error({ err: error }, 'stopping failed'))
  await connection.close().catch((error: unknown) => log.error({ err: error }, 'closing the database failed'))
  await sink.end()
  process.exit(status)
}

process.on('SIGTERM', () => void stop('SIGTERM', 0))
process.on('SIGINT', () => void stop('SIGINT', 0))
// Started by a supervisor that is gone: nobody would ever stop us.
process.on('disconnect', () => void stop('the supervisor is gone', 0))
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => {
    log.fatal({ err: error }, `${event}: stopping`)
    void stop(event, 1)
  })
}

try {
  const listenTextResolver = (address: string) => `listening at ${address}`
  const url = await app.listen({ host: config.HOST, port: config.PORT, listenTextResolver })
  process.send?.({ type: 'ready', url })
} catch (error) {
  console.error(cannotListen(error))
  await sink.end()
  process.exit(1)
}

function cannotListen(error: unknown): string {
  const where = `${config.HOST}:${config.PORT}`
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE')
    return `${where} is in use by another program; set PORT to a free port, or to 0 for any`
  if (code === 'EACCES') return `this user may not listen on ${where}; set PORT to one above 1023`
  return `cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}`
}
