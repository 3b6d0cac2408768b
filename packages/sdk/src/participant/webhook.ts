import { createHmac, timingSafeEqual } from 'node:crypto'
import { checkJson, type Json } from '@backstitch/core'
import { headerValue, type SagaHeaders } from './saga-call.ts'

export type WebhookOptions = {
  /** As they were shown when the webhook was made: `whsec_…`. More than one while a secret is being replaced. */
  secrets: readonly string[]
  /** How far the sender's clock and ours may be apart, the way included. Default: five minutes. */
  toleranceMs?: number | undefined
  /** Milliseconds since the epoch. */
  now?: (() => number) | undefined
}

/** A delivery as it came. */
export type WebhookRequest = {
  headers: SagaHeaders
  /** As it came, not parsed: another order of its fields is another signature. */
  body: string | Uint8Array
}

export type WebhookVerdict =
  /** `deliveryId` is the same each time it is sent: who has seen it before has nothing to do. */
  { ok: true; deliveryId: string; event: Json } | { ok: false; why: string }

const DEFAULT_TOLERANCE_MS = 5 * 60_000
const PREFIX = 'whsec_'

/**
 * Was this sent by Backstitch to a webhook with one of these secrets, just now, and as it is (S34)? Answer 401 if not. Written as
 * Standard Webhooks say, so any library of theirs does the same.
 */
export function verifyWebhook(request: WebhookRequest, options: WebhookOptions): WebhookVerdict {
  const { secrets, toleranceMs = DEFAULT_TOLERANCE_MS, now = Date.now } = options
  const keys = secrets.map(keyOf)
  if (keys.length === 0) throw new Error('a webhook is verified with at least one secret')
  const deliveryId = headerValue(request.headers, 'webhook-id')
  const timestamp = headerValue(request.headers, 'webhook-timestamp')
  const signatures = headerValue(request.headers, 'webhook-signature')
  if (deliveryId === undefined || timestamp === undefined || signatures === undefined)
    return { ok: false, why: '"webhook-id", "webhook-timestamp" or "webhook-signature" is missing' }
  if (!/^[0-9]{1,12}$/.test(timestamp))
    return { ok: false, why: 'the header "webhook-timestamp" is not a number of seconds' }
  if (Math.abs(now() - Number(timestamp) * 1000) > toleranceMs)
    return { ok: false, why: `it was signed more than ${toleranceMs} ms ago, or will be` }
  const body = typeof request.body === 'string' ? Buffer.from(request.body) : request.body
  const expected = keys.map((key) =>
    createHmac('sha256', key).update(`${deliveryId}.${timestamp}.`).update(body).digest(),
  )
  const given = signatures.split(' ').flatMap((one) => {
    const [version, text = ''] = one.split(',')
    const bytes = Buffer.from(text, 'base64')
    return version === 'v1' && bytes.length === 32 ? [bytes] : []
  })
  // All are tried, so that the time tells nothing of which one it was.
  const matches = given.flatMap((bytes) => expected.filter((digest) => timingSafeEqual(bytes, digest)))
  if (matches.length === 0) return { ok: false, why: 'no signature fits the delivery' }
  const event = parse(Buffer.from(body).toString('utf8'))
  return event === undefined ? { ok: false, why: 'the body is not JSON' } : { ok: true, deliveryId, event }
}

/** What is no secret is the mistake of whoever configured it: no delivery would ever fit. */
function keyOf(secret: string): Buffer {
  const text = secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : undefined
  const key = Buffer.from(text ?? '', 'base64')
  if (key.length < 24 || key.length > 64)
    throw new Error(`the secret of a webhook is "${PREFIX}" and 24 to 64 bytes in base64`)
  return key
}

function parse(text: string): Json | undefined {
  try {
    const checked = checkJson(JSON.parse(text))
    return checked.ok ? checked.value : undefined
  } catch {
    return undefined
  }
}
