import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
  const services = join(mkdtempSync(join(tmpdir(), 'backstitch-')), 'services.json')
  writeFileSync(services, '{"payments": {"baseUrl": "http://payments", "concurrency": 7}}')
  const worker = startWorker({ DATABASE_URL: database.url, HEALTH_PORT: String(port), SERVICES: services })
  const [message] = await once(worker.child, 'message')
  const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`)

  expect(message).toMatchObject({ type: 'ready', workerId: expect.any(String) })
  expect(await (await get('/livez')).json()).toEqual({ status: 'ok' })
  expect(await (await get('/readyz')).json()).toEqual({
    status: 'ok',
    checks: { database: 'ok', migrations: 'ok' },
  })
  const metrics = await (await get('/metrics')).text()
  expect(metrics).toContain('backstitch_sagas_held 0')
  expect(metrics).toContain('backstitch_service_limit{service="payments"} 7')
  expect(metrics).toContain('backstitch_service_breaker{service="payments"} 0')
  expect((await get('/')).status).toBe(404)

  worker.child.disconnect()
  expect(await worker.exited).toBe(0)
})

test('a wrong configuration is told in full and ends the process with 1', async () => {
  const worker = startWorker({ LEASE_MS: 'short' })

  expect(await worker.exited).toBe(1)
  await expect.poll(worker.output).toMatch(/DATABASE_URL: .*\nLEASE_MS: /)
})

test('the services come from a file; what is wrong with them is told in full, without a secret, and ends the process with 1', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'backstitch-')), 'services.json')
  writeFileSync(
    file,
    JSON.stringify({
      payments: {
        baseUrl: 'http://payments',
        headers: { authorization: { env: 'PAYMENTS_TOKEN' }, 'x-key': 'hunter22' },
        sign: { secret: { file: '/no/such/file' } },
      },
    }),
  )
  const worker = startWorker({ DATABASE_URL: 'postgres://127.0.0.1:1/none', SERVICES: file })

  expect(await worker.exited).toBe(1)
  await expect
    .poll(worker.output)
    .toBe(
      [
        'SERVICES: /payments/headers/authorization: the environment variable PAYMENTS_TOKEN is not set',
        'SERVICES: /payments/sign/secret: the file /no/such/file cannot be read (ENOENT)',
        '',
      ].join('\n'),
    )
})

test('a file of services that is not there is named', async () => {
  const worker = startWorker({ DATABASE_URL: 'postgres://127.0.0.1:1/none', SERVICES: '/no/such.json' })

  expect(await worker.exited).toBe(1)
  await expect.poll(worker.output).toContain('SERVICES: /no/such.json cannot be read')
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
  await expect.poll(worker.output, { timeout: 60_000 }).toContain('cannot start yet')

  worker.child.kill('SIGTERM')
  expect(await worker.exited).toBe(0)
})

test('a worker with API_PORT serves the API, and runs what is started there under the lease of its start', async () => {
  const database = await createTestDatabase()
  onTestFinished(database.drop)
  const participant = createHttpServer((_, response) => void response.end('{}')).listen(0, '127.0.0.1')
  onTestFinished(() => void participant.close())
  await once(participant, 'listening')
  const worker = startWorker({ DATABASE_URL: database.url, API_PORT: '0' })
  const [{ url }] = (await once(worker.child, 'message')) as [{ url: string }]
  const post = async (path: string, body: unknown) => {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  const address = participant.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const action = { type: 'http', url: `http://127.0.0.1:${port}/` }
  await post('/v1/definitions', { name: 'short', steps: ['one', 'two'].map((name) => ({ name, action })) })

  const { status, body } = await post('/v1/sagas?waitMs=10000', { definition: 'short' })

  expect({ status, body }).toMatchObject({
    status: 200,
    body: { status: 'completed', completedSteps: ['one', 'two'] },
  })
  expect(await database.query('SELECT epoch::int FROM sagas')).toEqual([{ epoch: 1 }])
  worker.child.kill('SIGTERM')
  expect(await worker.exited).toBe(0)
})

test('a worker that cannot serve the API says why and exits with 1', async () => {
  const database = await createTestDatabase()
  onTestFinished(database.drop)
  const taken = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void taken.close())
  await once(taken, 'listening')
  const address = taken.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const worker = startWorker({ DATABASE_URL: database.url, API_PORT: String(port) })

  expect(await worker.exited).toBe(1)
  await expect.poll(worker.output).toContain(`the API cannot be served at 127.0.0.1:${port}`)
  await expect.poll(worker.output).toContain('EADDRINUSE')
})
