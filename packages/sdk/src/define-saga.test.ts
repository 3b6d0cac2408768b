import { type Handler, type HandlerCall, handlerOf, type Json, type SagaModule } from '@backstitch/core'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { defineSaga, type Saga } from './define-saga.ts'
import { http } from './http.ts'
import { StepRejected } from './outcomes.ts'
import type { MustBeJson, NotJson } from './result.ts'
import { aCall } from './testing.ts'

const Order = z.object({
  orderId: z.string().min(1),
  quantity: z.int().default(1),
  wantedBy: z.iso.datetime().transform((text) => new Date(text)),
})

const order = defineSaga({ name: 'order', input: Order, deadlineMs: 60_000, defaults: { timeoutMs: 5000 } })
  .step('reserve', {
    description: 'sets the goods aside',
    action: async ({ input }) => ({ reservationId: `r-${input.orderId}`, pieces: input.quantity }),
    compensation: async ({ result }) => {
      seen.push(`release ${result.reservationId}`)
    },
  })
  .step('charge', {
    action: ({ context, idempotencyKey }) => ({
      chargeId: `${context.reserve.reservationId}/${idempotencyKey}`,
    }),
    compensation: {
      run: ({ result, failure }) => void seen.push(`refund ${result?.chargeId}: ${failure.reason}`),
      timeoutMs: 1000,
      retry: { maxAttempts: 8 },
    },
    compensateWhen: 'uncertain',
    retry: { maxAttempts: 5 },
  })
  .step('ship', {
    action: http({ url: 'http://carrier/parcels', result: z.object({ parcel: z.string() }) }),
    compensation: { run: http({ method: 'DELETE', url: 'http://carrier/parcels' }), timeoutMs: 2000 },
    timeoutMs: 15_000,
  })
  .step('confirm', { action: async ({ context }) => void seen.push(context.ship.parcel) })

let seen: string[] = []

