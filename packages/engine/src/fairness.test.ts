import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createStage, type Stage, sagaOf } from './testing.ts'

/** Which sagas of one queue a worker with four slots begins, and in what order, where more are due than it can take (S20, F07). */

const CONCURRENCY = 4
const MANY = 2_000

let begun: string[]
/** The ends of what is under way, by definition. */
let ends: Map<string, (() => void)[]>
beforeEach(() => {
  begun = []
  ends = new Map()
})
afterEach(() => {
  for (const name of ends.keys()) while (endOne(name));
})

function endOne(name: string): boolean {
  const end = ends.get(name)?.shift()
  end?.()
  return end !== undefined
}

/** Its sagas take until the test ends them. */
function slow(name: string) {
  const action = () =>
    new Promise<void>((resolve) => {
      begun.push(name)
      ends.set(name, [...(ends.get(name) ?? []), resolve])
    })
  return sagaOf(name, { one: { action } }, { queue: 'shared' })
}

const many = slow('a-many')
const more = slow('more')
const few = sagaOf('few', { one: { action: () => void begun.push('few') } }, { queue: 'shared' })

async function startMany(stage: Stage, { document }: typeof many, count: number): Promise<void> {
  const definition = await stage.register(document)
  const request = { definition, input: null, inputBytes: 4, requestHash: 'test' }
  await Promise.all(Array.from({ length: count }, () => stage.store.starts.start(request)))
  stage.store.wakeups.due(definition.queue)
}

const work = (stage: Stage) =>
  stage.worker({ sagas: [many.saga, more.saga, few.saga], queues: [], concurrency: CONCURRENCY })

const begins = (name: string, count: number) =>
  vi.waitFor(() => expect(begun.filter((one) => one === name)).toHaveLength(count), { timeout: 60_000 })

test('slots that become free go to the definition that has none, however many of another are due', async () => {
  const stage = await createStage()
  await startMany(stage, many, MANY)
  const worker = await work(stage)
  await begins('a-many', CONCURRENCY)
  await startMany(stage, few, 10)
  expect(begun).not.toContain('few')

  endOne('a-many')

  await begins('few', 10)
  await begins('a-many', CONCURRENCY + 1)
  // One has ended, and no other was begun before the ten.
  expect(begun.slice(CONCURRENCY, -1)).toEqual(Array.from({ length: 10 }, () => 'few'))
  expect(worker.holds).toBe(CONCURRENCY)
})

test('and where all have some, to the one that has least', async () => {
  const stage = await createStage()
  await startMany(stage, many, MANY)
  await work(stage)
  await begins('a-many', CONCURRENCY)
  await startMany(stage, more, MANY)
  for (const n of [1, 2]) {
    endOne('a-many')
    await begins('more', n)
  }
  endOne('a-many')
  await begins('a-many', CONCURRENCY + 1)
  expect(begun.slice(CONCURRENCY)).toEqual(['more', 'more', 'a-many'])
})

test('a worker that comes to thousands of one, which do not end, and to ten of another, begins the ten as well', async () => {
  const stage = await createStage()
  await startMany(stage, many, MANY)
  await startMany(stage, few, 10)
  const worker = await work(stage)

  await begins('few', 10)
  await begins('a-many', CONCURRENCY)
  expect(worker.holds).toBe(CONCURRENCY)
})
