import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page, SagaSummary } from '@backstitch/core'
import { chanceOf } from './chance.ts'
import { type Client, createClient } from './client.ts'
import { askForEvents, askForSagas, type Evidence, linesOf } from './evidence.ts'
import type { Mix } from './faults.ts'
import { type Definition, HABITS, HANG_MS, type Habits } from './generator.ts'
import { handlers } from './handler-sagas.ts'
import { invariants } from './invariants.ts'
import type { Nemesis, Stage } from './nemeses.ts'
import { type Pooler, startPooler } from './pooler.ts'
import { type Environment, type Processes, startProcesses } from './processes.ts'
import type { ClientLine, LedgerLine } from './records.ts'
import type { Database, Server } from './server.ts'

export type RunOptions = {
  seed: number
  server: Server
  /** Ledger, client log and histories go here. */
  folder: string
  definitions: readonly Definition[]
  mix: Mix
  /** How long sagas are started and nemeses strike. */
  seconds: number
  /** Longer, up to ten times as long, until there are this many starts: a slow machine must see as much as a fast one. */
  atLeast?: number
  /** Callers at once. */
  together: number
  nemeses: readonly Nemesis[]
  /** Between the end of one strike and the next, on average. */
  pauseMs?: number
  /** It is not over before each of them has struck. */
  everyNemesis?: boolean
  workers?: number
  /** One more, which serves the API as well. */
  workerWithApi?: boolean
  /** What the processes of each kind begin with. */
  environment?: { worker?: Environment; api?: Environment }
  habits?: Partial<Habits>
  /** Everybody reaches the database through a pooler. */
  pooler?: boolean
  leaseMs?: number
  /** After healing: when nothing has changed for so long, nothing will. */
  restSeconds?: number
  say?: (line: string) => void
}

export type Verdict = {
  evidence: Evidence
  /** What is wrong, by invariant. */
  wrong: Readonly<Record<string, readonly string[]>>
  strikes: readonly string[]
  sagas: number
  effects: number
  byStatus: Readonly<Record<string, number>>
}

/** One run: an installation, callers and nemeses, then healing, and then the evidence is looked at. */
export async function run(options: RunOptions): Promise<Verdict> {
  const { seed, server, folder, mix, definitions, leaseMs = 1_500, say = () => undefined } = options
  mkdirSync(folder, { recursive: true })
  const database = await server.createDatabase()
  const pooler = options.pooler === true ? await startPooler(database.url, folder) : undefined
  const { url } = pooler ?? database
  const processes = await startProcesses({ databaseUrl: url, folder, seed, mix, hangMs: HANG_MS, leaseMs })
  try {
    const { workers = 2, environment = {} } = options
    const worker = () => processes.add('worker', environment.worker)
    await Promise.all([processes.add('api', environment.api), ...Array.from({ length: workers }, worker)])
    if (options.workerWithApi === true) await processes.add('worker', environment.worker, { servesApi: true })
    const client = createClient({
      seed,
      file: join(folder, 'client.jsonl'),
      definitions,
      habits: { ...HABITS, ...options.habits },
      ledgerUrl: processes.ledgerUrl,
      apiUrls: processes.apiUrls,
    })
    // Those with handlers are registered by the workers that have these.
    await client.register(definitions.filter(({ name }) => name !== handlers.name))
    const stage = { processes, server, database, leaseMs, pooled: pooler !== undefined }
    const strikes = await trouble(options, client, stage, say)
    say('healed; waiting for everything to come to rest')
    await rest(client, processes, options.restSeconds ?? 20)
    const sagas = await askForSagas(client, linesOf<LedgerLine>(join(folder, 'ledger.jsonl')))
    const events = await allTold(client, database)
    const { strays } = await quiet(processes)
    const leaks = await endings(
      processes,
      database,
      definitions.some(({ name }) => name === handlers.name),
      pooler,
    )
    const evidence: Evidence = {
      definitions: new Map(definitions.map((definition) => [definition.name, definition])),
      ledger: linesOf<LedgerLine>(join(folder, 'ledger.jsonl')),
      client: linesOf<ClientLine>(join(folder, 'client.jsonl')),
      sagas,
      events,
      strays,
      leaks,
    }
    writeFileSync(join(folder, 'sagas.json'), JSON.stringify([...sagas.values()], undefined, 1))
    return { ...judge(evidence), evidence, strikes }
  } finally {
    await processes.kill()
    await pooler?.stop()
    await database.drop()
  }
}

