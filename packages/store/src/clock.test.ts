import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createDatabaseClock } from './clock.ts'

let monotonic = 0
beforeEach(() => {
  monotonic = 1_000
  vi.spyOn(performance, 'now').mockImplementation(() => monotonic)
})
afterEach(() => vi.restoreAllMocks())

test('the clock refuses to be read before it has seen the database: nothing may be decided by this machine', () => {
  expect(() => createDatabaseClock().now()).toThrow('before the database was')
})

test('between two looks it moves on by the monotonic clock', () => {
  const clock = createDatabaseClock()
  clock.saw(5_000_000, monotonic)
  monotonic += 250
  expect(clock.now()).toBe(5_000_250)
})

test('of two looks the one that is further on is the better: an answer is always a little old', () => {
  const clock = createDatabaseClock()
  clock.saw(5_000_000, monotonic)
  monotonic += 100
  clock.saw(5_000_020, monotonic - 90)
  expect(clock.now()).toBe(5_000_100)
  clock.saw(5_000_150, monotonic - 10)
  expect(clock.now()).toBe(5_000_150)
})

test('an answer that was very long on its way moves nothing back', () => {
  const clock = createDatabaseClock()
  clock.saw(5_000_000, monotonic)
  const sentAt = monotonic
  monotonic += 60_000
  clock.saw(5_000_001, sentAt)
  expect(clock.now()).toBe(5_060_000)
})

test('a database whose clock jumps is followed at once, forward and backward (F70)', () => {
  const clock = createDatabaseClock()
  clock.saw(5_000_000, monotonic)
  clock.saw(9_000_000, monotonic)
  expect(clock.now()).toBe(9_000_000)
  clock.saw(6_000_000, monotonic)
  expect(clock.now()).toBe(6_000_000)
})

test('it counts whole milliseconds', () => {
  const clock = createDatabaseClock()
  clock.saw(5_000_000.75, monotonic)
  expect(clock.now()).toBe(5_000_000)
})
