import { expect, onTestFinished, test } from 'vitest'
import { createNetwork } from '../../store/src/testing-proxy.ts'
import { createGate, createStage, quiet, sagaOf } from './testing.ts'
import { createWorker } from './worker.ts'

test('a worker whose sagas cannot be registered leaves nothing behind, however often it is tried', async () => {
  const stage = await createStage()
  const { saga } = sagaOf('refused', { one: { action: () => 1 } })
  await stage.query(`ALTER TABLE definitions ADD CONSTRAINT none CHECK (name <> 'refused')`)

  await expect(stage.worker({ sagas: [saga] })).rejects.toThrow('none')

  expect(await stage.query('SELECT 1 FROM workers')).toEqual([])
  const connections = () =>
    stage.query(`SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'backstitch/worker/%'
                 AND datname = current_database()`)
  await expect.poll(connections).toEqual([])
})

test('a worker that is stopped while it starts is stopped', async () => {
  const stage = await createStage()
  const worker = createWorker({ databaseUrl: stage.url, log: quiet })

  const started = worker.start()
  await worker.stop()
  await started

  const rows = await stage.query('SELECT end_reason FROM workers')
  expect(rows).toEqual([{ end_reason: 'stopped' }])
})

test('a worker that is stopped without grace records what it cut short, far from its database, too (S21)', async () => {
  const stage = await createStage()
  const network = await createNetwork(stage.url)
  onTestFinished(() => network.close())
  const gate = createGate()
  const { saga, document } = sagaOf('cut', { one: { action: () => gate.wait() } })
  const worker = await stage.worker({ sagas: [saga], databaseUrl: network.url })
  const sagaId = await stage.start(document)
  await gate.reached
  network.delay(150)

  await worker.stop(0)

  gate.open()
  expect(await stage.saga(sagaId)).toMatchObject({ uncertainSteps: ['one'], attempts: { one: 1 } })
  expect((await stage.history(sagaId)).map(({ kind }) => kind)).toEqual(['sagaStarted', 'interrupted'])
})

test('what stands in the way of taking up a lost saga does not stop the heart (S17, F94)', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('orphaned', { one: { action: () => 1 } }, { queue: 'elsewhere' })
  const worker = await stage.worker({ leaseMs: 2_000, queues: [], pollMs: 60_000 })
  const { workerId } = worker
  await stage.start(document)
  const locked = stage.query(`DO $$ BEGIN
    UPDATE sagas SET owner = '${workerId}', due_at = NULL, epoch = 1;
    COMMIT;
    PERFORM 1 FROM sagas FOR UPDATE;
    PERFORM pg_sleep(5);
  END $$`)
  await new Promise((resolve) => setTimeout(resolve, 4_800))

  expect(worker.workerId).toBe(workerId)
  await locked
  await stage.worker({ sagas: [saga] })
  await expect
    .poll(() => stage.query('SELECT status FROM sagas'), { timeout: 60_000 })
    .toEqual([{ status: 'completed' }])
})
