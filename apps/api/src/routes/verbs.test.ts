import { afterAll, describe, expect, test } from 'vitest'
import { openStage } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask, query, define, start, store } = stage
const definition = await define()

type Letter = {
  kind: string
  verb?: string
  actor: string
  reason: string
  step?: string
  decidedOn?: number
}

async function lettersTo(sagaId: string): Promise<Letter[]> {
  return (await store.mailbox.read(sagaId, 0)).map(({ letter }) => letter as Letter)
}

async function pastPivot(sagaId: string): Promise<void> {
  await query('UPDATE sagas SET past_pivot = true WHERE saga_id = $1', [sagaId])
}

function act(sagaId: string, verb: string, more: { body?: object; headers?: Record<string, string> } = {}) {
  return ask('POST', `/v1/sagas/${sagaId}/${verb}`, {
    body: { reason: 'because', ...more.body },
    headers: more.headers ?? {},
  })
}

const STUCK_VERBS = ['retry', 'skip', 'mark-compensated'] as const
const ALL = ['cancel', ...STUCK_VERBS, 'abandon'] as const

describe('a cancel (S25)', () => {
  test('of a saga on its way is accepted, and a letter waits for its worker', async () => {
    const sagaId = await start(definition)
    const answer = await act(sagaId, 'cancel', { headers: { 'x-actor': 'ops' } })
    expect(answer).toMatchObject({
      status: 202,
      body: { accepted: true, sagaId, status: 'running', version: 1 },
    })
    expect(await lettersTo(sagaId)).toEqual([{ kind: 'cancel', actor: 'ops', reason: 'because' }])
    // Asked again, it is accepted again.
    expect((await act(sagaId, 'cancel')).status).toBe(202)
  })

  test.each(['completed', 'failed', 'cancelled', 'abandoned'] as const)(
    'of one that is %s says so',
    async (status) => {
      const sagaId = await start(definition)
      await stage.end(sagaId, status)
      expect(await act(sagaId, 'cancel')).toMatchObject({
        status: 409,
        body: { code: 'ALREADY_ENDED', sagaStatus: status },
      })
      expect(await lettersTo(sagaId)).toEqual([])
    },
  )

  test('of one past its pivot says so', async () => {
    const sagaId = await start(definition)
    await pastPivot(sagaId)
    expect(await act(sagaId, 'cancel')).toMatchObject({
      status: 409,
      body: { code: 'PAST_PIVOT', sagaStatus: 'running' },
    })
    await stage.end(sagaId, 'completed')
    expect(await act(sagaId, 'cancel')).toMatchObject({
      status: 409,
      body: { code: 'ALREADY_ENDED', sagaStatus: 'completed' },
    })
  })

  test('of one that needs a person is accepted too', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    expect(await act(sagaId, 'cancel')).toMatchObject({ status: 202, body: { status: 'stuck', version: 2 } })
  })

  test('that is refused for a reason that is gone by the time it is looked at is tried again', async () => {
    const sagaId = await start(definition)
    const { post } = store.mailbox
    let refusals = 0
    store.mailbox.post = async (...given) => {
      if (refusals++ < 2) return { is: 'refused', status: 'running', version: 1, pastPivot: false }
      return post(...given)
    }
    try {
      expect((await act(sagaId, 'cancel')).status).toBe(202)
    } finally {
      store.mailbox.post = post
    }
  })
})

describe('a verb for a stuck saga (S30)', () => {
  test.each([
    ['retry', 'retry'],
    ['skip', 'skip'],
    ['mark-compensated', 'markCompensated'],
  ])('%s leaves a letter that names the version it was decided on', async (path, verb) => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    const answer = await act(sagaId, path, { body: { step: 'two' }, headers: { 'x-actor': 'ops' } })
    expect(answer).toMatchObject({
      status: 202,
      body: { accepted: true, sagaId, status: 'stuck', version: 2 },
    })
    expect(await lettersTo(sagaId)).toEqual([
      { kind: 'verb', verb, actor: 'ops', reason: 'because', step: 'two', decidedOn: 2 },
    ])
    expect(await query('SELECT due_at IS NOT NULL AS due FROM sagas WHERE saga_id = $1', [sagaId])).toEqual([
      { due: true },
    ])
  })

  test.each(STUCK_VERBS)('%s is not possible while the saga goes by itself, and says why', async (verb) => {
    const sagaId = await start(definition)
    const answer = await act(sagaId, verb)
    expect(answer).toMatchObject({ status: 409, body: { code: 'VERB_NOT_POSSIBLE', sagaStatus: 'running' } })
    expect(answer.body.detail).toBe('the saga is running; only a stuck saga takes this verb')
    expect(await lettersTo(sagaId)).toEqual([])
  })

  test('is not possible for another step than the stuck one, nor to undo what never was done', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId, 'action')
    expect(await act(sagaId, 'retry', { body: { step: 'one' } })).toMatchObject({
      status: 409,
      body: { code: 'VERB_NOT_POSSIBLE', detail: 'the saga is stuck at step "two", not at "one"' },
    })
    expect(await act(sagaId, 'mark-compensated')).toMatchObject({
      status: 409,
      body: { code: 'VERB_NOT_POSSIBLE' },
    })
    expect((await act(sagaId, 'skip')).status).toBe(202)
  })

  test('is decided again when the saga moves between being read and being written to', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    const { saga } = store.queries
    let moves = 2
    store.queries.saga = async (id) => {
      const found = await saga(id)
      if (moves-- > 0) await query('UPDATE sagas SET version = version + 1 WHERE saga_id = $1', [id])
      return found
    }
    try {
      expect(await act(sagaId, 'retry')).toMatchObject({ status: 202, body: { version: 4 } })
      expect(await lettersTo(sagaId)).toMatchObject([{ decidedOn: 4 }])
      moves = 99
      expect(await act(sagaId, 'retry')).toMatchObject({ status: 409, body: { code: 'VERB_NOT_POSSIBLE' } })
    } finally {
      store.queries.saga = saga
    }
  })
})

