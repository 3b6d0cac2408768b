import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type LocalPostgres, startLocalPostgres } from '@backstitch/local-postgres'
import { migrate } from '@backstitch/store'
import pg from 'pg'

/** A Postgres that may be mistreated: it is nobody else's. */
export type Server = {
  /** A migrated database of its own. */
  createDatabase(): Promise<Database>
  /** Ends it as a power cut would, with everything on it, and starts it again. Undefined: it is not ours to end. */
  readonly restart: (() => Promise<void>) | undefined
  readonly port: number
  query(sql: string): Promise<Row[]>
  stop(): Promise<void>
}

export type Row = Record<string, unknown>

export type Database = {
  name: string
  /** For the processes: by an ordinary role, which owns it and may do nothing else. */
  url: string
  /** For whoever tests: by one that is let in and may write whatever happens. */
  query(sql: string, values?: readonly unknown[]): Promise<Row[]>
  /** The folder of the small disk it is on, or why it has none. */
  disk: { folder: string } | { missing: string }
  drop(): Promise<void>
}

/** In memory, where there is such a place. */
const SCRATCH = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** Nothing here survives a power cut, and need not: what is ended here is Postgres, not the machine. */
const SETTINGS = {
  fsync: false,
  full_page_writes: false,
  max_connections: 100,
  shared_buffers: '128MB',
  max_wal_size: '256MB',
  // Whoever does not wait for the log loses ten seconds by a crash, not a fifth of one.
  wal_writer_delay: '10s',
}

export async function startServer(directory: string): Promise<Server> {
  const given = process.env.TEST_DATABASE_URL
  const handles: LocalPostgres[] = []
  const start = async (port?: number) => {
    const local = await startLocalPostgres({
      directory,
      settings: SETTINGS,
      temporary: true,
      ...(port !== undefined && { port }),
    })
    handles.push(local)
    return local
  }
  const url = given ?? (await start()).url
  const port = Number(new URL(url).port || 5432)

  async function restart(): Promise<void> {
    const [row] = await query(url, "SELECT pg_read_file('postmaster.pid') AS text")
    const postmaster = Number(String(row?.text).split('\n')[0])
    process.kill(postmaster, 'SIGQUIT')
    while (isAlive(postmaster)) await sleep(10)
    await start(port)
  }

  return {
    port,
    restart: given === undefined ? restart : undefined,
    query: (sql) => query(url, sql),

    async createDatabase() {
      const name = `chaos_${randomBytes(4).toString('hex')}`
      const disk = await mountDisk(url, name)
      await query(url, `CREATE ROLE ${name} LOGIN PASSWORD '${name}'`)
      if ('folder' in disk) await query(url, `CREATE TABLESPACE ${name} LOCATION '${disk.folder}'`)
      const on = 'folder' in disk ? `TABLESPACE ${name}` : ''
      await query(url, `CREATE DATABASE ${name} OWNER ${name} ${on}`)
      const [ours, theirs] = [new URL(url), new URL(url)]
      ours.pathname = theirs.pathname = `/${name}`
      theirs.username = theirs.password = name
      await migrate(theirs.href)
      return {
        name,
        url: theirs.href,
        disk,
        query: (sql, values) => query(ours.href, sql, values),
        async drop() {
          await query(url, `DROP DATABASE ${name} WITH (FORCE)`)
          if ('folder' in disk) {
            await query(url, `DROP TABLESPACE ${name}`)
            unmount(disk.folder)
          }
          await query(url, `DROP ROLE ${name}`)
        },
      }
    },

    async stop() {
      for (const handle of handles.toReversed()) await handle.stop()
    },
  }
}

/** A disk that is soon full, where we may have one. */
async function mountDisk(url: string, name: string): Promise<Database['disk']> {
  if (process.getuid?.() !== 0) return { missing: 'only root may mount a small disk' }
  const [row] = await query(url, 'SHOW data_directory')
  const folder = join(SCRATCH, `${name}-disk`)
  mkdirSync(folder)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', folder])
  if (mounted.status !== 0) {
    rmSync(folder, { recursive: true })
    return { missing: `no small disk could be mounted: ${String(mounted.stderr)}` }
  }
  disks.add(folder)
  const { uid, gid } = statSync(String(row?.data_directory))
  chownSync(folder, uid, gid)
  return { folder }
}

/** Whoever is interrupted leaves none behind. */
const disks = new Set<string>()
process.once('exit', () => {
  for (const folder of disks) unmount(folder)
})

function unmount(folder: string): void {
  disks.delete(folder)
  spawnSync('umount', ['--lazy', folder])
  rmSync(folder, { recursive: true, force: true })
}

export function folderFor(what: string): string {
  return join(SCRATCH, `backstitch-chaos-${what}-${randomBytes(4).toString('hex')}`)
}

/** By a connection of its own; tried again while the server comes back. */
async function query(url: string, sql: string, values: readonly unknown[] = []): Promise<Row[]> {
  for (let tried = 1; ; tried++) {
    const client = new pg.Client({ connectionString: url, application_name: 'chaos' })
    client.on('error', () => undefined)
    try {
      await client.connect()
      const { rows } = await client.query<Row>(sql, [...values])
      return rows
    } catch (error) {
      const said = error instanceof pg.DatabaseError ? (error.code ?? '') : 'no answer'
      if (tried === 100 || !/^(57P|53300|08|no answer)/.test(said)) throw error
      await sleep(100)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
