import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createTestDatabase, type TestDatabase } from '@backstitch/local-postgres/testing'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'

/** The demo as it is, on a database of this test. */

const program = fileURLToPath(import.meta.resolve('./main.ts'))
let database: TestDatabase
let running: ChildProcessWithoutNullStreams | undefined

beforeAll(async () => {
  database = await createTestDatabase()
})

afterAll(async () => {
  await database.drop()
})

afterEach(() => {
  running?.kill('SIGKILL')
})

function demo(...args: string[]) {
  const env = {
    ...process.env,
    DATABASE_URL: database.url,
    HOST: '127.0.0.1',
    PORT: '0',
    SLOW_CARRIER_MS: '1500',
  }
  const child = spawn(process.execPath, [program, 'demo', ...args], { env })
  running = child
  const said = { text: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (said.text += chunk.toString('utf8')))
  }
  return { child, said, ended: once(child, 'close') }
}

/** Those it has named that are still there. */
function alive(text: string): number[] {
  const pids = [...text.matchAll(/process (\d+)/g)].map(([, pid]) => Number(pid))
  expect(pids.length).toBeGreaterThan(0)
  return pids.filter((pid) => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  })
}

test('--once tells three stories that end as they should, and leaves nothing running', async () => {
  const { said, ended } = demo('--once')
  const [status] = await ended
  expect(said.text).toMatch(/✓ Completed in .*✓ Failed and clean in .*✓ Completed in/s)
  expect(said.text).not.toContain('This did not end')
  expect(said.text).not.toContain('\x1b')
  expect(status).toBe(0)
  expect(alive(said.text)).toEqual([])
})

test('trip --once tells of all that a definition can say', async () => {
  const { said, ended } = demo('trip', '--once')
  const [status] = await ended
  expect(said.text).toMatch(
    /✓ Completed in .*✓ Failed and clean in .*✓ Cancelled and clean in .*✓ Failed and clean in .*✓ Completed in/s,
  )
  expect(said.text).not.toContain('This did not end')
  expect(status).toBe(0)
  expect(alive(said.text)).toEqual([])
})

test('stays up, brings back a worker that dies, and stops on Ctrl-C', async () => {
  const { child, said, ended } = demo()
  await expect.poll(() => said.text, { timeout: 60_000 }).toContain('Ctrl-C stops everything.')
  const victim = Number(/kill -9 (\d+)/.exec(said.text)?.[1])
  process.kill(victim, 'SIGKILL')
  await expect
    .poll(() => said.text, { timeout: 60_000 })
    .toMatch(/worker 1 was killed by SIGKILL.*worker 1 is back/s)
  child.kill('SIGINT')
  expect(await ended).toEqual([0, null])
  expect(alive(said.text)).toEqual([])
})

test('leaves nothing running after SIGKILL, in the middle of it all', async () => {
  const { child, said, ended } = demo()
  await expect.poll(() => said.text, { timeout: 60_000 }).toContain('in the middle of shipOrder')
  child.kill('SIGKILL')
  await ended
  await expect.poll(() => alive(said.text), { timeout: 60_000 }).toEqual([])
})
