import { type CallbackEnd, CallbackTaken, type Json } from '@backstitch/core'
import { checkedInput } from './checked-input.ts'
import type { CallOptions, Transport } from './transport.ts'

/** Why a step failed; in either case nothing has happened. */
export type CallbackError = Extract<CallbackEnd, { error: unknown }>['error']

export type CallbackOptions = CallOptions & {
  /** Callbacks with the same key are one. Without it the client makes one up for this call. */
  idempotencyKey?: string | undefined
}

/** For a participant that answered 202 and was given a token: `callbackOf` reads it from the request (M3). */
export type CallbacksClient = {
  /** The step has succeeded, with this result; null if there is none. */
  succeed(token: string, result?: Json, options?: CallbackOptions): Promise<void>
  /** The step has failed without effect: for good, or, with `retryable`, to be tried again. */
  fail(token: string, error: CallbackError, options?: CallbackOptions): Promise<void>
}

/** `CALLBACK_NOT_AWAITED`: the token is mistyped, or its step has been decided: whatever was done is to be taken back. */
export function callbacksClient(call: Transport): CallbacksClient {
  async function post(
    token: string,
    body: CallbackEnd,
    { idempotencyKey = crypto.randomUUID(), ...options }: CallbackOptions = {},
  ): Promise<void> {
    const headers = { 'idempotency-key': idempotencyKey }
    const path = ['callbacks', token]
    // Under its key it is the same callback, also when it comes after the step's next attempt has begun.
    await call({ method: 'POST', path, body, headers, repeatable: true }, CallbackTaken, options)
  }

  return {
    async succeed(token, result = null, options) {
      return post(token, { result: checkedInput(result, '/result', 'result') }, options)
    },
    async fail(token, error, options) {
      return post(token, { error }, options)
    },
  }
}
