import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { App } from '../app.ts'
import type { Refusal } from './overload.ts'

/** What Prometheus is shown at /metrics. */
export type Metrics = {
  registry: Registry
  started(outcome: StartOutcome): void
  /** A request that was not taken on, since there is too much to do. */
  refused(why: Refusal): void
}
type StartOutcome = 'started' | 'repeated' | 'conflict' | 'refused'

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export function createMetrics(
  app: App,
  gauges: { waitingStarts: () => number; waiters: () => number },
): Metrics {
  const registry = new Registry()
  const registers = [registry]
  // Among them the lag of the event loop, memory and CPU.
  collectDefaultMetrics({ register: registry })

  const durations = new Histogram({
    name: 'backstitch_http_request_duration_seconds',
    help: 'From the first byte of a request to the last of its answer, by route',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers,
  })
  const starts = new Counter({
    name: 'backstitch_starts_total',
    help: 'Starts that were asked for, by what became of them',
    labelNames: ['outcome'],
    registers,
  })
  const refusals = new Counter({
    name: 'backstitch_requests_refused_total',
    help: 'Requests answered with 503 because there was too much to do, by what there was too much of',
    labelNames: ['why'],
    registers,
  })
  new Gauge({
    name: 'backstitch_starts_waiting',
    help: 'Starts that wait for a connection to be committed on',
    registers,
    collect() {
      this.set(gauges.waitingStarts())
    },
  })
  new Gauge({
    name: 'backstitch_waiters',
    help: 'Requests that wait for a saga to end',
    registers,
    collect() {
      this.set(gauges.waiters())
    },
  })

  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none'
    durations.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1_000)
    done()
  })

  return { registry, started: (outcome) => starts.inc({ outcome }), refused: (why) => refusals.inc({ why }) }
}
