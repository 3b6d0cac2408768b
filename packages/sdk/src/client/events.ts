import { type EventType, type FeedEvent, FeedPage } from '@backstitch/core'
import { BackstitchError } from '../errors.ts'
import { type CallOptions, pause, type Transport } from './transport.ts'

export type EventOptions = CallOptions & {
  /** The last position that has been seen; "latest" for what comes from now on. From the oldest that is kept, if absent. */
  after?: string | undefined
  types?: readonly EventType[] | undefined
  definition?: string | undefined
  sagaId?: string | undefined
}

export type FollowOptions = EventOptions & {
  /** Between two looks when there is nothing new. Default: 500 ms. */
  pollMs?: number | undefined
  /** Between two looks while the API, or its database, is away. Default: 2 s. */
  awayMs?: number | undefined
}

export type EventsClient = {
  /** Oldest first; ask again with `after: page.last`. */
  page(options?: EventOptions & { limit?: number | undefined }): Promise<FeedPage>
  /**
   * What has happened and what happens, for ever, in order, each once: where the API is away it goes on, from where it was, when
   * the API is back. `signal` ends it with its reason, `break` without.
   */
  follow(options?: FollowOptions): AsyncGenerator<FeedEvent, never, undefined>
}

const POLL_MS = 500
const PAGE = 200
const AWAY_MS = 2_000

export function eventsClient(call: Transport): EventsClient {
  async function page({
    after,
    types,
    definition,
    sagaId,
    limit,
    ...options
  }: EventOptions & { limit?: number | undefined } = {}) {
    const query = { after, type: types, definition, sagaId, limit }
    return call({ method: 'GET', path: ['events'], query, repeatable: true }, FeedPage, options)
  }

  return {
    page,
    async *follow({ pollMs = POLL_MS, awayMs = AWAY_MS, after, ...options } = {}) {
      for (let from = after; ; ) {
        try {
          const { items, last } = await page({ ...options, after: from, limit: PAGE })
          yield* items
          from = last
          if (items.length === 0) await pause(pollMs, options.signal)
        } catch (error) {
          if (!isAway(error)) throw error
          await pause(awayMs, options.signal)
        }
      }
    },
  }
}

/** Tried again for as long as it takes. */
function isAway(error: unknown): boolean {
  if (!(error instanceof BackstitchError)) return false
  return error.code === 'NETWORK_ERROR' || error.code === 'TIMED_OUT' || (error.status ?? 0) >= 500
}
