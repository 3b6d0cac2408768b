import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { EVENT_TYPES, FeedEvent, FeedPage, pageOf, Webhook, WebhookDelivery } from '@backstitch/core'
import { beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { openTheatre, startApi, type Theatre } from '../e2e/processes.ts'
import { listen } from '../support/listen.ts'
import { follow } from './follow.ts'
import { isGenuine } from './genuine.ts'
import { createReceiver } from './receiver.ts'

/** Everything that stands in docs/guides/webhooks.md is done here, as it stands there. */

const guide = readFileSync(new URL('../../docs/guides/webhooks.md', import.meta.url), 'utf8')

function blocksOf(language: string): string[] {
  return [...guide.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(
    ([, text = '']) => text,
  )
}

const Named = z.looseObject({ type: z.string() })

type Place = {
  theatre: Theatre
  api: string
  run(command: string, names?: Record<string, string>): Promise<string>
}

async function place(receiver: string): Promise<Place> {
  const theatre = await openTheatre()
  const inside = { WEBHOOK_ALLOW: '127.0.0.1' }
  const { url: api } = await startApi(theatre.database.url, inside)
  await theatre.worker(inside)
  return {
    theatre,
    api,
    async run(command, names = {}) {
      const here = command
        .replaceAll('localhost:8080', api)
        .replaceAll('https://hooks.example/backstitch', receiver)
      const { stdout } = await promisify(execFile)('sh', ['-euc', here], {
        env: { PATH: process.env.PATH, ...names },
      })
      return stdout
    },
  }
}

describe('the guide to webhooks', () => {
  let commands: Record<'create' | 'test' | 'enable' | 'deliveries' | 'rotate' | 'feed' | 'stream', string>
  beforeAll(() => {
    const [
      create = '',
      test = '',
      enable = '',
      deliveries = '',
      rotate = '',
      feed = '',
      stream = '',
      ...more
    ] = blocksOf('sh')
    expect(more).toEqual([])
    commands = { create, test, enable, deliveries, rotate, feed, stream }
  })

  test('shows the files that are run here', () => {
    const files = ['receiver.ts', 'genuine.ts', 'follow.ts']
    expect(blocksOf('ts')).toEqual(files.map((file) => readFileSync(new URL(file, import.meta.url), 'utf8')))
  })

  test('names every type, and shows an event as it comes', async () => {
    for (const type of EVENT_TYPES) expect(guide).toContain(`\`${type}\``)
    const [example = ''] = blocksOf('json')
    const shown = FeedEvent.parse(JSON.parse(example))
    const came: unknown[] = []
    const receiver = await listen(
      createServer((request, response) => {
        void buffer(request).then((body) => {
          came.push(JSON.parse(body.toString()))
          response.writeHead(204).end()
        })
      }),
    )
    const { theatre, run } = await place(receiver)
    await run(commands.create)
    await theatre.start({ rejectedAt: 'two' })
    const ofThatType = () => came.map((one) => FeedEvent.parse(one)).find(({ type }) => type === shown.type)
    await expect.poll(ofThatType, { timeout: 60_000 }).toBeDefined()
    const failed = ofThatType()
    expect(Object.keys(failed ?? {})).toEqual(Object.keys(shown))
    expect(Object.keys(failed?.data ?? {}).toSorted()).toEqual(Object.keys(shown.data).toSorted())
  })

  test('makes a webhook, whose receiver hears of each event once, tests it, sends again, and replaces its secret', async () => {
    const heard: string[] = []
    let requests = 0
    const secrets: string[] = []
    const receiver = createReceiver(secrets, async (event) => void heard.push(Named.parse(event).type))
    receiver.on('request', () => requests++)
    const { theatre, run } = await place(await listen(receiver))
    const made = Webhook.extend({ secret: z.string() }).parse(JSON.parse(await run(commands.create)))
    secrets.push(made.secret)
    const names = { WEBHOOK: made.webhookId }

    const { deliveryId } = z
      .object({ deliveryId: z.string() })
      .parse(JSON.parse(await run(commands.test, names)))
    await expect.poll(() => heard, { timeout: 60_000 }).toEqual(['webhook.test'])
    await theatre.start({})
    await expect.poll(() => heard, { timeout: 60_000 }).toContain('saga.completed')
    const before = { heard: heard.length, requests }

    const [list = '', again = ''] = commands.deliveries.trim().split('\n')
    const { items } = pageOf(WebhookDelivery).parse(JSON.parse(await run(list, names)))
    expect(items.map((one) => one.deliveryId)).toContain(deliveryId)
    await run(again, { ...names, DELIVERY: deliveryId })
    await expect.poll(() => requests, { timeout: 60_000 }).toBe(before.requests + 1)
    expect(heard).toHaveLength(before.heard)

    const { secret } = z.object({ secret: z.string() }).parse(JSON.parse(await run(commands.rotate, names)))
    expect(secret).not.toBe(made.secret)
    await run(commands.test, names)
    await expect.poll(() => heard.length, { timeout: 60_000 }).toBe(before.heard + 1)
    secrets.splice(0, 1, secret)
    await run(commands.test, names)
    await expect.poll(() => heard.length, { timeout: 60_000 }).toBe(before.heard + 2)
  })

  test('tells what is genuine by hand, and what is not', async () => {
    const came: { headers: IncomingHttpHeaders; body: Buffer }[] = []
    const receiver = createServer((request, response) => {
      void buffer(request).then((body) => {
        came.push({ headers: request.headers, body })
        response.writeHead(410).end()
      })
    })
    const { run, api } = await place(await listen(receiver))
    const { webhookId, secret } = Webhook.extend({ secret: z.string() }).parse(
      JSON.parse(await run(commands.create)),
    )
    await run(commands.test, { WEBHOOK: webhookId })
    await expect.poll(() => came, { timeout: 60_000 }).toHaveLength(1)
    const { headers = {}, body = Buffer.alloc(0) } = came[0] ?? {}
    expect(isGenuine(headers, body, secret)).toBe(true)
    expect(isGenuine(headers, Buffer.concat([body, Buffer.from(' ')]), secret)).toBe(false)
    expect(isGenuine({ ...headers, 'webhook-timestamp': '1' }, body, secret)).toBe(false)
    expect(isGenuine({ ...headers, 'webhook-timestamp': 'x' }, body, secret)).toBe(false)
    expect(isGenuine({ ...headers, 'webhook-signature': 'v1,AAAA' }, body, secret)).toBe(false)
    expect(isGenuine(headers, body, `whsec_${Buffer.alloc(24).toString('base64')}`)).toBe(false)

    const seen = async () => Webhook.parse(await (await fetch(`${api}/v1/webhooks/${webhookId}`)).json())
    await expect.poll(async () => (await seen()).enabled, { timeout: 60_000 }).toBe(false)
    await run(commands.enable, { WEBHOOK: webhookId })
    expect((await seen()).enabled).toBe(true)
  })

  test('reads the feed, by pages, as a stream and with the SDK', async () => {
    const { theatre, run, api } = await place('https://hooks.example/backstitch')
    const sagaId = await theatre.start({ rejectedAt: 'two' })
    await theatre.ended(sagaId)
    const read = async () => FeedPage.parse(JSON.parse(await run(commands.feed))).items
    await expect.poll(read, { timeout: 60_000 }).toMatchObject([{ type: 'saga.failed', sagaId }])
    const items = await read()
    // It has no end of its own: curl is told when.
    const streamed = await run(`${commands.stream.trim().replace('curl', 'curl -m 3')} || true`)
    expect(streamed).toContain(`id: ${items[0]?.position}\nevent: saga.failed\n`)
    const kept: string[] = []
    const enough = new Error('enough')
    const following = follow(api, undefined, async (id, at) => {
      kept.push(id, at)
      throw enough
    })
    await expect(following).rejects.toBe(enough)
    expect(kept).toEqual([sagaId, items[0]?.position])
  })
})
