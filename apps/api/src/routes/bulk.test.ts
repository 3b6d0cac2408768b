import { Bulk, BulkItem, BulkPreview, pageOf } from '@backstitch/core'
import { newSagaId } from '@backstitch/store'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStage, openStageForTest, type Stage } from '../testing.ts'

let stage: Stage
let ask: Stage['ask']
beforeAll(async () => {
  stage = await openStage()
  ask = stage.ask
})
afterAll(() => stage.close())

const Items = pageOf(BulkItem)

async function begin(body: Record<string, unknown>, headers: Record<string, string> = {}): Promise<Bulk> {
  const answer = await ask('POST', '/v1/bulk', {
    body: { reason: 'too slow', perSecond: 500, ...body },
    headers: { 'x-actor': 'ann', ...headers },
  })
  expect(answer, answer.text).toMatchObject({ status: 202 })
  const bulk = Bulk.parse(JSON.parse(answer.text))
  expect(answer.headers.location).toBe(`/v1/bulk/${bulk.bulkId}`)
  return bulk
}

async function get(bulkId: string): Promise<Bulk> {
  return Bulk.parse(JSON.parse((await ask('GET', `/v1/bulk/${bulkId}`)).text))
}

async function ended(bulkId: string): Promise<Bulk> {
  return expect
    .poll(() => get(bulkId), { timeout: 60_000, interval: 10 })
    .toMatchObject({ state: 'done' })
    .then(() => get(bulkId))
}

async function items(bulkId: string, query = ''): Promise<BulkItem[]> {
  return Items.parse(JSON.parse((await ask('GET', `/v1/bulk/${bulkId}/items?limit=200${query}`)).text)).items
}

async function historyOf(sagaId: string) {
  const { body } = await ask('GET', `/v1/sagas/${sagaId}/history`)
  return body.items ?? []
}

async function letters(sagaId: string): Promise<unknown[]> {
  const rows = await stage.query('SELECT body FROM saga_mail WHERE saga_id = $1 ORDER BY seq', [sagaId])
  return rows.map(({ body }) => body)
}

