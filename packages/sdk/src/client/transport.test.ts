import { getEventListeners } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { BackstitchError } from '../errors.ts'
import { createClient } from './client.ts'
import { aSaga, fakeApi, json, problem, type Scripted } from './testing.ts'
import type { ClientOptions } from './transport.ts'

const { sagaId } = aSaga()

function clientOf(script: Scripted[], options: Partial<ClientOptions> = {}) {
  const api = fakeApi(...script)
  return { ...createClient({ url: 'http://api', fetch: api.fetch, ...options }), asked: api.asked }
}

describe('what is sent', () => {
  test.each([
    ['http://api:8080', 'http://api:8080/v1/sagas/x'],
    ['http://api/', 'http://api/v1/sagas/x'],
    ['https://intern.example/tools/backstitch', 'https://intern.example/tools/backstitch/v1/sagas/x'],
    ['https://intern.example/tools/backstitch//', 'https://intern.example/tools/backstitch/v1/sagas/x'],
  ])('goes below the address it was given, %s', async (url, expected) => {
    const { sagas, asked } = clientOf([json(aSaga())], { url })
    await sagas.get('x')
    expect(asked[0]?.url).toBe(expected)
  })

  test.each(['', 'api:8080', 'ftp://api', 'http://me:secret@api', 'http://api?x=1', 'http://api#x'])(
    'cannot go to %j',
    (url) => expect(() => createClient({ url })).toThrow(/createClient: ".*" is not the address of an API/),
  )

  test('cannot leave its place in the path', async () => {
    const { sagas, asked } = clientOf([json(aSaga())])
    await sagas.get('../a b?c#d/é')
    expect(asked[0]?.url).toBe('http://api/v1/sagas/..%2Fa%20b%3Fc%23d%2F%C3%A9')
    for (const id of ['', '.', '..']) await expect(sagas.get(id)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('has the headers of the client, of the call and of the request', async () => {
    let token = 0
    const headers = async () => ({ authorization: `Bearer ${++token}`, traceparent: 'of the client' })
    const { sagas, asked } = clientOf([problem(429, 'TOO_MANY_REQUESTS'), json(aSaga(), 202)], {
      headers,
      retry: { maxDelayMs: 1 },
    })
    await sagas.start('order', null, {
      idempotencyKey: 'k',
      headers: { traceparent: 'of the call', 'idempotency-key': 'of nobody' },
    })
    expect(asked.map(({ headers }) => headers.get('authorization'))).toEqual(['Bearer 1', 'Bearer 2'])
    expect(Object.fromEntries(asked[1]?.headers ?? [])).toMatchObject({
      accept: 'application/json, application/problem+json',
      'content-type': 'application/json',
      'idempotency-key': 'k',
      traceparent: 'of the call',
    })
  })
})

describe('what is answered', () => {
  test('is decoded: what the contract does not know is left out, what it misses is an error', async () => {
    const { sagas } = clientOf([
      json({ ...aSaga(), addedLater: true }),
      json({ ...aSaga(), status: 'resting' }),
    ])
    expect(await sagas.get(sagaId)).toEqual(aSaga())
    await expect(sagas.get(sagaId)).rejects.toMatchObject({
      code: 'UNEXPECTED_RESPONSE',
      status: 200,
      errors: [{ pointer: '/status', detail: expect.any(String) }],
      detail: expect.stringContaining('does not fit the contract'),
    })
  })

  test('is the problem the server tells', async () => {
    const errors = [{ pointer: '/steps/0/name', detail: 'a name starts with a letter' }]
    const { sagas, definitions } = clientOf([
      problem(409, 'ALREADY_ENDED', { detail: 'the saga is completed', sagaStatus: 'completed' }),
      problem(422, 'INVALID_DEFINITION', { errors }),
      problem(418, 'ADDED_LATER'),
    ])
    const late = await sagas.cancel(sagaId, { reason: 'changed my mind' }).catch((error: unknown) => error)
    expect(late).toBeInstanceOf(BackstitchError)
    expect(late).toMatchObject({
      name: 'BackstitchError',
      message: 'ALREADY_ENDED: the saga is completed',
      code: 'ALREADY_ENDED',
      status: 409,
      detail: 'the saga is completed',
      requestId: 'req-1',
      sagaStatus: 'completed',
      errors: [],
    })
    await expect(definitions.register({ name: '1' })).rejects.toMatchObject({
      message: 'INVALID_DEFINITION: what was found (/steps/0/name: a name starts with a letter)',
      errors,
    })
    await expect(sagas.get(sagaId)).rejects.toMatchObject({ code: 'ADDED_LATER', status: 418 })
  })

  test.each([
    [
      'a page of a proxy',
      () => new Response('<h1>Forbidden</h1>', { status: 403 }),
      /is not the answer of a Backstitch API.*<h1>/,
    ],
    ['nothing', () => new Response('', { status: 500 }), /with status 500, is not the answer/],
    ['text', () => new Response('fine', { status: 200 }), /does not fit the contract/],
    [
      'a redirection',
      () => new Response(null, { status: 301, headers: { location: 'https://api/' } }),
      /sends elsewhere, to https:\/\/api\/; if that is the API, give its address as url/,
    ],
  ])('may be %s', async (_, answer, message) => {
    const { sagas } = clientOf([answer()])
    await expect(sagas.get(sagaId)).rejects.toMatchObject({
      code: 'UNEXPECTED_RESPONSE',
      message: expect.stringMatching(message),
    })
  })
})

describe('what goes out again', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    vi.spyOn(Math, 'random').mockReturnValue(0.5)
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.restoreAllMocks()
  })

  const lost = () => new TypeError('fetch failed', { cause: new Error('socket hang up') })

  /** How long it took, by the fake clock, until the call ended. */
  async function timed<T>(call: Promise<T>): Promise<{ ms: number; value?: T; error?: unknown }> {
    const from = Date.now()
    const ended = call.then(
      (value) => ({ ms: Date.now() - from, value }),
      (error: unknown) => ({ ms: Date.now() - from, error }),
    )
    await vi.runAllTimersAsync()
    return ended
  }

  test('is whatever changes nothing twice: ever more patiently', async () => {
    const { sagas, asked } = clientOf([
      lost(),
      problem(503, 'UNAVAILABLE'),
      new Response('', { status: 502 }),
      json(aSaga()),
    ])
    const { ms, value } = await timed(sagas.get(sagaId))
    expect(value).toEqual(aSaga())
    expect(asked).toHaveLength(4)
    expect(ms).toBe(100 + 200 + 400)
  })

  test.each([408, 502, 503, 504])('is asked again after %i, whoever answered it', async (status) => {
    const { sagas } = clientOf([problem(status, 'SOMETHING'), new Response('', { status }), json(aSaga())])
    expect((await timed(sagas.get(sagaId))).value).toEqual(aSaga())
  })

  test('is a start, under the same key and with the same words', async () => {
    const { sagas, asked } = clientOf([lost(), new Response('', { status: 504 }), json(aSaga(), 202)])
    await timed(sagas.start('order', { a: 1 }, { tags: { shop: 'b' } }))
    const [first, ...again] = asked
    expect(first?.headers.get('idempotency-key')).toMatch(/^[0-9a-f-]{36}$/)
    for (const one of again) {
      expect(one.headers.get('idempotency-key')).toBe(first?.headers.get('idempotency-key'))
      expect(one.body).toEqual(first?.body)
    }
  })

  test("is not an operator's verb, unless it was turned away", async () => {
    const { sagas, asked } = clientOf([
      lost(),
      problem(503, 'UNAVAILABLE'),
      problem(429, 'TOO_MANY_REQUESTS'),
      json({ accepted: true, sagaId, status: 'stuck', version: 3 }, 202),
    ])
    expect((await timed(sagas.skip(sagaId, { reason: 'r' }))).error).toMatchObject({ code: 'NETWORK_ERROR' })
    expect((await timed(sagas.skip(sagaId, { reason: 'r' }))).error).toMatchObject({ code: 'UNAVAILABLE' })
    expect((await timed(sagas.skip(sagaId, { reason: 'r' }))).value).toMatchObject({ accepted: true })
    expect(asked).toHaveLength(4)
  })

  test('is nothing that was answered otherwise', async () => {
    for (const status of [400, 404, 409, 422, 500]) {
      const { sagas, asked } = clientOf([problem(status, 'SOMETHING')])
      expect((await timed(sagas.get(sagaId))).error).toMatchObject({ status })
      expect(asked).toHaveLength(1)
    }
  })

  test('waits as long as the server asks', async () => {
    const seconds = clientOf([problem(429, 'TOO_MANY_REQUESTS', {}, { 'retry-after': '7' }), json(aSaga())])
    expect((await timed(seconds.sagas.get(sagaId))).ms).toBe(7000)

    vi.setSystemTime('2026-01-02T00:00:00Z')
    const date = clientOf([
      problem(503, 'UNAVAILABLE', {}, { 'retry-after': 'Fri, 02 Jan 2026 00:00:03 GMT' }),
      json(aSaga()),
    ])
    expect((await timed(date.sagas.get(sagaId))).ms).toBe(3000)
  })

  test('does not wait longer than a back-off may be: the caller is told', async () => {
    const { sagas, asked } = clientOf([problem(429, 'TOO_MANY_REQUESTS', {}, { 'retry-after': '3600' })])
    const { ms, error } = await timed(sagas.get(sagaId))
    expect(error).toMatchObject({ code: 'TOO_MANY_REQUESTS', retryAfterMs: 3_600_000 })
    expect(ms).toBe(0)
    expect(asked).toHaveLength(1)
  })

  test('goes out no more often than was allowed', async () => {
    const four = clientOf([lost(), lost(), lost(), lost()])
    expect((await timed(four.sagas.get(sagaId))).error).toMatchObject({
      code: 'NETWORK_ERROR',
      status: undefined,
      message: expect.stringMatching(
        /cannot be reached, or has hung up: TypeError: fetch failed: socket hang up$/,
      ),
    })
    expect(four.asked).toHaveLength(4)
    const once = clientOf([lost()], { retry: { maxAttempts: 1 } })
    expect((await timed(once.sagas.get(sagaId))).error).toMatchObject({ code: 'NETWORK_ERROR' })
  })

  test('stops with the caller', async () => {
    const caller = new AbortController()
    const { sagas, asked } = clientOf([lost()])
    const call = sagas.get(sagaId, { signal: caller.signal })
    await vi.advanceTimersByTimeAsync(50)
    caller.abort(new Error('no longer wanted'))
    await expect(call).rejects.toThrow('no longer wanted')
    await expect(sagas.get(sagaId, { signal: caller.signal })).rejects.toThrow('no longer wanted')
    expect(asked).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('leaves nothing behind on a signal that outlives it', async () => {
    const { signal } = new AbortController()
    const { sagas } = clientOf([lost(), lost(), json(aSaga())])
    expect((await timed(sagas.get(sagaId, { signal }))).value).toEqual(aSaga())
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })
})

describe('over the network', () => {
  let server: Server
  let url: string
  let answer: (request: IncomingMessage, response: ServerResponse) => unknown

  beforeEach(async () => {
    server = createServer((request, response) => void answer(request, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    url = `http://127.0.0.1:${port}`
  })
  afterEach(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  test('a start arrives as it was meant', async () => {
    let received: unknown
    answer = async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      const { 'idempotency-key': key, 'content-type': type } = request.headers
      received = { url: request.url, key, type, body: JSON.parse(Buffer.concat(chunks).toString()) }
      response.writeHead(202, { 'content-type': 'application/json' }).end(JSON.stringify(aSaga()))
    }
    const { sagas } = createClient({ url: `${url}/prefix` })
    expect(await sagas.start('order', { orderId: 'ö' }, { sagaKey: 'o-1', waitMs: 5 })).toEqual(aSaga())
    expect(received).toEqual({
      url: '/prefix/v1/sagas?waitMs=5',
      key: undefined,
      type: 'application/json',
      body: { definition: 'order', input: { orderId: 'ö' }, sagaKey: 'o-1' },
    })
  })

  test('a reply that breaks off is lost, and asked for again', async () => {
    let times = 0
    answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 10_000 })
      if (++times === 1) response.write('{"sagaId":', () => response.destroy())
      else response.destroy()
    }
    const { sagas } = createClient({ url, retry: { maxAttempts: 2, maxDelayMs: 1 } })
    await expect(sagas.get(sagaId)).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
    expect(times).toBe(2)
  })

  test('silence ends with the time-out, before the answer begins and in the middle of it', async () => {
    const { sagas } = createClient({ url, timeoutMs: 30, retry: { maxAttempts: 1 } })
    answer = () => {}
    await expect(sagas.get(sagaId)).rejects.toMatchObject({
      code: 'TIMED_OUT',
      detail: expect.stringContaining('30 ms'),
    })
    answer = (_, response) => void response.writeHead(200, { 'content-length': 10 }).write('{')
    await expect(sagas.get(sagaId)).rejects.toMatchObject({ code: 'TIMED_OUT' })
    await expect(sagas.get(sagaId, { timeoutMs: 10 })).rejects.toMatchObject({
      detail: expect.stringContaining('10 ms'),
    })
  })

  test('a wait that the server holds back is not silence', async () => {
    answer = (_, response) => {
      setTimeout(() => response.end(JSON.stringify(aSaga({ status: 'completed' }))), 60)
    }
    const { sagas } = createClient({ url, timeoutMs: 30, retry: { maxAttempts: 1 } })
    expect(await sagas.start('order', null, { waitMs: 1000 })).toMatchObject({ status: 'completed' })
    expect(await sagas.wait(sagaId, { timeoutMs: 1000 })).toMatchObject({ status: 'completed' })
  })

  test('the caller can hang up', async () => {
    const arrived = Promise.withResolvers<void>()
    answer = () => arrived.resolve()
    const caller = new AbortController()
    const call = createClient({ url }).sagas.get(sagaId, { signal: caller.signal })
    await arrived.promise
    caller.abort(new Error('no longer wanted'))
    await expect(call).rejects.toThrow('no longer wanted')
  })

  test('nobody there is said so', async () => {
    const { sagas } = createClient({ url: 'http://127.0.0.1:1', retry: { maxAttempts: 1 } })
    await expect(sagas.get(sagaId)).rejects.toMatchObject({
      code: 'NETWORK_ERROR',
      message: expect.stringContaining('http://127.0.0.1:1/v1/sagas/'),
      cause: expect.any(Error),
    })
  })

  test('a redirection is not followed: it could turn a start into a question', async () => {
    answer = (_, response) => void response.writeHead(302, { location: `${url}/elsewhere` }).end()
    await expect(createClient({ url }).sagas.start('order', null)).rejects.toMatchObject({
      code: 'UNEXPECTED_RESPONSE',
      status: 302,
    })
  })
})
