import type { Scenario } from '../scenario.ts'
import { backlog } from './backlog.ts'
import { compensation } from './compensation.ts'
import { growth } from './growth.ts'
import { latency } from './latency.ts'
import { lists } from './lists.ts'
import { memory } from './memory.ts'
import { participants } from './participants.ts'
import { processes } from './processes.ts'
import { recovery } from './recovery.ts'
import { replay } from './replay.ts'
import { soak } from './soak.ts'
import { start } from './start.ts'
import { throughput } from './throughput.ts'
import { wait } from './wait.ts'
import { wakeup } from './wakeup.ts'

export const scenarios: readonly Scenario[] = [
  latency,
  throughput,
  compensation,
  growth,
  start,
  wait,
  wakeup,
  participants,
  processes,
  replay,
  backlog,
  lists,
  recovery,
  memory,
  soak,
]
