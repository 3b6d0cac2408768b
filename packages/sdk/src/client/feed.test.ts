import type { FeedEvent, Webhook, WebhookDelivery } from '@backstitch/core'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createClient } from './client.ts'
import { fakeApi, json, problem, type Scripted } from './testing.ts'

const sagaId = '01900000-0000-7000-8000-000000000001'

function anEvent(position: string): FeedEvent {
  const definition = { name: 'order', version: 1 }
  return {
    position,
    type: 'saga.stuck',
    at: '2026-01-02T00:00:00.000Z',
    sagaId,
    definition,
    seq: 7,
    status: 'stuck',
    was: 'compensating',
    data: {},
  }
}

function clientOf(...script: Scripted[]) {
  const api = fakeApi(...script)
  const retry = { maxAttempts: 1 }
  return { ...createClient({ url: 'http://api', fetch: api.fetch, retry }), asked: api.asked }
}

test('events are followed from page to page, each once, and no page is asked for twice', async () => {
  const { events, asked } = clientOf(
    json({ items: [anEvent('1'), anEvent('2')], last: '2' }),
    json({ items: [], last: '9' }),
    json({ items: [anEvent('12')], last: '12' }),
  )
  const seen: string[] = []
  for await (const event of events.follow({
    types: ['saga.stuck', 'saga.failed'],
    pollMs: 0,
    stream: false,
  })) {
    seen.push(event.position)
    if (event.position === '12') break
  }
  expect(seen).toEqual(['1', '2', '12'])
  expect(asked.map(({ query }) => query.get('after'))).toEqual([null, '2', '9'])
  expect(asked[0]?.query.getAll('type')).toEqual(['saga.stuck', 'saga.failed'])
})

test('events go on where they were when the API was away, and end where it says no', async () => {
  const { events, asked } = clientOf(
    json({ items: [anEvent('3')], last: '3' }),
    new TypeError('fetch failed'),
    problem(503, 'UNAVAILABLE'),
    json({ items: [anEvent('4')], last: '4' }),
    problem(400, 'BAD_REQUEST'),
  )
  const seen: string[] = []
  const following = (async () => {
    for await (const event of events.follow({ after: '2', awayMs: 0, stream: false }))
      seen.push(event.position)
  })()
  await expect(following).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  expect(seen).toEqual(['3', '4'])
  expect(asked.map(({ query }) => query.get('after'))).toEqual(['2', '3', '3', '3', '4'])
})

test('events end with the signal, for its reason', async () => {
  const leaving = new AbortController()
  const { events } = clientOf(() => {
    leaving.abort(new Error('enough'))
    return json({ items: [], last: '0' })
  })
  await expect(events.follow({ signal: leaving.signal }).next()).rejects.toThrow('enough')
})

describe('a stream of events', () => {
  const none = () => json({ items: [], last: '2' })

  test('carries on where the pages end, and is resumed by pages from the last whole event when it breaks off', async () => {
    const [three, four] = [frameOf('3'), frameOf('4')]
    const { events, asked } = clientOf(
      json({ items: [anEvent('1'), anEvent('2')], last: '2' }),
      none(),
      streamOf(
        ['retry: 2000\n\n', three.slice(0, 30), three.slice(30), ': still here\n\n', four.slice(0, 50)],
        'breaks off',
      ),
      json({ items: [anEvent('4'), anEvent('5')], last: '5' }),
    )
    const seen: string[] = []
    for await (const { position } of events.follow({ types: ['saga.stuck'], sagaId, pollMs: 0 })) {
      seen.push(position)
      if (position === '5') break
    }
    expect(seen).toEqual(['1', '2', '3', '4', '5'])
    expect(asked.map(({ path, query }) => `${path} ${query.get('after')}`)).toEqual([
      '/v1/events null',
      '/v1/events 2',
      '/v1/events/stream 2',
      '/v1/events 3',
    ])
    expect(asked[2]?.query.getAll('type')).toEqual(['saga.stuck'])
    expect(asked[2]?.query.get('sagaId')).toBe(sagaId)
    expect(asked[2]?.headers.get('accept')).toContain('text/event-stream')
  })

  test('that begins too early tells nothing twice', async () => {
    const { events } = clientOf(none(), streamOf([frameOf('1'), frameOf('2'), frameOf('3')], 'stays'))
    const following = events.follow({ after: '2' })
    expect((await following.next()).value.position).toBe('3')
  })

  test.each([
    ['is not there', () => problem(404, 'NOT_FOUND')],
    ['has no room', () => problem(503, 'OVERLOADED')],
    ['is none', () => json({ items: [] })],
    ['cannot be reached', () => new TypeError('fetch failed')],
    ['brings what is no event', () => streamOf(['data: {"position":"3"}\n\n'], 'stays')],
  ])('that %s is done without: pages are asked for instead', async (_what, answer) => {
    const { events, asked } = clientOf(
      none(),
      answer(),
      none(),
      none(),
      json({ items: [anEvent('9')], last: '9' }),
    )
    const following = events.follow({ after: '2', pollMs: 0 })
    expect((await following.next()).value.position).toBe('9')
    const paths = asked.map(({ path }) => path.replace('/v1/events', ''))
    expect(paths).toEqual(['', '/stream', '', '', ''])
  })

  test('is asked for again, for longer and longer, while nothing comes of it', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const times: number[] = []
    const leaving = new AbortController()
    const { events } = createClient({
      url: 'http://api',
      fetch: async (url) => {
        if (!url.includes('/stream')) return none()
        times.push(performance.now())
        if (times.length === 9) leaving.abort(new Error('enough'))
        return problem(404, 'NOT_FOUND')
      },
    })
    const ended = events
      .follow({ signal: leaving.signal })
      .next()
      .catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(600_000)
    expect(await ended).toMatchObject({ message: 'enough' })
    const waits = times.slice(1).map((at, index) => Math.floor((at - (times[index] ?? 0)) / 1_000))
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60])
  })

  test.each([
    ['at its beginning', [], 5_000],
    ['later', ['retry: 2000\n\n'], 45_000],
  ])(
    'that falls silent %s is given up, and pages tell what it has kept back',
    async (_when, frames, afterMs) => {
      vi.useFakeTimers()
      onTestFinished(() => void vi.useRealTimers())
      const { events } = clientOf(
        none(),
        (_asked, signal) => streamOf(frames, 'stays', signal),
        json({ items: [anEvent('3')], last: '3' }),
      )
      let seen: string | undefined
      const next = events.follow({ after: '2' }).next()
      void next.then(({ value }) => {
        seen = value.position
      })
      await vi.advanceTimersByTimeAsync(afterMs - 100)
      expect(seen).toBeUndefined()
      await vi.advanceTimersByTimeAsync(200)
      await next
      expect(seen).toBe('3')
    },
  )

  test('ends with the signal, for its reason, and hangs up', async () => {
    const leaving = new AbortController()
    let hungUp: AbortSignal | undefined
    const { events } = clientOf(none(), (_asked, signal) => {
      hungUp = signal
      return streamOf([frameOf('3')], 'stays', signal)
    })
    const following = events.follow({ after: '2', signal: leaving.signal })
    expect((await following.next()).value.position).toBe('3')
    const next = following.next()
    leaving.abort(new Error('enough'))
    await expect(next).rejects.toThrow('enough')
    expect(hungUp?.aborted).toBe(true)
  })

  test('is hung up on by whoever has heard enough', async () => {
    let hungUp: AbortSignal | undefined
    const { events } = clientOf(none(), (_asked, signal) => {
      hungUp = signal
      return streamOf([frameOf('3')], 'stays', signal)
    })
    for await (const _ of events.follow({ after: '2' })) break
    expect(hungUp?.aborted).toBe(true)
  })
})

