import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Answer, openStage, openStageForTest, type Stage } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask, query, define, start, store } = stage

const UNKNOWN = '018f0000-0000-7000-8000-000000000000'

function idsOf(body: Answer['body']): string[] {
  return (body.items ?? []).map(({ sagaId }) => String(sagaId))
}

/** Follows the list to its end. */
async function all(path: string): Promise<string[]> {
  const ids: string[] = []
  for (let cursor = ''; ; ) {
    const { status, body, text } = await ask('GET', `${path}${cursor}`)
    if (status !== 200) throw new Error(text)
    ids.push(...idsOf(body))
    if (body.nextCursor === undefined) return ids
    cursor = `&cursor=${body.nextCursor}`
  }
}

describe('the list', () => {
  test('has the newest first, in pages, and the last page says that it is the last', async () => {
    const definition = await define()
    const ids: string[] = []
    for (let n = 0; n < 7; n++) ids.push(await start(definition))
    const first = await ask('GET', `/v1/sagas?definition=${definition}&limit=3`)
    expect(first.body.items).toHaveLength(3)
    expect(first.body.nextCursor).toMatch(/^[\w-]+$/)
    expect(await all(`/v1/sagas?definition=${definition}&limit=3`)).toEqual(ids.toReversed())
    expect(await all(`/v1/sagas?definition=${definition}&limit=7`)).toEqual(ids.toReversed())
    const exact = await ask('GET', `/v1/sagas?definition=${definition}&limit=7`)
    expect(exact.body).not.toHaveProperty('nextCursor')
    expect((await ask('GET', '/v1/sagas')).body.items).toHaveLength(7)
  })

  test('misses and repeats nothing of what was there when it began, while more is started', async () => {
    const definition = await define()
    const before = await Promise.all(Array.from({ length: 60 }, () => start(definition)))
    let over = false
    const inserting = (async () => {
      while (!over) await start(definition)
    })()
    const seen = await all(`/v1/sagas?definition=${definition}&limit=4`)
    over = true
    await inserting
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen).toEqual(expect.arrayContaining(before))
  })

  test('shows of each saga what a list needs, and no payload', async () => {
    const definition = await define()
    const sagaId = await start(definition, { input: { secret: 1 }, sagaKey: 'k', tags: { a: 'b' } })
    await stage.stick(sagaId)
    const { body, text } = await ask('GET', `/v1/sagas?definition=${definition}`)
    expect(text).not.toContain('secret')
    expect(body.items).toEqual([
      {
        sagaId,
        definition: { name: definition, version: 1 },
        status: 'stuck',
        startedAt: expect.any(String),
        updatedAt: expect.any(String),
        completedSteps: [],
        compensatedSteps: [],
        uncertainSteps: [],
        currentSteps: ['two'],
        paused: false,
        stuck: expect.objectContaining({ step: 'two', direction: 'compensation' }),
        version: 2,
        sagaKey: 'k',
        tags: { a: 'b' },
      },
    ])
  })

  test('is filtered by all that is asked for at once', async () => {
    const definition = await define()
    await define(definition, { description: 'two' })
    const plain = await start(definition, { version: 1, tags: { shop: 'a', 'x.y': '1' } })
    const stuck = await start(definition, { tags: { shop: 'b&c=d' } })
    const failed = await start(definition, { sagaKey: 'f', tags: { shop: 'a' } })
    await stage.stick(stuck)
    await stage.end(failed, 'failed')
    await query("UPDATE sagas SET failed_step = 'two' WHERE saga_id = $1", [failed])
    const [row] = await query('SELECT created_at FROM sagas WHERE saga_id = $1', [stuck])
    const at = row?.created_at instanceof Date ? row.created_at.toISOString() : ''
    const found = (filter: string) => all(`/v1/sagas?definition=${definition}${filter}`)

    expect(await found('')).toEqual([failed, stuck, plain])
    expect(await found('&version=1')).toEqual([plain])
    expect(await found('&status=stuck')).toEqual([stuck])
    expect(await found('&status=stuck,failed')).toEqual([failed, stuck])
    expect(await found('&status=failed&status=stuck')).toEqual([failed, stuck])
    expect(await found('&status=failed&sagaKey=f')).toEqual([failed])
    expect(await found('&failedStep=two')).toEqual([failed])
    expect(await found('&failedStep=one')).toEqual([])
    expect(await found('&tag.shop=a')).toEqual([failed, plain])
    expect(await found('&tag.shop=a&tag.x.y=1')).toEqual([plain])
    expect(await found(`&tag.shop=${encodeURIComponent('b&c=d')}`)).toEqual([stuck])
    expect(await found(`&createdAfter=${at}`)).toEqual([failed])
    expect(await found(`&createdBefore=${at}`)).toEqual([plain])
    expect(await found(`&createdBefore=${encodeURIComponent('2999-01-01T00:00:00+02:00')}`)).toHaveLength(3)
    expect(await found(`&updatedBefore=${at}`)).toEqual([plain])
    expect(await found('&clean=true')).toEqual([])
    expect(await found('&paused=false')).toEqual([failed, stuck, plain])
    expect(await found('&paused=true')).toEqual([])
    expect(await found('&q=f')).toEqual([failed])
    expect(await found(`&q=${encodeURIComponent('b&c=d')}`)).toEqual([stuck])
    expect(await found(`&q=${plain}`)).toEqual([plain])
    expect(await found(`&q=${encodeURIComponent("'; DROP TABLE sagas; --")}`)).toEqual([])
  })

  test.each([
    'limit=0',
    'limit=201',
    'limit=ten',
    'limit=',
    'limit=1&limit=2',
    'status=nonsense',
    'status=',
    'status=running,nonsense',
    'definition=a%20b',
    'version=0',
    'version=99999999999',
    'sagaKey=',
    'sagaKey=%00',
    'sagaKey=%0A',
    'failedStep=%27',
    'createdAfter=yesterday',
    'createdAfter=2024-02-30T00:00:00Z',
    'createdBefore=2024-01-01',
    'updatedBefore=1700000000',
    'tag.a%20b=1',
    'tag.=1',
    'tag.a=%00',
    'tag.a=1&tag.a=2',
    `tag.a=${'x'.repeat(256)}`,
    'staus=stuck',
    'q=',
    'q=%00',
    `q=${'x'.repeat(256)}`,
    'clean=yes',
    'paused=',
    'constructor=1',
    'toString=1',
  ])('is not made from ?%s', async (filter) => {
    const answer = await ask('GET', `/v1/sagas?${filter}`)
    expect(answer).toMatchObject({ status: 400, body: { code: 'BAD_REQUEST' } })
    expect(answer.body.errors?.[0]?.pointer).toMatch(/^\/query\//)
  })

  test('takes no cursor but its own', async () => {
    const definition = await define()
    for (let n = 0; n < 3; n++) await start(definition)
    const cursorOf = async (path: string) => String((await ask('GET', path)).body.nextCursor)
    const own = await cursorOf(`/v1/sagas?definition=${definition}&status=running,stuck&limit=1`)
    // The same filter, said differently, at another length of page.
    const same = await ask(
      'GET',
      `/v1/sagas?limit=2&status=stuck&status=running&definition=${definition}&cursor=${own}`,
    )
    expect(same.body.items).toHaveLength(2)

    const tampered = Buffer.from(own, 'base64url')
      .toString()
      .replace(/\d{4}-/, '9999-')
    const place = JSON.parse(Buffer.from(own, 'base64url').toString())
    for (const cursor of [
      await cursorOf(`/v1/sagas?definition=${definition}&limit=1`),
      await cursorOf('/v1/definitions?limit=1'),
      'garbage',
      '%00',
      '',
      'AAAA',
      Buffer.from('[]').toString('base64url'),
      Buffer.from('{"__proto__":1}').toString('base64url'),
      Buffer.from('['.repeat(3_000)).toString('base64url'),
      Buffer.from(JSON.stringify([place[0], ["x'", UNKNOWN]])).toString('base64url'),
      Buffer.from(JSON.stringify([place[0], [place[1][0], "'; --"]])).toString('base64url'),
      Buffer.from(JSON.stringify([place[0], [place[1][0]]])).toString('base64url'),
      own.slice(2),
    ]) {
      const answer = await ask(
        'GET',
        `/v1/sagas?definition=${definition}&status=running,stuck&cursor=${cursor}`,
      )
      expect(answer, cursor).toMatchObject({ status: 400, body: { code: 'INVALID_CURSOR' } })
    }
    // Whoever makes a place up gets that place of the same list, and nothing else.
    const made = await ask(
      'GET',
      `/v1/sagas?definition=${definition}&status=running,stuck&cursor=${Buffer.from(tampered).toString('base64url')}`,
    )
    expect(made.status).toBe(200)
  })
})

