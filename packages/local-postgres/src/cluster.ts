import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Account } from './account.ts'
import type { Binaries } from './binaries.ts'
import { LocalPostgresError, useYourOwn } from './errors.ts'
import { isAlive } from './postmaster.ts'

export type Settings = Record<string, string | number | boolean>

export const superuser = 'backstitch'

/** Loopback only. A socket's path may be no longer than 107 bytes, a project's path may be: no socket. */
const always: Settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  timezone: 'UTC',
  log_timezone: 'UTC',
}

/** Made once, before the data that it opens. Two processes at once agree on whichever was linked first. */
export function ensurePassword(home: string, account: Account | undefined): string {
  const file = path.join(home, 'password')
  if (!fs.existsSync(file)) {
    const mine = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
    fs.writeFileSync(mine, randomBytes(24).toString('base64url'), { mode: 0o600, flag: 'wx' })
    if (account) fs.chownSync(mine, account.uid, account.gid) // initdb reads it
    try {
      fs.linkSync(mine, file)
    } catch (error) {
      if (!fs.existsSync(file)) throw error
    } finally {
      fs.rmSync(mine)
    }
  }
  return fs.readFileSync(file, 'utf8').trim()
}

/** The data directory appears whole or not at all: it is made aside and renamed, and the first to rename wins. */
export function ensureData(
  home: string,
  binaries: Binaries,
  account: Account | undefined,
  settings: Settings,
  log: (line: string) => void,
): string {
  const data = path.join(home, 'data')
  removeHalves(home)
  if (fs.existsSync(data)) return data
  log(`creating a Postgres data directory in ${data} …`)
  const half = path.join(home, `data.half-${process.pid}-${randomBytes(4).toString('hex')}`)
  const args = [
    `--pgdata=${half}`,
    `--username=${superuser}`,
    `--pwfile=${path.join(home, 'password')}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // Postgres's own UTF-8 collation: the same order on every machine, whatever locales it has.
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--locale=C',
    ...(isOff(settings.fsync) ? ['--no-sync'] : []),
  ]
  const result = spawnSync(binaries.initdb, args, { cwd: home, encoding: 'utf8', ...runAs(account) })
  if (result.status !== 0) {
    fs.rmSync(half, { recursive: true, force: true })
    const why = result.error?.message ?? `${result.stdout}${result.stderr}`.trim()
    throw new LocalPostgresError(
      `The bundled Postgres could not create its data directory: ${why}\n${useYourOwn}`,
    )
  }
  fs.appendFileSync(path.join(half, 'postgresql.conf'), "\ninclude_if_exists = 'backstitch.conf'\n")
  try {
    fs.renameSync(half, data)
  } catch (error) {
    fs.rmSync(half, { recursive: true, force: true })
    if (!fs.existsSync(data)) throw error
  }
  return data
}

function isOff(value: Settings[string] | undefined): boolean {
  return value === false || value === 'off'
}

/** What an initdb that was killed left behind. */
function removeHalves(home: string): void {
  for (const name of fs.readdirSync(home)) {
    const pid = /^data\.half-(\d+)-/.exec(name)?.[1]
    if (pid && !isAlive(Number(pid))) fs.rmSync(path.join(home, name), { recursive: true, force: true })
  }
}

export function writeSettings(
  data: string,
  account: Account | undefined,
  port: number,
  settings: Settings,
): void {
  const lines = Object.entries({ ...settings, ...always, port }).map(
    ([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'\n`,
  )
  const file = path.join(data, 'backstitch.conf')
  const mine = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  fs.writeFileSync(mine, lines.join(''), { mode: 0o600 })
  if (account) fs.chownSync(mine, account.uid, account.gid)
  fs.renameSync(mine, file)
}

/** How to run one of the programs: as the account, and free of the PG… variables of whoever started us. */
export function runAs(account: Account | undefined, extra: NodeJS.ProcessEnv = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^PG[A-Z]/.test(name))
  const env: NodeJS.ProcessEnv = { ...Object.fromEntries(inherited), LC_ALL: 'C', ...extra }
  return account ? { env, uid: account.uid, gid: account.gid } : { env }
}
