import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { sql } from 'kysely'
import { expect, onTestFinished, test, vi } from 'vitest'
import { openDatabase, type PoolOptions } from './database.ts'
import { failureOf } from './failure.ts'
import { eventually } from './testing.ts'
import { createNetwork } from './testing-proxy.ts'

async function stage(options: Partial<PoolOptions> = {}) {
  const { url, query, drop } = await createTestDatabase({ empty: true })
  const network = await createNetwork(url)
  const errors: Error[] = []
  const onError = (error: Error) => errors.push(error)
  const database = openDatabase({
    databaseUrl: network.url,
    applicationName: 'test',
    max: 1,
    onError,
    ...options,
  })
  onTestFinished(async () => {
    await network.close()
    await database.destroy()
    await drop()
  })
  const ask = async () =>
    (await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(database)).rows[0]?.pid
  return { network, errors, query, ask }
}

test('a statement through a black hole fails in time, and leaves no connection behind that would hold up the next', async () => {
  const { network, ask } = await stage({ silenceMs: 100 })
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  await ask()
  network.goBlack()
  const asked = ask().catch(failureOf)
  await vi.advanceTimersByTimeAsync(100)
  expect(await asked).toBe('connection')
  network.heal()
  expect(await ask()).toBeTypeOf('number')
})

test('a session that is terminated while idle is a line in the log, and the next statement has another (F31)', async () => {
  const { errors, query, ask } = await stage()
  const pid = await ask()
  await query('SELECT pg_terminate_backend($1)', [pid])
  await eventually('somebody hears of it', () => errors[0])
  expect(await ask()).not.toBe(pid)
})

test('a statement that fails does not cost its connection', async () => {
  const { network, ask, ...rest } = await stage()
  const pid = await ask()
  expect(rest.errors).toEqual([])
  expect(await ask()).toBe(pid)
  expect(network.accepted).toBe(1)
})
