import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a running Postgres says of itself in postmaster.pid; `ready` also means that it answers. */
export type Postmaster = { pid: number; port: number; ready: boolean }

const pidFile = (data: string) => path.join(data, 'postmaster.pid')

/** Undefined while the file is missing, or still too short to say all of it. */
export function readPostmaster(data: string): Postmaster | undefined {
  let lines: string[]
  try {
    lines = fs.readFileSync(pidFile(data), 'utf8').split('\n')
  } catch {
    return undefined
  }
  // pid, data directory, start time, port, socket directory, listen address, shared memory key, status
  const pid = Number(lines[0])
  const port = Number(lines[3])
  return pid > 0 ? { pid, port, ready: port > 0 && lines[7]?.trim() === 'ready' } : undefined
}

/**
 * The Postgres that is running on this data directory, once it is ready. A file left behind by a crash is removed:
 * its pid may belong to another process by now, and Postgres, seeing the pid alive, would refuse to start.
 */
export async function findRunning(data: string, waitMs = 60_000): Promise<Postmaster | undefined> {
  const until = performance.now() + waitMs
  for (;;) {
    const postmaster = readPostmaster(data)
    if (!postmaster) return undefined
    if (!isPostgresOf(postmaster.pid, data)) {
      if (readPostmaster(data)?.pid === postmaster.pid) fs.rmSync(pidFile(data), { force: true })
      return undefined
    }
    // One that was killed a moment ago looks alive until its process is gone.
    const ready = postmaster.ready && (await answers(postmaster.port))
    if (ready || performance.now() > until) return { ...postmaster, ready }
    await sleep(50)
  }
}

/** Asks whether the server speaks TLS; which answer it gives does not matter. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () =>
      socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])),
    )
    const conclude = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    socket.setTimeout(5000, () => conclude(false))
    socket.once('data', () => conclude(true))
    socket.once('close', () => conclude(false))
    socket.once('error', () => conclude(false))
  })
}

function isPostgresOf(pid: number, data: string): boolean {
  if (!isAlive(pid)) return false
  if (process.platform === 'win32') return true
  if (process.platform === 'linux') {
    // A postmaster's working directory is its data directory. Unreadable: somebody else's process, so not ours.
    try {
      return fs.readlinkSync(`/proc/${pid}/cwd`) === fs.realpathSync(data)
    } catch {
      return false
    }
  }
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', 'comm='], { encoding: 'utf8' }).includes('postgres')
  } catch {
    return false
  }
}

/** A process that has ended and waits for its parent to notice (a zombie) still takes signals, but is not alive. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

function isZombie(pid: number): boolean {
  if (process.platform !== 'linux') return false
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8') // pid (command) state …
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
  } catch {
    return false
  }
}
