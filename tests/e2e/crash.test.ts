import { fold } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import type { LedgerLine } from './ledger-sagas.ts'
import { openTheatre, type Theatre } from './processes.ts'

/** Worker processes that die, freeze and come back: nothing acknowledged is lost, nothing is undone twice. */

describe('a worker killed without a word', () => {
  test('is succeeded at once: the attempt runs again under its number and key, and the history says so (S2, S17, S17b, F01)', async () => {
    const theatre = await openTheatre()
    const [one, other] = [await theatre.worker(), await theatre.worker()]
    const sagaId = await theatre.start({ takesMs: 5_000, slowAt: 'two' })
    await until(() => calls(theatre, sagaId).some(({ step }) => step === 'two'))
    const call = calls(theatre, sagaId).at(-1)
    const [first, second] = call?.pid === one.child.pid ? [one, other] : [other, one]

    const killedAt = performance.now()
    first.child.kill('SIGKILL')
    await theatre.eventually(sagaId, ({ next }) => next.worker === second.workerId)
    const takeoverMs = performance.now() - killedAt

    const ended = await theatre.ended(sagaId)
    expect(ended).toMatchObject({
      status: 'completed',
      completedSteps: ['one', 'two', 'three'],
      uncertainSteps: [],
    })
    const [before, after, ...more] = calls(theatre, sagaId).filter(({ step }) => step === 'two')
    expect(more).toEqual([])
    expect(after).toMatchObject({ attempt: 1, key: before?.key, pid: second.child.pid })
    const history = await theatre.store.history.read(sagaId, { limit: 100 })
    expect(history).toContainEqual(
      expect.objectContaining({ kind: 'leaseLost', steps: ['two'], leasesLost: 1 }),
    )
    // The lease is 30 s: only the end of the dead worker's connection can have told.
    expect(takeoverMs).toBeLessThan(15_000)
  })

  test('again and again, at random moments: every saga ends once, in order, and is undone in reverse (S1, S8, S10, S16)', async () => {
    const theatre = await openTheatre()
    let workers = await Promise.all([theatre.worker(), theatre.worker()])
    const inputs = Array.from({ length: 60 }, (_, index) => ({
      takesMs: (index * 37) % 120,
      ...(index % 2 === 0 && { rejectedAt: 'three' }),
    }))
    const ids = await Promise.all(inputs.map((input) => theatre.start(input)))

    for (let round = 0; round < 5; round++) {
      const [victim, ...others] = workers
      victim?.child.kill('SIGKILL')
      workers = [...others, await theatre.worker()]
    }

    const sagas = await Promise.all(ids.map((id) => theatre.ended(id, 120_000)))
    sagas.forEach((saga, index) => {
      if (inputs[index]?.rejectedAt === undefined) {
        expect(saga).toMatchObject({
          status: 'completed',
          completedSteps: ['one', 'two', 'three'],
          compensatedSteps: [],
        })
      } else {
        expect(saga).toMatchObject({
          status: 'failed',
          completedSteps: ['one', 'two'],
          compensatedSteps: ['two', 'one'],
        })
      }
    })
    for (const saga of sagas) {
      const history = await theatre.store.history.read(saga.sagaId, { limit: 1_000 })
      expect(history.map(({ seq }) => seq)).toEqual(history.map((_, index) => index + 1))
      expect(history.every(({ epoch }, index) => epoch >= (history[index - 1]?.epoch ?? 0))).toBe(true)
      expect(fold(history).status).toBe(saga.status)
      expectOrderly(theatre.ledger().filter(({ sagaId }) => sagaId === saga.sagaId))
    }
  })
})

test('a worker frozen for longer than its lease writes nothing when it wakes, and goes on under another id (S16, S17, F04, F91)', async () => {
  const theatre = await openTheatre()
  const frozen = await theatre.worker({ LEASE_MS: '1500' })
  const sagaId = await theatre.start({ takesMs: 1_500, slowAt: 'one' })
  await until(() => calls(theatre, sagaId).length > 0)
  frozen.child.kill('SIGSTOP')
  const other = await theatre.worker()

  await theatre.eventually(
    sagaId,
    ({ next, endedAt }) => next.worker === other.workerId || endedAt !== undefined,
  )
  const ended = await theatre.ended(sagaId)
  frozen.child.kill('SIGCONT')
  const again = await untilSome(async () =>
    (await theatre.store.queries.workers()).find(
      ({ pid, workerId }) => pid === frozen.child.pid && workerId !== frozen.workerId,
    ),
  )

  expect(again.workerId).not.toBe(frozen.workerId)
  expect(await theatre.saga(sagaId)).toEqual(ended)
  const history = await theatre.store.history.read(sagaId, { limit: 100 })
  expect(history.filter(({ kind }) => kind === 'attemptSucceeded').map(({ worker }) => worker)).toEqual([
    other.workerId,
    other.workerId,
    other.workerId,
  ])
  // It works on: the next saga may be run by either.
  expect((await theatre.ended(await theatre.start())).status).toBe('completed')
})

