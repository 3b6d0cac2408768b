import { Problem } from '@backstitch/core'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createWaitHub } from './wait-hub.ts'

/** A database that knows who rests, and counts how often and about how many it is asked. */
function hubOf(
  options: {
    maxWaiters?: number
    takesMs?: number
    isTold?: boolean
    expect?: (sagaId: string) => boolean
  } = {},
) {
  const rests = new Set<string>()
  const asked: string[][] = []
  let fails = false
  const hub = createWaitHub({
    maxWaiters: options.maxWaiters ?? 100,
    onRefused: () => undefined,
    isTold: options.isTold ?? false,
    ...(options.expect && { expect: options.expect }),
    async resting(ids) {
      asked.push([...ids])
      await new Promise((resolve) => setTimeout(resolve, options.takesMs ?? 0))
      if (fails) throw new Error('the database is away')
      return new Map(ids.filter((id) => rests.has(id)).map((id) => [id, `${id} at rest`]))
    },
  })
  return { hub, rests, asked, fail: (now: boolean) => (fails = now) }
}

test('all who wait are asked about together, each once', async () => {
  // They come in one instant, however busy the machine is.
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { hub, rests, asked } = hubOf()
  const waits = ['a', 'b', 'a', 'c'].map((id) => hub.wait(id, 10_000))
  expect(hub.waiting).toBe(4)
  rests.add('a').add('b').add('c')
  await vi.advanceTimersByTimeAsync(10)
  expect(await Promise.all(waits)).toEqual(['a', 'b', 'a', 'c'].map((id) => `${id} at rest`))
  expect(asked).toEqual([['a', 'b', 'c']])
  expect(hub.waiting).toBe(0)
})

test('who has rested goes, and the others stay', async () => {
  const { hub, rests } = hubOf()
  const [a, b] = [hub.wait('a', 10_000), hub.wait('b', 10_000)]
  rests.add('a')
  expect(await a).toBe('a at rest')
  expect(hub.waiting).toBe(1)
  rests.add('b')
  expect(await b).toBe('b at rest')
})

test('whoever waits for what is told of is asked about at once, with all that are told of in that turn; the others later', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { hub, rests, asked } = hubOf({ isTold: true })
  const waits = ['a', 'a', 'b', 'c'].map((id) => hub.wait(id, 10_000))
  rests.add('a').add('c')
  for (const id of ['a', 'nobody waits for this', 'c']) hub.hint([id])
  await vi.advanceTimersByTimeAsync(1)
  expect(await Promise.all([waits[0], waits[1], waits[3]])).toEqual(['a at rest', 'a at rest', 'c at rest'])
  expect(asked).toEqual([['a', 'c']])
  expect(hub.waiting).toBe(1)
  await vi.advanceTimersByTimeAsync(40)
  expect(asked).toHaveLength(1)
  rests.add('b')
  await vi.advanceTimersByTimeAsync(30)
  expect(await waits[2]).toBe('b at rest')
  hub.hint(['b'])
  expect(hub.waiting).toBe(0)
})

test('time up, a caller gone and a closed hub are answered with nothing, and forgotten', async () => {
  const { hub } = hubOf()
  expect(await hub.wait('a', 5)).toBe(undefined)
  expect(await hub.wait('a', 0)).toBe(undefined)
  const caller = new AbortController()
  const waiting = hub.wait('a', 10_000, caller.signal)
  caller.abort()
  expect(await waiting).toBe(undefined)
  expect(await hub.wait('a', 10_000, caller.signal)).toBe(undefined)
  const last = hub.wait('a', 10_000)
  expect(hub.waiting).toBe(1)
  hub.close()
  expect(await last).toBe(undefined)
  expect(await hub.wait('a', 10_000)).toBe(undefined)
  expect(hub.waiting).toBe(0)
})

test('of very many, a thousand are asked about at a time, and everybody has a turn', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { hub, asked } = hubOf({ maxWaiters: 10_000, takesMs: 30 })
  const ids = Array.from({ length: 4_500 }, (_, n) => `s${n}`)
  const waits = ids.map((id) => hub.wait(id, 600_000))
  await vi.advanceTimersByTimeAsync(5_000)
  expect(Math.max(...asked.map(({ length }) => length))).toBe(1_000)
  const times = new Map(ids.map((id) => [id, 0]))
  for (const id of asked.flat()) times.set(id, (times.get(id) ?? 0) + 1)
  expect(Math.min(...times.values())).toBeGreaterThan(10)
  hub.close()
  await Promise.all(waits)
})

test('there is room for so many and no more', async () => {
  const { hub } = hubOf({ maxWaiters: 2 })
  const caller = new AbortController()
  const waits = [hub.wait('a', 10_000, caller.signal), hub.wait('a', 10_000, caller.signal)]
  await expect(hub.wait('b', 10_000)).rejects.toBeInstanceOf(Problem)
  caller.abort()
  await Promise.all(waits)
  expect(await hub.wait('b', 1)).toBe(undefined)
})

