import { mkdtempSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { Json } from '@backstitch/core'
import { pino } from 'pino'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { ServicesConfig } from './service-config.ts'
import { createStage, type Stage, serve } from './testing.ts'
import { createWorker } from './worker.ts'

type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: string }

/** A participant that does what the test says, and remembers what it was asked. */
async function participant(answer: (seen: Seen, response: ServerResponse) => void = ok) {
  const seen: Seen[] = []
  const url = await serve((request, response) => {
    void read(request).then((body) => {
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body }
      seen.push(one)
      answer(one, response)
    })
  })
  return { url, seen }
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString()
}

function ok(_: Seen, response: ServerResponse): void {
  json(response, 200, { done: true })
}

function json(response: ServerResponse, status: number, body: Json): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** One step. */
function definition(
  name: string,
  action: { [field: string]: Json },
  more: { [field: string]: Json } = {},
): Json {
  return { name, steps: [{ name: 'call', action: { type: 'http', ...action }, ...more }] }
}

function secretFile(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'backstitch-')), 'secret')
  writeFileSync(path, text)
  return path
}

describe('a named service', () => {
  test('is called at the address and with the headers of the worker, below its base path', async () => {
    const stage = await createStage()
    const { url, seen } = await participant()
    process.env.TEST_PAYMENTS_TOKEN = 'Bearer from-the-environment'
    onTestFinished(() => void delete process.env.TEST_PAYMENTS_TOKEN)
    await stage.worker({
      services: {
        payments: {
          baseUrl: `${url}/v2/`,
          headers: {
            Authorization: { env: 'TEST_PAYMENTS_TOKEN' },
            'X-Api-Key': { file: secretFile('from-a-file\n') },
            'x-plain': 'plain',
          },
        },
      },
    })
    const document = definition('named', {
      service: 'payments',
      path: '/charges/${{ input.id }}?x=${{ input.x }}',
      headers: { 'x-plain': 'the definition says', AUTHORIZATION: 'of the definition', 'x-own': 'own' },
    })

    const ended = await stage.ended(await stage.start(document, { id: 'a/../b', x: '&y=1' }))

    expect(ended).toMatchObject({ status: 'completed', context: { call: { done: true } } })
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatchObject({
      url: '/v2/charges/a%2F..%2Fb?x=%26y%3D1',
      headers: {
        authorization: 'Bearer from-the-environment',
        'x-api-key': 'from-a-file',
        'x-plain': 'plain',
        'x-own': 'own',
      },
    })
    expect(seen[0]?.headers).not.toHaveProperty('saga-signature')
  })

  test.each(['', '.', '..', '/', '%2e%2e'])(
    'is not left by a path with the value %j in it',
    async (value) => {
      const stage = await createStage()
      const { url, seen } = await participant()
      await stage.worker({ services: { payments: { baseUrl: `${url}/v2` } } })
      const document = definition('inside', { service: 'payments', path: '/${{ input }}/x' })

      const ended = await stage.ended(await stage.start(document, value))

      for (const one of seen) expect(one.url).toMatch(/^\/v2\/(%2F|%252e%252e)\/x$/)
      if (seen.length === 0) expect(ended.failureReason).toContain('EXPRESSION_FAILED')
    },
  )

  test('that is not known here leaves its saga to others, uses up nothing, and is said in the log, not with each saga', async () => {
    const stage = await createStage()
    const { url } = await participant()
    const lines: string[] = []
    const log = pino(
      { level: 'warn' },
      new Writable({
        write(chunk, _, done) {
          lines.push(String(chunk))
          done()
        },
      }),
    )
    await stage.worker({ log })
    const document = definition('unknown', { service: 'payments', path: '/' })
    const sagaIds = await Promise.all([1, 2, 3, 4, 5].map((n) => stage.start(document, n)))
    await expect.poll(() => lines.filter((line) => line.includes('service payments')).length).toBe(1)

    await stage.worker({ services: { payments: { baseUrl: url } } })

    for (const sagaId of sagaIds) expect((await stage.ended(sagaId)).status).toBe('completed')
    for (const sagaId of sagaIds) expect(await stage.history(sagaId)).toHaveLength(2)
    expect(lines.filter((line) => line.includes('service payments'))).toHaveLength(1)
  })

  test('shows its secrets nowhere, not even if the participant says them back (F67)', async () => {
    const stage = await createStage()
    const secrets = ['s3cr3t', 'token-of-the-plain-header', 'signing-secret']
    const { url } = await participant((seen, response) => {
      json(response, 422, { message: `${JSON.stringify(seen.headers)} signing-secret` })
    })
    const lines: string[] = []
    const log = pino(
      { level: 'trace' },
      new Writable({
        write(chunk, _, done) {
          lines.push(String(chunk))
          done()
        },
      }),
    )
    const worker = await stage.worker({
      log,
      services: {
        payments: {
          baseUrl: url,
          headers: {
            'x-short': { file: secretFile('s3cr3t') },
            authorization: 'Bearer token-of-the-plain-header',
          },
          sign: { secret: { file: secretFile('signing-secret') } },
        },
      },
    })

    const ended = await stage.ended(
      await stage.start(definition('secret', { service: 'payments', path: '/' })),
    )

    expect(ended.failureReason).toContain('[redacted]')
    const shown = JSON.stringify([ended, await stage.history(ended.sagaId), worker.services(), lines])
    const rows = JSON.stringify(await stage.query('SELECT * FROM workers'))
    for (const secret of secrets) {
      expect(shown).not.toContain(secret)
      expect(rows).not.toContain(secret)
    }
  })
})

