import { setTimeout as sleep } from 'node:timers/promises'
import { createLane, type LaneOptions } from './lane.ts'

/**
 * Tells other processes what they would find out by asking. A hint and nothing more: it may come late, twice or never.
 * NOTIFY takes a lock that serialises the commits it rides in, so it rides in none: it has a connection of its own, and
 * many hints are one statement (F34).
 */
export type Wakeups = {
  /** Something in this queue is due now. */
  due(queue: string): void
  /** Somebody in this process waits for this saga's rest. */
  awaited(sagaId: string): void
  /** This saga has ended, or needs a person. */
  rested(sagaId: string): void
  close(): Promise<void>
}

export const DUE_CHANNEL = 'backstitch_due'
export const AWAITED_CHANNEL = 'backstitch_awaited'
export const RESTED_CHANNEL = 'backstitch_rested'

const NOTIFY = {
  name: 'notify',
  text: 'SELECT pg_notify(n.channel, n.payload) FROM unnest($1::text[], $2::text[]) AS n(channel, payload)',
}
/** Under load there is always something new to tell: it is told so often, and each time wakes others. */
const PAUSE_MS = 2
/** A notification may have 8,000 bytes; a queue's name has at most 64, an id 36. */
const MAX_WORDS = 100
/** What is said last is given so long to leave: whoever ends waits no longer for a hint. */
const LAST_WORDS_MS = 500

export function createWakeups(options: LaneOptions): Wakeups {
  const lane = createLane(options)
  const words = new Map<string, Set<string>>()
  let sending: Promise<void> | undefined

  function tell(channel: string, word: string): void {
    const waiting = words.get(channel)
    if (waiting === undefined) words.set(channel, new Set([word]))
    else waiting.add(word)
    sending ??= send()
  }

  async function send(): Promise<void> {
    // What belongs together, a start and that it is waited for, is told in this turn of the event loop: one statement.
    await new Promise(setImmediate)
    while (words.size > 0) {
      const messages = [...words].flatMap(([channel, some]) =>
        payloadsOf([...some]).map((payload) => ({ channel, payload })),
      )
      words.clear()
      // A lost hint costs what asking costs; that is what asking is there for.
      await lane
        .query(NOTIFY, [messages.map(({ channel }) => channel), messages.map(({ payload }) => payload)])
        .catch(() => undefined)
      await sleep(PAUSE_MS)
    }
    sending = undefined
  }

  return {
    due: (queue) => tell(DUE_CHANNEL, queue),
    awaited: (sagaId) => tell(AWAITED_CHANNEL, sagaId),
    rested: (sagaId) => tell(RESTED_CHANNEL, sagaId),
    async close() {
      const over = new AbortController()
      await Promise.race([sending, sleep(LAST_WORDS_MS, undefined, over).catch(() => undefined)])
      over.abort()
      await lane.close()
      await sending
    },
  }
}

function payloadsOf(words: readonly string[]): string[] {
  const payloads: string[] = []
  for (let from = 0; from < words.length; from += MAX_WORDS)
    payloads.push(words.slice(from, from + MAX_WORDS).join(','))
  return payloads
}
