import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createRawServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer as createTlsServer } from 'node:tls'
import { gzipSync } from 'node:zlib'

import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { createHttpCaller, type HttpCaller } from './http.ts'
import type { HttpCall } from './http-request.ts'

const MIB = 1024 * 1024
const JSON_TYPE = { 'content-type': 'application/json' }

describe('the request', () => {
  it('says what the attempt is, in its headers and its body', async () => {
    const seen = await whatArrives({}, { result: { id: 7 }, failure: { step: 'pay', reason: 'no money' } })
    expect(seen.method).toBe('POST')
    expect(seen.url).toBe('/reservations?day=1')
    expect(seen.headers).toMatchObject({
      'idempotency-key': 'saga-1:reserve:action:1',
      'saga-id': 'saga-1',
      'saga-definition': 'order@3',
      'saga-step': 'reserve',
      'saga-direction': 'action',
      'saga-attempt': '2',
      'correlation-id': 'corr-1',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      'content-type': 'application/json',
      accept: 'application/json',
      'user-agent': 'backstitch',
    })
    expect(seen.headers).not.toHaveProperty('accept-encoding')
    expect(JSON.parse(seen.body)).toEqual({
      sagaId: 'saga-1',
      step: 'reserve',
      direction: 'action',
      input: { orderId: 'o-1' },
      context: { input: { orderId: 'o-1' } },
      result: { id: 7 },
      failure: { step: 'pay', reason: 'no money' },
    })
  })

  it('leaves out a result and a failure there are none of', async () => {
    const seen = await whatArrives({})
    expect(Object.keys(JSON.parse(seen.body))).toEqual(['sagaId', 'step', 'direction', 'input', 'context'])
  })

  it('carries the body of the definition in place of the usual one', async () => {
    expect((await whatArrives({ body: { orderId: 'ö' } })).body).toBe('{"orderId":"ö"}')
    expect((await whatArrives({ body: null })).body).toBe('null')
  })

  it('has no body and no content-type as a GET', async () => {
    const seen = await whatArrives({ method: 'GET', body: { a: 1 } })
    expect(seen.body).toBe('')
    expect(seen.headers).not.toHaveProperty('content-type')
  })

  it.each(['PUT', 'PATCH', 'DELETE'] as const)('has a body as a %s', async (method) => {
    expect(await whatArrives({ method })).toMatchObject({ method, body: expect.stringContaining('saga-1') })
  })

  it('takes the headers of the definition, but not in place of its own', async () => {
    const headers = { 'X-Tenant': 'a', Accept: 'text/plain', 'USER-AGENT': 'shop', 'Saga-Id': 'forged' }
    const seen = await whatArrives({ headers })
    expect(seen.headers).toMatchObject({ 'x-tenant': 'a', accept: 'text/plain', 'user-agent': 'shop' })
    expect(seen.rawHeaders.filter((name) => name.toLowerCase() === 'saga-id')).toHaveLength(1)
    expect(seen.headers['saga-id']).toBe('saga-1')
  })

  it('leaves out a correlation id there is none of', async () => {
    const seen = await whatArrives({}, { correlationId: undefined })
    expect(seen.headers).not.toHaveProperty('correlation-id')
  })

  it.each([
    ['a\r\nx-evil: 1', 'a%0D%0Ax-evil:%201'],
    ['a\nb', 'a%0Ab'],
    ['nul\0', 'nul%00'],
    [' bestellung größe 🧵 ', '%20bestellung%20gr%C3%B6%C3%9Fe%20%F0%9F%A7%B5%20'],
    ['half \ud83e', 'half%20%EF%BF%BD'],
    ['100%/a"b;c=d', '100%/a"b;c=d'],
  ])('lets no correlation id begin a header of its own: %j', async (correlationId, expected) => {
    const seen = await whatArrives({}, { correlationId })
    expect(seen.headers['correlation-id']).toBe(expected)
    expect(seen.headers).not.toHaveProperty('x-evil')
  })

  it.each<[string, Partial<HttpCall>]>([
    ['a URL that is none', { url: 'inventory/reservations' }],
    ['another protocol', { url: 'file:///etc/passwd' }],
    ['a user name in the URL', { url: 'http://user:pass@127.0.0.1/' }],
    ['a line break in a header', { headers: { 'x-token': 'secret-1\r\nx-evil: 1' } }],
    ['a name no header may have', { headers: { 'x token': 'secret-1' } }],
    ['a header that belongs to the connection', { headers: { 'transfer-encoding': 'chunked' } }],
  ])('is rejected before anything is sent, having %s', async (_, action) => {
    const { caller, url, requests } = await serve((_request, response) => response.end())
    const end = await caller.call(act(url, action), ask())
    expect(end).toMatchObject({ outcome: 'rejected', error: { code: 'INVALID_REQUEST' } })
    expect(messageOf(end)).not.toContain('secret-1')
    expect(requests()).toBe(0)
  })
})

