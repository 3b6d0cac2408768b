import type { HttpAction, Json } from '@backstitch/core'
import type { z } from 'zod'

/** Where it goes: an address, or a service whose address and secrets each worker knows. */
export type HttpTarget =
  | { url: string; service?: undefined; path?: undefined }
  | { service: string; path: string; url?: undefined }

export type HttpRequest = HttpTarget & {
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
  /** How the service is asked what became of an attempt whose outcome is uncertain, before anything is repeated or undone. */
  probe?: HttpProbeRequest | undefined
}

export type HttpProbeRequest = HttpTarget & {
  /** GET, if not said otherwise. */
  method?: 'GET' | 'POST'
  headers?: Record<string, string>
  body?: Json
  /** Of the question. 10 s, if not said otherwise. */
  timeoutMs?: number
  /** An expression over `answer` ({status, body}): it has happened. Absent: the body says `{"outcome": "happened", "result": …}`. */
  happened?: string
  /** What it gave: a template over `answer`. */
  result?: Json
  /**
   * An expression over `answer`: the service promises that nothing it was sent so far has happened, or will. That it knows of
   * nothing (404) is no such promise. Absent: the body says `{"outcome": "willNotHappen"}`.
   */
  willNotHappen?: string
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
export function http(call: HttpRequest & { result?: z.core.$ZodType | undefined }): HttpCall<unknown> {
  const { result, ...request } = call
  return { type: 'http', request, result }
}
