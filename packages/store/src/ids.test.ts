import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BUCKETS, bucketOf, bucketOfKey, isSagaId, newSagaId } from './ids.ts'

const instants = fc.integer({ min: 0, max: 2 ** 48 - 1 })

test('an id is a UUIDv7 of its instant that names its bucket', () => {
  fc.assert(
    fc.property(instants, fc.nat(BUCKETS - 1), (now, bucket) => {
      const id = newSagaId(now, bucket)
      expect(isSagaId(id)).toBe(true)
      expect(bucketOf(id)).toBe(bucket)
      expect(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toBe(now)
    }),
  )
})

test('ten thousand ids of one millisecond are ten thousand ids, in all buckets', () => {
  const ids = Array.from({ length: 10_000 }, () => newSagaId(1_800_000_000_000))
  expect(new Set(ids).size).toBe(10_000)
  expect(new Set(ids.map(bucketOf)).size).toBe(BUCKETS)
})

test("a key's bucket is the first byte of its SHA-256", () => {
  expect(bucketOfKey('')).toBe(0xe3)
  expect(bucketOfKey('abc')).toBe(0xba)
})

test.each([
  '',
  'x',
  '018f0000-0000-4000-8000-000000000000',
  '018f0000-0000-7000-8000-0000000000000',
  "018f0000-0000-7000-8000-00000000000'",
])('no saga has the id %s', (text) => expect(isSagaId(text)).toBe(false))
