import type { HandlerCall } from '@backstitch/core'

/** For the tests of this folder: what the engine would call a handler with. */
export function aCall(given: Partial<HandlerCall> = {}): HandlerCall {
  const { input = null } = given
  return {
    sagaId: '01900000-0000-7000-8000-000000000001',
    definition: { name: 'order', version: 1 },
    step: 'reserve',
    direction: 'action',
    attempt: 1,
    idempotencyKey: 'key',
    correlationId: undefined,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    result: undefined,
    failure: undefined,
    signal: new AbortController().signal,
    ...given,
    input,
    context: { input, ...given.context },
  }
}
