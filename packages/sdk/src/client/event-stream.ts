import { FeedEvent } from '@backstitch/core'
import { BackstitchError } from '../errors.ts'
import type { Query, Streaming } from './transport.ts'

/**
 * Server-sent events of the feed, after a place. Ends where the server ends it; throws where it breaks off, is no such stream, or falls
 * silent. `heard` is told of each sign of life.
 */
export async function* eventStream(
  open: Streaming,
  query: Query,
  options: {
    signal: AbortSignal | undefined
    headers: Record<string, string> | undefined
    heard: () => void
  },
): AsyncGenerator<FeedEvent, void, undefined> {
  const { signal, headers, heard } = options
  const leaving = new AbortController()
  const silence = createAlarm(() => leaving.abort(new Error('the stream of events has fallen silent')))
  // Who answers says something at once. What is held back by a proxy is found out before anybody waits long.
  silence.in(FIRST_MS)
  try {
    const body = await open(
      { path: ['events', 'stream'], query },
      { signal: signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal, headers },
    )
    const decoder = new TextDecoder()
    let text = ''
    for await (const part of body) {
      silence.in(SILENT_MS)
      heard()
      text += decoder.decode(part, { stream: true })
      const blocks = text.split('\n\n')
      text = blocks.pop() ?? ''
      if (text.length > MOST_CHARACTERS) throw new Error('the stream of events has no end of an event')
      for (const block of blocks) {
        const event = eventOf(block)
        if (event === undefined) continue
        // However long the caller takes: it is not the server that is silent.
        silence.off()
        yield event
        silence.in(SILENT_MS)
      }
    }
  } finally {
    silence.off()
    // Whoever has heard enough hangs up.
    leaving.abort()
  }
}

/** The server says something every 15 s. */
const SILENT_MS = 45_000
const FIRST_MS = 5_000
const MOST_CHARACTERS = 4 * 1024 * 1024

/** Undefined for a comment, and for what is said to browsers only. */
function eventOf(block: string): FeedEvent | undefined {
  const data = /^data: ?(.*)$/m.exec(block)?.[1]
  if (data === undefined) return undefined
  const event = FeedEvent.safeParse(parsed(data))
  if (event.success) return event.data
  throw new BackstitchError({
    code: 'UNEXPECTED_RESPONSE',
    detail: 'what came in the stream of events is none',
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function createAlarm(ring: () => void) {
  let timer: ReturnType<typeof setTimeout> | undefined
  return {
    in(ms: number) {
      clearTimeout(timer)
      timer = setTimeout(ring, ms)
    },
    off() {
      clearTimeout(timer)
    },
  }
}
