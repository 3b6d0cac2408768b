import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createNetwork, type Network } from '../../packages/store/src/testing-proxy.ts'
import type { Mix } from './faults.ts'
import { freePort } from './pooler.ts'

/** Real processes, each on a network of its own to the database, and a supervisor that starts again whatever has ended. */
export type Processes = {
  readonly ledgerUrl: string
  /** Of all processes that serve it. */
  readonly apiUrls: readonly string[]
  readonly slots: readonly Slot[]
  /** Adds a process that is started again whenever it ends, until `stop`. Resolves when the first life is ready. */
  add(kind: Slot['kind'], environment?: Environment, how?: { servesApi?: boolean }): Promise<Slot>
  /** SIGTERM to all. How each of those that ran has ended, by name. */
  stop(): Promise<Record<string, Exit>>
  /** For the end, whatever happened. */
  kill(): Promise<void>
}

export type Environment = Readonly<Record<string, string>>
type Exit = number | string

/** A place that is always filled again. */
export type Slot = {
  readonly kind: 'worker' | 'api'
  readonly name: string
  readonly network: Network
  /** The one that is there now; undefined between two. */
  readonly child: ChildProcess | undefined
  /** Whether that one has said so. */
  readonly isReady: boolean
  /** How the lives before this one ended. */
  readonly ends: readonly Exit[]
  /** What each life from the next on begins with. */
  environment: Environment
  stop(): Promise<Exit | undefined>
}

const APPS = {
  worker: fileURLToPath(new URL('../../apps/worker/src/main.ts', import.meta.url)),
  api: fileURLToPath(new URL('../../apps/api/src/main.ts', import.meta.url)),
}
const LEDGER = fileURLToPath(new URL('./ledger-main.ts', import.meta.url))
const HANDLERS = fileURLToPath(new URL('./handler-sagas.ts', import.meta.url))
const HOOK = fileURLToPath(new URL('./hook.ts', import.meta.url))

const AGAIN_MS = 100
const STOP_MS = 20_000

export async function startProcesses(options: {
  databaseUrl: string
  folder: string
  seed: number
  mix: Mix
  hangMs: number
  leaseMs: number
}): Promise<Processes> {
  const { databaseUrl, folder, leaseMs, seed, mix, hangMs } = options
  const log = join(folder, 'processes.log')
  const services = join(folder, 'services.json')
  const slots: Slot[] = []
  const port = String(await freePort())
  const apiUrls = [`http://127.0.0.1:${port}`]

  const ledger = spawn(process.execPath, [LEDGER], { stdio: ['pipe', 'inherit', 'inherit', 'ipc'] })
  ledger.stdin?.end(JSON.stringify({ file: join(folder, 'ledger.jsonl'), seed, mix, hangMs }))
  const [{ url: ledgerUrl }] = await once(ledger, 'message')
  const breaker = { openMs: 300, maxOpenMs: 1_000 }
  const service = (path: string) => ({ baseUrl: `${ledgerUrl}/${path}`, breaker })
  // One of them is so narrow that attempts are put off.
  const plain = { ...service('plain'), concurrency: 6, maxWaitMs: 20 }
  writeFileSync(services, JSON.stringify({ guarded: service('guarded'), plain }))

  function environmentOf({ kind, network, environment }: Slot): Environment {
    const worker = {
      SERVICES: services,
      SAGAS: HANDLERS,
      LEASE_MS: String(leaseMs),
      POLL_MS: '100',
      GRACE_MS: '5000',
      LEDGER: ledgerUrl,
      PUBLIC_URL: apiUrls[0] ?? '',
    }
    return {
      PATH: process.env.PATH ?? '',
      DATABASE_URL: network.url,
      LOG_LEVEL: 'warn',
      ...(kind === 'worker' ? worker : { PORT: port }),
      ...environment,
    }
  }

  function fill(slot: Slot): ChildProcess {
    const child = spawn(process.execPath, ['--import', HOOK, APPS[slot.kind]], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: environmentOf(slot),
    })
    for (const output of [child.stdout, child.stderr]) {
      output?.on('data', (text: Buffer) => appendFileSync(log, `${slot.name} ${text.toString()}`))
    }
    return child
  }

  async function add(
    kind: Slot['kind'],
    given: Environment = {},
    { servesApi = false }: { servesApi?: boolean } = {},
  ): Promise<Slot> {
    const ownPort = servesApi ? String(await freePort()) : undefined
    if (ownPort !== undefined) apiUrls.push(`http://127.0.0.1:${ownPort}`)
    const environment = { ...given, ...(ownPort !== undefined && { API_PORT: ownPort }) }
    const network = await createNetwork(databaseUrl)
    const ends: Exit[] = []
    let child: ChildProcess | undefined
    let stopping = false
    let isReady = false
    let ready: () => void = () => undefined
    const name = `${kind}${slots.filter((slot) => slot.kind === kind).length + 1}`

    async function live(): Promise<void> {
      while (!stopping) {
        child = fill(slot)
        child.once('message', () => {
          isReady = true
          ready()
        })
        const [status, signal] = await once(child, 'exit')
        child = undefined
        isReady = false
        ends.push(status ?? signal)
        if (!stopping) await sleep(AGAIN_MS)
      }
    }

    const slot: Slot = {
      kind,
      name,
      network,
      ends,
      environment,
      get child() {
        return child
      },
      get isReady() {
        return isReady
      },
      async stop() {
        stopping = true
        const last = child
        if (last === undefined) return undefined
        last.kill('SIGCONT')
        // Before that it does not know yet what SIGTERM asks of it.
        while (!isReady && last.exitCode === null && last.signalCode === null) await sleep(10)
        last.kill('SIGTERM')
        const timer = setTimeout(() => last.kill('SIGKILL'), STOP_MS)
        await lives
        clearTimeout(timer)
        return ends.at(-1)
      },
    }
    slots.push(slot)
    const firstReady = new Promise<void>((resolve) => {
      ready = resolve
    })
    const lives = live()
    await firstReady
    return slot
  }

  return {
    ledgerUrl,
    apiUrls,
    slots,
    add,

    async stop() {
      const ended: Record<string, Exit> = {}
      const end = async (slot: Slot) => {
        const how = await slot.stop()
        if (how !== undefined) ended[slot.name] = how
      }
      // Workers first: whoever reads by the API shall see how they end.
      for (const kind of ['worker', 'api'] as const)
        await Promise.all(slots.filter((slot) => slot.kind === kind).map(end))
      return ended
    },

    async kill() {
      for (const slot of slots) {
        const stopped = slot.stop()
        slot.child?.kill('SIGKILL')
        await stopped
        await slot.network.close()
      }
      ledger.kill('SIGKILL')
    },
  }
}
