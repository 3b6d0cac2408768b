import { expect, test } from 'vitest'
import { createGate, createStage, sagaOf } from './testing.ts'

test('a saga that is started beside its worker runs under the lease of its start, and is never claimed', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('beside', {
    one: { action: ({ input }) => input },
    two: { action: ({ context }) => ({ ...context }) },
  })
  const worker = await stage.worker({ sagas: [saga] })

  const sagaIds = await Promise.all([1, 2, 3].map((n) => stage.start(document, n, { beside: worker })))

  for (const [index, sagaId] of sagaIds.entries()) {
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'completed', context: { input: index + 1, one: index + 1 } })
    const history = await stage.history(sagaId)
    expect(history.map(({ kind, epoch }) => [kind, epoch])).toEqual([
      ['sagaStarted', 0],
      ['attemptSucceeded', 1],
      ['attemptSucceeded', 1],
    ])
  }
  expect(await stage.query('SELECT DISTINCT epoch::int FROM sagas')).toEqual([{ epoch: 1 }])
})

test('a worker without room gives no slot, holds no more than its concurrency, and then takes what waits in the database before what comes', async () => {
  const stage = await createStage()
  const gate = createGate()
  const order: unknown[] = []
  const { saga, document } = sagaOf('full', {
    one: {
      action: async ({ input }) => {
        order.push(input)
        await gate.wait()
      },
    },
  })
  const worker = await stage.worker({ sagas: [saga], concurrency: 2 })
  const first = await Promise.all([1, 2].map((n) => stage.start(document, n, { beside: worker })))
  await gate.reached
  expect(worker.slot('full')).toBeUndefined()
  const later = []
  for (const n of [3, 4, 5]) later.push(await stage.start(document, n, { beside: worker }))
  expect(worker.holds).toBe(2)
  expect(await stage.query('SELECT count(*)::int AS waiting FROM sagas WHERE due_at IS NOT NULL')).toEqual([
    { waiting: 3 },
  ])

  gate.open()

  for (const sagaId of [...first, ...later]) expect((await stage.ended(sagaId)).status).toBe('completed')
  expect(new Set(order.slice(0, 2))).toEqual(new Set([1, 2]))
  expect(order.slice(2)).toEqual([3, 4, 5])
  await expect
    .poll(() => {
      const slot = worker.slot('full')
      slot?.leave()
      return slot !== undefined
    })
    .toBe(true)
})

test('a saga that is being started in a slot is not taken for a lost one; if its answer is lost, it is', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('lost', { one: { action: () => 1 } })
  const worker = await stage.worker({ sagas: [saga], leaseMs: 3_000 })
  const definition = await stage.register(document)
  const slot = worker.slot('lost')
  if (slot === undefined) throw new Error('an idle worker has room')
  // Whatever came of the start stays unknown for a while.
  const answer = { fill: () => undefined, leave: () => undefined }
  const request = { definition, input: null, inputBytes: 4, requestHash: 'test' }
  const { sagaId } = await stage.store.starts.start(request, { ...slot, ...answer })
  const beats = () => stage.query('SELECT heartbeat_at::text AS at FROM workers')
  for (let n = 0; n < 4; n++) {
    const before = await beats()
    await expect.poll(beats, { timeout: 60_000 }).not.toEqual(before)
  }
  expect(await stage.query('SELECT epoch::int FROM sagas')).toEqual([{ epoch: 1 }])

  slot.leave()

  expect((await stage.ended(sagaId)).status).toBe('completed')
  expect(await stage.query('SELECT epoch::int FROM sagas')).toEqual([{ epoch: 2 }])
})

test('a worker gives no slot for a queue that it does not serve, nor before it has started, nor once it stops', async () => {
  const stage = await createStage()
  const { saga } = sagaOf('served', { one: { action: () => 1 } })
  const worker = await stage.worker({ sagas: [saga], queues: [] })
  const slot = worker.slot('served')
  expect(slot).toMatchObject({ workerId: worker.workerId })
  expect(worker.slot('other')).toBeUndefined()

  const stopping = worker.stop()
  expect(worker.slot('served')).toBeUndefined()
  slot?.leave()
  await stopping
})

test('a worker that stops waits for the starts it has kept slots for, and leaves nothing leased behind (F03)', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('stopping', { one: { action: () => 1 } })
  const worker = await stage.worker({ sagas: [saga] })
  const definition = await stage.register(document)
  const slots = Array.from({ length: 5 }, () => worker.slot('stopping'))

  const stopping = worker.stop()
  const request = { definition, input: null, inputBytes: 4, requestHash: 'test' }
  const started = await Promise.all(slots.map((slot) => stage.store.starts.start(request, slot)))
  await stopping

  expect(slots.includes(undefined)).toBe(false)
  expect(await stage.query('SELECT count(*)::int AS leased FROM sagas WHERE owner IS NOT NULL')).toEqual([
    { leased: 0 },
  ])
  await stage.worker({ sagas: [saga] })
  for (const { sagaId } of started) {
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'completed', uncertainSteps: [] })
  }
  expect(await stage.query('SELECT max(leases_lost)::int AS lost FROM sagas')).toEqual([{ lost: 0 }])
})
