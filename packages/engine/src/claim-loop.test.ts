import type { Claimed, Claims } from '@backstitch/store'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createClaimLoop } from './claim-loop.ts'
import type { Runner } from './runner.ts'
import { quiet } from './testing.ts'

/** What a worker asks for when there is more than it can do, in time that passes as fast as it is asked to. */

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function stage({ takesMs }: { takesMs: () => number }) {
  let held = 0
  let claimed = 0
  let suspectSince: number | undefined
  let suspectRunsAt: number | undefined
  let backlog = 0
  const asked: { limit: number; mail: number | undefined }[] = []
  let looked = 0
  const one = (leasesLost: number): Claimed => ({
    lease: { bucket: 0, sagaId: String(claimed), epoch: 1 },
    queue: 'some',
    definition: { name: 'some', version: 1 },
    version: 1,
    state: { unreadable: 'never read here' },
    leasesLost,
    mailSeq: 0,
    mailSeen: 0,
  })
  const claims: Pick<Claims, 'claim' | 'claimSuspect' | 'nextDueMs'> = {
    async claim(_queues, limit, turns) {
      asked.push({ limit, mail: turns?.mail })
      const count = Math.min(limit, backlog)
      backlog -= count
      claimed += count
      return Array.from({ length: count }, () => one(0))
    },
    async claimSuspect() {
      if (suspectSince === undefined) return []
      suspectSince = undefined
      suspectRunsAt = performance.now()
      expect(held).toBe(0)
      return [one(2)]
    },
    async nextDueMs() {
      looked++
      const suspectWaitingMs = suspectSince === undefined ? undefined : performance.now() - suspectSince
      return { dueMs: undefined, suspectWaitingMs }
    },
  }
  const runner: Pick<Runner, 'run' | 'holds'> = {
    get holds() {
      return held
    },
    async run() {
      held++
      await new Promise((resolve) => setTimeout(resolve, takesMs()))
      held--
    },
  }
  const loop = createClaimLoop({
    claims: { ...claims, takeAgain: async () => [], close: async () => undefined },
    runner: {
      run: runner.run,
      poke: () => undefined,
      drain: () => undefined,
      interrupt: () => undefined,
      forsake: () => undefined,
      has: () => false,
      heldDefinitions: () => [],
      get holds() {
        return held
      },
    },
    queues: ['some'],
    concurrency: 4,
    pollMs: 100,
    log: quiet,
  })
  return {
    loop,
    asked,
    due: (count: number) => {
      backlog += count
      loop.wake()
    },
    suspect: () => {
      suspectSince = performance.now()
    },
    anotherTakesIt: () => {
      suspectSince = undefined
    },
    get claimed() {
      return claimed
    },
    get looked() {
      return looked
    },
    get suspectRan() {
      return suspectRunsAt !== undefined
    },
  }
}

test('a suspect is run although there is always more to claim than there is room for', async () => {
  const worker = stage({ takesMs: () => 50 })
  worker.due(1_000_000)
  worker.suspect()
  worker.loop.start()

  await vi.advanceTimersByTimeAsync(15_000)

  expect(worker.suspectRan).toBe(true)
  const before = worker.claimed
  await vi.advanceTimersByTimeAsync(1_000)
  expect(worker.claimed).toBeGreaterThan(before)
  void worker.loop.stop()
})

test('a worker that empties itself for a suspect goes on as soon as another has taken it', async () => {
  let takesMs = 3_600_000
  const worker = stage({ takesMs: () => takesMs })
  worker.due(1)
  worker.loop.start()
  await vi.advanceTimersByTimeAsync(100)
  takesMs = 10
  worker.suspect()
  await vi.advanceTimersByTimeAsync(15_000)
  worker.due(1)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(worker.claimed).toBe(1)

  worker.anotherTakesIt()
  await vi.advanceTimersByTimeAsync(1_000)

  expect(worker.claimed).toBe(2)
  void worker.loop.stop()
})

test('an attempt that lasts for hours does not stop everything else for a suspect, and the suspect is run in the end', async () => {
  let takesMs = 2 * 3_600_000
  const worker = stage({ takesMs: () => takesMs })
  worker.due(1)
  worker.loop.start()
  await vi.advanceTimersByTimeAsync(100)
  takesMs = 10
  worker.suspect()

  await vi.advanceTimersByTimeAsync(45_000)
  worker.due(1)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(worker.claimed).toBe(2)

  await vi.advanceTimersByTimeAsync(6 * 3_600_000)
  expect(worker.suspectRan).toBe(true)
  void worker.loop.stop()
})

test('as long as there is more than it can take, what has mail comes first for half of the room only; where there is room for one, every other time (S20)', async () => {
  let takesMs = 50
  const worker = stage({ takesMs: () => takesMs++ })
  worker.due(1_000_000)
  worker.loop.start()
  await vi.advanceTimersByTimeAsync(2_000)
  void worker.loop.stop()

  const [first, ...later] = worker.asked
  expect(first).toEqual({ limit: 4, mail: 4 })
  expect(later.filter(({ limit }) => limit === 1).length).toBeGreaterThan(10)
  expect(later.map(({ mail }) => mail)).toEqual(
    later.map(({ limit }, n) => (n % 2 === 0 ? Math.floor(limit / 2) : Math.ceil(limit / 2))),
  )
})

test('a worker that is woken again and again asks once a second when the next is due, and soon once it is calm', async () => {
  const worker = stage({ takesMs: () => 1 })
  worker.loop.start()
  await vi.advanceTimersByTimeAsync(50)
  const before = worker.looked
  for (let woken = 0; woken < 600; woken++) {
    worker.due(1)
    await vi.advanceTimersByTimeAsync(5)
  }
  expect(worker.claimed).toBe(600)
  const trickle = worker.looked - before
  expect(trickle).toBeGreaterThanOrEqual(2)
  expect(trickle).toBeLessThanOrEqual(4)

  await vi.advanceTimersByTimeAsync(20)

  expect(worker.looked - before).toBe(trickle + 1)
  void worker.loop.stop()
})