test('all that is wrong with the services is said at once, and no value of a secret', () => {
  const services = {
    '9lives': { baseUrl: 'http://a' },
    payments: {
      baseUrl: 'ftp://user:hunter22@payments/x?y',
      headers: { 'saga-id': 'x', authorization: { env: 'NOT_SET_ANYWHERE' } },
    },
  }
  const start = (given: unknown) => () =>
    createWorker({
      databaseUrl: 'postgres://x/y',
      log: pino({ level: 'silent' }),
      services: given as ServicesConfig,
    })

  expect(start(services)).toThrow(
    /\/9lives: .*\n.*\/payments\/baseUrl: .*\n.*\/payments\/headers\/saga-id: is set by the engine/s,
  )
  expect(start(services)).not.toThrow(/hunter22/)
  expect(
    start({
      payments: {
        baseUrl: 'http://payments',
        headers: { authorization: { env: 'NOT_SET_ANYWHERE' }, 'x-key': { file: '/no/such/file' } },
        sign: { secret: { env: 'NOT_SET_EITHER' } },
        breaker: { openMs: 5_000, maxOpenMs: 1_000 },
      },
    }),
  ).toThrow(
    [
      'the services are not configured right:',
      '/payments/headers/authorization: the environment variable NOT_SET_ANYWHERE is not set',
      '/payments/headers/x-key: the file /no/such/file cannot be read (ENOENT)',
      '/payments/sign/secret: the environment variable NOT_SET_EITHER is not set',
      '/payments/breaker/maxOpenMs: is 1000, less than openMs (5000), counting the defaults',
    ].join('\n'),
  )
})