describe('a result', () => {
  it.each([200, 201, 202, 203, 206, 299])('succeeds with status %d', async (status) => {
    const { caller, url } = await answering(status, JSON_TYPE, '{"id":7}')
    const end = await caller.call(act(url), ask())
    expect(end).toEqual({ outcome: 'succeeded', result: { id: 7 }, resultBytes: 8 })
  })

  it.each([
    'application/json; charset=utf-8',
    'Application/JSON',
    'application/problem+json',
    'application/vnd.shop.v1+json;x=y',
    'text/json ; x=y',
  ])('is read from a body of type %s', async (type) => {
    const { caller, url } = await answering(200, { 'content-type': type }, ' { "a" : [ 1.0 ] } ')
    expect(await caller.call(act(url), ask())).toMatchObject({ result: { a: [1] }, resultBytes: 9 })
  })

  it.each([
    ['text/html', '<p>ok'],
    ['text/plain', '{"a":1}'],
    ['application/jsonl', '{}\n{}'],
    ['application/x-ndjson', '{}\n{}'],
  ])('is null from a body of type %s', async (type, body) => {
    const { caller, url } = await answering(200, { 'content-type': type }, body)
    expect(await caller.call(act(url), ask())).toEqual({
      outcome: 'succeeded',
      result: null,
      resultBytes: 4,
    })
  })

  it.each([200, 204, 205])('is null from an empty body with status %d', async (status) => {
    const { caller, url } = await answering(status, JSON_TYPE, '')
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'succeeded', result: null })
  })

  it('is read from a body without a type if it is JSON, and is null if not', async () => {
    const json = await answering(200, {}, '{"id":7}')
    expect(await json.caller.call(act(json.url), ask())).toMatchObject({ result: { id: 7 } })
    const text = await answering(200, {}, 'done')
    expect(await text.caller.call(act(text.url), ask())).toMatchObject({ outcome: 'succeeded', result: null })
    const bytes = await answering(200, {}, Buffer.from([0xff, 0xfe]))
    expect(await bytes.caller.call(act(bytes.url), ask())).toMatchObject({ result: null })
  })

  it('comes through unchanged, however it is cut into chunks', async () => {
    const value = { text: 'größe 🧵 "\\ \u0001', list: [1, -0.5, 1e21, null, true], __proto__x: {} }
    const bytes = Buffer.from(JSON.stringify(value))
    const { caller, url } = await serve(async (_request, response) => {
      response.writeHead(200, JSON_TYPE)
      for (const byte of bytes) {
        response.write(Buffer.of(byte))
        await sleep(0)
      }
      response.end()
    })
    expect(await caller.call(act(url), ask())).toEqual({
      outcome: 'succeeded',
      result: value,
      resultBytes: bytes.length,
    })
  })

  it('keeps __proto__ a key like any other (F63)', async () => {
    const { caller, url } = await answering(200, JSON_TYPE, '{"__proto__":{"polluted":true}}')
    const end = await caller.call(act(url), ask())
    expect(JSON.stringify(end.outcome === 'succeeded' && end.result)).toBe('{"__proto__":{"polluted":true}}')
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })

  it('may begin with a byte order mark', async () => {
    const { caller, url } = await answering(200, JSON_TYPE, '\ufeff{"a":1}')
    expect(await caller.call(act(url), ask())).toMatchObject({ result: { a: 1 } })
  })

  it.each<[string, string | Buffer, string]>([
    ['is not JSON', '{"a":', 'malformed JSON'],
    ['is 65 levels deep', '['.repeat(65) + ']'.repeat(65), '/0/0/0'],
    ['has a key twice', '{"a":{"b":1,"b":2}}', 'at /a/b: '],
    ['holds NUL', '{"a":["\\u0000"]}', 'at /a/0: '],
    ['holds NUL in a key', '{"\\u0000":1}', 'at /\ufffd: '],
    ['holds half a surrogate pair', '{"a":"\\ud83e"}', 'at /a: '],
    ['holds a number no double has', '{"a":12345678901234567890}', 'at /a: '],
    ['holds NaN', '{"a":NaN}', 'malformed JSON'],
    ['is not UTF-8', Buffer.from([0x22, 0xe9, 0x22]), 'not UTF-8'],
    ['is blank', ' \n', 'at the top: '],
  ])('that %s is uncertain, with the place', async (_, body, place) => {
    const { caller, url } = await answering(200, JSON_TYPE, body)
    const end = await caller.call(act(url), ask())
    expect(end).toMatchObject({ outcome: 'uncertain', error: { code: 'RESULT_NOT_ACCEPTABLE' } })
    expect(messageOf(end)).toContain(place)
    expectFitToStore(end)
  })

  it('of 64 levels is accepted (F64)', async () => {
    const { caller, url } = await answering(200, JSON_TYPE, '['.repeat(64) + ']'.repeat(64))
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'succeeded', resultBytes: 128 })
  })

  it('that comes compressed is uncertain', async () => {
    const headers = { ...JSON_TYPE, 'content-encoding': 'gzip' }
    const { caller, url } = await answering(200, headers, gzipSync('{"a":1}'))
    expect(await caller.call(act(url), ask())).toMatchObject({
      outcome: 'uncertain',
      error: { code: 'RESULT_NOT_ACCEPTABLE', message: expect.stringContaining('compressed') },
    })
  })

  it.each([{ 'content-encoding': 'identity' }, { 'content-encoding': '' }])(
    'encoded as %j is read',
    async (encoding) => {
      const { caller, url } = await answering(200, { ...JSON_TYPE, ...encoding }, '{"a":1}')
      expect(await caller.call(act(url), ask())).toMatchObject({ result: { a: 1 } })
    },
  )

  it.each(['with its length', 'in chunks'])('of 1 MiB exactly is accepted, sent %s', async (way) => {
    const body = `"${'x'.repeat(MIB - 2)}"`
    const headers = way === 'in chunks' ? JSON_TYPE : { ...JSON_TYPE, 'content-length': MIB }
    const { caller, url } = await answering(200, headers, body)
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'succeeded', resultBytes: MIB })
  })

  it.each(['with its length', 'in chunks'])('of one byte more is uncertain, sent %s', async (way) => {
    const body = `"${'x'.repeat(MIB - 1)}"`
    const headers = way === 'in chunks' ? JSON_TYPE : { ...JSON_TYPE, 'content-length': MIB + 1 }
    const { caller, url } = await answering(200, headers, body)
    expect(await caller.call(act(url), ask())).toMatchObject({
      outcome: 'uncertain',
      error: { code: 'RESULT_TOO_LARGE' },
    })
  })

  it('announced as too large is not waited for (F65)', async () => {
    const { caller, url, closed } = await serve((_request, response) => {
      response.writeHead(200, { ...JSON_TYPE, 'content-length': MIB + 1 }).flushHeaders()
    })
    expect(await caller.call(act(url), ask())).toMatchObject({ error: { code: 'RESULT_TOO_LARGE' } })
    await closed()
  })

  it('that is small as sent and large as stored is uncertain', async () => {
    const { caller, url } = await answering(200, JSON_TYPE, `[${'1e20,'.repeat(100_000)}0]`)
    expect(await caller.call(act(url), ask())).toMatchObject({ error: { code: 'RESULT_TOO_LARGE' } })
  })

  it('in a million chunks of a byte takes no more memory than in one', async () => {
    const { caller, url } = await serve(async (_request, response) => {
      response.socket?.write(
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
      )
      const some = `1\r\n7\r\n`.repeat(10_000)
      for (let sent = 0; sent < 1_000_000; sent += 10_000) {
        if (!response.socket?.write(some))
          await new Promise((resolve) => response.socket?.once('drain', resolve))
      }
      response.socket?.write('0\r\n\r\n')
    })
    const peak = watchMemory()
    const end = await caller.call(act(url), ask({ timeoutMs: 20_000 }))
    // One number of a million digits: read whole, then refused.
    expect(end).toMatchObject({ error: { code: 'RESULT_NOT_ACCEPTABLE' } })
    expect(peak()).toBeLessThan(100 * MIB)
  })
})

