import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import type { KeeperTask } from './keeper-main.ts'
import { isAlive } from './postmaster.ts'

/** A hold on a running keeper; see keeper-main.ts. */
export type Keeper = {
  /** Resolves when Postgres has stopped. */
  dismiss: () => Promise<void>
}

const program = path.join(import.meta.dirname, 'keeper-main.ts')

export async function hireKeeper(task: KeeperTask): Promise<Keeper | { failed: string }> {
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, [program, JSON.stringify(task)], {
    cwd: task.home,
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env,
  })
  const failed = await firstWord(child)
  if (failed !== undefined) return { failed }
  // Nobody has to wait for a keeper: a process that ends without dismissing it is what it is there for.
  child.unref()
  for (const stream of [child.stdin, child.stdout, child.stderr]) {
    if (stream instanceof net.Socket) stream.unref()
  }
  return {
    async dismiss() {
      const gone = child.exitCode !== null || child.signalCode !== null
      if (gone) return
      child.ref()
      const exit = once(child, 'exit')
      child.stdin.on('error', () => {}).end()
      await exit
    },
  }
}

/** Undefined when Postgres is up, else what went wrong. */
async function firstWord(child: ChildProcess): Promise<string | undefined> {
  let said = ''
  let complaint = ''
  child.stderr?.on('data', (chunk: Buffer) => (complaint += chunk.toString('utf8')))
  return await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code) => resolve(complaint.trim() || `its keeper ended with status ${code}`))
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString('utf8')
      if (!said.includes('\n')) return
      const word: unknown = JSON.parse(said)
      const why = typeof word === 'object' && word !== null && 'why' in word ? String(word.why) : undefined
      resolve(why)
    })
  })
}

/** False: whoever started this Postgres is gone, and its keeper with it. */
export function hasKeeper(home: string): boolean {
  const pids = fs.readdirSync(home).flatMap((name) => /^keeper\.(\d+)$/.exec(name)?.[1] ?? [])
  for (const pid of pids)
    if (!isAlive(Number(pid))) fs.rmSync(path.join(home, `keeper.${pid}`), { force: true })
  return pids.some((pid) => isAlive(Number(pid)))
}