describe('abandoning (S30)', () => {
  test('ends a saga at once, with who and why', async () => {
    const sagaId = await start(definition)
    const answer = await act(sagaId, 'abandon', { headers: { 'x-actor': 'ops' } })
    expect(answer).toMatchObject({
      status: 200,
      body: { accepted: true, sagaId, status: 'abandoned', version: 2 },
    })
    const { body } = await ask('GET', `/v1/sagas/${sagaId}/history`)
    expect(body.items).toMatchObject([
      { seq: 1 },
      { seq: 2, kind: 'abandoned', actor: 'ops', reason: 'because' },
    ])
    expect(await act(sagaId, 'abandon')).toMatchObject({
      status: 409,
      body: { code: 'ALREADY_ENDED', sagaStatus: 'abandoned' },
    })
  })
})

describe('every verb', () => {
  test.each(ALL)('%s tells a saga that has ended how it has', async (verb) => {
    const sagaId = await start(definition)
    await stage.end(sagaId, 'cancelled')
    expect(await act(sagaId, verb)).toMatchObject({
      status: 409,
      body: { code: 'ALREADY_ENDED', sagaStatus: 'cancelled' },
    })
  })

  test.each(ALL)('%s honours If-Match', async (verb) => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    for (const stale of ['"1"', '"3"', '"999999999999999"', '1']) {
      const answer = await act(sagaId, verb, { headers: { 'if-match': stale } })
      expect(answer, stale).toMatchObject({
        status: 412,
        body: { code: 'STALE_VERSION', sagaStatus: 'stuck' },
      })
      expect(answer.body.detail).toContain('the saga has version 2')
    }
    for (const bad of ['W/"2"', '"two"', '"2", "3"', '-2', '""', '"1234567890123456"']) {
      const answer = await act(sagaId, verb, { headers: { 'if-match': bad } })
      expect(answer, bad).toMatchObject({ status: 400, body: { code: 'BAD_REQUEST' } })
    }
    expect(await lettersTo(sagaId)).toEqual([])
    const { headers } = await ask('GET', `/v1/sagas/${sagaId}`)
    expect((await act(sagaId, verb, { headers: { 'if-match': String(headers.etag) } })).body.accepted).toBe(
      true,
    )
  })

  test.each(ALL)('%s takes any version with If-Match: *', async (verb) => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    expect((await act(sagaId, verb, { headers: { 'if-match': '*' } })).body.accepted).toBe(true)
  })

  test.each(ALL)('%s needs a reason, and takes nothing unknown', async (verb) => {
    const sagaId = await start(definition)
    const send = (body: unknown) => ask('POST', `/v1/sagas/${sagaId}/${verb}`, { body })
    expect(await send({})).toMatchObject({ status: 422, body: { errors: [{ pointer: '/reason' }] } })
    expect(await send({ reason: '' })).toMatchObject({ status: 422 })
    expect(await send({ reason: 'x'.repeat(2_001) })).toMatchObject({ status: 422 })
    expect(await send({ reason: 'r', why: 1 })).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: '/why' }] },
    })
    expect(await ask('POST', `/v1/sagas/${sagaId}/${verb}`)).toMatchObject({
      status: 400,
      body: { code: 'MALFORMED_JSON' },
    })
    expect(await ask('GET', `/v1/sagas/${sagaId}/${verb}`)).toMatchObject({
      status: 405,
      headers: { allow: 'POST' },
    })
  })

  test.each([
    [undefined, 'anonymous'],
    ['', 'anonymous'],
    ['   ', 'anonymous'],
    ['Jo Ops', 'Jo Ops'],
    [Buffer.from('José 💥').toString('latin1'), 'José 💥'],
    ['Jos\xe9', 'José'],
    ['a\tb', 'a b'],
    [Buffer.from('evil\u202etxt\u2028').toString('latin1'), 'evil txt'],
  ])('is done in the name of %j as %j', async (header, actor) => {
    const sagaId = await start(definition)
    await act(sagaId, 'cancel', { headers: header === undefined ? {} : { 'x-actor': header } })
    expect(await lettersTo(sagaId)).toMatchObject([{ actor }])
  })

  test('is done in no name longer than a line', async () => {
    const sagaId = await start(definition)
    await act(sagaId, 'cancel', { headers: { 'x-actor': 'x'.repeat(5_000) } })
    expect(Buffer.byteLength((await lettersTo(sagaId))[0]?.actor ?? '')).toBe(200)
  })

  test.each(ALL)('%s wakes a worker of the queue', async (verb) => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    const woken: string[] = []
    const { due } = store.wakeups
    store.wakeups.due = (queue) => woken.push(queue)
    await act(sagaId, verb)
    store.wakeups.due = due
    expect(woken).toEqual([definition])
  })

  test('keeps a reason as it was given', async () => {
    const sagaId = await start(definition)
    const reason = 'he said "no"; \'; DROP TABLE sagas; -- 💥\n\u0001\u2028'
    await act(sagaId, 'cancel', { body: { reason } })
    expect(await lettersTo(sagaId)).toMatchObject([{ reason }])
  })
})
