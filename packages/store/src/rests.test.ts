import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { newSagaId } from './ids.ts'
import { createMemory, createRestsHeard, createRestsTold } from './rests.ts'
import { openApiStore } from './store.ts'
import { createStage, eventually, type Stage } from './testing.ts'

const idOf = () => newSagaId(0)

/** A process in which sagas are waited for, and what it hears of them. */
async function listenerOn(url: string) {
  const store = await openApiStore({ databaseUrl: url })
  onTestFinished(() => store.close())
  const heard: string[] = []
  const hear = (sagaIds: readonly string[]) => void heard.push(...sagaIds)
  return { store, heard, expects: (sagaId: string) => store.rests.expect(sagaId, hear) }
}

type Listener = Awaited<ReturnType<typeof listenerOn>>

/** Whoever is first to wait is not heard yet: the connection is made for it. */
async function hearing(url: string): Promise<Listener> {
  const listener = await listenerOn(url)
  await eventually('it hears', () => (listener.expects(idOf()) ? true : undefined))
  return listener
}

function earsOf(stage: Stage): Promise<{ pid: number }[]> {
  return stage.sql<{ pid: number }>(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'backstitch/api/rests'`,
  )
}

async function connectionsOf(stage: Stage): Promise<number> {
  const rows = await stage.sql(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'backstitch%'`,
  )
  return rows.length
}

describe('of a saga that somebody waits for', () => {
  test('the worker that brought it to rest tells, and of no other', async () => {
    const stage = await createStage({ own: true })
    const worker = await stage.worker()
    const { heard, expects } = await hearing(stage.url)
    const [awaited, other] = [idOf(), idOf()]
    expects(awaited)
    await eventually('the worker has heard that, and tells', () => {
      worker.rests.tell(other)
      worker.rests.tell(awaited)
      return heard[0]
    })
    expect(new Set(heard)).toEqual(new Set([awaited]))
  })

  test('it is told also if it had rested before the worker heard that somebody waits', async () => {
    const stage = await createStage({ own: true })
    const worker = await stage.worker()
    const { heard, expects } = await hearing(stage.url)
    const [first, quick] = [idOf(), idOf()]
    expects(first)
    await eventually('the worker knows that sagas are waited for', () => {
      worker.rests.tell(first)
      return heard[0]
    })
    worker.rests.tell(quick)
    expects(quick)
    await eventually('it is told', () => (heard.includes(quick) ? true : undefined))
  })

  test('it is told among thousands that nobody waits for, which are not (F34)', async () => {
    const stage = await createStage({ own: true })
    const worker = await stage.worker()
    const { heard, expects } = await hearing(stage.url)
    const awaited = idOf()
    expects(awaited)
    await eventually('the worker has heard that, and tells', () => {
      for (let n = 0; n < 500; n++) worker.rests.tell(idOf())
      worker.rests.tell(awaited)
      return heard[0]
    })
    expect(new Set(heard)).toEqual(new Set([awaited]))
  })

  test('of more sagas than one message can carry everybody is told', async () => {
    const stage = await createStage({ own: true })
    const worker = await stage.worker()
    const { heard, expects } = await hearing(stage.url)
    const awaited = Array.from({ length: 450 }, idOf)
    for (const sagaId of awaited) expects(sagaId)
    await eventually('all are told', () => {
      for (const sagaId of awaited) worker.rests.tell(sagaId)
      return new Set(heard).size === 450 ? true : undefined
    })
    expect(new Set(heard)).toEqual(new Set(awaited))
  })
})

describe('a hint that is false or damaged', () => {
  test('is left out, and what comes after it is heard', async () => {
    const stage = await createStage({ own: true })
    const worker = await stage.worker()
    const { heard, expects } = await hearing(stage.url)
    const awaited = idOf()
    const nonsense = [
      '',
      ',,',
      "'; DROP TABLE sagas",
      'x'.repeat(7_900),
      `${awaited}x`,
      awaited.toUpperCase(),
    ]
    for (const channel of ['backstitch_awaited', 'backstitch_rested', 'backstitch_due'])
      for (const payload of nonsense) await stage.sql('SELECT pg_notify($1, $2)', [channel, payload])
    await stage.sql('SELECT pg_notify($1, $2)', ['backstitch_rested', `nonsense,${awaited},`])
    expect(await eventually('the id among it is heard', () => heard[0])).toBe(awaited)
    for (const payload of nonsense) worker.rests.tell(payload)
    heard.length = 0
    expects(awaited)
    await eventually('the worker still hears, and tells', () => {
      worker.rests.tell(awaited)
      return heard[0]
    })
    expect(new Set(heard)).toEqual(new Set([awaited]))
  })
})

