import type { HttpAction, Json } from '@backstitch/core'
import type { z } from 'zod'

export type HttpRequest = {
  url: string
  /** POST, if not said otherwise. */
  method?: HttpAction['method']
  headers?: Record<string, string>
  /** Without one, the service is sent `{sagaId, step, direction, input, context, result?, failure?}`. */
  body?: Json
  /**
   * `callback`: the service may answer 202 and tell later how it ended, to `POST /v1/callbacks/{token}`; the step says how long
   * that may take (`timeoutMs`). Any other answer ends the step as ever.
   */
  completion?: HttpAction['completion']
}

/** A call to an HTTP service in place of a function. It is part of the definition: no worker needs code for it. */
export interface HttpCall<Result> {
  readonly type: 'http'
  readonly request: HttpRequest
  readonly result: z.core.$ZodType<Result> | undefined
}

/**
 * An action or a compensation carried out by an HTTP service. What it answers, at once or by its callback, is `Json`
 * to later steps, or, with a schema as `result`, what that schema makes of it: each handler that is shown the answer has it checked first.
 */
export function http(request: HttpRequest & { result?: undefined }): HttpCall<Json>
export function http<Result>(request: HttpRequest & { result: z.core.$ZodType<Result> }): HttpCall<Result>
export function http({
  result,
  ...request
}: HttpRequest & { result?: z.core.$ZodType | undefined }): HttpCall<unknown> {
  return { type: 'http', request, result }
}
