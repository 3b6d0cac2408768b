import {
  actOf,
  begin,
  checkDefinition,
  resolveDefinition,
  type SagaState,
  startedEntry,
} from '@backstitch/core'
import { expect, test } from 'vitest'
import { attemptRequest } from './request.ts'

const checked = checkDefinition({ name: 'some', steps: [{ name: 'one', action: { type: 'handler' } }] })
if (!checked.ok) throw new Error('the definition is sound')
const definition = resolveDefinition(checked.definition, 1)
const state: SagaState = begin(
  startedEntry({
    sagaId: '019e0000-0000-7000-8000-000000000007',
    definition,
    input: { amount: 1 },
    inputBytes: 12,
    now: Date.parse('2026-01-01'),
  }),
)
/** With a value that stands in the history alone. */
const large: SagaState = { ...state, completedSteps: ['one'], bytes: { inline: 12, total: 9_000 } }
const id = { step: 'one', direction: 'action', attempt: 1 } as const
const act = actOf(definition, id)
const requestOf = (
  of: SagaState,
  spilled: Map<string, null | number>,
  direction: 'action' | 'compensation',
) => attemptRequest(of, spilled, { ...id, direction }, act, new AbortController().signal, () => undefined)

test('the context of an attempt is that of the state it was dispatched on, whenever it is looked at', () => {
  const spilled = new Map([['one', 1]])
  const request = requestOf(large, spilled, 'action')
  spilled.set('later', 2)

  expect(request.context).toEqual({ input: { amount: 1 }, one: 1 })
  expect(request.context).toBe(request.context)
})

test('what a participant is given cannot be changed by it', () => {
  const request = requestOf(state, new Map(), 'action')
  const { context, input, definition: named } = request

  for (const given of [request, context, input, context.input, named])
    expect(Object.isFrozen(given)).toBe(true)
})

test('a compensation is given the result of its step: null, too, and wherever it is kept', () => {
  const results = [
    requestOf({ ...state, context: { one: null } }, new Map(), 'compensation').result,
    requestOf(large, new Map([['one', 7]]), 'compensation').result,
    requestOf(state, new Map([['one', 7]]), 'compensation').result,
    requestOf({ ...state, context: { one: null } }, new Map(), 'action').result,
  ]

  expect(results).toEqual([null, 7, undefined, undefined])
})
