import type { Bulk } from '@backstitch/core'
import { expect, test } from 'vitest'
import { createClient } from './client.ts'
import { fakeApi, json } from './testing.ts'

const bulkId = '3f0c2c1e-0000-4000-8000-000000000000'
const bulk: Bulk = {
  bulkId,
  verb: 'retry',
  reason: 'r',
  actor: 'ann',
  createdAt: '2026-01-02T00:00:00.000Z',
  state: 'running',
  total: 3,
  cut: false,
  done: 1,
  accepted: 1,
  refused: 0,
  failed: 0,
  perSecond: 50,
}
const request = { filter: { status: ['stuck' as const] }, verb: 'retry' as const, reason: 'r' }

function clientOf(...script: Parameters<typeof fakeApi>) {
  const api = fakeApi(...script)
  return { client: createClient({ url: 'http://api', fetch: api.fetch }), asked: api.asked }
}

test('a bulk operation is begun under a key, so that it may be asked for again', async () => {
  const { client, asked } = clientOf(json(bulk, 202), json(bulk, 202))
  expect(await client.bulk.start(request)).toEqual(bulk)
  await client.bulk.start(request, { idempotencyKey: 'mine' })
  expect(asked).toMatchObject([
    { method: 'POST', path: '/v1/bulk', body: request },
    { method: 'POST', path: '/v1/bulk', body: request },
  ])
  expect(asked[0]?.headers.get('idempotency-key')).toMatch(/^[0-9a-f-]{36}$/)
  expect(asked[1]?.headers.get('idempotency-key')).toBe('mine')
})

test('a bulk operation is tried dry, looked at, and stopped', async () => {
  const preview = { matching: 3, judged: 3, possible: 2, impossible: 1, why: { no: 1 }, sample: [] }
  const items = [{ sagaId: 's', state: 'refused' as const, detail: 'no' }]
  const { client, asked } = clientOf(
    json(preview),
    json(bulk),
    json({ items: [bulk] }),
    json({ items, nextCursor: 'c' }),
    json({ items: [] }),
    json({ ...bulk, state: 'aborted' }),
  )
  expect(await client.bulk.dryRun(request)).toEqual(preview)
  expect(await client.bulk.get(bulkId)).toEqual(bulk)
  expect(await client.bulk.list({ limit: 5 }).toArray()).toEqual([bulk])
  expect(await client.bulk.items(bulkId, { state: 'refused' }).toArray()).toEqual(items)
  expect(await client.bulk.abort(bulkId)).toMatchObject({ state: 'aborted' })
  expect(asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'POST /v1/bulk',
    `GET /v1/bulk/${bulkId}`,
    'GET /v1/bulk',
    `GET /v1/bulk/${bulkId}/items`,
    `GET /v1/bulk/${bulkId}/items`,
    `POST /v1/bulk/${bulkId}/abort`,
  ])
  expect(asked[0]?.body).toEqual({ ...request, dryRun: true })
  expect(asked[4]?.query.get('state')).toBe('refused')
  expect(asked[4]?.query.get('cursor')).toBe('c')
})
