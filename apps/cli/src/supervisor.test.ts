import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { z } from 'zod'

/** These supervise real processes from a process of its own, which is then ended in each of the ways there are. */

let home: string
let supervisor: ChildProcess | undefined

beforeEach(() => {
  home = fs.mkdtempSync(path.join(os.tmpdir(), 'backstitch-supervisor-'))
})

afterEach(() => {
  supervisor?.kill('SIGKILL')
  fs.rmSync(home, { recursive: true })
})

/** Writes its name when it stops, a little late. */
const CHILD = `
  import fs from 'node:fs'
  const stop = () => setTimeout(() => {
    fs.appendFileSync(process.env.STOPPED, process.env.NAME + ' ')
    process.exit(0)
  }, 50)
  process.on('SIGTERM', stop).on('disconnect', stop).on('SIGINT', () => fs.appendFileSync(process.env.STOPPED, '! '))
  process.send({ type: 'ready' })
  setInterval(() => {}, 1000)
`

const SUPERVISOR = `
  const { Supervisor } = await import(process.env.SUPERVISOR_MODULE)
  const { listenForInterrupt } = await import(process.env.INTERRUPT_MODULE)
  const supervisor = new Supervisor(() => {})
  const add = (layer, NAME) => supervisor.add(layer, {
    name: NAME, program: process.env.PROGRAM, logFile: process.env.LOG, env: () => ({ ...process.env, NAME })
  })
  const children = [add('participants', 'participants'), add('api', 'api'), add('worker', 'worker1'), add('worker', 'worker2')]
  await Promise.all(children.map((child) => child.start()))
  const { signal } = listenForInterrupt(() => supervisor.kill().then(() => process.exit(130)))
  process.send(children.map(({ pid }) => pid))
  signal.addEventListener('abort', async () => {
    if (process.env.HANG) return process.send('interrupted')
    await supervisor.stop()
    process.exit(0)
  })
`

const stopped = () => path.join(home, 'stopped')

async function start(env: NodeJS.ProcessEnv = {}): Promise<{ process: ChildProcess; pids: number[] }> {
  const program = path.join(home, 'child.mjs')
  const main = path.join(home, 'supervisor.mjs')
  fs.writeFileSync(program, CHILD)
  fs.writeFileSync(main, SUPERVISOR)
  const child = fork(main, {
    env: {
      ...process.env,
      ...env,
      PROGRAM: program,
      STOPPED: stopped(),
      LOG: path.join(home, 'log'),
      SUPERVISOR_MODULE: import.meta.resolve('./supervisor.ts'),
      INTERRUPT_MODULE: import.meta.resolve('./interrupt.ts'),
    },
    // A process group of its own, as a terminal gives one to whatever it starts.
    detached: true,
  })
  supervisor = child
  const [pids] = await once(child, 'message')
  return { process: child, pids: z.array(z.int()).parse(pids) }
}

function alive(pids: readonly number[]): number[] {
  return pids.filter((pid) => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  })
}

test('SIGTERM stops workers, then the API, then the participants', async () => {
  const { process: child, pids } = await start()
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([0, null])
  expect(fs.readFileSync(stopped(), 'utf8')).toMatch(/^worker\d worker\d api participants $/)
  expect(alive(pids)).toEqual([])
})

test('Ctrl-C reaches the whole group of processes, and is answered by the supervisor alone', async () => {
  const { process: child, pids } = await start()
  process.kill(-(child.pid ?? 0), 'SIGINT')
  child.kill('SIGINT') // npm hands it on as well: that is not a second Ctrl-C
  expect(await once(child, 'exit')).toEqual([0, null])
  expect(fs.readFileSync(stopped(), 'utf8')).toMatch(/^worker\d worker\d api participants $/)
  expect(alive(pids)).toEqual([])
})

test('a second Ctrl-C ends everything at once', async () => {
  const { process: child, pids } = await start({ HANG: '1' })
  const interrupted = once(child, 'message')
  child.kill('SIGINT')
  await interrupted
  // Long enough not to be taken for the first one's echo.
  await new Promise((resolve) => setTimeout(resolve, 400))
  child.kill('SIGINT')
  expect(await once(child, 'exit')).toEqual([130, null])
  expect(alive(pids)).toEqual([])
})

test('nothing is left running after SIGKILL', async () => {
  const { process: child, pids } = await start()
  expect(alive(pids)).toHaveLength(4)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await expect.poll(() => alive(pids), { timeout: 60_000 }).toEqual([])
})
