import type { HistoryItem, SagaFilter, SagaSummary, Service, Stats, Worker } from '@backstitch/core'
import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { defineSaga } from '../define-saga.ts'
import { createClient } from './client.ts'
import { aSaga, fakeApi, json, problem, type Scripted } from './testing.ts'

const { sagaId } = aSaga()

const order = defineSaga({
  name: 'order',
  input: z.object({ orderId: z.string(), quantity: z.int().default(1) }),
}).step('reserve', { action: () => ({ reservationId: 'r' }) })

function clientOf(...script: Scripted[]) {
  const api = fakeApi(...script)
  return { ...createClient({ url: 'http://api', fetch: api.fetch }), asked: api.asked }
}

const summary: SagaSummary = {
  sagaId,
  definition: { name: 'order', version: 1 },
  status: 'running',
  startedAt: '2026-01-02T00:00:00.000Z',
  updatedAt: '2026-01-02T00:00:00.000Z',
  completedSteps: [],
  compensatedSteps: [],
  uncertainSteps: [],
  currentSteps: [],
  paused: false,
  version: 1,
  tags: {},
}

describe('a start', () => {
  test('of a saga takes the input its schema takes', async () => {
    const { sagas, asked } = clientOf(json(aSaga(), 202))
    const started = await sagas.start(order, { orderId: 'o-1' }, { sagaKey: 'order-1', tags: { shop: 'b' } })
    expect(started).toEqual(aSaga())
    expect(asked).toMatchObject([
      {
        method: 'POST',
        path: '/v1/sagas',
        body: { definition: 'order', input: { orderId: 'o-1' }, sagaKey: 'order-1', tags: { shop: 'b' } },
      },
    ])
    expect(asked[0]?.headers.has('idempotency-key')).toBe(false)

    // @ts-expect-error: an orderId is a string
    void (() => sagas.start(order, { orderId: 1 }))
    // @ts-expect-error: and must be there
    void (() => sagas.start(order, {}))
    // @ts-expect-error: a Date is not JSON
    void (() => sagas.start('order', { at: new Date() }))
  })

  test('by name takes any JSON, with all that can be said about a start', async () => {
    const { sagas, asked } = clientOf(json(aSaga({ status: 'completed' })))
    const saga = await sagas.start('order', [1, null], {
      version: 2,
      idempotencyKey: 'k-1',
      correlationId: 'c-1',
      deadlineMs: 1000,
      waitMs: 2000,
    })
    expect(saga.status).toBe('completed')
    expect(asked[0]?.query.get('waitMs')).toBe('2000')
    expect(asked[0]?.headers.get('idempotency-key')).toBe('k-1')
    expect(asked[0]?.body).toEqual({
      definition: 'order',
      input: [1, null],
      version: 2,
      correlationId: 'c-1',
      deadlineMs: 1000,
    })
  })

  test('is given a key of its own where the caller has none', async () => {
    const { sagas, asked } = clientOf(json(aSaga(), 202), json(aSaga(), 202))
    await sagas.start('order', null)
    await sagas.start('order', null)
    const keys = asked.map(({ headers }) => headers.get('idempotency-key'))
    expect(new Set(keys).size).toBe(2)
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('is not sent with an input that JSON would change without a word', async () => {
    const { sagas, asked } = clientOf()
    const cents: number = Number.NaN
    await expect(sagas.start('order', { lines: [{ cents }] })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      status: undefined,
      errors: [{ pointer: '/input/lines/0/cents', detail: 'found NaN, expected a finite number' }],
    })
    await expect(sagas.startBatch('order', [{ input: 1 }, { input: { cents } }])).rejects.toMatchObject({
      errors: [{ pointer: '/sagas/1/input/cents' }],
    })
    expect(asked).toEqual([])
  })

  test('of many is one request, answered one by one', async () => {
    const items = [
      { accepted: true, sagaId, status: 'running', version: 1 },
      {
        accepted: false,
        problem: { type: 't', title: 'T', status: 409, detail: 'd', code: 'START_CONFLICT', requestId: 'r' },
      },
    ]
    const { sagas, asked } = clientOf(json({ items }))
    const answers = await sagas.startBatch(order, [
      { input: { orderId: 'a' }, sagaKey: 'a' },
      { input: { orderId: 'b' } },
    ])
    expect(answers).toEqual(items)
    expect(asked[0]).toMatchObject({
      method: 'POST',
      path: '/v1/sagas/batch',
      body: {
        sagas: [
          { definition: 'order', input: { orderId: 'a' }, sagaKey: 'a' },
          { definition: 'order', input: { orderId: 'b' } },
        ],
      },
    })
    expect(asked[0]?.headers.get('idempotency-key')).toMatch(/^[0-9a-f-]{36}$/)
    // @ts-expect-error: each has the input of the saga
    void (() => sagas.startBatch(order, [{ input: { orderId: 1 } }]))
  })
})

test('a start that conflicts with another says with which', async () => {
  const { sagas } = clientOf(problem(409, 'START_CONFLICT', { sagaId: 'other' }))
  await expect(sagas.start('order', 1, { sagaKey: 'k' })).rejects.toMatchObject({
    code: 'START_CONFLICT',
    sagaId: 'other',
  })
})

describe('sagas', () => {
  test('are listed by filter, page after page', async () => {
    const { sagas, asked } = clientOf(
      json({ items: [{ ...summary, sagaId: 'a' }], nextCursor: 'c1' }),
      json({ items: [], nextCursor: 'c2' }),
      json({ items: [{ ...summary, sagaId: 'b' }] }),
    )
    const found: string[] = []
    const filter: SagaFilter = {
      status: ['stuck', 'failed'],
      definition: 'order',
      tags: { 'shop.id': 'b&c' },
    }
    for await (const saga of sagas.list(filter, { limit: 1 })) found.push(saga.sagaId)
    expect(found).toEqual(['a', 'b'])
    expect(asked.map(({ query }) => query.get('cursor'))).toEqual([null, 'c1', 'c2'])
    for (const { query } of asked) {
      query.delete('cursor')
      expect(new Set([...query].map((pair) => pair.join('=')))).toEqual(
        new Set(['definition=order', 'limit=1', 'status=failed', 'status=stuck', 'tag.shop.id=b&c']),
      )
    }
  })

  test('are listed one page at a time, and no page is asked for before it is needed', async () => {
    const { sagas, asked } = clientOf(json({ items: [summary], nextCursor: 'c1' }), json({ items: [] }))
    const list = sagas.list()
    expect(asked).toEqual([])
    const first = await list.page()
    expect(first).toEqual({ items: [summary], nextCursor: 'c1' })
    expect(await list.page(first.nextCursor)).toEqual({ items: [] })
    expect(asked).toHaveLength(2)
  })

  test('have a history', async () => {
    const entry: HistoryItem = {
      seq: 2,
      epoch: 1,
      worker: 'w',
      kind: 'attemptSucceeded',
      at: '2026-01-02T00:00:00.000Z',
      step: 'reserve',
      direction: 'action',
      attempt: 1,
      outcome: 'succeeded',
      result: { id: 1 },
      resultBytes: 8,
      to: { status: 'completed' },
    }
    const newer = { seq: 3, epoch: 1, worker: null, at: entry.at, kind: 'addedLater', how: 'unknown' }
    const { sagas, asked } = clientOf(json({ items: [entry, newer] }))
    const { how: _, kind: storedKind, ...known } = newer
    expect(await sagas.history(sagaId, { limit: 200 }).toArray()).toEqual([
      entry,
      { ...known, kind: 'unreadable', storedKind, why: expect.stringContaining('the server may be newer') },
    ])
    expect(asked[0]).toMatchObject({ path: `/v1/sagas/${sagaId}/history` })
    expect(asked[0]?.query.get('limit')).toBe('200')
  })

  test.each([
    ['cancel', 'cancel', {}, { reason: 'r' }],
    ['retry', 'retry', { step: 'charge' }, { reason: 'r', step: 'charge' }],
    ['retry', 'retry', { input: null, force: true }, { reason: 'r', input: null, force: true }],
    ['pause', 'pause', {}, { reason: 'r' }],
    ['resume', 'resume', {}, { reason: 'r' }],
    ['runNow', 'run-now', {}, { reason: 'r' }],
    ['skip', 'skip', {}, { reason: 'r' }],
    ['markCompensated', 'mark-compensated', {}, { reason: 'r' }],
    ['abandon', 'abandon', {}, { reason: 'r' }],
  ] as const)('take the verb %s', async (verb, path, options, body) => {
    const accepted = { accepted: true as const, sagaId, status: 'stuck' as const, version: 4 }
    const { sagas, asked } = clientOf(json(accepted, 202))
    expect(await sagas[verb](sagaId, { reason: 'r', ...options })).toEqual(accepted)
    expect(asked[0]).toMatchObject({ method: 'POST', path: `/v1/sagas/${sagaId}/${path}` })
    expect(asked[0]?.body).toEqual(body)
    expect(asked[0]?.headers.has('if-match')).toBe(false)
  })

  test('tell the plan of the verbs', async () => {
    const plan = { sagaId, version: 4, status: 'stuck' as const, verbs: [] }
    const { sagas, asked } = clientOf(json(plan))
    expect(await sagas.plan(sagaId)).toEqual(plan)
    expect(asked[0]).toMatchObject({ method: 'GET', path: `/v1/sagas/${sagaId}/plan` })
  })

  test('refuse an edited input that JSON would change', async () => {
    const { sagas, asked } = clientOf()
    const retry = sagas.retry(sagaId, { reason: 'r', input: Number.NaN })
    await expect(retry).rejects.toMatchObject({ code: 'INVALID_INPUT' })
    expect(asked).toEqual([])
  })

  test('refuse a verb that was decided on an older version', async () => {
    const { sagas, asked } = clientOf(problem(412, 'STALE_VERSION'))
    const stale = sagas.skip(sagaId, { reason: 'r', decidedOn: 7 })
    await expect(stale).rejects.toMatchObject({ code: 'STALE_VERSION', status: 412 })
    expect(asked[0]?.headers.get('if-match')).toBe('"7"')
  })
})

describe('waiting', () => {
  test('ends when the saga has ended, or needs a person', async () => {
    for (const status of ['completed', 'stuck'] as const) {
      const { sagas, asked } = clientOf(json(aSaga({ status })))
      expect(await sagas.wait(sagaId)).toMatchObject({ status })
      expect(asked[0]).toMatchObject({ method: 'GET', path: `/v1/sagas/${sagaId}/wait` })
      expect(asked[0]?.query.get('timeoutMs')).toBe('25000')
    }
  })

  test('goes on over many polls, and does not hammer a server that answers at once', async () => {
    vi.useFakeTimers()
    try {
      const { sagas, asked } = clientOf(json(aSaga()), json(aSaga()), json(aSaga({ status: 'failed' })))
      const waiting = sagas.wait(sagaId)
      await vi.advanceTimersByTimeAsync(499)
      expect(asked).toHaveLength(1)
      await vi.advanceTimersByTimeAsync(501)
      expect(asked).toHaveLength(3)
      expect(await waiting).toMatchObject({ status: 'failed' })
    } finally {
      vi.useRealTimers()
    }
  })

  test('answers when its time is over with the saga as it stands', async () => {
    vi.useFakeTimers()
    try {
      const { sagas, asked } = clientOf(json(aSaga()), json(aSaga()), json(aSaga()))
      const waiting = sagas.wait(sagaId, { timeoutMs: 700 })
      await vi.advanceTimersByTimeAsync(700)
      expect(await waiting).toMatchObject({ status: 'running' })
      expect(asked.map(({ query }) => query.get('timeoutMs'))).toEqual(['700', '200', '0'])
    } finally {
      vi.useRealTimers()
    }
  })

  test('stops with the caller', async () => {
    const caller = new AbortController()
    const { sagas } = clientOf(json(aSaga()))
    const waiting = sagas.wait(sagaId, { signal: caller.signal })
    await new Promise(setImmediate)
    caller.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })
})

describe('definitions', () => {
  const registered = { name: 'order', version: 1, hash: 'h', warnings: [] }
  const version = {
    name: 'order',
    version: 2,
    hash: 'h',
    queue: 'order',
    createdAt: '2026-01-02T00:00:00.000Z',
  }

  test('are registered as a saga or as a document', async () => {
    const { definitions, asked } = clientOf(json(registered, 201), json(registered))
    expect(await definitions.register(order)).toEqual(registered)
    const document = {
      name: 'order',
      steps: [{ name: 'one', action: { type: 'http', url: 'http://one' } }],
    } as const
    await definitions.register(document)
    expect(asked[0]).toMatchObject({ method: 'POST', path: '/v1/definitions', body: order.definition })
    expect(asked[1]?.body).toEqual(document)
  })

  test('are checked without being stored', async () => {
    const warnings = [{ pointer: '/steps/0', detail: 'may change something' }]
    const errors = [{ pointer: '/name', detail: 'a name starts with a letter' }]
    const { definitions, asked } = clientOf(
      json({ warnings }),
      problem(422, 'INVALID_DEFINITION', { errors }),
      problem(401, 'UNAUTHORIZED'),
    )
    expect(await definitions.validate(order)).toEqual({ valid: true, warnings })
    expect(await definitions.validate({ name: '1' })).toEqual({ valid: false, errors })
    await expect(definitions.validate(order)).rejects.toMatchObject({ status: 401 })
    expect(asked[0]).toMatchObject({ method: 'POST', path: '/v1/definitions/validate' })
  })

  test('are read: one, all, and all versions of one', async () => {
    const whole = { ...version, document: { name: 'order', steps: [], addedLater: 1 } }
    const { definitions, asked } = clientOf(
      json(whole),
      json(whole),
      json({ items: [version] }),
      json({ items: [version] }),
    )
    expect(await definitions.get('order')).toEqual(whole)
    await definitions.get('order', { version: 2 })
    expect(await definitions.list().toArray()).toEqual([version])
    expect(await definitions.versions('order').page()).toEqual({ items: [version] })
    expect(asked.map(({ path }) => path)).toEqual([
      '/v1/definitions/order',
      '/v1/definitions/order/versions/2',
      '/v1/definitions',
      '/v1/definitions/order/versions',
    ])
  })

  test('have a plan', async () => {
    const plan = {
      definition: { name: 'order', version: 1 },
      failAt: 'charge',
      acts: [
        { step: 'reserve', direction: 'action', outcome: 'succeeded', round: 1 },
        { step: 'charge', direction: 'action', outcome: 'rejected', round: 2 },
        { step: 'reserve', direction: 'compensation', outcome: 'succeeded', round: 3 },
      ],
      ends: 'failed',
    }
    const { definitions, asked } = clientOf(json(plan))
    expect(await definitions.plan('order', { failAt: 'charge' })).toEqual(plan)
    expect(asked[0]?.url).toBe('http://api/v1/definitions/order/plan?failAt=charge')
  })
})

test('an installation has numbers and workers', async () => {
  const stats: Stats = {
    sagas: [{ definition: 'order', status: 'completed', count: 3 }],
    perMinute: { started: 1, ended: 2 },
    minutes: [],
    durationMs: { p50: 1.5, p90: 2, p99: 3 },
    stepMs: { p50: null, p90: null, p99: null },
    oldestDueAt: null,
    oldestStuckAt: null,
  }
  const worker: Worker = {
    workerId: 'w',
    host: 'h',
    pid: 1,
    queues: ['order'],
    handlers: { order: ['reserve'] },
    services: ['payments'],
    concurrency: 10,
    holds: 0,
    startedAt: '2026-01-02T00:00:00.000Z',
    heartbeatAt: '2026-01-02T00:00:00.000Z',
  }
  const service: Service = {
    service: 'payments',
    configured: true,
    breaker: 'open',
    inFlight: 1,
    waiting: 0,
    limit: 50,
    definitions: ['order'],
    workers: [
      {
        workerId: 'w',
        named: true,
        breaker: 'open',
        inFlight: 1,
        waiting: 0,
        limit: 50,
        lastError: 'TIMEOUT',
      },
    ],
  }
  const client = clientOf(json(stats), json({ items: [worker] }), json({ items: [service] }))
  expect(await client.stats()).toEqual(stats)
  expect(await client.workers().toArray()).toEqual([worker])
  expect(await client.services().toArray()).toEqual([service])
  expect(client.asked.map(({ path }) => path)).toEqual(['/v1/stats', '/v1/workers', '/v1/services'])
})
