import { expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { defineSaga, delay, signal } from './index.ts'

const approval = defineSaga({ name: 'approval' })
  .step('reserve', { action: () => ({ seat: 7 }), compensation: () => undefined })
  .step('approve', {
    action: signal('approved', { result: z.object({ by: z.string() }) }),
    timeoutMs: 86_400_000,
  })
  .step('coolOff', { action: delay(60_000) })
  .step('pay', {
    pivot: true,
    action: ({ context }) => {
      expectTypeOf(context.approve).toEqualTypeOf<{ by: string }>()
      expectTypeOf(context.coolOff).toEqualTypeOf<null>()
      return { paidBy: context.approve.by, seat: context.reserve.seat }
    },
  })

test('waits and the pivot stand in the definition, and need no handler', () => {
  expect(approval.definition.steps).toMatchObject([
    { name: 'reserve', action: { type: 'handler' } },
    { name: 'approve', action: { type: 'signal', signal: 'approved' }, timeoutMs: 86_400_000 },
    { name: 'coolOff', action: { type: 'delay', delayMs: 60_000 } },
    { name: 'pay', action: { type: 'handler' }, pivot: true },
  ])
  expect([...approval.handlers.keys()]).toEqual(['reserve', 'pay'])
})

test('a step with a condition may have left no result, and its type says so', () => {
  const saga = defineSaga({ name: 'gift', input: z.object({ isGift: z.boolean() }) })
    .step('wrap', {
      when: 'input.isGift',
      action: () => ({ paper: 'red' }),
      compensation: ({ result }) => result.paper,
    })
    .step('ship', {
      action: ({ context }) => {
        expectTypeOf(context.wrap).toEqualTypeOf<{ paper: string } | undefined>()
        return context.wrap?.paper ?? 'plain'
      },
    })

  expect(saga.definition.steps[0]).toMatchObject({ name: 'wrap', when: 'input.isGift' })
})

test('a signal without a time-out cannot be defined (F12)', () => {
  const saga = defineSaga({ name: 'endless' }).step('approve', { action: signal('approved') })

  expect(() => saga.definition).toThrow('/steps/0/timeoutMs')
})
