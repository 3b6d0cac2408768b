import type { Worker } from '@backstitch/engine'
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

type State = ReturnType<Worker['services']>[string]

/** By the name of the service, or the origin of a plain URL. */
const SERVICE_GAUGES: [name: string, help: string, value: (state: State) => number][] = [
  ['backstitch_service_in_flight', 'Calls to a service under way', ({ inFlight }) => inFlight],
  [
    'backstitch_service_waiting',
    'Attempts that wait here for their turn at a service',
    ({ waiting }) => waiting,
  ],
  ['backstitch_service_limit', 'Calls to a service that may be under way at once', ({ limit }) => limit],
  [
    'backstitch_service_breaker',
    'The circuit breaker of a service: 0 closed, 1 half-open, 2 open',
    ({ breaker }) => ({ closed: 0, halfOpen: 1, open: 2 })[breaker],
  ],
]

/** The worker's counters as Prometheus shows them: read when asked, nothing kept twice. */
export function createMetrics(worker: Worker): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  new Gauge({
    name: 'backstitch_sagas_held',
    help: 'Sagas this worker holds a lease on',
    registers,
    collect() {
      this.set(worker.holds)
    },
  })
  new Counter({
    name: 'backstitch_attempts_total',
    help: 'Attempts that have ended, by direction and outcome',
    labelNames: ['direction', 'outcome'],
    registers,
    collect() {
      this.reset()
      for (const [key, count] of Object.entries(worker.counters().attempts)) {
        const [direction = '', outcome = ''] = key.split(' ')
        this.inc({ direction, outcome }, count)
      }
    },
  })
  new Counter({
    name: 'backstitch_transitions_total',
    help: 'Transitions committed, by the kind of their history entry',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset()
      for (const [kind, count] of Object.entries(worker.counters().transitions)) this.inc({ kind }, count)
    },
  })
  new Counter({
    name: 'backstitch_leases_lost_total',
    help: 'Commits refused because another worker had the saga, or it had ended',
    registers,
    collect() {
      this.reset()
      this.inc(worker.counters().leasesLost)
    },
  })
  new Counter({
    name: 'backstitch_sagas_stuck_total',
    help: 'Sagas that this worker has left to a person: alert on any increase',
    registers,
    collect() {
      this.reset()
      this.inc(worker.counters().sagasStuck)
    },
  })
  for (const [name, help, value] of SERVICE_GAUGES) {
    new Gauge({
      name,
      help,
      labelNames: ['service'],
      registers,
      collect() {
        this.reset()
        for (const [service, state] of Object.entries(worker.services())) this.set({ service }, value(state))
      },
    })
  }
  new Counter({
    name: 'backstitch_schedule_runs_total',
    help: 'Instants of schedules this worker has answered, by outcome: started, skipped, failed',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset()
      for (const [outcome, count] of Object.entries(worker.counters().scheduleRuns))
        this.inc({ outcome }, count)
    },
  })
  return registry
}
