import { createHmac } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Delivery } from '@backstitch/store'
import { describe, expect, test } from 'vitest'
import { createStage, type Stage, sagaOf, serve } from './testing.ts'

type Got = { headers: IncomingHttpHeaders; body: string }

/** Somebody who is told, and answers with these one after the other, and with 200 then. */
async function receiver(...answers: (number | ((response: ServerResponse) => void))[]) {
  const got: Got[] = []
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    got.push({ headers: request.headers, body: await text(request) })
    const answer = answers.shift() ?? 200
    if (typeof answer === 'number') response.writeHead(answer).end()
    else answer(response)
  }
  const url = await serve((request, response) => void take(request, response))
  return { url, got }
}

/** Looks every few milliseconds; fails after ten seconds with what it saw last. */
async function deliveryOf(
  stage: Stage,
  webhookId: string,
  holds: (seen: Delivery) => boolean,
): Promise<Delivery> {
  const end = performance.now() + 60_000
  for (;;) {
    const [seen] = await stage.store.webhooks.deliveries(webhookId, {}, { limit: 1 })
    if (seen !== undefined && holds(seen)) return seen
    if (performance.now() > end) throw new Error(`still not so: ${JSON.stringify(seen)}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function dueNow(stage: Stage): Promise<void> {
  await stage.query(`UPDATE webhook_deliveries SET next_at = now() WHERE state = 'pending'`)
}

function signatureOf({ headers, body }: Got, secret: string): string {
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64')
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`
  return `v1,${createHmac('sha256', key).update(signed).digest('base64')}`
}

const { saga, document } = sagaOf('order', { pay: { action: () => ({ is: 'succeeded', result: null }) } })

describe('a webhook (S34)', () => {
  test('is told of what it asked for, signed with its secret, and of nothing else', async () => {
    const stage = await createStage()
    const { url, got } = await receiver()
    const { webhook, secret } = await stage.store.webhooks.create({ url, types: ['saga.completed'] })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    const delivery = await deliveryOf(stage, webhook.webhookId, ({ state }) => state === 'delivered')
    expect(delivery).toMatchObject({ eventType: 'saga.completed', sagaId, attempts: 1, lastStatus: 200 })
    expect(got).toHaveLength(1)
    const [only] = got
    if (only === undefined) throw new Error('nothing came')
    expect(only.headers['webhook-id']).toBe(delivery.deliveryId)
    expect(only.headers['webhook-signature']).toBe(signatureOf(only, secret))
    expect(JSON.parse(only.body)).toMatchObject({ type: 'saga.completed', sagaId, status: 'completed' })
  })

  test('is told again under the same id until it takes it', async () => {
    const stage = await createStage()
    const { url, got } = await receiver(500)
    const { webhook } = await stage.store.webhooks.create({ url, types: ['*'] })
    await stage.worker({ sagas: [saga] })
    await stage.store.webhooks.test(webhook.webhookId)
    const failed = await deliveryOf(stage, webhook.webhookId, ({ lastStatus }) => lastStatus === 500)
    expect(failed).toMatchObject({ state: 'pending', attempts: 1 })
    await dueNow(stage)
    await deliveryOf(stage, webhook.webhookId, ({ state }) => state === 'delivered')
    expect(got.map(({ headers }) => headers['webhook-id'])).toEqual([failed.deliveryId, failed.deliveryId])
  })

  test('is signed with both secrets for a day after a change', async () => {
    const stage = await createStage()
    const { url, got } = await receiver()
    const { webhook, secret } = await stage.store.webhooks.create({ url, types: ['*'] })
    const newer = await stage.store.webhooks.rotate(webhook.webhookId)
    await stage.worker({ sagas: [saga] })
    await stage.store.webhooks.test(webhook.webhookId)
    await deliveryOf(stage, webhook.webhookId, ({ state }) => state === 'delivered')
    const [first] = got
    if (first === undefined || newer === undefined) throw new Error('nothing came')
    expect(first.headers['webhook-signature']).toBe(
      `${signatureOf(first, newer)} ${signatureOf(first, secret)}`,
    )
    await stage.query(`UPDATE webhooks SET old_secret_until = now() - interval '1 second'`)
    await stage.store.webhooks.test(webhook.webhookId)
    await deliveryOf(
      stage,
      webhook.webhookId,
      ({ deliveryId, state }) => state === 'delivered' && deliveryId !== first.headers['webhook-id'],
    )
    const second = got.at(-1)
    expect(second?.headers['webhook-signature']).toBe(second && signatureOf(second, newer))
  })

  test('that answers 410 is disabled, and the audit log says why', async () => {
    const stage = await createStage()
    const { url } = await receiver(410)
    const { webhook } = await stage.store.webhooks.create({ url, types: ['*'] })
    await stage.worker({ sagas: [saga] })
    await stage.store.webhooks.test(webhook.webhookId)
    await deliveryOf(stage, webhook.webhookId, ({ state }) => state === 'failed')
    const reason = expect.stringContaining('410')
    const disabled = await until(async () => {
      const seen = await stage.store.webhooks.get(webhook.webhookId)
      return seen?.enabled === false ? seen : undefined
    })
    expect(disabled.disabledReason).toEqual(reason)
    const [noted] = await stage.store.audit.list({ subject: webhook.webhookId }, { limit: 1 })
    expect(noted).toMatchObject({ act: 'disabled', reason })
  })

  test('to which nothing could be delivered for five days is disabled', async () => {
    const stage = await createStage()
    const { url } = await receiver(500, 500)
    const { webhook } = await stage.store.webhooks.create({ url, types: ['*'] })
    await stage.worker({ sagas: [saga] })
    await stage.store.webhooks.test(webhook.webhookId)
    await deliveryOf(stage, webhook.webhookId, ({ lastStatus }) => lastStatus === 500)
    expect(await stage.store.webhooks.get(webhook.webhookId)).toMatchObject({ enabled: true })
    await stage.query(`UPDATE webhooks SET failing_since = failing_since - interval '5 days 1 minute'`)
    await dueNow(stage)
    const disabled = await until(async () => {
      const seen = await stage.store.webhooks.get(webhook.webhookId)
      return seen?.enabled === false ? seen : undefined
    })
    expect(disabled.disabledReason).toContain('5 days')
  })

  test('that does not answer keeps no other waiting', async () => {
    const stage = await createStage()
    const silent = await receiver(...Array.from({ length: 20 }, () => () => undefined))
    const lively = await receiver()
    const dead = await stage.store.webhooks.create({ url: silent.url, types: ['*'] })
    const alive = await stage.store.webhooks.create({ url: lively.url, types: ['*'] })
    await stage.worker({ sagas: [saga] })
    for (let n = 0; n < 10; n++) await stage.store.webhooks.test(dead.webhook.webhookId)
    await until(() => (silent.got.length > 0 ? true : undefined))
    await stage.store.webhooks.test(alive.webhook.webhookId)
    await deliveryOf(stage, alive.webhook.webhookId, ({ state }) => state === 'delivered')
    expect(silent.got.length).toBeLessThan(10)
  })

  test('has its deliveries listed page by page, all of them', async () => {
    const stage = await createStage()
    const { webhook } = await stage.store.webhooks.create({ url: 'http://127.0.0.1:1', types: ['*'] })
    const definition = await stage.register(document)
    const request = { definition, input: null, inputBytes: 4, requestHash: 'test' }
    await Promise.all(Array.from({ length: 5 }, () => stage.store.starts.start(request)))
    await stage.store.feed.publish()
    const seen: string[] = []
    for (let before: { at: string; deliveryId: string } | undefined; ; ) {
      const [one] = await stage.store.webhooks.deliveries(webhook.webhookId, {}, { before, limit: 1 })
      if (one === undefined) break
      seen.push(one.deliveryId)
      before = one
    }
    expect(new Set(seen).size).toBe(5)
    expect(seen).toHaveLength(5)
  })

  test.each([
    ['in seconds', () => ({ 'retry-after': '7200' }), 7_200],
    ['as a date', () => ({ 'retry-after': new Date(Date.now() + 7_200_000).toUTCString() }), 7_200],
    ['longer than a day', () => ({ 'retry-after': '999999999' }), 86_400],
    ['for less than we would wait', () => ({ 'retry-after': '0' }), 5],
    ['in a way nobody understands', () => ({ 'retry-after': 'soon' }), 5],
  ])('that asks to be left in peace is, %s', async (_how, headers, seconds) => {
    const stage = await createStage()
    const { url } = await receiver((response) => response.writeHead(503, headers()).end())
    const { webhook } = await stage.store.webhooks.create({ url, types: ['*'] })
    await stage.worker({ sagas: [saga] })
    await stage.store.webhooks.test(webhook.webhookId)
    const { nextAt = '' } = await deliveryOf(stage, webhook.webhookId, ({ lastStatus }) => lastStatus === 503)
    const [row] = await stage.query(
      `SELECT extract(epoch FROM next_at - last_at)::float8 AS waits FROM webhook_deliveries`,
    )
    // A fifth more by chance, and what it took to ask.
    expect(nextAt).not.toBe('')
    expect(Number(row?.waits)).toBeGreaterThan(seconds - 2)
    expect(Number(row?.waits)).toBeLessThan(seconds * 1.2 + 60)
  })

  test.each([
    ['this machine', (port: string) => `http://127.0.0.1:${port}`],
    ['a name that leads to this machine', (port: string) => `http://localhost:${port}`],
    ['this machine as one number', (port: string) => `http://2130706433:${port}`],
    ['this machine as IPv6', (port: string) => `http://[::ffff:127.0.0.1]:${port}`],
  ])('is not told inside the network unless that is allowed: %s', async (_what, at) => {
    const stage = await createStage()
    const { url, got } = await receiver()
    const address = at(new URL(url).port)
    // Past the API, which would have refused what it can tell: as if the name had led elsewhere then.
    const { webhook } = await stage.store.webhooks.create({ url: address, types: ['*'] })
    await stage.worker({ sagas: [saga], webhookAllow: [] })
    await stage.store.webhooks.test(webhook.webhookId)
    const refused = await deliveryOf(
      stage,
      webhook.webhookId,
      ({ lastError }) => lastError?.includes('WEBHOOK_ALLOW') === true,
    )
    expect(refused).toMatchObject({ state: 'pending', attempts: 1 })
    expect(got).toEqual([])
  })

  test('is told inside the network by a name that is allowed', async () => {
    const stage = await createStage()
    const { url, got } = await receiver()
    const { port } = new URL(url)
    const { webhook } = await stage.store.webhooks.create({ url: `http://localhost:${port}`, types: ['*'] })
    await stage.worker({ sagas: [saga], webhookAllow: ['localhost'] })
    await stage.store.webhooks.test(webhook.webhookId)
    await deliveryOf(stage, webhook.webhookId, ({ state }) => state === 'delivered')
    expect(got).toHaveLength(1)
  })

  test('that sends elsewhere is not followed there', async () => {
    const stage = await createStage()
    const elsewhere = await receiver()
    const { url } = await receiver((response) => response.writeHead(307, { location: elsewhere.url }).end())
    const { webhook } = await stage.store.webhooks.create({ url, types: ['*'] })
    await stage.worker({ sagas: [saga] })
    await stage.store.webhooks.test(webhook.webhookId)
    await deliveryOf(stage, webhook.webhookId, ({ lastStatus }) => lastStatus === 307)
    expect(elsewhere.got).toEqual([])
  })
})

async function until<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const end = performance.now() + 60_000
  for (;;) {
    const seen = await look()
    if (seen !== undefined) return seen
    if (performance.now() > end) throw new Error('still not so after a minute')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
