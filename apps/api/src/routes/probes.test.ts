import { connect as connectTo, createServer, type Server, type Socket } from 'node:net'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { openApiStore } from '@backstitch/store'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { buildApp } from '../app.ts'
import { connect } from '../connection.ts'
import { askApp, openStage, openStageForTest, quiet } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask } = stage

/** Stands between a store and its database, and can be taken away. */
async function openDoorTo(databaseUrl: string) {
  const url = new URL(databaseUrl)
  const { port: databasePort, hostname } = url
  const sockets = new Set<Socket>()
  const server: Server = createServer((near) => {
    const far = connectTo(Number(databasePort || 5432), hostname)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    }
    near.pipe(far).pipe(near)
  })
  const open = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  await open(0)
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return {
    url: url.href,
    open: () => open(port),
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
    /** Takes everything and answers nothing: a black hole. */
    freeze() {
      for (const socket of sockets) socket.pause().unpipe()
    },
  }
}

describe('where all is well', () => {
  test.each(['/readyz', '/healthz'])('%s says so', async (path) => {
    expect(await ask('GET', path)).toMatchObject({
      status: 200,
      body: { status: 'ok', checks: { database: 'ok', migrations: 'ok' } },
    })
  })

  test('/livez says so', async () => {
    expect(await ask('GET', '/livez')).toMatchObject({ status: 200, body: { status: 'ok' } })
  })
})

test('a database without our tables is not ready, and told which migrations are missing', async () => {
  const database = await createTestDatabase({ empty: true })
  const store = await openApiStore({ databaseUrl: database.url })
  const app = await buildApp({ store: () => store, log: quiet })
  onTestFinished(async () => {
    await app.close()
    await store.close()
    await database.drop()
  })
  const answer = await askApp(app, 'GET', '/readyz')
  expect(answer.status).toBe(503)
  expect(answer.body).toMatchObject({
    status: 'unavailable',
    checks: { database: 'ok', migrations: expect.stringMatching(/^missing: 0001_sagas/) },
  })
})

describe('a database that goes away', () => {
  test('is seen by /readyz, not by /livez; nothing hangs; and when it is back so are we', async () => {
    const database = await createTestDatabase()
    const door = await openDoorTo(database.url)
    const store = await openApiStore({ databaseUrl: door.url })
    const app = await buildApp({ store: () => store, log: quiet, limits: { maxLagMs: 60_000 } })
    onTestFinished(async () => {
      await app.close()
      await store.close()
      await door.close()
      await database.drop()
    })
    const get = (path: string) => askApp(app, 'GET', path)
    const definition = { name: 'd', steps: [{ name: 'one', action: { type: 'handler' } }] }
    await askApp(app, 'POST', '/v1/definitions', { body: definition })
    const start = (key: string) =>
      askApp(app, 'POST', '/v1/sagas', {
        body: { definition: 'd', version: 1 },
        headers: { 'idempotency-key': key },
      })
    const first = await start('first')
    const waiting = get(`/v1/sagas/${first.body.sagaId}/wait?timeoutMs=1500`)
    const startWaiting = askApp(app, 'POST', '/v1/sagas?waitMs=1500', {
      body: { definition: 'd', version: 1 },
    })
    await expect.poll(async () => (await get('/v1/sagas')).body.items).toHaveLength(2)

    await door.close()
    await expect.poll(async () => (await get('/readyz')).status).toBe(503)
    expect((await get('/readyz')).body).toEqual({
      status: 'unavailable',
      checks: { database: 'unreachable', migrations: 'unknown' },
    })
    expect((await get('/livez')).status).toBe(200)
    const began = performance.now()
    const second = start('second')
    for (const path of [
      '/v1/sagas',
      '/v1/stats',
      '/v1/workers',
      '/v1/services',
      '/v1/definitions',
      `/v1/sagas/${first.body.sagaId}`,
    ]) {
      expect(await get(path), path).toMatchObject({
        status: 503,
        body: { code: 'UNAVAILABLE' },
        headers: { 'retry-after': '1' },
      })
    }
    // What need not be asked of the database is answered all the same.
    expect((await get('/v1/sagas/nothing')).status).toBe(404)
    expect((await get('/v1/definitions/d/versions/1')).status).toBe(200)
    expect((await waiting).status).toBe(503)
    // The start was acknowledged before: whoever waited is not told that it failed.
    expect(await startWaiting).toMatchObject({ status: 202, body: { status: 'running' } })

    // A start waits a while for the database, and this one is in luck.
    await door.open()
    expect(await second).toMatchObject({ status: 202 })
    expect(performance.now() - began).toBeLessThan(20_000)
    await expect.poll(async () => (await get('/readyz')).status).toBe(200)
    expect((await start('first')).body.sagaId).toBe(first.body.sagaId)
  })

  test('for longer than a caller should wait is 503, and the same request may come again', async () => {
    const database = await createTestDatabase()
    const door = await openDoorTo(database.url)
    const store = await openApiStore({ databaseUrl: door.url })
    const app = await buildApp({ store: () => store, log: quiet, limits: { maxLagMs: 60_000 } })
    onTestFinished(async () => {
      await app.close()
      await store.close()
      await database.drop()
    })
    await askApp(app, 'POST', '/v1/definitions', {
      body: { name: 'd', steps: [{ name: 'one', action: { type: 'handler' } }] },
    })
    await askApp(app, 'POST', '/v1/sagas', { body: { definition: 'd' } })
    await door.close()
    const answer = await askApp(app, 'POST', '/v1/sagas', { body: { definition: 'd', version: 1 } })
    expect(answer).toMatchObject({
      status: 503,
      body: { code: 'UNAVAILABLE' },
      headers: { 'retry-after': '1' },
    })
  })

  test('without a word is found out by /readyz in two seconds', async () => {
    const database = await createTestDatabase()
    const door = await openDoorTo(database.url)
    const store = await openApiStore({ databaseUrl: door.url })
    const app = await buildApp({ store: () => store, log: quiet, limits: { maxLagMs: 60_000 } })
    onTestFinished(async () => {
      await door.close()
      await app.close()
      await store.close()
      await database.drop()
    })
    expect((await askApp(app, 'GET', '/readyz')).status).toBe(200)
    door.freeze()
    const began = performance.now()
    // An answer is kept for half a second.
    const status = async () => (await askApp(app, 'GET', '/readyz')).status
    await expect.poll(status, { timeout: 60_000 }).toBe(503)
    expect(performance.now() - began).toBeLessThan(15_000)
    expect((await askApp(app, 'GET', '/livez')).status).toBe(200)
  })
})