function frameOf(position: string): string {
  return `id: ${position}\nevent: saga.stuck\ndata: ${JSON.stringify(anEvent(position))}\n\n`
}

/** Frames as they come, and what is then: it breaks off, or stays open until it is hung up. */
function streamOf(frames: readonly string[], then: 'breaks off' | 'stays', signal?: AbortSignal): Response {
  const left = [...frames]
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = left.shift()
      if (next !== undefined) return controller.enqueue(new TextEncoder().encode(next))
      if (then === 'breaks off') return controller.error(new TypeError('terminated'))
      await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
      controller.error(signal?.reason)
    },
  })
  return new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } })
}

test('a webhook is made, changed, tested, given another secret and deleted', async () => {
  const webhook: Webhook = {
    webhookId: 'w-1',
    url: 'https://ops.example/hook',
    types: ['saga.stuck'],
    enabled: true,
    createdAt: '2026-01-02T00:00:00.000Z',
  }
  const { webhooks, asked } = clientOf(
    json({ ...webhook, secret: 'whsec_1' }, 201),
    json(webhook),
    json({ items: [webhook] }),
    json({ ...webhook, enabled: false }),
    json({ deliveryId: 'd-1' }, 202),
    json({ secret: 'whsec_2' }),
    new Response(null, { status: 204 }),
  )
  const { secret } = await webhooks.create({ url: webhook.url, types: ['saga.stuck'] })
  expect(secret).toBe('whsec_1')
  expect(await webhooks.get('w-1')).toEqual(webhook)
  expect(await webhooks.list().toArray()).toEqual([webhook])
  expect(await webhooks.change('w-1', { enabled: false })).toMatchObject({ enabled: false })
  expect(await webhooks.test('w-1')).toEqual({ deliveryId: 'd-1' })
  expect(await webhooks.rotateSecret('w-1')).toEqual({ secret: 'whsec_2' })
  await webhooks.delete('w-1')
  expect(asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'POST /v1/webhooks',
    'GET /v1/webhooks/w-1',
    'GET /v1/webhooks',
    'PATCH /v1/webhooks/w-1',
    'POST /v1/webhooks/w-1/test',
    'POST /v1/webhooks/w-1/rotate-secret',
    'DELETE /v1/webhooks/w-1',
  ])
})

test('what could not be delivered is listed, and sent again', async () => {
  const failed: WebhookDelivery = {
    deliveryId: 'd-1',
    eventType: 'saga.stuck',
    sagaId,
    at: '2026-01-02T00:00:00.000Z',
    state: 'failed',
    attempts: 10,
    lastStatus: 500,
    lastError: 'it answered 500',
  }
  const { webhooks, asked } = clientOf(json({ items: [failed] }), json({ deliveryId: 'd-1' }, 202))
  for (const { deliveryId } of await webhooks.deliveries('w-1', { state: 'failed' }).toArray()) {
    await webhooks.redeliver('w-1', deliveryId)
  }
  expect(asked[0]?.query.get('state')).toBe('failed')
  expect(asked[1]).toMatchObject({ method: 'POST', path: '/v1/webhooks/w-1/deliveries/d-1/redeliver' })
})
