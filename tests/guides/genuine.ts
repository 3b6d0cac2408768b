import { createHmac, timingSafeEqual } from 'node:crypto'

/** Without the SDK. `body` as it came, byte for byte. */
export function isGenuine(headers: Record<string, unknown>, body: Buffer, secret: string): boolean {
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signatures } = headers
  if (!(Math.abs(Date.now() / 1000 - Number(at)) <= 300)) return false
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64')
  const digest = createHmac('sha256', key)
    .update(`${String(id)}.${String(at)}.`)
    .update(body)
    .digest()
  return String(signatures)
    .split(' ')
    .filter((one) => one.startsWith('v1,'))
    .map((one) => Buffer.from(one.slice(3), 'base64'))
    .some((given) => given.length === digest.length && timingSafeEqual(given, digest))
}
