import { isUtf8 } from 'node:buffer'
import { STATUS_CODES } from 'node:http'
import {
  type AttemptError,
  type HttpAction,
  type Json,
  MAX_ERROR_BYTES,
  MAX_VALUE_BYTES,
  parseJson,
  sanitizeText,
} from '@backstitch/core'
import { Agent, type Dispatcher } from 'undici'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'

/**
 * Attempts carried out by an HTTP service. Each answer, and each way of not getting one, becomes one outcome:
 *
 *   succeeded   2xx, whole and acceptable
 *   rejected    3xx, 4xx but 408, 425 and 429, and a request that cannot be made at all
 *   failed      425, 429, and whatever ended before the request could have left this process
 *   uncertain   408, 5xx, time-out, abort, a lost or unreadable answer, a result that cannot be taken
 *
 * 1. Nothing is sent twice, no redirect is followed, and `call` never throws.
 * 2. A time-out covers everything from waiting for a connection to the last byte of the body.
 * 3. A call that ends before its answer destroys its connection at once.
 * 4. A status other than 2xx decides alone: losing the body after it changes nothing but the message.
 */
export type HttpCaller = {
  /** Never throws or rejects. */
  call(action: HttpAction, request: AttemptRequest): Promise<AttemptEnd>
  /** Takes no more calls, waits for those under way (each has its time-out) and closes every connection. */
  close(): Promise<void>
}

/** How much of an error's body may get into its message. */
const MAX_QUOTED_BODY_BYTES = 8 * 1024
/** A longer body that nobody wants costs more to read than a new connection. */
const MAX_UNWANTED_BYTES = 64 * 1024
/** The step's retry policy caps what is left of it. */
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000

const CONNECT_TIMEOUT_MS = 10_000
/**
 * A server that closes an idle connection just as the next request leaves makes that attempt uncertain. So ours end
 * first: common servers wait from 2 s (gunicorn) over 5 s (Node, Apache) to 75 s (nginx). A server's own
 * `Keep-Alive: timeout` can only shorten this.
 */
const KEEP_ALIVE_MS = 1500
const KEEP_ALIVE_MARGIN_MS = 1000
/** A longer time makes `setTimeout` fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

type Unsuccessful = Exclude<AttemptEnd, { outcome: 'succeeded' }>
type ResponseHeaders = Record<string, string | string[] | undefined>
type Prepared = Dispatcher.DispatchOptions & { origin: string }

export function createHttpCaller({ connections = 128 }: { connections?: number } = {}): HttpCaller {
  const agent = new Agent({
    connections,
    pipelining: 1,
    allowH2: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
    // The call's own timer covers both.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  let underWay = 0
  let closed: Promise<void> | undefined
  let drained = () => {}

  async function drain(): Promise<void> {
    if (underWay > 0) {
      await new Promise<void>((resolve) => {
        drained = resolve
      })
    }
    await agent.destroy()
  }

  return {
    call(action, request) {
      if (closed !== undefined) return Promise.resolve(ended('failed', 'CLOSED', 'this worker is stopping'))
      const prepared = prepare(action, request)
      if ('outcome' in prepared) return Promise.resolve(prepared)

      underWay++
      return new Promise((resolve) => {
        const call = new Call(prepared.origin, action, request, (end) => {
          underWay--
          if (underWay === 0) drained()
          resolve(end)
        })
        call.begin(agent, prepared)
      })
    },
    close() {
      closed ??= drain()
      return closed
    },
  }
}

// ── The request ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Headers that say what the attempt is. A definition cannot set them; should one have got in, ours count. */
const OWN_HEADERS = new Set([
  'content-type',
  'correlation-id',
  'idempotency-key',
  'saga-attempt',
  'saga-definition',
  'saga-direction',
  'saga-id',
  'saga-step',
  'traceparent',
])

