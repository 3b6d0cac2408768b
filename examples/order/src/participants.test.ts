import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Ledger } from '@backstitch/example-participants'
import type { FastifyInstance } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import type { Order } from './order.ts'
import { orderParticipants } from './participants.ts'
import { DECLINED_CARD } from './services.ts'

const order: Order = {
  orderId: 'ord-1',
  sku: 'needle',
  quantity: 2,
  card: '4000-0000-0000-0000',
}

type Service = { app: FastifyInstance; ledger: Ledger }
const running: Service[] = []

function participants(options: { directory?: string; needles?: number; slowCarrierMs?: number } = {}) {
  const ledger = new Ledger(options.directory)
  const catalogue = { needle: { priceCents: 90, stock: options.needles ?? 100 } }
  const service = { ledger, app: orderParticipants({ ...options, catalogue, ledger }) }
  running.push(service)
  return service
}

afterEach(async () => {
  for (const { app } of running.splice(0)) await app.close()
})

type CallOptions = { sagaId?: string; input?: Partial<Order>; attempt?: number; key?: string }

async function post(
  { app }: Service,
  url: string,
  { sagaId = 'saga-1', input, attempt = 1, key }: CallOptions = {},
) {
  const direction = /release|refund|cancellation/.test(url) ? 'compensation' : 'action'
  const response = await app.inject({
    method: 'POST',
    url,
    headers: {
      'Idempotency-Key': key ?? `${sagaId}:${url}:1`,
      'Saga-Id': sagaId,
      'Saga-Step': 'someStep',
      'Saga-Direction': direction,
      'Saga-Attempt': String(attempt),
    },
    payload: { sagaId, step: 'someStep', direction, input: { ...order, ...input }, context: {} },
  })
  return { status: response.statusCode, type: response.headers['content-type'], body: response.json() }
}

const eventsOf = ({ ledger }: Service, sagaId?: string) =>
  ledger.entries(sagaId).map(({ event, operation }) => `${event} ${operation}`)

describe('an idempotency key', () => {
  test('gives the same answer again, and has no second effect', async () => {
    const service = participants({ needles: 3 })
    const first = await post(service, '/inventory/reservations')
    const second = await post(service, '/inventory/reservations', { attempt: 2 })
    expect(first.status).toBe(200)
    expect(second).toEqual(first)
    expect(eventsOf(service)).toEqual([
      'received reserveInventory',
      'applied reserveInventory',
      'received reserveInventory',
      'replayed reserveInventory',
    ])
    // One piece is left, not minus one.
    expect(await post(service, '/inventory/reservations', { sagaId: 'saga-2' })).toMatchObject({
      status: 409,
      body: { detail: '2 × needle asked for, 1 in stock' },
    })
  })

  test('is honoured while its first call is still at work', async () => {
    const service = participants({ slowCarrierMs: 1_000 })
    const slow = { input: { shipping: 'slow' } } as const
    const [first, second] = await Promise.all([
      post(service, '/shipping/shipments', slow),
      post(service, '/shipping/shipments', slow),
    ])
    expect(second).toEqual(first)
    expect(eventsOf(service)).toEqual([
      'received shipOrder',
      'received shipOrder',
      'applied shipOrder',
      'replayed shipOrder',
    ])
  })

  test('gives a refusal again, too', async () => {
    const service = participants()
    const declined = { input: { card: DECLINED_CARD } }
    const first = await post(service, '/payments/charges', declined)
    expect(await post(service, '/payments/charges', { ...declined, attempt: 2 })).toEqual(first)
    expect(eventsOf(service)).toEqual([
      'received chargePayment',
      'refused chargePayment',
      'received chargePayment',
      'replayed chargePayment',
    ])
  })

  test('of another saga is refused', async () => {
    const service = participants()
    await post(service, '/mail/confirmations', { key: 'k' })
    const other = await post(service, '/mail/confirmations', { key: 'k', sagaId: 'saga-2' })
    expect(other).toMatchObject({ status: 422, body: { title: 'Key reused' } })
  })

  test('is remembered over a restart, and so is the stock', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'backstitch-ledger-'))
    const before = participants({ directory, needles: 2 })
    const first = await post(before, '/inventory/reservations')
    // What a kill in the middle of a line leaves behind.
    fs.appendFileSync(path.join(directory, 'ledger.jsonl'), '{"seq":3,"eve')

    const after = participants({ directory, needles: 2 })
    expect(await post(after, '/inventory/reservations')).toEqual(first)
    expect(await post(after, '/inventory/reservations', { sagaId: 'saga-2' })).toMatchObject({ status: 409 })
    expect(new Ledger(directory).entries()).toEqual(after.ledger.entries())
    fs.rmSync(directory, { recursive: true })
  })
})