describe('a database that comes up after us', () => {
  test('is waited for: 503 until it is there, and then all is well', async () => {
    const database = await createTestDatabase()
    const door = await openDoorTo(database.url)
    await door.close()
    const connection = connect(() => openApiStore({ databaseUrl: door.url }), quiet)
    const app = await buildApp({ store: connection.store, log: quiet, limits: { maxLagMs: 60_000 } })
    onTestFinished(async () => {
      await app.close()
      await connection.close()
      await door.close()
      await database.drop()
    })
    expect((await askApp(app, 'GET', '/livez')).status).toBe(200)
    expect((await askApp(app, 'GET', '/readyz')).status).toBe(503)
    expect((await askApp(app, 'GET', '/metrics')).status).toBe(200)
    expect(await askApp(app, 'GET', '/v1/sagas')).toMatchObject({
      status: 503,
      headers: { 'retry-after': '2' },
    })
    expect(await askApp(app, 'POST', '/v1/sagas', { body: { definition: 'd' } })).toMatchObject({
      status: 503,
    })
    await door.open()
    await expect.poll(async () => (await askApp(app, 'GET', '/readyz')).status).toBe(200)
    expect((await askApp(app, 'GET', '/v1/sagas')).status).toBe(200)
  })

  test('is no longer waited for when we stop', async () => {
    let tries = 0
    const connection = connect(() => {
      tries++
      return Promise.reject(new Error('not yet'))
    }, quiet)
    await expect.poll(() => tries).toBe(2)
    await connection.close()
    const before = tries
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect(tries).toBe(before)
  })
})

describe('what is counted', () => {
  test('requests by route, starts by outcome, the process and its event loop', async () => {
    const counted = await openStageForTest()
    const definition = await counted.define()
    const request = { body: { definition }, headers: { 'idempotency-key': 'k' } }
    await counted.ask('POST', '/v1/sagas', request)
    await counted.ask('POST', '/v1/sagas', request)
    await counted.ask('POST', '/v1/sagas', { ...request, body: { definition, input: 1 } })
    await counted.ask('POST', '/v1/sagas', { body: { definition: 'nothing' } })
    await counted.ask('GET', '/v1/sagas/one')
    await counted.ask('GET', '/v1/sagas/two')
    await counted.ask('GET', '/nothing/at/all')
    const { status, headers, text } = await counted.ask('GET', '/metrics')
    expect(status).toBe(200)
    expect(headers['content-type']).toMatch(/^text\/plain/)
    expect(text).toContain(
      'backstitch_http_request_duration_seconds_count{method="GET",route="/v1/sagas/:sagaId",status="404"} 2',
    )
    expect(text).toContain(
      'backstitch_http_request_duration_seconds_count{method="POST",route="/v1/sagas",status="202"} 2',
    )
    expect(text).toContain(
      'backstitch_http_request_duration_seconds_count{method="GET",route="none",status="404"} 1',
    )
    for (const [outcome, count] of Object.entries({ started: 1, repeated: 1, conflict: 1, refused: 1 })) {
      expect(text).toContain(`backstitch_starts_total{outcome="${outcome}"} ${count}`)
    }
    expect(text).toMatch(/^backstitch_starts_waiting 0$/m)
    expect(text).toMatch(/^backstitch_waiters 0$/m)
    expect(text).toMatch(/^nodejs_eventloop_lag_p99_seconds /m)
    expect(text).toMatch(/^process_resident_memory_bytes /m)
  })
})

