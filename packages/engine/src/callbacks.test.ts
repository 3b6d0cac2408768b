import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createStage, type Stage, serve } from './testing.ts'

/** Steps that end by a callback (M3). */

type Seen = { path: string; token: string; url: string; key: string; attempt: string; body: string }

/** A participant on a port of its own: `answer` gives the status; what came is kept. */
async function participant(answer: (seen: Seen, n: number) => number | Promise<number>) {
  const seen: Seen[] = []
  async function hear(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const header = (name: string) => String(request.headers[name] ?? '')
    const one = {
      path: request.url ?? '',
      token: header('saga-callback-token'),
      url: header('saga-callback-url'),
      key: header('idempotency-key'),
      attempt: header('saga-attempt'),
      body,
    }
    const n = seen.push(one)
    response.writeHead(await answer(one, n), { 'content-type': 'application/json' }).end('{"ignored":true}')
  }
  return { seen, url: await serve((request, response) => void hear(request, response)) }
}

function ship(url: string, more: Record<string, number | string | object> = {}) {
  return {
    name: 'shipping',
    steps: [
      {
        name: 'pack',
        action: { type: 'http', url: `${url}/pack` },
        compensation: { type: 'http', url: `${url}/unpack` },
      },
      {
        name: 'ship',
        action: { type: 'http', url: `${url}/ship`, completion: 'callback' },
        compensation: { type: 'http', url: `${url}/recall` },
        compensateWhen: 'uncertain',
        timeoutMs: 60_000,
        retry: { initialDelayMs: 100, maxDelayMs: 100 },
        ...more,
      },
    ],
  }
}

const accepted = ({ path }: Seen) => (path === '/ship' ? 202 : 200)

async function pending(stage: Stage, sagaId: string) {
  return stage.eventually(sagaId, ({ next }) => next.attempts?.[0]?.waiting?.for === 'callback')
}

async function shipped(seen: Seen[], n = 1): Promise<Seen> {
  await expect.poll(() => seen.filter(({ path }) => path === '/ship').length, { timeout: 60_000 }).toBe(n)
  const [last] = seen.filter(({ path }) => path === '/ship').slice(-1)
  if (last === undefined) throw new Error('not shipped')
  return last
}