function prepare(action: HttpAction, request: AttemptRequest): Prepared | Unsuccessful {
  const url = URL.parse(action.url)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    return invalidRequest('its URL is not an absolute http or https URL without user name and password')
  }
  const { method } = action
  const hasBody = method !== 'GET'
  try {
    return {
      origin: url.origin,
      path: url.pathname + url.search,
      method,
      headers: headersOf(action, request, hasBody),
      body: hasBody ? bodyOf(action, request) : null,
    }
  } catch {
    return invalidRequest('its body cannot be written as JSON')
  }
}

function headersOf({ headers = {} }: HttpAction, request: AttemptRequest, hasBody: boolean): string[] {
  const { definition, correlationId } = request
  const list = [
    'idempotency-key',
    headerSafe(request.idempotencyKey),
    'saga-id',
    headerSafe(request.sagaId),
    'saga-definition',
    headerSafe(`${definition.name}@${definition.version}`),
    'saga-step',
    headerSafe(request.step),
    'saga-direction',
    request.direction,
    'saga-attempt',
    String(request.attempt),
    'traceparent',
    headerSafe(request.traceparent),
  ]
  if (correlationId !== undefined) list.push('correlation-id', headerSafe(correlationId))
  if (hasBody) list.push('content-type', 'application/json')

  let accept = 'application/json'
  let userAgent = 'backstitch'
  for (const [name, value] of Object.entries(headers)) {
    const lowerCase = name.toLowerCase()
    if (lowerCase === 'accept') accept = value
    else if (lowerCase === 'user-agent') userAgent = value
    else if (!OWN_HEADERS.has(lowerCase)) list.push(lowerCase, value)
  }
  list.push('accept', accept, 'user-agent', userAgent)
  return list
}

/** Visible ASCII goes out as it is, anything else percent-encoded: a line break would begin a header of its own. */
function headerSafe(text: string): string {
  if (/^[\x21-\x7e]*$/.test(text)) return text
  return text.toWellFormed().replace(/[^\x21-\x7e]/gu, (character) => encodeURIComponent(character))
}

function bodyOf({ body }: HttpAction, request: AttemptRequest): string {
  if (body !== undefined) return JSON.stringify(body)
  const { sagaId, step, direction, input, context, result, failure } = request
  return JSON.stringify({ sagaId, step, direction, input, context, result, failure })
}

// ── One call ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Ends undici's side of a call whose outcome is decided. */
const OVER = new Error('the call is over')

/** Undici tells it what happens to the request. None of its methods may throw, but `onRequestStart`. */
class Call implements Dispatcher.DispatchHandler {
  private readonly origin: string
  private readonly action: HttpAction
  private readonly request: AttemptRequest
  private readonly done: (end: AttemptEnd) => void

  /** Present from the moment the request may be on its way. */
  private controller: Dispatcher.DispatchController | undefined
  private answer: Answer | undefined
  private timer: NodeJS.Timeout | undefined
  private over = false

  constructor(origin: string, action: HttpAction, request: AttemptRequest, done: (end: AttemptEnd) => void) {
    this.origin = origin
    this.action = action
    this.request = request
    this.done = done
  }

  begin(agent: Agent, prepared: Prepared): void {
    const { signal, timeoutMs } = this.request
    if (signal.aborted) {
      this.aborted()
      return
    }
    signal.addEventListener('abort', this.aborted, { once: true })
    this.allow(timeoutMs)
    agent.dispatch(prepared, this)
  }

  private allow(ms: number): void {
    this.timer = setTimeout(
      () => (ms > MAX_TIMER_MS ? this.allow(ms - MAX_TIMER_MS) : this.timedOut()),
      Math.min(ms, MAX_TIMER_MS),
    )
  }

  private readonly aborted = (): void => {
    this.end(ended('uncertain', 'ABORTED', 'the attempt was called off before its answer was complete'))
  }

  private timedOut(): void {
    const { timeoutMs } = this.request
    const nothingSent = `no connection to ${this.origin} within ${timeoutMs} ms; nothing was sent`
    const noAnswer = `no complete answer from ${this.origin} within ${timeoutMs} ms`
    if (this.controller === undefined) this.end(ended('failed', 'CONNECT_TIMEOUT', nothingSent))
    else this.end(this.answer?.brokenOff() ?? ended('uncertain', 'TIMEOUT', noAnswer))
  }

