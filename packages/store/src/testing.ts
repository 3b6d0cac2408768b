import { randomUUID } from 'node:crypto'
import {
  type AttemptId,
  byteLength,
  type Decision,
  decide,
  type Event,
  isMoving,
  type Json,
  next,
  type ResolvedDefinition,
  type SagaState,
} from '@backstitch/core'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import pg from 'pg'
import { afterAll, onTestFinished } from 'vitest'
import type { Claimed } from './claims.ts'
import type { Lease, Transition } from './commits.ts'
import type { Registered } from './definitions.ts'
import { typeParsers } from './link.ts'
import type { StartRequest } from './starts.ts'
import { type ApiStore, openApiStore, openWorkerStore, type WorkerStore } from './store.ts'
import { createNetwork, type Network } from './testing-proxy.ts'

/** A migrated database and the stores on it, as if nothing had ever happened there. */
export type Stage = {
  url: string
  /** Looks behind the curtain: one connection of the test's own. */
  sql: <Row extends Record<string, unknown> = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ) => Promise<Row[]>
  api: ApiStore
  /** A worker that is registered unless told otherwise. */
  worker(options?: Partial<WorkerOptions>): Promise<TestWorker>
  register(document?: Json): Promise<Registered>
  /** Starts a saga of `definition`; waits for nothing else. */
  start(definition: Registered, more?: Partial<StartRequest>): Promise<string>
  network(options?: Parameters<typeof createNetwork>[1]): Promise<Network>
  /** The row as it is. */
  row(sagaId: string): Promise<Row>
  /** The entries as they stand in the table. */
  history(sagaId: string): Promise<{ seq: number; kind: string; epoch: number; body: Json }[]>
}

export type WorkerOptions = {
  workerId: string
  url: string
  leaseMs: number
  queues: string[]
  handlers: Record<string, string[]>
  registered: boolean
  onDue: (queues: string[]) => void
}

export type TestWorker = WorkerStore & { workerId: string }

export type Row = {
  status: string
  state: SagaState
  version: number
  epoch: number
  owner: string | null
  due_at: Date | null
  leases_lost: number
  mail_seq: number
  mail_seen: number
  failed_step: string | null
  updated_at: Date
  ended_at: Date | null
}

type Place = {
  url: string
  client: pg.Client
  api: ApiStore
  workers: TestWorker[]
  close: () => Promise<void>
}

async function createPlace(): Promise<Place> {
  const { url, drop } = await createTestDatabase()
  const client = new pg.Client({ connectionString: url, types: typeParsers })
  client.on('error', () => undefined)
  await client.connect()
  const api = await openApiStore({ databaseUrl: url })
  const workers: TestWorker[] = []
  async function close() {
    await Promise.all([...workers.map((worker) => worker.close()), api.close(), client.end()])
    await drop()
  }
  return { url, client, api, workers, close }
}

/** Connections cost more than most tests: those of one file that do not disturb them share them, on emptied tables. */
let shared: Promise<Place> | undefined
afterAll(async () => {
  await (await shared)?.close()
})

