import type { ServerResponse } from 'node:http'
import type { FeedEvent } from '@backstitch/core'
import { type EventFilter, type Feed, type PlacedEvent, shown } from '@backstitch/store'
import { tooMuch } from './plugins/overload.ts'

/**
 * Streams of events (server-sent events). One question to the database serves all of them, however many there are; whoever comes with
 * a place behind that is given what it has missed first.
 *
 * 1. An event is written with its place as `id`: a reader that comes back names the last it has seen, and misses nothing.
 * 2. A reader that does not keep up is cut off, and comes back when it can.
 */
export type EventStreams = {
  /** Writes to `raw` until either side ends it. */
  open(raw: ServerResponse, filter: EventFilter, after: number): void
  readonly count: number
  close(): void
}

type Stream = {
  raw: ServerResponse
  wants: (event: PlacedEvent) => boolean
  /** Everything up to here has been written to it. */
  after: number
  /** It has nothing to catch up with: it is served with the others. */
  isLive: boolean
  saidAt: number
}

const LOOK_MS = 200
const COMMENT_MS = 15_000
const PAGE = 500
const MOST_UNREAD_BYTES = 1024 * 1024
const HEAD = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  // Some proxies would keep it until it is complete, which it never is.
  'x-accel-buffering': 'no',
}

export function createEventStreams(options: {
  feed: () => Pick<Feed, 'publish' | 'events' | 'last'>
  maxStreams: number
  onRefused: () => void
  onFailure: (error: unknown) => void
}): EventStreams {
  const { feed, maxStreams, onRefused, onFailure } = options
  const streams = new Set<Stream>()
  let timer: NodeJS.Timeout | undefined
  let closed = false

  function write(stream: Stream, event: FeedEvent): void {
    const { raw } = stream
    raw.write(`id: ${event.position}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    stream.saidAt = performance.now()
    if (raw.writableLength > MOST_UNREAD_BYTES) raw.destroy()
  }

  async function look(): Promise<void> {
    let behind = false
    try {
      await feed().publish()
      const live = [...streams].filter(({ isLive }) => isLive)
      if (live.length > 0) {
        const from = Math.min(...live.map(({ after }) => after))
        const { items, last, more } = await feed().events({}, { after: from, limit: PAGE })
        for (const event of items) {
          const text = shown(event)
          for (const stream of live)
            if (event.position > stream.after && stream.wants(event)) write(stream, text)
        }
        for (const stream of live) stream.after = Math.max(stream.after, last)
        behind = more
      }
    } catch (error) {
      onFailure(error)
    }
    const now = performance.now()
    for (const stream of streams) {
      if (now - stream.saidAt < COMMENT_MS) continue
      stream.raw.write(': still here\n\n')
      stream.saidAt = now
    }
    timer = streams.size === 0 || closed ? undefined : setTimeout(() => void look(), behind ? 0 : LOOK_MS)
  }

  /** Page by page, as fast as it reads. */
  async function catchUp(stream: Stream, filter: EventFilter): Promise<void> {
    while (streams.has(stream) && !stream.isLive) {
      const { items, last, more } = await feed().events(filter, { after: stream.after, limit: PAGE })
      for (const event of items) write(stream, shown(event))
      stream.after = last
      stream.isLive = !more
      while (streams.has(stream) && stream.raw.writableLength > MOST_UNREAD_BYTES / 4) {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }

  return {
    open(raw, filter, after) {
      if (streams.size >= maxStreams) {
        onRefused()
        throw tooMuch('streams')
      }
      const stream: Stream = {
        raw,
        wants: wanting(filter),
        after,
        isLive: false,
        saidAt: performance.now(),
      }
      streams.add(stream)
      raw.on('close', () => streams.delete(stream))
      raw.on('error', () => raw.destroy())
      raw.writeHead(200, HEAD)
      raw.write('retry: 2000\n\n')
      catchUp(stream, filter).catch((error: unknown) => {
        onFailure(error)
        raw.destroy()
      })
      timer ??= setTimeout(() => void look(), 0)
    },
    get count() {
      return streams.size
    },
    close() {
      closed = true
      clearTimeout(timer)
      for (const { raw } of streams) raw.end()
    },
  }
}

function wanting({ types, definition, sagaId }: EventFilter): (event: PlacedEvent) => boolean {
  const wanted = types === undefined ? undefined : new Set(types)
  return (event) =>
    (wanted === undefined || wanted.has(event.type)) &&
    (definition === undefined || definition === event.definition.name) &&
    (sagaId === undefined || sagaId === event.sagaId)
}
