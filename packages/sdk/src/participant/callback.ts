import { headerValue, type SagaHeaders } from './saga-call.ts'

/** Where to tell how a step has ended that was answered with 202 (M3). The same for every attempt of it. */
export type Callback = {
  token: string
  /** The whole address to post to, if the worker knows where the API is reached from here. */
  url: string | undefined
}

/** From the headers of a call; undefined if its step does not wait for a callback, and an answer of 202 would be its end. */
export function callbackOf(headers: SagaHeaders): Callback | undefined {
  const token = headerValue(headers, 'saga-callback-token')
  return token === undefined ? undefined : { token, url: headerValue(headers, 'saga-callback-url') }
}
