import { createServer, type IncomingHttpHeaders } from 'node:http'
import { createWorker } from '@backstitch/engine'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { handleSagaCall, type SignedRequest, verifySignature } from '@backstitch/sdk/participant'
import { openApiStore } from '@backstitch/store'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'

/** What a worker signs, a participant verifies: the two halves live in two packages. */

const SECRET = 'the secret of this test'
const database = await createTestDatabase()
const store = await openApiStore({ databaseUrl: database.url })
type Came = SignedRequest & { headers: IncomingHttpHeaders }
const seen: Came[] = []
const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const { method = '', url: path = '', headers } = request
    seen.push({ method, path, headers, body: Buffer.concat(chunks) })
    response.writeHead(path === '/v2/lost' ? 500 : 200).end()
  })
})
await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
const address = server.address()
const port = typeof address === 'object' ? address?.port : 0
const worker = createWorker({
  databaseUrl: database.url,
  log: pino({ level: 'silent' }),
  services: { signed: { baseUrl: `http://127.0.0.1:${port}/v2`, sign: { secret: SECRET } } },
})
afterAll(async () => {
  await worker.stop(0)
  server.closeAllConnections()
  server.close()
  await store.close()
  await database.drop()
})

beforeAll(async () => {
  await worker.start()
  const call = (path: string, more: object = {}) => ({ type: 'http', service: 'signed', path, ...more })
  const definition = await store.definitions.register({
    name: 'signed',
    steps: [
      { name: 'post', action: call('/post?a=${{ input }}', { body: { ü: 'ö' } }) },
      { name: 'get', action: call('/get', { method: 'GET' }) },
      { name: 'lost', action: call('/lost', { probe: call('/probe') }), retry: { maxAttempts: 1 } },
    ],
  } as Parameters<typeof store.definitions.register>[0])
  await store.starts.start({ definition, input: 'x y', inputBytes: 5, requestHash: 'test' })
  await vi.waitFor(() => expect(seen).toHaveLength(4), { timeout: 60_000 })
})

const options = { secrets: [SECRET] }
const named = (path: string) => seen.find((request) => request.path.startsWith(`/v2/${path}`)) ?? seen[99]

function changed(
  request: Came | undefined,
  more: Partial<SignedRequest>,
  headers: Record<string, string | undefined> = {},
) {
  if (request === undefined) throw new Error('it has not come')
  return { ...request, ...more, headers: { ...request.headers, ...headers } }
}

describe('a request of a worker', () => {
  test.each(['post', 'get', 'lost', 'probe'])('is genuine: %s', (path) => {
    expect(verifySignature(changed(named(path), {}), options)).toEqual({ ok: true })
  })

  test('is genuine by any of several secrets, while one is being replaced', () => {
    expect(verifySignature(changed(named('post'), {}), { secrets: ['the new one', SECRET] })).toEqual({
      ok: true,
    })
    expect(verifySignature(changed(named('post'), {}), { secrets: ['the new one'] })).toMatchObject({
      ok: false,
    })
  })

  test.each<[string, Partial<SignedRequest>, Record<string, string | undefined>?]>([
    ['method', { method: 'PUT' }],
    ['path', { path: '/v2/refund?a=x%20y' }],
    ['query', { path: '/v2/post?a=z' }],
    ['body', { body: '{"ü":"o"}' }],
    ['body, left out', { body: '' }],
    ['key', {}, { 'idempotency-key': 'another' }],
    ['key, left out', {}, { 'idempotency-key': undefined }],
    ['key, made a probe of', {}, { 'idempotency-key': undefined, 'saga-probe': 'x' }],
    ['signature, left out', {}, { 'saga-signature': undefined }],
    ['signature, of another form', {}, { 'saga-signature': 'v1=00' }],
    ['signature, twice', {}, { 'saga-signature': `t=1,v1=${'0'.repeat(64)}, t=1,v1=${'0'.repeat(64)}` }],
  ])('is refused with another %s', (_, more, headers) => {
    expect(verifySignature(changed(named('post'), more, headers), options)).toMatchObject({ ok: false })
  })

  test('is refused with another time, even one within the tolerance', () => {
    const header = String(changed(named('post'), {}).headers['saga-signature'])
    const later = header.replace(/t=(\d+)/, (_, seconds: string) => `t=${Number(seconds) + 1}`)
    expect(verifySignature(changed(named('post'), {}, { 'saga-signature': later }), options)).toEqual({
      ok: false,
      why: 'the signature does not fit the request',
    })
  })

  test.each([-1, 1])('is refused before and after its time (%d)', (direction) => {
    const at = (ms: number) =>
      verifySignature(changed(named('post'), {}), { ...options, now: () => Date.now() + direction * ms })
    expect(at(200_000)).toEqual({ ok: true })
    expect(at(400_000)).toMatchObject({ ok: false })
  })

  test('that was a probe is not genuine as the attempt it asked about', () => {
    const probe = changed(named('probe'), {})
    const asked = String(probe.headers['saga-probe'])
    expect(asked).toMatch(/:lost:action:1$/)
    const headers = { 'saga-probe': undefined, 'idempotency-key': asked }
    expect(verifySignature(changed(probe, {}, headers), options)).toMatchObject({ ok: false })
    expect(verifySignature(changed(probe, {}, { 'idempotency-key': asked }), options)).toMatchObject({
      ok: false,
    })
  })
})

test('no secret, and an empty one, are mistakes and not open doors', () => {
  for (const secrets of [[], [''], ['x', '']]) {
    expect(() => verifySignature(changed(named('post'), {}), { secrets })).toThrow('at least one secret')
  }
})

test('an endpoint refuses with 401 what no worker has signed, before it does anything', async () => {
  let asked = 0
  const guarded = createServer((request, response) => {
    const endpoint = async () => {
      asked++
      return { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' }
    }
    void handleSagaCall(endpoint, request, response, { signature: options })
  })
  await new Promise<void>((resolve) => void guarded.listen(0, '127.0.0.1', resolve))
  const place = guarded.address()
  const origin = `http://127.0.0.1:${typeof place === 'object' ? place?.port : 0}`
  const post = changed(named('post'), {})
  const headers = {
    'idempotency-key': String(post.headers['idempotency-key']),
    'saga-signature': String(post.headers['saga-signature']),
  }
  const body = Buffer.from(post.body)

  const forged = await fetch(origin + post.path, { method: 'POST', headers, body: '{"ü":"u"}' })
  expect([forged.status, asked]).toEqual([401, 0])
  expect(await forged.json()).toMatchObject({ code: 'SIGNATURE_NOT_VALID' })
  expect((await fetch(origin + post.path, { method: 'POST', headers, body })).status).toBe(200)
  expect(asked).toBe(1)
  guarded.close()
})
