import type { WorkerStore } from '@backstitch/store'
import type { Logger } from 'pino'
import type { Complaints } from './complaints.ts'
import { createNap } from './nap.ts'

/**
 * Publishes what commits have told (M6). Every worker does; which one, at a given moment, is the database's affair.
 */
export type Publisher = {
  start(): void
  /** Something was committed here that others are to hear of. */
  wake(): void
  /** Resolves when nothing is being published and nothing will be. */
  stop(): Promise<void>
}

/** When nothing has been committed here: others may have died before they published. */
const LOOK_MS = 1_000
/** What comes within this time leaves together. */
const GATHER_MS = 100

export function createPublisher({
  store,
  complain,
  log,
}: {
  store: Pick<WorkerStore, 'feed' | 'listeners'>
  complain: Complaints
  log: Logger
}): Publisher {
  let stopped = false
  let looping: Promise<void> | undefined
  const nap = createNap()

  async function loop(): Promise<void> {
    while (!stopped) {
      let more = false
      try {
        const published = await store.feed.publish()
        more = published.more
        store.listeners.steps = published.steps
        if (published.unreadable > 0)
          log.error({ count: published.unreadable }, 'something among the events is none; it was passed over')
        if (!more) await store.feed.tidy()
      } catch (error) {
        complain(error, 'publishing events failed; trying again')
      }
      if (stopped || more) continue
      const isNews = await nap.sleep(LOOK_MS)
      if (isNews && !stopped) await new Promise((resolve) => setTimeout(resolve, GATHER_MS))
    }
  }

  return {
    start() {
      looping ??= loop()
    },
    wake: nap.ring,
    async stop() {
      stopped = true
      nap.ring()
      await looping
    },
  }
}
