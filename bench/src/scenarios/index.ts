import type { Scenario } from '../scenario.ts'
import { latency } from './latency.ts'
import { start } from './start.ts'
import { throughput } from './throughput.ts'

export const scenarios: readonly Scenario[] = [latency, throughput, start]
