import { randomBytes } from 'node:crypto'
import { createDatabase, dropDatabase, urlOf } from '@backstitch/local-postgres/testing'
import { migrate } from '@backstitch/store'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { startServer } from './server.ts'

/** Vitest's global setup: one server and one migrated template for the whole run; test files clone the template. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer()
  const template = `backstitch_test_${randomBytes(4).toString('hex')}`
  const teardown = async () => {
    try {
      await dropAll(server.url, template)
    } finally {
      await server.stop()
    }
  }
  try {
    await createDatabase(server.url, template, 'template0')
    await migrate(urlOf(server.url, template))
  } catch (error) {
    await teardown()
    throw error
  }
  project.provide('testServer', { adminUrl: server.url, template })
  return teardown
}

/** The template and every clone of it, also those of tests that died before their own drop. */
async function dropAll(adminUrl: string, template: string): Promise<void> {
  const client = new pg.Client(adminUrl)
  await client.connect()
  const ours = 'SELECT datname FROM pg_database WHERE starts_with(datname, $1)'
  const { rows } = await client.query<{ datname: string }>(ours, [template])
  await client.end()
  for (const { datname } of rows) await dropDatabase(adminUrl, datname)
}
