import {
  contextOf,
  entryOf,
  isAct,
  isClean,
  isTerminal,
  type Json,
  type NextAct,
  nextAct,
  type Saga,
  type SagaFilter,
  type SagaState,
  type SagaSummary,
  type Service,
  ServiceState,
  Status,
  servicesOf,
  stepOf,
  type Worker,
} from '@backstitch/core'
import { sql } from 'kysely'
import { z } from 'zod'
import { decodeState } from './claims.ts'
import type { Database } from './database.ts'
import type { Definitions } from './definitions.ts'
import { createGatherer } from './gather.ts'
import { type History, HistoryDamaged } from './history.ts'
import { bucketOf } from './ids.ts'
import type { Lane, Statement } from './lane.ts'
import { createLists, type Place } from './lists.ts'

/** What the API reads. Nothing here changes anything. */
export type Queries = {
  /** With every value in place, also of a saga whose state cannot be read (S29). */
  saga(sagaId: string): Promise<Saga | undefined>
  /**
   * Newest first. `before` is the place the page before ended at; without a `last` there is no further page. A page may be short,
   * or empty, and have a `last` all the same: what was passed over was enough for one question.
   */
  sagas(
    filter: SagaFilter,
    page: { before?: Place | undefined; limit: number },
  ): Promise<{ items: SagaSummary[]; last?: Place }>
  /** These as the list shows them, newest first. */
  summaries(sagaIds: readonly string[]): Promise<SagaSummary[]>
  /**
   * Those of these that have ended, or need a person, by id: a waiter need wait for them no longer. A stuck saga that is due, or
   * held, has a letter that may move it; one that was left with its mail unread is not due.
   */
  resting(sagaIds: readonly string[]): Promise<Map<string, Saga>>
  /** How these stand, by id. */
  standing(sagaIds: readonly string[]): Promise<Map<string, { status: Status; version: number }>>
  workers(): Promise<Worker[]>
  /** What sagas call, by name: as the live workers tell it, and as the highest versions of the definitions name it. */
  services(): Promise<Service[]>
}

/** What is shown of a saga. */
const Row = z.object({
  saga_id: z.string(),
  definition_name: z.string(),
  definition_version: z.number(),
  queue: z.string(),
  status: z.string(),
  state: z.unknown(),
  version: z.number(),
  owner: z.string().nullable(),
  due_at: z.date().nullable(),
  saga_key: z.string().nullable(),
  correlation_id: z.string().nullable(),
  tags: z.unknown(),
  paused: z.boolean(),
  created_at: z.date(),
  updated_at: z.date(),
  ended_at: z.date().nullable(),
})
type Row = z.infer<typeof Row> & { now: Date }
const COLUMNS = Row.keyof().options
const RowNow = Row.extend({ now: z.date() })

/** What is asked again and again is planned once, and about many sagas at a time. */
export const SAGAS: Statement = {
  name: 'sagas',
  text: `
SELECT ${COLUMNS.map((column) => `s.${column}`).join(', ')}, now()
FROM unnest($1::int2[], $2::uuid[]) AS i(bucket, saga_id)
JOIN sagas s ON s.bucket = i.bucket AND s.saga_id = i.saga_id`,
}
export const RESTING: Statement = {
  name: 'resting',
  text: `${SAGAS.text}
WHERE s.ended_at IS NOT NULL OR (s.status = 'stuck' AND s.due_at IS NULL AND s.owner IS NULL)`,
}

