import { handlerOf, type Json } from '@backstitch/core'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { defineSaga, http, saga } from './index.ts'
import { aCall } from './testing.ts'

const insurance = defineSaga({
  name: 'insurance',
  input: z.object({ traveller: z.string(), coverCents: z.int(), sports: z.array(z.string()).default([]) }),
})
  .step('quote', { action: http({ url: 'http://quotes', result: z.object({ cents: z.int() }) }) })
  .step('issue', {
    when: 'context.quote.cents > 0',
    action: ({ input }) => ({ policy: `p-${input.traveller}` }),
    compensation: ({ result }) => result.policy,
  })

const Trip = z.object({ traveller: z.string(), priceCents: z.int() })

const trip = defineSaga({ name: 'trip', input: Trip })
  .step('insure', {
    action: saga(insurance, {
      input: { traveller: '${{ input.traveller }}', coverCents: '${{ input.priceCents * 2 }}' },
    }),
  })
  .step('print', { action: ({ context }) => context.insure.results?.issue?.policy ?? 'uninsured' })

describe('a step that is a saga', () => {
  test('stands in the definition with its input, and needs no handler', () => {
    expect(trip.definition.steps[0]).toEqual({
      name: 'insure',
      action: {
        type: 'saga',
        definition: 'insurance',
        input: { traveller: '${{ input.traveller }}', coverCents: '${{ input.priceCents * 2 }}' },
      },
    })
    expect([...trip.handlers.keys()]).toEqual(['print'])
    const pinned = defineSaga({ name: 'pinned' }).step('one', { action: saga('anything', { version: 3 }) })
    expect(pinned.definition.steps[0]).toMatchObject({ action: { definition: 'anything', version: 3 } })
  })

  test('leaves the results of its steps, each as its own saga would read it', async () => {
    defineSaga({ name: 'types', input: Trip })
      .step('insure', {
        action: saga(insurance, { input: { traveller: 'ada', coverCents: 1 } }),
      })
      .step('look', {
        action: ({ context }) => {
          expectTypeOf(context.insure).toEqualTypeOf<{
            sagaId: string
            results: { quote: { cents: number }; issue?: { policy: string } } | null
          }>()
        },
      })

    const quote = { cents: 1, more: true }
    expect(await print({ sagaId: 's', results: { quote, issue: { policy: 'p-ada' } } })).toBe('p-ada')
    expect(await print({ sagaId: 's', results: { issue: { policy: 'a step was skipped' } } })).toBe(
      'a step was skipped',
    )
    expect(await print({ sagaId: 's', results: null })).toBe('uninsured')
    await expect(print({ sagaId: 's', results: { quote: { cents: 'many' } } })).rejects.toMatchObject({
      code: 'INVALID_RESULT',
      message: expect.stringContaining(
        'the result of step "insure" does not fit its schema: /results/quote/cents',
      ),
    })
  })

  test('known by its name alone leaves JSON', () => {
    defineSaga({ name: 'types' })
      .step('insure', { action: saga('insurance', { input: { any: ['${{ input }}'] } }) })
      .step('look', {
        action: ({ context }) => {
          expectTypeOf(context.insure).toEqualTypeOf<{
            sagaId: string
            results: { readonly [step: string]: Json } | null
          }>()
        },
      })
  })

  test('takes what fits its input, with expressions for any part of it', () => {
    const whole = saga(insurance, { input: '${{ context.form }}' })
    expect(whole.child).toEqual({ definition: 'insurance', input: '${{ context.form }}' })
    saga(insurance, { input: { traveller: 'ada', coverCents: 1, sports: ['${{ input.sport }}', 'golf'] } })
    saga(insurance, { input: { traveller: 'ada', coverCents: 1, sports: '${{ input.sports }}' } })
    // @ts-expect-error: neither a number nor an expression
    saga(insurance, { input: { traveller: 'ada', coverCents: 'much' } })
    // @ts-expect-error: not all of it
    saga(insurance, { input: { traveller: 'ada' } })
    // @ts-expect-error: a slip of the pen
    saga(insurance, { input: { traveler: 'ada', coverCents: 1 } })
  })

  test('without an input of its own is sent what this one was, if that fits', () => {
    const same = z.object({ traveller: z.string(), coverCents: z.int(), city: z.string() })
    const fits = defineSaga({ name: 'same', input: same }).step('insure', { action: saga(insurance) })
    expect(fits.definition.steps[0]).toEqual({
      name: 'insure',
      action: { type: 'saga', definition: 'insurance' },
    })
    // @ts-expect-error: the trip has no coverCents
    defineSaga({ name: 'other', input: Trip }).step('insure', { action: saga(insurance) })
    // @ts-expect-error: whatever JSON it may be
    defineSaga({ name: 'untyped' }).step('insure', { action: saga(insurance) })
    defineSaga({ name: 'other', input: Trip }).step('any', {
      action: saga(defineSaga({ name: 'x' }).step('a', { action: () => 1 })),
    })
    defineSaga({ name: 'other', input: Trip }).step('any', { action: saga('insurance') })
  })

  test('has no settings of a step that something carries out', () => {
    const impatient = defineSaga({ name: 'impatient', input: Trip }).step('insure', {
      action: saga('insurance'),
      timeoutMs: 1000,
      retry: { maxAttempts: 2 },
    })
    expect(() => impatient.definition).toThrow(
      expect.objectContaining({
        errors: [
          expect.objectContaining({ pointer: '/steps/0/timeoutMs' }),
          expect.objectContaining({ pointer: '/steps/0/retry' }),
        ],
      }),
    )
  })
})

async function print(insure: Json): Promise<unknown> {
  const input = { traveller: 'ada', priceCents: 100 }
  return await handlerOf(trip, 'print', 'action')?.(aCall({ step: 'print', input, context: { insure } }))
}
