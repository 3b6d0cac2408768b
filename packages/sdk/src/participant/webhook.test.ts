import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { verifyWebhook } from './webhook.ts'

const now = () => 1_700_000_000_000
const secret = `whsec_${Buffer.alloc(24, 1).toString('base64')}`
const newer = `whsec_${Buffer.alloc(24, 2).toString('base64')}`
const body = '{"type":"saga.stuck","data":{}}'

function signed(by: readonly string[], more: Record<string, string> = {}, text = body) {
  const [id, timestamp] = ['d-1', '1700000000']
  const signature = by.map((one) => {
    const key = Buffer.from(one.replace('whsec_', ''), 'base64')
    return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${text}`).digest('base64')}`
  })
  return {
    headers: {
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': signature.join(' '),
      ...more,
    },
    body: text,
  }
}
const genuine = { ok: true, deliveryId: 'd-1', event: { type: 'saga.stuck', data: {} } }

describe('a delivery to a webhook (S34)', () => {
  test('is genuine when it fits the example of Standard Webhooks', () => {
    const verdict = verifyWebhook(
      {
        headers: {
          'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
          'webhook-timestamp': '1614265330',
          'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
        },
        body: '{"test": 2432232314}',
      },
      { secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'], now: () => 1_614_265_330_000 },
    )
    expect(verdict).toEqual({
      ok: true,
      deliveryId: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      event: { test: 2_432_232_314 },
    })
  })

  test('is genuine as text, as bytes and with the headers of fetch', () => {
    const { headers } = signed([secret])
    for (const one of [
      { headers, body },
      { headers, body: Buffer.from(body) },
      { headers: new Headers(headers), body },
    ]) {
      expect(verifyWebhook(one, { secrets: [secret], now })).toEqual(genuine)
    }
  })

  test('is genuine on either side of a change of the secret', () => {
    expect(verifyWebhook(signed([newer, secret]), { secrets: [secret], now })).toEqual(genuine)
    expect(verifyWebhook(signed([newer, secret]), { secrets: [newer], now })).toEqual(genuine)
    expect(verifyWebhook(signed([secret]), { secrets: [newer, secret], now })).toEqual(genuine)
  })

  test.each([
    ['with another secret', signed([newer])],
    ['under another id', signed([secret], { 'webhook-id': 'd-2' })],
    ['at another time', signed([secret], { 'webhook-timestamp': '1700000001' })],
    ['with a time that is none', signed([secret], { 'webhook-timestamp': 'now' })],
    ['with a signature of another version', signed([secret], { 'webhook-signature': 'v2,AAAA' })],
    ['with a short signature', signed([secret], { 'webhook-signature': 'v1,AAAA' })],
    ['that is no JSON', signed([secret], {}, 'hello')],
  ])('is refused: one %s', (_which, request) => {
    expect(verifyWebhook(request, { secrets: [secret], now }).ok).toBe(false)
  })

  test('is refused when it is old, or from a time to come', () => {
    for (const ms of [-301_000, 301_000]) {
      expect(verifyWebhook(signed([secret]), { secrets: [secret], now: () => now() + ms }).ok).toBe(false)
    }
    expect(verifyWebhook(signed([secret]), { secrets: [secret], now: () => now() + 299_000 })).toEqual(
      genuine,
    )
  })

  test('is refused without any of its headers', () => {
    for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const) {
      const { [name]: _, ...headers } = signed([secret]).headers
      expect(verifyWebhook({ headers, body }, { secrets: [secret], now }).ok).toBe(false)
    }
  })

  test('is never verified with something that is no secret', () => {
    for (const secrets of [[], [''], ['whsec_'], ['hush'], [secret, 'whsec_AAAA']]) {
      expect(() => verifyWebhook(signed([secret]), { secrets, now })).toThrow(/secret/)
    }
  })

  test('is refused with any byte changed', () => {
    const { headers } = signed([secret])
    const verdicts = Array.from(body, (_, at) => {
      const changed = Buffer.from(body)
      changed[at] = (changed[at] ?? 0) ^ 1
      return verifyWebhook({ headers, body: changed }, { secrets: [secret], now }).ok
    })
    expect(new Set(verdicts)).toEqual(new Set([false]))
  })
})