describe('the connection by which it is heard', () => {
  test('is made when somebody first waits, one for all, and ends with the store', async () => {
    const stage = await createStage({ own: true })
    const before = await connectionsOf(stage)
    const store = await openApiStore({ databaseUrl: stage.url })
    expect(await earsOf(stage)).toEqual([])
    await eventually('it hears', () => (store.rests.expect(idOf(), () => undefined) ? true : undefined))
    for (let n = 0; n < 50; n++) store.rests.expect(idOf(), () => undefined)
    expect(await earsOf(stage)).toHaveLength(1)
    await store.close()
    await eventually('nothing is left', async () =>
      (await connectionsOf(stage)) === before ? true : undefined,
    )
  })

  test('is made again after it was lost, and until then nobody is told to tell (F33)', async () => {
    const stage = await createStage({ own: true })
    const worker = await stage.worker()
    const { heard, expects } = await hearing(stage.url)
    for (const { pid } of await earsOf(stage)) await stage.sql('SELECT pg_terminate_backend($1)', [pid])
    await eventually('it knows that it does not hear', () => (expects(idOf()) ? undefined : true))
    await eventually('it hears again', () => (expects(idOf()) ? true : undefined))
    const awaited = idOf()
    expects(awaited)
    await eventually('it is told', () => {
      worker.rests.tell(awaited)
      return heard.includes(awaited) ? true : undefined
    })
    expect(await earsOf(stage)).toHaveLength(1)
  })

  test('that says nothing any more is found out, and replaced', async () => {
    const stage = await createStage({ own: true })
    const network = await stage.network()
    const options = {
      databaseUrl: network.url,
      applicationName: 'backstitch/test',
      silenceMs: 100,
      lookMs: 20,
    }
    const heard = createRestsHeard(options, { awaited: () => undefined })
    onTestFinished(() => heard.close())
    const expects = () => heard.expect(idOf(), () => undefined)
    await eventually('it hears', () => (expects() ? true : undefined))
    network.goBlack()
    await eventually('it knows that it does not hear', () => (expects() ? undefined : true))
    network.heal()
    await eventually('it hears again', () => (expects() ? true : undefined))
  })

  test('is missed by nobody while the database is away', async () => {
    const stage = await createStage({ own: true })
    const network = await stage.network()
    const { store, expects } = await listenerOn(network.url)
    network.goBlack()
    expect(expects(idOf())).toBe(false)
    network.cut()
    expect(expects(idOf())).toBe(false)
    await store.close()
    expect(expects(idOf())).toBe(false)
  })

  test('does not exist behind a transaction-mode pooler, where no session listens', async () => {
    const stage = await createStage({ own: true })
    const network = await stage.network({ pooled: true })
    const { expects } = await listenerOn(network.url)
    const { accepted, connections } = network
    expect(expects(idOf())).toBe(false)
    await eventually('it has been tried', () => (network.accepted > accepted ? true : undefined))
    await eventually('and left', () => (network.connections === connections ? true : undefined))
    const tried = network.accepted
    for (let n = 0; n < 20; n++) {
      expect(expects(idOf())).toBe(false)
      await new Promise(setImmediate)
    }
    expect(network.accepted).toBe(tried)
    expect(await earsOf(stage)).toEqual([])
  })
})

describe('what a worker remembers', () => {
  afterEach(() => void vi.useRealTimers())

  test('is bounded, and forgotten after a while', () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const memory = createMemory({ most: 100, forMs: 1_000 })
    memory.add('first')
    for (let n = 0; n < 99; n++) memory.add(`a${n}`)
    expect(memory.has('first')).toBe(true)
    for (let n = 0; n < 101; n++) memory.add(`b${n}`)
    expect(memory.has('first')).toBe(false)
    vi.advanceTimersByTime(999)
    memory.add('later')
    expect(memory.has('b100')).toBe(true)
    vi.advanceTimersByTime(1_001)
    memory.add('still later')
    expect(memory.has('later')).toBe(true)
    vi.advanceTimersByTime(2_001)
    memory.add('last')
    expect(memory.has('later')).toBe(false)
    expect(memory.has('last')).toBe(true)
  })

  test('is nothing as long as nobody waits', () => {
    const told: string[] = []
    const { hear, tell } = createRestsTold({ rested: (sagaId) => void told.push(sagaId) })
    const [early, awaited] = [idOf(), idOf()]
    tell(early)
    hear([early, awaited])
    expect(told).toEqual([])
    tell(awaited)
    expect(told).toEqual([awaited])
  })

  test('is ids of sagas and nothing else', () => {
    const told: string[] = []
    const { hear, tell } = createRestsTold({ rested: (sagaId) => void told.push(sagaId) })
    hear(['', 'order', `${idOf()}x`])
    for (const word of ['', 'order']) tell(word)
    expect(told).toEqual([])
  })
})
