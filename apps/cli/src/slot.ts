import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

/**
 * Directories of one's own. Several supervisors may run side by side from one folder, and none may stop a database
 * that another is using: so each holds a slot, and the slot names the directories. Whoever comes first has slot 1
 * (postgres, logs, participants), the next slot 2 (postgres-2, logs-2, …), and each finds its data again later.
 *
 * A slot is held by a file that says who holds it. Three rules keep two processes out of one slot:
 *  1. The file appears with its content in it, or not at all (link).
 *  2. One that was left behind by a dead process is removed only under a guard named after that very file.
 *  3. In doubt (a pid used again by somebody else, a guard left behind) the slot counts as held: there are others.
 */
export type Slot = {
  number: number
  postgres: string
  logs: string
  participants: string
  release(): void
}

const MOST = 64

export function takeSlot(home: string): Slot {
  fs.mkdirSync(home, { recursive: true })
  const me = `${process.pid} ${randomUUID()}`
  for (let number = 1; number <= MOST; number++) {
    const lock = path.join(home, `slot-${number}.lock`)
    if (!take(lock, me)) continue
    const directory = (name: string) => path.join(home, number === 1 ? name : `${name}-${number}`)
    return {
      number,
      postgres: directory('postgres'),
      logs: directory('logs'),
      participants: directory('participants'),
      release() {
        if (readIfThere(lock) === me) fs.rmSync(lock, { force: true })
      },
    }
  }
  throw new Error(`all ${MOST} slots in ${home} are held; if nothing is running there, remove the folder`)
}

function take(lock: string, me: string): boolean {
  if (appears(lock, me)) return true
  const holder = readIfThere(lock)
  if (holder !== undefined) {
    if (isAlive(Number.parseInt(holder, 10))) return false
    if (!bury(lock, holder)) return false
  }
  return appears(lock, me)
}

function appears(lock: string, me: string): boolean {
  const mine = `${lock}.${randomUUID()}`
  fs.writeFileSync(mine, me)
  try {
    fs.linkSync(mine, lock)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  } finally {
    fs.rmSync(mine)
  }
}

/** Removes the file of a dead holder, exactly that one. */
function bury(lock: string, holder: string): boolean {
  const guard = `${lock}.of-${holder.replace(/\W/g, '-')}`
  try {
    fs.writeFileSync(guard, '', { flag: 'wx' })
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
  // Nobody else removes this holder's file while we have its guard, and no other file has its content.
  const same = readIfThere(lock) === holder
  if (same) fs.rmSync(lock, { force: true })
  fs.rmSync(guard, { force: true })
  return same
}

function readIfThere(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return isCode(error, 'EPERM')
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
