import { expect, test } from 'vitest'
import { openTheatre, startApi, type Theatre } from './processes.ts'

/** API and worker in two processes. The worker tells the API which sagas have ended, but nobody depends on that. */

async function runOne(url: string): Promise<string> {
  const answer = await fetch(`${url}/v1/sagas?waitMs=20000`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ definition: 'ledger', input: {} }),
  })
  return `${answer.status} ${/"status":"(\w+)"/.exec(await answer.text())?.[1]}`
}

/** By which the API hears of ends. */
async function ears(theatre: Theatre): Promise<unknown[]> {
  const rows = await theatre.database.query(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'backstitch/api/rests'`,
  )
  return rows.map(({ pid }) => pid)
}

test('whoever waits for a saga in another process is answered, also when the hints get lost (F33)', async () => {
  const theatre = await openTheatre()
  await theatre.worker()
  const { url, child } = await startApi(theatre.database.url)
  expect(await runOne(url)).toBe('200 completed')
  await expect.poll(() => ears(theatre), { timeout: 60_000 }).toHaveLength(1)
  expect(await Promise.all(Array.from({ length: 20 }, () => runOne(url)))).toEqual(
    Array.from({ length: 20 }, () => '200 completed'),
  )
  for (let round = 0; round < 5; round++) {
    const waits = Array.from({ length: 10 }, () => runOne(url))
    for (const pid of await ears(theatre))
      await theatre.database.query('SELECT pg_terminate_backend($1)', [pid])
    expect(await Promise.all(waits)).toEqual(waits.map(() => '200 completed'))
  }
  await expect
    .poll(
      async () => {
        expect(await runOne(url)).toBe('200 completed')
        return ears(theatre)
      },
      { timeout: 60_000 },
    )
    .toHaveLength(1)
  child.kill('SIGTERM')
  await expect.poll(() => ears(theatre), { timeout: 60_000 }).toEqual([])
})

test('the worker tells of the end of those that are waited for', async () => {
  const theatre = await openTheatre()
  await theatre.worker()
  const { rests } = theatre.store
  const heard = new Set<string>()
  const hear = (sagaIds: readonly string[]) => {
    for (const sagaId of sagaIds) heard.add(sagaId)
  }
  await expect.poll(() => rests.expect('nobody', hear), { timeout: 60_000 }).toBe(true)
  const [unawaited, awaited] = [await theatre.start({}), await theatre.start({ takesMs: 200 })]
  expect(rests.expect(awaited, hear)).toBe(true)
  await theatre.ended(awaited)
  await theatre.ended(unawaited)
  await expect.poll(() => [...heard], { timeout: 60_000 }).toEqual([awaited])
})
