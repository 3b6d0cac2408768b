import { expect, test } from 'vitest'
import { createMissing } from './attempt/missing.ts'
import { createStage, quiet, sagaOf, serve } from './testing.ts'

const NOBODY = () => false

test('a saga whose handler this worker lacks is put off for longer and longer, and taken up at once when a worker with the handler joins (S20)', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('joined', { one: { action: () => 'here' } }, { queue: 'shared' })
  await stage.worker({ queues: ['shared'] })
  const sagaIds = await Promise.all([1, 2, 3].map((n) => stage.start(document, n)))

  // Claiming and releasing raise the epoch by one each: ten times at most, on the way to three seconds.
  await waitUntilPutOffFor(stage, 3_000)
  const rows = await stage.query(`SELECT max(epoch) AS epoch FROM sagas`)
  expect(Number(rows[0]?.epoch)).toBeLessThanOrEqual(20)

  await putOffForLong(stage)
  await stage.worker({ sagas: [saga] })
  for (const sagaId of sagaIds) expect((await stage.ended(sagaId)).status).toBe('completed')

  for (const sagaId of sagaIds) expect(await stage.history(sagaId)).toHaveLength(2)
})

async function waitUntilPutOffFor(stage: Awaited<ReturnType<typeof createStage>>, ms: number): Promise<void> {
  await expect
    .poll(
      async () => {
        const rows = await stage.query(
          `SELECT coalesce(min(extract(epoch FROM due_at - now()) * 1000), 0)::float8 AS ms FROM sagas`,
        )
        return rows[0]?.ms
      },
      { interval: 20 },
    )
    .toBeGreaterThan(ms)
}

/** Longer than a test waits, so that whatever runs was woken: nothing here depends on how fast the machine is. */
async function putOffForLong(stage: Awaited<ReturnType<typeof createStage>>): Promise<void> {
  await stage.query(`UPDATE sagas SET due_at = now() + interval '29 seconds'`)
}

test('the same holds for a service that no worker is configured for, whatever the queue', async () => {
  const stage = await createStage()
  const baseUrl = await serve((_, response) => void response.end())
  await stage.worker()
  const action = { type: 'http', service: 'payments', path: '/' }
  const sagaId = await stage.start({ name: 'paid', steps: [{ name: 'pay', action }] })
  await waitUntilPutOffFor(stage, 3_000)

  await putOffForLong(stage)
  await stage.worker({ services: { payments: { baseUrl } } })
  expect((await stage.ended(sagaId)).status).toBe('completed')
})

test('a worker that comes with nothing new wakes nobody', async () => {
  const stage = await createStage()
  const { document } = sagaOf('unserved', { one: { action: () => 'here' } }, { queue: 'shared' })
  await stage.worker({ queues: ['shared'] })
  await stage.start(document)
  await waitUntilPutOffFor(stage, 3_000)
  const due = async () => (await stage.query('SELECT due_at FROM sagas'))[0]?.due_at
  await putOffForLong(stage)
  const before = await due()

  const { saga: other } = sagaOf('other', { one: { action: () => 'there' } })
  const second = await stage.worker({ queues: ['shared'], sagas: [other] })
  await expect.poll(() => second.holds).toBe(0)

  expect(await due()).toEqual(before)
})

test('the delay grows with time and not with the number of sagas, up to half a minute', async () => {
  const missing = createMissing({ others: async () => [], log: quiet })
  const delays = await Promise.all(Array.from({ length: 100 }, () => missing.delayMs('handler a.b', NOBODY)))

  expect(Math.max(...delays)).toBeLessThanOrEqual(500)
  expect(Math.min(...delays)).toBeGreaterThan(300)
})

test('what another worker has is handed over at once', async () => {
  const others = [{ handlers: { a: ['b'] }, services: {} }]
  const missing = createMissing({ others: async () => others, log: quiet })

  expect(await missing.delayMs('handler a.b', ({ handlers }) => handlers.a?.includes('b') === true)).toBe(100)
})
