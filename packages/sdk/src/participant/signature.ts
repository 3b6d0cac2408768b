import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { SagaHeaders } from './saga-call.ts'
import { headerValue } from './saga-call.ts'

export type SignatureOptions = {
  /** More than one while a secret is being replaced: first the participant knows both, then Backstitch signs with the new. */
  secrets: readonly string[]
  /** How far the sender's clock and ours may be apart, the way included. Default: five minutes. */
  toleranceMs?: number | undefined
  /** Milliseconds since the epoch. */
  now?: (() => number) | undefined
}

/** A request as it came. */
export type SignedRequest = {
  method: string
  /** Path and query as they stand in the request line: Node's `request.url`. */
  path: string
  headers: SagaHeaders
  /** As it came, not parsed: another order of its fields is another signature. */
  body: string | Uint8Array
}

export type SignatureVerdict = { ok: true } | { ok: false; why: string }

const DEFAULT_TOLERANCE_MS = 5 * 60_000

/**
 * Was this sent by a Backstitch worker that knows one of the secrets, just now, and as it is? Answer 401 if not. A request
 * that is sent once more within the tolerance is genuine: the idempotency key, which is signed, says that it is the same.
 */
export function verifySignature(request: SignedRequest, options: SignatureOptions): SignatureVerdict {
  const { secrets, toleranceMs = DEFAULT_TOLERANCE_MS, now = Date.now } = options
  if (secrets.length === 0 || secrets.includes(''))
    throw new Error('a signature is verified with at least one secret, none of them empty')
  const header = headerValue(request.headers, 'saga-signature')
  if (header === undefined) return { ok: false, why: 'there is no header "saga-signature"' }
  const parsed = /^t=([0-9]{1,12}),v1=([0-9a-f]{64})$/.exec(header)
  if (parsed === null)
    return { ok: false, why: 'the header "saga-signature" is not t=<seconds>,v1=<64 hex digits>' }
  const [, timestamp = '', given = ''] = parsed
  if (Math.abs(now() - Number(timestamp) * 1000) > toleranceMs) {
    return { ok: false, why: `it was signed more than ${toleranceMs} ms ago, or will be` }
  }
  const key = keyOf(request.headers)
  if (key === undefined)
    return { ok: false, why: 'there is neither "idempotency-key" nor "saga-probe", or there are both' }
  const digest = createHash('sha256').update(request.body).digest('hex')
  const text = ['v1', timestamp, request.method, request.path, key, digest].join('\n')
  const bytes = Buffer.from(given, 'hex')
  // All are tried, so that the time tells nothing of which one it was.
  const matches = secrets.filter((secret) =>
    timingSafeEqual(bytes, createHmac('sha256', secret).update(text).digest()),
  )
  return matches.length > 0 ? { ok: true } : { ok: false, why: 'the signature does not fit the request' }
}

function keyOf(headers: SagaHeaders): string | undefined {
  const key = headerValue(headers, 'idempotency-key')
  const asked = headerValue(headers, 'saga-probe')
  if (asked === undefined) return key
  return key === undefined ? `probe ${asked}` : undefined
}
