import type { WorkerStore } from '@backstitch/store'
import type { Logger } from 'pino'
import type { Complaints } from './complaints.ts'

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
const GATHER_MS = 25

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
  let news = false
  let ring: () => void = () => undefined

  async function loop(): Promise<void> {
    while (!stopped) {
      news = false
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
      await sleep(LOOK_MS)
      if (news && !stopped) await sleep(GATHER_MS, { deaf: true })
    }
  }

  function sleep(ms: number, { deaf = false } = {}): Promise<void> {
    if (news && !deaf) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      if (deaf) return
      ring = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  function wake(): void {
    news = true
    ring()
  }

  return {
    start() {
      looping ??= loop()
    },
    wake,
    async stop() {
      stopped = true
      ring()
      await looping
    },
  }
}
