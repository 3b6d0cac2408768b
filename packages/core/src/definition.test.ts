import { describe, expect, test } from 'vitest'
import { Definition, isWait, queueOf, resolveDefinition } from './definition.ts'
import { define, sketch } from './testing.ts'

const http = { type: 'http', url: 'http://localhost:8080/charge' }

describe('the defaults', () => {
  test('are 30 s and three attempts for an action, four for a compensation (S4, S5, S11)', () => {
    expect(define(['charge']).steps[0]).toMatchObject({
      compensateWhen: 'completed',
      action: {
        timeoutMs: 30_000,
        retry: { maxAttempts: 3, initialDelayMs: 200, factor: 2, maxDelayMs: 30_000 },
      },
      compensation: {
        timeoutMs: 30_000,
        retry: { maxAttempts: 4, initialDelayMs: 200, factor: 2, maxDelayMs: 30_000 },
      },
    })
  })

  test("are the definition's own where it states some", () => {
    const defaults = { timeoutMs: 5_000, compensateWhen: 'uncertain', retry: { maxAttempts: 7, factor: 3 } }
    expect(define(['charge'], { defaults }).steps[0]).toMatchObject({
      compensateWhen: 'uncertain',
      action: { timeoutMs: 5_000, retry: { maxAttempts: 7, initialDelayMs: 200, factor: 3 } },
      compensation: { timeoutMs: 5_000, retry: { maxAttempts: 4, initialDelayMs: 200, factor: 3 } },
    })
  })

  test("give way to the step's own, field by field, each direction for itself", () => {
    const step = {
      name: 'charge',
      timeoutMs: 1_000,
      retry: { maxAttempts: 2 },
      compensateWhen: 'completed',
      compensation: { type: 'handler', timeoutMs: 2_000, retry: { maxAttempts: 9, factor: 1 } },
    }
    const defaults = { timeoutMs: 5_000, compensateWhen: 'uncertain', retry: { factor: 3 } }
    expect(define([step], { defaults }).steps[0]).toMatchObject({
      compensateWhen: 'completed',
      action: { timeoutMs: 1_000, retry: { maxAttempts: 2, factor: 3 } },
      compensation: { timeoutMs: 2_000, retry: { maxAttempts: 9, factor: 1 } },
    })
  })

  test('make an HTTP call a POST', () => {
    const { action } = define([{ name: 'charge', action: http }]).steps[0]!
    expect(action).toHaveProperty('call', { ...http, method: 'POST' })
  })
})

describe('a step that nobody carries out (S7a)', () => {
  const delay = { name: 'cool', action: { type: 'delay', delayMs: 5 }, compensation: undefined }
  const signal = { name: 'approve', action: { type: 'signal', signal: 'approved' }, timeoutMs: 7 }

  test('is resolved to its wait, and takes no time-out and no retries from the defaults', () => {
    const defaults = { timeoutMs: 5_000, retry: { maxAttempts: 7 } }
    const { steps } = define([delay, signal, 'ship'], { defaults })
    expect(steps[0]).toMatchObject({ action: { for: 'delay', delayMs: 5 }, compensation: undefined })
    expect(steps[1]?.action).toEqual({ for: 'signal', signal: 'approved', timeoutMs: 7 })
    expect(steps.map(({ action }) => isWait(action))).toEqual([true, true, false])
  })

  test('that waits for a signal may have a compensation, with the defaults of any', () => {
    expect(define([signal]).steps[0]?.compensation).toMatchObject({
      timeoutMs: 30_000,
      retry: { maxAttempts: 4 },
    })
  })

  test('needs no handler and so no queue of its own', () => {
    const steps = [delay, { ...signal, compensation: undefined }]
    expect(queueOf(Definition.parse(sketch(steps)))).toBe('default')
  })
})

test('a step is the pivot only if it says so (S14)', () => {
  const { steps } = define(['a', { name: 'b', pivot: true }, { name: 'c', pivot: false }])
  expect(steps.map(({ pivot }) => pivot)).toEqual([false, true, false])
})

describe('the queue (S20)', () => {
  const queue = (document: Parameters<typeof sketch>) => queueOf(Definition.parse(sketch(...document)))

  test("is the definition's name if a handler is needed in either direction", () => {
    expect(queue([['charge']])).toBe('order')
    expect(queue([[{ name: 'charge', action: http }]])).toBe('order')
  })

  test('is "default" without handlers', () => {
    expect(queue([[{ name: 'charge', action: http, compensation: undefined }]])).toBe('default')
    expect(queue([[{ name: 'charge', action: http, compensation: http }]])).toBe('default')
  })

  test('is what the definition says, if it says so', () => {
    expect(queue([['charge'], { queue: 'slow' }])).toBe('slow')
  })
})

test('a resolved definition knows its version, its deadline and where each step is', () => {
  const document = sketch(['constructor', 'toString'], { deadlineMs: 1_000 })
  const resolved = resolveDefinition(Definition.parse(document), 3)
  expect(resolved).toMatchObject({ name: 'order', version: 3, deadlineMs: 1_000 })
  expect(resolved.indexOf).toEqual(
    new Map([
      ['constructor', 0],
      ['toString', 1],
    ]),
  )
})
