import fs from 'node:fs'
import path from 'node:path'
import { type Client, createClient } from '@backstitch/sdk'
import { z } from 'zod'
import type { ChildEvent } from './child.ts'
import type { Config } from './config.ts'
import { type Database, openDatabase } from './database.ts'
import { freshLogs, install, ownEnvironment, programs, root } from './installation.ts'
import { listenForInterrupt } from './interrupt.ts'
import { migrate } from './migrate.ts'
import { type Narrator, seconds } from './narrator.ts'
import { pointOut } from './pointers.ts'
import { ensureFree } from './port.ts'
import { takeSlot } from './slot.ts'
import { tellStories } from './stories/index.ts'
import { Supervisor } from './supervisor.ts'
import { WorkerNames } from './worker-names.ts'

export type DemoOptions = { config: Config; once: boolean; narrator: Narrator }

/** Everything on this machine: built, shown in three stories, and then it stays. Returns the status to exit with. */
export async function demo({ config, once, narrator }: DemoOptions): Promise<number> {
  await ensureFree(config.host, config.port)
  const slot = takeSlot(path.join(root, '.backstitch'))
  const names = new WorkerNames()
  const supervisor = new Supervisor((event) => {
    if (event.is === 'back') names.learn(event.child)
    tell(event, narrator)
  })
  const interrupt = listenForInterrupt(async () => {
    await supervisor.kill()
    slot.release()
    process.exit(130)
  })
  const { signal } = interrupt
  let database: Database | undefined

  try {
    narrator.title()
    freshLogs(slot.logs)
    const opening = stopwatch()
    database = await openDatabase(config.databaseUrl, slot.postgres)
    narrator.up('postgres', database.where, opening())
    signal.throwIfAborted()
    const migrating = stopwatch()
    const env = { ...ownEnvironment(), DATABASE_URL: database.url }
    const applied = await migrate(programs.migrate, {
      env,
      logFile: path.join(slot.logs, 'migrate.log'),
      signal,
    })
    narrator.up(
      'schema',
      applied.length === 0 ? 'is up to date' : `applied ${applied.join(', ')}`,
      migrating(),
    )
    signal.throwIfAborted()

    const up = narrator.up.bind(narrator)
    const { apiUrl, participantsUrl, workers } = await install(supervisor, {
      config,
      slot,
      databaseUrl: database.url,
      up,
    })
    signal.throwIfAborted()
    for (const worker of workers) names.learn(worker)

    const client = createClient({ url: apiUrl })
    const version = await unlessAborted(signal, registerOrder(client, participantsUrl))
    const nameOf = (workerId: string) => names.of(workerId)
    const stage = { client, version, participantsUrl, workers, narrator, nameOf, signal }
    const told = await unlessAborted(signal, tellStories(stage))
    if (once) return told.allRight ? 0 : 1

    const logs = path.relative(process.cwd(), slot.logs)
    const highest = (await unlessAborted(signal, client.definitions.get('order'))).version
    const named = version === highest ? undefined : version
    pointOut(narrator, { apiUrl, participantsUrl, version: named, sagaId: told.lastSagaId, logs, workers })
    await aborted(signal)
    return 0
  } catch (error) {
    if (!signal.aborted) throw error
    return once ? interrupt.status() : 0
  } finally {
    const stopping = stopwatch()
    await supervisor.stop()
    await database?.stop()
    slot.release()
    interrupt.end()
    narrator.stopped(seconds(stopping()))
  }
}

/** The document as it stands in examples/order, with the participants' address put in. Returns its version. */
async function registerOrder(client: Client, participantsUrl: string): Promise<number> {
  const text = fs.readFileSync(path.join(root, 'examples/order/order.json'), 'utf8')
  const document = z
    .record(z.string(), z.json())
    .parse(JSON.parse(text.replaceAll('http://participants:9000', participantsUrl)))
  const { version } = await client.definitions.register(document)
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