describe('a dead service (S37)', () => {
  const HANGS = { timeoutMs: 500, retry: { maxAttempts: 3, initialDelayMs: 1, maxDelayMs: 100 } }
  /** What a breaker lets through when it tries again, by default. */
  const TRIALS = 3

  async function startMany(stage: Stage, document: Json, count: number): Promise<string[]> {
    const ids: string[] = []
    for (let n = 0; n < count; n += 100) {
      const some = Array.from({ length: Math.min(100, count - n) }, (_, index) =>
        stage.start(document, n + index),
      )
      ids.push(...(await Promise.all(some)))
    }
    return ids
  }

  async function endOfAll(stage: Stage, name: string, count: number): Promise<void> {
    const query = `SELECT count(*)::int AS n FROM sagas WHERE definition_name = '${name}' AND status = 'completed'`
    await expect.poll(async () => (await stage.query(query))[0]?.n, { interval: 10 }).toBe(count)
  }

  test('with a thousand sagas leaves the sagas of other services unharmed, and costs its own no attempt while its breaker is open', async () => {
    const stage = await createStage()
    const alive = await participant()
    const dead = await participant(() => undefined)
    const worker = await stage.worker({ concurrency: 40 })
    const others = (name: string) => definition(name, { url: `${alive.url}/x` })
    const COUNT = 300

    const aloneAt = performance.now()
    await startMany(stage, others('alone'), COUNT)
    await endOfAll(stage, 'alone', COUNT)
    const aloneMs = performance.now() - aloneAt

    await startMany(stage, definition('dead', { url: `${dead.url}/x` }, HANGS), 1_000)
    const besideAt = performance.now()
    await startMany(stage, others('beside'), COUNT)
    await endOfAll(stage, 'beside', COUNT)
    const besideMs = performance.now() - besideAt
    if (process.env.TEST_SHOW_TIMES !== undefined) console.log({ aloneMs, besideMs, calls: dead.seen.length })
    expect(besideMs).toBeLessThan(5 * aloneMs + 5_000)

    await expect.poll(() => worker.services()[dead.url]?.breaker, { timeout: 60_000 }).toBe('open')
    expect(worker.services()[dead.url]).toMatchObject({
      waiting: 0,
      lastError: 'TIMEOUT',
      limit: 10,
      named: false,
    })
    await expect.poll(() => worker.services()[dead.url]?.inFlight).toBe(0)
    const attempts = async () => {
      const query = `SELECT count(*)::int AS n FROM saga_history WHERE kind = 'attemptFailed'`
      return Number((await stage.query(query))[0]?.n)
    }
    const called = dead.seen.length
    // The commits of the last of them may be on their way.
    await expect.poll(attempts).toBeGreaterThanOrEqual(called)
    const before = await attempts()
    // No more than were under way when it opened: a quarter of the worker, and those that took their places meanwhile.
    expect(called).toBeLessThanOrEqual(40)
    const openUntil = performance.now() + 2_000
    await expect.poll(() => performance.now() > openUntil, { timeout: 60_000, interval: 100 }).toBe(true)
    // On a slow machine it may have been tried again meanwhile: that is three calls, of a thousand that wait.
    await expect.poll(() => worker.services()[dead.url]?.breaker, { timeout: 60_000 }).toBe('open')
    expect(dead.seen.length).toBeLessThanOrEqual(called + TRIALS)
    expect(await attempts()).toBeLessThanOrEqual(before + TRIALS)
    const rows = () =>
      stage.query(
        `SELECT count(*) FILTER (WHERE version = 1)::int AS untouched, count(*) FILTER (WHERE owner IS NOT NULL)::int AS held
         FROM sagas WHERE definition_name = 'dead' AND status = 'running'`,
      )
    expect((await rows())[0]?.untouched).toBeGreaterThanOrEqual(960)
    // One that is looked at again is held for a moment, until it is put off once more.
    await expect.poll(async () => (await rows())[0]?.held).toBe(0)
  })

  test('that comes back is called again, a few at first, and its sagas complete with the attempts they had (F39)', async () => {
    const stage = await createStage()
    let isDown = true
    const { url, seen } = await participant((_, response) =>
      isDown ? json(response, 503, {}) : json(response, 200, {}),
    )
    const breaker = { minCalls: 3, openMs: 300, maxOpenMs: 300, trials: 1 }
    const worker = await stage.worker({ services: { flaky: { baseUrl: url, breaker } } })
    const RETRY = { retry: { maxAttempts: 5, initialDelayMs: 1, maxDelayMs: 100 } }
    const ids = await startMany(stage, definition('back', { service: 'flaky', path: '/' }, RETRY), 20)
    await expect.poll(() => worker.services().flaky?.breaker).toBe('open')

    isDown = false
    for (const id of ids) expect((await stage.ended(id)).status).toBe('completed')
    await expect.poll(() => worker.services().flaky?.breaker).toBe('closed')
    expect(seen.length).toBeGreaterThanOrEqual(20)
  })

  test('is called no more often than its limit at once, however many sagas there are', async () => {
    const stage = await createStage()
    let [underWay, most] = [0, 0]
    const { url } = await participant((_, response) => {
      underWay++
      most = Math.max(most, underWay)
      setTimeout(() => {
        underWay--
        json(response, 200, {})
      }, 20)
    })
    await stage.worker({ services: { narrow: { baseUrl: url, concurrency: 3, maxWaitMs: 20 } } })

    await startMany(stage, definition('narrow', { service: 'narrow', path: '/' }), 60)
    await endOfAll(stage, 'narrow', 60)

    expect(most).toBe(3)
    expect((await stage.query(`SELECT count(*)::int AS n FROM saga_history`))[0]?.n).toBe(120)
  })

  test('holds up its own member of a group, and not the others', async () => {
    const stage = await createStage()
    let isDown = true
    const down = await participant((_, response) => json(response, isDown ? 503 : 200, {}))
    const alive = await participant()
    const breaker = { minCalls: 1, openMs: 400, maxOpenMs: 400, trials: 1 }
    const worker = await stage.worker({
      services: { down: { baseUrl: down.url, breaker }, alive: { baseUrl: alive.url } },
    })
    const call = (service: string) => ({ type: 'http', service, path: '/' })
    const retry = { maxAttempts: 5, initialDelayMs: 1, maxDelayMs: 100 }
    await stage.start({ name: 'opens', steps: [{ name: 'down', action: call('down'), retry }] })
    await expect.poll(() => worker.services().down?.breaker).toBe('open')
    const steps = [
      {
        parallel: [
          { name: 'down', action: call('down'), retry },
          { name: 'alive', action: call('alive') },
        ],
      },
    ]
    const sagaId = await stage.start({ name: 'group', steps })

    await stage.eventually(sagaId, ({ completedSteps }) => completedSteps.includes('alive'))
    isDown = false
    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      completedSteps: ['alive', 'down'],
    })
    // Whatever it was put off by, it was tried no more often than it was called.
    const history = await stage.history(sagaId)
    expect(history.filter(({ kind }) => kind === 'attemptSucceeded')).toHaveLength(2)
  })

  test("an open breaker does not put off a saga's deadline", async () => {
    const stage = await createStage()
    const { url } = await participant((_, response) => json(response, 503, {}))
    const breaker = { minCalls: 1, openMs: 60_000 }
    await stage.worker({ services: { down: { baseUrl: url, breaker } } })
    const document = definition(
      'late',
      { service: 'down', path: '/' },
      { retry: { initialDelayMs: 1, maxDelayMs: 100 } },
    )
    const sagaId = await stage.start(document, null, { deadlineMs: 1_000 })

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', cause: 'deadline' })
  })
})

