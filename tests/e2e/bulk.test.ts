import { createClient, type HistoryItem } from '@backstitch/sdk'
import { expect, test } from 'vitest'
import { openTheatre, startApi } from './processes.ts'

const COUNT = 60

test('a bulk operation whose process is killed goes on in another one, and is done once to each saga (S30)', async () => {
  const theatre = await openTheatre()
  const [first, second] = [await startApi(theatre.database.url), await startApi(theatre.database.url)]
  const client = createClient({ url: second.url })
  const sagaIds: string[] = []
  for (let n = 0; n < COUNT; n++) sagaIds.push(await theatre.start({}))

  const { bulkId } = await createClient({ url: first.url }).bulk.start({
    filter: { definition: 'ledger' },
    verb: 'pause',
    reason: 'stock-taking',
    perSecond: 40,
  })
  await expect.poll(async () => (await client.bulk.get(bulkId)).done, { timeout: 60_000 }).toBeGreaterThan(0)
  first.child.kill('SIGKILL')
  const over = async (id: string) => (await client.bulk.get(id)).state
  await expect.poll(() => over(bulkId), { timeout: 60_000 }).toBe('done')
  expect(await client.bulk.get(bulkId)).toMatchObject({ total: COUNT, accepted: COUNT })

  await theatre.worker()
  const paused = () => client.sagas.list({ paused: true, definition: 'ledger' }, { limit: 200 }).toArray()
  await expect.poll(async () => (await paused()).length, { timeout: 60_000 }).toBe(COUNT)
  const acts = (history: HistoryItem[]) => history.filter((entry) => 'actor' in entry)
  for (const sagaId of sagaIds) {
    expect(acts(await client.sagas.history(sagaId).toArray())).toMatchObject([
      { kind: 'paused', reason: `stock-taking (bulk operation ${bulkId})` },
    ])
  }

  await client.bulk.start({ filter: { paused: true }, verb: 'resume', reason: 'done', perSecond: 500 })
  for (const sagaId of sagaIds) expect((await theatre.ended(sagaId)).status).toBe('completed')
  expect(await paused()).toEqual([])
})
