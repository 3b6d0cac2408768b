import { setTimeout as sleep } from 'node:timers/promises'
import { createLane, type LaneOptions } from './lane.ts'

/**
 * Tells workers in other processes that something became due. A hint and nothing more: polling finds everything without it.
 * NOTIFY takes a lock that serialises the commits it rides in, so it rides in none: it has a connection of its own, and
 * many wake-ups are one (F34).
 */
export type Wakeups = {
  /** Something in this queue is due now. */
  due(queue: string): void
  close(): Promise<void>
}

export const DUE_CHANNEL = 'backstitch_due'
const NOTIFY = { name: 'notify', text: 'SELECT pg_notify($1, $2)' }
/** Under load there is always something new to tell: it is told so often, and each time wakes workers for more. */
const PAUSE_MS = 2
/** A notification may have 8,000 bytes; a queue's name has at most 64. */
const MAX_QUEUES = 100

export function createWakeups(options: LaneOptions): Wakeups {
  const lane = createLane(options)
  let queues = new Set<string>()
  let sending: Promise<void> | undefined

  async function send(): Promise<void> {
    while (queues.size > 0) {
      const some = [...queues].slice(0, MAX_QUEUES)
      queues = new Set([...queues].slice(MAX_QUEUES))
      // A lost hint costs one poll interval; that is what polling is there for.
      await lane.query(NOTIFY, [DUE_CHANNEL, some.join(',')]).catch(() => undefined)
      await sleep(PAUSE_MS)
    }
    sending = undefined
  }

  return {
    due(queue) {
      queues.add(queue)
      sending ??= send()
    },
    async close() {
      await sending
      await lane.close()
    },
  }
}