describe('an endless body', () => {
  it.each<[string, number, Record<string, string>, object]>([
    ['result', 200, JSON_TYPE, { outcome: 'uncertain', error: { code: 'RESULT_TOO_LARGE' } }],
    ['text', 200, { 'content-type': 'text/plain' }, { outcome: 'succeeded', result: null }],
    ['error', 500, JSON_TYPE, { outcome: 'uncertain', error: { code: 'HTTP_500' } }],
    ['refusal', 409, { 'content-type': 'text/plain' }, { outcome: 'rejected', error: { code: 'HTTP_409' } }],
    ['redirect', 302, {}, { outcome: 'rejected', error: { code: 'HTTP_REDIRECT' } }],
  ])('of a %s is cut off, and not buffered', async (_, status, headers, expected) => {
    let sent = 0
    const { caller, url, closed } = await serve((_request, response) => {
      response.writeHead(status, headers)
      const block = Buffer.alloc(64 * 1024, 'x')
      const send = () => {
        for (let more = true; more && sent < 1024 * MIB && !response.destroyed; sent += block.length) {
          more = response.write(block)
        }
        response.once('drain', send)
      }
      send()
    })
    const peak = watchMemory()
    const end = await caller.call(act(url), ask())
    expect(end).toMatchObject(expected)
    await closed()
    expect(sent).toBeLessThan(32 * MIB)
    expect(peak()).toBeLessThan(100 * MIB)
    expectFitToStore(end)
  })
})

