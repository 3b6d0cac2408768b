import fs from 'node:fs'
import { handlerOf, placedSteps } from '@backstitch/core'
import { afterEach, expect, test, vi } from 'vitest'
import { aSaga, json } from './client/testing.ts'
import { order, placeOrder } from './readme.example.ts'

afterEach(() => {
  vi.unstubAllGlobals()
})

test('the README shows the example that is compiled here', () => {
  const readme = fs.readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const example = fs.readFileSync(new URL('readme.example.ts', import.meta.url), 'utf8')
  expect(/```ts\n(.*?)```/s.exec(readme)?.[1]).toBe(example)
})

test('its saga can be registered, and its functions run', async () => {
  expect(placedSteps(order.definition).map(({ step }) => step.name)).toEqual([
    'reserveInventory',
    'chargePayment',
    'shipOrder',
  ])

  const answers = [json({}), json({}, 402), json({}, 503), json({}, 404)]
  const asked: string[] = []
  vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
    asked.push(`${init.method} ${url}`)
    return answers.shift()
  })
  const call = {
    sagaId: 's-1',
    definition: { name: 'order', version: 1 },
    step: 'chargePayment',
    attempt: 1,
    idempotencyKey: 'k',
    correlationId: undefined,
    traceparent: '',
    input: { orderId: 'o-1', totalCents: 100 },
    context: { reserveInventory: { id: 'r-1' } },
    result: undefined,
    failure: undefined,
    signal: new AbortController().signal,
  }
  const charge = handlerOf(order, 'chargePayment', 'action')!
  const refund = handlerOf(order, 'chargePayment', 'compensation')!
  const ship = handlerOf(order, 'shipOrder', 'action')!
  const action = { ...call, direction: 'action' as const }
  expect(await charge(action)).toEqual({ chargedCents: 100 })
  await expect(charge(action)).rejects.toMatchObject({ code: 'CARD_DECLINED' })
  await expect(charge(action)).rejects.toMatchObject({ name: 'StepUncertain' })
  await refund({ ...call, direction: 'compensation' })
  expect(asked.at(-1)).toBe('DELETE http://localhost:9000/payments/charges/s-1?cents=any')
  expect(await ship(action)).toEqual({ shipped: 'r-1', express: false })
})

test('its caller starts a saga', async () => {
  const asked: string[] = []
  vi.stubGlobal('fetch', async (url: string) => {
    asked.push(url)
    return url.endsWith('/definitions')
      ? json({ name: 'order', version: 1, hash: 'h', warnings: [] }, 201)
      : json(aSaga({ status: 'completed' }))
  })
  expect(await placeOrder('http://api', 'o-1', 100)).toBe('completed')
  expect(asked).toEqual(['http://api/v1/definitions', 'http://api/v1/sagas?waitMs=10000'])
})
