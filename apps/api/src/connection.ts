import { setTimeout as sleep } from 'node:timers/promises'
import { Problem } from '@backstitch/core'
import type { ApiStore } from '@backstitch/store'
import type { FastifyBaseLogger } from 'fastify'

/** The way to the database, which may come up after us: until it has, everything that needs it answers 503. */
export type Connection = {
  /** Throws a `Problem` while the database has not been reached. */
  store(): ApiStore
  close(): Promise<void>
}

const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 5_000

/** Tries until it succeeds. Once there is a store it finds its own way back to a database that went away. */
export function connect(open: () => Promise<ApiStore>, log: FastifyBaseLogger): Connection {
  const stopping = new AbortController()
  let store: ApiStore | undefined

  async function keepTrying(): Promise<void> {
    for (
      let waitMs = FIRST_WAIT_MS;
      !stopping.signal.aborted;
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2)
    ) {
      try {
        store = await open()
        log.info('connected to the database')
        return
      } catch (error) {
        log.warn({ err: error }, `the database cannot be reached; trying again in ${waitMs} ms`)
      }
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const trying = keepTrying()

  return {
    store() {
      if (store !== undefined) return store
      throw new Problem('UNAVAILABLE', 'the database has not been reached yet; try again soon', {
        retryAfterS: 2,
      })
    },
    async close() {
      stopping.abort()
      await trying
      await store?.close()
    },
  }
}