describe('an undo', () => {
  test('puts the goods back on the shelf', async () => {
    const service = participants({ needles: 2 })
    await post(service, '/inventory/reservations')
    expect(await post(service, '/inventory/releases')).toMatchObject({ status: 200 })
    expect(await post(service, '/inventory/reservations', { sagaId: 'saga-2' })).toMatchObject({
      status: 200,
    })
  })

  test('of something never done is accepted, and the late action is refused', async () => {
    const service = participants()
    expect(await post(service, '/payments/refunds')).toMatchObject({
      status: 200,
      body: { nothingToUndo: true },
    })
    expect(await post(service, '/payments/charges')).toMatchObject({
      status: 409,
      body: { title: 'Already undone' },
    })
    expect(eventsOf(service)).toEqual([
      'received refundPayment',
      'nothingToUndo refundPayment',
      'received chargePayment',
      'refused chargePayment',
    ])
  })

  test('overtakes an action that is still at work', async () => {
    const service = participants({ slowCarrierMs: 1_000 })
    const shipment = post(service, '/shipping/shipments', { input: { shipping: 'slow' } })
    await expect.poll(() => service.ledger.entries(), { interval: 5 }).toHaveLength(1)
    expect(await post(service, '/shipping/cancellations')).toMatchObject({ body: { nothingToUndo: true } })
    expect(await shipment).toMatchObject({ status: 409, body: { title: 'Already undone' } })
  })

  test('of another saga changes nothing', async () => {
    const service = participants()
    await post(service, '/payments/refunds', { sagaId: 'saga-2' })
    expect(await post(service, '/payments/charges')).toMatchObject({ status: 200 })
  })
})

describe('the order decides', () => {
  test('a test card is declined, as problem JSON', async () => {
    const service = participants()
    expect(await post(service, '/payments/charges', { input: { card: DECLINED_CARD } })).toEqual({
      status: 402,
      type: expect.stringContaining('application/problem+json'),
      body: {
        type: 'urn:problem:card-declined',
        title: 'Card declined',
        status: 402,
        detail: 'the bank declined the card ending in 0002',
      },
    })
  })

  test('an unknown SKU is not found', async () => {
    const service = participants()
    const input = { sku: 'unobtainium' }
    expect(await post(service, '/inventory/reservations', { input })).toMatchObject({ status: 404 })
  })

  test('stock is finite, however many ask at once', async () => {
    const service = participants({ needles: 5 })
    const all = await Promise.all(
      Array.from({ length: 5 }, (_, index) =>
        post(service, '/inventory/reservations', { sagaId: `saga-${index}` }),
      ),
    )
    expect(all.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 200, 409, 409, 409])
  })

  test('what it costs is counted from the catalogue', async () => {
    const charge = await post(participants(), '/payments/charges', { input: { quantity: 7 } })
    expect(charge).toMatchObject({ body: { amountCents: 630 } })
  })
})

test('the ledger is read in order, as a whole or by saga', async () => {
  const service = participants()
  await post(service, '/inventory/reservations', { sagaId: 'a' })
  await post(service, '/inventory/reservations', { sagaId: 'b' })
  await post(service, '/inventory/releases', { sagaId: 'a', attempt: 2 })
  const all = await service.app.inject('/ledger')
  expect(all.json().entries.map(({ seq }: { seq: number }) => seq)).toEqual([1, 2, 3, 4, 5, 6])
  const ofA = await service.app.inject('/ledger?sagaId=a')
  expect(ofA.json().entries).toHaveLength(4)
  expect(ofA.json().entries.at(-1)).toMatchObject({
    seq: 6,
    event: 'applied',
    service: 'inventory',
    operation: 'releaseInventory',
    sagaId: 'a',
    step: 'someStep',
    direction: 'compensation',
    attempt: 2,
    key: 'a:/inventory/releases:1',
    at: expect.stringMatching(/Z$/),
  })
})

test('a malformed call is refused with the places, and leaves no trace', async () => {
  const service = participants()
  const response = await service.app.inject({
    method: 'POST',
    url: '/mail/confirmations',
    payload: { sagaId: 's', step: 'sendConfirmation', input: { ...order, quantity: 0 } },
  })
  expect(response.statusCode).toBe(400)
  expect(response.json().errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual([
    '/headers/idempotency-key',
    '/body/input/quantity',
  ])
  expect(service.ledger.entries()).toEqual([])
})

test('an unknown path and a broken body are problems, not stacks', async () => {
  const { app } = participants()
  expect((await app.inject('/nowhere')).json()).toMatchObject({ status: 404 })
  const broken = await app.inject({
    method: 'POST',
    url: '/mail/confirmations',
    headers: { 'content-type': 'application/json' },
    payload: '{',
  })
  expect(broken.statusCode).toBe(400)
  expect(broken.headers['content-type']).toContain('application/problem+json')
})
