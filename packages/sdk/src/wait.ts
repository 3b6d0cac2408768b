import type { Json } from '@backstitch/core'
import type { z } from 'zod'

/** A step that nobody carries out, in place of a function: it ends by itself, or when it is told to. */
export interface WaitCall<Result> {
  readonly type: 'wait'
  readonly wait: { type: 'delay'; delayMs: number } | { type: 'signal'; signal: string }
  readonly result: z.core.$ZodType<Result> | undefined
}

/** Waits so long, and costs nothing but its row meanwhile. */
export function delay(delayMs: number): WaitCall<null> {
  return { type: 'wait', wait: { type: 'delay', delayMs }, result: undefined }
}

/**
 * Waits for a signal of this name, whether it comes before the step or after; the step must say for how long (`timeoutMs`).
 * The payload is the result: `Json` to later steps, or, with a schema as `result`, what that schema makes of it.
 */
export function signal(name: string, options?: { result?: undefined }): WaitCall<Json>
export function signal<Result>(name: string, options: { result: z.core.$ZodType<Result> }): WaitCall<Result>
export function signal(
  name: string,
  { result }: { result?: z.core.$ZodType | undefined } = {},
): WaitCall<unknown> {
  return { type: 'wait', wait: { type: 'signal', signal: name }, result }
}
