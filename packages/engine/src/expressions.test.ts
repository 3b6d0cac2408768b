import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Json } from '@backstitch/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createStage } from './testing.ts'

type Seen = { method: string; url: string; header: string | undefined; body: unknown }

/** A service that notes what it is sent, and answers with what the test says. */
async function openService(answer: (seen: Seen) => { status?: number; body?: Json } = () => ({})) {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += String(chunk)
    })
    request.on('end', () => {
      const header = request.headers['x-note']
      const one: Seen = {
        method: request.method ?? '',
        url: request.url ?? '',
        header: typeof header === 'string' ? header : undefined,
        body: text === '' ? undefined : JSON.parse(text),
      }
      seen.push(one)
      const { status = 200, body = null } = answer(one)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return { url: `http://127.0.0.1:${port}`, seen }
}

const http = (url: string, more: Record<string, Json> = {}): Json => ({ type: 'http', url, ...more })

describe('a request with expressions', () => {
  test('is sent what they give: values keep their type, and in a URL they are only ever text', async () => {
    const service = await openService(({ url }) => ({
      body: url.startsWith('/orders') ? { id: 'r/1', n: 2 } : null,
    }))
    const stage = await createStage()
    await stage.worker()
    const sagaId = await stage.start(
      {
        name: 'orders',
        steps: [
          {
            name: 'reserve',
            action: http(`${service.url}/orders/\${{ input.id }}?note=\${{ input.note }}`, {
              headers: { 'x-note': 'saga ${{ saga.step }}' },
              body: {
                whole: '${{ input }}',
                count: '${{ input.lines.size() }}',
                text: 'n° ${{ input.id }}',
                plain: 1,
              },
            }),
            compensation: http(`${service.url}/reservations/\${{ result.id }}`, {
              method: 'DELETE',
              body: { why: '${{ failure.step }}', n: '${{ context.reserve.n + 1 }}' },
            }),
          },
          { name: 'charge', action: http(`${service.url}/charge/\${{ context.reserve.missing }}`) },
        ],
      },
      { id: 'a b/../?c', note: 'x&y=z', lines: [1, 2] },
    )

    const ended = await stage.ended(sagaId)

    expect(service.seen).toEqual([
      {
        method: 'POST',
        url: '/orders/a%20b%2F..%2F%3Fc?note=x%26y%3Dz',
        header: 'saga reserve',
        body: {
          whole: { id: 'a b/../?c', note: 'x&y=z', lines: [1, 2] },
          count: 2,
          text: 'n° a b/../?c',
          plain: 1,
        },
      },
      { method: 'DELETE', url: '/reservations/r%2F1', header: undefined, body: { why: 'charge', n: 3 } },
    ])
    expect(ended).toMatchObject({
      status: 'failed',
      failedStep: 'charge',
      compensatedSteps: ['reserve'],
      clean: true,
    })
    expect(ended.failureReason).toMatch(/EXPRESSION_FAILED: at \/url: .*missing/)
  })
})

describe('a step with a condition', () => {
  const step = (name: string, url: string, more: Record<string, Json> = {}): Json => ({
    name,
    action: http(`${url}/${name}`),
    compensation: http(`${url}/undo-${name}`),
    ...more,
  })

  test('is run if it holds, and skipped if not: then it is neither completed nor compensated, and the history says so', async () => {
    const large = 'x'.repeat(5_000)
    const service = await openService(({ url }) =>
      url === '/last' ? { status: 422 } : { body: url === '/first' ? { large, ok: true } : null },
    )
    const stage = await createStage()
    await stage.worker()
    const sagaId = await stage.start(
      {
        name: 'conditional',
        steps: [
          step('first', service.url, { when: 'input.go' }),
          step('second', service.url, { when: 'input.total > 100' }),
          step('third', service.url, { when: 'context.first.large.size() == 5000 && context.first.ok' }),
          step('fourth', service.url, { when: 'has(context.second)' }),
          step('last', service.url),
        ],
      },
      { go: true, total: 99.5 },
    )

    const ended = await stage.ended(sagaId)

    expect(ended).toMatchObject({
      status: 'failed',
      completedSteps: ['first', 'third'],
      skippedSteps: ['second', 'fourth'],
      compensatedSteps: ['third', 'first'],
    })
    expect(service.seen.map(({ url }) => url)).toEqual([
      '/first',
      '/third',
      '/last',
      '/undo-third',
      '/undo-first',
    ])
    expect(await stage.history(sagaId)).toContainEqual(
      expect.objectContaining({
        kind: 'attemptSucceeded',
        step: 'first',
        to: expect.objectContaining({ skipped: ['second'] }),
      }),
    )
  })

  test('that all are false completes a saga in which nothing was called', async () => {
    const service = await openService()
    const stage = await createStage()
    await stage.worker()
    const definition = {
      name: 'idle',
      steps: [step('a', service.url, { when: 'false' }), step('b', service.url, { when: 'input.x' })],
    }

    const ended = await stage.ended(await stage.start(definition, { x: false }))

    expect(ended).toMatchObject({ status: 'completed', completedSteps: [], skippedSteps: ['a', 'b'] })
    expect(service.seen).toEqual([])
  })

  test('that cannot be evaluated fails the saga at that step, with the reason, and undoes what was done', async () => {
    const service = await openService()
    const stage = await createStage()
    await stage.worker()
    const definition = {
      name: 'unclear',
      steps: [step('a', service.url), step('b', service.url, { when: 'input.total > 5' })],
    }

    const ended = await stage.ended(await stage.start(definition, { total: 'many' }))

    expect(ended).toMatchObject({ status: 'failed', failedStep: 'b', compensatedSteps: ['a'] })
    expect(ended.failureReason).toMatch(/^the condition of step "b" cannot be evaluated: /)
  })
})
