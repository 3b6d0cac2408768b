import type { Page } from '@backstitch/core'

/** A list of the API: `for await` reads all of it, asking for the next page when it gets there. */
export interface Listing<T> extends AsyncIterable<T> {
  /** The first page, or the one that a page's `nextCursor` asks for. */
  page(cursor?: string): Promise<Page<T>>
  toArray(): Promise<T[]>
}

export function listing<T>(load: (cursor: string | undefined) => Promise<Page<T>>): Listing<T> {
  async function* items(): AsyncGenerator<T, void, undefined> {
    let cursor: string | undefined
    do {
      const page = await load(cursor)
      yield* page.items
      cursor = page.nextCursor
    } while (cursor !== undefined)
  }
  return {
    page: (cursor) => load(cursor),
    async toArray() {
      const all: T[] = []
      for await (const item of items()) all.push(item)
      return all
    },
    [Symbol.asyncIterator]: items,
  }
}