describe('the types of a saga', () => {
  test('are those of its input and of each step, in order', () => {
    expectTypeOf(order).toExtend<
      Saga<
        'order',
        { orderId: string; quantity?: number | undefined; wantedBy: string },
        {
          reserve: { reservationId: string; pieces: number }
          charge: { chargeId: string }
          ship: { parcel: string }
          confirm: null
        }
      >
    >()
    expectTypeOf(order).toExtend<SagaModule>()
    expectTypeOf(order).toExtend<Saga>()
  })

  test('reach each function through what it is called with', () => {
    defineSaga({ name: 'types', input: Order })
      .step('one', {
        action: ({ input, context, direction, signal, attempt }) => {
          expectTypeOf(input).toEqualTypeOf<{ orderId: string; quantity: number; wantedBy: Date }>()
          expectTypeOf(context).toEqualTypeOf<{ input: typeof input }>()
          expectTypeOf(direction).toEqualTypeOf<'action'>()
          expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
          expectTypeOf(attempt).toEqualTypeOf<number>()
          return { id: 'x', kind: 'a' as const, note: undefined as string | undefined }
        },
        compensation: ({ input, result, context, failure }) => {
          expectTypeOf(input.wantedBy).toEqualTypeOf<Date>()
          expectTypeOf(result).toEqualTypeOf<{ id: string; kind: 'a'; note: string | undefined }>()
          expectTypeOf(failure).toEqualTypeOf<{ step: string | undefined; reason: string }>()
          expectTypeOf(context.two).toEqualTypeOf<Json | undefined>()
        },
      })
      .step('two', {
        action: async ({ context }) => {
          expectTypeOf(context.one.kind).toEqualTypeOf<'a'>()
          return [1, 2]
        },
        compensation: ({ result, context }) => {
          expectTypeOf(result).toEqualTypeOf<number[]>()
          expectTypeOf(context.one.id).toEqualTypeOf<string>()
          expectTypeOf(context.input.quantity).toEqualTypeOf<number>()
        },
      })
      .step('three', {
        async action({ context }) {
          expectTypeOf(context.two).toEqualTypeOf<number[]>()
        },
        compensation: { run: ({ result }) => expectTypeOf(result).toEqualTypeOf<null>() },
      })
      .step('four', {
        action: http({ url: 'http://four' }),
        compensation: ({ result, context }) => {
          expectTypeOf(result).toEqualTypeOf<Json>()
          expectTypeOf(context.three).toEqualTypeOf<null>()
        },
      })
      .step('five', {
        action: async ({ input }): Promise<{ a: 1 } | undefined> =>
          input.quantity > 1 ? { a: 1 } : undefined,
        compensation: ({ result }) => expectTypeOf(result).toEqualTypeOf<{ a: 1 } | null>(),
      })
      .step('six', {
        action: ({ context }) => expectTypeOf(context.four).toEqualTypeOf<Json>() ?? null,
      })
  })

  test('let the result of an undone step be unknown only where an uncertain step is undone', () => {
    defineSaga({ name: 'types', defaults: { compensateWhen: 'uncertain' } })
      .step('byDefault', {
        action: () => ({ a: 1 }),
        compensation: ({ result }) => expectTypeOf(result).toEqualTypeOf<{ a: number } | undefined>(),
      })
      .step('notHere', {
        action: () => ({ a: 1 }),
        compensation: ({ result }) => expectTypeOf(result).toEqualTypeOf<{ a: number }>(),
        compensateWhen: 'completed',
      })
    defineSaga({ name: 'types' })
      .step('here', {
        action: () => ({ a: 1 }),
        compensation: ({ result }) => expectTypeOf(result).toEqualTypeOf<{ a: number } | undefined>(),
        compensateWhen: 'uncertain',
      })
      .step('byDefault', {
        action: () => ({ a: 1 }),
        compensation: { run: ({ result }) => expectTypeOf(result).toEqualTypeOf<{ a: number }>() },
      })
  })

  test('take an interface, and what is unknown, for a result', () => {
    interface Reservation {
      id: string
      until?: string
      lines: readonly { sku: string }[]
    }
    interface Tree {
      name?: string | undefined
      children: Tree[]
    }
    defineSaga({ name: 'types' })
      .step('one', { action: async (): Promise<Reservation> => ({ id: 'x', lines: [] }) })
      .step('two', { action: ({ context }): unknown => context.one.until })
      .step('three', { action: ({ context }) => expectTypeOf(context.two).toEqualTypeOf<unknown>() && true })
      .step('four', { action: async (): Promise<Tree> => ({ children: [{ children: [] }] }) })
      .step('five', { action: ({ context }) => expectTypeOf(context.four).toEqualTypeOf<Tree>() && true })
  })

  test('refuse a result that is not JSON', () => {
    const saga = defineSaga({ name: 'types', input: Order })
    class Money {
      cents = 1
      plus(other: Money) {
        return this.cents + other.cents
      }
    }
    // @ts-expect-error: a Date
    saga.step('date', { action: async () => ({ at: new Date() }) })
    // @ts-expect-error: a Date that came in with the input
    saga.step('input', { action: ({ input }) => ({ at: input.wantedBy }) })
    // @ts-expect-error: a Map, deep inside
    saga.step('map', { action: () => ({ list: [{ map: new Map<string, string>() }] }) })
    // @ts-expect-error: a bigint
    saga.step('bigint', { action: async () => 1n })
    // @ts-expect-error: a function
    saga.step('function', { action: () => () => 1 })
    // @ts-expect-error: an object of a class
    saga.step('class', { action: async () => new Money() })
    // @ts-expect-error: a hole in a list
    saga.step('undefined', { action: () => [1, undefined] })

    expectTypeOf<MustBeJson<{ id: string; at: Date }>>().toEqualTypeOf<{
      'the result of the action is not JSON': {
        id: string
        at: NotJson<'a Date: return date.toISOString()'>
      }
    }>()
    expectTypeOf<MustBeJson<Promise<{ at: string }>>>().not.toBeUnknown()
    expectTypeOf<MustBeJson<{ at: string; note?: string | undefined } | undefined>>().toBeUnknown()
  })

  test('refuse a name that is taken, and one that is not there', () => {
    const saga = defineSaga({ name: 'types' }).step('one', { action: () => 1 })
    // @ts-expect-error: twice
    const twice = saga.step('one', { action: () => 2 })
    expect(() => twice.definition).toThrow('"one" is already the name of step 0')
    // @ts-expect-error: reserved
    const reserved = saga.step('input', { action: () => 2 })
    expect(() => reserved.definition).toThrow('"input" is taken')
    // @ts-expect-error: a step that comes later, or a slip of the pen
    saga.step('two', { action: ({ context }) => context.tow })
  })
})

