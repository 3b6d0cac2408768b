import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createClient } from '@backstitch/sdk'
import { expect, onTestFinished, test } from 'vitest'
import { openTheatre } from './processes.ts'

const MAIN = fileURLToPath(new URL('../../apps/api/src/main.ts', import.meta.url))

async function startApi(databaseUrl: string) {
  const child = spawn(process.execPath, [MAIN], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { PATH: process.env.PATH, DATABASE_URL: databaseUrl, PORT: '0', LOG_LEVEL: 'silent' },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [message] = await once(child, 'message')
  const url: unknown =
    typeof message === 'object' && message !== null && 'url' in message ? message.url : undefined
  if (typeof url !== 'string')
    throw new Error(`not the message of an API that is ready: ${JSON.stringify(message)}`)
  return { child, url }
}

test('an API killed in the middle of many starts has lost none that it acknowledged, and a repetition starts none twice (S23, S24)', async () => {
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
}, 60_000)
