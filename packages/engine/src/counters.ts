import type { Direction, Kind, Outcome, ScheduleRun } from '@backstitch/core'

/** What a worker has done since it started. Plain numbers: whoever shows them decides how. */
export type Counters = {
  attempt(direction: Direction, outcome: Outcome | 'pending'): void
  transition(kind: Kind): void
  leaseLost(): void
  late(): void
  /** A saga has been left to a person (S34). */
  stuck(): void
  scheduleRun(outcome: ScheduleRun['outcome']): void
  snapshot(): CounterSnapshot
}

export type CounterSnapshot = {
  /** By `<direction> <outcome>`. */
  attempts: Record<string, number>
  /** By the kind of their history entry. */
  transitions: Record<string, number>
  leasesLost: number
  lateResults: number
  sagasStuck: number
  /** By outcome: started, skipped, failed. Several skipped at once are one. */
  scheduleRuns: Record<string, number>
}

export function createCounters(): Counters {
  const attempts = new Map<string, number>()
  const transitions = new Map<string, number>()
  const scheduleRuns = new Map<string, number>()
  let leasesLost = 0
  let lateResults = 0
  let sagasStuck = 0
  const add = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1)
  return {
    attempt: (direction, outcome) => add(attempts, `${direction} ${outcome}`),
    transition: (kind) => add(transitions, kind),
    leaseLost: () => leasesLost++,
    late: () => lateResults++,
    stuck: () => sagasStuck++,
    scheduleRun: (outcome) => add(scheduleRuns, outcome),
    snapshot: () => ({
      attempts: Object.fromEntries(attempts),
      transitions: Object.fromEntries(transitions),
      leasesLost,
      lateResults,
      sagasStuck,
      scheduleRuns: Object.fromEntries(scheduleRuns),
    }),
  }
}