describe('the definition of a saga', () => {
  test('is the document of its steps', () => {
    expect(order.name).toBe('order')
    expect(order.definition).toEqual({
      name: 'order',
      inputSchema: {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        type: 'object',
        properties: {
          orderId: { type: 'string', minLength: 1 },
          quantity: { type: 'integer', default: 1, minimum: expect.any(Number), maximum: expect.any(Number) },
          wantedBy: { type: 'string', format: 'date-time', pattern: expect.any(String) },
        },
        required: ['orderId', 'wantedBy'],
      },
      deadlineMs: 60_000,
      defaults: { timeoutMs: 5000 },
      steps: [
        {
          name: 'reserve',
          description: 'sets the goods aside',
          action: { type: 'handler' },
          compensation: { type: 'handler' },
        },
        {
          name: 'charge',
          action: { type: 'handler' },
          compensation: { type: 'handler', timeoutMs: 1000, retry: { maxAttempts: 8 } },
          compensateWhen: 'uncertain',
          retry: { maxAttempts: 5 },
        },
        {
          name: 'ship',
          action: { type: 'http', method: 'POST', url: 'http://carrier/parcels' },
          compensation: { type: 'http', method: 'DELETE', url: 'http://carrier/parcels', timeoutMs: 2000 },
          timeoutMs: 15_000,
        },
        { name: 'confirm', action: { type: 'handler' } },
      ],
    })
    expect(order.definition).toBe(order.definition)
    expect(JSON.parse(JSON.stringify(order.definition))).toEqual(order.definition)
  })

  test('grows by a copy: a saga is not changed by the one made from it', () => {
    const one = defineSaga({ name: 'one', queue: 'q', description: 'd' }).step('a', { action: () => 1 })
    const two = one.step('b', { action: () => 2 })
    const other = one.step('c', { action: () => 3 })
    expect(one.definition).toEqual({
      name: 'one',
      queue: 'q',
      description: 'd',
      steps: [{ name: 'a', action: { type: 'handler' } }],
    })
    expect([...two.handlers.keys()]).toEqual(['a', 'b'])
    expect([...other.handlers.keys()]).toEqual(['a', 'c'])
  })

  test('says with the place what is wrong with it', () => {
    const bad = defineSaga({ name: 'bad' })
      .step('one', { action: http({ url: 'ftp://files' }), timeoutMs: -1 })
      .step('has space', { action: () => 1 })
    expect(() => bad.definition).toThrow(
      expect.objectContaining({
        name: 'BackstitchError',
        code: 'INVALID_DEFINITION',
        status: undefined,
        errors: [
          expect.objectContaining({ pointer: '/steps/0/action/url' }),
          expect.objectContaining({ pointer: '/steps/0/timeoutMs' }),
          expect.objectContaining({ pointer: '/steps/1/name' }),
        ],
      }),
    )
    const late: string = 'one'
    const twice = defineSaga({ name: 'twice' })
      .step(late, { action: () => 1 })
      .step(late, { action: () => 1 })
    expect(() => twice.definition).toThrow('"one" is already the name of step 0')
  })

  test('has no schema for an input that JSON cannot hold', () => {
    expect(() => defineSaga({ name: 'dated', input: z.object({ at: z.date() }) })).toThrow(
      'saga "dated": an input is JSON, and its schema says otherwise: Date cannot be represented in JSON Schema',
    )
  })
})

