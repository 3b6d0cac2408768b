import { createTestDatabase } from '@backstitch/local-postgres/testing'
import pg from 'pg'
import { expect, test } from 'vitest'

async function tablesOf(url: string): Promise<number> {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query<{ count: number }>(
    "SELECT count(*)::int AS count FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
  )
  await client.end()
  return rows[0]?.count ?? 0
}

test('a test database is migrated, one of its own, and gone when dropped', async () => {
  const databases = await Promise.all([createTestDatabase(), createTestDatabase(), createTestDatabase()])
  expect(new Set(databases.map(({ url }) => url)).size).toBe(3)
  for (const { url, drop } of databases) {
    expect(await tablesOf(url)).toBeGreaterThan(0)
    await drop()
    await expect(tablesOf(url)).rejects.toThrow(/does not exist/)
  }
})

test('an empty one is empty, for those who test the migrations', async () => {
  const { url, drop } = await createTestDatabase({ empty: true })
  expect(await tablesOf(url)).toBe(0)
  await drop()
})
