import { failureOf, ProblemDetails, problemsOf, type Retry, retryDelayMs } from '@backstitch/core'
import type { z } from 'zod'
import { BackstitchError } from '../errors.ts'

/**
 * One request to the API, until it is answered.
 *
 * 1. What comes back is decoded by the contract's schema or is an error; nothing is believed.
 * 2. A request goes out again only if that cannot do anything twice: after 429 always, since it was turned away;
 *    after a lost reply, a time-out, 408, 502, 503 or 504 if it is repeatable.
 * 3. The server is left alone for as long as it asks (`Retry-After`); if that is longer than a back-off may be, the caller
 *    is told instead of kept waiting.
 */

/** As much of `fetch` as is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

export type ClientOptions = {
  /** Where the API is; with a path, if it is served under one: `https://intern.example/backstitch`. */
  url: string
  fetch?: Fetch | undefined
  /** Sent with every request; as a function it is asked anew each time, for a token that expires. */
  headers?:
    | Record<string, string>
    | (() => Record<string, string> | Promise<Record<string, string>>)
    | undefined
  /** How often and how patiently a request is repeated; `{ maxAttempts: 1 }` for never. */
  retry?: Partial<Retry> | undefined
  /** Of one attempt at a request, beside what the server was asked to wait. */
  timeoutMs?: number | undefined
}

/** What every call takes. */
export type CallOptions = {
  /** Ends the call with the signal's reason. */
  signal?: AbortSignal | undefined
  timeoutMs?: number | undefined
  /** `traceparent`, for instance. */
  headers?: Record<string, string> | undefined
}

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

export type ApiRequest = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Segments below `/v1`, not yet encoded. */
  path: readonly string[]
  query?: Query | undefined
  body?: unknown
  /** Of the request itself: `Idempotency-Key`, `If-Match`. */
  headers?: Record<string, string | undefined> | undefined
  /** Does it change no more when it arrives twice? */
  repeatable: boolean
  /** How long the server was asked to hold the answer back. */
  heldMs?: number | undefined
}

export type Transport = <T>(request: ApiRequest, schema: z.ZodType<T>, options?: CallOptions) => Promise<T>

const DEFAULT_RETRY: Retry = { maxAttempts: 4, initialDelayMs: 200, factor: 2, maxDelayMs: 10_000 }
const DEFAULT_TIMEOUT_MS = 30_000
/** What a timer can hold; a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1
/** Answers of gateways, and of a server that is going down: the request may have arrived. */
const MAYBE_ARRIVED = [408, 502, 503, 504]
/** Of a body that is not what was expected, so much is shown. */
const SHOWN_CHARACTERS = 200

/** One answer that goes on and on: its first part has come when this resolves. Asked once. */
export type Streaming = (
  request: Pick<ApiRequest, 'path' | 'query'>,
  options: { signal: AbortSignal; headers?: Record<string, string> | undefined },
) => Promise<ReadableStream<Uint8Array>>

export function createStreaming(client: ClientOptions): Streaming {
  const base = baseOf(client.url)
  const send: Fetch = client.fetch ?? ((url, init) => fetch(url, init))

  return async ({ path, query }, { signal, headers: more }) => {
    const url = urlOf(base, { path, query })
    const headers = await headersOf(
      client,
      { headers: { accept: 'text/event-stream, application/problem+json' } },
      { headers: more },
    )
    const response = await send(url, { method: 'GET', headers, redirect: 'manual', signal })
    const isStream = /^text\/event-stream\b/.test(response.headers.get('content-type') ?? '')
    if (response.status === 200 && isStream && response.body !== null) return response.body
    throw problemOf({ url, status: response.status, headers: response.headers, text: await response.text() })
  }
}

export function createTransport(client: ClientOptions): Transport {
  const base = baseOf(client.url)
  const retry: Retry = { ...DEFAULT_RETRY, ...client.retry }
  const send: Fetch = client.fetch ?? ((url, init) => fetch(url, init))

  return async (request, schema, options = {}) => {
    const { signal } = options
    const url = urlOf(base, request)
    const body = request.body === undefined ? undefined : JSON.stringify(request.body)
    const ownMs = options.timeoutMs ?? client.timeoutMs ?? DEFAULT_TIMEOUT_MS
    const timeoutMs = Math.min(Math.ceil(ownMs + (request.heldMs ?? 0)), LONGEST_TIMER_MS)

    for (let attempt = 1; ; attempt++) {
      try {
        const headers = await headersOf(client, request, options)
        const init = {
          method: request.method,
          headers,
          redirect: 'manual',
          ...(body !== undefined && { body }),
        } as const
        return decode(await exchange(send, url, init, timeoutMs, signal), schema)
      } catch (error) {
        const waitMs =
          attempt < retry.maxAttempts ? pauseAfter(error, request.repeatable, attempt, retry) : undefined
        if (waitMs === undefined) throw error
        await pause(waitMs, signal)
      }
    }
  }
}

/** An answer, read to its end. */
type Answer = { url: string; status: number; headers: Headers; text: string }

