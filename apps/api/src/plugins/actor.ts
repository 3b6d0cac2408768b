import { sanitizeText } from '@backstitch/core'
import type { FastifyRequest } from 'fastify'

/**
 * Who acts, for the history. The one place that knows: at present whoever the caller says, one day whoever the caller's
 * credential says.
 */
export function actorOf(request: FastifyRequest): string {
  const given = request.headers['x-actor']
  if (typeof given !== 'string') return 'anonymous'
  const name = textOf(given)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
  return name === '' ? 'anonymous' : sanitizeText(name, MAX_BYTES)
}

const MAX_BYTES = 200
const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Node reads headers as Latin-1; most who send anything else mean UTF-8. */
function textOf(header: string): string {
  try {
    return utf8.decode(Buffer.from(header, 'latin1'))
  } catch {
    return header
  }
}
