import { describe, expect, test } from 'vitest'
import { failureOf, handlerOf, OUTCOME } from './handler.ts'

describe('what a handler threw', () => {
  test('is a failure unless it says otherwise', () => {
    expect(failureOf(new Error('no stock'))).toEqual({
      outcome: 'failed',
      error: { code: 'HANDLER_ERROR', message: 'no stock' },
    })
    expect(failureOf(new TypeError('x is not a function')).error.message).toBe(
      'TypeError: x is not a function',
    )
  })

  test('says by a mark what became of the step, whatever class it is of', () => {
    for (const outcome of ['rejected', 'failed', 'uncertain'] as const) {
      const marked = {
        [Symbol.for('backstitch.outcome')]: outcome,
        name: 'Other',
        message: 'no',
        code: 'NO_STOCK',
      }
      expect(failureOf(marked)).toEqual({ outcome, error: { code: 'NO_STOCK', message: 'no' } })
    }
    expect(failureOf({ [OUTCOME]: 'rejected', message: 'no' }).error.code).toBe('REJECTED')
    expect(failureOf({ [OUTCOME]: 'completed', message: 'no' }).outcome).toBe('failed')
  })

  test('may ask for time before the next attempt', () => {
    expect(failureOf({ [OUTCOME]: 'failed', message: 'busy', retryAfterMs: 500 }).retryAfterMs).toBe(500)
    for (const retryAfterMs of [-1, Number.NaN, Number.POSITIVE_INFINITY, '500', undefined]) {
      expect(failureOf({ [OUTCOME]: 'failed', message: 'busy', retryAfterMs })).not.toHaveProperty(
        'retryAfterMs',
      )
    }
  })

  test('is told with its causes, each once', () => {
    const refused = Object.assign(new AggregateError([], ''), { code: 'ECONNREFUSED' })
    expect(failureOf(new TypeError('fetch failed', { cause: refused })).error.message).toBe(
      'TypeError: fetch failed: ECONNREFUSED',
    )
    const inner = new Error('disk full')
    expect(failureOf(new Error('could not write: disk full', { cause: inner })).error.message).toBe(
      'could not write: disk full',
    )
    const loop = new Error('round')
    loop.cause = loop
    expect(failureOf(loop).error.message).toBe('round')
  })

  test.each([
    ['a text', 'gone', 'gone'],
    ['an empty text', '', 'string was thrown: '],
    ['nothing', undefined, 'undefined was thrown: undefined'],
    ['null', null, 'object was thrown: null'],
    ['a number', 7, 'number was thrown: 7'],
    ['a symbol', Symbol('s'), 'symbol was thrown: Symbol(s)'],
    ['a function', () => 1, 'a function was thrown'],
    ['a bare object', {}, 'an object without a message was thrown'],
    ['an object without a prototype', Object.create(null), 'an object without a message was thrown'],
    ['an error without a message', new RangeError(), 'RangeError'],
    ['half a surrogate pair', new Error('\ud800 and \0'), '\ufffd and \ufffd'],
  ])('is told even when it is %s', (_, thrown, message) => {
    expect(failureOf(thrown)).toEqual({ outcome: 'failed', error: { code: 'HANDLER_ERROR', message } })
  })

  test('cannot wedge whoever reads it (S31)', () => {
    const hostile = new Proxy(
      {},
      {
        get() {
          throw new Error('not for you')
        },
      },
    )
    expect(failureOf(hostile).outcome).toBe('failed')
    expect(failureOf(new Error('with a cause', { cause: hostile })).outcome).toBe('failed')
    const long = failureOf(Object.assign(new Error('x'.repeat(100_000)), { code: 'with space' }))
    expect(long.error.code).toBe('HANDLER_ERROR')
    expect(long.error.message.length).toBeLessThanOrEqual(8 * 1024)
  })

  test('keeps the code of a system error', () => {
    const error = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    expect(failureOf(error).error).toEqual({ code: 'ECONNREFUSED', message: 'connect ECONNREFUSED' })
  })
})

test('a handler is found by step and direction', () => {
  const action = () => 1
  const saga = {
    definition: { name: 'order', steps: [{ name: 'one', action: { type: 'handler' as const } }] },
    handlers: new Map([['one', { action }]]),
  }
  expect(handlerOf(saga, 'one', 'action')).toBe(action)
  expect(handlerOf(saga, 'one', 'compensation')).toBeUndefined()
  expect(handlerOf(saga, 'toString', 'action')).toBeUndefined()
})
