import { backward, beginning } from './course.ts'
import type { ResolvedDefinition } from './definition.ts'
import { begin, type Started } from './history.ts'
import { instantText } from './instant.ts'
import { byteLength, type Json, sanitizeText } from './json.ts'
import { INLINE_BYTES, MAX_REASON_BYTES } from './limits.ts'
import type { InputOverrides, Parent, SagaState } from './state.ts'

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
  parent?: Parent | undefined
}): Started {
  const { definition, correlationId, traceparent, parent } = start
  const deadlineMs = start.deadlineMs ?? definition.deadlineMs
  return {
    kind: 'sagaStarted',
    at: instantText(start.now),
    sagaId: start.sagaId,
    definition: { name: definition.name, version: definition.version },
    input: start.input,
    inputBytes: start.inputBytes,
    ...(start.inputBytes > INLINE_BYTES && { spilled: true }),
    ...(deadlineMs !== undefined && { deadlineAt: new Date(start.now + deadlineMs).toISOString() }),
    ...(correlationId !== undefined && { correlationId }),
    ...(traceparent !== undefined && { traceparent }),
    ...(parent !== undefined && { parent }),
    to: beginning(definition, start.now),
  }
}

/** What it takes to name the keys of its actions, without what they were given: nothing of that is done again. */
function generationsOf(overrides: InputOverrides): InputOverrides {
  const actions = Object.entries(overrides).flatMap(([step, { action }]) =>
    action === undefined ? [] : [[step, { action: { generation: action.generation } }] as const],
  )
  return Object.fromEntries(actions)
}

/**
 * The first entry of a saga that undoes a completed one (M5). It begins where that one ended, with all it needs from there.
 * `context` is the other's whole context.
 */
export function undoEntry(start: {
  sagaId: string
  child: SagaState
  context: Readonly<Record<string, Json>>
  /** The child's. */
  definition: ResolvedDefinition
  reason: string
  now: number
  correlationId?: string | undefined
  traceparent?: string | undefined
  parent: Parent
}): Started {
  const { child, definition, now, correlationId, traceparent, parent } = start
  const { input = null, ...results } = start.context
  const inputBytes = byteLength(JSON.stringify(input))
  const { total } = child.bytes
  const entry: Started = {
    kind: 'sagaStarted',
    at: instantText(now),
    sagaId: start.sagaId,
    definition: { name: definition.name, version: definition.version },
    input,
    inputBytes,
    ...(total > INLINE_BYTES && { spilled: true }),
    ...(correlationId !== undefined && { correlationId }),
    ...(traceparent !== undefined && { traceparent }),
    parent,
    undo: {
      of: child.sagaId,
      completedSteps: child.completedSteps,
      uncertainSteps: child.uncertainSteps,
      ...(child.children !== undefined && { children: child.children }),
      results,
      resultsBytes: Math.max(0, total - inputBytes),
      ...(child.inputOverrides !== undefined && { inputOverrides: generationsOf(child.inputOverrides) }),
    },
    to: {},
  }
  const why = { cause: 'failure', failureReason: sanitizeText(start.reason, MAX_REASON_BYTES) } as const
  return { ...entry, to: backward(begin(entry), { definition, now, random: 0, version: 0 }, why) }
}
