import { createHash } from 'node:crypto'
import { canonicalJson, type Json, Problem, parseJson } from '@backstitch/core'
import { z } from 'zod'

/**
 * A cursor is the place where a page ended, and a mark of the list it was a page of: of another list, or of the same list
 * under another filter, it would skip and repeat things without a word, and is refused.
 */
export function writeCursor(list: Json, place: Json): string {
  return Buffer.from(JSON.stringify([markOf(list), place])).toString('base64url')
}

export function readCursor<Place>(cursor: string, list: Json, place: z.ZodType<Place>): Place {
  const read = parseJson(Buffer.from(cursor, 'base64url').toString())
  const parsed = z.tuple([z.literal(markOf(list)), place]).safeParse(read.ok ? read.value : undefined)
  if (parsed.success) return parsed.data[1]
  throw new Problem(
    'INVALID_CURSOR',
    'this cursor does not come from a page of this list under this filter; leave it out to begin at the first page',
  )
}

function markOf(list: Json): string {
  return createHash('sha256').update(canonicalJson(list)).digest('base64url').slice(0, 12)
}
