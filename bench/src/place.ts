import { randomBytes } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import { startLocalPostgres } from '@backstitch/local-postgres'
import { migrate } from '@backstitch/store'
import pg from 'pg'

/** The Postgres that everything is measured on, and a database on it. */
export type Place = { url: string }

export type Ground = {
  /** Settings of Postgres that matter, as it states them. */
  settings: Record<string, string>
  adminUrl: string
  /** A new database; `migrated` with our tables in it. */
  database(name: string, migrated: boolean): Promise<Place>
  close(): Promise<void>
}

/** As in production: nothing that guards data is off, and memory is not the default's 128 MB. */
const SETTINGS = {
  fsync: true,
  synchronous_commit: true,
  full_page_writes: true,
  shared_buffers: '1GB',
  max_wal_size: '4GB',
  min_wal_size: '1GB',
  checkpoint_timeout: '5min',
  wal_buffers: '16MB',
  max_connections: 300,
  jit: false,
  shared_preload_libraries: 'pg_stat_statements',
  'pg_stat_statements.track': 'none',
}

/** A Postgres of its own on a real disk, or the one given: there every setting is its owner's. */
export async function prepareGround(options: {
  databaseUrl: string | undefined
  directory: string | undefined
  track: boolean
  /** A library that Postgres is to load before any other. */
  preload: string | undefined
}): Promise<Ground> {
  const { databaseUrl, directory = os.tmpdir(), track, preload } = options
  const settings = track ? { ...SETTINGS, 'pg_stat_statements.track': 'top' } : SETTINGS
  // Postgres gets our environment, and is the only program that is started while this is in it.
  if (preload !== undefined) process.env.LD_PRELOAD = preload
  const server =
    databaseUrl === undefined
      ? await startLocalPostgres({
          directory: path.join(directory, `backstitch-bench-${randomBytes(4).toString('hex')}`),
          settings,
          temporary: true,
        })
      : { url: databaseUrl, stop: async () => undefined }
  delete process.env.LD_PRELOAD
  const names = Object.keys(SETTINGS).filter((name) => !name.includes('.'))
  const rows = await query(
    server.url,
    'SELECT name, current_setting(name) AS setting FROM pg_settings WHERE name = ANY($1)',
    [['server_version', ...names]],
  )
  const found = Object.fromEntries(rows.map(({ name, setting }) => [String(name), String(setting)]))
  return {
    settings: found,
    adminUrl: server.url,
    async database(name, migrated) {
      const unique = `bench_${name.replaceAll(/\W+/g, '_').toLowerCase()}_${randomBytes(3).toString('hex')}`
      await query(server.url, `CREATE DATABASE "${unique}"`)
      const url = new URL(server.url)
      url.pathname = `/${unique}`
      if (migrated) await migrate(url.href)
      return { url: url.href }
    },
    close: () => server.stop(),
  }
}

/**
 * A new cluster makes each 16 MB of its log by writing zeros and syncing them, 70 ms here; one that has been in use for a while has
 * the files of before, and so has this one now.
 */
export async function recycleLog({ adminUrl }: Ground): Promise<void> {
  for (let n = 0; n < 10; n++) {
    await query(
      adminUrl,
      "SELECT count(pg_logical_emit_message(false, 'bench', repeat('x', 1048576))) FROM generate_series(1, 100)",
    )
  }
  await query(adminUrl, 'CHECKPOINT')
}

/** One statement on a connection of its own. */
export async function query(
  url: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(text, [...values])
    return rows
  } finally {
    await client.end()
  }
}
