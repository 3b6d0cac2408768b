import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { Account } from './account.ts'
import { runAs } from './cluster.ts'

/**
 * The keeper: a process of its own, in its own session, that starts Postgres and stops it again.
 *
 * 1. It holds the read end of a pipe whose write end only the process that wants Postgres has. However that process
 *    ends, even by SIGKILL, the pipe closes, and the keeper stops Postgres. There is no moment without a keeper,
 *    because it is the keeper that starts Postgres.
 * 2. In its own session, a Ctrl-C in the terminal reaches neither it nor Postgres: Postgres goes last.
 * 3. It says one line, {"ok":true} or {"ok":false,"why":"…"}, and then nothing.
 */

export type KeeperTask = {
  pgCtl: string
  home: string
  data: string
  account?: Account | undefined
  /** False: Postgres runs already, and only has to be stopped in the end. */
  start: boolean
  /** Nothing is worth keeping: the directory goes when Postgres has stopped. */
  temporary: boolean
}

const maxLogBytes = 10 * 1024 * 1024

function main(task: KeeperTask): void {
  const { home } = task
  // Worn before Postgres starts: a Postgres without a keeper is one whose keeper was killed (see keeper.ts).
  const badge = path.join(home, `keeper.${process.pid}`)
  fs.writeFileSync(badge, '')
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {}) // whoever asked may be gone
  let over = false
  const finish = () => {
    if (over) return
    over = true
    stop(task)
    fs.rmSync(badge, { force: true })
    if (task.temporary) fs.rmSync(home, { recursive: true, force: true, maxRetries: 5 })
    process.exit(0)
  }
  if (task.start) {
    const why = start(task)
    if (why !== undefined) {
      fs.rmSync(badge, { force: true })
      say({ ok: false, why })
      process.exitCode = 1
      return
    }
  }
  process.on('SIGTERM', finish)
  process.on('SIGINT', finish)
  process.stdin.on('end', finish).on('error', finish).resume()
  say({ ok: true })
}

/** Returns what went wrong, if anything did. */
function start({ pgCtl, home, data, account }: KeeperTask): string | undefined {
  const logFile = path.join(home, 'postgres.log')
  if (fs.existsSync(logFile) && fs.statSync(logFile).size > maxLogBytes) fs.truncateSync(logFile)
  const log = fs.openSync(logFile, 'a', 0o600)
  const from = fs.fstatSync(log).size
  // PGDATA rather than -D: pg_ctl puts -D through a shell. It also gives Postgres a session of its own.
  const result = spawnSync(pgCtl, ['start', '--wait', '--timeout=120', '--silent'], {
    cwd: home,
    stdio: ['ignore', log, log],
    ...runAs(account, { PGDATA: data }),
  })
  fs.closeSync(log)
  if (result.status === 0) return undefined
  return result.error?.message ?? fs.readFileSync(logFile).subarray(from).toString('utf8').trim()
}

function stop({ pgCtl, home, data, account }: KeeperTask): void {
  // Fast: open transactions are rolled back, and the data is left clean. Immediate is a crash, for when that hangs.
  for (const mode of ['fast', 'immediate']) {
    if (!fs.existsSync(path.join(data, 'postmaster.pid'))) return
    const args = ['stop', '--wait', '--timeout=30', '--silent', `--mode=${mode}`]
    spawnSync(pgCtl, args, { cwd: home, stdio: 'ignore', ...runAs(account, { PGDATA: data }) })
  }
}

function say(message: { ok: boolean; why?: string }): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

// oxlint-disable-next-line typescript/no-unsafe-argument -- keeper.ts wrote it, one line of code away
main(JSON.parse(process.argv[2] ?? ''))
