import { ConnectionLost, failureOf, reconnectDelayMs } from './failure.ts'
import type { Settled } from './gather.ts'

/** A deadlock is retried; a batch that always deadlocks would be a bug. */
const MAX_TRANSIENT = 20

/**
 * Sends a batch until it is answered. A statement that fails because of one bad item is halved until only the guilty one
 * fails; a lost connection is waited for as long as `mayWait` allows. The statement must therefore bear repetition: what an
 * earlier try may have done, `send` recognises.
 */
export async function flushWithRecovery<Item, Answer>(
  items: Item[],
  send: (items: Item[], again: boolean) => Promise<Settled<Answer>[]>,
  mayWait: (sinceMs: number) => boolean,
): Promise<Settled<Answer>[]> {
  const startedAt = performance.now()
  for (let failures = 0; ; ) {
    try {
      return await send(items, failures > 0)
    } catch (error) {
      failures++
      const failure = failureOf(error)
      if (failure === 'statement' || (failure === 'transient' && failures > MAX_TRANSIENT)) {
        if (items.length === 1) return [{ ok: false, error }]
        const half = items.length >> 1
        const first = await flushWithRecovery(items.slice(0, half), send, mayWait)
        return [...first, ...(await flushWithRecovery(items.slice(half), send, mayWait))]
      }
      if (!mayWait(performance.now() - startedAt)) {
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