  /** The connection is made, and what follows is the writing of the request. Throwing keeps it from being written. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.over) throw OVER
    this.controller = controller
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: ResponseHeaders,
  ): void {
    if (this.over || status < 200) return
    this.answer = new Answer(status, headers, this.action)
    if (this.answer.isTooLong()) this.end(this.answer.cutOff())
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.over || this.answer === undefined) return
    this.answer.take(chunk)
    if (this.answer.isTooLong()) this.end(this.answer.cutOff())
  }

  onResponseEnd(): void {
    if (this.over || this.answer === undefined) return
    // The connection is good for the next call.
    this.controller = undefined
    this.end(this.answer.complete())
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.over) return
    const sent = this.controller !== undefined
    this.end(this.answer?.brokenOff() ?? (sent ? lost(error, this.origin) : notSent(error, this.origin)))
  }

  private end(end: AttemptEnd): void {
    if (this.over) return
    this.over = true
    clearTimeout(this.timer)
    this.request.signal.removeEventListener('abort', this.aborted)
    // Destroys the connection. A call that has none yet is stopped by `onRequestStart`.
    this.controller?.abort(OVER)
    this.done(end)
  }
}

// ── The answer ───────────────────────────────────────────────────────────────────────────────────────────────────

/** `unlabelled`: there is no Content-Type, and so it may be JSON. */
type BodyKind = 'json' | 'unlabelled' | 'other'

class Answer {
  private readonly status: number
  private readonly headers: ResponseHeaders
  private readonly action: HttpAction
  private readonly ok: boolean
  private readonly kind: BodyKind
  private readonly maxBytes: number
  private readonly kept: Kept
  private received = 0

  constructor(status: number, headers: ResponseHeaders, action: HttpAction) {
    this.status = status
    this.headers = headers
    this.action = action
    this.ok = status < 300
    this.kind = kindOf(only(headers['content-type']))
    const wanted = this.ok && this.kind !== 'other'
    this.maxBytes = wanted ? MAX_VALUE_BYTES : MAX_UNWANTED_BYTES
    this.kept = new Kept(wanted ? MAX_VALUE_BYTES : this.ok ? 0 : MAX_QUOTED_BODY_BYTES)
  }

  take(chunk: Buffer): void {
    this.received += chunk.length
    this.kept.add(chunk)
  }

  /** Of an error, the beginning is wanted whatever its length. */
  isTooLong(): boolean {
    const announced = this.ok ? Number(only(this.headers['content-length'])) : 0
    return this.received > this.maxBytes || announced > this.maxBytes
  }

  complete(): AttemptEnd {
    if (!this.ok) return this.refusal()
    if (this.kind === 'other' || this.received === 0) return succeeded(null)
    if (this.isEncoded()) return this.unacceptable('its body is compressed or otherwise encoded')
    return this.result(this.kept.bytes)
  }

  /** The end where the rest is not worth reading. */
  cutOff(): AttemptEnd {
    if (!this.ok) return this.refusal()
    return this.kind === 'other' ? succeeded(null) : this.tooLarge()
  }

  /** The end where the rest did not come; undefined where it decides. */
  brokenOff(): AttemptEnd | undefined {
    return this.ok ? undefined : this.refusal()
  }

  private result(bytes: Buffer): AttemptEnd {
    const text = isUtf8(bytes) ? withoutMark(bytes.toString()) : undefined
    const verdict = text === undefined ? undefined : parseJson(text)
    if (verdict?.ok) {
      const end = succeeded(verdict.value)
      return end.resultBytes > MAX_VALUE_BYTES ? this.tooLarge() : end
    }
    if (this.kind === 'unlabelled') return succeeded(null)
    if (verdict === undefined) return this.unacceptable('its body is not UTF-8')
    const { pointer, detail } = verdict.problem
    return this.unacceptable(`at ${pointer === '' ? 'the top' : pointer}: ${detail}`)
  }

  private unacceptable(why: string): Unsuccessful {
    return ended(
      'uncertain',
      'RESULT_NOT_ACCEPTABLE',
      `${this.said()}, but its result cannot be taken: ${why}`,
    )
  }