describe('a bulk operation (S30)', () => {
  test('does a verb to all that a filter finds, and says of each what came of it', async () => {
    const definition = await stage.define()
    const moving = await stage.start(definition, { tags: { shop: 'a' } })
    const stuck = await stage.start(definition, { tags: { shop: 'a' } })
    const other = await stage.start(definition, { tags: { shop: 'b' } })
    const over = await stage.start(definition, { tags: { shop: 'a' } })
    await stage.stick(stuck)
    await stage.end(over, 'completed')
    const { bulkId, ...begun } = await begin({
      filter: { definition, tags: { shop: 'a' } },
      verb: 'skip',
      step: 'two',
    })
    expect(begun).toMatchObject({
      verb: 'skip',
      step: 'two',
      actor: 'ann',
      total: 2,
      cut: false,
      filter: { definition },
    })
    expect(await ended(bulkId)).toMatchObject({
      done: 2,
      accepted: 1,
      refused: 1,
      failed: 0,
      endedAt: expect.any(String),
    })
    expect(new Set(await items(bulkId))).toEqual(
      new Set([
        {
          sagaId: moving,
          state: 'refused',
          detail: 'the saga is running; only a stuck saga takes this verb',
        },
        { sagaId: stuck, state: 'accepted' },
      ]),
    )
    expect(await items(bulkId, '&state=accepted')).toEqual([{ sagaId: stuck, state: 'accepted' }])
    expect(await letters(stuck)).toEqual([
      {
        kind: 'verb',
        verb: 'skip',
        step: 'two',
        actor: 'ann',
        reason: `too slow (bulk operation ${bulkId})`,
        decidedOn: 2,
      },
    ])
    for (const untouched of [moving, other, over]) expect(await letters(untouched)).toEqual([])
  })

  test('names who, why and itself in the history of each saga', async () => {
    const definition = await stage.define()
    const sagaId = await stage.start(definition)
    const { bulkId } = await begin({ sagaIds: [sagaId], verb: 'abandon' })
    await ended(bulkId)
    expect((await historyOf(sagaId)).at(-1)).toMatchObject({
      kind: 'abandoned',
      actor: 'ann',
      reason: `too slow (bulk operation ${bulkId})`,
    })
  })

  test.each([
    ['pause', undefined],
    ['resume', 'the saga is not paused'],
    ['runNow', undefined],
  ])('knows the verbs for what moves: %s', async (verb, why) => {
    const definition = await stage.define()
    const sagaId = await stage.start(definition)
    const { bulkId } = await begin({ filter: { definition }, verb })
    await ended(bulkId)
    const [item] = await items(bulkId)
    expect(item).toEqual(
      why === undefined ? { sagaId, state: 'accepted' } : { sagaId, state: 'refused', detail: why },
    )
    const reason = `too slow (bulk operation ${bulkId})`
    expect(await letters(sagaId)).toEqual(
      why === undefined ? [{ kind: 'verb', verb, actor: 'ann', reason }] : [],
    )
  })

  test('retries what is stuck and cannot be read, as the verb by itself does, and does nothing else about its step (S29)', async () => {
    const definition = await stage.define()
    const sagaId = await stage.start(definition)
    await stage.stick(sagaId)
    await stage.query(`UPDATE sagas SET state = '{"status": "stuck"}' WHERE saga_id = $1`, [sagaId])
    const skip = await begin({ sagaIds: [sagaId], verb: 'skip' })
    expect(await ended(skip.bulkId)).toMatchObject({ accepted: 0, refused: 1 })
    const retry = await begin({ sagaIds: [sagaId], verb: 'retry' })
    expect(await ended(retry.bulkId)).toMatchObject({ accepted: 1, refused: 0 })
    expect(await letters(sagaId)).toMatchObject([{ kind: 'verb', verb: 'retry', decidedOn: 2 }])
    const { body } = await ask('POST', `/v1/sagas/${sagaId}/retry`, { body: { reason: 'r' } })
    expect(body).toMatchObject({ accepted: true })
  })

  test('is decided on what lies unread in the mail, too: a resume follows its pause at once (S30c)', async () => {
    const definition = await stage.define()
    const sagaId = await stage.start(definition)
    for (const verb of ['pause', 'resume']) {
      const { bulkId } = await begin({ sagaIds: [sagaId], verb })
      await ended(bulkId)
      expect(await items(bulkId)).toEqual([{ sagaId, state: 'accepted' }])
    }
    expect(await letters(sagaId)).toMatchObject([{ verb: 'pause' }, { verb: 'resume' }])
  })

  test('takes ids once each, also of sagas that are not there or have ended', async () => {
    const definition = await stage.define()
    const [live, over, none] = [await stage.start(definition), await stage.start(definition), newSagaId(0)]
    await stage.end(over, 'cancelled')
    const { bulkId, total } = await begin({ sagaIds: [over, live, none, live], verb: 'cancel' })
    expect(total).toBe(3)
    await ended(bulkId)
    expect(await items(bulkId)).toEqual([
      { sagaId: over, state: 'refused', detail: 'the saga has ended: it is cancelled' },
      { sagaId: live, state: 'accepted' },
      { sagaId: none, state: 'refused', detail: `there is no saga "${none}"` },
    ])
    expect(await letters(live)).toHaveLength(1)
  })

  test('asked for twice under one key is one operation; another request under it is refused', async () => {
    const definition = await stage.define()
    const sagaId = await stage.start(definition)
    const body = { sagaIds: [sagaId], verb: 'cancel' }
    const key = { 'idempotency-key': definition }
    const [one, other] = await Promise.all([begin(body, key), begin(body, key)])
    expect(one.bulkId).toBe(other.bulkId)
    await ended(one.bulkId)
    expect((await begin(body, key)).state).toBe('done')
    expect(await letters(sagaId)).toHaveLength(1)
    const changed = await ask('POST', '/v1/bulk', {
      body: { ...body, verb: 'abandon', reason: 'r' },
      headers: key,
    })
    expect(changed).toMatchObject({ status: 409, body: { code: 'KEY_CONFLICT' } })
  })

  test('tried dry says how many, why not, and shows some; nothing is done', async () => {
    const definition = await stage.define()
    const sagas = []
    for (let n = 0; n < 13; n++) sagas.push(await stage.start(definition))
    const [first = '', second = '', third = '', ...others] = sagas
    const live = [first, second, ...others]
    await stage.stick(first, 'action')
    await stage.stick(second)
    await stage.end(third, 'completed')
    const dry = async (body: Record<string, unknown>) => {
      const answer = await ask('POST', '/v1/bulk', { body: { reason: 'r', dryRun: true, ...body } })
      expect(answer, answer.text).toMatchObject({ status: 200 })
      return BulkPreview.parse(JSON.parse(answer.text))
    }
    const { sample, ...found } = await dry({ filter: { definition }, verb: 'markCompensated' })
    expect(found).toEqual({
      matching: 12,
      judged: 12,
      possible: 1,
      impossible: 11,
      why: {
        'the saga is running; only a stuck saga takes this verb': 10,
        'step "two" is stuck going forward; there is no compensation to mark as done': 1,
      },
    })
    expect(sample.map(({ sagaId }) => sagaId)).toEqual(live.toSorted().toReversed().slice(0, 10))
    expect(await dry({ filter: { definition, status: ['completed'] }, verb: 'cancel' })).toMatchObject({
      matching: 1,
      why: { 'the saga has ended: it is completed': 1 },
    })
    expect(await dry({ sagaIds: [second, newSagaId(0)], verb: 'retry' })).toMatchObject({
      matching: 2,
      possible: 1,
      why: { 'there is no saga with this id': 1 },
    })
    for (const sagaId of sagas) expect(await letters(sagaId)).toEqual([])
  })

  test('can be stopped: from the answer on nothing more is done', async () => {
    const definition = await stage.define()
    for (let n = 0; n < 40; n++) await stage.start(definition)
    const { bulkId } = await begin({ filter: { definition }, verb: 'cancel', perSecond: 1 })
    const answer = await ask('POST', `/v1/bulk/${bulkId}/abort`)
    const aborted = Bulk.parse(JSON.parse(answer.text))
    expect(aborted).toMatchObject({ state: 'aborted', total: 40 })
    expect(aborted.done).toBeLessThan(40)
    const left = await items(bulkId, '&state=pending')
    expect(left).toHaveLength(40 - aborted.done)
    for (const { sagaId } of left) expect(await letters(sagaId)).toEqual([])
    expect(await get(bulkId)).toEqual(aborted)
    // Stopped twice is stopped.
    expect(JSON.parse((await ask('POST', `/v1/bulk/${bulkId}/abort`)).text)).toEqual(aborted)
  })

  test('goes on in another process, where the first one ended', async () => {
    const first = await openStageForTest()
    const definition = await first.define()
    const sagas = await Promise.all(Array.from({ length: 20 }, () => first.start(definition)))
    const body = { filter: { definition }, verb: 'abandon', reason: 'r', perSecond: 5 }
    const { bulkId } = Bulk.parse(JSON.parse((await first.ask('POST', '/v1/bulk', { body })).text))
    await first.app.close()
    await first.query('UPDATE bulk_operations SET per_second = 500')
    const second = await first.beside()
    const state = async () => JSON.parse((await second.ask('GET', `/v1/bulk/${bulkId}`)).text)
    await expect.poll(state, { timeout: 60_000, interval: 10 }).toMatchObject({ state: 'done', accepted: 20 })
    const abandoned = await first.query(
      "SELECT saga_id FROM saga_history WHERE kind = 'abandoned' AND saga_id = ANY($1)",
      [sagas],
    )
    expect(abandoned).toHaveLength(20)
  })

  test('are listed, newest first', async () => {
    const own = await openStageForTest()
    const made = []
    for (let n = 0; n < 3; n++) {
      const body = { sagaIds: [newSagaId(n)], verb: 'cancel', reason: 'r' }
      const answer = await own.ask('POST', '/v1/bulk', { body })
      made.push(Bulk.parse(JSON.parse(answer.text)).bulkId)
    }
    const found: unknown[] = []
    let cursor = ''
    do {
      const { body } = await own.ask('GET', `/v1/bulk?limit=2${cursor}`)
      found.push(...(body.items ?? []).map(({ bulkId }) => bulkId))
      cursor = body.nextCursor === undefined ? '' : `&cursor=${body.nextCursor}`
    } while (cursor !== '')
    expect(new Set(found)).toEqual(new Set(made))
    expect(found).toHaveLength(3)
  })

  test.each([
    ['neither filter nor ids', {}],
    ['both', { filter: { definition: 'a' }, sagaIds: [newSagaId(0)] }],
    ['a filter that says nothing', { filter: {} }],
    ['a filter that nobody knows', { filter: { colour: 'red' } }],
    ['no ids', { sagaIds: [] }],
    ['what is no id', { sagaIds: ['3f0c2c1e-0000-4000-8000-000000000000'] }],
    ['too fast', { filter: { definition: 'a' }, perSecond: 501 }],
    ['no reason', { filter: { definition: 'a' }, reason: '' }],
    ['a verb that is not for many', { filter: { definition: 'a' }, verb: 'start' }],
    ['no time', { filter: { createdAfter: '2024-02-30T00:00:00Z' } }],
  ])('is refused with %s', async (_, body) => {
    const answer = await ask('POST', '/v1/bulk', { body: { verb: 'cancel', reason: 'r', ...body } })
    expect(answer).toMatchObject({ status: 422, body: { code: 'INVALID_REQUEST' } })
  })

  test.each(['', '/items', '/abort'])('that is not there: %s', async (path) => {
    for (const id of ['nonsense', '3f0c2c1e-0000-4000-8000-000000000000']) {
      const method = path === '/abort' ? 'POST' : 'GET'
      expect(await ask(method, `/v1/bulk/${id}${path}`)).toMatchObject({
        status: 404,
        body: { code: 'BULK_NOT_FOUND' },
      })
    }
  })
})
