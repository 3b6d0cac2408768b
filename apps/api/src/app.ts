import { type Leash, outsideLeash, readAllowed } from '@backstitch/addresses'
import type { Saga } from '@backstitch/core'
import { createInputSchemas, type InputSchemas } from '@backstitch/input-schema'
import type { ApiStore, Slot } from '@backstitch/store'
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  LogController,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { type BulkRunner, createBulkRunner } from './bulk-runner.ts'
import { createEventStreams, type EventStreams } from './event-streams.ts'
import { servePage } from './plugins/dashboard.ts'
import { speakJson } from './plugins/json.ts'
import { refuseOtherMethods } from './plugins/methods.ts'
import { createMetrics, type Metrics } from './plugins/metrics.ts'
import { describeApi } from './plugins/openapi.ts'
import { DEFAULT_LIMITS, type Limits, refuseOverload } from './plugins/overload.ts'
import { answerBrokenHttp, answerProblems, answerWithoutRoute } from './plugins/problems.ts'
import { logRequests, requestIdOf } from './plugins/requests.ts'
import { secureHeaders } from './plugins/security.ts'
import { attemptRoutes } from './routes/attempts.ts'
import { bulkRoutes } from './routes/bulk.ts'
import { callbackRoutes } from './routes/callbacks.ts'
import { definitionRoutes } from './routes/definitions.ts'
import { feedRoutes } from './routes/feed.ts'
import { installationRoutes } from './routes/installation.ts'
import { probeRoutes } from './routes/probes.ts'
import { sagaRoutes } from './routes/sagas.ts'
import { scheduleRoutes } from './routes/schedules.ts'
import { signalRoutes } from './routes/signals.ts'
import { verbPlanRoutes } from './routes/verb-plan.ts'
import { verbRoutes } from './routes/verbs.ts'
import { webhookRoutes } from './routes/webhooks.ts'
import { createStarting, type Starting } from './starting.ts'
import { stopInOrder } from './stopping.ts'
import { createWaitHub, type WaitHub } from './wait-hub.ts'

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>

/** What the routes share. */
export type Door = {
  /** Throws a `Problem` while there is no database. */
  store: () => ApiStore
  starting: Starting
  schemas: InputSchemas
  hub: WaitHub<Saga>
  metrics: Metrics
  bulkRunner: Pick<BulkRunner, 'wake'>
  isStopping: () => boolean
  streams: EventStreams
  basePath: string
  /** Where webhooks may be. */
  webhookLeash: Leash
}

/** A worker in this process. What is started here may be its own at once, and what it ends need not be asked for. */
export type Hands = {
  slot(queue: string): Slot | undefined
  onRest(listener: (sagaId: string) => void): void
}

/** The whole API, on no port yet: `main.ts` listens, tests inject. Its store is opened and closed by whoever gives it. */
export async function buildApp(options: {
  store: () => ApiStore
  log: FastifyBaseLogger
  limits?: Partial<Limits>
  hands?: Hands
  /** The folder of the built dashboard; none is served if absent. */
  dashboard?: string | undefined
  /** Where all this is seen from outside, such as "/tools/backstitch": behind a proxy that leaves it in front of each path, or takes it away. */
  basePath?: string | undefined
  /** Where webhooks may be although it is inside. */
  webhookAllow?: readonly string[] | undefined
}): Promise<App> {
  const { store, log, hands, dashboard, basePath = '' } = options
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const allow = readAllowed(options.webhookAllow ?? [])
  if (!allow.ok) throw new Error(`webhookAllow is not right:\n${allow.problems.join('\n')}`)
  const webhookLeash = outsideLeash(allow.allowed)
  const app: App = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: ({ headers }) => requestIdOf(headers['x-request-id']),
    rewriteUrl: ({ url = '/' }) => withoutBase(url, basePath),
    // A definition's or a saga's name is shorter; what is longer need not be looked for.
    routerOptions: { maxParamLength: 200 },
    requestTimeout: 30_000,
    // Nothing has moved for as long: whoever waits for a saga is answered sooner, and a stream says something.
    connectionTimeout: 120_000,
    // Longer than the proxies before us keep theirs, or they would send into a connection that is being closed.
    keepAliveTimeout: 75_000,
    // Whoever still gets through while we stop is answered.
    return503OnClosing: false,
    frameworkErrors: answerWithoutRoute,
    clientErrorHandler: answerBrokenHttp,
  })

  const hub: WaitHub<Saga> = createWaitHub({
    resting: (ids) => store().queries.resting(ids),
    maxWaiters: limits.maxWaiters,
    onRefused: () => metrics.refused('waiters'),
    isTold: hands !== undefined,
    expect: (sagaId) => store().rests.expect(sagaId, hub.hint),
  })
  hands?.onRest((sagaId) => hub.hint([sagaId]))
  // What comes beyond that is cut off before it can say anything.
  app.server.maxConnections = limits.maxConnections
  const streams = createEventStreams({
    feed: () => store().feed,
    maxStreams: limits.maxStreams,
    onRefused: () => metrics.refused('streams'),
    onFailure: (error) => log.warn({ err: error }, 'events could not be read; trying again'),
  })
  const isStopping = stopInOrder(app, [hub, streams])

  const schemas = createInputSchemas()
  const metrics = createMetrics(app, {
    waitingStarts: () => waitingStarts(store),
    waiters: () => hub.waiting,
  })
  const starting = createStarting({
    store,
    schemas,
    metrics,
    slot: (queue) => hands?.slot(queue),
    maxWaitingStarts: limits.maxWaitingStarts,
  })
  const bulkRunner = createBulkRunner({ store, log })
  app.addHook('onReady', async () => bulkRunner.start())
  app.addHook('preClose', () => bulkRunner.stop())
  const door: Door = {
    store,
    starting,
    schemas,
    hub,
    metrics,
    bulkRunner,
    isStopping,
    streams,
    basePath,
    webhookLeash,
  }

  answerProblems(
    app,
    dashboard === undefined ? undefined : await servePage(app, { folder: dashboard, basePath }),
  )
  logRequests(app)
  const methods = refuseOtherMethods(app)
  secureHeaders(app)
  refuseOverload(app, limits, { waiters: () => hub.waiting, onRefused: metrics.refused })
  speakJson(app)
  await describeApi(app, basePath)

  definitionRoutes(app, door)
  sagaRoutes(app, door)
  attemptRoutes(app, door)
  signalRoutes(app, door)
  callbackRoutes(app, door)
  scheduleRoutes(app, door)
  verbRoutes(app, door)
  bulkRoutes(app, door)
  verbPlanRoutes(app, door)
  installationRoutes(app, door)
  feedRoutes(app, door)
  webhookRoutes(app, door)
  probeRoutes(app, door)
  methods.settle()
  return app
}

function withoutBase(url: string, basePath: string): string {
  if (basePath === '' || !url.startsWith(basePath)) return url
  const rest = url.slice(basePath.length)
  if (rest === '' || rest.startsWith('?')) return `/${rest}`
  return rest.startsWith('/') ? rest : url
}

function waitingStarts(store: () => ApiStore): number {
  try {
    return store().starts.waiting
  } catch {
    return 0
  }
}