/** `byId`: the lane on which sagas are asked for by their ids. */
export function createQueries(
  database: Database,
  byId: Lane,
  definitions: Definitions,
  history: History,
): Queries {
  const lists = createLists<Identity>(database, COLUMNS)
  const reads = createGatherer<string, unknown>({
    lanes: 1,
    maxItems: 100,
    maxBytes: 100,
    bytesOf: () => 1,
    async flush(sagaIds) {
      const found = new Map((await rowsOf(SAGAS, sagaIds)).map((row) => [row.saga_id, row]))
      return sagaIds.map((sagaId) => ({ ok: true, answer: found.get(sagaId) }))
    },
  })

  async function rowsOf(
    statement: Statement,
    sagaIds: readonly string[],
  ): Promise<Record<string, unknown>[]> {
    const rows = await byId.query(statement, [sagaIds.map(bucketOf), sagaIds])
    return rows.map((values) => Object.fromEntries([...COLUMNS, 'now'].map((name, n) => [name, values[n]])))
  }

  async function liveWorkers(): Promise<Worker[]> {
    const found = await database
      .selectFrom('workers')
      .selectAll()
      .where('ended_at', 'is', null)
      .orderBy('started_at')
      .limit(1_000)
      .execute()
    return found.map((row) => ({
      workerId: row.worker_id,
      host: row.host,
      pid: row.pid,
      queues: row.queues,
      handlers: Handlers.parse(row.handlers),
      services: namesIn(ServiceReport.safeParse(row.services).data),
      concurrency: row.concurrency,
      holds: row.holds,
      startedAt: row.started_at.toISOString(),
      heartbeatAt: row.heartbeat_at.toISOString(),
    }))
  }

  async function whatNext(row: Row, state: SagaState): Promise<NextAct> {
    const shown = nextAct(state)
    const { attempts = [] } = shown
    if (shown.act !== 'attempt') return shown
    if (row.owner !== null) return { ...shown, worker: row.owner }
    // By its state, not by its row: a saga that nobody can run is put off again and again (S20).
    const isDue = ({ dueAt, waiting }: (typeof attempts)[number]) =>
      waiting === undefined && (dueAt === undefined || Date.parse(dueAt) <= row.now.getTime())
    const due = attempts.filter(isDue)
    if (due.length === 0 && (row.due_at === null || row.due_at > row.now)) return shown
    const definition = await definitions.get(row.definition_name, row.definition_version)
    const workers = await liveWorkers()
    const served = workers.some(
      ({ queues, handlers, services }) =>
        queues.includes(row.queue) &&
        due.every(({ step, direction }) => {
          const act = definition && stepOf(definition.resolved, step)?.[direction]
          if (act === undefined || !isAct(act)) return true
          if (act.call.type === 'handler')
            return entryOf(handlers, row.definition_name)?.includes(step) === true
          return servicesOf(act).every((service) => services.includes(service))
        }),
    )
    return { ...shown, ...(!served && { waitingForWorker: true }) }
  }

  async function present(row: Row): Promise<Saga> {
    const decoded = decodeState(row.state)
    const state = 'unreadable' in decoded ? substitute(row, decoded.unreadable) : decoded
    const { bytes: _, traceparent: __, ...shown } = state
    const unreadable = 'unreadable' in decoded ? decoded : {}
    const { values, ...missing } = await valuesOf(row.saga_id, state)
    const { context } = contextOf(state, values)
    const next = await whatNext(row, state)
    return {
      ...shown,
      sagaId: row.saga_id,
      context,
      ...factsOf(row),
      ...cleanOf(state),
      ...unreadable,
      ...missing,
      next,
    }
  }

  /** A value that is gone does not hide the rest of the saga (S29). */
  async function valuesOf(sagaId: string, state: SagaState) {
    try {
      return { values: await history.values(sagaId, state) }
    } catch (error) {
      if (!(error instanceof HistoryDamaged)) throw error
      return { values: new Map<string, Json>(), unreadable: error.message }
    }
  }

  return {
    async saga(sagaId) {
      const row = await reads.submit(sagaId)
      return row === undefined ? undefined : present(RowNow.parse(row))
    },

    async sagas(filter, page) {
      const { rows, ...end } = await lists(filter, page)
      return { items: rows.map(summarise), ...end }
    },

    async summaries(sagaIds) {
      const { rows: found } = await sql<Identity>`
        SELECT s.* FROM unnest(${sagaIds.map(bucketOf)}::int2[], ${[...sagaIds]}::uuid[]) AS i(bucket, saga_id)
        CROSS JOIN LATERAL (
          SELECT ${sql.join(COLUMNS.map((column) => sql.ref(column)))} FROM sagas WHERE bucket = i.bucket AND saga_id = i.saga_id
        ) s ORDER BY s.created_at DESC, s.saga_id DESC`.execute(database)
      return found.map(summarise)
    },

    async resting(sagaIds) {
      const found = await rowsOf(RESTING, sagaIds)
      // One that cannot be shown is left to whoever reads it by itself: it must not keep the others waiting.
      const rows = found.flatMap((row) => RowNow.safeParse(row).data ?? [])
      const shown = await Promise.allSettled(rows.map(present))
      const sagas = shown.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
      const [first] = shown
      // Where none can be, it is the database that cannot answer.
      if (sagas.length === 0 && first?.status === 'rejected') throw first.reason
      return new Map(sagas.map((saga) => [saga.sagaId, saga]))
    },

    async standing(sagaIds) {
      const { rows: found } = await sql<{ saga_id: string; status: string; version: number }>`
        SELECT s.saga_id, s.status, s.version
        FROM unnest(${sagaIds.map(bucketOf)}::int2[], ${[...sagaIds]}::uuid[]) AS i(bucket, saga_id)
        CROSS JOIN LATERAL (
          SELECT saga_id, status, version FROM sagas WHERE bucket = i.bucket AND saga_id = i.saga_id
        ) s`.execute(database)
      return new Map(
        found.map(({ saga_id, status, version }) => [saga_id, { status: Status.parse(status), version }]),
      )
    },

    workers: liveWorkers,

    async services() {
      const [told, named] = await Promise.all([
        database
          .selectFrom('workers')
          .select(['worker_id', 'services'])
          .where('ended_at', 'is', null)
          .orderBy('started_at')
          .limit(1_000)
          .execute(),
        // Wherever a call or a probe stands, in whatever a definition may hold one day.
        sql<{ service: string; definitions: string[] }>`
          SELECT s.service #>> '{}' AS service, array_agg(DISTINCT d.name ORDER BY d.name) AS definitions
          FROM (SELECT DISTINCT ON (name) name, document FROM definitions ORDER BY name, version DESC) d
          CROSS JOIN LATERAL jsonb_path_query(d.document, 'strict $.** ? (@.type == "http" && exists(@.path) && exists(@.service)).service') AS s(service)
          WHERE jsonb_typeof(s.service) = 'string'
          GROUP BY 1`.execute(database),
      ])
      const services = new Map<string, Service>()
      const of = (service: string): Service => {
        const known = services.get(service) ?? {
          service,
          configured: false,
          inFlight: 0,
          waiting: 0,
          limit: 0,
          definitions: [],
          workers: [],
        }
        services.set(service, known)
        return known
      }
      for (const { service, definitions } of named.rows) of(service).definitions = definitions
      for (const { worker_id: workerId, services: report } of told) {
        for (const [name, state] of Object.entries(ServiceReport.safeParse(report).data ?? {})) {
          const service = of(name)
          service.configured = true
          service.inFlight += state.inFlight
          service.waiting += state.waiting
          service.limit += state.limit
          service.breaker = worse(service.breaker ?? 'closed', state.breaker)
          service.workers.push({ workerId, ...state })
        }
      }
      return [...services.values()].toSorted((one, other) => (one.service < other.service ? -1 : 1))
    },
  }
}

