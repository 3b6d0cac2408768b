import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { sql } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { type Database, openDatabase } from './database.ts'
import { describeSchema } from './describe-schema.ts'
import { createLane, type Lane } from './lane.ts'
import { migrate, missingMigrations } from './migrate.ts'

async function stage(options: { empty: boolean }): Promise<{ url: string; database: Database; lane: Lane }> {
  const { url, drop } = await createTestDatabase(options)
  const database = openDatabase({ databaseUrl: url, applicationName: 'test', max: 3 })
  const lane = createLane({ databaseUrl: url, applicationName: 'test' })
  onTestFinished(async () => {
    await Promise.all([database.destroy(), lane.close()])
    await drop()
  })
  return { url, database, lane }
}

const schemaFile = '../../../migrations/schema.sql'

test('an empty database lacks every migration; migrated, it lacks none', async () => {
  const { url, lane } = await stage({ empty: true })
  const missing = await missingMigrations(lane)
  expect(missing).toContain('0001_sagas')
  expect(missing).toEqual(missing.toSorted())
  expect(await migrate(url)).toEqual(missing)
  expect(await missingMigrations(lane)).toEqual([])
})

test('migrating again applies nothing and changes nothing', async () => {
  const { url, database } = await stage({ empty: true })
  await migrate(url)
  const schema = await describeSchema(database)
  expect(await migrate(url)).toEqual([])
  expect(await describeSchema(database)).toBe(schema)
})

test('two at once: one applies everything, the other waits for it and finds nothing to do', async () => {
  const { url, lane } = await stage({ empty: true })
  const all = await missingMigrations(lane)
  const applied = await Promise.all([migrate(url), migrate(url)])
  expect(applied.toSorted((a, b) => a.length - b.length)).toEqual([[], all])
  expect(await missingMigrations(lane)).toEqual([])
})

test('a migration that fails leaves the database as it was, and says what is wrong', async () => {
  const { url, database, lane } = await stage({ empty: true })
  await sql`CREATE TABLE saga_mail (in_the_way int)`.execute(database)
  await expect(migrate(url)).rejects.toThrow('relation "saga_mail" already exists')
  const { rows } = await sql<{ tables: string[] }>`
    SELECT array_agg(tablename::text) AS tables FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'kysely%'`.execute(
    database,
  )
  expect(rows).toEqual([{ tables: ['saga_mail'] }])
  expect(await missingMigrations(lane)).toContain('0001_sagas')
})

test('a migrated database of which one migration is unknown to this release lacks none of ours', async () => {
  const { url, database, lane } = await stage({ empty: true })
  await migrate(url)
  await sql`INSERT INTO kysely_migration (name, timestamp) VALUES ('9999_of_a_later_release', 'then')`.execute(
    database,
  )
  expect(await missingMigrations(lane)).toEqual([])
})

/** When a migration is meant to change it: `npm test migrate -- -u`. */
test('migrations/schema.sql is what the migrations make of an empty database', async () => {
  const { database } = await stage({ empty: false })
  const header =
    '-- What the migrations make of an empty database: written by migrate.test.ts, which fails when it is not so.\n\n'
  await expect(`${header}${await describeSchema(database)}`).toMatchFileSnapshot(schemaFile)
})

test('the description tells two schemas apart by anything that matters', async () => {
  const { database } = await stage({ empty: false })
  const seen = new Set([await describeSchema(database)])
  const changes = [
    'ALTER TABLE sagas ADD COLUMN colour text',
    "ALTER TABLE sagas ALTER COLUMN colour SET DEFAULT 'red'",
    'ALTER TABLE sagas ALTER COLUMN colour SET NOT NULL',
    'ALTER TABLE sagas ALTER COLUMN colour TYPE varchar(7)',
    'ALTER TABLE sagas ALTER COLUMN colour SET STORAGE EXTERNAL',
    "ALTER TABLE sagas ADD CONSTRAINT sagas_colour CHECK (colour <> 'blue')",
    'CREATE INDEX sagas_colour_idx ON sagas (colour)',
    'DROP INDEX sagas_colour_idx; CREATE INDEX sagas_colour_idx ON sagas (colour) WHERE paused',
    'ALTER TABLE sagas SET (fillfactor = 60)',
    'CREATE SEQUENCE counter',
    'CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$',
    'CREATE TRIGGER watch AFTER UPDATE ON sagas EXECUTE FUNCTION noop()',
    'CREATE TABLE another (id int)',
  ]
  for (const change of changes) {
    await sql.raw(change).execute(database)
    const schema = await describeSchema(database)
    expect(seen.has(schema), change).toBe(false)
    seen.add(schema)
  }
})