describe('a status', () => {
  it.each([
    [300, 'rejected', 'HTTP_REDIRECT'],
    [301, 'rejected', 'HTTP_REDIRECT'],
    [302, 'rejected', 'HTTP_REDIRECT'],
    [304, 'rejected', 'HTTP_REDIRECT'],
    [307, 'rejected', 'HTTP_REDIRECT'],
    [308, 'rejected', 'HTTP_REDIRECT'],
    [400, 'rejected', 'HTTP_400'],
    [401, 'rejected', 'HTTP_401'],
    [404, 'rejected', 'HTTP_404'],
    [408, 'uncertain', 'HTTP_408'],
    [409, 'rejected', 'HTTP_409'],
    [422, 'rejected', 'HTTP_422'],
    [425, 'failed', 'HTTP_425'],
    [429, 'failed', 'HTTP_429'],
    [499, 'rejected', 'HTTP_499'],
    [500, 'uncertain', 'HTTP_500'],
    [503, 'uncertain', 'HTTP_503'],
    [599, 'uncertain', 'HTTP_599'],
    [799, 'uncertain', 'HTTP_799'],
  ])('of %d means %s', async (status, outcome, code) => {
    const { caller, url } = await answering(status, {}, '')
    const end = await caller.call(act(url), ask())
    expect(end).toMatchObject({ outcome, error: { code } })
    expect(messageOf(end)).toContain(`the participant answered ${status}`)
  })

  it('of a redirect is not followed, and its place not told', async () => {
    const { caller, url, requests } = await answering(307, { location: '/elsewhere?token=secret' }, '')
    const end = await caller.call(act(url), ask())
    expect(end).toMatchObject({ outcome: 'rejected', error: { code: 'HTTP_REDIRECT' } })
    expect(messageOf(end)).toContain('redirects are not followed')
    expect(messageOf(end)).not.toContain('secret')
    expect(requests()).toBe(1)
  })

  it.each([
    [
      'problem details',
      '{"title":"Out of stock","detail":"no red thread left"}',
      'Out of stock: no red thread left',
    ],
    ['a detail', '{"detail":"no red thread left"}', 'no red thread left'],
    ['a title', '{"title":"Out of stock"}', 'Out of stock'],
    ['a message', '{"message":"no thread","code":7}', 'no thread'],
    ['an error with a message', '{"error":{"message":"no thread"}}', 'no thread'],
    ['an error', '{"error":"no thread"}', 'no thread'],
    ['a plain text', 'no\r\n\u001b[31m thread', 'no [31m thread'],
    ['other JSON', '{"reasons":["no thread"]}', '{"reasons":["no thread"]}'],
  ])('is explained by %s', async (_, body, expected) => {
    const { caller, url } = await answering(409, JSON_TYPE, body)
    const end = await caller.call(act(url), ask())
    expect(messageOf(end)).toBe(`the participant answered 409 Conflict: ${expected}`)
  })

  it.each<[string, Record<string, string>, string | Buffer]>([
    ['a page of HTML', { 'content-type': 'text/html' }, ' <!doctype html><h1>Conflict'],
    ['a compressed body', { 'content-encoding': 'gzip' }, gzipSync('no thread')],
    ['nothing', {}, ''],
  ])('is not explained by %s', async (_, headers, body) => {
    const { caller, url } = await answering(409, headers, body)
    expect(messageOf(await caller.call(act(url), ask()))).toBe('the participant answered 409 Conflict')
  })

  it.each<[string, string | Buffer, string]>([
    ['NUL', 'no\0thread', 'no\ufffdthread'],
    ['NUL in JSON', '{"message":"no\\u0000thread"}', 'no\ufffdthread'],
    ['half a surrogate pair', '{"message":"no\\ud83e thread"}', 'no\ufffd thread'],
    ['what is not UTF-8', Buffer.from([0x6e, 0x6f, 0xff]), 'no\ufffd'],
  ])('is explained in text fit to be stored, whatever it holds: %s', async (_, body, expected) => {
    const { caller, url } = await answering(500, JSON_TYPE, body)
    const end = await caller.call(act(url), ask())
    expect(messageOf(end)).toContain(expected)
    expectFitToStore(end)
  })

  it.each([
    ['🧵'.repeat(20_000)],
    [`a${'🧵'.repeat(20_000)}`],
    [`ab${'    🧵'.repeat(5000)}`],
    ['\0'.repeat(8192)],
    ['['.repeat(60_000)],
    [`{"message":"${'no '.repeat(30_000)}"}`],
  ])('is explained in at most 8 KiB, marked where it was cut (%#)', async (text) => {
    const { caller, url } = await answering(500, {}, text)
    const end = await caller.call(act(url), ask())
    expectFitToStore(end)
    expect(messageOf(end)).toMatch(/[^\ufffd]…|bytes more\)$/)
  })

  it('is explained without the headers that a participant may have echoed (F67)', async () => {
    const { caller, url } = await serve((request, response) => {
      response.writeHead(401)
      response.end(`not good: ${request.headers.authorization} and ${String(request.headers['x-api-key'])}`)
    })
    const headers = { authorization: 'Bearer eyJhbGciOi.abc', 'x-api-key': 'k-123456789' }
    expect(messageOf(await caller.call(act(url, { headers }), ask()))).toBe(
      'the participant answered 401 Unauthorized: not good: Bearer [redacted] and [redacted]',
    )
  })

  it('is kept when the connection is lost before the end of an explanation', async () => {
    const { caller, url } = await serveRaw(async (socket) => {
      socket.write('HTTP/1.1 409 Conflict\r\ncontent-length: 100\r\n\r\nno thr')
      await sleep(20)
      socket.resetAndDestroy()
    })
    expect(await caller.call(act(url), ask())).toMatchObject({
      outcome: 'rejected',
      error: { code: 'HTTP_409', message: expect.stringContaining('no thr') },
    })
  })

  it('is kept when the explanation takes too long', async () => {
    const { caller, url, closed } = await dripping(429, { 'retry-after': '2' })
    const end = await caller.call(act(url), ask({ timeoutMs: 1_000 }))
    expect(end).toMatchObject({ outcome: 'failed', error: { code: 'HTTP_429' }, retryAfterMs: 2000 })
    await closed()
  })

  it('after early hints is the one that counts', async () => {
    const { caller, url } = await serve((_request, response) => {
      response.writeProcessing()
      response.writeEarlyHints({ link: '</a>; rel=preload' })
      response.writeHead(200, JSON_TYPE).end('1')
    })
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'succeeded', result: 1 })
  })
})

describe('Retry-After', () => {
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT'

  it.each<[string, Record<string, string>, number | undefined]>([
    ['of seconds', { 'retry-after': '7' }, 7000],
    ['of none', { 'retry-after': '0' }, 0],
    ['of more than a day', { 'retry-after': '9'.repeat(400) }, 86_400_000],
    [
      'of a date, by the clock of the server',
      { 'retry-after': 'Sun, 06 Nov 1994 08:50:00 GMT', date },
      23_000,
    ],
    ['of a date gone by', { 'retry-after': 'Sun, 06 Nov 1994 08:00:00 GMT', date }, 0],
    ['of a date far away', { 'retry-after': 'Sun, 06 Nov 1995 08:00:00 GMT', date }, 86_400_000],
    ['of a date that is none', { 'retry-after': 'Sun, 99 Nov 1994 08:50:00 GMT', date }, undefined],
    ['of a fraction', { 'retry-after': '1.5' }, undefined],
    ['of a negative number', { 'retry-after': '-1' }, undefined],
    ['of words', { 'retry-after': 'in May' }, undefined],
    ['left out', {}, undefined],
  ])('%s is understood', async (_, headers, expected) => {
    for (const status of [429, 503]) {
      const { caller, url } = await answering(status, headers, '')
      const end = await caller.call(act(url), ask())
      expect('error' in end && end.retryAfterMs).toBe(expected)
    }
  })

  it('of a date is read by our clock where the server has told none', async () => {
    const { caller, url } = await serve((_request, response) => {
      response.sendDate = false
      response.writeHead(503, { 'retry-after': new Date(Date.now() + 60_000).toUTCString() }).end()
    })
    const end = await caller.call(act(url), ask())
    expect('error' in end && end.retryAfterMs).toBeGreaterThan(50_000)
    expect('error' in end && end.retryAfterMs).toBeLessThan(61_000)
  })

  it('means nothing in an answer that is not retried', async () => {
    const { caller, url } = await answering(404, { 'retry-after': '7' }, '')
    expect(await caller.call(act(url), ask())).not.toHaveProperty('retryAfterMs')
  })
})