describe('a step that ends by a callback', () => {
  test('waits without a worker once it was taken on, and has what the callback brings as its result', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(accepted)
    const worker = await stage.worker({ publicUrl: 'https://saga.example/base/' })
    const sagaId = await stage.start(ship(url))
    const waiting = await pending(stage, sagaId)
    expect(waiting.next.attempts).toMatchObject([{ step: 'ship', attempt: 1 }])
    await expect.poll(() => worker.holds).toBe(0)
    const { token, url: address } = await shipped(seen)
    expect(token.startsWith(`${sagaId}.`)).toBe(true)
    expect(address).toBe(`https://saga.example/base/v1/callbacks/${token}`)
    expect(JSON.parse(seen[1]?.body ?? '')).toMatchObject({ callback: { token, url: address } })
    expect(seen[0]?.token).toBe('')

    expect((await stage.store.callbacks.post(token, { result: { parcel: 'p-1' } })).is).toBe('posted')

    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      context: { ship: { parcel: 'p-1' } },
    })
    expect((await stage.history(sagaId)).map((item) => item.kind)).toEqual([
      'sagaStarted',
      'attemptSucceeded',
      'attemptPending',
      'attemptSucceeded',
    ])
    expect((await stage.store.callbacks.post(token, { result: 'another' })).is).toBe('unknown')
  })

  test('may be called back before it has answered', async () => {
    const stage = await createStage()
    const { url } = await participant(async ({ path, token }) => {
      if (path !== '/ship') return 200
      await stage.store.callbacks.post(token, { result: 'quick' })
      await stage.eventually(token.slice(0, 36), ({ status }) => status === 'completed')
      return 202
    })
    await stage.worker()
    const sagaId = await stage.start(ship(url))
    expect(await stage.ended(sagaId)).toMatchObject({ status: 'completed', context: { ship: 'quick' } })
  })

  test('and was called back before its answer, and cancelled in the same breath, is undone once', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(async ({ path, token }) => {
      if (path === '/ship') {
        await stage.store.callbacks.post(token, { result: 'quick' })
        await stage.store.mailbox.post(token.slice(0, 36), { kind: 'cancel', actor: 'ada', reason: 'no' })
        // Never answered: it is called off.
        await new Promise(() => undefined)
      }
      if (path === '/recall') await new Promise((resolve) => setTimeout(resolve, 300))
      return 200
    })
    await stage.worker()
    const sagaId = await stage.start(ship(url))
    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'cancelled',
      compensatedSteps: ['ship', 'pack'],
    })
    expect(seen.map(({ path }) => path)).toEqual(['/pack', '/ship', '/recall', '/unpack'])
  })

  test('may also be answered at once, like any other', async () => {
    const stage = await createStage()
    const { url } = await participant(() => 200)
    await stage.worker()
    expect(await stage.ended(await stage.start(ship(url)))).toMatchObject({
      status: 'completed',
      context: { ship: { ignored: true } },
    })
  })

  test('and was refused is undone as any failed step; one to be tried again is, under its one key and token', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(accepted)
    await stage.worker()
    const sagaId = await stage.start(ship(url))
    await pending(stage, sagaId)
    const first = await shipped(seen)
    const error = { code: 'BUSY', message: 'no van', retryable: true }
    await stage.store.callbacks.post(first.token, { error })
    const second = await shipped(seen, 2)
    expect(second).toMatchObject({ token: first.token, key: first.key, attempt: '2' })
    await pending(stage, sagaId)
    await stage.store.callbacks.post(first.token, { error: { ...error, retryable: false } })

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', failedStep: 'ship', clean: true })
    expect(seen.map(({ path }) => path)).toEqual(['/pack', '/ship', '/ship', '/unpack'])
  })

  test('that does not come in time is uncertain, is tried again, and then undone where the definition wants that (S4, S9)', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(accepted)
    await stage.worker()
    const retry = { maxAttempts: 2, initialDelayMs: 100, maxDelayMs: 100 }
    const sagaId = await stage.start(ship(url, { timeoutMs: 500, retry }))
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'failed', uncertainSteps: [], compensatedSteps: ['ship', 'pack'] })
    expect(ended.failureReason).toContain('CALLBACK_TIMEOUT')
    expect(seen.map(({ path }) => path)).toEqual(['/pack', '/ship', '/ship', '/recall', '/unpack'])
  })

  test('is waited for no longer when the saga is cancelled: it may yet happen, and is undone (S25)', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(accepted)
    await stage.worker()
    const sagaId = await stage.start(ship(url))
    await pending(stage, sagaId)
    const { token } = await shipped(seen)
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'no more' })
    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'cancelled',
      compensatedSteps: ['ship', 'pack'],
    })
    expect((await stage.store.callbacks.post(token, { result: 'late' })).is).toBe('unknown')
  })

  test('that came before a cancel is a success like any other, undone with the rest though both are read together (S25)', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(accepted)
    const first = await stage.worker()
    const sagaId = await stage.start(ship(url, { compensateWhen: 'completed' }))
    await pending(stage, sagaId)
    await first.stop(0)
    const { token } = await shipped(seen)
    await stage.store.callbacks.post(token, { result: 'shipped' })
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'no more' })
    await stage.worker()
    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'cancelled',
      completedSteps: ['pack', 'ship'],
      compensatedSteps: ['ship', 'pack'],
      uncertainSteps: [],
    })
  })

  test('is still awaited after every worker has died (F13)', async () => {
    const stage = await createStage()
    const { seen, url } = await participant(accepted)
    const first = await stage.worker()
    const sagaId = await stage.start(ship(url))
    await pending(stage, sagaId)
    await first.stop(0)
    const { token } = await shipped(seen)
    await stage.store.callbacks.post(token, { result: 1 })
    await stage.worker()
    expect((await stage.ended(sagaId)).status).toBe('completed')
  })
})
