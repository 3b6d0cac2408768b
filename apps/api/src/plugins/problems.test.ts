import { ERRORS, type ErrorCode } from '@backstitch/core'
import { ConnectionLost } from '@backstitch/store'
import { pino } from 'pino'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type Answer, openStage, openStageForTest } from '../testing.ts'

const lines: Record<string, unknown>[] = []
const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) })
const stage = await openStage({ log })
afterAll(() => stage.close())
const { ask, define, store } = stage

function expectProblem(answer: Answer, code: ErrorCode): void {
  const { status, title } = ERRORS[code]
  expect(answer.status).toBe(status)
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
  expect(answer.body).toMatchObject({ type: `urn:backstitch:error:${code}`, title, status, code })
  expect(answer.body.requestId).toBe(answer.headers['x-request-id'])
  expect(answer.body.detail).toEqual(expect.any(String))
  expect(answer.text).not.toMatch(/\bat .*\.ts|node_modules|stack/)
}

describe('a problem has one form (RFC 9457), whoever finds it', () => {
  test.each<[ErrorCode, 'GET' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS', string]>([
    ['NOT_FOUND', 'GET', '/'],
    ['NOT_FOUND', 'GET', '/v1'],
    ['SAGA_NOT_FOUND', 'GET', '/v1/sagas/'],
    ['NOT_FOUND', 'GET', '/v2/sagas'],
    ['NOT_FOUND', 'POST', '/v1/nothing'],
    ['NOT_FOUND', 'GET', '/v1/sagas/a/b/c/d?x=y'],
    ['NOT_FOUND', 'GET', `/v1/${'x'.repeat(10_000)}`],
    ['NOT_FOUND', 'GET', '/docs/static/../../package.json'],
    ['NOT_FOUND', 'GET', '/docs/static/%2e%2e/index.js'],
    ['BAD_REQUEST', 'GET', '/v1/sagas/%'],
    ['BAD_REQUEST', 'GET', '/v1/sagas/%zz'],
    ['BAD_REQUEST', 'GET', '/v1/definitions/%ff%fe'],
    ['BAD_REQUEST', 'GET', '/v1/sagas?limit=1000'],
    ['METHOD_NOT_ALLOWED', 'DELETE', '/v1/sagas'],
    ['METHOD_NOT_ALLOWED', 'PUT', '/v1/definitions'],
    ['METHOD_NOT_ALLOWED', 'POST', '/v1/sagas/018f0000-0000-7000-8000-000000000000'],
    ['METHOD_NOT_ALLOWED', 'OPTIONS', '/v1/stats'],
    ['METHOD_NOT_ALLOWED', 'POST', '/livez'],
  ])('%s for %s %s', async (code, method, path) => {
    const answer = await ask(method, path)
    expectProblem(answer, code)
    if (code === 'METHOD_NOT_ALLOWED') expect(answer.headers.allow).toMatch(/^[A-Z]+(, [A-Z]+)*$/)
  })

  test('405 names what is allowed, and does not read the body first', async () => {
    const answer = await ask('PUT', '/v1/sagas', { raw: 'not json' })
    expectProblem(answer, 'METHOD_NOT_ALLOWED')
    expect(answer.headers.allow).toBe('GET, HEAD, POST')
  })

  test('GET has its HEAD', async () => {
    const answer = await ask('HEAD', '/v1/definitions')
    expect(answer).toMatchObject({ status: 200, text: '' })
  })
})

describe('what is not expected', () => {
  test('is 500, told in the log with its stack, and to the caller by its id alone', async () => {
    const { stats } = store
    store.stats = () => Promise.reject(new TypeError('secret of ours'))
    const answer = await ask('GET', '/v1/stats')
    store.stats = stats
    expectProblem(answer, 'INTERNAL')
    expect(answer.text).not.toContain('secret')
    const line = lines.find(({ requestId, err }) => requestId === answer.body.requestId && err !== undefined)
    expect(line).toMatchObject({ level: 50, err: { type: 'TypeError', message: 'secret of ours' } })
    expect(Object(line?.err).stack).toContain('problems.test.ts')
  })

  test('is no failure that stays: the next is answered', async () => {
    expect((await ask('GET', '/v1/stats')).status).toBe(200)
  })

  test('may even be thrown that is no error', async () => {
    const { workers } = store.queries
    for (const thrown of [undefined, null, 'text', 0, { statusCode: 200 }, { code: 42 }]) {
      store.queries.workers = vi.fn<typeof workers>().mockRejectedValue(thrown)
      expectProblem(await ask('GET', '/v1/workers'), 'INTERNAL')
    }
    store.queries.workers = workers
  })
})

