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
const ALL = ['cancel', ...STUCK_VERBS, 'pause', 'abandon'] as const

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

describe('a retry with an edited input (S30a)', () => {
  const edit = (sagaId: string, more: object) => act(sagaId, 'retry', { body: more })

  test('leaves a letter with it, forced where the definition and the state ask for it', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    expect(await edit(sagaId, { input: { a: 1 } })).toMatchObject({
      status: 409,
      body: { code: 'VERB_NOT_POSSIBLE', detail: expect.stringContaining('may be had twice; force it') },
    })
    expect((await edit(sagaId, { input: null, force: true })).status).toBe(202)
    expect(await lettersTo(sagaId)).toMatchObject([{ verb: 'retry', input: null, force: true, decidedOn: 2 }])
  })

  test('needs no force for an action that has definitely not happened, and does for one that may have', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId, 'action')
    await query(
      `UPDATE sagas SET state = jsonb_set(state, '{uncertainSteps}', '["two"]') WHERE saga_id = $1`,
      [sagaId],
    )
    expect((await edit(sagaId, { input: 1 })).body.detail).toContain('"two" is uncertain')
    await query(`UPDATE sagas SET state = jsonb_set(state, '{uncertainSteps}', '[]') WHERE saga_id = $1`, [
      sagaId,
    ])
    expect((await edit(sagaId, { input: 1 })).status).toBe(202)
  })

  test('is refused where there is no input, and where it is too large', async () => {
    const waits = await define('waits', {
      steps: [
        { name: 'one', action: { type: 'delay', delayMs: 1 } },
        { name: 'two', action: { type: 'signal', signal: 'go' }, timeoutMs: 1 },
      ],
    })
    const sagaId = await start(waits)
    await stage.stick(sagaId, 'action')
    expect((await edit(sagaId, { input: 1 })).body.detail).toBe('step "two" waits, and takes no input')
    expect(await edit(sagaId, { input: 'x'.repeat(1024 * 1024) })).toMatchObject({
      status: 413,
      body: { code: 'INPUT_TOO_LARGE' },
    })
    expect(await edit(sagaId, { force: true })).toMatchObject({
      status: 422,
      body: { errors: [{ pointer: '/force' }] },
    })
    expect(await lettersTo(sagaId)).toEqual([])
  })
})

describe('a verb for a saga on its way (S30)', () => {
  async function pause(sagaId: string): Promise<void> {
    await query(
      `UPDATE sagas SET paused = true, due_at = NULL,
         state = state || '{"paused": {"actor": "bob", "reason": "r", "at": "2026-01-02T03:04:05.678Z"}}' WHERE saga_id = $1`,
      [sagaId],
    )
  }

  test.each([
    ['pause', 'pause'],
    ['run-now', 'runNow'],
  ])('%s leaves a letter that is bound to no version', async (path, verb) => {
    const sagaId = await start(definition)
    expect(await act(sagaId, path, { headers: { 'x-actor': 'ops' } })).toMatchObject({
      status: 202,
      body: { status: 'running', version: 1 },
    })
    expect(await lettersTo(sagaId)).toEqual([{ kind: 'verb', verb, actor: 'ops', reason: 'because' }])
  })

  test('says why it is not possible: paused already, not paused, stuck', async () => {
    const sagaId = await start(definition)
    expect((await act(sagaId, 'resume')).body.detail).toBe('the saga is not paused')
    await pause(sagaId)
    expect(await act(sagaId, 'pause')).toMatchObject({
      status: 409,
      body: { code: 'VERB_NOT_POSSIBLE', detail: 'the saga is paused already, by bob' },
    })
    expect((await act(sagaId, 'run-now')).body.detail).toBe('the saga is paused; resume it first')
    expect(await ask('GET', `/v1/sagas/${sagaId}`)).toMatchObject({ body: { paused: { actor: 'bob' } } })
    expect(await ask('GET', `/v1/sagas?definition=${definition}&limit=1`)).toMatchObject({
      body: { items: [{ paused: true }] },
    })
    expect((await act(sagaId, 'resume')).status).toBe(202)
  })

  test('is decided on what lies unread in the mail, too: a resume follows its pause at once (S30c)', async () => {
    const sagaId = await start(definition)
    const answers: number[] = []
    for (const verb of ['pause', 'pause', 'resume', 'resume', 'pause', 'cancel', 'resume'] as const)
      answers.push((await act(sagaId, verb)).status)
    // Nobody has read any of it; a cancel resumes.
    expect(answers).toEqual([202, 202, 202, 409, 202, 202, 409])
  })

  test('pause holds a stuck saga back, too', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    expect((await act(sagaId, 'pause')).status).toBe(202)
    expect((await act(sagaId, 'run-now')).status).toBe(409)
  })
})

