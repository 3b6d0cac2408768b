import { createHash } from 'node:crypto'

/** Chance that a seed can bring back: the same seed and the same words give the same numbers, in every process. */
export type Chance = {
  /** In [0, 1). */
  next(): number
  /** From 0 to `below` - 1. */
  int(below: number): number
  pick<T>(from: readonly T[]): T
  /** True this often. */
  happens(probability: number): boolean
}

export function chanceOf(...words: readonly (string | number)[]): Chance {
  let state = createHash('sha256').update(words.join('\n')).digest().readUInt32LE(0)
  /** mulberry32 */
  function next(): number {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (below: number) => Math.floor(next() * below)
  return {
    next,
    int,
    pick(from) {
      const picked = from[int(from.length)]
      if (picked === undefined) throw new Error('there is nothing to pick from')
      return picked
    },
    happens: (probability) => next() < probability,
  }
}
