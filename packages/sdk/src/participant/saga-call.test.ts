import { expect, test } from 'vitest'
import { sagaCallOf } from './saga-call.ts'

const headers = {
  'idempotency-key': 's-1:charge:action:1',
  'saga-id': 's-1',
  'saga-definition': 'order@1',
  'saga-step': 'charge',
  'saga-direction': 'action',
  'saga-attempt': '2',
}

test('a call is read from the headers of Node and of fetch', () => {
  const call = {
    sagaId: 's-1',
    step: 'charge',
    direction: 'action',
    idempotencyKey: 's-1:charge:action:1',
  }
  expect(sagaCallOf(headers)).toEqual(call)
  expect(sagaCallOf(new Headers(headers))).toEqual(call)
  const back = {
    ...headers,
    'saga-direction': 'compensation',
    'idempotency-key': 's-1:charge:compensation:17',
  }
  expect(sagaCallOf(back)).toMatchObject({
    direction: 'compensation',
    idempotencyKey: 's-1:charge:compensation:17',
  })
})

test.each([
  ['saga-id', undefined, 'there is no header "saga-id", expected 1 to 200 visible ASCII characters'],
  ['saga-id', '', 'the header "saga-id" is ""'],
  ['saga-id', 'a b', 'the header "saga-id" is "a b"'],
  ['saga-id', ['s-1', 's-2'], 'the header "saga-id" is "s-1, s-2"'],
  ['saga-id', 's'.repeat(201), 'the header "saga-id" is'],
  ['saga-step', undefined, 'there is no header "saga-step", expected the name of a step'],
  ['saga-step', '1st', 'the header "saga-step" is "1st"'],
  [
    'saga-direction',
    'Action',
    'the header "saga-direction" is "Action", expected "action" or "compensation"',
  ],
  ['idempotency-key', undefined, 'there is no header "idempotency-key"'],
  ['idempotency-key', 's-2:charge:action:1', 'expected "s-1:charge:action:" and a number from 1'],
  ['idempotency-key', 's-1:charge:compensation:1', 'the idempotency key is "s-1:charge:compensation:1"'],
  ['idempotency-key', 's-1:charge:action:', 'and a number from 1'],
  ['idempotency-key', 's-1:charge:action:0', 'and a number from 1'],
  ['idempotency-key', 's-1:charge:action:1x', 'and a number from 1'],
  ['idempotency-key', 's-1:charge:action:9999999999', 'and a number from 1'],
])('with %s %j it is not the call of a saga', (name, value, message) => {
  const read = () => sagaCallOf({ ...headers, [name]: value })
  expect(read).toThrow(message)
  expect(read).toThrow(expect.objectContaining({ name: 'StepRejected', code: 'NOT_A_SAGA_CALL' }))
})
