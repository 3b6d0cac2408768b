import { createClient } from '@backstitch/sdk'
import { expect, onTestFinished, test } from 'vitest'
import { createNetwork } from '../../packages/store/src/testing-proxy.ts'
import { openTheatre, startApi } from './processes.ts'

test('whoever follows the events hears of each once and in order, however often the stream is cut (M6)', async () => {
  const theatre = await openTheatre()
  const { url } = await startApi(theatre.database.url)
  const network = await createNetwork(url)
  onTestFinished(() => network.close())
  const leaving = new AbortController()
  const asked: string[] = []
  const { events } = createClient({
    url: network.url.replace(/\/$/, ''),
    fetch: (to, init) => {
      asked.push(new URL(to).pathname)
      return fetch(to, init)
    },
  })
  const streams = () => asked.filter((path) => path.endsWith('/stream')).length
  const heard: string[] = []
  const following = (async () => {
    const options = { types: ['saga.started'], pollMs: 20, awayMs: 20, signal: leaving.signal } as const
    for await (const { sagaId } of events.follow(options)) heard.push(sagaId)
  })().catch((error: unknown) => error)

  const started: string[] = []
  for (let round = 1; round <= 4; round++) {
    await expect.poll(streams, { timeout: 60_000 }).toBeGreaterThanOrEqual(round)
    for (let n = 0; n < 5; n++) started.push(await theatre.start({}))
    // Some have come by then, or all, or none.
    if (round % 2 === 0) await expect.poll(() => heard.length, { timeout: 60_000 }).toBe(started.length)
    network.cut()
  }
  await expect.poll(() => heard, { timeout: 60_000 }).toEqual(started)
  leaving.abort(new Error('enough'))
  expect(await following).toMatchObject({ message: 'enough' })
})
