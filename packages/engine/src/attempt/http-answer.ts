import { isUtf8 } from 'node:buffer'
import { STATUS_CODES } from 'node:http'
import { MAX_VALUE_BYTES, parseJson } from '@backstitch/core'
import { only, type ResponseHeaders, retryAfterOf } from '../response-headers.ts'
import type { AttemptEnd, Unsuccessful } from './attempt.ts'
import { ended, succeeded } from './http-end.ts'

/** How much of an error's body may get into its message. */
const MAX_QUOTED_BODY_BYTES = 8 * 1024
/** A longer body that nobody wants costs more to read than a new connection. */
const MAX_UNWANTED_BYTES = 64 * 1024

/** `unlabelled`: there is no Content-Type, and so it may be JSON. */
type BodyKind = 'json' | 'unlabelled' | 'other'

/** What a participant has answered so far, and what it comes to. */
export class Answer {
  private readonly status: number
  private readonly headers: ResponseHeaders
  private readonly secrets: readonly string[]
  private readonly ok: boolean
  /** It is under way, and a callback will say how it has ended. Whatever else the answer says is not wanted. */
  private readonly isPending: boolean
  private readonly kind: BodyKind
  private readonly maxBytes: number
  private readonly kept: Kept
  private received = 0

  /**
   * @param secrets what no error may quote
   * @param mayPend whether 202 means that a callback will follow
   */
  constructor(status: number, headers: ResponseHeaders, secrets: readonly string[], mayPend: boolean) {
    this.status = status
    this.headers = headers
    this.secrets = secrets
    this.ok = status < 300
    this.isPending = mayPend && status === 202
    this.kind = kindOf(only(headers['content-type']))
    const wanted = this.ok && !this.isPending && this.kind !== 'other'
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
    if (this.isPending) return { outcome: 'pending' }
    if (this.kind === 'other' || this.received === 0) return succeeded(null)
    if (this.isEncoded()) return this.unacceptable('its body is compressed or otherwise encoded')
    return this.result(this.kept.bytes)
  }

  /** The end where the rest is not worth reading. */
  cutOff(): AttemptEnd {
    if (!this.ok) return this.refusal()
    if (this.isPending) return { outcome: 'pending' }
    return this.kind === 'other' ? succeeded(null) : this.tooLarge()
  }

  /** The end where the rest did not come; undefined where it decides. */
  brokenOff(): AttemptEnd | undefined {
    if (this.isPending) return { outcome: 'pending' }
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
    const quote = this.isEncoded() ? '' : quoteOf(this.kept, this.received, this.secrets)
    const end = ended(outcome, `HTTP_${status}`, quote === '' ? this.said() : `${this.said()}: ${quote}`)
    if (outcome === 'rejected') return end
    const retryAfterMs = retryAfterOf(this.headers)
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

function withoutMark(text: string): string {
  return text.startsWith('\ufeff') ? text.slice(1) : text
}

// ── What an error says ───────────────────────────────────────────────────────────────────────────────────────────

/** What an error's body says to a person, in one line; a page of HTML says nothing. */
function quoteOf(kept: Kept, received: number, secrets: readonly string[]): string {
  // As a stream, which leaves out a character cut in two at the end.
  const text = new TextDecoder().decode(kept.bytes, { stream: true })
  let quote = spokenIn(text) ?? (/^\s*</.test(text) ? '' : text)
  if (received > MAX_QUOTED_BODY_BYTES && quote !== '') quote += '…'
  for (const secret of secrets) quote = quote.replaceAll(secret, '[redacted]')
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
