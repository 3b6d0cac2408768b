import type { Entry } from '@backstitch/core'

/** An entry as the history keeps it: what its columns do not say, as JSON. */
export function bodyOf(entry: Entry): string {
  const { kind: _, at: __, ...body } = entry
  return JSON.stringify(body)
}