describe('one saga', () => {
  test.each([
    UNKNOWN,
    '1',
    UNKNOWN.toUpperCase(),
    UNKNOWN.replace('-7', '-4'),
    '%00',
    '..%2F..%2Fetc',
    "'%20OR%201=1",
    '%F0%9F%92%A5',
    'a'.repeat(199),
    'a'.repeat(5_000),
    '__proto__',
    'constructor',
    '%20',
  ])('that is not there is not found: %s', async (sagaId) => {
    const calls: string[] = []
    const { saga } = store.queries
    store.queries.saga = (id) => {
      calls.push(id)
      return saga(id)
    }
    try {
      for (const path of [
        '',
        '/history',
        '/wait',
        '/cancel',
        '/retry',
        '/skip',
        '/mark-compensated',
        '/abandon',
      ]) {
        const isVerb = !['', '/history', '/wait'].includes(path)
        const answer = await ask(
          isVerb ? 'POST' : 'GET',
          `/v1/sagas/${sagaId}${path}`,
          isVerb ? { body: { reason: 'r' } } : {},
        )
        expect(answer.status, path).toBe(404)
        expect(['SAGA_NOT_FOUND', 'NOT_FOUND']).toContain(answer.body.code)
      }
    } finally {
      store.queries.saga = saga
    }
    // The database is asked about ids and about nothing else.
    expect(calls.every((id) => id === UNKNOWN)).toBe(true)
  })
})

