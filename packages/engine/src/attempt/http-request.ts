import type { HttpAction } from '@backstitch/core'
import type { Dispatcher } from 'undici'
import type { AttemptRequest, Unsuccessful } from './attempt.ts'
import { invalidRequest } from './http-end.ts'
import { signatureOf } from './signature.ts'

/** What a call is made of, with every expression replaced and the service's address found. */
export type HttpCall = Pick<HttpAction, 'method' | 'headers' | 'body'> & { url: string }

/** Who calls, where the service is configured: its headers count, whatever a definition says. */
export type Identity = {
  /** By lower-case name. */
  headers: Readonly<Record<string, string>>
  signingSecret: string | undefined
  /** What no error may quote. */
  secrets: readonly string[]
}

/** What is sent to a participant (S36). */
export type Prepared = Dispatcher.DispatchOptions & { origin: string }

/** How a call is to be made. */
export type CallOptions = {
  identity?: Identity | undefined
  /** It asks about an attempt: its key must not be taken for the attempt's own. */
  isProbe?: boolean
  onStatus?: ((status: number) => void) | undefined
}

/** Headers that say what the attempt is. A definition cannot set them; should one have got in, ours count. */
const OWN_HEADERS = new Set([
  'content-type',
  'correlation-id',
  'idempotency-key',
  'saga-attempt',
  'saga-callback-token',
  'saga-callback-url',
  'saga-definition',
  'saga-direction',
  'saga-id',
  'saga-probe',
  'saga-signature',
  'saga-step',
  'traceparent',
])

export function prepare(
  action: HttpCall,
  request: AttemptRequest,
  options: CallOptions = {},
): Prepared | Unsuccessful {
  const url = URL.parse(action.url)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    return invalidRequest('its URL is not an absolute http or https URL without user name and password')
  }
  const { method } = action
  const hasBody = method !== 'GET'
  try {
    const path = url.pathname + url.search
    const body = hasBody ? bodyOf(action, request) : null
    const headers = headersOf(action, request, hasBody, options)
    const { signingSecret } = options.identity ?? {}
    if (signingSecret !== undefined) {
      const key = headerSafe(request.idempotencyKey)
      const signed = {
        timestamp: Math.floor(Date.now() / 1000),
        method,
        path,
        key: options.isProbe === true ? `probe ${key}` : key,
        body: body ?? '',
      }
      headers.push('saga-signature', signatureOf(signingSecret, signed))
    }
    return { origin: url.origin, path, method, headers, body }
  } catch {
    return invalidRequest('its body cannot be written as JSON')
  }
}

function headersOf(
  { headers = {} }: HttpCall,
  request: AttemptRequest,
  hasBody: boolean,
  { identity, isProbe }: CallOptions,
): string[] {
  const { definition, correlationId } = request
  const callback = isProbe === true ? undefined : request.callback
  const list = [
    // Whoever keeps answers by their key would give the probe's to the late attempt.
    isProbe === true ? 'saga-probe' : 'idempotency-key',
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
  if (callback !== undefined) list.push('saga-callback-token', callback.token)
  if (callback?.url !== undefined) list.push('saga-callback-url', callback.url)
  if (correlationId !== undefined) list.push('correlation-id', headerSafe(correlationId))
  if (hasBody) list.push('content-type', 'application/json')

  let accept = 'application/json'
  let userAgent = 'backstitch'
  for (const [name, value] of Object.entries(withIdentity(headers, identity))) {
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

function withIdentity(
  headers: Readonly<Record<string, string>>,
  identity: Identity | undefined,
): Record<string, string> {
  const lowerCase = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value] as const)
  return { ...Object.fromEntries(lowerCase), ...identity?.headers }
}

function bodyOf({ body }: HttpCall, request: AttemptRequest): string {
  if (body !== undefined) return JSON.stringify(body)
  const { sagaId, step, direction, input, context, result, failure, callback } = request
  return JSON.stringify({ sagaId, step, direction, input, context, result, failure, callback })
}