describe('a time-out', () => {
  const hanging = () => serve(() => {})

  it.each<[string, () => Promise<Scene>]>([
    ['a server that never answers', hanging],
    ['headers that never end', () => serveRaw((socket) => socket.write('HTTP/1.1 200 OK\r\nx-a: 1'))],
    ['a body that drips', () => dripping(200, JSON_TYPE)],
    ['a body that drips to no announced end', () => dripping(200, { ...JSON_TYPE, connection: 'close' })],
    ['a text that drips', () => dripping(200, { 'content-type': 'text/plain' })],
    ['hints without end', () => serve((_, response) => every(5, () => response.writeProcessing()))],
  ])('ends %s: uncertain, and the connection closed', async (_, start) => {
    const { caller, url, closed, heard } = await start()
    const pass = byHand()
    const ends: AttemptEnd[] = []
    const calling = caller.call(act(url), ask({ timeoutMs: 80 })).then((end) => ends.push(end))
    await heard()
    // What begins or drips has begun by now.
    await sleep(50)
    await pass(79)
    expect(ends).toEqual([])
    await pass(1)
    await calling
    expect(ends).toMatchObject([{ outcome: 'uncertain', error: { code: 'TIMEOUT' } }])
    await closed()
  })

  it('does not end what is slow but in time', async () => {
    const { caller, url } = await serve(async (_request, response) => {
      await sleep(1200)
      response.writeHead(200, JSON_TYPE).write('[')
      await sleep(1200)
      response.end(']')
    })
    expect(await caller.call(act(url), ask({ timeoutMs: 10_000 }))).toMatchObject({ result: [] })
  })

  it('may be as long as a year', async () => {
    const { caller, url, heard } = await hanging()
    const pass = byHand()
    const day = 86_400_000
    const ends: AttemptEnd[] = []
    const calling = caller.call(act(url), ask({ timeoutMs: 366 * day })).then((end) => ends.push(end))
    await heard()
    await pass(366 * day - 1)
    expect(ends).toEqual([])
    await pass(1)
    await calling
    expect(ends).toMatchObject([{ outcome: 'uncertain', error: { code: 'TIMEOUT' } }])
  })

  it('before there is a connection is a failure: nothing was sent', async () => {
    // It takes the connection and never answers the greeting.
    const { caller, url } = https(await serveRaw(() => {}))
    const end = await caller.call(act(url), ask({ timeoutMs: 60 }))
    expect(end).toMatchObject({ outcome: 'failed', error: { code: 'CONNECT_TIMEOUT' } })
  })

  it('in the queue for a connection is a failure: nothing was sent, then or later', async () => {
    let release = () => {}
    const seen: (string | undefined)[] = []
    const { caller, url } = await serve(
      async (request, response) => {
        seen.push(request.headers['saga-id']?.toString())
        if (seen.length === 1) await new Promise<void>((resolve) => (release = resolve))
        response.end()
      },
      { connections: 1 },
    )
    const first = caller.call(act(url), ask({ sagaId: 'first' }))
    const second = await caller.call(act(url), ask({ sagaId: 'second', timeoutMs: 60 }))
    expect(second).toMatchObject({ outcome: 'failed', error: { code: 'CONNECT_TIMEOUT' } })
    const third = caller.call(act(url), ask({ sagaId: 'third' }))
    release()
    expect(await Promise.all([first, third])).toMatchObject([
      { outcome: 'succeeded' },
      { outcome: 'succeeded' },
    ])
    expect(seen).toEqual(['first', 'third'])
  })

  it('leaves no connection behind that a later call could use (F20)', async () => {
    let calls = 0
    const { caller, url, connections, heard } = await serve(
      async (_request, response) => {
        calls++
        if (calls === 1) await sleep(150)
        response.writeHead(200, JSON_TYPE).end(String(calls))
      },
      { connections: 1 },
    )
    const pass = byHand()
    const first = caller.call(act(url), ask({ timeoutMs: 60 }))
    await heard()
    await pass(60)
    expect(await first).toMatchObject({ error: { code: 'TIMEOUT' } })
    expect(await caller.call(act(url), ask())).toMatchObject({ result: 2 })
    await sleep(150)
    expect(await caller.call(act(url), ask())).toMatchObject({ result: 3 })
    expect(connections()).toBe(2)
  })
})

