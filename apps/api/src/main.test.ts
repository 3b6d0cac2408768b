import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { readConfig } from './config.ts'

const database = await createTestDatabase()
afterAll(() => database.drop())
const program = fileURLToPath(new URL('main.ts', import.meta.url))

type Process = {
  child: ChildProcess
  output: () => string
  ended: Promise<number | string>
  url: Promise<string>
}

function run(env: Record<string, string> = {}): Process {
  const given = { PATH: process.env.PATH, DATABASE_URL: database.url, PORT: '0', ...env }
  const child = spawn(process.execPath, [program], { env: given, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      output += String(chunk)
    })
  }
  // Not the child's own `close`, which does not come once the channel between us has been closed.
  const closed = [child.stdout, child.stderr].map((stream) => stream && once(stream, 'close'))
  const ended = Promise.all([once(child, 'exit'), ...closed]).then(([[code, signal]]) => code ?? signal)
  const url = once(child, 'message').then(([message]) => {
    expect(message).toEqual({ type: 'ready', url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) })
    return String(message.url)
  })
  url.catch(() => undefined)
  return { child, output: () => output, ended, url }
}

async function post(url: string, body: unknown): Promise<Record<string, unknown>> {
  const reply = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return Object(await reply.json())
}

/** It listens before it has reached its database, and answers 503 until then. */
async function startOne(url: string): Promise<string> {
  const definition = { name: 'd', steps: [{ name: 'one', action: { type: 'handler' } }] }
  const register = () => post(`${url}/v1/definitions`, definition)
  await expect.poll(register, { timeout: 60_000 }).toMatchObject({ version: 1 })
  return String((await post(`${url}/v1/sagas`, { definition: 'd' })).sagaId)
}

describe('the process', () => {
  test('says when it listens, serves, and on SIGTERM answers who waits and ends with 0', async () => {
    const { child, url: listening, ended, output } = run()
    const url = await listening
    const sagaId = await startOne(url)
    const waiting = fetch(`${url}/v1/sagas/${sagaId}/wait?timeoutMs=60000`).then((reply) => reply.json())
    await expect.poll(async () => (await fetch(`${url}/metrics`)).text()).toMatch(/^backstitch_waiters 1$/m)
    child.kill('SIGTERM')
    expect(await waiting).toMatchObject({ sagaId, status: 'running' })
    expect(await ended).toBe(0)
    const lines = output()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 30, app: 'api', msg: `listening at ${url}` }),
    )
    expect(lines).toContainEqual(expect.objectContaining({ msg: 'stopping', why: 'SIGTERM' }))
    // Whether the dashboard has been built is no matter here.
    const worse = lines.filter(({ level, msg }) => level > 30 && !String(msg).includes('dashboard'))
    expect(worse).toEqual([])
  })

  test('ends in the same way when its supervisor is gone', async () => {
    const { child, url, ended } = run({ LOG_LEVEL: 'silent' })
    await url
    child.disconnect()
    expect(await ended).toBe(0)
  })

  test('ends at once on a second signal', async () => {
    const { child, url: listening, ended, output } = run()
    const url = await listening
    // A body that never arrives keeps the first stop waiting.
    const stuck = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{')),
    })
    const upload = {
      method: 'POST',
      body: stuck,
      duplex: 'half' as const,
      headers: { 'content-type': 'application/json' },
    }
    const posting = fetch(`${url}/v1/sagas`, upload).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 300))
    child.kill('SIGINT')
    await expect.poll(output).toContain('stopping')
    child.kill('SIGINT')
    expect(await ended).toBe(1)
    await posting
  })

  test('says in one sentence that its port is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.close()
    })
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? String(address.port) : ''
    const { ended, output } = run({ PORT: port, LOG_LEVEL: 'silent' })
    expect(await ended).toBe(1)
    expect(output()).toBe(
      `127.0.0.1:${port} is in use by another program; set PORT to a free port, or to 0 for any\n`,
    )
  })

  test('waits for a database that is not there, says so, is alive and not ready', async () => {
    const {
      child,
      url: listening,
      ended,
      output,
    } = run({ DATABASE_URL: 'postgres://nobody:hidden-password@127.0.0.1:1/none' })
    const url = await listening
    expect((await fetch(`${url}/livez`)).status).toBe(200)
    const ready = await fetch(`${url}/readyz`)
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ status: 'unavailable', checks: { database: 'unreachable' } })
    await expect
      .poll(() => output().match(/the database cannot be reached; trying again in/g)?.length)
      .toBeGreaterThan(1)
    expect(output()).not.toContain('hidden-password')
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
  })

  test('names everything that is wrong with its configuration at once', async () => {
    const { ended, output } = run({ DATABASE_URL: '', PORT: '99999', LOG_LEVEL: 'loud' })
    expect(await ended).toBe(1)
    const lines = output().trim().split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatch(/^DATABASE_URL must be set/)
    expect(lines[1]).toBe('PORT is not a port; write a number from 0 to 65535')
    expect(lines[2]).toMatch(/^LOG_LEVEL is not a log level/)
  })
})

describe('the configuration', () => {
  test('has defaults, and an empty variable is an absent one', () => {
    const DATABASE_URL = 'postgres://a/b'
    const config = {
      DATABASE_URL,
      HOST: '127.0.0.1',
      PORT: 8080,
      MAX_REQUESTS: 5_000,
      BASE_PATH: '',
      WEBHOOK_ALLOW: [],
      LOG_LEVEL: 'info',
    }
    expect(readConfig({ DATABASE_URL })).toEqual({ ok: true, config })
    expect(readConfig({ DATABASE_URL, HOST: '', PORT: '', LOG_LEVEL: '' })).toEqual({ ok: true, config })
    expect(readConfig({ DATABASE_URL, HOST: '0.0.0.0', PORT: '0' })).toMatchObject({
      config: { HOST: '0.0.0.0', PORT: 0 },
    })
  })

  test.each(['mysql://a/b', 'nonsense', 'postgres'])(
    'does not take %s for a database, and does not repeat it',
    (DATABASE_URL) => {
      const read = readConfig({ DATABASE_URL })
      expect(read.ok).toBe(false)
      expect(JSON.stringify(read)).not.toContain(DATABASE_URL === 'postgres' ? 'x-never' : DATABASE_URL)
    },
  )
})
