import { isSagaId } from './ids.ts'
import { createLink, type LinkOptions } from './link.ts'
import { RESTED_CHANNEL, type Wakeups } from './wakeups.ts'

/**
 * That a saga is at rest, that is, has ended or needs a person, is told across processes: whoever waits says so, and the
 * worker that brings it there says that. Hints with nothing in them but ids; who is told asks the database, and who is not
 * asks as well, only later (F33).
 */

/** In a process where sagas are waited for. */
export type RestsHeard = {
  /**
   * Tells workers that this saga is waited for, and `onRested` of each that is said to be at rest from now on. False: nobody
   * would be heard, not yet or not by this way, and nothing was told.
   */
  expect(sagaId: string, onRested: (sagaIds: readonly string[]) => void): boolean
  close(): Promise<void>
}

/** In a worker. */
export type RestsTold = {
  /** Whoever waits for this saga elsewhere is told, if somebody does. */
  tell(sagaId: string): void
}

const AGAIN_MS = 1_000

/** One connection for all that wait, made when somebody first does. */
export function createRestsHeard(
  options: LinkOptions & {
    /** How often a connection that says nothing is asked whether it is still there. Default 5 s. */
    lookMs?: number
  },
  wakeups: Pick<Wakeups, 'awaited'>,
): RestsHeard {
  const { lookMs = 5_000, silenceMs = 5_000 } = options
  const listeners = new Set<(sagaIds: readonly string[]) => void>()
  /** The connection that is open and listens. */
  let hearing: object | undefined
  /** Behind a pooler no session listens. */
  let isDeaf = false
  let lookAt = Number.NEGATIVE_INFINITY

  const applicationName = `${options.applicationName}/rests`
  const link = createLink({ ...options, applicationName, silenceMs }, async (client, pooled) => {
    isDeaf = pooled
    if (pooled) return
    client.on('notification', ({ payload }) => {
      const sagaIds = idsIn(payload)
      for (const listener of listeners) listener(sagaIds)
    })
    const lose = () => {
      if (hearing === client) hearing = undefined
      lookAt = Math.min(lookAt, performance.now() + AGAIN_MS)
    }
    client.on('error', lose)
    client.on('end', lose)
    await client.query(`LISTEN ${RESTED_CHANNEL}`)
    hearing = client
  })

  async function look(): Promise<void> {
    try {
      await link.use(async (client) => {
        if (!isDeaf) await client.query('SELECT 1')
      })
      lookAt = performance.now() + lookMs
    } catch {
      // Whoever asks the database hears why; here nobody is any worse off.
      lookAt = performance.now() + AGAIN_MS
    }
    if (isDeaf) await link.close()
  }

  return {
    expect(sagaId, onRested) {
      listeners.add(onRested)
      if (!isDeaf && performance.now() >= lookAt) {
        lookAt = Number.POSITIVE_INFINITY
        void look()
      }
      if (hearing !== undefined) wakeups.awaited(sagaId)
      return hearing !== undefined
    },
    async close() {
      isDeaf = true
      await link.close()
    },
  }
}

/** Sagas that somebody may still wait for. A wait lasts at most a minute. */
const AWAITED = { most: 10_000, forMs: 60_000 }
/** Sagas that rested just before it was heard that somebody waits for them. */
const RECENT = { most: 2_000, forMs: 1_000 }

/** What a worker hears of those who wait goes to `hear`. */
export function createRestsTold(
  wakeups: Pick<Wakeups, 'rested'>,
): RestsTold & { hear(words: readonly string[]): void } {
  const awaited = createMemory(AWAITED)
  const recent = createMemory(RECENT)
  let isAnyAwaited = false

  return {
    hear(words) {
      isAnyAwaited = true
      for (const sagaId of words) {
        if (!isSagaId(sagaId)) continue
        awaited.add(sagaId)
        if (recent.has(sagaId)) wakeups.rested(sagaId)
      }
    },
    tell(sagaId) {
      if (!isAnyAwaited) return
      recent.add(sagaId)
      if (awaited.has(sagaId)) wakeups.rested(sagaId)
    },
  }
}

/**
 * Remembers each word for `forMs` at least, or until `most` others have come. Of two sets the older is forgotten as a whole
 * when a word comes: nothing has a timer.
 */
export function createMemory({ most, forMs }: { most: number; forMs: number }) {
  let young = new Set<string>()
  let old = new Set<string>()
  let since = performance.now()
  return {
    add(word: string): void {
      const now = performance.now()
      if (young.size >= most || now - since > forMs) {
        old = now - since > 2 * forMs ? new Set() : young
        young = new Set()
        since = now
      }
      young.add(word)
    },
    has: (word: string) => young.has(word) || old.has(word),
  }
}

function idsIn(payload: string | undefined): string[] {
  return (payload ?? '').split(',').filter(isSagaId)
}
