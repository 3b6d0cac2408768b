import fs from 'node:fs'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Account, chooseAccount, prepareHome } from './account.ts'
import { type Binaries, findBinaries } from './binaries.ts'
import { ensureData, ensurePassword, type Settings, superuser, writeSettings } from './cluster.ts'
import { LocalPostgresError, useYourOwn } from './errors.ts'
import { hasKeeper, hireKeeper, type Keeper } from './keeper.ts'
import { findRunning } from './postmaster.ts'

export type LocalPostgresOptions = {
  /** Holds the data, the password and the log; made if it is missing. */
  directory: string
  /** A free one by default. */
  port?: number
  /** Anything of postgresql.conf, but for the addresses it listens on. */
  settings?: Settings
  /** True: the directory is removed when Postgres has stopped, also when the process that started it was killed. */
  temporary?: boolean
  log?: (line: string) => void
}

export type LocalPostgres = {
  url: string
  port: number
  /** True: it was running already. Whoever started it stops it, unless they are gone: then we do. */
  adopted: boolean
  /** Resolves when Postgres has stopped; any number of times. */
  stop: () => Promise<void>
}

const attempts = 5

/**
 * A real Postgres on this machine. No lock guards the directory: each step is one that only one of several processes
 * can win, and the others go on with the winner's result (see cluster.ts; for the start itself, Postgres sees to it).
 */
export async function startLocalPostgres(options: LocalPostgresOptions): Promise<LocalPostgres> {
  const account = chooseAccount()
  const binaries = findBinaries(account)
  const home = prepareHome(options.directory, account)
  try {
    return await startIn(home, account, binaries, options)
  } catch (error) {
    if (options.temporary) fs.rmSync(home, { recursive: true, force: true })
    throw error
  }
}

async function startIn(
  home: string,
  account: Account | undefined,
  binaries: Binaries,
  options: LocalPostgresOptions,
): Promise<LocalPostgres> {
  const { settings = {}, temporary = false, log = () => {} } = options
  const password = ensurePassword(home, account)
  const data = ensureData(home, binaries, account, settings, log)
  const task = { pgCtl: binaries.pgCtl, home, data, account, temporary }
  const handle = (port: number, adopted: boolean, keeper: Keeper | undefined): LocalPostgres => {
    let stopping: Promise<void> | undefined
    return {
      url: `postgres://${superuser}:${password}@127.0.0.1:${port}/postgres`,
      port,
      adopted,
      stop: () => (stopping ??= keeper?.dismiss() ?? Promise.resolve()),
    }
  }

  let why = ''
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const running = await findRunning(data)
    if (running) {
      if (!running.ready)
        throw new LocalPostgresError(`Postgres (pid ${running.pid}) hangs in ${data}. ${useYourOwn}`)
      if (hasKeeper(home)) return handle(running.port, true, undefined)
      const keeper = await hireKeeper({ ...task, start: false })
      if ('failed' in keeper) throw new LocalPostgresError(`Postgres has no keeper: ${keeper.failed}`)
      return handle(running.port, true, keeper)
    }
    writeSettings(data, account, options.port ?? (await freePort()), settings)
    const keeper = await hireKeeper({ ...task, start: true })
    if (!('failed' in keeper)) {
      // Another process may have written other settings in between: what Postgres says is the truth.
      const started = await findRunning(data)
      if (started?.ready) return handle(started.port, false, keeper)
      await keeper.dismiss()
    }
    why = 'failed' in keeper ? keeper.failed : 'it stopped as soon as it had started'
    if (!isPassing(why, options.port !== undefined)) break
    log(`Postgres did not start (attempt ${attempt} of ${attempts}); trying again …`)
    await sleep(200 * attempt)
  }
  throw new LocalPostgresError(`The bundled Postgres did not start: ${why}\n${useYourOwn}`)
}

/** Another start was faster, or the last Postgres is not quite gone, or somebody took the port we had found free. */
function isPassing(why: string, portIsFixed: boolean): boolean {
  if (/lock file|still in use/.test(why)) return true
  return !portIsFixed && /could not bind|could not create any TCP/.test(why)
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (typeof address !== 'object' || address === null) throw new Error('a listening server has no address')
  return address.port
}
