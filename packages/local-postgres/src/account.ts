import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { LocalPostgresError, useYourOwn } from './errors.ts'

/** Postgres refuses to run as root, so root runs it as somebody else. Undefined: as ourselves. */
export type Account = { name: string; uid: number; gid: number }

const candidates = ['postgres', '_postgres', 'nobody']

/** Where root keeps what does not fit beside the project, because the other account cannot get there. */
const systemHome = '/var/lib/backstitch'

export function chooseAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of candidates) {
    const uid = idOf('-u', name)
    const gid = idOf('-g', name)
    if (uid !== undefined && gid !== undefined) return { name, uid, gid }
  }
  throw new LocalPostgresError(
    `Postgres refuses to run as root, and this machine has none of the users ${candidates.join(', ')} to run it as. ` +
      `Run this command as an ordinary user. ${useYourOwn}`,
  )
}

function idOf(flag: '-u' | '-g', name: string): number | undefined {
  try {
    const id = Number(
      execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    )
    return Number.isInteger(id) && id > 0 && id < 2 ** 31 ? id : undefined
  } catch {
    return undefined
  }
}

/** Whether an account that owns nothing on the way may open this file: everyone may pass, and read the end of it. */
export function canReach(account: Account, file: string): boolean {
  const real = fs.existsSync(file) ? fs.realpathSync(file) : path.resolve(file)
  for (let at = real; ; at = path.dirname(at)) {
    const stat = fs.statSync(at, { throwIfNoEntry: false })
    if (stat && stat.uid !== account.uid) {
      const needed = stat.isDirectory() ? 0o001 : 0o004
      if ((stat.mode & needed) === 0) return false
    }
    if (at === path.dirname(at)) return true
  }
}

/** The wanted directory, made and given to the account; or, where it cannot go, one of its own under /var/lib. */
export function prepareHome(wanted: string, account: Account | undefined): string {
  const directory = path.resolve(wanted)
  const parent = path.dirname(directory)
  fs.mkdirSync(parent, { recursive: true })
  let home = directory
  if (account && !canReach(account, parent)) {
    const name = createHash('sha256').update(directory).digest('hex').slice(0, 16)
    home = path.join(makeSystemHome(), name)
  }
  fs.mkdirSync(home, { recursive: true, mode: 0o700 })
  if (account) fs.chownSync(home, account.uid, account.gid)
  return fs.realpathSync(home)
}

export function makeSystemHome(): string {
  fs.mkdirSync(systemHome, { recursive: true })
  fs.chmodSync(systemHome, 0o755) // whatever the umask is
  return systemHome
}
