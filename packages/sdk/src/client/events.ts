import { type EventType, type FeedEvent, FeedPage } from '@backstitch/core'
import { BackstitchError } from '../errors.ts'
import { eventStream } from './event-stream.ts'
import { type CallOptions, pause, type Streaming, type Transport } from './transport.ts'

export type EventOptions = CallOptions & {
  /** The last position that has been seen; "latest" for what comes from now on. From the oldest that is kept, if absent. */
  after?: string | undefined
  types?: readonly EventType[] | undefined
  definition?: string | undefined
  sagaId?: string | undefined
}

export type FollowOptions = EventOptions & {
  /** False: by asking for page after page only, where something in between holds streams back. */
  stream?: boolean | undefined
  /** Between two looks when there is nothing new, and no stream. Default: 500 ms. */
  pollMs?: number | undefined
  /** Between two looks while the API, or its database, is away. Default: 2 s. */
  awayMs?: number | undefined
}

export type EventsClient = {
  /** Oldest first; ask again with `after: page.last`. */
  page(options?: EventOptions & { limit?: number | undefined }): Promise<FeedPage>
  /**
   * What has happened and what happens, for ever, in order, each once: what there is by pages, what comes by a stream, and by pages
   * again while there is no stream. Where the API is away it goes on, from where it was, when the API is back. `signal` ends it with
   * its reason, `break` without.
   */
  follow(options?: FollowOptions): AsyncGenerator<FeedEvent, never, undefined>
}

const POLL_MS = 500
const PAGE = 200
const AWAY_MS = 2_000
/** A stream that has ended is asked for again; for longer and longer, if nothing comes of it. Meanwhile pages are asked for. */
const STREAM_AGAIN_MS = 1_000
const STREAM_AT_LAST_MS = 60_000

export function eventsClient(call: Transport, open: Streaming): EventsClient {
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
    async *follow({ stream = true, pollMs = POLL_MS, awayMs = AWAY_MS, after, ...options } = {}) {
      const { types: type, definition, sagaId, signal, headers } = options
      let failures = 0
      let streamAt = stream ? 0 : Number.POSITIVE_INFINITY
      for (let from = after; ; ) {
        try {
          const { items, last } = await page({ ...options, after: from, limit: PAGE })
          yield* items
          from = last
          if (items.length > 0) continue
        } catch (error) {
          if (!isAway(error)) throw error
          await pause(awayMs, signal)
          continue
        }
        if (performance.now() < streamAt) {
          await pause(pollMs, signal)
          continue
        }
        try {
          const heard = () => {
            failures = 0
          }
          const query = { after: from, type, definition, sagaId }
          for await (const event of eventStream(open, query, { signal, headers, heard })) {
            if (!isAfter(event.position, from)) continue
            yield event
            from = event.position
          }
        } catch {
          // Whatever is wrong with the stream: pages tell, and say what is wrong with them.
          signal?.throwIfAborted()
        }
        streamAt = performance.now() + Math.min(STREAM_AGAIN_MS * 2 ** failures, STREAM_AT_LAST_MS)
        failures++
      }
    },
  }
}

function isAfter(position: string, from: string): boolean {
  return Number(position) > Number(from)
}

/** Tried again for as long as it takes. */
function isAway(error: unknown): boolean {
  if (!(error instanceof BackstitchError)) return false
  return error.code === 'NETWORK_ERROR' || error.code === 'TIMED_OUT' || (error.status ?? 0) >= 500
}
