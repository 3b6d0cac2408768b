import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instantText } from './instant.ts'

test('an instant is written as RFC 3339 in UTC, whichever was written before', () => {
  const instants = fc.array(fc.integer({ min: 0, max: 253_402_300_799_999 }), { minLength: 1 })
  fc.assert(
    fc.property(instants, (some) => {
      const twice = [...some, ...some.toReversed()]
      expect(twice.map(instantText)).toEqual(twice.map((ms) => new Date(ms).toISOString()))
    }),
  )
})

test('what is no instant is refused, also after one that was', () => {
  instantText(0)
  expect(() => instantText(Number.NaN)).toThrow(RangeError)
  expect(() => instantText(Number.POSITIVE_INFINITY)).toThrow(RangeError)
  expect(instantText(0)).toBe('1970-01-01T00:00:00.000Z')
})
