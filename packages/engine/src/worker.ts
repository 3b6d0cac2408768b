import { randomUUID } from 'node:crypto'
import { outsideLeash, readAllowed } from '@backstitch/addresses'
import { DEFAULT_QUEUE, queueOf, type SagaModule } from '@backstitch/core'
import { openWorkerStore, type ServiceReport, type Slot } from '@backstitch/store'
import type { Logger } from 'pino'
import { type CounterSnapshot, createCounters } from './counters.ts'
import { createIncarnation, type Incarnation } from './incarnation.ts'
import { readServices, type ServicesConfig } from './service-config.ts'

/**
 * A worker for anyone's own process: give it a database and the sagas whose handlers it has, start it, stop it.
 */
export type WorkerOptions = {
  databaseUrl: string
  /** Sagas with handlers; each is registered when the worker starts, and its queue is served. */
  sagas?: readonly SagaModule[]
  /** Queues to serve beside those of `sagas`. Default: `default`, where definitions without handlers are. */
  queues?: readonly string[]
  /**
   * Services that definitions name, by name. Secrets are read when the worker is made; what is wrong or missing throws
   * then, all of it in one message.
   */
  services?: ServicesConfig
  /** Sagas held at once. Default 200. */
  concurrency?: number
  /** How long this worker may be silent before the others take its sagas. Default 30 000 ms. */
  leaseMs?: number
  /** How long something due may go unnoticed when no notification arrives. Default 500 ms. */
  pollMs?: number
  /** Where participants reach the API: `Saga-Callback-Url` is made of it, and absent without it. */
  publicUrl?: string | undefined
  /**
   * Where webhooks may be told although it is inside: ranges of addresses, addresses, names of hosts. Nowhere by default: a
   * webhook's address is what a caller of the API says.
   */
  webhookAllow?: readonly string[]
  log: Logger
}

export type Worker = {
  /** Connects, registers the sagas and begins to claim. Rejects if the database cannot be reached. */
  start(): Promise<void>
  /**
   * Stops claiming, lets running attempts end within `graceMs` (default 25 000), lets the rest go, signs off (S21). Twice
   * is once; before `start` it does nothing.
   */
  stop(graceMs?: number): Promise<void>
  /** Changes when the worker had to go on under another id; undefined before it has started. */
  readonly workerId: string | undefined
  readonly holds: number
  /**
   * A slot for a saga that this process is about to start, for `store.starts.start`: it then belongs to this worker from the
   * commit that starts it, and needs no claim. Undefined where the queue is not served, there is no room, or others wait for it.
   */
  slot(queue: string): Slot | undefined
  /**
   * Tells of every saga that this worker has brought to its end, or to where it needs a person, as soon as that is committed. A
   * hint for whoever waits in this process: other workers end sagas, too.
   */
  onRest(listener: (sagaId: string) => void): void
  counters(): CounterSnapshot
  /** How it stands with what it calls, by the name of the service, or the origin of a plain URL. */
  services(): ServiceReport
  /** Throws if the database does not answer; names the migrations it lacks. */
  check(): Promise<{ missingMigrations: string[] }>
}

const RETRY_MS = 1_000

export function createWorker(options: WorkerOptions): Worker {
  return createWorkerOn(openWorkerStore, options)
}

/** On a store of another kind: a simulation's. */
export function createWorkerOn(openStore: typeof openWorkerStore, options: WorkerOptions): Worker {
  const {
    databaseUrl,
    sagas = [],
    queues = [DEFAULT_QUEUE],
    services = {},
    concurrency = 200,
    leaseMs = 30_000,
    pollMs = 500,
    publicUrl,
    webhookAllow = [],
    log,
  } = options
  const read = readServices(services)
  if (!read.ok) throw new Error(`the services are not configured right:\n${read.problems.join('\n')}`)
  const known = read.services
  const allow = readAllowed(webhookAllow)
  if (!allow.ok) throw new Error(`webhookAllow is not right:\n${allow.problems.join('\n')}`)
  const webhookLeash = outsideLeash(allow.allowed)
  const counters = createCounters()
  const served = [...new Set([...queues, ...sagas.map(({ definition }) => queueOf(definition))])]
  const listeners: ((sagaId: string) => void)[] = []
  let current: Incarnation | undefined
  /** The incarnation that is there, or is being made. */
  let coming: Promise<Incarnation> | undefined
  let stopping: Promise<void> | undefined

  function incarnate(): Promise<Incarnation> {
    return createIncarnation(randomUUID(), {
      openStore,
      databaseUrl,
      sagas,
      services: known,
      queues: served,
      concurrency,
      leaseMs,
      pollMs,
      publicUrl: publicUrl?.replace(/\/+$/, ''),
      webhookLeash,
      log,
      counters,
      onRest: (sagaId) => {
        for (const listener of listeners) listener(sagaId)
      },
    })
  }

  /** Follows one incarnation by the next for as long as the worker is wanted. */
  async function watch(incarnation: Incarnation): Promise<void> {
    const reason = await incarnation.died
    if (stopping !== undefined) return
    log.error({ workerId: incarnation.workerId, reason }, 'this worker is dead; it goes on under a new id')
    await incarnation.drop()
    while (stopping === undefined) {
      try {
        coming = incarnate()
        current = await coming
        if (stopping === undefined) void watch(current)
        return
      } catch (error) {
        log.warn({ err: error }, 'cannot go on yet; trying again')
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
  }

  async function end(graceMs: number): Promise<void> {
    await coming?.catch(() => undefined)
    await current?.stop(graceMs)
  }

  return {
    async start() {
      if (coming !== undefined || stopping !== undefined) throw new Error('a worker starts once')
      coming = incarnate()
      current = await coming
      if (stopping === undefined) void watch(current)
    },

    stop(graceMs = 25_000) {
      stopping ??= end(graceMs)
      return stopping
    },

    get workerId() {
      return current?.workerId
    },
    get holds() {
      return current?.holds ?? 0
    },
    slot: (queue) => (stopping === undefined ? current?.slot(queue) : undefined),
    onRest: (listener) => void listeners.push(listener),
    counters: () => counters.snapshot(),
    services: () => current?.services() ?? {},
    async check() {
      if (current === undefined) throw new Error('the worker has not started')
      return current.store.check()
    },
  }
}
