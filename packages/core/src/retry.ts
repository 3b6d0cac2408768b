import type { Retry } from './definition.ts'

/** No two attempts of one step are closer than this, whatever a definition says (S5, F28). */
export const RETRY_FLOOR_MS = 100

/**
 * How long to wait before attempt `attempt + 1`: exponential with full jitter, a floor and a cap (S5).
 * `Retry-After` is honoured up to the cap.
 *
 * @param attempt the attempt that has just failed, from 1
 * @param random a number in [0, 1), drawn by the caller
 */
export function retryDelayMs(retry: Retry, attempt: number, random: number, retryAfterMs = 0): number {
  const cap = Math.max(retry.maxDelayMs, RETRY_FLOOR_MS)
  const ceiling = Math.min(cap, retry.initialDelayMs * retry.factor ** (attempt - 1))
  // Written so that what is not a number asks for nothing.
  const asked = retryAfterMs > 0 ? Math.min(retryAfterMs, cap) : 0
  return Math.round(Math.max(RETRY_FLOOR_MS, random * ceiling, asked))
}