describe('an abort', () => {
  it.each<[string, () => Promise<Scene>]>([
    ['before the headers', () => serve(() => {})],
    ['in the body', () => dripping(200, JSON_TYPE)],
    ['in the explanation of an error', () => dripping(409, {})],
  ])('%s ends the call at once, and is uncertain', async (_, start) => {
    const { caller, url, closed } = await start()
    const control = new AbortController()
    const calling = caller.call(act(url), ask({ signal: control.signal }))
    await sleep(60)
    control.abort()
    expect(await calling).toMatchObject({ outcome: 'uncertain', error: { code: 'ABORTED' } })
    await closed()
  })

  it('before there is a connection ends the call at once as well', async () => {
    // It takes the connection and never answers the greeting.
    const { caller, url } = https(await serveRaw(() => {}))
    const end = await caller.call(act(url), ask({ signal: AbortSignal.timeout(60), timeoutMs: 5000 }))
    expect(end).toMatchObject({ outcome: 'uncertain', error: { code: 'ABORTED' } })
  })

  it('that came first keeps the request from being sent', async () => {
    const { caller, url, connections } = await serve((_request, response) => response.end())
    const end = await caller.call(act(url), ask({ signal: AbortSignal.abort() }))
    expect(end).toMatchObject({ outcome: 'uncertain', error: { code: 'ABORTED' } })
    expect(connections()).toBe(0)
  })

  it('after the end changes nothing', async () => {
    const { caller, url } = await answering(200, JSON_TYPE, '1')
    const control = new AbortController()
    expect(await caller.call(act(url), ask({ signal: control.signal }))).toMatchObject({ result: 1 })
    control.abort()
    expect(await caller.call(act(url), ask())).toMatchObject({ result: 1 })
  })

  it('is heard by a thousand calls on one signal, without a warning and leaving no listener and no timer (F93)', async () => {
    const warnings: string[] = []
    const note = (warning: Error) => warnings.push(warning.message)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const { caller, url } = await serve((_request, response) => response.end())
    const { signal, listeners } = countedSignal()
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
    const timersBefore = timers()
    const ends = await Promise.all(Array.from({ length: 1000 }, () => caller.call(act(url), ask({ signal }))))
    expect(ends.every((end) => end.outcome === 'succeeded')).toBe(true)
    expect(listeners()).toEqual({ added: 1000, removed: 1000 })
    // The connections have one each while they are idle.
    expect(timers() - timersBefore).toBeLessThan(300)
    await sleep(0)
    expect(warnings).toEqual([])
  })
})

describe('without a connection', () => {
  it('the call fails: refused', async () => {
    const scene = await serve(() => {})
    await scene.stop()
    expect(await scene.caller.call(act(scene.url), ask())).toMatchObject({
      outcome: 'failed',
      error: { code: 'CONNECTION_REFUSED' },
    })
  })

  it('the call fails: no such host', async () => {
    const end = await newCaller().call(act('http://nowhere.invalid/'), ask())
    expect(end).toMatchObject({ outcome: 'failed', error: { code: 'DNS' } })
  })

  it.each<[string, () => Promise<Scene>]>([
    [
      'a server that speaks no TLS',
      async () => https(await serveRaw((socket) => socket.end('HTTP/1.1 400 \r\n\r\n'))),
    ],
    [
      'a server that hangs up on the greeting',
      async () => https(await serveRaw((socket) => socket.destroy())),
    ],
    ['a server without a certificate', withoutCertificate],
  ])('the call fails: %s', async (_, start) => {
    const { caller, url } = await start()
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'failed', error: { code: 'TLS' } })
  })

  it('the next call fares better once the server is there', async () => {
    const scene = await serve((_request, response) => response.end())
    const { port } = new URL(scene.url)
    await scene.stop()
    expect(await scene.caller.call(act(scene.url), ask())).toMatchObject({ outcome: 'failed' })
    await serve((_request, response) => response.end(), {}, Number(port))
    expect(await scene.caller.call(act(scene.url), ask())).toMatchObject({ outcome: 'succeeded' })
  })
})

