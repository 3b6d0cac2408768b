/**
 * The database's clock, between two looks at it (S18): the last instant a statement returned, moved on by this process's
 * monotonic clock. The wall clock of this machine plays no part, however wrong it is.
 */
export type DatabaseClock = {
  /** Milliseconds since the epoch, by the database. */
  now(): number
  /** Takes note of an instant that a statement has just returned, in milliseconds since the epoch. */
  saw(databaseNow: number): void
}

const SET_BACK_MS = 2_000

export function createDatabaseClock(): DatabaseClock {
  let offset: number | undefined
  return {
    now() {
      // Nothing durable is decided before the first statement has been answered: earlier is a bug.
      if (offset === undefined) throw new Error('the database clock was read before the database was')
      return Math.floor(performance.now() + offset)
    },
    saw(databaseNow) {
      // An answer is always a little old when it arrives, so of two looks the one that is further on is the better. Only
      // a database whose clock was set back is followed backwards.
      const seen = databaseNow - performance.now()
      if (offset === undefined || seen > offset || seen < offset - SET_BACK_MS) offset = seen
    },
  }
}

/** Put in a select list: the database's time in the unit of `saw`. */
export const DATABASE_NOW = `(extract(epoch FROM clock_timestamp()) * 1000)::float8`
