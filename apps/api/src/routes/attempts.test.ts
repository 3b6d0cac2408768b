import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStage, type Stage } from '../testing.ts'

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage.close())

/** What a worker would have written, by hand. */
async function write(sagaId: string, seq: number, kind: string, body: unknown): Promise<void> {
  await stage.query(
    `INSERT INTO saga_history (bucket, saga_id, seq, at, kind, epoch, worker, body)
     SELECT bucket, saga_id, $2::int, now(), $3, 1, NULL, $4::jsonb FROM sagas WHERE saga_id = $1`,
    [sagaId, seq, kind, JSON.stringify(body)],
  )
}

const id = (step: string) => ({ step, direction: 'action', attempt: 1 })

test('attempts are paged in order, what has not ended last, and cursors keep to their list', async () => {
  const sagaId = await stage.start(await stage.define(), { input: { a: 1 } })
  for (const [seq, step, to] of [
    [2, 'one', 'two'],
    [3, 'two', 'three'],
  ] as const) {
    const told = { ...id(step), outcome: 'succeeded', result: seq, resultBytes: 1, tookMs: 5 }
    await write(sagaId, seq, 'attemptSucceeded', { ...told, to: { attempts: { [to]: 1 } } })
  }
  const seen: unknown[] = []
  for (let cursor = ''; ; ) {
    const { status, body } = await stage.ask('GET', `/v1/sagas/${sagaId}/attempts?limit=1${cursor}`)
    expect(status).toBe(200)
    expect(body.items).toHaveLength(1)
    seen.push(...(body.items ?? []))
    if (body.nextCursor === undefined) break
    cursor = `&cursor=${body.nextCursor}`
  }
  expect(seen).toMatchObject([
    { step: 'one', state: 'succeeded', seq: 2, tookMs: 5, result: 2, request: { input: { a: 1 } } },
    { step: 'two', state: 'succeeded', seq: 3, result: 3 },
    { step: 'three', state: 'scheduled' },
  ])

  const { body } = await stage.ask('GET', `/v1/sagas/${sagaId}/attempts?limit=1`)
  const foreign = await stage.ask(
    'GET',
    `/v1/sagas/${sagaId}/attempts?step=two&cursor=${String(body.nextCursor)}`,
  )
  expect(foreign).toMatchObject({ status: 400, body: { code: 'INVALID_CURSOR' } })
})

test('what is large is left out of the list, and comes when its step is asked for in whole', async () => {
  const large = 'x'.repeat(20_000)
  const sagaId = await stage.start(await stage.define(), { input: large })
  const told = { ...id('one'), outcome: 'succeeded', result: large, resultBytes: 20_002, spilled: true }
  await write(sagaId, 2, 'attemptSucceeded', { ...told, to: { attempts: { two: 1 } } })

  const { body } = await stage.ask('GET', `/v1/sagas/${sagaId}/attempts`)
  expect(body.items?.[0]).toMatchObject({ step: 'one', omitted: ['request', 'result'] })
  expect(body.items?.[0]).not.toHaveProperty('result')
  const whole = await stage.ask('GET', `/v1/sagas/${sagaId}/attempts?step=one&direction=action&whole=true`)
  expect(whole.body.items).toMatchObject([{ step: 'one', result: large, request: { input: large } }])
})

test('a page in whole ends before it grows without bound', async () => {
  const large = 'x'.repeat(1024 * 1024 - 2)
  const sagaId = await stage.start(await stage.define(), { input: large })
  for (let seq = 2; seq < 22; seq++) {
    const error = { code: 'NO', message: 'no' }
    const told = { ...id('one'), attempt: seq - 1, outcome: 'failed', error }
    await write(sagaId, seq, 'attemptFailed', { ...told, to: { attempts: { one: seq } } })
  }
  const { body, text } = await stage.ask('GET', `/v1/sagas/${sagaId}/attempts?whole=true&limit=200`)
  expect(body.items).toHaveLength(15)
  expect(text.length).toBeLessThan(17 * 1024 * 1024)
  const rest = await stage.ask(
    'GET',
    `/v1/sagas/${sagaId}/attempts?whole=true&limit=200&cursor=${String(body.nextCursor)}`,
  )
  expect(rest.body.items).toHaveLength(6)
  expect(rest.body.nextCursor).toBeUndefined()
})

test('an entry that cannot be read hides no attempt after it (S29)', async () => {
  const sagaId = await stage.start(await stage.define())
  await write(sagaId, 2, 'fromTheFuture', {})
  await write(sagaId, 3, 'attemptFailed', {
    ...id('one'),
    outcome: 'failed',
    error: { code: 'NO', message: 'no' },
    to: {},
  })
  const { status, body } = await stage.ask('GET', `/v1/sagas/${sagaId}/attempts`)
  expect(status).toBe(200)
  expect(body.items).toMatchObject([{ step: 'one', state: 'failed', seq: 3 }])
})

test('of a saga that is not there it is said so', async () => {
  const answer = await stage.ask('GET', '/v1/sagas/00000000-0000-7000-8000-000000000000/attempts')
  expect(answer).toMatchObject({ status: 404, body: { code: 'SAGA_NOT_FOUND' } })
})
