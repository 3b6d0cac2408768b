import type { SagaState, Stats } from '@backstitch/core'
import { sql } from 'kysely'
import { type Audit, createAudit } from './audit.ts'
import { type Bulks, createBulks } from './bulks.ts'
import { type Callbacks, createCallbacks, type TokenMaker } from './callbacks.ts'
import { type Claims, createClaims, decodeState } from './claims.ts'
import { createDatabaseClock, type DatabaseClock } from './clock.ts'
import { type Commits, createCommits } from './commits.ts'
import { type Database, openDatabase } from './database.ts'
import { createDefinitions, type Definitions } from './definitions.ts'
import { createFeed, type Feed } from './feed.ts'
import { createHistory, type History } from './history.ts'
import { bucketOf } from './ids.ts'
import { createLane, type Lane } from './lane.ts'
import { createMailbox, type Mailbox } from './mailbox.ts'
import { missingMigrations } from './migrate.ts'
import type { Listeners } from './outbox.ts'
import { createQueries, type Queries } from './queries.ts'
import { createRestsHeard, createRestsTold, type RestsHeard, type RestsTold } from './rests.ts'
import { createSchedules, type Schedules } from './schedules.ts'
import { createStarts, type Starts } from './starts.ts'
import { statsOf } from './stats.ts'
import { AWAITED_CHANNEL, createWakeups, DUE_CHANNEL, type Wakeups } from './wakeups.ts'
import { createWebhooks, type Webhooks } from './webhooks.ts'
import { createSession, type Session } from './workers.ts'

/** What the door needs: starts, letters and answers. It claims nothing and writes no state. */
export type ApiStore = {
  definitions: Definitions
  starts: Starts
  mailbox: Mailbox
  callbacks: Pick<Callbacks, 'post'>
  history: History
  queries: Queries
  schedules: Schedules
  feed: Feed
  stats(): Promise<Stats>
  webhooks: Webhooks
  audit: Audit
  bulks: Bulks
  wakeups: Pick<Wakeups, 'due'>
  rests: Pick<RestsHeard, 'expect'>
  /** Throws if the database does not answer; names the migrations it lacks. */
  check(): Promise<{ missingMigrations: string[] }>
  close(): Promise<void>
}

/** What the hands need. One per worker id: leases are held under it. */
export type WorkerStore = {
  definitions: Definitions
  claims: Claims
  commits: Commits
  mailbox: Pick<Mailbox, 'read' | 'post'>
  history: Pick<History, 'values'>
  /** A saga as it stands in its row; undefined if there is none, or it cannot be read. */
  sagaState(sagaId: string): Promise<SagaState | undefined>
  /** What makes callback tokens. */
  callbackTokens(): Promise<TokenMaker>
  schedules: Pick<Schedules, 'takeDue' | 'nextDueMs'>
  feed: Pick<Feed, 'publish' | 'tidy'>
  webhooks: Pick<Webhooks, 'takeDue' | 'settle'>
  /** Who listens to what is committed here. */
  listeners: Listeners
  starts: Starts
  wakeups: Pick<Wakeups, 'due'>
  rests: RestsTold
  session: Session
  clock: DatabaseClock
  check(): Promise<{ missingMigrations: string[] }>
  close(): Promise<void>
}

type Options = {
  databaseUrl: string
  /** Connections for everything that has none of its own. */
  poolSize?: number
  /** Errors of idle connections: they are replaced, and worth a line. */
  onConnectionError?: (error: Error) => void
}

/** Connects and reads the database's clock; rejects if it cannot be reached. */
export async function openApiStore(options: Options): Promise<ApiStore> {
  const { database, clock, lane } = await open(options, 'backstitch/api', options.poolSize ?? 8)
  const versions = createLane(lane)
  const byId = createLane(lane)
  const definitions = createDefinitions(database, versions)
  const history = createHistory(database)
  const feed = createFeed(database)
  const starts = createStarts(lane, clock)
  const wakeups = createWakeups(lane)
  const rests = createRestsHeard(lane, wakeups)
  return {
    definitions,
    starts,
    mailbox: createMailbox(database),
    callbacks: createCallbacks(database),
    history,
    queries: createQueries(database, byId, definitions, history),
    schedules: createSchedules(database),
    feed,
    stats: () => statsOf(database, feed),
    webhooks: createWebhooks(database),
    audit: createAudit(database),
    bulks: createBulks(database),
    wakeups,
    rests,
    check: checkOn(versions),
    async close() {
      await Promise.all([starts, wakeups, rests, versions, byId].map((one) => one.close()))
      await within(CLOSE_MS, database.destroy())
    },
  }
}

