import { createHash, createHmac } from 'node:crypto'

/** What of a request is signed. Every part but the body is free of line breaks, and so no two requests sign the same text. */
export type Signed = {
  /** Seconds since the epoch. */
  timestamp: number
  method: string
  /** With the query, as it stands in the request line. */
  path: string
  /** The idempotency key; for a probe, `probe ` and the key it asks about. */
  key: string
  body: string
}

/** The value of `Saga-Signature`. `verifySignature` of the sdk is its other half. */
export function signatureOf(secret: string, { timestamp, method, path, key, body }: Signed): string {
  const digest = createHash('sha256').update(body).digest('hex')
  const text = ['v1', timestamp, method, path, key, digest].join('\n')
  return `t=${timestamp},v1=${createHmac('sha256', secret).update(text).digest('hex')}`
}
