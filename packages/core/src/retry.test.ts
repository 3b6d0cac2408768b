import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RETRY_FLOOR_MS, retryDelayMs } from './retry.ts'

const retry = { maxAttempts: 10, initialDelayMs: 200, factor: 2, maxDelayMs: 5_000 }

describe('the pause before the next attempt (S5)', () => {
  test('doubles its ceiling with each attempt, up to the cap', () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7].map((attempt) => retryDelayMs(retry, attempt, 0.999_999_9))
    expect(ceilings).toEqual([200, 400, 800, 1_600, 3_200, 5_000, 5_000])
  })

  test('is drawn anywhere below the ceiling, but is never under 100 ms (F28)', () => {
    expect(retryDelayMs(retry, 4, 0.5)).toBe(800)
    expect(retryDelayMs(retry, 4, 0.1)).toBe(160)
    expect(retryDelayMs(retry, 4, 0)).toBe(RETRY_FLOOR_MS)
  })

  test('honours Retry-After, up to the cap', () => {
    expect(retryDelayMs(retry, 1, 0.5, 3_000)).toBe(3_000)
    expect(retryDelayMs(retry, 1, 0.5, 3_600_000)).toBe(5_000)
    expect(retryDelayMs(retry, 1, 0.5, Number.POSITIVE_INFINITY)).toBe(5_000)
  })

  test('is not shortened by Retry-After', () => {
    expect(retryDelayMs(retry, 4, 0.5, 200)).toBe(800)
  })

  test.each([-5, Number.NaN, Number.NEGATIVE_INFINITY])(
    'takes a Retry-After of %s for none',
    (retryAfterMs) => {
      expect(retryDelayMs(retry, 1, 0, retryAfterMs)).toBe(RETRY_FLOOR_MS)
    },
  )

  test('is a whole number of milliseconds between floor and cap, whatever the policy', () => {
    const positive = fc.integer({ min: 1, max: 366 * 86_400_000 })
    const policy = fc.record({
      maxAttempts: fc.constant(1_000),
      initialDelayMs: positive,
      factor: fc.double({ min: 1, max: 100, noNaN: true }),
      maxDelayMs: positive,
    })
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
    const law = fc.property(
      policy,
      fc.integer({ min: 1, max: 1_000 }),
      random,
      fc.double(),
      (drawn, attempt, chance, asked) => {
        const delayMs = retryDelayMs(drawn, attempt, chance, asked)
        expect(delayMs).toBeGreaterThanOrEqual(RETRY_FLOOR_MS)
        expect(delayMs).toBeLessThanOrEqual(Math.max(RETRY_FLOOR_MS, drawn.maxDelayMs))
        expect(Number.isInteger(delayMs)).toBe(true)
      },
    )
    fc.assert(law)
  })
})