describe('a lost answer', () => {
  const whole = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'

  it.each<[string, string]>([
    ['before the headers', ''],
    ['in the status line', 'HTTP/1.1 20'],
    ['in the headers', 'HTTP/1.1 200 OK\r\ncontent-ty'],
    ['in the body', `${whole}content-length: 10\r\n\r\n{"a"`],
    ['in the body of a closing connection', `${whole}connection: close\r\ncontent-length: 10\r\n\r\n{"a"`],
    ['in a chunk', `${whole}transfer-encoding: chunked\r\n\r\n5\r\n{"a`],
    ['between chunks', `${whole}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n`],
    [
      'between chunks of a closing connection',
      `${whole}connection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n`,
    ],
  ])('%s is uncertain, whether reset or hung up', async (_, sent) => {
    for (const how of ['resetAndDestroy', 'end', 'destroy'] as const) {
      const { caller, url } = await serveRaw(async (socket) => {
        if (sent !== '') socket.write(sent)
        await sleep(20)
        socket[how]()
      })
      const end = await caller.call(act(url), ask())
      expect(end).toMatchObject({ outcome: 'uncertain', error: { code: 'CONNECTION_LOST' } })
      expectFitToStore(end)
    }
  })

  it('in a text is uncertain as well', async () => {
    const { caller, url } = await serveRaw(async (socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\ndone')
      await sleep(20)
      socket.destroy()
    })
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'uncertain' })
  })

  it('that was lost on a kept connection is uncertain, and not sent again', async () => {
    let requests = 0
    const { caller, url } = await serveRaw((socket) => {
      requests++
      if (requests === 1) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
      else socket.resetAndDestroy()
    })
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'succeeded' })
    expect(await caller.call(act(url, { method: 'GET' }), ask())).toMatchObject({
      outcome: 'uncertain',
      error: { code: 'CONNECTION_LOST' },
    })
    expect(requests).toBe(2)
  })

  it.each<[string, string]>([
    ['is no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['is HTTP of another age', 'ICY 200 OK\r\n\r\n'],
    ['has a header that is none', 'HTTP/1.1 200 OK\r\nx y\r\n\r\n'],
    ['has a NUL in a header', 'HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n'],
    ['has a chunk that is none', `${whole}transfer-encoding: chunked\r\n\r\nzz\r\n`],
    ['has headers without end', `${whole}${'x-a: bcdefghijklmnopqrst\r\n'.repeat(2000)}`],
    ['has a header without end', `${whole}x-a: ${'b'.repeat(40_000)}`],
    ['says to go on', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'],
    ['switches protocols', 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n'],
  ])('for it %s is uncertain', async (_, sent) => {
    const { caller, url, closed } = await serveRaw((socket) => socket.write(sent))
    const end = await caller.call(act(url), ask())
    expect(end).toMatchObject({ outcome: 'uncertain', error: { code: 'INVALID_RESPONSE' } })
    await closed()
    expectFitToStore(end)
  })

  it('of any kind whatever ends in an outcome', async () => {
    let sent = Buffer.alloc(0)
    const { caller, url } = await serveRaw((socket) => socket.end(sent))
    const piece = fc.oneof(
      fc.constantFrom(
        'HTTP/1.1 200 OK\r\n',
        'HTTP/1.1 503 \r\n',
        'HTTP/1.0 404 Not Found\r\n',
        'content-type: application/json\r\n',
        'content-length: 3\r\n',
        'transfer-encoding: chunked\r\n',
        'connection: close\r\n',
        'retry-after: 1\r\n',
        'content-encoding: gzip\r\n',
        '\r\n',
        '3\r\n"a"\r\n',
        '0\r\n\r\n',
        '{"message":"no"}',
      ),
      fc.string({ unit: 'binary', maxLength: 20 }),
      fc.uint8Array({ maxLength: 20 }),
    )
    const pieces = fc.tuple(fc.constantFrom('', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.1 500 \r\n'), fc.array(piece))
    await fc.assert(
      fc.asyncProperty(pieces, async ([start, rest]) => {
        sent = Buffer.concat([start, ...rest].map((some) => Buffer.from(some)))
        const end = await caller.call(act(url), ask({ timeoutMs: 500 }))
        expectFitToStore(end)
        expect(end.outcome).not.toBe('failed')
      }),
      { numRuns: 300 },
    )
  })
})

describe('connections', () => {
  it('are kept and used again', async () => {
    const { caller, url, connections } = await serve((_request, response) => response.end())
    for (let n = 0; n < 20; n++) await caller.call(act(url), ask())
    // Undici gives a connection a turn of the event loop to be closed by the server before it uses it again.
    expect(connections()).toBeLessThanOrEqual(2)
  })

  it('are used again after an error whose explanation is longer than what is quoted', async () => {
    const { caller, url, connections } = await answering(500, {}, 'x'.repeat(60_000))
    for (let n = 0; n < 10; n++) await caller.call(act(url), ask())
    expect(connections()).toBeLessThanOrEqual(2)
  })

  it('are closed by us when they have been idle for a while, before a server would', async () => {
    const { caller, url, closed } = await serve((_request, response) => {
      response.setHeader('keep-alive', 'timeout=60')
      response.end()
    })
    await caller.call(act(url), ask())
    const idleSince = performance.now()
    await closed()
    expect(performance.now() - idleSince).toBeGreaterThan(1000)
  })

  it('are as many as there are calls, up to a bound, and 200 calls at once all end well', async () => {
    for (const [options, expected] of [
      [{}, 128],
      [{ connections: 7 }, 7],
    ] as const) {
      const { caller, url, connections } = await serve(async (request, response) => {
        await sleep(10)
        response.writeHead(200, JSON_TYPE).end(JSON.stringify(request.headers['saga-id']))
      }, options)
      const ends = await Promise.all(
        Array.from({ length: 200 }, (_, n) => caller.call(act(url), ask({ sagaId: `saga-${n}` }))),
      )
      expect(ends.map((end) => end.outcome === 'succeeded' && end.result)).toEqual(
        Array.from({ length: 200 }, (_, n) => `saga-${n}`),
      )
      expect(connections()).toBe(expected)
    }
  })

  it('to one server do not wait for another', async () => {
    const slow = await serve(() => {}, { connections: 1 })
    const fast = await serve((_request, response) => response.end())
    const control = new AbortController()
    const waiting = slow.caller.call(act(slow.url), ask({ signal: control.signal, timeoutMs: 60_000 }))
    expect(await slow.caller.call(act(fast.url), ask())).toMatchObject({ outcome: 'succeeded' })
    control.abort()
    expect(await waiting).toMatchObject({ error: { code: 'ABORTED' } })
  })
})

describe('close', () => {
  it('waits for the calls under way, takes no more and leaves no connection', async () => {
    const { caller, url, closed } = await serve(async (_request, response) => {
      await sleep(80)
      response.writeHead(200, JSON_TYPE).end('1')
    })
    const calling = caller.call(act(url), ask())
    await sleep(20)
    const closing = caller.close()
    expect(await caller.call(act(url), ask())).toMatchObject({ outcome: 'failed', error: { code: 'CLOSED' } })
    await closing
    expect(await calling).toMatchObject({ outcome: 'succeeded', result: 1 })
    await closed()
  })

  it('waits no longer than the time-outs and aborts of the calls', async () => {
    const { caller, url, heard } = await serve(() => {}, { connections: 1 })
    const pass = byHand()
    const control = new AbortController()
    const calls = [
      caller.call(act(url), ask({ timeoutMs: 60 })),
      caller.call(act(url), ask({ timeoutMs: 50 })),
      caller.call(act(url), ask({ signal: control.signal })),
    ]
    const closing = caller.close()
    await heard()
    await pass(60)
    control.abort()
    await closing
    expect((await Promise.all(calls)).map((end) => end.outcome)).toEqual(['uncertain', 'failed', 'uncertain'])
  })

  it('may be called again, and without any call before', async () => {
    const caller = createHttpCaller()
    await Promise.all([caller.close(), caller.close()])
    expect(await caller.close()).toBeUndefined()
  })
})

// ── The scene ────────────────────────────────────────────────────────────────────────────────────────────────────

/** A server, a caller for it, and what the server has seen. */
type Scene = {
  caller: HttpCaller
  url: string
  /** Requests that reached an HTTP server. */
  requests: () => number
  connections: () => number
  /** Waits until the first request has reached the server, or the first bytes of one. */
  heard: () => Promise<void>
  /** Waits until the server has seen its first connection close. */
  closed: () => Promise<void>
  stop: () => Promise<void>
}

type Options = { connections?: number }
type Listener = (request: IncomingMessage, response: ServerResponse) => unknown

function newCaller(options?: Options): HttpCaller {
  const caller = createHttpCaller(options)
  onTestFinished(() => caller.close())
  return caller
}

async function listen(
  server: Pick<Server, 'listen' | 'on' | 'address' | 'close'>,
  options: Options,
  port = 0,
) {
  const sockets = new Set<Socket>()
  let connections = 0
  const firstClosed = new Promise<void>((resolve) => {
    server.on('connection', (socket: Socket) => {
      connections++
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        resolve()
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const stop = async () => {
    const stopped = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await stopped
  }
  onTestFinished(stop)
  const caller = newCaller(options)
  const closed = () => firstClosed
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/reservations?day=1`
  return { caller, url, closed, stop, connections: () => connections }
}

/** The listener is called when the request has been read. */
async function serve(listener: Listener, options: Options = {}, port = 0): Promise<Scene> {
  let requests = 0
  const heard = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    requests++
    heard.resolve()
    request.resume().on('end', () => void listener(request, response))
  })
  return { ...(await listen(server, options, port)), requests: () => requests, heard: () => heard.promise }
}

/** The listener is called with whatever has sent us something. */
async function serveRaw(listener: (socket: Socket) => unknown): Promise<Scene> {
  const heard = Promise.withResolvers<void>()
  const server = createRawServer((socket) =>
    socket.on('data', () => {
      heard.resolve()
      listener(socket)
    }),
  )
  const scene = await listen(server as unknown as Server, {})
  return { ...scene, requests: () => Number.NaN, heard: () => heard.promise }
}

/** From now on the time of our side passes when it is told to: what is raced against a timer has arrived before. */
function byHand(): (ms: number) => Promise<unknown> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  return (ms) => vi.advanceTimersByTimeAsync(ms)
}

function answering(
  status: number,
  headers: Record<string, string | number>,
  body: string | Buffer,
): Promise<Scene> {
  return serve((_request, response) => {
    response.writeHead(status, headers)
    response.write(body)
    response.end()
  })
}

/** A byte every 5 ms, for ever. */
function dripping(status: number, headers: Record<string, string>): Promise<Scene> {
  return serve((_request, response) => {
    response.writeHead(status, headers)
    every(5, () => response.write('['))
  })
}

function every(ms: number, act: () => void): void {
  const timer = setInterval(act, ms)
  onTestFinished(() => clearInterval(timer))
}

function https(scene: Scene): Scene {
  return { ...scene, url: scene.url.replace('http:', 'https:') }
}

async function withoutCertificate(): Promise<Scene> {
  const server = createTlsServer({}).on('tlsClientError', () => {})
  const scene = await listen(server as unknown as Server, {})
  return https({ ...scene, requests: () => Number.NaN, heard: () => new Promise(() => {}) })
}

async function whatArrives(action: Partial<HttpCall>, request: Partial<AttemptRequest> = {}) {
  const seen = { method: '', url: '', body: '', headers: {} as IncomingMessage['headers'], rawHeaders: [''] }
  const record = async (incoming: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '', headers, rawHeaders } = incoming
    const body = Buffer.concat(await incoming.toArray()).toString()
    Object.assign(seen, { method, url, headers, rawHeaders, body })
    response.end()
  }
  const server = createServer((incoming, response) => void record(incoming, response))
  const { caller, url } = await listen(server, {})
  expect(await caller.call(act(url, action), ask(request))).toMatchObject({ outcome: 'succeeded' })
  return seen
}

function act(url: string, action: Partial<HttpCall> = {}): HttpCall {
  return { method: 'POST', url, ...action }
}

function ask(request: Partial<AttemptRequest> = {}): AttemptRequest {
  return {
    sagaId: 'saga-1',
    definition: { name: 'order', version: 3 },
    step: 'reserve',
    direction: 'action',
    attempt: 2,
    idempotencyKey: 'saga-1:reserve:action:1',
    correlationId: 'corr-1',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    input: { orderId: 'o-1' },
    context: { input: { orderId: 'o-1' } },
    result: undefined,
    failure: undefined,
    callback: undefined,
    timeoutMs: 5000,
    signal: new AbortController().signal,
    ...request,
  }
}

function messageOf(end: AttemptEnd): string {
  return 'error' in end ? end.error.message : ''
}

/** What every end must be, whatever brought it about. */
function expectFitToStore(end: AttemptEnd): void {
  const message = messageOf(end)
  expect(Buffer.byteLength(message)).toBeLessThanOrEqual(8192)
  expect(message.isWellFormed() && !message.includes('\0')).toBe(true)
  expect(['succeeded', 'rejected', 'failed', 'uncertain']).toContain(end.outcome)
}

/** Returns how much more memory there has been at most than at the start. */
function watchMemory(): () => number {
  const used = () => process.memoryUsage().rss
  const start = used()
  let most = start
  every(5, () => {
    most = Math.max(most, used())
  })
  return () => Math.max(most, used()) - start
}

function countedSignal() {
  const { signal } = new AbortController()
  const counts = { added: 0, removed: 0 }
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    counts.added++
    add(...args)
  }
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    counts.removed++
    remove(...args)
  }
  return { signal, listeners: () => counts }
}
