import { existsSync, globSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Chance } from './chance.ts'
import { crashPoints } from './patches.ts'
import type { Processes, Slot } from './processes.ts'
import type { Database, Server } from './server.ts'

/** What is done to a running installation. Each strikes and then heals what it has done, and says in a few words what it was. */
export type Nemesis = {
  name: string
  /** Why this machine or this run cannot have it. */
  missing?(stage: Stage): string | undefined
  strike(stage: Stage, chance: Chance): Promise<string>
}

export type Stage = {
  processes: Processes
  server: Server
  database: Database
  leaseMs: number
  pooled: boolean
}

const kill: Nemesis = {
  name: 'kill',
  async strike({ processes }, chance) {
    const slot = chance.pick(processes.slots)
    slot.child?.kill('SIGKILL')
    return `kill -9 ${slot.name}`
  },
}

/** S21: as a deployment does it. */
const terminateGently: Nemesis = {
  name: 'sigterm',
  async strike({ processes }, chance) {
    const slot = chance.pick(processes.slots)
    slot.child?.kill('SIGTERM')
    return `SIGTERM to ${slot.name}`
  },
}

const pause: Nemesis = {
  name: 'pause',
  async strike({ processes, leaseMs }, chance) {
    const slot = chance.pick(processes.slots)
    const { child } = slot
    const ms = Math.round(leaseMs * (0.5 + 2.5 * chance.next()))
    child?.kill('SIGSTOP')
    await sleep(ms)
    child?.kill('SIGCONT')
    return `${slot.name} stopped for ${ms} ms`
  },
}

function onNetwork(
  name: string,
  act: (slot: Slot, stage: Stage, chance: Chance) => Promise<string>,
): Nemesis {
  return {
    name,
    async strike(stage, chance) {
      const slot = chance.pick(stage.processes.slots)
      return `${slot.name}: ${await act(slot, stage, chance)}`
    },
  }
}

const cut = onNetwork('cut', async ({ network }) => {
  const { connections } = network
  network.cut()
  return `${connections} connections to the database cut`
})

const blackHole = onNetwork('blackHole', async ({ network }, { leaseMs }, chance) => {
  const ms = Math.round(leaseMs * (0.3 + 1.7 * chance.next()))
  network.goBlack()
  await sleep(ms)
  network.heal()
  network.cut()
  return `nothing passes to or from the database for ${ms} ms`
})

const delay = onNetwork('delay', async ({ network }, _, chance) => {
  const [ms, forMs] = [5 + chance.int(200), 500 + chance.int(1_500)]
  network.delay(ms)
  await sleep(forMs)
  network.delay(0)
  return `${ms} ms each way to the database for ${forMs} ms`
})

/** What is on its way to the database stays on its way until others have long taken over, and then arrives. */
const stall: Nemesis = {
  name: 'stall',
  async strike({ processes, leaseMs }, chance) {
    const { name, network } = chance.pick(processes.slots.filter(({ kind }) => kind === 'worker'))
    const ms = 1.4 * leaseMs
    network.delay(ms)
    await sleep(ms / 2)
    network.delay(0)
    await sleep(ms)
    return `${name}: what was on its way to the database arrived ${ms} ms late`
  },
}

/** F30: each kind of statement is carried out, and nobody is told. */
const STATEMENTS = {
  worker: ['commit', 'claim', 'release'],
  api: ['start', 'letter'],
} as const
/** Behind a pooler no statement has a name. */
const UNNAMED = {
  commit: 'version = s.version + 1,',
  claim: 'SET owner = $1::uuid',
  release: 'i.delay_ms',
  start: 'INSERT INTO sagas',
  letter: 'INSERT INTO saga_mail',
}
const loseAnswer = onNetwork('loseAnswer', async ({ network, kind }, { pooled }, chance) => {
  const name = chance.pick<keyof typeof UNNAMED>(STATEMENTS[kind])
  const statement = pooled || name === 'letter' ? UNNAMED[name] : `\0${name}`
  const times = 1 + chance.int(5)
  network.loseAnswers(statement, times)
  await sleep(1_000)
  const lost = times - network.answersToLose
  network.loseAnswers(statement, 0)
  return `the answers to ${lost} × ${name} lost, and the connections with them`
})

async function endBackends({ server, database }: Stage): Promise<number> {
  const rows = await server.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${database.name}'`,
  )
  return rows.length
}

const terminate: Nemesis = {
  name: 'terminate',
  strike: async (stage) => `${await endBackends(stage)} backends terminated`,
}

const restart: Nemesis = {
  name: 'restart',
  missing: ({ server }) => (server.restart === undefined ? 'the server is not ours to end' : undefined),
  async strike({ server }) {
    await server.restart?.()
    return 'Postgres ended at once and started again'
  },
}

