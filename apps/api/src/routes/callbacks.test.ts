import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStage, type Stage } from '../testing.ts'

/** There is no worker here: a step that is under way is one whose callback may come (its worker waits for the answer). */

let stage: Stage
let key: Buffer
beforeAll(async () => {
  stage = await openStage()
  const [row] = await stage.query('SELECT callback_key FROM installation')
  if (!Buffer.isBuffer(row?.callback_key)) throw new Error('the migrations make a key')
  key = row.callback_key
})
afterAll(() => stage.close())

function tokenOf(sagaId: string, step: string, direction = 'action', generation = 1): string {
  const mac = createHmac('sha256', key).update(`${sagaId}:${step}:${direction}:${generation}`)
  return `${sagaId}.${mac.digest('base64url')}`
}

const post = (token: string, body: unknown, headers: Record<string, string> = {}) =>
  stage.ask('POST', `/v1/callbacks/${token}`, { body, headers })

const mailOf = (sagaId: string) =>
  stage.query('SELECT body FROM saga_mail WHERE saga_id = $1 ORDER BY seq', [sagaId])

test('a callback for the step that is under way lies in the mail of its saga, as it was sent (M3)', async () => {
  const sagaId = await stage.start(await stage.define())

  expect(await post(tokenOf(sagaId, 'one'), { result: { id: 7 } })).toMatchObject({
    status: 202,
    body: { accepted: true },
  })
  expect(await mailOf(sagaId)).toEqual([
    { body: { kind: 'callback', step: 'one', direction: 'action', end: { result: { id: 7 } } } },
  ])
})

test('said again it is taken again and changes nothing, also when its step has long been decided', async () => {
  const sagaId = await stage.start(await stage.define())
  const token = tokenOf(sagaId, 'one')
  await post(token, { result: 1 })
  expect((await post(token, { result: 1 })).status).toBe(202)
  await Promise.all(Array.from({ length: 20 }, () => post(token, { result: 1 })))
  expect(await mailOf(sagaId)).toHaveLength(1)

  await stage.end(sagaId, 'completed')
  expect((await post(token, { result: 1 })).status).toBe(202)
  expect((await post(token, { result: 2 })).status).toBe(404)
})

test('said again it is known by its token and its words: no letter is opened, so that a forged token costs nothing', async () => {
  const sagaId = await stage.start(await stage.define())
  const token = tokenOf(sagaId, 'one')
  await post(token, { result: 1 })
  await stage.query("UPDATE saga_mail SET body = '{}' WHERE saga_id = $1", [sagaId])
  await stage.end(sagaId, 'completed')
  expect((await post(token, { result: 1 })).status).toBe(202)
  expect((await post(`${sagaId}.${'A'.repeat(43)}`, { result: 1 })).status).toBe(404)
})

test('with an Idempotency-Key it is one callback, whatever it says', async () => {
  const sagaId = await stage.start(await stage.define())
  const token = tokenOf(sagaId, 'one')
  const error = { code: 'BUSY', message: 'later', retryable: true }
  await post(token, { error }, { 'idempotency-key': 'delivery-1' })
  expect((await post(token, { result: 1 }, { 'idempotency-key': 'delivery-1' })).status).toBe(202)
  expect((await post(token, { error }, { 'idempotency-key': 'delivery-2' })).status).toBe(202)
  expect(await mailOf(sagaId)).toHaveLength(2)
})

test('a token that is forged, mistyped, of another step, or of no saga is unknown, and they look the same', async () => {
  const sagaId = await stage.start(await stage.define())
  const other = await stage.start(await stage.define())
  const mac = tokenOf(sagaId, 'one').slice(37)
  const tokens = [
    `${sagaId}.${'A'.repeat(43)}`,
    `${other}.${mac}`,
    tokenOf(sagaId, 'two'),
    tokenOf(sagaId, 'one', 'compensation'),
    tokenOf(sagaId, 'one', 'action', 2),
    `${sagaId}`,
    `${sagaId}.`,
    tokenOf('01a1fb8d-89da-749a-8126-ab0ad2a6cc42', 'one'),
    'nonsense',
    `${sagaId}.${mac}${mac}`,
    encodeURIComponent(`${sagaId}.\u0000`),
  ]
  const answers = await Promise.all(tokens.map((token) => post(token, { result: 1 })))
  for (const { status, body } of answers) {
    expect(status).toBe(404)
    expect({ ...body, requestId: '', instance: '' }).toEqual({
      ...answers[0]?.body,
      requestId: '',
      instance: '',
    })
  }
  expect(await mailOf(sagaId)).toEqual([])
})

test('a body that says neither, or both, is refused with the place; one that is too large, too', async () => {
  const token = tokenOf(await stage.start(await stage.define()), 'one')
  for (const body of [{ result: 1, error: {} }, { ok: true }, { error: { code: 'X' } }, [], 'done']) {
    expect(await post(token, body)).toMatchObject({ status: 422, body: { code: 'INVALID_REQUEST' } })
  }
  expect(await post(token, { result: 'x'.repeat(1024 * 1024) })).toMatchObject({ status: 413 })
  expect((await post(token, {})).status).toBe(202)
})

test('a compensation is called back with a token of its own, also of a saga that is stuck over another step', async () => {
  const sagaId = await stage.start(await stage.define())
  await stage.query(
    `UPDATE sagas SET status = 'stuck', due_at = NULL,
       state = state || '{"status":"stuck","attempts":{"two":2},"stuck":{"direction":"compensation"}}'
     WHERE saga_id = $1`,
    [sagaId],
  )
  expect((await post(tokenOf(sagaId, 'two'), {})).status).toBe(404)
  expect((await post(tokenOf(sagaId, 'two', 'compensation'), {})).status).toBe(202)
})
