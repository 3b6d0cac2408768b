import { type ChildProcess, type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type LocalPostgres, type LocalPostgresOptions, startLocalPostgres } from './index.ts'
import { readPostmaster } from './postmaster.ts'
import { scratchPlace } from './scratch.ts'

const settings = { fsync: false, max_connections: 20 }

let directory: string
let started: LocalPostgres[]
let children: ChildProcess[]

beforeEach(() => {
  const parent = fs.mkdtempSync(path.join(scratchPlace(), 'local postgres '))
  fs.chmodSync(parent, 0o755)
  directory = path.join(parent, "it's here")
  started = []
  children = []
})

afterEach(async () => {
  for (const postgres of started) await postgres.stop()
  for (const child of children) child.kill('SIGKILL')
  expect(await becomesQuiet()).toBe(true)
  fs.rmSync(path.dirname(directory), { recursive: true, force: true })
})

async function start(options: Partial<LocalPostgresOptions> = {}): Promise<LocalPostgres> {
  const postgres = await startLocalPostgres({ directory, settings, ...options })
  started.push(postgres)
  return postgres
}

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql)
    return Object.values(rows[0] ?? {})[0]
  } finally {
    await client.end()
  }
}

const data = () => path.join(directory, 'data')

/** Whether any process of a Postgres works in the directory. A zombie that waits for its reaper has no directory. */
function isRunning(): boolean {
  if (process.platform !== 'linux') return fs.existsSync(path.join(data(), 'postmaster.pid'))
  const wanted = fs.existsSync(data()) ? fs.realpathSync(data()) : data()
  return fs.readdirSync('/proc').some((pid) => {
    try {
      return /^\d+$/.test(pid) && fs.readlinkSync(`/proc/${pid}/cwd`).startsWith(wanted)
    } catch {
      return false
    }
  })
}

async function becomesQuiet(waitMs = 10_000): Promise<boolean> {
  for (const until = performance.now() + waitMs; performance.now() < until; await sleep(20)) {
    if (!isRunning()) return true
  }
  return false
}

