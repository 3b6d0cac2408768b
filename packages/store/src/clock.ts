/**
 * The database's clock, between two looks at it (S18): the last instant a statement returned, moved on by this process's
 * monotonic clock. The wall clock of this machine plays no part, however wrong it is.
 */
export type DatabaseClock = {
  /** Milliseconds since the epoch, by the database. */
  now(): number
  /** Takes note of an instant that a statement sent at `sentAt`, by the monotonic clock, has just returned. */
  saw(databaseNow: number, sentAt: number): void
}

/** What monotonic clocks, and a database's reading of its own, may differ by without meaning anything. */
const NOISE_MS = 5

export function createDatabaseClock(): DatabaseClock {
  let offset: number | undefined
  return {
    now() {
      // Nothing durable is decided before the first statement has been answered: earlier is a bug.
      if (offset === undefined) throw new Error('the database clock was read before the database was')
      return Math.floor(performance.now() + offset)
    },
    saw(databaseNow, sentAt) {
      // The instant lies between the sending and now: so the offset is this at least, and that at most. Of many looks the
      // highest lower bound is the best guess, as long as no look contradicts it; one does when the clock was set back.
      const atLeast = databaseNow - performance.now()
      const atMost = databaseNow - sentAt
      if (offset === undefined || atLeast > offset || offset > atMost + NOISE_MS) offset = atLeast
    },
  }
}

/** Put in a select list: the database's time in the unit of `saw`. */
export const DATABASE_NOW = `(extract(epoch FROM clock_timestamp()) * 1000)::float8`
