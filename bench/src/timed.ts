import { quantile } from './load.ts'
import type { Figures, ScenarioOptions } from './scenario.ts'

const SAMPLES = 200
const ENOUGH_MS = 4_000

/** As often as it takes for a p99, but not for ever: what takes seconds is known to be slow after a few. */
export async function timed(
  name: string,
  work: () => Promise<unknown>,
  say: ScenarioOptions['say'],
): Promise<Figures> {
  const tookMs: number[] = []
  const startedAt = performance.now()
  while (tookMs.length < SAMPLES && performance.now() - startedAt < ENOUGH_MS) {
    // A question that the API gives up after half a minute took at least as long.
    tookMs.push(await msOf(() => work().catch(() => undefined)))
  }
  const sorted = tookMs.toSorted((a, b) => a - b)
  const [p50, p99] = [quantile(sorted, 0.5), quantile(sorted, 0.99)]
  say(`${name}: ${sorted.length} times, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`)
  return { [`${name}P50Ms`]: p50, [`${name}P99Ms`]: p99 }
}

export async function msOf(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}
