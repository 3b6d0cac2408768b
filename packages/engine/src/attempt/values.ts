import type { Values } from '@backstitch/core'
import type { AttemptRequest } from './attempt.ts'

/** What the expressions of a request may ask about. */
export function valuesOf(request: AttemptRequest): Values {
  const { sagaId, definition, step, direction, attempt, idempotencyKey } = request
  const { input, context, result = null, failure } = request
  const { name, version } = definition
  const saga = { id: sagaId, definition: name, version, step, direction, attempt, idempotencyKey }
  if (direction === 'action') return { input, context, saga }
  return {
    input,
    context,
    saga,
    result,
    failure: { step: failure?.step ?? null, reason: failure?.reason ?? '' },
  }
}