describe('waiting', () => {
  test('ends when the saga does, for all who wait', async () => {
    const sagaId = await start(await define())
    const waiting = Array.from({ length: 20 }, () => ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=20000`))
    await stage.end(sagaId, 'failed')
    for (const { status, body, headers } of await Promise.all(waiting)) {
      expect(status).toBe(200)
      expect(headers.etag).toBe('"2"')
      expect(body).toMatchObject({ sagaId, status: 'failed', clean: true })
    }
  })

  test('answers with the saga as it stands when time is up, or at once', async () => {
    const sagaId = await start(await define())
    for (const timeoutMs of [0, 20]) {
      const answer = await ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=${timeoutMs}`)
      expect(answer).toMatchObject({ status: 200, body: { status: 'running' } })
    }
    await stage.stick(sagaId)
    const answer = await ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=60000`)
    expect(answer).toMatchObject({ status: 200, body: { status: 'stuck' } })
    expect((await ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=60001`)).status).toBe(400)
  })
})

describe('where hints arrive of what comes to rest', () => {
  /** From the wait on, which `waits` resolves with, the clock stands. */
  function hinted({ store: { rests, queries } }: Stage) {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { resting } = queries
    const asked: string[] = []
    queries.resting = (sagaIds) => {
      asked.push(...sagaIds)
      return resting(sagaIds)
    }
    const waits = new Promise<void>((resolve) => {
      rests.expect = (_, onRested) => {
        onRested([UNKNOWN])
        resolve()
        return true
      }
    })
    return { asked, waits }
  }

  test.each(['wait', 'start sent again'])(
    'a %s asks at once: it may be at rest since long ago',
    async (how) => {
      const own = await openStageForTest()
      const definition = await own.define()
      const sagaId = await own.start(definition, { sagaKey: 'a' })
      await own.stick(sagaId)
      const { asked, waits } = hinted(own)
      const waiting =
        how === 'wait'
          ? own.ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=60000`)
          : own.ask('POST', '/v1/sagas?waitMs=60000', { body: { definition, sagaKey: 'a' } })
      await waits
      await vi.advanceTimersByTimeAsync(2)
      expect(asked).toEqual([sagaId])
      expect(await waiting).toMatchObject({ status: 200, body: { status: 'stuck' } })
    },
  )

  test('whoever waits for what has just been started gives the hint its time', async () => {
    const own = await openStageForTest()
    const definition = await own.define()
    const { asked, waits } = hinted(own)
    const waiting = own.ask('POST', '/v1/sagas?waitMs=60000', { body: { definition } })
    await waits
    await vi.advanceTimersByTimeAsync(40)
    expect(asked).toEqual([])
    await vi.advanceTimersByTimeAsync(60_000)
    expect((await waiting).status).toBe(202)
  })
})

describe('waiting for a stuck saga', () => {
  test('goes on while a letter is unread: what the operator decided is about to be done', async () => {
    const sagaId = await start(await define())
    await stage.stick(sagaId)
    expect((await ask('POST', `/v1/sagas/${sagaId}/retry`, { body: { reason: 'r' } })).status).toBe(202)
    const waiting = ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=20000`)
    await expect.poll(async () => (await ask('GET', '/metrics')).text).toMatch(/^backstitch_waiters 1$/m)
    await query('UPDATE sagas SET mail_seen = mail_seq, due_at = NULL WHERE saga_id = $1', [sagaId])
    expect(await waiting).toMatchObject({ status: 200, body: { status: 'stuck' } })
  })
})

