import { openBacklog } from '../backlog.ts'
import { quantile } from '../load.ts'
import { now } from '../now.ts'
import type { Contender } from '../scenario.ts'
import { startWorkers } from '../workers.ts'
import { openBlackHole } from './black-hole.ts'

const HOUR_MS = 3_600_000
const SAGAS = 200
const KILLS = 10
/** Of the machine that vanishes: shorter than the default, so that nobody has to wait for so long; the bound is made of it. */
const LEASE_MS = 5_000
const POLL_MS = 500

/** From the death of a worker that holds 200 sagas, each in the middle of a step, to the call of each step by another. */
export function killed(): Contender {
  return {
    name: 'killed worker, 200 sagas',
    open: async (place) => {
      const backlog = await openBacklog(place)
      return {
        async run() {
          const tookMs: number[] = []
          for (let kill = 0; kill < KILLS; kill++) {
            const victim = await startWorkers(place, 1, { stepMs: HOUR_MS })
            await backlog.start(SAGAS)
            await backlog.held()
            const heir = await startHeir(place)
            const diedAt = now()
            victim.kill(0)
            await backlog.drained()
            tookMs.push(...heir.calls.map((at) => at - diedAt))
            await Promise.all([heir.close(), victim.close()])
          }
          return inOrder(tookMs)
        },
        close: () => backlog.close(),
      }
    },
  }
}

/** The same when nothing says that it has died: its connections stay open, and are silent. */
export function vanished(): Contender {
  return {
    name: 'vanished machine, 200 sagas',
    open: async (place) => {
      const backlog = await openBacklog(place)
      return {
        async run() {
          const hole = await openBlackHole(place)
          const victim = await startWorkers(hole.place, 1, { stepMs: HOUR_MS, leaseMs: LEASE_MS })
          await backlog.start(SAGAS)
          await backlog.held()
          const heir = await startHeir(place)
          const vanishedAt = now()
          hole.swallow()
          await backlog.drained()
          const tookMs = heir.calls.map((at) => at - vanishedAt)
          victim.kill(0)
          await Promise.all([heir.close(), victim.close()])
          await hole.close()
          const { p50Ms, p99Ms, ...others } = inOrder(tookMs)
          return { p50Ms, p99Ms, ...others, p99OfLeaseAndPoll: p99Ms / (LEASE_MS + POLL_MS) }
        },
        close: () => backlog.close(),
      }
    },
  }
}

async function startHeir(place: { url: string }) {
  const calls: number[] = []
  const heir = await startWorkers(place, 1, { onCall: (at) => calls.push(at) })
  return { calls, close: heir.close }
}

function inOrder(tookMs: readonly number[]) {
  const sorted = tookMs.toSorted((one, other) => one - other)
  return {
    sagas: sorted.length,
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    maxMs: quantile(sorted, 1),
  }
}
