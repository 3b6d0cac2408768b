import fs from 'node:fs'
import path from 'node:path'
import { type Client, createClient } from '@backstitch/sdk'
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
    const applied = await migrate(programs.migrate, env, path.join(slot.logs, 'migrate.log'))
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
    const version = await registerOrder(client, participantsUrl)
    const nameOf = (workerId: string) => names.of(workerId)
    const told = await tellStories({ client, version, participantsUrl, workers, narrator, nameOf, signal })
    if (once) return told.allRight ? 0 : 1

    const logs = path.relative(process.cwd(), slot.logs)
    pointOut(narrator, { apiUrl, participantsUrl, version, sagaId: told.lastSagaId, logs, workers })
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

/** The document as it stands in examples/order, with the participants' address put in. */
async function registerOrder(client: Client, participantsUrl: string): Promise<number> {
  const document = fs.readFileSync(path.join(root, 'examples/order/order.json'), 'utf8')
  const { version } = await client.registerDefinition(
    JSON.parse(document.replaceAll('http://participants:9000', participantsUrl)),
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