/** `own`: a database for this test alone. */
export async function createStage({ own = false }: { own?: boolean } = {}): Promise<Stage> {
  if (!own) shared ??= createPlace()
  const place = await (own ? createPlace() : (shared ?? createPlace()))
  const { url, client, api } = place
  const closers: (() => Promise<unknown>)[] = own ? [place.close] : []
  onTestFinished(async () => {
    for (const close of closers.toReversed()) await close()
  })
  if (!own) {
    const tables = [
      'schedules',
      'saga_mail',
      'saga_history',
      'sagas',
      'workers',
      'definitions',
      'events',
      'saga_counts',
      'saga_minutes',
      'audit_log',
      'webhooks',
      'bulk_operations',
    ]
    await client.query(tables.map((table) => `DELETE FROM ${table}`).join('; '))
  }
  let taken = 0

  async function openWorker(options: Partial<WorkerOptions>): Promise<TestWorker> {
    const { workerId = randomUUID(), leaseMs = LEASE_MS, onDue = () => undefined } = options
    return {
      ...(await openWorkerStore({ databaseUrl: options.url ?? url, workerId, leaseMs, onDue })),
      workerId,
    }
  }

  /** One that tests before this one have used, if it is of the ordinary kind. */
  async function findWorker(options: Partial<WorkerOptions>): Promise<TestWorker> {
    const { workerId, leaseMs, onDue, url: by } = options
    if ([workerId, leaseMs, onDue, by].every((one) => one === undefined)) {
      const worker = place.workers[taken++] ?? (await openWorker(options))
      if (!place.workers.includes(worker)) place.workers.push(worker)
      return worker
    }
    const worker = await openWorker(options)
    closers.push(worker.close)
    return worker
  }

  const stage: Stage = {
    url,
    api,
    async sql<Row extends Record<string, unknown>>(text: string, values: readonly unknown[] = []) {
      return (await client.query<Row>(text, [...values])).rows
    },

    async worker(options = {}) {
      const worker = await findWorker(options)
      const { queues = ['order'], handlers = {}, leaseMs = LEASE_MS } = options
      if (options.registered !== false) {
        await worker.session.register({
          workerId: worker.workerId,
          queues,
          handlers,
          concurrency: 10,
          leaseMs,
          services: {},
        })
      }
      return worker
    },

    register: (document = order) => api.definitions.register(document),

    async start(definition, more = {}) {
      const { sagaId } = await api.starts.start(requestFor(definition, more))
      return sagaId
    },

    async network(options) {
      const network = await createNetwork(url, options)
      closers.push(network.close)
      return network
    },

    async row(sagaId) {
      const [row] = await stage.sql<Row>('SELECT * FROM sagas WHERE saga_id = $1', [sagaId])
      if (row === undefined) throw new Error(`there is no saga ${sagaId}`)
      return row
    },

    history: (sagaId) =>
      stage.sql('SELECT seq, kind, epoch, body FROM saga_history WHERE saga_id = $1 ORDER BY seq', [sagaId]),
  }
  return stage
}

const LEASE_MS = 30_000

const handler = { action: { type: 'handler' }, compensation: { type: 'handler' } }

/** Three steps that can be undone. */
export const order = orderOf(3)

export function orderOf(steps: number, more: Record<string, Json> = {}): Record<string, Json> {
  return {
    name: 'order',
    ...more,
    steps: Array.from({ length: steps }, (_, n) => ({ name: `step${n + 1}`, ...handler })),
  }
}

export function requestFor(definition: Registered, more: Partial<StartRequest> = {}): StartRequest {
  const input = more.input ?? null
  return { definition, input, inputBytes: byteLength(JSON.stringify(input)), requestHash: 'hash', ...more }
}

/** What a worker knows about a saga it holds. */
export type Held = { lease: Lease; version: number; mailSeen: number; state: SagaState }

export function heldAs(claimed: Claimed): Held {
  if ('unreadable' in claimed.state) throw new Error(claimed.state.unreadable)
  const { lease, version, mailSeen, state } = claimed
  return { lease, version, mailSeen, state }
}

/** The transition that the rules make of an event, with the lease kept as long as the saga moves. */
export function transitionOf(
  held: Held,
  event: Event,
  definition: ResolvedDefinition,
  more: Partial<Transition> & { now?: number } = {},
): Transition {
  const { lease, version, mailSeen, state } = held
  const { now = Date.now(), ...rest } = more
  const decision = decide(state, event, { definition, now, random: 0.5, version })
  if (decision.is === 'ignored') throw new Error(decision.why)
  return { lease, version, mailSeen, was: state.status, ...after(decision), ...rest }
}

export function after(
  decision: Extract<Decision, { is: 'transition' }>,
): Pick<Transition, 'state' | 'entry' | 'after'> {
  const { state, entry } = decision
  return { state, entry, after: { is: isMoving(state.status) ? 'keep' : 'rest' } }
}

/** The attempt that is scheduled has succeeded. */
export function success(state: SagaState, result: Json = null): Event {
  const resultBytes = byteLength(JSON.stringify(result))
  return { type: 'attemptSucceeded', ...scheduledIn(state), result, resultBytes }
}

export function failure(
  state: SagaState,
  outcome: 'rejected' | 'failed' | 'uncertain',
  message = 'no',
): Event {
  return { type: 'attemptFailed', ...scheduledIn(state), outcome, error: { code: 'DECLINED', message } }
}

export function scheduledIn(state: SagaState): AttemptId {
  const due = next(state)
  const [first] = due.act === 'attempt' ? due.attempts : []
  if (first === undefined) throw new Error(`nothing is scheduled: the saga is ${state.status}`)
  const { step, direction, attempt } = first
  return { step, direction, attempt }
}

/** Asks again and again, without a pause longer than a few milliseconds, until the answer is not undefined. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const end = performance.now() + 60_000
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (performance.now() > end) throw new Error(`still not so after a minute: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 3))
  }
}
