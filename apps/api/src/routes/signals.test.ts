import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStage, type Stage } from '../testing.ts'

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage.close())

const signal = (sagaId: string, name: string, body: unknown) =>
  stage.ask('POST', `/v1/sagas/${sagaId}/signals/${name}`, { body })

test('a signal is accepted for any saga that has not ended, and lies in its mail as it was sent (M2)', async () => {
  const sagaId = await stage.start(await stage.define())

  const answer = await signal(sagaId, 'approved', {
    by: 'ada',
    __proto__: null,
    list: [1, { constructor: 'x' }],
  })

  expect(answer.status).toBe(202)
  expect(answer.body).toMatchObject({ accepted: true, sagaId, status: 'running' })
  expect(await stage.query('SELECT body FROM saga_mail WHERE saga_id = $1', [sagaId])).toEqual([
    { body: { kind: 'signal', signal: 'approved', payload: { by: 'ada', list: [1, { constructor: 'x' }] } } },
  ])
})

test('a payload may be any JSON, null among them, of at most 1 MiB (S31, S32)', async () => {
  const sagaId = await stage.start(await stage.define())

  for (const payload of [null, false, 0, '', [], 'x'.repeat(1024 * 1024 - 2)]) {
    expect((await signal(sagaId, 'any', payload)).status).toBe(202)
  }
  expect(await signal(sagaId, 'any', 'x'.repeat(1024 * 1024 - 1))).toMatchObject({
    status: 413,
    body: { code: 'BODY_TOO_LARGE' },
  })
  const twice = await stage.ask('POST', `/v1/sagas/${sagaId}/signals/any`, { raw: '{"a":1,"a":2}' })
  expect(twice).toMatchObject({ status: 400, body: { code: 'MALFORMED_JSON', errors: [{ pointer: '/a' }] } })
})

test('a saga that has ended takes none, and an unknown one is unknown', async () => {
  const sagaId = await stage.start(await stage.define())
  await stage.end(sagaId, 'completed')

  expect(await signal(sagaId, 'approved', 1)).toMatchObject({
    status: 409,
    body: { code: 'ALREADY_ENDED', sagaStatus: 'completed' },
  })
  expect((await signal('01a1fb8d-89da-749a-8126-ab0ad2a6cc42', 'approved', 1)).status).toBe(404)
  expect((await signal('nonsense', 'approved', 1)).status).toBe(404)
})
