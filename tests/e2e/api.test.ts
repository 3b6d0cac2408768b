import { createClient } from '@backstitch/sdk'
import { expect, test } from 'vitest'
import { openTheatre, startApi } from './processes.ts'

test('an API killed in the middle of many starts has lost none that it acknowledged, and a repetition starts none twice (S23, S24, F09)', async () => {
  const theatre = await openTheatre()
  const first = await startApi(theatre.database.url)
  const client = createClient({ url: first.url, retry: { maxAttempts: 1 } })
  const keys = Array.from({ length: 300 }, (_, index) => `order-${index}`)

  const starting = keys.map(async (sagaKey, index) => {
    // A few at a time, so that the end comes in the middle of them.
    await new Promise((resolve) => setTimeout(resolve, index))
    return client.sagas.start('ledger', {}, { sagaKey }).then(
      ({ sagaId }) => sagaId,
      () => undefined,
    )
  })
  await starting[100]
  first.child.kill('SIGKILL')
  const acknowledged = await Promise.all(starting)
  expect(acknowledged).toContain(undefined)

  const second = await startApi(theatre.database.url)
  const again = createClient({ url: second.url })
  const ids = await Promise.all(
    keys.map(async (sagaKey) => (await again.sagas.start('ledger', {}, { sagaKey })).sagaId),
  )
  acknowledged.forEach((sagaId, index) => {
    if (sagaId !== undefined) expect(ids[index]).toBe(sagaId)
  })
  expect(await theatre.database.query('SELECT count(*)::int AS sagas FROM sagas')).toEqual([{ sagas: 300 }])

  await theatre.worker()
  for (const sagaId of ids) expect((await theatre.ended(sagaId)).status).toBe('completed')
  expect(theatre.ledger().filter(({ phase }) => phase === 'done')).toHaveLength(900)
})
