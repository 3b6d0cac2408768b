import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { openDatabase } from './database.ts'
import type { Lane, Statement } from './lane.ts'

/** Plain SQL files, NNNN_what_it_does.sql, forward only. */
const DIRECTORY = fileURLToPath(new URL('../../../migrations/', import.meta.url))

/** Brings the database up to date. Two at once wait for each other; running it again changes nothing. */
export async function migrate(databaseUrl: string): Promise<string[]> {
  // An index may take an hour to build, and whoever comes second waits as long.
  const database = openDatabase({ databaseUrl, applicationName: 'backstitch/migrate', max: 2, silenceMs: 0 })
  try {
    const migrator = new Migrator({ db: database, provider: { getMigrations: readMigrations } })
    const { error, results } = await migrator.migrateToLatest()
    if (error !== undefined)
      throw error instanceof Error ? error : new Error('a migration failed', { cause: error })
    return (results ?? []).map(({ migrationName }) => migrationName)
  } finally {
    await database.destroy()
  }
}

/** The migrations of this release that the database does not have yet. */
export async function missingMigrations(lane: Lane): Promise<string[]> {
  const wanted = Object.keys(await readMigrations())
  const [[isKnown] = []] = await lane.query(IS_MIGRATED, [])
  if (isKnown !== true) return wanted
  const names = new Set((await lane.query(APPLIED, [])).map(([name]) => name))
  return wanted.filter((name) => !names.has(name))
}

const IS_MIGRATED: Statement = {
  name: 'is_migrated',
  text: "SELECT to_regclass('kysely_migration') IS NOT NULL",
}
const APPLIED: Statement = { name: 'applied_migrations', text: 'SELECT name FROM kysely_migration' }

async function readMigrations(): Promise<Record<string, Migration>> {
  const files = (await readdir(DIRECTORY)).filter((file) => /^\d{4}_.+\.sql$/.test(file)).sort()
  const entries = files.map(async (file): Promise<[string, Migration]> => {
    const text = await readFile(join(DIRECTORY, file), 'utf8')
    return [
      file.replace(/\.sql$/, ''),
      {
        up: (db) =>
          sql
            .raw(text)
            .execute(db)
            .then(() => undefined),
      },
    ]
  })
  return Object.fromEntries(await Promise.all(entries))
}