describe('a handler', () => {
  test('is found by step and direction, and only where the step has a function of its own', () => {
    expect([...order.handlers].map(([step, handlers]) => [step, Object.keys(handlers)])).toEqual([
      ['reserve', ['action', 'compensation']],
      ['charge', ['action', 'compensation']],
      ['confirm', ['action']],
    ])
    expect(handlerOf(order, 'reserve', 'action')).toBeTypeOf('function')
    expect(handlerOf(order, 'ship', 'action')).toBeUndefined()
    expect(handlerOf(order, 'constructor', 'action')).toBeUndefined()
    expect(handlerOf(order, 'confirm', 'compensation')).toBeUndefined()
  })

  test('gets the input as its schema gives it out, on its own and in the context', async () => {
    let told: unknown
    const saga = defineSaga({ name: 'told', input: Order }).step('one', {
      action: (call) => {
        told = call
      },
    })
    const given = call({ input: { orderId: 'o', wantedBy: '2026-01-02T00:00:00Z' } })
    await handlerOf(saga, 'one', 'action')?.(given)
    const input = { orderId: 'o', quantity: 1, wantedBy: new Date('2026-01-02T00:00:00Z') }
    expect(told).toMatchObject({ ...given, input, context: { input } })
  })

  test('gets the input as it is stored where there is no schema', async () => {
    const saga = defineSaga({ name: 'raw' }).step('one', { action: ({ input }) => input })
    expect(await handlerOf(saga, 'one', 'action')?.(call({ input: [1, null] }))).toEqual([1, null])
  })

  test('is rejected, not run, when the input does not fit its schema', async () => {
    const rejected = run(order, 'reserve', 'action', { input: { orderId: '', quantity: 1.5 } })
    await expect(rejected).rejects.toBeInstanceOf(StepRejected)
    await expect(rejected).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(
        /^the input of the saga does not fit its schema: \/orderId: .+; \/quantity: .+; \/wantedBy: /,
      ),
    })
  })

  test('gets what an HTTP service answered as its schema gives it out, or is rejected', async () => {
    seen = []
    await run(order, 'confirm', 'action', { context: { ship: { parcel: 'p-1', extra: true } } })
    expect(seen).toEqual(['p-1'])
    await expect(run(order, 'confirm', 'action', { context: { ship: {} } })).rejects.toMatchObject({
      name: 'StepRejected',
      code: 'INVALID_RESULT',
      message: expect.stringContaining('the result of step "ship" does not fit its schema: /parcel: '),
    })
  })

  test('reads on where an operator skipped the HTTP step', async () => {
    const saga = defineSaga({ name: 'skipped' })
      .step('one', { action: http({ url: 'http://one', result: z.object({ id: z.string() }) }) })
      .step('two', { action: ({ context }) => Object.keys(context) })
    expect(await run(saga, 'two', 'action', { context: {} })).toEqual(['input'])
  })

  test('that undoes is told the result and the failure; what it returns is not kept', async () => {
    seen = []
    const failure = { step: 'ship', reason: 'no carrier' }
    expect(await run(order, 'charge', 'compensation', { result: { chargeId: 'c' }, failure })).toBeUndefined()
    await run(order, 'charge', 'compensation', { result: undefined, failure })
    expect(seen).toEqual(['refund c: no carrier', 'refund undefined: no carrier'])
  })

  test('that undoes an HTTP step gets its answer through the schema, if there was one', async () => {
    const undone: unknown[] = []
    const saga = defineSaga({ name: 'mixed' }).step('one', {
      action: http({ url: 'http://one', result: z.object({ id: z.string() }) }),
      compensateWhen: 'uncertain',
      compensation: ({ result }) => undone.push(result),
    })
    expect(await run(saga, 'one', 'compensation', { result: { id: 'x', more: 1 } })).toBeUndefined()
    await run(saga, 'one', 'compensation', { result: undefined })
    expect(undone).toEqual([{ id: 'x' }, undefined])
    const misfit = run(saga, 'one', 'compensation', { result: null })
    await expect(misfit).rejects.toMatchObject({ code: 'INVALID_RESULT' })
  })

  test('that throws at once fails as one that rejects', async () => {
    const saga = defineSaga({ name: 'throws' }).step('one', {
      action: () => {
        throw new Error('at once')
      },
    })
    await expect(run(saga, 'one', 'action', {})).rejects.toThrow('at once')
  })
})

function call(given: Partial<HandlerCall>): HandlerCall {
  return aCall({ input: { orderId: 'o-1', wantedBy: '2026-01-02T00:00:00Z' }, ...given })
}

function run(
  saga: SagaModule,
  step: string,
  direction: HandlerCall['direction'],
  given: Partial<HandlerCall>,
): unknown {
  const handler: Handler | undefined = handlerOf(saga, step, direction)
  if (handler === undefined) throw new Error(`no ${direction} of "${step}"`)
  const shipped = step === 'confirm' || step === 'two' ? {} : undefined
  return handler(call({ ...given, step, direction, context: { ...shipped, ...given.context } }))
}

test('an HTTP call names a service in place of an address, and may say how to ask what became of it', () => {
  const probe = { service: 'payments', path: '/charges/${{ saga.idempotencyKey }}', timeoutMs: 500 }
  const { definition } = defineSaga({ name: 'asked' }).step('charge', {
    action: http({ service: 'payments', path: '/charges', probe }),
    compensation: http({
      url: 'http://payments/refunds',
      probe: { url: 'http://payments/refunded', method: 'POST' },
    }),
  })

  expect(definition.steps[0]).toMatchObject({
    action: {
      type: 'http',
      service: 'payments',
      path: '/charges',
      probe: { type: 'http', method: 'GET', ...probe },
    },
    compensation: { probe: { type: 'http', method: 'POST', url: 'http://payments/refunded' } },
  })
  expectTypeOf<{ url: string; service: string; path: string }>().not.toExtend<Parameters<typeof http>[0]>()
  expectTypeOf<{ service: string }>().not.toExtend<Parameters<typeof http>[0]>()
})
