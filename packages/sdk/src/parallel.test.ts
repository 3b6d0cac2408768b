import { handlerOf } from '@backstitch/core'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { defineSaga, http } from './index.ts'
import { aCall } from './testing.ts'

const trip = defineSaga({ name: 'trip', input: z.object({ city: z.string(), nights: z.int().default(1) }) })
  .step('quote', { action: () => ({ cents: 100 }) })
  .parallel(
    (group) =>
      group
        .step('flight', {
          action: ({ input, context }) => ({ seat: `${input.city}-${context.quote.cents}` }),
          compensation: ({ result }) => result.seat,
        })
        .step('hotel', {
          when: 'input.nights > 0',
          action: http({
            url: 'http://hotel/rooms',
            completion: 'callback',
            result: z.object({ room: z.string() }),
          }),
          compensateWhen: 'uncertain',
          compensation: ({ result }) => result?.room,
          timeoutMs: 60_000,
        }),
    { compensate: 'together' },
  )
  .step('pay', {
    action: ({ context }) => `${context.flight.seat} ${context.hotel?.room ?? 'under the stars'}`,
  })

describe('a parallel group', () => {
  test('is one entry of the definition, and its members are steps like any other', () => {
    expect(trip.definition.steps).toEqual([
      { name: 'quote', action: { type: 'handler' } },
      {
        parallel: [
          { name: 'flight', action: { type: 'handler' }, compensation: { type: 'handler' } },
          {
            name: 'hotel',
            when: 'input.nights > 0',
            action: { type: 'http', method: 'POST', url: 'http://hotel/rooms', completion: 'callback' },
            compensateWhen: 'uncertain',
            compensation: { type: 'handler' },
            timeoutMs: 60_000,
          },
        ],
        compensate: 'together',
      },
      { name: 'pay', action: { type: 'handler' } },
    ])
    expect([...trip.handlers].map(([step, handlers]) => [step, Object.keys(handlers)])).toEqual([
      ['quote', ['action']],
      ['flight', ['action', 'compensation']],
      ['hotel', ['compensation']],
      ['pay', ['action']],
    ])
  })

  test('leaves its results to the steps after it, through their schemas', async () => {
    const context = { quote: { cents: 100 }, flight: { seat: '1A' }, hotel: { room: 'blue', floor: 3 } }
    expect(await run(trip, 'pay', context)).toBe('1A blue')
    await expect(run(trip, 'pay', { ...context, hotel: {} })).rejects.toMatchObject({
      code: 'INVALID_RESULT',
    })
  })

  test('shows its members what came before it, and not each other', () => {
    defineSaga({ name: 'types' })
      .step('first', { action: () => ({ a: 1 }) })
      .parallel((group) =>
        group
          .step('left', {
            action: ({ context }) => {
              expectTypeOf(context).toEqualTypeOf<{ input: typeof context.input; first: { a: number } }>()
              return { b: 'b' }
            },
            compensation: ({ result, context }) => {
              expectTypeOf(result).toEqualTypeOf<{ b: string }>()
              expectTypeOf(context.right).not.toEqualTypeOf<{ c: boolean }>()
            },
          })
          .step('right', {
            // @ts-expect-error: a member of the same group
            action: ({ context }) => ({ c: context.left === undefined }),
          }),
      )
      .step('last', {
        action: ({ context }) => {
          expectTypeOf(context.left).toEqualTypeOf<{ b: string }>()
          expectTypeOf(context.right).toEqualTypeOf<{ c: boolean }>()
          return null
        },
      })
  })

  test('takes no name that is taken: by a step before, by another member, by the input', () => {
    const saga = defineSaga({ name: 'types' }).step('one', { action: () => 1 })
    // @ts-expect-error: a step before
    const before = saga.parallel((group) => group.step('one', { action: () => 2 }))
    expect(() => before.definition).toThrow('"one" is already the name of step 0')
    const beside = saga.parallel((group) =>
      // @ts-expect-error: another member
      group.step('two', { action: () => 2 }).step('two', { action: () => 3 }),
    )
    expect(() => beside.definition).toThrow('"two" is already the name of member 0 of step 1')
    // @ts-expect-error: reserved
    saga.parallel((group) => group.step('input', { action: () => 2 }))
    // @ts-expect-error: a member's name is taken for the steps after it, too
    saga.parallel((group) => group.step('two', { action: () => 2 })).step('two', { action: () => 3 })
    // @ts-expect-error: a Date is not JSON, here as elsewhere
    saga.parallel((group) => group.step('date', { action: () => new Date() }))
  })

  test('has at least one member, and changes no saga that it is not part of', () => {
    const saga = defineSaga({ name: 'one' }).step('a', { action: () => 1 })
    const empty = saga.parallel((group) => group)
    expect(() => empty.definition).toThrow('/steps/1/parallel')
    expect(saga.definition.steps).toHaveLength(1)
  })
})

test('a callback without a time-out cannot be defined, in either direction', () => {
  const called = http({ url: 'http://slow', completion: 'callback' })
  const action = defineSaga({ name: 'endless' }).step('wait', { action: called })
  expect(() => action.definition).toThrow('/steps/0/timeoutMs')

  const undo = defineSaga({ name: 'endless' }).step('wait', { action: () => 1, compensation: called })
  expect(() => undo.definition).toThrow('/steps/0/compensation/timeoutMs')

  const both = defineSaga({ name: 'patient' }).step('wait', {
    action: called,
    timeoutMs: 60_000,
    compensation: { run: called, timeoutMs: 60_000 },
  })
  expect(both.definition.steps).toMatchObject([
    { action: { completion: 'callback' }, compensation: { completion: 'callback', timeoutMs: 60_000 } },
  ])
})

async function run(saga: typeof trip, step: string, context: Record<string, object>): Promise<unknown> {
  const input = { city: 'Rome' }
  return await handlerOf(
    saga,
    step,
    'action',
  )?.(aCall({ step, input, context: JSON.parse(JSON.stringify(context)) }))
}