describe('the plan of the verbs (S30)', () => {
  const planOf = async (sagaId: string) => {
    const { status, body } = await ask('GET', `/v1/sagas/${sagaId}/plan`)
    expect(status).toBe(200)
    return body
  }

  test('says of each what it would make of the saga, or why it is not possible', async () => {
    const sagaId = await start(definition)
    const plan = await planOf(sagaId)
    expect(plan).toMatchObject({ sagaId, version: 1, status: 'running' })
    expect(plan.verbs).toMatchObject([
      { verb: 'retry', possible: false, why: 'the saga is running; only a stuck saga takes this verb' },
      { verb: 'skip', possible: false },
      { verb: 'markCompensated', possible: false },
      { verb: 'abandon', possible: true, ends: 'abandoned', acts: [] },
      { verb: 'cancel', possible: true, ends: 'cancelled', acts: [] },
      { verb: 'pause', possible: true, ends: 'running', acts: [] },
      { verb: 'resume', possible: false, why: 'the saga is not paused' },
      { verb: 'runNow', possible: true, ends: 'completed' },
    ])
  })

  test('of a stuck saga says at which step, and what follows', async () => {
    const sagaId = await start(definition)
    await stage.stick(sagaId)
    await query(
      `UPDATE sagas SET state = state || '{"completedSteps": ["one", "two"], "cause": "failure"}' WHERE saga_id = $1`,
      [sagaId],
    )
    const about = { possible: true, step: 'two', direction: 'compensation' }
    const undo = (step: string, round: number) => ({
      step,
      direction: 'compensation',
      outcome: 'succeeded',
      round,
    })
    expect((await planOf(sagaId)).verbs).toMatchObject([
      { verb: 'retry', ...about, acts: [undo('two', 1), undo('one', 2)], ends: 'failed' },
      { verb: 'skip', ...about, acts: [undo('one', 1)], ends: 'abandoned' },
      { verb: 'markCompensated', ...about, acts: [undo('one', 1)], ends: 'failed' },
      { verb: 'abandon', notes: ['not undone: "two", "one"'] },
      { verb: 'cancel', possible: true },
      { verb: 'pause', possible: true, ends: 'stuck' },
      { verb: 'resume', possible: false },
      { verb: 'runNow', possible: false },
    ])
  })

  test('says the same as the refusal, of an ended saga, of one past its pivot and of one that cannot be read', async () => {
    const ended = await start(definition)
    await stage.end(ended, 'cancelled')
    const past = await start(definition)
    await query(
      `UPDATE sagas SET past_pivot = true, state = state || '{"pivot": "dispatched"}' WHERE saga_id = $1`,
      [past],
    )
    const broken = await start(definition)
    await query(`UPDATE sagas SET state = '{}' WHERE saga_id = $1`, [broken])
    for (const [sagaId, path, verb] of [
      [ended, 'cancel', 'cancel'],
      [ended, 'pause', 'pause'],
      [past, 'cancel', 'cancel'],
      [past, 'resume', 'resume'],
    ] as const) {
      const { verbs } = await planOf(sagaId)
      const { detail } = (await act(sagaId, path)).body
      expect(verbs).toContainEqual(expect.objectContaining({ verb, possible: false, why: detail }))
    }
    const { verbs } = await planOf(broken)
    expect(verbs).toContainEqual(expect.objectContaining({ verb: 'abandon', possible: true }))
    expect(verbs).toContainEqual(expect.objectContaining({ verb: 'pause', possible: false }))
    expect(verbs).toContainEqual(expect.objectContaining({ verb: 'cancel', possible: true, ends: 'stuck' }))
    expect((await act(broken, 'cancel')).status).toBe(202)
  })

  test('of a saga that is not there is not there', async () => {
    expect(await ask('GET', '/v1/sagas/00000000-0000-7000-8000-000000000000/plan')).toMatchObject({
      status: 404,
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