const ServiceReport = z.record(z.string(), ServiceState)
const BY_CONCERN = ['closed', 'halfOpen', 'open'] as const

/** Those of its configuration. */
function namesIn(report: z.infer<typeof ServiceReport> = {}): string[] {
  return Object.keys(report).filter((name) => entryOf(report, name)?.named === true)
}

type BreakerState = (typeof BY_CONCERN)[number]

function worse(one: BreakerState, other: BreakerState): BreakerState {
  return BY_CONCERN.indexOf(one) > BY_CONCERN.indexOf(other) ? one : other
}

const Handlers = z.record(z.string(), z.array(z.string()))
const Tags = z.record(z.string(), z.string())
function factsOf({ version, saga_key, tags, ended_at }: Identity) {
  return {
    version,
    tags: Tags.safeParse(tags).data ?? {},
    ...(saga_key !== null && { sagaKey: saga_key }),
    ...(ended_at !== null && { endedAt: ended_at.toISOString() }),
  }
}

type Identity = Omit<Row, 'queue' | 'owner' | 'due_at' | 'now'>

/** What is known from the row's own columns about a saga whose state cannot be read. */
function substitute(row: Identity, message: string): SagaState {
  const status = Status.parse(row.status)
  const updatedAt = row.updated_at.toISOString()
  return {
    sagaId: row.saga_id,
    definition: { name: row.definition_name, version: row.definition_version },
    status,
    currentStepIndex: 0,
    completedSteps: [],
    compensatedSteps: [],
    context: {},
    startedAt: row.created_at.toISOString(),
    updatedAt,
    failureReason: message,
    uncertainSteps: [],
    skippedSteps: [],
    attempts: {},
    bytes: { inline: 0, total: 0 },
    ...(!isTerminal(status) && {
      stuck: {
        step: null,
        direction: 'action' as const,
        reason: 'undecidable' as const,
        message,
        since: updatedAt,
      },
    }),
  }
}

/** Of those ends that can be either (S9). */
function cleanOf(state: SagaState): { clean?: boolean } {
  return state.status === 'failed' || state.status === 'cancelled' ? { clean: isClean(state) } : {}
}

function summarise(row: Identity): SagaSummary {
  const decoded = decodeState(row.state)
  const state = 'unreadable' in decoded ? substitute(row, decoded.unreadable) : decoded
  const { failureReason, failedStep, stuck } = state
  const due = nextAct(state).attempts?.flatMap(({ dueAt }) => dueAt ?? []) ?? []
  const [dueAt] = due.toSorted((one, other) => Date.parse(one) - Date.parse(other))
  return {
    sagaId: row.saga_id,
    definition: state.definition,
    status: state.status,
    startedAt: state.startedAt,
    updatedAt: state.updatedAt,
    completedSteps: state.completedSteps,
    compensatedSteps: state.compensatedSteps,
    uncertainSteps: state.uncertainSteps,
    currentSteps: isTerminal(state.status) ? [] : Object.keys(state.attempts).toSorted(),
    paused: row.paused,
    ...(dueAt !== undefined && { dueAt }),
    ...cleanOf(state),
    ...(row.correlation_id !== null && { correlationId: row.correlation_id }),
    ...(failureReason !== undefined && { failureReason }),
    ...(failedStep !== undefined && { failedStep }),
    ...(stuck !== undefined && { stuck }),
    ...factsOf(row),
  }
}
