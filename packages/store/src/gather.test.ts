import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createGatherer, type GatherOptions } from './gather.ts'

/** A lane that answers when it is told to. */
function lanes(options: Partial<GatherOptions<number, string>> = {}) {
  const flights: { items: number[]; lane: number; land: () => void; crash: () => void }[] = []
  const gatherer = createGatherer<number, string>({
    lanes: 1,
    maxItems: 100,
    maxBytes: 1_000,
    bytesOf: () => 1,
    flush: (items, lane) =>
      new Promise((resolve, reject) => {
        const land = () => resolve(items.map((item) => ({ ok: true, answer: String(item) })))
        flights.push({ items, lane, land, crash: () => reject(new Error('crashed')) })
      }),
    ...options,
  })
  return { gatherer, flights }
}

function inVirtualTime(): void {
  vi.useFakeTimers({
    toFake: ['performance', 'setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'],
  })
  onTestFinished(() => void vi.useRealTimers())
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('what is submitted in one turn of the event loop leaves together, and at once', async () => {
  const { gatherer, flights } = lanes()
  void gatherer.submit(1)
  void gatherer.submit(2)
  expect(flights).toEqual([])
  await turn()
  expect(flights.map(({ items }) => items)).toEqual([[1, 2]])
})

test('what arrives while all lanes are busy leaves together as soon as one is free', async () => {
  const { gatherer, flights } = lanes()
  void gatherer.submit(1)
  await turn()
  for (const item of [2, 3, 4]) void gatherer.submit(item)
  await turn()
  expect(gatherer.waiting).toBe(3)
  flights[0]?.land()
  await turn()
  await turn()
  expect(flights.map(({ items }) => items)).toEqual([[1], [2, 3, 4]])
})

describe('of several lanes', () => {
  const submit = ({ gatherer }: ReturnType<typeof lanes>, count: number) => {
    for (let item = 0; item < count; item++) void gatherer.submit(item)
    return turn()
  }
  const sizes = ({ flights }: ReturnType<typeof lanes>) => flights.map(({ items }) => items.length)

  test('the idle ones share a long queue', async () => {
    const two = lanes({ lanes: 2, laneItems: 5 })
    await submit(two, 11)
    expect(sizes(two)).toEqual([6, 5])
    expect(new Set(two.flights.map(({ lane }) => lane)).size).toBe(2)
  })

  test('one takes a short queue, and what comes meanwhile waits for it', async () => {
    const two = lanes({ lanes: 2, laneItems: 5 })
    await submit(two, 4)
    await submit(two, 4)
    expect(sizes(two)).toEqual([4])
    two.flights[0]?.land()
    await turn()
    await turn()
    expect(sizes(two)).toEqual([4, 4])
  })

  test('another is taken once so many wait that they are worth it', async () => {
    const two = lanes({ lanes: 2, laneItems: 5 })
    await submit(two, 1)
    await submit(two, 4)
    await submit(two, 1)
    expect(sizes(two)).toEqual([1, 5])
  })

  test('another is taken, too, once the first has not answered for long, however much else comes meanwhile', async () => {
    inVirtualTime()
    const two = lanes({ lanes: 2 })
    for (let ms = 0; ms < 10; ms++) {
      expect(sizes(two).length).toBeLessThanOrEqual(1)
      void two.gatherer.submit(ms)
      await vi.advanceTimersByTimeAsync(1)
    }
    expect(sizes(two)).toEqual([1, 9])
  })

  test('one that does not answer holds nothing up, again and again', async () => {
    const two = lanes({ lanes: 2 })
    await submit(two, 1)
    await new Promise((resolve) => setTimeout(resolve, 15))
    for (let flight = 1; flight < 4; flight++) {
      await submit(two, 1)
      expect(sizes(two)).toHaveLength(flight + 1)
      two.flights[flight]?.land()
      await turn()
    }
  })

  test('what one flush has no room for is given to the next', async () => {
    const two = lanes({ lanes: 2, maxBytes: 10, bytesOf: () => 6 })
    await submit(two, 3)
    expect(sizes(two)).toEqual([1, 1])
  })

  test('each may be the only one that answers', async () => {
    const two = lanes({ lanes: 2, laneItems: 2 })
    await submit(two, 4)
    await submit(two, 1)
    expect(sizes(two)).toEqual([2, 2])
    two.flights[1]?.land()
    await expect.poll(() => sizes(two)).toEqual([2, 2, 1])
  })
})

describe('a flush', () => {
  test('has no more items than it may', async () => {
    const { gatherer, flights } = lanes({ maxItems: 3 })
    for (let item = 0; item < 5; item++) void gatherer.submit(item)
    await turn()
    expect(flights.map(({ items }) => items)).toEqual([[0, 1, 2]])
  })

  test('has no more bytes than it may, but at least one item', async () => {
    const { gatherer, flights } = lanes({ maxBytes: 10, bytesOf: (item) => item })
    for (const item of [50, 5, 5, 1]) void gatherer.submit(item)
    await turn()
    flights[0]?.land()
    await turn()
    await turn()
    expect(flights.map(({ items }) => items)).toEqual([[50], [5, 5]])
  })

  test('that crashes rejects its own items and no others', async () => {
    const { gatherer, flights } = lanes()
    const first = gatherer.submit(1)
    await turn()
    const second = gatherer.submit(2)
    flights[0]?.crash()
    await expect(first).rejects.toThrow('crashed')
    await turn()
    flights[1]?.land()
    expect(await second).toBe('2')
  })

  test('that answers too few items rejects the others', async () => {
    const { gatherer } = lanes({ flush: async () => [{ ok: true, answer: 'only one' }] })
    const answers = await Promise.allSettled([gatherer.submit(1), gatherer.submit(2)])
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  })
})

test('everybody gets the answer to their own item, whatever the sizes and the order in which flushes return', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(30), { maxLength: 60 }),
      fc.integer({ min: 1, max: 3 }),
      async (waves, count) => {
        const gatherer = createGatherer<number, number>({
          lanes: count,
          laneItems: 3,
          maxItems: 7,
          maxBytes: 40,
          bytesOf: (item) => item,
          async flush(items) {
            for (let n = 0; n < (items[0] ?? 0) % 3; n++) await turn()
            return items.map((item) => ({ ok: true, answer: -item }))
          },
        })
        const answers = waves.map((item) => gatherer.submit(item))
        await gatherer.settled()
        expect(gatherer.waiting).toBe(0)
        expect(await Promise.all(answers)).toEqual(waves.map((item) => -item))
      },
    ),
    { numRuns: 50 },
  )
})

