import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { inject } from 'vitest'

export { scratchPlace } from './scratch.ts'

/** What the test run's global setup provides: a server, and on it a database with every migration applied. */
export type TestServer = { adminUrl: string; template: string }

declare module 'vitest' {
  interface ProvidedContext {
    testServer: TestServer
  }
}

export type TestDatabase = {
  url: string
  /** One statement on a connection of its own: for looking behind the curtain. */
  query: (sql: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>
  /** Also closes whatever is still connected to it. */
  drop: () => Promise<void>
}

/**
 * A migrated database of its own for one test file, in a few dozen milliseconds. What is not dropped by the test goes
 * with the test run.
 */
export async function createTestDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const { adminUrl, template } = inject('testServer')
  const name = `${template}_${randomBytes(6).toString('hex')}`
  await createDatabase(adminUrl, name, options.empty ? 'template0' : template)
  const url = urlOf(adminUrl, name)
  return {
    url,
    query: (sql, values) => queryOnce(url, sql, values),
    drop: () => dropDatabase(adminUrl, name),
  }
}

export async function createDatabase(adminUrl: string, name: string, template: string): Promise<void> {
  // Measured, fsync off: in memory 15 ms by file copy and 25 ms through the log; on a disk 110 ms either way.
  const sql = `CREATE DATABASE "${name}" TEMPLATE "${template}" STRATEGY file_copy`
  for (let attempt = 1; ; attempt++) {
    try {
      return await asAdmin(adminUrl, sql)
    } catch (error) {
      // Somebody is connected to the template, if only autovacuum.
      const inUse = error instanceof pg.DatabaseError && error.code === '55006'
      if (!inUse || attempt === 10) throw error
      await sleep(100 * attempt)
    }
  }
}

export async function dropDatabase(adminUrl: string, name: string): Promise<void> {
  await asAdmin(adminUrl, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`)
}

export function urlOf(adminUrl: string, database: string): string {
  const url = new URL(adminUrl)
  url.pathname = `/${database}`
  return url.href
}

async function asAdmin(adminUrl: string, sql: string): Promise<void> {
  await queryOnce(adminUrl, sql)
}

async function queryOnce(
  url: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql, [...values])
    return rows
  } finally {
    await client.end()
  }
}
