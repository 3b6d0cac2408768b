import type { FeedEvent, Webhook, WebhookDelivery } from '@backstitch/core'
import { expect, test } from 'vitest'
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
  for await (const event of events.follow({ types: ['saga.stuck', 'saga.failed'], pollMs: 0 })) {
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
    for await (const event of events.follow({ after: '2', awayMs: 0 })) seen.push(event.position)
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