export async function openWorkerStore(
  options: Options & {
    workerId: string
    leaseMs: number
    /** Another process says that sagas of these queues became due. A hint: it may come late, twice or never. */
    onDue: (queues: string[]) => void
  },
): Promise<WorkerStore> {
  const { workerId, leaseMs } = options
  const { database, clock, lane } = await open(
    options,
    `backstitch/worker/${workerId}`,
    options.poolSize ?? 4,
  )
  const claims = createClaims({ ...lane, workerId }, clock)
  const listeners: Listeners = { steps: false, onNews: () => undefined }
  const commits = createCommits({ ...lane, workerId, leaseMs, listeners }, clock)
  // These connect when they are first used: where there are no schedules, never.
  const starts = createStarts(lane, clock)
  const wakeups = createWakeups(lane)
  const rests = createRestsTold(wakeups)
  const session = createSession(lane, clock, {
    [DUE_CHANNEL]: options.onDue,
    [AWAITED_CHANNEL]: rests.hear,
  })
  const versions = createLane(lane)
  return {
    definitions: createDefinitions(database, versions),
    claims,
    commits,
    mailbox: createMailbox(database),
    history: createHistory(database),
    sagaState: (sagaId) => readState(database, sagaId),
    callbackTokens: createCallbacks(database).tokens,
    schedules: createSchedules(database),
    feed: createFeed(database),
    webhooks: createWebhooks(database),
    listeners,
    starts,
    wakeups,
    rests,
    session,
    clock,
    check: checkOn(versions),
    async close() {
      await Promise.all([
        claims.close(),
        commits.close(),
        starts.close(),
        wakeups.close(),
        versions.close(),
        session.close(),
        within(CLOSE_MS, database.destroy()),
      ])
    },
  }
}

async function open(options: Options, applicationName: string, max: number) {
  const { databaseUrl, onConnectionError } = options
  const database = openDatabase({
    databaseUrl,
    applicationName,
    max,
    ...(onConnectionError !== undefined && { onError: onConnectionError }),
  })
  const clock = createDatabaseClock()
  try {
    const sentAt = performance.now()
    const { rows } = await sql<{ now: Date; style: string }>`
      SELECT now() AS now, current_setting('DateStyle') AS style`.execute(database)
    for (const { now, style } of rows) {
      // Dates come as text, and any other is not read, or read as another day (F71).
      if (!style.startsWith('ISO')) throw new Error(`the database's DateStyle is "${style}"; it must be ISO`)
      clock.saw(now.getTime(), sentAt)
    }
  } catch (error) {
    await database.destroy()
    throw error
  }
  return { database, clock, lane: { databaseUrl, applicationName } }
}

/** On a lane that carries nothing long: when all connections of the pool are busy, the database still answers. */
function checkOn(lane: Lane) {
  return async () => ({ missingMigrations: await missingMigrations(lane) })
}

async function readState(database: Database, sagaId: string): Promise<SagaState | undefined> {
  const row = await database
    .selectFrom('sagas')
    .select('state')
    .where('bucket', '=', bucketOf(sagaId))
    .where('saga_id', '=', sagaId)
    .executeTakeFirst()
  const state = row && decodeState(row.state)
  return state === undefined || 'unreadable' in state ? undefined : state
}

/** A pool that waits for a connection through a black hole would wait for ever. */
const CLOSE_MS = 2_000

function within(ms: number, promise: Promise<void>): Promise<void> {
  return Promise.race([promise, new Promise<void>((resolve) => setTimeout(resolve, ms).unref())])
}
