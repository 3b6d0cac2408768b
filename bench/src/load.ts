import { setTimeout as sleep } from 'node:timers/promises'
import type { Cost, Meter } from './meter.ts'
import type { Figures } from './scenario.ts'

/** Carries `count` units of work out, `inFlight` at a time, and says what they took. `pauseMs`: after each, and not counted. */
export async function load(options: {
  meter: Meter
  count: number
  inFlight: number
  stepsEach: number
  pauseMs?: number
  one: (n: number) => Promise<void>
}): Promise<Figures> {
  const { meter, count, inFlight, stepsEach, pauseMs = 0, one } = options
  const tookMs: number[] = []
  let next = 0
  async function client(): Promise<void> {
    while (next < count) {
      const n = next++
      const startedAt = performance.now()
      await one(n)
      tookMs.push(performance.now() - startedAt)
      if (pauseMs > 0) await sleep(pauseMs)
    }
  }
  const cost = await meter.measure(() =>
    Promise.all(Array.from({ length: Math.min(inFlight, count) }, client)),
  )
  return { ...latencies(tookMs, stepsEach), ...perStep(cost, count, stepsEach) }
}

function latencies(tookMs: number[], stepsEach: number): Figures {
  const sorted = tookMs.toSorted((a, b) => a - b)
  const p50 = quantile(sorted, 0.5)
  return { p50Ms: p50, p99Ms: quantile(sorted, 0.99), stepP50Ms: p50 / stepsEach }
}

export function perStep(cost: Cost, count: number, stepsEach: number): Figures {
  const steps = count * stepsEach
  return {
    perSecond: count / cost.seconds,
    stepsPerSecond: steps / cost.seconds,
    nodeCpuUsPerStep: cost.nodeCpuUs / steps,
    ...(cost.childrenCpuUs > 0 && { childrenCpuUsPerStep: cost.childrenCpuUs / steps }),
    postgresCpuUsPerStep: cost.postgresCpuUs / steps,
    walBytesPerStep: cost.walBytes / steps,
  }
}

/** Of sorted values. */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((a, b) => a - b),
    0.5,
  )
}