test('a database that is away is asked less often, and found again', async () => {
  const { hub, rests, asked, fail } = hubOf()
  fail(true)
  const waiting = hub.wait('a', 10_000)
  await vi.waitFor(() => expect(asked.length).toBe(2), { timeout: 60_000 })
  rests.add('a')
  fail(false)
  expect(await waiting).toBe('a at rest')
  expect(asked.length).toBeLessThan(5)
})

test('the older a wait, the less often it asks; and nobody asks when nobody waits', async () => {
  vi.useFakeTimers()
  try {
    const { hub, rests, asked } = hubOf()
    const waiting = hub.wait('a', 60_000)
    await vi.advanceTimersByTimeAsync(20)
    const young = asked.length
    expect(young).toBeGreaterThanOrEqual(5)
    await vi.advanceTimersByTimeAsync(980)
    const inOneSecond = asked.length
    expect(inOneSecond).toBeLessThan(60)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(asked.length - inOneSecond).toBeLessThanOrEqual(110)
    rests.add('a')
    await vi.advanceTimersByTimeAsync(150)
    expect(await waiting).toBe('a at rest')
    const before = asked.length
    await vi.advanceTimersByTimeAsync(60_000)
    expect(asked.length).toBe(before)
  } finally {
    vi.useRealTimers()
  }
})

test('a slow database is never asked twice at once, and has as long to rest as it was busy (F38)', async () => {
  vi.useFakeTimers()
  try {
    const { hub, asked } = hubOf({ takesMs: 50 })
    const waits = Array.from({ length: 50 }, (_, n) => hub.wait(`s${n}`, 2_000))
    await vi.advanceTimersByTimeAsync(1_000)
    expect(asked.length).toBeLessThanOrEqual(11)
    await vi.advanceTimersByTimeAsync(1_500)
    expect(await Promise.all(waits)).toEqual(waits.map(() => undefined))
  } finally {
    vi.useRealTimers()
  }
})

describe('a hint of another process', () => {
  function hinted(options: Parameters<typeof hubOf>[0] = {}) {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const expected: string[] = []
    const expects = (sagaId: string) => expected.push(sagaId) > 0
    return { expected, ...hubOf({ expect: expects, ...options }) }
  }

  test('brings the question forward; where hints arrive nobody asks before a while has passed', async () => {
    const { hub, rests, asked, expected } = hinted()
    hub.hint(['anybody'])
    const waits = ['a', 'a', 'b'].map((id) => hub.wait(id, 10_000))
    expect(expected).toEqual(['a', 'a', 'b'])
    await vi.advanceTimersByTimeAsync(40)
    expect(asked).toEqual([])
    rests.add('a').add('b')
    hub.hint(['a', 'nobody waits for this'])
    await vi.advanceTimersByTimeAsync(1)
    expect(await Promise.all(waits.slice(0, 2))).toEqual(['a at rest', 'a at rest'])
    expect(asked).toEqual([['a']])
    await vi.advanceTimersByTimeAsync(30)
    expect(await waits[2]).toBe('b at rest')
  })

  test('that is false answers nobody: what is waited for goes on being asked about', async () => {
    const { hub, rests, asked } = hinted()
    const waiting = hub.wait('a', 10_000)
    hub.hint(['a'])
    await vi.advanceTimersByTimeAsync(40)
    expect(hub.waiting).toBe(1)
    expect(asked).toEqual([['a']])
    rests.add('a')
    await vi.advanceTimersByTimeAsync(40)
    expect(await waiting).toBe('a at rest')
  })

  test('again and again does not make a slow database be asked more than half of the time (F38)', async () => {
    const { hub, asked } = hinted({ takesMs: 50 })
    const waiting = hub.wait('a', 2_000)
    for (let n = 0; n < 1_000; n++) {
      hub.hint(['a'])
      await vi.advanceTimersByTimeAsync(1)
    }
    expect(asked.length).toBeLessThanOrEqual(11)
    hub.close()
    expect(await waiting).toBe(undefined)
  })

  test('that comes while a question is under way, which may have been too early, is followed by another', async () => {
    const { hub, rests, asked } = hinted({ takesMs: 5 })
    hub.hint(['anybody'])
    const waiting = hub.wait('a', 60_000)
    hub.hint(['a'])
    await vi.advanceTimersByTimeAsync(2)
    hub.hint(['a'])
    await vi.advanceTimersByTimeAsync(4)
    rests.add('a')
    await vi.advanceTimersByTimeAsync(15)
    expect(asked).toHaveLength(2)
    expect(await waiting).toBe('a at rest')
  })

  test('that does not come is not waited for again, until another does', async () => {
    const { hub, rests, asked } = hinted()
    hub.hint(['anybody'])
    const waiting = hub.wait('a', 10_000)
    await vi.advanceTimersByTimeAsync(30)
    rests.add('a')
    await vi.advanceTimersByTimeAsync(30)
    expect(await waiting).toBe('a at rest')
    expect(asked).toHaveLength(1)
    const impatient = hub.wait('b', 10_000)
    await vi.advanceTimersByTimeAsync(20)
    expect(asked.length).toBeGreaterThan(4)
    rests.add('b')
    await vi.advanceTimersByTimeAsync(20)
    expect(await impatient).toBe('b at rest')
    asked.length = 0
    hub.hint(['b'])
    const patient = hub.wait('c', 10_000)
    await vi.advanceTimersByTimeAsync(40)
    expect(asked).toEqual([])
    hub.close()
    expect(await patient).toBe(undefined)
  })

  test('is not waited for by who asks about an old saga, nor where others cannot be told', async () => {
    const { hub, rests, asked } = hinted({ expect: (sagaId) => sagaId !== 'untold' })
    rests.add('old').add('untold')
    hub.hint(['anybody'])
    const waits = [hub.wait('old', 10_000, undefined, { isOld: true }), hub.wait('untold', 10_000)]
    await vi.advanceTimersByTimeAsync(5)
    expect(await Promise.all(waits)).toEqual(['old at rest', 'untold at rest'])
    expect(asked.length).toBeLessThanOrEqual(2)
  })

  test('is asked for only after a while where a worker of this process tells of most', async () => {
    const { hub, rests, expected } = hinted({ isTold: true })
    const waits = ['a', 'b'].map((id) => hub.wait(id, 10_000))
    rests.add('a')
    hub.hint(['a'])
    await vi.advanceTimersByTimeAsync(40)
    expect(expected).toEqual([])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(expected).toEqual(['b'])
    hub.close()
    await Promise.all(waits)
  })
})