async function exchange(
  send: Fetch,
  url: string,
  init: RequestInit,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  signal?.throwIfAborted()
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    const response = await send(url, {
      ...init,
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    })
    return { url, status: response.status, headers: response.headers, text: await response.text() }
  } catch (cause) {
    signal?.throwIfAborted()
    throw timeout.aborted
      ? new BackstitchError({
          code: 'TIMED_OUT',
          detail: `${url} has not answered within ${timeoutMs} ms`,
          cause,
        })
      : new BackstitchError({
          code: 'NETWORK_ERROR',
          detail: `${url} cannot be reached, or has hung up: ${failureOf(cause).error.message}`,
          cause,
        })
  }
}

function decode<T>(answer: Answer, schema: z.ZodType<T>): T {
  if (answer.status < 200 || answer.status > 299) throw problemOf(answer)
  const decoded = schema.safeParse(parse(answer.text))
  if (decoded.success) return decoded.data
  throw unexpected(
    answer,
    'does not fit the contract; is there a server of another version?',
    problemsOf(decoded.error),
  )
}

function problemOf(answer: Answer): BackstitchError {
  const decoded = ProblemDetails.safeParse(parse(answer.text))
  if (decoded.success) {
    const { code, detail, errors, requestId, sagaStatus, sagaId } = decoded.data
    const retryAfterMs = retryAfterOf(answer)
    const { status } = answer
    return new BackstitchError({ code, detail, status, errors, requestId, sagaStatus, sagaId, retryAfterMs })
  }
  const to = answer.status < 400 ? answer.headers.get('location') : null
  if (to !== null)
    return unexpected(answer, `sends elsewhere, to ${to}; if that is the API, give its address as url`)
  return unexpected(
    answer,
    'is not the answer of a Backstitch API; is there a proxy in between, or another path?',
  )
}

function unexpected(answer: Answer, what: string, errors?: BackstitchError['errors']): BackstitchError {
  const shown =
    answer.text.length > SHOWN_CHARACTERS ? `${answer.text.slice(0, SHOWN_CHARACTERS)}…` : answer.text
  return new BackstitchError({
    code: 'UNEXPECTED_RESPONSE',
    detail: `what ${answer.url} answered, with status ${answer.status}, ${what}${shown === '' ? '' : ` It reads: ${shown}`}`,
    status: answer.status,
    errors,
    requestId: answer.headers.get('x-request-id') ?? undefined,
    retryAfterMs: retryAfterOf(answer),
  })
}

/** How long to wait before the request may go out again; undefined if it may not. */
function pauseAfter(error: unknown, repeatable: boolean, attempt: number, retry: Retry): number | undefined {
  if (!(error instanceof BackstitchError)) return undefined
  const { status, code, retryAfterMs } = error
  const lost = code === 'NETWORK_ERROR' || code === 'TIMED_OUT' || MAYBE_ARRIVED.includes(status ?? 0)
  if (status !== 429 && !(repeatable && lost)) return undefined
  if (retryAfterMs !== undefined && retryAfterMs > retry.maxDelayMs) return undefined
  return retryDelayMs(retry, attempt, Math.random(), retryAfterMs)
}

/** `Retry-After` is in seconds, or a date. */
function retryAfterOf({ headers }: Answer): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms)
    function done(): void {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    signal?.addEventListener('abort', done)
  })
  signal?.throwIfAborted()
}

async function headersOf(
  client: ClientOptions,
  request: Pick<ApiRequest, 'headers' | 'body'>,
  options: CallOptions,
): Promise<Headers> {
  const general = typeof client.headers === 'function' ? await client.headers() : client.headers
  const headers = new Headers({ accept: 'application/json, application/problem+json', ...general })
  for (const [name, value] of Object.entries({ ...options.headers, ...request.headers })) {
    if (value !== undefined) headers.set(name, value)
  }
  if (request.body !== undefined) headers.set('content-type', 'application/json')
  return headers
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function baseOf(text: string): string {
  const url = URL.parse(text)
  if (
    url === null ||
    !/^https?:$/.test(url.protocol) ||
    url.username !== '' ||
    url.search !== '' ||
    url.hash !== ''
  ) {
    throw new TypeError(
      `createClient: "${text}" is not the address of an API, such as http://localhost:8080 (credentials go into headers)`,
    )
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}

function urlOf(base: string, { path, query }: Pick<ApiRequest, 'path' | 'query'>): string {
  return `${base}/v1/${path.map(segment).join('/')}${queryOf(query)}`
}

/** A name or id as one segment of the path, wherever it comes from. */
function segment(text: string): string {
  // These would be resolved before they are sent, even encoded.
  if (text === '' || text === '.' || text === '..') {
    throw new BackstitchError({ code: 'NOT_FOUND', detail: `"${text}" is not the name or id of anything` })
  }
  return encodeURIComponent(text)
}

function queryOf(query: Query = {}): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) parameters.append(name, String(one))
    }
  }
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}
