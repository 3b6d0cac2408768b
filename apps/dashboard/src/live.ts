import type { EventType, FeedEvent } from '@backstitch/core'
import type { QueryClient, QueryKey } from '@tanstack/react-query'
import { useSyncExternalStore } from 'react'
import { read } from './api.ts'

/**
 * What happens is told by the stream of events, and whatever it touches is asked for again, once a second at most however much
 * happens. Polling is the net below: now and then while the stream is there, often while it is not.
 *
 * A page that nobody sees has no stream: a browser opens six connections to a server, for all of its pages together.
 */

type Told = 'opening' | 'live' | 'down'

const TYPES: readonly EventType[] = [
  'saga.started',
  'saga.running',
  'saga.compensating',
  'saga.stuck',
  'saga.completed',
  'saga.failed',
  'saga.cancelled',
  'saga.abandoned',
  'saga.acted',
]
const GATHER_MS = 1_000
const AGAIN_MS = 5_000
export const POLL_MS = 5_000
const NET_MS = 30_000
/** The counts are this old at most: asked for at once they may be those of before. */
const STATS_OLD_MS = 3_000

let told: Told = 'opening'
const listeners = new Set<() => void>()

export function useTold(): Told {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => told,
  )
}

/** How often what is kept under this key is asked for without being touched. */
export function pollMsOf([kind]: QueryKey): number {
  return told === 'live' && (kind === 'stats' || kind === 'sagas') ? NET_MS : POLL_MS
}

/** Keys of lists have their filter behind the first word. */
export function touches(event: FeedEvent, [kind, which]: QueryKey): boolean {
  switch (kind) {
    case 'stats':
      return event.type !== 'saga.acted'
    case 'sagas':
      return fits(event, which)
    case 'saga':
      return which === event.sagaId
    case 'audit':
      return event.type === 'saga.acted'
    default:
      return false
  }
}

/** A saga of which is told may come into the list, leave it, or change in it. */
function fits({ definition, status, was }: FeedEvent, filter: unknown): boolean {
  if (typeof filter !== 'object' || filter === null) return true
  if ('definition' in filter && filter.definition !== definition.name) return false
  if (!('status' in filter) || typeof filter.status !== 'string') return true
  const wanted = filter.status.split(',')
  return wanted.includes(status) || (was !== undefined && wanted.includes(was))
}

const KINDS: readonly unknown[] = ['stats', 'sagas', 'saga', 'audit']

/** Listens as long as the page is seen. */
export function listen(queries: QueryClient): void {
  const url = new URL(`v1/events/stream?type=${TYPES.join(',')}`, document.baseURI)
  let source: EventSource | undefined
  let again: ReturnType<typeof setTimeout> | undefined
  /** Nothing is heard, not even a refusal: something between keeps it. */
  let slow: ReturnType<typeof setTimeout> | undefined
  let isGathering = false
  let late: ReturnType<typeof setTimeout> | undefined
  let flushedAt = performance.now()
  let events: FeedEvent[] = []
  let hasMissed = false

  function become(next: Told): void {
    told = next
    for (const listener of listeners) listener()
  }

  function soon(): void {
    if (isGathering) return
    isGathering = true
    setTimeout(() => void flush(), Math.max(0, flushedAt + GATHER_MS - performance.now()))
  }

  /** The next waits for its answers: what is slow is not asked for anew before it has answered. */
  async function flush(): Promise<void> {
    const [gathered, all] = [events, hasMissed]
    events = []
    hasMissed = false
    flushedAt = performance.now()
    await queries.invalidateQueries({
      predicate: ({ queryKey }) =>
        all ? KINDS.includes(queryKey[0]) : gathered.some((event) => touches(event, queryKey)),
    })
    isGathering = false
    clearTimeout(late)
    late = setTimeout(() => void queries.invalidateQueries({ queryKey: ['stats'] }), STATS_OLD_MS + 500)
    if (hasMissed || events.length > 0) soon()
  }

  /** What happened while nobody listened is not told again. */
  function missed(): void {
    hasMissed = true
    soon()
  }

  function open(): void {
    close()
    source = new EventSource(url)
    slow = setTimeout(() => become('down'), AGAIN_MS)
    source.addEventListener('open', () => {
      clearTimeout(slow)
      become('live')
      missed()
    })
    source.addEventListener('error', () => {
      become('down')
      missed()
      // It comes back by itself, but for an answer that is no stream.
      if (source?.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN_MS)
    })
    for (const type of TYPES) {
      source.addEventListener(type, ({ data }: MessageEvent<string>) => {
        events.push(read<FeedEvent>(data))
        soon()
      })
    }
  }

  function close(): void {
    clearTimeout(again)
    clearTimeout(slow)
    source?.close()
    source = undefined
  }

  function look(): void {
    if (document.visibilityState === 'hidden') {
      close()
      become('opening')
    } else if (source === undefined) open()
  }
  document.addEventListener('visibilitychange', look)
  look()
}