describe('whatever comes in whatever order, and whichever lanes answer, late or never', () => {
  const LONG_MS = 10
  const steps = fc.array(
    fc.oneof(
      fc.record({
        is: fc.constant('submit' as const),
        sizes: fc.array(fc.nat(6), { minLength: 1, maxLength: 6 }),
      }),
      fc.record({ is: fc.constant('submit' as const), sizes: fc.constant([0]) }),
      fc.record({ is: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 12 }) }),
      fc.record({ is: fc.constantFrom('land' as const, 'crash' as const), which: fc.nat(2) }),
    ),
    { maxLength: 40, size: 'max' },
  )
  const limits = fc.record({
    lanes: fc.integer({ min: 1, max: 3 }),
    laneItems: fc.integer({ min: 1, max: 12 }),
    maxItems: fc.integer({ min: 1, max: 12 }),
    maxBytes: fc.integer({ min: 1, max: 24 }),
  })

  type Limits = Record<'lanes' | 'laneItems' | 'maxItems' | 'maxBytes', number>
  type Flight = { items: number[]; lane: number; resolve: (ok: boolean) => void }

  /** Items are numbers in their order; `sizes` says how many bytes each has. */
  function runOf({ lanes: count, laneItems, maxItems, maxBytes }: Limits) {
    const sizes: number[] = []
    const flushed: number[] = []
    const inAir: Flight[] = []
    const expected: string[] = []
    const became: string[] = []
    let waitsSince: number | undefined
    const gatherer = createGatherer<number, number>({
      lanes: count,
      laneItems,
      maxItems,
      maxBytes,
      bytesOf: (item) => sizes[item] ?? 0,
      flush: (items, lane) =>
        new Promise((resolve, reject) => {
          flushed.push(...items)
          inAir.push({
            items,
            lane,
            resolve(ok) {
              for (const item of items) expected[item] = ok ? 'answered' : 'rejected'
              if (ok) resolve(items.map((item) => ({ ok: true, answer: item })))
              else reject(new Error('crashed'))
            },
          })
        }),
    })

    function check(): void {
      expect(flushed).toEqual(flushed.map((_, item) => item))
      expect(gatherer.waiting).toBe(sizes.length - flushed.length)
      expect(new Set(inAir.map(({ lane }) => lane)).size).toBe(inAir.length)
      for (const { items } of inAir) {
        expect(items.length).toBeLessThanOrEqual(maxItems)
        const bytes = items.reduce((sum, item) => sum + (sizes[item] ?? 0), 0)
        if (items.length > 1) expect(bytes).toBeLessThanOrEqual(maxBytes)
      }
      if (inAir.length === 0) expect(gatherer.waiting).toBe(0)
      if (inAir.length < count) expect(gatherer.waiting).toBeLessThan(laneItems)
      // An item waits for long only while every lane is away.
      if (inAir.length === count || gatherer.waiting === 0) waitsSince = undefined
      else waitsSince ??= performance.now()
      if (waitsSince !== undefined) expect(performance.now() - waitsSince).toBeLessThan(LONG_MS)
    }

    return {
      gatherer,
      inAir,
      expected,
      became,
      async after(work: () => void, ms = 0) {
        work()
        await vi.advanceTimersByTimeAsync(0)
        check()
        for (let passed = 0; passed < ms; passed++) {
          await vi.advanceTimersByTimeAsync(1)
          check()
        }
      },
      submit(size: number) {
        const item = sizes.push(size) - 1
        gatherer.submit(item).then(
          (answer) => (became[item] = answer === item ? 'answered' : 'given the answer of another'),
          () => (became[item] = 'rejected'),
        )
      },
      land: (which: number, ok: boolean) => inAir.splice(which % inAir.length, 1)[0]?.resolve(ok),
    }
  }

  test('each item leaves once and in its turn, none waits while a lane has long been idle, and nothing is left behind', async () => {
    inVirtualTime()
    await fc.assert(
      fc.asyncProperty(limits, steps, async (drawn, story) => {
        const { gatherer, inAir, expected, became, after, submit, land } = runOf(drawn)
        for (const step of story) {
          if (step.is === 'submit') await after(() => step.sizes.forEach(submit))
          else if (step.is === 'wait') await after(() => undefined, step.ms)
          else await after(() => land(step.which, step.is === 'land'))
        }
        let isSettled = false
        void gatherer.settled().then(() => (isSettled = true))
        while (inAir.length > 0) {
          expect(isSettled).toBe(false)
          await after(() => land(0, true))
        }
        await after(() => undefined)
        expect(isSettled).toBe(true)
        expect(became).toEqual(expected)
        expect(vi.getTimerCount()).toBe(0)
      }),
      { numRuns: 500 },
    )
  })
})
