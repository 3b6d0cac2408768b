import { createHash, randomFillSync } from 'node:crypto'

/**
 * A saga's id is a UUIDv7 whose last byte is its bucket, so that whoever knows the id knows where the row is (idea 5 of
 * ARCHITECTURE.md), and whose first bytes are the time, so that new rows append at the right of the index.
 */
export const BUCKETS = 256

const random = Buffer.allocUnsafe(16 * 256)
let used = random.length

/** @param now milliseconds since the epoch */
export function newSagaId(now: number, bucket = randomByte()): string {
  const bytes = randomBytes16()
  bytes.writeUIntBE(now, 0, 6)
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f)
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f)
  bytes[15] = bucket
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The bucket a saga's id names. */
export function bucketOf(sagaId: string): number {
  return Number.parseInt(sagaId.slice(-2), 16)
}

/** S23: the first byte of the start key's SHA-256. */
export function bucketOfKey(startKey: string): number {
  return createHash('sha256').update(startKey).digest()[0] ?? 0
}

export function isSagaId(text: string): boolean {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(text)
}

function randomByte(): number {
  return randomBytes16()[0] ?? 0
}

function randomBytes16(): Buffer {
  if (used === random.length) {
    randomFillSync(random)
    used = 0
  }
  const bytes = Buffer.from(random.subarray(used, used + 16))
  used += 16
  return bytes
}
