import type { Logger } from 'pino'

/** Warns of something that may fail many times a second: a line a second at most, which says how many it stands for (F32). */
export type Complaints = (error: unknown, message: string) => void

const EVERY_MS = 1_000

export function createComplaints(log: Logger): Complaints {
  let saidAt = Number.NEGATIVE_INFINITY
  let unsaid = 0
  return (error, message) => {
    const now = performance.now()
    if (now - saidAt < EVERY_MS) {
      unsaid++
      return
    }
    log.warn({ err: error, ...(unsaid > 0 && { unsaid }) }, message)
    saidAt = now
    unsaid = 0
  }
}
