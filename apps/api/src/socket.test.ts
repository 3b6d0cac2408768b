import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { openStage, openStageForTest, type Stage } from './testing.ts'

/** What only a real socket can show. */

const stage = await openStage()
afterAll(() => stage.close())
const port = await listen(stage)

async function listen({ app }: Stage): Promise<number> {
  return Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port)
}

type Wire = { socket: Socket; received: () => string; closed: Promise<void>; answer: () => Promise<string> }

/** Sends bytes as they are and collects what comes back. */
function open(to: number, ...parts: (string | Buffer)[]): Wire {
  const socket = connect(to, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  socket.on('error', () => undefined)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  for (const part of parts) socket.write(part)
  return {
    socket,
    closed,
    received: () => text,
    async answer() {
      await expect.poll(() => text).toMatch(/\r\n\r\n./)
      return text
    },
  }
}

function post(path: string, body: string, headers = ''): string {
  return `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`
}

describe('what is not HTTP is answered with a problem and the end of the connection', () => {
  test.each<[string, string | Buffer, number, string]>([
    ['noise', 'hello?\r\n\r\n', 400, 'BAD_REQUEST'],
    ['TLS', Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), 400, 'BAD_REQUEST'],
    ['a header without a name', 'GET / HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n', 400, 'BAD_REQUEST'],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400, ''],
    ['NUL in a header', 'GET / HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n', 400, 'BAD_REQUEST'],
    [
      'two lengths',
      'POST /v1/sagas HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}',
      400,
      'BAD_REQUEST',
    ],
    [
      'a length and chunks',
      'POST /v1/sagas HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}',
      400,
      'BAD_REQUEST',
    ],
    [
      'a length that is none',
      'POST /v1/sagas HTTP/1.1\r\nhost: x\r\ncontent-length: two\r\n\r\n{}',
      400,
      'BAD_REQUEST',
    ],
    [
      'chunks that are none',
      'POST /v1/sagas HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
      400,
      'BAD_REQUEST',
    ],
    [
      'headers without end',
      `GET / HTTP/1.1\r\nhost: x\r\na: ${'b'.repeat(20_000)}\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE',
    ],
    [
      'a path without end',
      `GET /${'b'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE',
    ],
  ])('%s', async (_, bytes, status, code) => {
    const wire = open(port, bytes)
    await wire.closed
    expect(wire.received()).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    if (code !== '') {
      expect(wire.received()).toContain('Content-Type: application/problem+json')
      expect(JSON.parse(wire.received().split('\r\n\r\n')[1] ?? '')).toMatchObject({
        status,
        code,
        requestId: expect.any(String),
      })
    }
  })

  test('and the next connection is served', async () => {
    expect(await open(port, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n').answer()).toMatch(/^HTTP\/1.1 200 /)
  })
})

describe('a body', () => {
  test('larger than its route takes is refused, by its announced length and by its real one', async () => {
    const announced = open(
      port,
      'POST /v1/sagas HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n{',
    )
    expect(await announced.answer()).toMatch(/^HTTP\/1.1 413 [\s\S]*BODY_TOO_LARGE/)
    announced.socket.destroy()

    const chunk = `10000\r\n${' '.repeat(65_536)}\r\n`
    const endless = open(
      port,
      'POST /v1/sagas HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
    )
    for (let sent = 0; sent < 40; sent++) endless.socket.write(chunk)
    expect(await endless.answer()).toMatch(/^HTTP\/1.1 413 [\s\S]*BODY_TOO_LARGE/)
    endless.socket.destroy()
  })

  test('that is cut off in the middle gives its room back', async () => {
    const small = await openStageForTest({ limits: { maxBodyBytes: 100_000 } })
    const definition = await small.define()
    const smallPort = await listen(small)
    const large = post('/v1/sagas', JSON.stringify({ definition, input: 'x'.repeat(90_000) }))
    const start = () => small.ask('POST', '/v1/sagas', { body: { definition, input: 'y'.repeat(90_000) } })
    for (let times = 0; times < 3; times++) {
      const begun = once(small.app.server, 'request')
      const cut = open(smallPort, large.slice(0, 50_000))
      await begun
      expect((await start()).status).toBe(503)
      cut.socket.destroy()
      await expect.poll(async () => (await start()).status).toBe(202)
    }
  })
})

describe('a caller that goes away', () => {
  test('is no longer waited for', async () => {
    const sagaId = await stage.start(await stage.define())
    const gauge = async () =>
      Number(/^backstitch_waiters (\d+)$/m.exec((await stage.ask('GET', '/metrics')).text)?.[1])
    const wires = Array.from({ length: 5 }, () =>
      open(port, `GET /v1/sagas/${sagaId}/wait?timeoutMs=60000 HTTP/1.1\r\nhost: x\r\n\r\n`),
    )
    wires.push(
      open(port, post('/v1/sagas?waitMs=60000', JSON.stringify({ definition: await stage.define() }))),
    )
    await expect.poll(gauge).toBe(6)
    for (const { socket } of wires) socket.destroy()
    await expect.poll(gauge).toBe(0)
  })
})

describe('stopping', () => {
  test('answers whoever waits with what there is, takes nobody new, and ends', async () => {
    const stopping = await openStage()
    const definition = await stopping.define()
    const sagaId = await stopping.start(definition)
    const stoppingPort = await listen(stopping)
    const waiting = open(
      stoppingPort,
      `GET /v1/sagas/${sagaId}/wait?timeoutMs=60000 HTTP/1.1\r\nhost: x\r\n\r\n`,
    )
    const starting = open(stoppingPort, post('/v1/sagas?waitMs=60000', JSON.stringify({ definition })))
    const idle = open(stoppingPort, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n')
    await idle.answer()
    await expect
      .poll(async () => (await stopping.ask('GET', '/metrics')).text)
      .toMatch(/^backstitch_waiters 2$/m)

    const began = performance.now()
    await stopping.close()
    expect(performance.now() - began).toBeLessThan(15_000)
    await Promise.all([waiting.closed, starting.closed, idle.closed])
    expect(waiting.received()).toMatch(/^HTTP\/1.1 200 [\s\S]*"status":"running"/)
    expect(starting.received()).toMatch(/^HTTP\/1.1 202 [\s\S]*"status":"running"/)
    const late = open(stoppingPort, 'GET /livez HTTP/1.1\r\nhost: x\r\n\r\n')
    await late.closed
    expect(late.received()).toBe('')
  })
})
