import { expect, test } from 'vitest'
import { readable } from './log-tail.ts'

test('a line of JSON becomes a sentence, any other stays as it is', () => {
  const time = Date.UTC(2026, 0, 2, 3, 4, 5)
  expect(
    readable(JSON.stringify({ level: 50, time, msg: 'gave up', err: { message: 'ECONNREFUSED' } })),
  ).toBe('03:04:05 error gave up: ECONNREFUSED')
  expect(readable(JSON.stringify({ level: 'warn', msg: 'late' }))).toBe('warn late')
  expect(readable('    at main.ts:1')).toBe('    at main.ts:1')
  expect(readable('{"level"')).toBe('{"level"')
})