describe('a database that does not answer', () => {
  const pgError = (code: string) => Object.assign(new Error('from the database'), { code, severity: 'FATAL' })
  const network = (code: string) => Object.assign(new Error(`connect ${code}`), { code, syscall: 'connect' })
  test.each<[string, Error]>([
    ['a lost connection', new ConnectionLost('the database did not answer in time')],
    ['a pool that gives none', new Error('timeout exceeded when trying to connect')],
    ['a connection that ends', new Error('Connection terminated unexpectedly')],
    ['a query without an answer', new Error('Query read timeout')],
    ['nobody listening', network('ECONNREFUSED')],
    ['a name nobody knows', network('ENOTFOUND')],
    ['a reset', network('ECONNRESET')],
    ['shutting down', pgError('57P01')],
    ['starting up', pgError('57P03')],
    ['read-only', pgError('25006')],
    ['too many connections', pgError('53300')],
    ['a full disk', pgError('53100')],
    ['a deadlock', pgError('40P01')],
  ])('is 503 with Retry-After: %s', async (_, error) => {
    const { workers } = store.queries
    store.queries.workers = () => Promise.reject(error)
    const answer = await ask('GET', '/v1/workers')
    store.queries.workers = workers
    expectProblem(answer, 'UNAVAILABLE')
    expect(answer.headers['retry-after']).toBe('1')
    expect(answer.text).not.toContain('from the database')
  })

  test('but a statement that is wrong is a bug of ours', async () => {
    const { workers } = store.queries
    store.queries.workers = () => Promise.reject(pgError('42703'))
    expectProblem(await ask('GET', '/v1/workers'), 'INTERNAL')
    store.queries.workers = workers
  })

  test('is one line a second in the log, however many ask (F32)', async () => {
    const { workers } = store.queries
    store.queries.workers = () => Promise.reject(network('ECONNREFUSED'))
    const before = lines.filter(({ msg }) => msg === 'the database does not answer').length
    await Promise.all(Array.from({ length: 200 }, () => ask('GET', '/v1/workers')))
    store.queries.workers = workers
    expect(
      lines.filter(({ msg }) => msg === 'the database does not answer').length - before,
    ).toBeLessThanOrEqual(2)
  })

  test('is told for a batch as a whole, if it is true of all of it', async () => {
    const definition = await define()
    const { start, startIfLatest } = store.starts
    store.starts.start = () => Promise.reject(new ConnectionLost('gone'))
    store.starts.startIfLatest = store.starts.start
    const answer = await ask('POST', '/v1/sagas/batch', { body: { sagas: [{ definition }, { definition }] } })
    const mixed = await ask('POST', '/v1/sagas/batch', {
      body: { sagas: [{ definition }, { definition: 'nothing' }] },
    })
    Object.assign(store.starts, { start, startIfLatest })
    expectProblem(answer, 'UNAVAILABLE')
    expect(mixed).toMatchObject({
      status: 200,
      body: { items: [{ problem: { code: 'UNAVAILABLE' } }, { problem: { code: 'DEFINITION_NOT_FOUND' } }] },
    })
  })
})

