import fs from 'node:fs'
import path from 'node:path'
import { type Client, createClient } from '@backstitch/sdk'
import { z } from 'zod'
import type { Child, ChildEvent } from './child.ts'
import type { Config } from './config.ts'
import { type Database, openDatabase } from './database.ts'
import { freshLogs, install, ownEnvironment, programs } from './installation.ts'
import { listenForInterrupt } from './interrupt.ts'
import { migrate } from './migrate.ts'
import { type Narrator, seconds } from './narrator.ts'
import type { Play } from './play.ts'
import { pointOut } from './pointers.ts'
import { ensureFree } from './port.ts'
import { type Slot, takeSlot } from './slot.ts'
import { tellStories } from './stories/index.ts'
import { Supervisor } from './supervisor.ts'

export type DemoOptions = { config: Config; play: Play; once: boolean; narrator: Narrator }

/** Everything on this machine: built, shown in some stories, and then it stays. Returns the status to exit with. */
export async function demo({ config, play, once, narrator }: DemoOptions): Promise<number> {
  await ensureFree(config.host, config.port)
  const slot = takeSlot(play.home)
  /** A worker's id changes with every start; its name does not. */
  const names = new Map<string, string>()
  const learn = ({ name, ready }: Child) => ready?.workerId !== undefined && names.set(ready.workerId, name)
  const supervisor = new Supervisor((event) => {
    if (event.is === 'back') learn(event.child)
    tell(event, narrator)
  })
  const interrupt = listenForInterrupt(async () => {
    await supervisor.kill()
    slot.release()
    process.exit(130)
  })
  const { signal } = interrupt
  let database: Database | undefined
  let broken = false

  try {
    narrator.title()
    freshLogs(slot.logs)
    database = await openDatabase(config.databaseUrl, slot.postgres)
    await raiseSchema(database, slot, narrator, signal)
    const site = { config, play, slot, databaseUrl: database.url, up: narrator.up.bind(narrator) }
    const { apiUrl, participantsUrl, workers } = await unlessAborted(signal, install(supervisor, site))
    workers.forEach(learn)

    const client = createClient({ url: apiUrl })
    const version = await unlessAborted(signal, register(client, play, participantsUrl))
    const nameOf = (workerId: string) => names.get(workerId) ?? workerId.slice(0, 8)
    const stage = { client, version, participantsUrl, workers, narrator, nameOf, signal }
    const { allRight, lastSagaId } = await unlessAborted(signal, tellStories(play.stories, stage))
    if (once) return allRight ? 0 : 1

    const logs = path.relative(process.cwd(), slot.logs)
    const highest = await unlessAborted(signal, client.definitions.get(play.name, { signal }))
    const named = version === highest.version ? undefined : version
    const sights = { play, apiUrl, participantsUrl, version: named, sagaId: lastSagaId, logs, workers }
    pointOut(narrator, sights)
    await aborted(signal)
    return 0
  } catch (error) {
    broken = !signal.aborted
    if (broken) throw error
    return once ? interrupt.status() : 0
  } finally {
    const stopping = stopwatch()
    await supervisor.stop()
    await database?.stop()
    slot.release()
    interrupt.end()
    if (!broken) narrator.stopped(seconds(stopping()))
  }
}

/** A database of somebody else's is known to be there only when this has been done. */
async function raiseSchema(
  { url, where, tookMs }: Database,
  slot: Slot,
  narrator: Narrator,
  signal: AbortSignal,
) {
  signal.throwIfAborted()
  const ours = tookMs !== undefined
  if (ours) narrator.up('postgres', where, tookMs)
  const migrating = stopwatch()
  const env = { ...ownEnvironment(), DATABASE_URL: url }
  const applied = await migrate(programs.migrate, {
    env,
    logFile: path.join(slot.logs, 'migrate.log'),
    signal,
  })
  if (!ours) narrator.up('postgres', where)
  narrator.up('schema', applied.length === 0 ? 'is up to date' : `applied ${applied.join(', ')}`, migrating())
  signal.throwIfAborted()
}

/** The document as it stands in the example, with the participants' address put in. Returns its version. */
async function register(client: Client, { document }: Play, participantsUrl: string): Promise<number> {
  const text = fs.readFileSync(document, 'utf8').replaceAll('http://participants:9000', participantsUrl)
  const { version } = await client.definitions.register(
    z.record(z.string(), z.json()).parse(JSON.parse(text)),
  )
  return version
}

function tell(event: ChildEvent, narrator: Narrator): void {
  const { name } = event.child
  if (event.is === 'back') {
    narrator.news('good', `${name} is back (process ${event.pid})`)
    return
  }
  const again = event.againInMs < 1000 ? 'at once' : `in ${seconds(event.againInMs)}`
  narrator.news('bad', `${name} ${event.how}; it is started again ${again}`, event.lastLines)
}

function stopwatch(): () => number {
  const startedAt = performance.now()
  return () => performance.now() - startedAt
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}

/** What is not finished by then is left as it is: all it needs is about to be stopped. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const end = aborted(signal).then((): never => {
    throw new Error('stopped before it was done')
  })
  return await Promise.race([work, end])
}