/** For a while the database is another one; whoever is connected has to come again. */
function altered(name: string, alter: string, back: string, what: string): Nemesis {
  return {
    name,
    async strike(stage, chance) {
      const ms = 300 + chance.int(2_000)
      const database = `ALTER DATABASE ${stage.database.name}`
      await stage.server.query(`${database} ${alter}`)
      const ended = await endBackends(stage)
      await sleep(ms)
      await stage.server.query(`${database} ${back}`)
      await endBackends(stage)
      return `${ended} connections ended, and ${what} for ${ms} ms`
    },
  }
}

/** F32: as on a standby. */
const readOnly = altered(
  'readOnly',
  'SET default_transaction_read_only = on',
  'RESET default_transaction_read_only',
  'nothing can be written',
)

const tooManyConnections = altered(
  'tooManyConnections',
  'CONNECTION LIMIT 2',
  'CONNECTION LIMIT -1',
  'only two of them let in',
)

/** F70: only the wall clock; what a process measures is right on any machine. */
const clock: Nemesis = {
  name: 'clock',
  missing: () =>
    libfaketime() === undefined ? 'libfaketime is not installed (apt install libfaketime)' : undefined,
  async strike({ processes }, chance) {
    const slot = chance.pick(processes.slots)
    const offset = chance.pick(['+1h', '-1h', '+0'])
    const { LD_PRELOAD: _, FAKETIME: __, ...environment } = slot.environment
    const faked = { LD_PRELOAD: libfaketime() ?? '', FAKETIME: offset, FAKETIME_DONT_FAKE_MONOTONIC: '1' }
    slot.environment = offset === '+0' ? environment : { ...environment, ...faked }
    slot.child?.kill('SIGKILL')
    return `${slot.name} begins again with a clock ${offset}`
  },
}

function libfaketime(): string | undefined {
  const [found] = globSync('/usr/lib/*/faketime/libfaketime.so.1')
  return process.env.CHAOS_LIBFAKETIME ?? found
}

/** F32: writes fail until there is room again. */
const diskFull: Nemesis = {
  name: 'diskFull',
  missing: ({ database: { disk } }) => ('missing' in disk ? disk.missing : undefined),
  async strike({ database: { disk } }, chance) {
    const ms = 300 + chance.int(2_000)
    const filler = join('folder' in disk ? disk.folder : '', 'filler')
    fill(filler)
    await sleep(ms)
    rmSync(filler)
    return `the disk is full for ${ms} ms`
  },
}

function fill(file: string): void {
  for (const bytes of [1 << 20, 4096]) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(bytes), { flag: 'a' })
    } catch (error) {
      if (!existsSync(file)) throw error
    }
  }
}

/** A process dies at a named place in its code, once it has come there for the n-th time. */
function crashAt(point: string): Nemesis {
  const [kind] = crashPoints[point]?.in ?? []
  return {
    name: point,
    async strike({ processes }, chance) {
      const slot = chance.pick(processes.slots.filter((one) => one.kind === kind))
      const { environment } = slot
      slot.environment = { ...environment, CHAOS_DIE_AT: point, CHAOS_DIE_AFTER: String(1 + chance.int(3)) }
      const before = slot.ends.length
      slot.child?.kill('SIGKILL')
      const isDead = () => slot.ends.length >= before + 2
      await until(() => isDead() || (slot.ends.length > before && slot.isReady), READY_MS)
      await until(isDead, COME_THERE_MS)
      slot.environment = environment
      if (isDead()) return `${slot.name} died ${point}`
      slot.child?.kill('SIGKILL')
      return `${slot.name} never came to die ${point}`
    },
  }
}

const READY_MS = 30_000
const COME_THERE_MS = 5_000

async function until(isTrue: () => boolean, withinMs: number): Promise<void> {
  const end = performance.now() + withinMs
  while (!isTrue() && performance.now() < end) await sleep(10)
}

/** F01: everywhere between one effect and the next. */
export const crashes: readonly Nemesis[] = Object.keys(crashPoints).map(crashAt)

export const nemeses: readonly Nemesis[] = [
  kill,
  terminateGently,
  pause,
  cut,
  blackHole,
  delay,
  stall,
  loseAnswer,
  terminate,
  restart,
  readOnly,
  tooManyConnections,
  clock,
  diskFull,
]

export function nemesesNamed(names: readonly string[]): Nemesis[] {
  return names.map((name) => {
    const nemesis = [...nemeses, ...crashes].find((one) => one.name === name)
    if (nemesis === undefined)
      throw new Error(`there is no nemesis "${name}"; there are ${nemeses.map((one) => one.name).join(', ')}`)
    return nemesis
  })
}