  private tooLarge(): Unsuccessful {
    const why = `${this.said()}, but its result is over ${MAX_VALUE_BYTES} bytes`
    return ended('uncertain', 'RESULT_TOO_LARGE', why)
  }

  private refusal(): Unsuccessful {
    const { status } = this
    if (status < 400) {
      return ended('rejected', 'HTTP_REDIRECT', `${this.said()}, and redirects are not followed`)
    }
    const outcome = outcomeOf(status)
    const quote = this.isEncoded() ? '' : quoteOf(this.kept, this.received, this.action)
    const end = ended(outcome, `HTTP_${status}`, quote === '' ? this.said() : `${this.said()}: ${quote}`)
    if (outcome === 'rejected') return end
    const retryAfterMs = retryAfter(only(this.headers['retry-after']), only(this.headers.date))
    return { ...end, retryAfterMs }
  }

  private said(): string {
    return `the participant answered ${this.status} ${STATUS_CODES[this.status] ?? ''}`.trimEnd()
  }

  private isEncoded(): boolean {
    return /^(?!identity$)./i.test(only(this.headers['content-encoding']) ?? '')
  }
}

/**
 * The beginning of a body, in one piece: a million chunks of a byte, kept as they came, would take hundreds of
 * megabytes.
 */
class Kept {
  private readonly maxBytes: number
  private buffer: Buffer = Buffer.alloc(0)
  private length = 0

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  get bytes(): Buffer {
    return this.buffer.subarray(0, this.length)
  }

