import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { z } from 'zod'
import { readTail } from './log-tail.ts'

/**
 * One process of ours, kept alive: what dies is started again, after a pause that grows while it keeps dying.
 *
 *  1. It writes to a file, not to a pipe: it never waits for us and does not fail when we are gone.
 *  2. It has a process group of its own: a Ctrl-C in the terminal is ours to answer, in our order.
 *  3. It is connected to us by IPC: when we are gone, however that came about, it notices and ends itself.
 */

export type ChildSpec = {
  name: string
  program: string
  /** Asked anew for every start, so that a port once found can be kept. */
  env: () => NodeJS.ProcessEnv
  logFile: string
  readyWithinMs?: number
  backoff?: Partial<Backoff>
}

export type Backoff = {
  firstMs: number
  mostMs: number
  /** Who lived this long is not counted as dying again and again. */
  forgivenAfterMs: number
}

const Ready = z.object({
  type: z.literal('ready'),
  url: z.string().optional(),
  workerId: z.string().optional(),
})
export type Ready = z.infer<typeof Ready>

export type ChildEvent =
  /** Died without being asked to; it comes back in `againInMs`. */
  | { is: 'died'; child: Child; how: string; lastLines: string[]; againInMs: number }
  /** Is back: `pid` is the new one. */
  | { is: 'back'; child: Child; ready: Ready; pid: number }

export class ChildDied extends Error {
  override readonly name = 'ChildDied'
}

export class Child {
  readonly name: string
  readonly #spec: ChildSpec
  readonly #backoff: Backoff
  readonly #tell: (event: ChildEvent) => void
  #process: ChildProcess | undefined
  #ready: Ready | undefined
  #deaths = 0
  #wanted = false
  #held = false
  #again: NodeJS.Timeout | undefined

  constructor(spec: ChildSpec, tell: (event: ChildEvent) => void) {
    this.name = spec.name
    this.#spec = spec
    this.#backoff = { firstMs: 250, mostMs: 10_000, forgivenAfterMs: 30_000, ...spec.backoff }
    this.#tell = tell
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** What it said when it was last ready; undefined while it is not. */
  get ready(): Ready | undefined {
    return this.#ready
  }

  /** The first start. If it dies before it is ready, that is an error and nothing is tried again. */
  async start(): Promise<Ready> {
    this.#wanted = true
    try {
      return await this.#run()
    } catch (error) {
      this.#wanted = false
      throw error
    }
  }

  /** SIGKILL, on purpose. It stays dead until it is revived. */
  async killAndHold(): Promise<void> {
    this.#held = true
    clearTimeout(this.#again)
    const child = this.#process
    if (child === undefined) return
    child.kill('SIGKILL')
    await ended(child)
  }

  async revive(): Promise<void> {
    if (!this.#held) return
    this.#held = false
    if (this.#wanted && this.#process === undefined) await this.#comeBack()
  }

  /** Asks it to stop, and insists after `withinMs`; with 0 it is not asked. Any number of times, started or not. */
  async stop(withinMs: number): Promise<void> {
    this.#wanted = false
    clearTimeout(this.#again)
    const child = this.#process
    if (child === undefined) return
    if (withinMs === 0) child.kill('SIGKILL')
    // Windows knows no SIGTERM; there the end of the connection says the same.
    else if (process.platform !== 'win32') child.kill('SIGTERM')
    else if (child.connected) child.disconnect()
    const insist = setTimeout(() => child.kill('SIGKILL'), withinMs)
    await ended(child)
    clearTimeout(insist)
  }

  async #run(): Promise<Ready> {
    const { name, program, env, logFile, readyWithinMs = 30_000 } = this.#spec
    const log = fs.openSync(logFile, 'a')
    const from = fs.fstatSync(log).size
    const child = spawn(process.execPath, [program], {
      stdio: ['ignore', log, log, 'ipc'],
      env: env(),
      detached: process.platform !== 'win32',
      windowsHide: true,
    })
    fs.closeSync(log)
    child.on('error', () => {}) // could not be started, or not be told to stop: its end says as much
    this.#process = child
    const startedAt = performance.now()
    let overdue = false
    const impatience = setTimeout(() => {
      overdue = true
      child.kill('SIGKILL')
    }, readyWithinMs)

    const gone = ended(child).then((end) => {
      clearTimeout(impatience)
      if (this.#process === child) this.#process = undefined
      this.#ready = undefined
      const how = overdue ? `was not ready within ${readyWithinMs / 1000} s` : end
      return { how, lastLines: readTail(logFile, from) }
    })
    const ready = await Promise.race([firstWord(child), gone])
    if ('how' in ready) throw new ChildDied([`${name} ${ready.how}`, ...ready.lastLines].join('\n'))
    clearTimeout(impatience)
    this.#ready = ready
    void gone.then(({ how, lastLines }) => {
      if (performance.now() - startedAt >= this.#backoff.forgivenAfterMs) this.#deaths = 0
      this.#onDeath(how, lastLines)
    })
    return ready
  }

  #onDeath(how: string, lastLines: string[]): void {
    if (!this.#wanted || this.#held) return
    const { firstMs, mostMs } = this.#backoff
    const againInMs = Math.min(mostMs, firstMs * 2 ** this.#deaths)
    this.#deaths++
    this.#tell({ is: 'died', child: this, how, lastLines, againInMs })
    this.#again = setTimeout(() => void this.#comeBack(), againInMs)
  }

  async #comeBack(): Promise<void> {
    try {
      const ready = await this.#run()
      this.#tell({ is: 'back', child: this, ready, pid: this.pid ?? 0 })
    } catch (error) {
      if (!(error instanceof ChildDied)) throw error
      const [how = '', ...lastLines] = error.message.split('\n')
      this.#onDeath(how.slice(this.name.length + 1), lastLines)
    }
  }
}

async function firstWord(child: ChildProcess): Promise<Ready> {
  return await new Promise((resolve) => {
    child.on('message', (message) => {
      const ready = Ready.safeParse(message)
      if (ready.success) resolve(ready.data)
    })
  })
}

/** How it ended, as a sentence goes on: "worker 1 was killed by SIGKILL". */
async function ended(child: ChildProcess): Promise<string> {
  const running = child.exitCode === null && child.signalCode === null && child.pid !== undefined
  if (running) await new Promise((resolve) => child.once('exit', resolve))
  return child.signalCode === null
    ? `ended with status ${child.exitCode}`
    : `was killed by ${child.signalCode}`
}