describe('the numbers of the installation', () => {
  test('are counted once for all who ask at the same time, and again after a while', async () => {
    const counted = await openStageForTest()
    const definition = await counted.define()
    const sagaId = await counted.start(definition)
    let asked = 0
    const { stats } = counted.store
    counted.store.stats = () => {
      asked++
      return stats()
    }
    const answers = await Promise.all(Array.from({ length: 50 }, () => counted.ask('GET', '/v1/stats')))
    expect(asked).toBe(1)
    for (const { status, body } of answers) {
      expect(status).toBe(200)
      expect(body).toMatchObject({
        sagas: [{ definition, status: 'running', count: 1 }],
        perMinute: { started: 1, ended: 0 },
        oldestStuckAt: null,
      })
    }
    await counted.stick(sagaId)
    await counted.store.feed.recount()
    await expect
      .poll(async () => (await counted.ask('GET', '/v1/stats')).body.sagas, { interval: 200 })
      .toMatchObject([{ status: 'stuck' }])
    expect(asked).toBe(2)
  })

  test('are not kept if they could not be had', async () => {
    const counted = await openStageForTest()
    const { stats } = counted.store
    counted.store.stats = () => Promise.reject(new Error('once'))
    expect((await counted.ask('GET', '/v1/stats')).status).toBe(500)
    counted.store.stats = stats
    expect((await counted.ask('GET', '/v1/stats')).status).toBe(200)
  })

  test('workers are listed in pages', async () => {
    const counted = await openStageForTest()
    await counted.query(
      `INSERT INTO workers (worker_id, host, pid, queues, handlers, concurrency, lease_ms)
       SELECT gen_random_uuid(), 'host', n, '{default}', '{"order":["one"]}', 10, 30000 FROM generate_series(1, 5) n`,
    )
    const pids: unknown[] = []
    for (let cursor = ''; ; ) {
      const { body } = await counted.ask('GET', `/v1/workers?limit=2${cursor}`)
      pids.push(...(body.items ?? []).map(({ pid }) => pid))
      if (body.nextCursor === undefined) break
      cursor = `&cursor=${body.nextCursor}`
    }
    expect(pids.sort((one, other) => Number(one) - Number(other))).toEqual([1, 2, 3, 4, 5])
    const { body } = await counted.ask('GET', '/v1/workers')
    expect(body.items?.[0]).toMatchObject({
      host: 'host',
      queues: ['default'],
      handlers: { order: ['one'] },
      concurrency: 10,
      holds: 0,
    })
  })

  test('services are listed by name, in pages: as each worker tells it, and those that are named and nowhere configured', async () => {
    const counted = await openStageForTest()
    const http = (name: string, call: object) => ({
      name,
      steps: [{ name: 's', action: { type: 'http', ...call } }],
    })
    const probe = { type: 'http', service: 'asked', path: '/' }
    const definitions = [
      http('old', { service: 'forgotten', path: '/' }),
      http('old', { url: 'http://a/', body: { type: 'http', path: 1, service: 2 } }),
      http('order', { service: 'payments', path: '/', body: { type: 'http', path: 'no service' }, probe }),
      http('refund', { service: 'payments', path: '/refunds' }),
    ]
    for (const definition of definitions) {
      expect((await counted.ask('POST', '/v1/definitions', { body: definition })).status).toBe(201)
    }
    const state = { named: true, inFlight: 2, waiting: 1, limit: 5 }
    const reports = [
      {
        payments: { ...state, breaker: 'closed' },
        'http://a': { ...state, named: false, breaker: 'closed' },
      },
      { payments: { ...state, breaker: 'open', lastError: 'TIMEOUT' } },
      { payments: { breaker: 'of a newer release' } },
    ]
    for (const report of reports) {
      await counted.query(
        `INSERT INTO workers (worker_id, host, pid, queues, handlers, concurrency, lease_ms, services)
         VALUES (gen_random_uuid(), 'host', 1, '{default}', '{}', 10, 30000, '${JSON.stringify(report)}')`,
      )
    }

    const first = await counted.ask('GET', '/v1/services?limit=2')
    expect(first.body.items).toMatchObject([
      { service: 'asked', configured: false, definitions: ['order'], workers: [] },
      {
        service: 'http://a',
        configured: true,
        breaker: 'closed',
        definitions: [],
        workers: [{ named: false }],
      },
    ])
    const second = await counted.ask('GET', `/v1/services?limit=2&cursor=${first.body.nextCursor}`)
    expect(second.body).toMatchObject({
      items: [
        {
          service: 'payments',
          configured: true,
          breaker: 'open',
          inFlight: 4,
          waiting: 2,
          limit: 10,
          definitions: ['order', 'refund'],
        },
      ],
    })
    expect(second.body.items?.[0]).toMatchObject({
      workers: [{ breaker: 'closed' }, { lastError: 'TIMEOUT' }],
    })
    expect(second.body.nextCursor).toBeUndefined()
    const { body } = await counted.ask('GET', '/v1/workers')
    expect(body.items?.map(({ services }) => services)).toContainEqual(['payments'])
  })
})
