import { expect, test } from 'vitest'
import { plan } from './plan.ts'
import { define } from './testing.ts'

const order = define(['reserve', { name: 'quote', compensation: undefined }, 'charge', 'ship'])

test('a plan with nothing that fails lists every action and ends completed (S28)', () => {
  const { acts, ends } = plan(order)
  expect(acts.map(({ step, direction }) => `${direction} ${step}`)).toEqual([
    'action reserve',
    'action quote',
    'action charge',
    'action ship',
  ])
  expect(ends).toBe('completed')
})

test('a plan says in which order a failing step makes the others be undone (S28, S8)', () => {
  expect(plan(order, 'ship')).toEqual({
    acts: [
      { step: 'reserve', direction: 'action', outcome: 'succeeded', round: 1 },
      { step: 'quote', direction: 'action', outcome: 'succeeded', round: 2 },
      { step: 'charge', direction: 'action', outcome: 'succeeded', round: 3 },
      { step: 'ship', direction: 'action', outcome: 'rejected', round: 4 },
      { step: 'charge', direction: 'compensation', outcome: 'succeeded', round: 5 },
      { step: 'reserve', direction: 'compensation', outcome: 'succeeded', round: 6 },
    ],
    ends: 'failed',
  })
})

test('a plan whose first step fails undoes nothing (S28)', () => {
  expect(plan(order, 'reserve')).toEqual({
    acts: [{ step: 'reserve', direction: 'action', outcome: 'rejected', round: 1 }],
    ends: 'failed',
  })
})

test('a plan counts a wait as an act like any other, and a signal that does not come as its failure (S28, S7a)', () => {
  const cool = { name: 'cool', action: { type: 'delay', delayMs: 60_000 }, compensation: undefined }
  const approve = { name: 'approve', action: { type: 'signal', signal: 'approved' }, timeoutMs: 60_000 }
  expect(plan(define(['reserve', cool, approve]), 'approve')).toEqual({
    acts: [
      { step: 'reserve', direction: 'action', outcome: 'succeeded', round: 1 },
      { step: 'cool', direction: 'action', outcome: 'succeeded', round: 2 },
      { step: 'approve', direction: 'action', outcome: 'rejected', round: 3 },
      { step: 'reserve', direction: 'compensation', outcome: 'succeeded', round: 4 },
    ],
    ends: 'failed',
  })
})

test('a plan past the pivot ends stuck and undoes nothing; one at the pivot undoes as ever (S28, S14)', () => {
  const definition = define(['reserve', { name: 'charge', pivot: true }, 'ship'])
  expect(plan(definition, 'ship')).toEqual({
    acts: [
      { step: 'reserve', direction: 'action', outcome: 'succeeded', round: 1 },
      { step: 'charge', direction: 'action', outcome: 'succeeded', round: 2 },
      { step: 'ship', direction: 'action', outcome: 'rejected', round: 3 },
    ],
    ends: 'stuck',
  })
  expect(plan(definition, 'charge')).toMatchObject({
    acts: [{ step: 'reserve' }, { step: 'charge' }, { step: 'reserve', direction: 'compensation' }],
    ends: 'failed',
  })
})

test('a step named like something every object has is planned like any other', () => {
  const odd = define(['constructor', 'toString', 'hasOwnProperty'])
  expect(
    plan(odd, 'hasOwnProperty')
      .acts.slice(3)
      .map(({ step }) => step),
  ).toEqual(['toString', 'constructor'])
})

test('the largest definition is planned at once', () => {
  const largest = define(Array.from({ length: 500 }, (_, index) => `step${index}`))
  expect(plan(largest, 'step499').acts).toHaveLength(500 + 499)
})
