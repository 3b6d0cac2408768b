import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { FeedEvent, FeedPage } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { openStage, type Stage } from '../testing.ts'

async function portOf(stage: Stage): Promise<number> {
  await stage.app.listen({ port: 0, host: '127.0.0.1' })
  const address = stage.app.server.address()
  if (address === null || typeof address === 'string') throw new Error('a server that listens has a port')
  return address.port
}

/** Reads until as many events have come, and hangs up. */
async function follow(port: number, count: number, query = '', lastSeen?: string): Promise<FeedEvent[]> {
  const headers = lastSeen === undefined ? {} : { 'last-event-id': lastSeen }
  const asked = get({ port, host: '127.0.0.1', path: `/v1/events/stream${query}`, headers })
  const answer = await new Promise<IncomingMessage>((resolve) => asked.once('response', resolve))
  expect(answer.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'x-accel-buffering': 'no',
  })
  const events: FeedEvent[] = []
  let text = ''
  for await (const part of answer) {
    text += String(part)
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1]
      if (data === undefined) continue
      const event = FeedEvent.parse(JSON.parse(data))
      expect(block).toContain(`id: ${event.position}\nevent: ${event.type}\n`)
      events.push(event)
    }
    if (events.length >= count) break
  }
  asked.destroy()
  return events
}

function positionsOf(events: readonly FeedEvent[]): string[] {
  return events.map(({ position }) => position)
}

describe('the feed (M6)', () => {
  test('is read in pages, each event once', async () => {
    const stage = await openStage()
    const definition = await stage.define()
    const started = []
    for (let n = 0; n < 5; n++) started.push(await stage.start(definition))
    const read: string[] = []
    for (let after = '0'; ; ) {
      const { text } = await stage.ask('GET', `/v1/events?limit=2&after=${after}`)
      const { items, last } = FeedPage.parse(JSON.parse(text))
      if (items.length === 0) break
      read.push(...items.map(({ sagaId }) => sagaId))
      after = last
    }
    expect(read).toEqual(started)
  })

  test('streams from where a reader was, without loss or repetition', async () => {
    const stage = await openStage()
    const port = await portOf(stage)
    const definition = await stage.define()
    for (let n = 0; n < 3; n++) await stage.start(definition)
    const before = await follow(port, 2, '?after=0')
    const rest = follow(port, 6 - before.length, '', before.at(-1)?.position)
    for (let n = 0; n < 3; n++) await stage.start(definition)
    const read = [...before, ...(await rest)]
    expect(positionsOf(read)).toEqual(['1', '2', '3', '4', '5', '6'])
  })

  test('streams to each what it asked for', async () => {
    const stage = await openStage()
    const port = await portOf(stage)
    const [one, other] = [await stage.define(), await stage.define()]
    const mine = follow(port, 2, `?after=0&definition=${one}`)
    const theirs = follow(port, 1, `?after=0&definition=${other}&type=saga.started`)
    const ids = [await stage.start(one), await stage.start(other), await stage.start(one)]
    expect((await mine).map(({ sagaId }) => sagaId)).toEqual([ids[0], ids[2]])
    expect((await theirs).map(({ sagaId }) => sagaId)).toEqual([ids[1]])
  })

  test('is not streamed to a HEAD, which would never end', async () => {
    const stage = await openStage()
    expect((await stage.ask('HEAD', '/v1/events/stream')).status).toBeGreaterThanOrEqual(400)
  })

  test('ends its streams when the server stops', async () => {
    const stage = await openStage()
    const port = await portOf(stage)
    const asked = get({ port, host: '127.0.0.1', path: '/v1/events/stream' })
    const answer = await new Promise<IncomingMessage>((resolve) => asked.once('response', resolve))
    answer.resume()
    const ended = once(answer, 'end')
    await stage.app.close()
    expect(await ended).toEqual([])
  })
})