test('a saga that kills its workers is stuck after five of them, and the sagas beside it complete (S19, F14)', async () => {
  const theatre = await openTheatre()
  const poison = await theatre.start({ abortsAt: 'two' })
  const others = await Promise.all(Array.from({ length: 20 }, () => theatre.start({ takesMs: 20 })))
  let deaths = 0
  let over = false
  const keepRunning = async () => {
    while (!over) {
      const { exited, child } = await theatre.worker()
      if (over) child.kill('SIGKILL')
      await exited
      if (!over) deaths++
    }
  }
  const supervisors = [keepRunning(), keepRunning()].map((one) => one.catch((error: unknown) => error))

  const stuck = await theatre.eventually(poison, ({ status }) => status === 'stuck', 60_000)
  const ended = await Promise.all(others.map((id) => theatre.ended(id)))
  over = true
  for (const { pid } of await theatre.store.queries.workers()) killQuietly(pid)
  await Promise.all(supervisors)

  expect(stuck.stuck).toMatchObject({ reason: 'crashLoop', step: 'two', direction: 'action' })
  expect(ended.every(({ status }) => status === 'completed')).toBe(true)
  expect(deaths).toBe(5)
})

test('a handler that leaves rejections unhandled, more than one, ends its worker in good order: what runs may end (F92)', async () => {
  const theatre = await openTheatre()
  const { exited } = await theatre.worker()
  const sagaId = await theatre.start({ carelessAt: 'one', takesMs: 500 })

  expect(await exited).toBe(1)

  expect(await theatre.saga(sagaId)).toMatchObject({ completedSteps: ['one'], uncertainSteps: [] })
  const history = await theatre.store.history.read(sagaId, { limit: 100 })
  expect(history.map(({ kind }) => kind)).toEqual(['sagaStarted', 'attemptSucceeded'])
})

describe('SIGTERM', () => {
  test('lets what runs end, exits 0, and the rest is picked up by another at once (S21, F90)', async () => {
    const theatre = await openTheatre()
    const [one, other] = [await theatre.worker(), await theatre.worker()]
    const sagaId = await theatre.start({ takesMs: 1_500 })
    await until(() => calls(theatre, sagaId).length === 1)
    const [first, second] = calls(theatre, sagaId)[0]?.pid === one.child.pid ? [one, other] : [other, one]

    first.child.kill('SIGTERM')
    expect(await first.exited).toBe(0)
    // Within less than the lease of 30 s.
    const ended = await theatre.ended(sagaId)
    expect(ended.status).toBe('completed')
    const pids = calls(theatre, sagaId).map(({ pid }) => pid)
    expect([pids[0], pids.at(-1)]).toEqual([first.child.pid, second.child.pid])
    expect(calls(theatre, sagaId).map(({ step, attempt }) => [step, attempt])).toEqual([
      ['one', 1],
      ['two', 1],
      ['three', 1],
    ])
  })

  test('twice ends the process at once, and loses nothing (S21, F90)', async () => {
    const theatre = await openTheatre()
    const first = await theatre.worker()
    const sagaId = await theatre.start({ takesMs: 3_000, slowAt: 'one' })
    await until(() => calls(theatre, sagaId).length === 1)

    let isGone = false
    void first.exited.then(() => {
      isGone = true
    })
    // Two that come while a process gets no turn are one to it.
    while (!isGone) {
      first.child.kill('SIGTERM')
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(await first.exited).toBe(1)

    await theatre.worker()
    expect((await theatre.ended(sagaId)).status).toBe('completed')
  })
})

function calls(theatre: Theatre, sagaId: string): LedgerLine[] {
  return theatre.ledger().filter((line) => line.sagaId === sagaId && line.phase === 'called')
}

/** What any participant may rely on: one key per step and direction, forward in order, no forward call after an undo, undone in reverse. */
function expectOrderly(lines: LedgerLine[]): void {
  const called = lines.filter(({ phase }) => phase === 'called')
  const keys = new Map<string, Set<string>>()
  for (const { step, direction, key } of called) {
    const place = `${step} ${direction}`
    keys.set(place, (keys.get(place) ?? new Set()).add(key))
  }
  for (const some of keys.values()) expect(some.size).toBe(1)
  const order = called.map(({ step, direction }) => `${step} ${direction}`)
  const distinct = order.filter((place, index) => order.indexOf(place) === index)
  const forward = ['one action', 'two action', 'three action']
  const full = [...forward, 'two compensation', 'one compensation']
  expect(full.slice(0, distinct.length)).toEqual(distinct)
  const firstUndo = order.findIndex((place) => place.endsWith('compensation'))
  if (firstUndo >= 0)
    expect(order.slice(firstUndo).every((place) => place.endsWith('compensation'))).toBe(true)
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 60_000
  while (!holds()) {
    if (performance.now() > end) throw new Error('it did not come to pass')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

async function untilSome<T>(look: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + 60_000
  for (;;) {
    const seen = await look()
    if (seen !== undefined) return seen
    if (performance.now() > end) throw new Error('it did not come to pass')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone already.
  }
}
