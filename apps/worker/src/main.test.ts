import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { expect, onTestFinished, test } from 'vitest'

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url))

function startWorker(environment: Record<string, string>) {
  const child = spawn(process.execPath, [MAIN], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += String(chunk)
  })
  child.stderr?.on('data', (chunk) => {
    output += String(chunk)
  })
  return { child, output: () => output, exited: once(child, 'exit').then(([status]) => Number(status)) }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

test('a worker says that it is ready, shows its health and its metrics, and stops when its supervisor is gone', async () => {
  const database = await createTestDatabase()
  onTestFinished(database.drop)
  const port = await freePort()
  const worker = startWorker({ DATABASE_URL: database.url, HEALTH_PORT: String(port) })
  const [message] = await once(worker.child, 'message')
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`)

  expect(message).toMatchObject({ type: 'ready', workerId: expect.any(String) })
  expect(await (await get('/livez')).json()).toEqual({ status: 'ok' })
  expect(await (await get('/readyz')).json()).toEqual({
    status: 'ok',
    checks: { database: 'ok', migrations: 'ok' },
  })
  expect(await (await get('/metrics')).text()).toContain('backstitch_sagas_held 0')
  expect((await get('/')).status).toBe(404)

  worker.child.disconnect()
  expect(await worker.exited).toBe(0)
})

test('a wrong configuration is told in full and ends the process with 1', async () => {
  const worker = startWorker({ LEASE_MS: 'short' })

  expect(await worker.exited).toBe(1)
  await expect.poll(worker.output).toMatch(/DATABASE_URL: .*\nLEASE_MS: /)
})

test('a module without sagas is named', async () => {
  const worker = startWorker({
    DATABASE_URL: 'postgres://127.0.0.1:1/none',
    SAGAS: fileURLToPath(new URL('./config.ts', import.meta.url)),
  })

  expect(await worker.exited).toBe(1)
  await expect.poll(worker.output).toContain('config.ts, which should export `sagas`')
})

test('without a database it says so, keeps trying, and still stops when told', async () => {
  const worker = startWorker({ DATABASE_URL: `postgres://127.0.0.1:${await freePort()}/none` })
  await expect.poll(worker.output, { timeout: 10_000 }).toContain('cannot start yet')

  worker.child.kill('SIGTERM')
  expect(await worker.exited).toBe(0)
})
