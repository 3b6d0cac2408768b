import type { Place } from './place.ts'

/** What a contender did in one round, by name; the unit is part of the name. */
export type Figures = Readonly<Record<string, number>>

/** One of those that are measured beside each other. Opened once, run once in every round, on a database of its own. */
export type Contender = {
  name: string
  open(place: Place): Promise<Running>
}

export type Running = { run(): Promise<Figures>; close(): Promise<void> }

/** What may be compared: one figure of one contender. */
type Term = readonly [contender: string, figure: string]

/** Taken in each round, then the median: what slows the whole machine for a while slows both. */
export type Ratio = { name: string; of: Term; to: Term; goal?: string }

export type ScenarioOptions = {
  size: number | undefined
  peers: boolean
  /** What is worth a line while it goes on. */
  say: (line: string) => void
}

export type Scenario = {
  name: string
  /** One sentence: what is done, and what is counted. */
  about: string
  /** Takes so long that it is run only when asked for. */
  onlyIfNamed?: true
  /** One round, without another to warm up: it is long enough to show both. */
  once?: true
  contenders(options: ScenarioOptions): readonly Contender[]
  ratios: readonly Ratio[]
}