describe('overload', () => {
  test('too many starts that wait are refused, and nothing else is', async () => {
    const crowded = await openStageForTest({ limits: { maxWaitingStarts: 0 } })
    const definition = await crowded.define()
    const answer = await crowded.ask('POST', '/v1/sagas', { body: { definition } })
    expectProblem(answer, 'UNAVAILABLE')
    expect(answer.headers['retry-after']).toMatch(/^[1-4]$/)
    expect((await crowded.ask('GET', '/v1/sagas')).status).toBe(200)
  })

  test('bodies beyond what fits into memory are refused before they are read, and their room is given back', async () => {
    const small = await openStageForTest({ limits: { maxBodyBytes: 10_000 } })
    const definition = await small.define()
    const large = () => small.ask('POST', '/v1/sagas', { body: { definition, input: 'x'.repeat(9_000) } })
    expectProblem(
      await small.ask('POST', '/v1/sagas', { body: { definition, input: 'x'.repeat(11_000) } }),
      'UNAVAILABLE',
    )
    const answers = await Promise.all([large(), large(), large()])
    expect(answers.filter(({ status }) => status === 503)).toHaveLength(2)
    expect((await large()).status).toBe(202)
    await small.ask('POST', '/v1/sagas', { raw: 'x'.repeat(9_000) })
    expect((await large()).status).toBe(202)
  })

  test('too many who wait are refused; a start that would wait is acknowledged all the same', async () => {
    const crowded = await openStageForTest({ limits: { maxWaiters: 1 } })
    const sagaId = await crowded.start(await crowded.define('d'))
    const waiting = crowded.ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=60000`)
    await expect
      .poll(async () => (await crowded.ask('GET', '/metrics')).text)
      .toMatch(/^backstitch_waiters 1$/m)
    expectProblem(await crowded.ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=1`), 'UNAVAILABLE')
    expect((await crowded.ask('POST', '/v1/sagas?waitMs=20000', { body: { definition: 'd' } })).status).toBe(
      202,
    )
    await crowded.end(sagaId, 'completed')
    expect((await waiting).body.status).toBe('completed')
  })

  test('a lagging event loop refuses work, and still answers whether it is alive', async () => {
    const slow = await openStageForTest({ limits: { maxLagMs: 1 } })
    let answer = await slow.ask('GET', '/v1/sagas')
    for (let tries = 0; tries < 100 && answer.status === 200; tries++) {
      const until = performance.now() + 60
      while (performance.now() < until);
      await new Promise((resolve) => setTimeout(resolve, 1))
      answer = await slow.ask('GET', '/v1/sagas')
    }
    expectProblem(answer, 'UNAVAILABLE')
    expect((await slow.ask('GET', '/livez')).status).toBe(200)
    expect((await slow.ask('GET', '/metrics')).status).toBe(200)
  })
})

describe('a request', () => {
  test('keeps the id it came with if it is a decent one, and else gets one', async () => {
    const given = await ask('GET', '/v1/nothing', { headers: { 'x-request-id': 'abc-1:2' } })
    expect(given).toMatchObject({ headers: { 'x-request-id': 'abc-1:2' }, body: { requestId: 'abc-1:2' } })
    for (const bad of ['', 'a b', 'x'.repeat(129), '<script>', 'a"b']) {
      const answer = await ask('GET', '/livez', { headers: { 'x-request-id': bad } })
      expect(answer.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
    }
  })

  test('is one line in the log, without body, query or secret', async () => {
    lines.length = 0
    const headers = {
      authorization: 'Bearer hidden-1',
      cookie: 'hidden-2',
      'idempotency-key': 'hidden-3',
      'x-request-id': 'one-line',
    }
    await ask('POST', '/v1/sagas?waitMs=0', {
      body: { definition: await define(), input: 'hidden-4' },
      headers,
    })
    await ask('GET', '/v1/sagas?sagaKey=hidden-5')
    await ask('GET', '/livez')
    const own = lines.filter(({ requestId }) => requestId === 'one-line')
    expect(own).toEqual([
      expect.objectContaining({
        level: 30,
        method: 'POST',
        path: '/v1/sagas',
        status: 202,
        ms: expect.any(Number),
      }),
    ])
    expect(JSON.stringify(lines)).not.toContain('hidden')
    expect(lines).not.toContainEqual(expect.objectContaining({ path: '/livez' }))
  })

  test('is answered with headers that let nothing run and nothing be kept', async () => {
    for (const path of ['/v1/sagas', '/v1/nothing', '/livez', '/openapi.json']) {
      expect((await ask('GET', path)).headers).toMatchObject({
        'content-security-policy': expect.stringContaining("default-src 'none'"),
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'cache-control': 'no-store',
      })
    }
  })
})
