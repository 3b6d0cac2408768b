import type { Json } from '@backstitch/core'
import { z } from 'zod'
import type { Saga } from './define-saga.ts'
import type { Flat } from './step.ts'

/** A step that is a saga of its own, in place of a function. It needs no compensation: it is undone by its own (M5). */
export interface ChildCall<Result, Sent = unknown> {
  readonly type: 'saga'
  readonly child: { definition: string; version?: number | undefined; input?: unknown }
  readonly result: z.core.$ZodType | undefined
  /** For the compiler only. `takes` is what the saga around it must have been started with. */
  readonly '~types'?: { result: Result; takes: (sent: Sent) => void }
}

/** What a completed saga leaves as the result of the step that it was; no results where they are too large for one. */
export type ChildResult<Results> = { sagaId: string; results: Flat<Results> | null }

/** A text with an expression in it: `${{ input.city }}`. */
type Expression = `${string}\${{${string}}}${string}`

/** A value in which expressions may stand for any of its parts. They are evaluated when the step is come to. */
export type WithExpressions<T> = Json extends T
  ? T
  : T | Expression | (T extends object ? { [K in keyof T]: WithExpressions<T[K]> } : never)

/** What a saga must be started with to hand it on as it is. */
type Sent<Input> = Json extends Input ? unknown : Input

/**
 * Starts a saga and waits for its end: one of ours, which types the step's `input` and result, or one by its name. Without
 * `input` it is sent what the saga around it was; without `version` it is the highest when the step is come to.
 */
export function saga<Input, Results>(
  child: Saga<string, Input, Results>,
  options: { input: NoInfer<WithExpressions<Input>>; version?: number | undefined },
): ChildCall<ChildResult<Results>>
export function saga<Input, Results>(
  child: Saga<string, Input, Results>,
  options?: { input?: undefined; version?: number | undefined },
): ChildCall<ChildResult<Results>, Sent<Input>>
export function saga(
  name: string,
  options?: { input?: Json | undefined; version?: number | undefined },
): ChildCall<ChildResult<Readonly<Record<string, Json>>>>
export function saga(
  child: Saga | string,
  options: { input?: unknown; version?: number | undefined } = {},
): ChildCall<ChildResult<unknown>> {
  if (typeof child === 'string')
    return { type: 'saga', child: { definition: child, ...options }, result: undefined }
  return { type: 'saga', child: { definition: child.name, ...options }, result: schemaOf(child['~answers']) }
}

/** Its results as its own later steps would read them. An operator may have skipped a step; then there is nothing to read. */
function schemaOf(answers: ReadonlyMap<string, z.core.$ZodType>): z.core.$ZodType | undefined {
  if (answers.size === 0) return undefined
  const shape = Object.fromEntries([...answers].map(([step, schema]) => [step, z.optional(schema)]))
  return z.object({ sagaId: z.string(), results: z.nullable(z.looseObject(shape)) })
}