  add(whole: Buffer): void {
    const chunk = whole.subarray(0, this.maxBytes - this.length)
    const length = this.length + chunk.length
    if (this.length === 0) {
      this.buffer = chunk
    } else if (chunk.length > 0) {
      if (length > this.buffer.length) {
        const larger = Buffer.allocUnsafe(Math.min(2 * length, this.maxBytes))
        larger.set(this.bytes)
        this.buffer = larger
      }
      this.buffer.set(chunk, this.length)
    }
    this.length = length
  }
}

function outcomeOf(status: number): Unsuccessful['outcome'] {
  if (status === 408 || status >= 500) return 'uncertain'
  return status === 425 || status === 429 ? 'failed' : 'rejected'
}

/** `application/json`, `application/problem+json` and their like. */
function kindOf(contentType: string | undefined): BodyKind {
  if (contentType === undefined || contentType === '') return 'unlabelled'
  return /^[^/;]+\/(?:[^/;]+\+)?json[\t ]*(?:;|$)/i.test(contentType) ? 'json' : 'other'
}

function only(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

function withoutMark(text: string): string {
  return text.startsWith('\ufeff') ? text.slice(1) : text
}

/** Milliseconds to wait, from `Retry-After` as seconds or as a date, read by the clock of whoever wrote it. */
function retryAfter(value: string | undefined, date: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : httpDate(value) - (httpDate(date) || Date.now())
  return Number.isNaN(ms) ? undefined : Math.max(0, Math.min(ms, MAX_RETRY_AFTER_MS))
}

/** NaN for anything but the one form that may be sent: `Sun, 06 Nov 1994 08:49:37 GMT`. */
function httpDate(text = ''): number {
  return /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/.test(text) ? Date.parse(text) : Number.NaN
}

// ── What an error says ───────────────────────────────────────────────────────────────────────────────────────────

/** What an error's body says to a person, in one line; a page of HTML says nothing. */
function quoteOf(kept: Kept, received: number, { headers = {} }: HttpAction): string {
  // As a stream, which leaves out a character cut in two at the end.
  const text = new TextDecoder().decode(kept.bytes, { stream: true })
  let quote = spokenIn(text) ?? (/^\s*</.test(text) ? '' : text)
  if (received > MAX_QUOTED_BODY_BYTES && quote !== '') quote += '…'
  // A participant may echo what it was sent, and a header may hold a secret.
  for (const secret of Object.values(headers).flatMap((value) => value.split(/[\t ]+/))) {
    if (secret.length >= 8) quote = quote.replaceAll(secret, '[redacted]')
  }
  return quote
    .replaceAll('\0', '\ufffd')
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim()
}

/** The sentence in a JSON error: problem details (RFC 9457), `message`, `error.message` or `error`. */
function spokenIn(text: string): string | undefined {
  const body = looselyParsed(text)
  const [title, detail] = [textAt(body, 'title'), textAt(body, 'detail')]
  if (title !== undefined && detail !== undefined) return `${title}: ${detail}`
  const error = memberOf(body, 'error')
  return detail ?? textAt(body, 'message') ?? textAt(error, 'message') ?? textAt(body, 'error') ?? title
}

/** Nothing of it is kept but texts, and so it need not be JSON that could be stored. */
function looselyParsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function memberOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? Reflect.get(value, key)
    : undefined
}

function textAt(value: unknown, key: string): string | undefined {
  const text = memberOf(value, key)
  return typeof text === 'string' && text !== '' ? text : undefined
}

// ── Ends without an answer ───────────────────────────────────────────────────────────────────────────────────────

const REFUSED = /^ECONNREFUSED$/
const UNRESOLVED = /^(?:ENOTFOUND|EAI_)/
const SLOW = /^(?:ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT)$/
const UNREACHABLE = /^E(?:HOST|NET)(?:UNREACH|DOWN)$/
const INSECURE =
  /^(?:ERR_TLS|ERR_SSL|EPROTO|CERT_|CRL_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH)/
const UNFIT = /^UND_ERR_(?:INVALID_ARG|NOT_SUPPORTED)$/

/** No byte of the request has left this process. */
function notSent(error: Error, origin: string): Unsuccessful {
  const code = codeOf(error)
  // Undici names the header it does not like, never its value.
  if (UNFIT.test(code)) return invalidRequest(error.message)
  const to = `to ${origin}`
  if (REFUSED.test(code)) return ended('failed', 'CONNECTION_REFUSED', `the connection ${to} was refused`)
  if (UNRESOLVED.test(code)) return ended('failed', 'DNS', `no address is known for ${origin} (${code})`)
  if (SLOW.test(code)) return ended('failed', 'CONNECT_TIMEOUT', `no connection ${to} in time (${code})`)
  if (UNREACHABLE.test(code)) return ended('failed', 'UNREACHABLE', `there is no way ${to} (${code})`)
  if (INSECURE.test(code) || (code === 'ECONNRESET' && origin.startsWith('https:'))) {
    return ended('failed', 'TLS', `no secure connection ${to} (${code})`)
  }
  return ended('failed', 'CONNECTION_FAILED', `no connection ${to} (${code})`)
}

/** The request may have been received, and even carried out. */
function lost(error: Error, origin: string): Unsuccessful {
  if (isGarbled(error)) {
    return ended(
      'uncertain',
      'INVALID_RESPONSE',
      `the answer of ${origin} is not valid HTTP (${error.message})`,
    )
  }
  const message = `the connection to ${origin} was lost before the answer was complete (${codeOf(error)})`
  return ended('uncertain', 'CONNECTION_LOST', message)
}

/** Undici's ways to say that what came is not an answer. An answer that only breaks off is lost, not garbled. */
function isGarbled(error: Error): boolean {
  if (error.name === 'HTTPParserError') return !/\bEOF\b/.test(error.message)
  return error.name === 'HeadersOverflowError' || /^bad (?:response|upgrade)$/.test(error.message)
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}

function invalidRequest(why: string): Unsuccessful {
  return ended('rejected', 'INVALID_REQUEST', `the request cannot be made: ${why}`)
}

function ended(outcome: Unsuccessful['outcome'], code: AttemptError['code'], message: string): Unsuccessful {
  return { outcome, error: { code, message: sanitizeText(message, MAX_ERROR_BYTES) } }
}

function succeeded(result: Json): Extract<AttemptEnd, { outcome: 'succeeded' }> {
  return { outcome: 'succeeded', result, resultBytes: Buffer.byteLength(JSON.stringify(result)) }
}