/** Callers call and nemeses strike until the time is over. */
async function trouble(options: RunOptions, client: Client, stage: Stage, say: (line: string) => void) {
  const { seed, seconds, pauseMs = 500 } = options
  const nemeses = options.nemeses.filter(({ name, missing }) => {
    const why = missing?.(stage)
    if (why !== undefined) say(`skipped ${name}: ${why}`)
    return why === undefined
  })
  const strikes: string[] = []
  const chance = chanceOf(seed, 'nemeses')
  const beganAt = performance.now()
  let struck = 0
  const isOver = () => {
    const ms = performance.now() - beganAt
    if (options.everyNemesis === true && struck < nemeses.length) return false
    return ms > seconds * 10_000 || (ms > seconds * 1000 && client.started >= (options.atLeast ?? 0))
  }
  client.begin(options.together)
  const operator = (async () => {
    while (!isOver()) {
      await sleep(300)
      await client.operate()
    }
  })()
  for (let n = 0; !isOver(); n++) {
    await sleep(2 * pauseMs * chance.next())
    if (nemeses.length === 0 || isOver()) continue
    // Each has its turn before any has its second.
    const nemesis = n < nemeses.length ? nemeses[n] : chance.pick(nemeses)
    const what = await nemesis?.strike(stage, chance)
    struck++
    if (what !== undefined) strikes.push(what)
    say(`${what}`)
  }
  await operator
  return strikes
}

/**
 * The participants behave, nobody starts anything, what is stuck is told to try again: until nothing moves any more, or nothing
 * has moved for so long that nothing will; or it moves ten times as long as that, and will never stop.
 */
async function rest(client: Client, processes: Processes, seconds: number): Promise<void> {
  await fetch(`${processes.ledgerUrl}/heal`, { method: 'POST' })
  await client.end()
  let seen = ''
  const beganAt = performance.now()
  const isOver = () => performance.now() > Math.min(changedAt + seconds * 1000, beganAt + seconds * 10_000)
  let changedAt = beganAt
  for (let still = 0; still < 2 && !isOver(); ) {
    await sleep(200)
    const { underWay, calls } = await quiet(processes)
    const { items } = await client.get<Page<SagaSummary>>('/v1/sagas?status=running,compensating&limit=200')
    const acted = await client.operate('gently')
    still = underWay === 0 && items.length === 0 && acted === 0 ? still + 1 : 0
    const now = JSON.stringify([calls, items.map(({ sagaId, version }) => [sagaId, version])])
    if (now !== seen) changedAt = performance.now()
    seen = now
  }
}

/** The workers publish; what they have not after so long, nobody will. */
async function allTold(client: Client, database: Database): Promise<Evidence['events']> {
  for (let looks = 0; looks < 100; looks++) {
    const waiting = await database.query('SELECT 1 FROM events WHERE last_position IS NULL LIMIT 1')
    if (waiting.length === 0) break
    await sleep(100)
  }
  return askForEvents(client)
}

/** Ends every process in good order, and looks for what they have left behind. */
async function endings(
  processes: Processes,
  database: Database,
  isCareless: boolean,
  pooler: Pooler | undefined,
): Promise<string[]> {
  const leaks: string[] = []
  const idle = await database.query(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`,
  )
  if (idle.length > 0) leaks.push(`${idle.length} connections are idle in a transaction`)
  for (const { name, ends } of processes.slots) {
    // A worker that a careless handler ran in ends with 1, in good order (F92).
    const own = ends.filter((end) => !/^(SIGKILL|SIGTERM|0)$/.test(String(end)) && !(end === 1 && isCareless))
    if (own.length > 0) leaks.push(`${name} has ended by itself: ${own.join(', ')}`)
  }
  for (const [name, how] of Object.entries(await processes.stop()))
    if (how !== 0) leaks.push(`${name} was told to end, and ended with ${how}`)

  await pooler?.stop()
  const count = async (what: string, sql: string) => {
    const [row] = await database.query(`SELECT count(*)::int AS count FROM ${sql}`)
    if (Number(row?.count) > 0) leaks.push(`${Number(row?.count)} ${what}`)
  }
  await count('leases are held by nobody', 'sagas WHERE owner IS NOT NULL')
  await count(
    'sagas have ended over unread mail',
    'sagas WHERE ended_at IS NOT NULL AND mail_seen < mail_seq',
  )
  await count('workers are thought alive', 'workers WHERE ended_at IS NULL')
  const others = `pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
  for (let looks = 0; looks < 20; looks++) {
    const [row] = await database.query(
      `SELECT count(*)::int AS count FROM ${others} AND backend_type = 'client backend'`,
    )
    if (row?.count === 0) break
    await sleep(100)
  }
  await count('connections are left', `${others} AND backend_type = 'client backend'`)
  const [row] = await database.query(
    'SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()',
  )
  if (Number(row?.deadlocks) > 0) leaks.push(`${Number(row?.deadlocks)} deadlocks`)
  return leaks
}

function judge(evidence: Evidence): Omit<Verdict, 'strikes' | 'evidence'> {
  const told = [...evidence.sagas.values()]
  const byStatus: Record<string, number> = {}
  for (const { saga } of told) byStatus[saga.status] = (byStatus[saga.status] ?? 0) + 1
  return {
    wrong: Object.fromEntries(Object.entries(invariants).map(([name, holds]) => [name, holds(evidence)])),
    sagas: told.length,
    effects: evidence.ledger.filter(({ phase }) => phase === 'applied').length,
    byStatus,
  }
}

/** How many calls the ledger has had, how many it has not answered yet, and how many came from a redirect. */
async function quiet({ ledgerUrl }: Processes): Promise<{ calls: number; underWay: number; strays: number }> {
  return JSON.parse(await (await fetch(`${ledgerUrl}/quiet`, { method: 'POST' })).text())
}