describe('a service that is not to be called, beside other members of a group', () => {
  const OPEN = { minCalls: 1, openMs: 60_000 }
  const NO_RETRY = { retry: { maxAttempts: 1 } }
  const call = (name: string, action: { [field: string]: Json }, more: { [field: string]: Json } = {}) => ({
    name,
    action: { type: 'http', ...action },
    ...more,
  })
  const group = (name: string, ...parallel: Json[]): Json => ({ name, steps: [{ parallel }] })

  /** A worker whose service `down` has been found to be down. */
  async function withServiceDown(stage: Stage) {
    const { url } = await participant((_, response) => json(response, 503, {}))
    const worker = await stage.worker({ services: { down: { baseUrl: url, breaker: OPEN } } })
    await stage.ended(await stage.start(definition('first', { service: 'down', path: '/' }, NO_RETRY)))
    expect(worker.services().down?.breaker).toBe('open')
  }

  test('what waited at its gate is begun no more when the saga turns round meanwhile', async () => {
    const stage = await createStage()
    const answer: { fail?: () => void; refuse?: () => void } = {}
    const narrow = await participant((_, response) => {
      answer.fail = () => json(response, 503, {})
    })
    const other = await participant((_, response) => {
      answer.refuse = () => json(response, 422, {})
    })
    const one = { baseUrl: narrow.url, concurrency: 1, maxWaitMs: 5_000, breaker: OPEN }
    const worker = await stage.worker({ services: { narrow: one } })
    const sagaId = await stage.start(
      group(
        'turning',
        call('holds', { service: 'narrow', path: '/holds' }),
        call('waits', { service: 'narrow', path: '/waits' }),
        call('refused', { url: other.url }),
      ),
    )
    await expect.poll(() => worker.services().narrow).toMatchObject({ inFlight: 1, waiting: 1 })
    await expect.poll(() => answer.refuse).toBeDefined()
    answer.refuse?.()
    await stage.eventually(sagaId, ({ cause }) => cause === 'failure')
    answer.fail?.()

    const ended = await stage.ended(sagaId)

    expect(ended).toMatchObject({ status: 'failed', failedStep: 'refused', uncertainSteps: ['holds'] })
    expect(narrow.seen.map((seen) => seen.url)).toEqual(['/holds'])
    expect(worker.services().narrow).toMatchObject({ inFlight: 0, waiting: 0 })
  })

  test('what waited at its gate when the worker stops was not made: only what had begun is uncertain (S21)', async () => {
    const stage = await createStage()
    const narrow = await participant(() => undefined)
    const one = { baseUrl: narrow.url, concurrency: 1, maxWaitMs: 5_000, breaker: OPEN }
    const worker = await stage.worker({ services: { narrow: one } })
    const both = await stage.start(
      group(
        'both',
        call('holds', { service: 'narrow', path: '/holds' }),
        call('waits', { service: 'narrow', path: '/waits' }),
      ),
    )
    await expect.poll(() => worker.services().narrow).toMatchObject({ inFlight: 1, waiting: 1 })
    const alone = await stage.start(definition('alone', { service: 'narrow', path: '/alone' }))
    await expect.poll(() => worker.services().narrow).toMatchObject({ inFlight: 1, waiting: 2 })

    await worker.stop(0)

    expect(await stage.saga(both)).toMatchObject({
      uncertainSteps: ['holds'],
      attempts: { holds: 1, waits: 1 },
    })
    expect(await stage.saga(alone)).toMatchObject({ uncertainSteps: [], attempts: { call: 1 } })
    expect((await stage.history(alone)).map(({ kind }) => kind)).toEqual(['sagaStarted'])
    expect(narrow.seen.map((seen) => seen.url)).toEqual(['/holds'])
    await stage.worker({ services: { narrow: { ...one, baseUrl: (await participant()).url } } })
    expect((await stage.ended(both)).status).toBe('completed')
    expect((await stage.ended(alone)).status).toBe('completed')
  })

  test("does not put off the saga's deadline", async () => {
    const stage = await createStage()
    await withServiceDown(stage)
    const slow = await participant(() => undefined)
    const sagaId = await stage.start(
      group(
        'both',
        call('down', { service: 'down', path: '/' }),
        call('slow', { url: slow.url }, { timeoutMs: 600_000 }),
      ),
      null,
      { deadlineMs: 500 },
    )
    await stage.eventually(sagaId, ({ cause }) => cause === 'deadline')
    expect((await stage.saga(sagaId)).completedSteps).toEqual([])
  })

  test('puts off nothing but its own step', async () => {
    const stage = await createStage()
    await withServiceDown(stage)
    const flaky = await participant((_, response) => json(response, flaky.seen.length < 3 ? 500 : 200, {}))
    const retry = { maxAttempts: 3, initialDelayMs: 100, maxDelayMs: 100 }
    const sagaId = await stage.start(
      group(
        'others',
        call('down', { service: 'down', path: '/' }),
        { name: 'delay', action: { type: 'delay', delayMs: 300 } },
        call('flaky', { url: flaky.url }, { retry }),
      ),
    )
    await stage.eventually(sagaId, ({ completedSteps }) => completedSteps.length === 2)
    expect((await stage.saga(sagaId)).next.attempts).toMatchObject([{ step: 'down', attempt: 1 }])
  })
})

test.each(['http://169.254.169.254/latest/meta-data/', 'http://[fd00:ec2::254]/', 'http://0xa9fea9fe/'])(
  'a plain URL of a definition never leads to the metadata of a cloud: %s',
  async (url) => {
    const stage = await createStage()
    await stage.worker()
    const sagaId = await stage.start({
      name: 'curious',
      steps: [{ name: 'ask', action: { type: 'http', method: 'GET', url } }],
    })
    const saga = await stage.ended(sagaId)
    expect(saga).toMatchObject({ status: 'failed', clean: true })
    expect(saga.failureReason).toContain('link-local')
  },
)
