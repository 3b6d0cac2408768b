import { expect, test } from 'vitest'
import { callbackOf } from './index.ts'

test('the token of a callback is read from the headers of Node and of fetch, its address if there is one', () => {
  const headers = {
    'saga-callback-token': 's-1.mac',
    'saga-callback-url': 'http://api/v1/callbacks/s-1.mac',
  }
  const callback = { token: 's-1.mac', url: 'http://api/v1/callbacks/s-1.mac' }
  expect(callbackOf(headers)).toEqual(callback)
  expect(callbackOf(new Headers(headers))).toEqual(callback)
  expect(callbackOf({ 'saga-callback-token': 's-1.mac' })).toEqual({ token: 's-1.mac', url: undefined })
  expect(callbackOf({ 'saga-id': 's-1' })).toBeUndefined()
})
