import { beginning } from './course.ts'
import type { ResolvedDefinition } from './definition.ts'
import type { Started } from './history.ts'
import { INLINE_BYTES } from './limits.ts'

/** The first entry of a saga's history. `deadlineMs` counts from `now`; the definition's own holds where none is given. */
export function startedEntry(start: {
  sagaId: string
  definition: ResolvedDefinition
  input: Started['input']
  inputBytes: number
  /** Milliseconds since the epoch, by the database's clock (S18). */
  now: number
  deadlineMs?: number | undefined
  correlationId?: string | undefined
  traceparent?: string | undefined
}): Started {
  const { definition, correlationId, traceparent } = start
  const deadlineMs = start.deadlineMs ?? definition.deadlineMs
  return {
    kind: 'sagaStarted',
    at: new Date(start.now).toISOString(),
    sagaId: start.sagaId,
    definition: { name: definition.name, version: definition.version },
    input: start.input,
    inputBytes: start.inputBytes,
    ...(start.inputBytes > INLINE_BYTES && { spilled: true }),
    ...(deadlineMs !== undefined && { deadlineAt: new Date(start.now + deadlineMs).toISOString() }),
    ...(correlationId !== undefined && { correlationId }),
    ...(traceparent !== undefined && { traceparent }),
    to: beginning(definition, start.now),
  }
}
