import { type AttemptError, type Json, MAX_ERROR_BYTES, sanitizeText } from '@backstitch/core'
import type { AttemptEnd, Unsuccessful } from './attempt.ts'

/** How a call ends, in the engine's words; first of all where there is no answer. */

const REFUSED = /^ECONNREFUSED$/
const UNRESOLVED = /^(?:ENOTFOUND|EAI_)/
const SLOW = /^(?:ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT)$/
const UNREACHABLE = /^E(?:HOST|NET)(?:UNREACH|DOWN)$/
const INSECURE =
  /^(?:ERR_TLS|ERR_SSL|EPROTO|CERT_|CRL_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH)/
const UNFIT = /^UND_ERR_(?:INVALID_ARG|NOT_SUPPORTED)$/

/** No byte of the request has left this process. */
export function notSent(error: Error, origin: string): Unsuccessful {
  const code = codeOf(error)
  // Undici names the header it does not like, never its value.
  if (UNFIT.test(code)) return invalidRequest(error.message)
  // No retry would make it another address.
  if (code === 'ADDRESS_REFUSED')
    return ended('rejected', code, `nothing was sent to ${origin}: ${error.message}`)
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
export function lost(error: Error, origin: string): Unsuccessful {
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

export function invalidRequest(why: string): Unsuccessful {
  return ended('rejected', 'INVALID_REQUEST', `the request cannot be made: ${why}`)
}

export function ended(
  outcome: Unsuccessful['outcome'],
  code: AttemptError['code'],
  message: string,
): Unsuccessful {
  return { outcome, error: { code, message: sanitizeText(message, MAX_ERROR_BYTES) } }
}

export function succeeded(result: Json): Extract<AttemptEnd, { outcome: 'succeeded' }> {
  return { outcome: 'succeeded', result, resultBytes: Buffer.byteLength(JSON.stringify(result)) }
}
