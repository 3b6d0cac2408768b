import { ConnectionLost, failureOf, reconnectDelayMs } from './failure.ts'
import type { Settled } from './gather.ts'

/** A deadlock is retried; a batch that always deadlocks would be a bug. */
const MAX_TRANSIENT = 20

/**
 * Sends a batch until it is answered. A statement that fails because of one bad item is halved until only the guilty one
 * fails; a lost connection is waited for as long as `mayWait` allows. The statement must therefore bear repetition: what an
 * earlier try may have done, `send` recognises.
 */
export function flushWithRecovery<Item, Answer>(
  items: Item[],
  send: (items: Item[]) => Promise<Settled<Answer>[]>,
  mayWait: (sinceMs: number) => boolean,
): Promise<Settled<Answer>[]> {
  const startedAt = performance.now()
  return flush(items, send, () => mayWait(performance.now() - startedAt))
}

async function flush<Item, Answer>(
  items: Item[],
  send: (items: Item[]) => Promise<Settled<Answer>[]>,
  mayWait: () => boolean,
): Promise<Settled<Answer>[]> {
  for (let failures = 0; ; ) {
    try {
      return await send(items)
    } catch (error) {
      failures++
      const failure = failureOf(error)
      if (failure === 'statement' || (failure === 'transient' && failures > MAX_TRANSIENT)) {
        if (items.length === 1) return [{ ok: false, error }]
        const half = items.length >> 1
        const first = await flush(items.slice(0, half), send, mayWait)
        return [...first, ...(await flush(items.slice(half), send, mayWait))]
      }
      if (!mayWait()) {
        const gone = new ConnectionLost('the database did not answer in time', { cause: error })
        return items.map(() => ({ ok: false, error: gone }))
      }
      await sleep(failure === 'transient' ? 2 + Math.random() * 20 : reconnectDelayMs(failures))
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
