import type { HttpAction } from '@backstitch/core'
import type { Dispatcher } from 'undici'
import type { AttemptRequest, Unsuccessful } from './attempt.ts'
import { invalidRequest } from './http-end.ts'

/** What is sent to a participant (S36). */
export type Prepared = Dispatcher.DispatchOptions & { origin: string }

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
  'saga-step',
  'traceparent',
])

export function prepare(action: HttpAction, request: AttemptRequest): Prepared | Unsuccessful {
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
  const { definition, correlationId, callback } = request
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
  if (callback !== undefined) list.push('saga-callback-token', callback.token)
  if (callback?.url !== undefined) list.push('saga-callback-url', callback.url)
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
  const { sagaId, step, direction, input, context, result, failure, callback } = request
  return JSON.stringify({ sagaId, step, direction, input, context, result, failure, callback })
}