/** Another Node that starts Postgres here, says its port and stays. */
function spawnStarter(): ChildProcessByStdio<null, Readable, null> {
  const index = JSON.stringify(import.meta.resolve('./index.ts'))
  const options = JSON.stringify({ directory, settings })
  const program = `const { startLocalPostgres } = await import(${index})
    const { port } = await startLocalPostgres(${options})
    console.log(port)
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  return child
}

async function startElsewhere(): Promise<{ child: ChildProcess; port: number }> {
  const child = spawnStarter()
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, port: Number(line.toString()) }
}

describe('a Postgres of our own', () => {
  test('answers on loopback, with a password and the settings it was given', async () => {
    const { url, port, adopted } = await start()
    expect(adopted).toBe(false)
    expect(await ask(url, 'SHOW server_version')).toBe('18.4')
    expect(await ask(url, 'SHOW max_connections')).toBe('20')
    expect(await ask(url, 'SHOW listen_addresses')).toBe('127.0.0.1')
    await expect(ask(url.replace(/:[^:@]+@/, ':wrong@'), 'SELECT 1')).rejects.toThrow(/password/)
    expect(port).toBe(Number(new URL(url).port))
    expect(fs.statSync(path.join(directory, 'password')).mode & 0o777).toBe(0o600)
  })

  test('flushes to disk unless told otherwise', async () => {
    const { url } = await start({ settings: {} })
    expect(await ask(url, 'SHOW fsync')).toBe('on')
  })

  test('keeps its data and its password from one start to the next', async () => {
    const first = await start()
    await ask(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer')
    await first.stop()
    const second = await start()
    expect(await ask(second.url, 'SELECT answer FROM kept')).toBe(42)
    expect(new URL(second.url).password).toBe(new URL(first.url).password)
  })

  test('can be stopped twice', async () => {
    const postgres = await start()
    await Promise.all([postgres.stop(), postgres.stop()])
    await postgres.stop()
    expect(isRunning()).toBe(false)
  })

  test('refuses a port that is taken, and says so', async () => {
    const { port } = await start()
    const elsewhere = path.join(path.dirname(directory), 'second')
    await expect(startLocalPostgres({ directory: elsewhere, settings, port })).rejects.toThrow(
      /in use.*DATABASE_URL/s,
    )
  })

  test('removes its directory when it is temporary', async () => {
    const postgres = await start({ temporary: true })
    await postgres.stop()
    expect(fs.existsSync(directory)).toBe(false)
  })
})

describe('two at once', () => {
  test('the second start in the same directory adopts the first, and leaves it running', async () => {
    const first = await start()
    const second = await start()
    expect(second).toMatchObject({ port: first.port, url: first.url, adopted: true })
    await second.stop()
    expect(await ask(first.url, 'SELECT 1')).toBe(1)
  })

  test('starting together in an empty directory ends with one Postgres for both', async () => {
    const [one, two, three] = await Promise.all([start(), start(), start()])
    expect(two.port).toBe(one.port)
    expect(three.port).toBe(one.port)
    expect([one, two, three].filter(({ adopted }) => !adopted)).toHaveLength(1)
    for (const postgres of [one, two, three]) if (postgres.adopted) await postgres.stop()
    expect(await ask(two.url, 'SELECT 1')).toBe(1)
  })

  test('two processes starting together end with one Postgres for both', async () => {
    const [one, two] = await Promise.all([startElsewhere(), startElsewhere()])
    expect(two.port).toBe(one.port)
    one.child.kill('SIGKILL')
    two.child.kill('SIGKILL')
    expect(await becomesQuiet()).toBe(true)
  })
})

describe('after a crash', () => {
  test('nothing is left running when the process that started it is killed', async () => {
    const { child, port } = await startElsewhere()
    expect(isRunning()).toBe(true)
    child.kill('SIGKILL')
    expect(await becomesQuiet()).toBe(true)
    const { adopted } = await start({ port })
    expect(adopted).toBe(false)
  })

  test('nothing is left running when that process is killed while Postgres is starting', async () => {
    const first = await start()
    await first.stop()
    for (const afterMs of [80, 110, 140, 170, 200, 230]) {
      const child = spawnStarter()
      await sleep(afterMs)
      child.kill('SIGKILL')
      await once(child, 'exit')
      await sleep(300) // longer than a start takes: one that was under way has happened by now
      expect(await becomesQuiet()).toBe(true)
    }
  })

  test('Postgres goes last: a Ctrl-C to the whole process group does not reach it', async () => {
    const { child } = await startElsewhere()
    const group = (pid: number | undefined) =>
      execFileSync('ps', ['-o', 'pgid=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    const postmaster = readPostmaster(data())?.pid
    expect(group(postmaster)).not.toBe(group(child.pid))
    child.kill('SIGINT')
    expect(await becomesQuiet()).toBe(true)
  })

  test('a Postgres that lost its keeper is adopted and stopped by the next', async () => {
    const { child, port } = await startElsewhere()
    const badge = fs.readdirSync(directory).find((name) => name.startsWith('keeper.'))
    process.kill(Number(badge?.slice('keeper.'.length)), 'SIGKILL')
    child.kill('SIGKILL')
    await sleep(100)
    expect(isRunning()).toBe(true)
    const postgres = await start()
    expect(postgres).toMatchObject({ adopted: true, port })
    await postgres.stop()
    expect(isRunning()).toBe(false)
  })

  test('a postmaster.pid left behind does not stop the next start, even if its pid lives on elsewhere', async () => {
    const first = await start()
    await first.stop()
    for (const pid of [4_000_000, process.pid]) {
      const lines = [pid, data(), 1, first.port, '', '127.0.0.1', '', 'ready   ']
      fs.writeFileSync(path.join(data(), 'postmaster.pid'), lines.join('\n'))
      const next = await start()
      expect(next.adopted).toBe(false)
      expect(await ask(next.url, 'SELECT 1')).toBe(1)
      await next.stop()
    }
  })

  test('a postmaster that was killed is recovered from', async () => {
    const first = await start()
    await ask(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer')
    process.kill(readPostmaster(data())?.pid ?? 0, 'SIGKILL')
    const second = await start()
    expect(await ask(second.url, 'SELECT answer FROM kept')).toBe(42)
  })

  test('an initdb that was killed half-way leaves nothing in the way', async () => {
    const half = path.join(directory, 'data.half-4000000-abcd')
    fs.mkdirSync(half, { recursive: true })
    fs.writeFileSync(path.join(half, 'PG_VERSION'), '18\n')
    const { url } = await start()
    expect(await ask(url, 'SELECT 1')).toBe(1)
    expect(fs.existsSync(half)).toBe(false)
  })
})