describe('a history', () => {
  test('is paged in order', async () => {
    const sagaId = await start(await define(), { input: { a: 1 } })
    await query(
      `INSERT INTO saga_history (bucket, saga_id, seq, at, kind, epoch, worker, body)
       SELECT bucket, saga_id, n, now(), 'deadlinePassed', 0, NULL, '{"to":{}}' FROM sagas, generate_series(2, 5) n WHERE saga_id = $1`,
      [sagaId],
    )
    const seqs: unknown[] = []
    for (let cursor = ''; ; ) {
      const { body } = await ask('GET', `/v1/sagas/${sagaId}/history?limit=2${cursor}`)
      seqs.push(...(body.items ?? []).map(({ seq }) => seq))
      if (body.nextCursor === undefined) break
      cursor = `&cursor=${body.nextCursor}`
    }
    expect(seqs).toEqual([1, 2, 3, 4, 5])
    const { body } = await ask('GET', `/v1/sagas/${sagaId}/history?limit=1`)
    expect(body.items).toMatchObject([
      { seq: 1, epoch: 0, worker: null, kind: 'sagaStarted', input: { a: 1 } },
    ])

    const other = await start(await define())
    const foreign = await ask('GET', `/v1/sagas/${other}/history?cursor=${body.nextCursor}`)
    expect(foreign).toMatchObject({ status: 400, body: { code: 'INVALID_CURSOR' } })
  })
})

describe('whatever its row holds, a saga can be read, listed, cancelled and closed (S29, F11, F65)', () => {
  const deep = `jsonb_build_object('status','running','x',(repeat('[',3000)||repeat(']',3000))::jsonb)`
  test.each([
    ['an empty object', `'{}'`],
    ['no object at all', `'"text"'`],
    ['an array', `'[1,2]'`],
    ['null', `'null'`],
    ['a state without its context', `state - 'context'`],
    ['steps that are numbers', `state || '{"completedSteps":[1,2]}'`],
    ['attempts of the wrong kind', `state || '{"attempts":[]}'`],
    [
      'a value of which the history knows nothing',
      `state || '{"completedSteps":["one"],"bytes":{"inline":0,"total":9000}}'`,
    ],
    ['another id', `state || '{"sagaId":"somebody else"}'`],
    ['instants that are none', `state || '{"startedAt":"once","dueAt":{"one":"never"}}'`],
    ['unknown fields', `state || '{"added":"later","__proto__":{"x":1}}'`],
    ['an infinite number', `state || '{"bytes":{"inline":1e400,"total":1}}'`],
    ['nothing but depth', deep],
    [
      'a context nested deeper than can be written',
      `state || jsonb_build_object('context', jsonb_build_object('input', (repeat('[',4500)||repeat(']',4500))::jsonb))`,
    ],
  ])('%s', async (_, state) => {
    const definition = await define()
    const sagaId = await start(definition, { input: { a: 1 }, tags: { t: '1' } })
    await query(`UPDATE sagas SET state = ${state}, tags = '{"t":1,"u":null}' WHERE saga_id = $1`, [sagaId])

    const read = await ask('GET', `/v1/sagas/${sagaId}`)
    expect(read).toMatchObject({ status: 200, body: { sagaId, status: 'running', version: 1 } })
    const listed = await ask('GET', `/v1/sagas?definition=${definition}`)
    expect(listed).toMatchObject({ status: 200, body: { items: [{ sagaId }] } })
    expect((await ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=5`)).status).toBe(200)
    expect((await ask('GET', `/v1/sagas/${sagaId}/history`)).status).toBe(200)
    expect((await ask('POST', `/v1/sagas/${sagaId}/retry`, { body: { reason: 'r' } })).status).toBe(409)
    expect((await ask('POST', `/v1/sagas/${sagaId}/cancel`, { body: { reason: 'r' } })).status).toBe(202)
    const closed = await ask('POST', `/v1/sagas/${sagaId}/abandon`, { body: { reason: 'r' } })
    expect(closed).toMatchObject({ status: 200, body: { accepted: true, status: 'abandoned' } })
    expect((await ask('GET', `/v1/sagas/${sagaId}`)).body).toMatchObject({
      status: 'abandoned',
      next: { act: 'nothing' },
    })
  })

  test('and says what of it cannot be read', async () => {
    const sagaId = await start(await define(), { input: 'x'.repeat(5_000) })
    await query("UPDATE saga_history SET kind = 'somethingNewer', body = '{\"a\":1}' WHERE saga_id = $1", [
      sagaId,
    ])
    const { body } = await ask('GET', `/v1/sagas/${sagaId}`)
    expect(body).toMatchObject({
      context: {},
      unreadable: 'no history entry holds the value of "input"',
    })
    const history = await ask('GET', `/v1/sagas/${sagaId}/history`)
    expect(history.body.items).toMatchObject([{ seq: 1, kind: 'unreadable', storedKind: 'somethingNewer' }])
    await query("UPDATE sagas SET state = '{}' WHERE saga_id = $1", [sagaId])
    expect((await ask('GET', `/v1/sagas/${sagaId}`)).body.unreadable).toMatch(
      /^the stored state cannot be read/,
    )
  })
})