describe('whatever is hinted, and whenever the database answers or fails', () => {
  const ids = ['a', 'b', 'c']
  const story = fc.array(
    fc.oneof(
      fc.record({
        is: fc.constant('wait' as const),
        id: fc.constantFrom(...ids),
        isOld: fc.boolean(),
        forMs: fc.constantFrom(30, 400, 60_000),
      }),
      fc.record({ is: fc.constant('rest' as const), id: fc.constantFrom(...ids) }),
      fc.record({ is: fc.constant('hint' as const), id: fc.constantFrom(...ids) }),
      fc.record({ is: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 150 }) }),
      fc.record({ is: fc.constant('answer' as const), takesMs: fc.nat(60), fails: fc.boolean() }),
    ),
    { maxLength: 40, size: 'max' },
  )
  /** As late as an old wait may be told, with a question before it that took its time and one that fails. */
  const LATE_MS = 100 + 20 + 6 * 60 + 250

  test('nobody is told of a rest that is none, all are told of one that is, and the database is asked one thing at a time', async () => {
    vi.useFakeTimers({
      toFake: ['performance', 'setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'],
    })
    onTestFinished(() => void vi.useRealTimers())
    await fc.assert(
      fc.asyncProperty(story, fc.boolean(), fc.boolean(), async (steps, isTold, isHeard) => {
        const rests = new Map<string, number>()
        const waits: { id: string; until: number; became?: { found: string | undefined; at: number } }[] = []
        let database = { takesMs: 1, fails: false }
        let questions = 0
        const hub = createWaitHub<string>({
          maxWaiters: 100,
          onRefused: () => undefined,
          isTold,
          expect: () => isHeard,
          async resting(asked) {
            expect(++questions).toBe(1)
            const { takesMs, fails } = database
            const found = new Map(asked.filter((id) => rests.has(id)).map((id) => [id, id]))
            await new Promise((resolve) => setTimeout(resolve, takesMs))
            questions--
            if (fails) throw new Error('the database is away')
            return found
          },
        })
        for (const step of steps) {
          if (step.is === 'answer') database = step
          else if (step.is === 'hint') hub.hint([step.id])
          else if (step.is === 'pass') await vi.advanceTimersByTimeAsync(step.ms)
          else if (step.is === 'rest') rests.set(step.id, rests.get(step.id) ?? performance.now())
          else {
            const { id, forMs, isOld } = step
            const wait: (typeof waits)[number] = { id, until: performance.now() + forMs }
            waits.push(wait)
            void hub.wait(id, forMs, undefined, { isOld }).then((found) => {
              wait.became = { found, at: performance.now() }
            })
          }
        }
        database = { takesMs: 1, fails: false }
        const calmAt = performance.now()
        await vi.advanceTimersByTimeAsync(LATE_MS)
        for (const { id, until, became } of waits) {
          const restedAt = rests.get(id)
          if (became?.found !== undefined) expect(restedAt).toBeLessThanOrEqual(became.at)
          else if (became !== undefined) expect(became.at).toBeGreaterThanOrEqual(until)
          else expect({ id, restedAt, until }).toEqual({ id, restedAt: undefined, until: expect.any(Number) })
          if (became === undefined) expect(until).toBeGreaterThan(calmAt)
        }
        hub.close()
        await vi.advanceTimersByTimeAsync(LATE_MS)
        expect(waits.every(({ became }) => became !== undefined)).toBe(true)
        expect([hub.waiting, vi.getTimerCount()]).toEqual([0, 0])
      }),
      { numRuns: 200 },
    )
  })
})
