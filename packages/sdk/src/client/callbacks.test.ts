import { expect, test } from 'vitest'
import { createClient } from './client.ts'
import { fakeApi, json, problem } from './testing.ts'

const accepted = () => json({ accepted: true }, 202)

function clientOf(...script: Parameters<typeof fakeApi>) {
  const api = fakeApi(...script)
  const client = createClient({ url: 'http://api', fetch: api.fetch, retry: { initialDelayMs: 1 } })
  return { client, asked: api.asked }
}

test('a callback tells how a step has ended, by its token', async () => {
  const { client, asked } = clientOf(accepted(), accepted(), accepted())
  await client.callbacks.succeed('s-1.m_c-', { room: 'blue' })
  await client.callbacks.succeed('s-1.mac')
  const full = { code: 'HOTEL_FULL', message: 'no room left', retryable: false }
  await client.callbacks.fail('s-1.mac', full, { idempotencyKey: 'mine' })
  expect(asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'POST /v1/callbacks/s-1.m_c-',
    'POST /v1/callbacks/s-1.mac',
    'POST /v1/callbacks/s-1.mac',
  ])
  expect(asked.map(({ body }) => body)).toEqual([
    { result: { room: 'blue' } },
    { result: null },
    { error: full },
  ])
  expect(asked[2]?.headers.get('idempotency-key')).toBe('mine')
})

test('a callback whose answer got lost goes out again under the same key, so that it counts once', async () => {
  const { client, asked } = clientOf(new Error('reset'), problem(503, 'UNAVAILABLE'), accepted())
  await client.callbacks.fail('s-1.mac', { code: 'BUSY', message: 'later', retryable: true })
  const keys = asked.map(({ headers }) => headers.get('idempotency-key'))
  expect(keys).toHaveLength(3)
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/)
  expect(new Set(keys).size).toBe(1)
})

test('a result that is not JSON is refused here, one that nobody waits for there', async () => {
  const { client, asked } = clientOf(problem(404, 'CALLBACK_NOT_AWAITED'))
  await expect(client.callbacks.succeed('s-1.mac', { at: Number.NaN })).rejects.toMatchObject({
    code: 'INVALID_INPUT',
    errors: [expect.objectContaining({ pointer: '/result/at' })],
  })
  expect(asked).toEqual([])
  await expect(client.callbacks.succeed('s-1.mac')).rejects.toMatchObject({ code: 'CALLBACK_NOT_AWAITED' })
})
