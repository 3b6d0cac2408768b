import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { openStage, step } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask, query, define, start } = stage

const Version = z.object({ version: z.int() })

async function sagasOf(definition: string): Promise<number> {
  const [row] = await query('SELECT count(*)::int AS count FROM sagas WHERE definition_name = $1', [
    definition,
  ])
  return Number(row?.count)
}

describe('a start', () => {
  test('is acknowledged with the saga, and reads back the same', async () => {
    const definition = await define()
    const { status, headers, body } = await ask('POST', '/v1/sagas', {
      body: {
        definition,
        input: { orderId: 'o-1' },
        sagaKey: 'order 1',
        tags: { shop: 'b' },
        deadlineMs: 60_000,
      },
    })
    expect(status).toBe(202)
    expect(headers).toMatchObject({ location: `/v1/sagas/${body.sagaId}`, etag: '"1"' })
    expect(headers['idempotent-replay']).toBeUndefined()
    expect(body).toMatchObject({
      definition: { name: definition, version: 1 },
      status: 'running',
      context: { input: { orderId: 'o-1' } },
      sagaKey: 'order 1',
      tags: { shop: 'b' },
      version: 1,
      next: { act: 'attempt', attempts: [{ step: 'one', direction: 'action', attempt: 1 }] },
    })
    const read = await ask('GET', `/v1/sagas/${body.sagaId}`)
    expect(read.headers.etag).toBe('"1"')
    // What only a look around can tell: nobody is there to run it.
    expect(read.body).toEqual({ ...body, next: { ...Object(body.next), waitingForWorker: true } })
  })

  test('shows a large input that is kept in the history as if it stood in the state', async () => {
    const input = { text: 'x'.repeat(10_000) }
    const { body } = await ask('POST', '/v1/sagas', { body: { definition: await define(), input } })
    expect(body.context).toEqual({ input })
    expect((await ask('GET', `/v1/sagas/${body.sagaId}`)).body.context).toEqual({ input })
  })

  test('takes the highest version, or the one it names (S26)', async () => {
    const name = await define()
    await define(name, { description: 'two' })
    const versionOf = async (more: object) =>
      (await ask('POST', '/v1/sagas', { body: { definition: name, ...more } })).body.definition
    expect(await versionOf({})).toEqual({ name, version: 2 })
    expect(await versionOf({ version: 1 })).toEqual({ name, version: 1 })
  })

  test('asks for the highest version once; from then on its own statement sees whether there is another (S26)', async () => {
    const { latest } = stage.store.definitions
    const asked: string[] = []
    stage.store.definitions.latest = (name) => {
      asked.push(name)
      return latest(name)
    }
    onTestFinished(() => {
      stage.store.definitions.latest = latest
    })
    const name = await define()
    for (let n = 0; n < 3; n++) await start(name)
    expect(asked).toEqual([name])
    await start(name, { version: 1 })
    expect(asked).toEqual([name])
    await define(name, { description: 'two' })
    for (let n = 0; n < 3; n++) await start(name)
    expect(asked).toEqual([name, name])
    expect(await sagasOf(name)).toBe(7)
  })

  test('is of no older version than the one whose registration had been acknowledged when it was sent, in another process too (S26)', async () => {
    const other = await stage.beside()
    const name = await define()
    let acknowledged = 1
    const seen = new Set<number>()
    const started = async () => {
      const least = acknowledged
      const { body } = await ask('POST', '/v1/sagas', { body: { definition: name } })
      const { version } = Version.parse(body.definition)
      expect(version).toBeGreaterThanOrEqual(least)
      seen.add(version)
    }
    const registering = async () => {
      while (acknowledged < 30) {
        const body = { name, description: `${acknowledged + 1}`, steps: [step('one')] }
        const answer = await other.ask('POST', '/v1/definitions', { body })
        expect(answer.status).toBe(201)
        acknowledged++
      }
    }
    const starting = async () => {
      while (acknowledged < 30) await Promise.all([started(), started(), started()])
      await started()
    }
    await Promise.all([registering(), starting()])
    expect(Math.max(...seen)).toBe(30)
  })

  test('checks its input against the version that it takes, whichever was seen last (S26)', async () => {
    const other = await stage.beside()
    const name = await define(undefined, { inputSchema: { type: 'string' } })
    await start(name, { input: 'a' })
    const sent = async (input: unknown) => {
      const { status, body } = await ask('POST', '/v1/sagas', { body: { definition: name, input } })
      return { status, version: Version.safeParse(body.definition).data?.version, detail: body.detail }
    }
    const register = (type: string, description: string) => {
      const body = { name, description, inputSchema: { type }, steps: [step('one')] }
      return other.ask('POST', '/v1/definitions', { body })
    }
    await register('number', 'two')
    expect(await sent('a')).toMatchObject({
      status: 422,
      detail: expect.stringContaining(`${name} version 2`),
    })
    await register('string', 'three')
    // What was seen last refuses it, and is not asked.
    expect(await sent('b')).toMatchObject({ status: 202, version: 3 })
    expect(await sagasOf(name)).toBe(2)
  })

  test('of a definition that has been removed since is not found', async () => {
    const definition = await define()
    await start(definition)
    await query('DELETE FROM definitions WHERE name = $1', [definition])
    const answer = await ask('POST', '/v1/sagas', { body: { definition } })
    expect(answer).toMatchObject({ status: 404, body: { code: 'DEFINITION_NOT_FOUND' } })
    expect(await sagasOf(definition)).toBe(1)
  })

  test.each([
    { definition: 'nothing-of-that-name' },
    { definition: 'order', version: 7 },
    { definition: 'order', version: 2_147_483_648 },
    { definition: 'order', version: 9_007_199_254_740_991 },
  ])('of $definition version $version, which is not there, is not found', async (body) => {
    if (body.version !== undefined) await define('order').catch(() => undefined)
    const answer = await ask('POST', '/v1/sagas', { body })
    expect(answer).toMatchObject({ status: 404, body: { code: 'DEFINITION_NOT_FOUND' } })
  })

  test('keeps the correlation id of its body, else of its header, and a traceparent that is valid', async () => {
    const definition = await define()
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const started = async (body: object, headers: Record<string, string>) => {
      const { body: saga } = await ask('POST', '/v1/sagas', { body: { definition, ...body }, headers })
      const [row] = await query('SELECT correlation_id, state FROM sagas WHERE saga_id = $1', [saga.sagaId])
      return { shown: saga, row }
    }
    const both = await started({ correlationId: 'mine' }, { 'x-correlation-id': 'theirs', traceparent })
    expect(both.shown).toMatchObject({ correlationId: 'mine' })
    expect(both.shown).not.toHaveProperty('traceparent')
    expect(both.row).toMatchObject({ correlation_id: 'mine', state: { correlationId: 'mine', traceparent } })
    expect((await started({}, { 'x-correlation-id': 'theirs' })).row).toMatchObject({
      correlation_id: 'theirs',
    })
    for (const bad of [
      '00-0-0-00',
      traceparent.replace('4bf9', 'XXXX'),
      `ff${traceparent.slice(2)}`,
      `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    ]) {
      const { row } = await started({}, { traceparent: bad })
      expect(Object(row?.state)).not.toHaveProperty('traceparent')
    }
  })

  test.each([
    ['no definition', { input: 1 }, '/definition'],
    ['an unknown field', { definition: 'd', inptu: 1 }, '/inptu'],
    ['a version that is none', { definition: 'd', version: 0 }, '/version'],
    ['a name that is none', { definition: 'a b' }, '/definition'],
    ['an empty key', { definition: 'd', sagaKey: '' }, '/sagaKey'],
    ['a key with a line break', { definition: 'd', sagaKey: 'a\nb' }, '/sagaKey'],
    ['a key too long', { definition: 'd', sagaKey: 'k'.repeat(256) }, '/sagaKey'],
    ['a tag that is not text', { definition: 'd', tags: { a: 1 } }, '/tags/a'],
    ['a tag of a strange name', { definition: 'd', tags: { 'a b': 'x' } }, '/tags/a b'],
    ['a deadline in the past', { definition: 'd', deadlineMs: -1 }, '/deadlineMs'],
    ['a deadline that is not whole', { definition: 'd', deadlineMs: 1.5 }, '/deadlineMs'],
    ['not an object', [1], ''],
    ['null', null, ''],
  ])('with %s is invalid, and says where', async (_, body, pointer) => {
    const answer = await ask('POST', '/v1/sagas', { raw: JSON.stringify(body) })
    expect(answer).toMatchObject({ status: 422, body: { code: 'INVALID_REQUEST' } })
    expect(answer.body.errors).toContainEqual(expect.objectContaining({ pointer }))
  })

  test('refuses what would be lost without a word: a tag, or a field, called __proto__', async () => {
    for (const raw of [
      '{"definition":"d","tags":{"__proto__":"x"}}',
      '{"definition":"d","__proto__":{"input":1}}',
    ]) {
      expect(await ask('POST', '/v1/sagas', { raw })).toMatchObject({
        status: 422,
        body: { code: 'INVALID_REQUEST' },
      })
    }
  })

  test.each([
    ['{"__proto__":{"x":1},"constructor":1,"prototype":{"__proto__":null}}'],
    ['[{"toString":null,"hasOwnProperty":1,"__proto__":[]}]'],
    ['""'],
    ['0'],
    ['false'],
    ['null'],
    ['{"":{"":[[],{}]}}'],
    ['["\\u0001\\u007f\\u2028\\ufeff","\\ud83d\\ude00","e\\u0301","\\u202e"]'],
    [
      '{"max":9007199254740991,"min":-9007199254740991,"small":5e-324,"large":1.7976931348623157e308,"half":0.1}',
    ],
  ])('takes the input %s in and gives it out unchanged (S31)', async (input) => {
    const definition = await define()
    const answer = await ask('POST', '/v1/sagas', { raw: `{"definition":"${definition}","input":${input}}` })
    expect(answer.status).toBe(202)
    const canonical = JSON.stringify(JSON.parse(input))
    expect(answer.text).toContain(`"context":{"input":${canonical}}`)
    const [row] = await query(
      "SELECT (state->'context'->'input')::text AS input FROM sagas WHERE saga_id = $1",
      [answer.body.sagaId],
    )
    expect(JSON.parse(String(row?.input))).toEqual(JSON.parse(input))
    const read = await ask('GET', `/v1/sagas/${answer.body.sagaId}`)
    expect(JSON.stringify(JSON.parse(read.text).context.input).length).toBe(canonical.length)
    expect(JSON.parse(read.text).context.input).toEqual(JSON.parse(input))
    expect(Object.hasOwn(Object.prototype, 'x')).toBe(false)
  })

  test('takes an input of exactly 1 MiB, and not a byte more (S32)', async () => {
    const definition = await define()
    const most = 'x'.repeat(1024 * 1024 - 2)
    expect((await ask('POST', '/v1/sagas', { body: { definition, input: most } })).status).toBe(202)
    const answer = await ask('POST', '/v1/sagas', { body: { definition, input: `${most}x` } })
    expect(answer).toMatchObject({ status: 413, body: { code: 'INPUT_TOO_LARGE' } })
    // It is the value that counts, not how roomily it is written.
    const roomy = `{"definition":"${definition}","input":"${'\\u0078'.repeat(200_000)}"}`
    expect((await ask('POST', '/v1/sagas', { raw: roomy })).status).toBe(202)
    expect(await sagasOf(definition)).toBe(2)
  })
})

describe('an inputSchema', () => {
  test('refuses an input that does not fit, and says where', async () => {
    const definition = await define(undefined, {
      inputSchema: {
        type: 'object',
        required: ['orderId', 'total'],
        properties: {
          orderId: { type: 'string', minLength: 1 },
          total: { type: 'number' },
          lines: { type: 'array', items: { type: 'integer' } },
        },
      },
    })
    const answer = await ask('POST', '/v1/sagas', {
      body: { definition, input: { orderId: '', lines: [1, 'a'] } },
    })
    expect(answer).toMatchObject({ status: 422, body: { code: 'INVALID_INPUT' } })
    expect(answer.body.errors).toEqual(
      expect.arrayContaining([
        { pointer: '/input', detail: "must have required property 'total'" },
        { pointer: '/input/orderId', detail: 'must NOT have fewer than 1 characters' },
        { pointer: '/input/lines/1', detail: 'must be integer' },
      ]),
    )
    expect(
      (await ask('POST', '/v1/sagas', { body: { definition, input: { orderId: 'o', total: 1 } } })).status,
    ).toBe(202)
    expect(await sagasOf(definition)).toBe(1)
  })

  test('of a newer version does not hide what an older one has let in: a repetition finds its saga (S23)', async () => {
    const definition = await define()
    const request = { body: { definition, input: 1 }, headers: { 'idempotency-key': 'before the schema' } }
    const first = await ask('POST', '/v1/sagas', request)
    await define(definition, { inputSchema: { type: 'string' } })
    const again = await ask('POST', '/v1/sagas', request)
    expect(again).toMatchObject({
      status: 202,
      body: { sagaId: first.body.sagaId, definition: { version: 1 } },
    })
    const other = await ask('POST', '/v1/sagas', { ...request, body: { definition, input: 2 } })
    expect(other).toMatchObject({ status: 409, body: { code: 'START_CONFLICT', sagaId: first.body.sagaId } })
    expect(await ask('POST', '/v1/sagas', { body: request.body })).toMatchObject({
      body: { code: 'INVALID_INPUT' },
    })
  })
})

describe('a start key (S23)', () => {
  test('makes a hundred equal starts one saga, and all are told so', async () => {
    const definition = await define()
    const request = { body: { definition, input: { n: 1 } }, headers: { 'idempotency-key': 'hundred' } }
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask('POST', '/v1/sagas', request)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]))
    expect(new Set(answers.map(({ body }) => body.sagaId)).size).toBe(1)
    expect(answers.filter(({ headers }) => headers['idempotent-replay'] === 'true')).toHaveLength(99)
    expect(await sagasOf(definition)).toBe(1)
    const [row] = await query('SELECT count(*)::int AS count FROM saga_history WHERE saga_id = $1', [
      answers[0]?.body.sagaId,
    ])
    expect(row?.count).toBe(1)
  })

  test('makes a hundred different starts at once one saga and 99 conflicts that name it', async () => {
    const definition = await define()
    const headers = { 'idempotency-key': 'contested' }
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        ask('POST', '/v1/sagas', { body: { definition, input: n }, headers }),
      ),
    )
    const [winner, ...others] = answers.filter(({ status }) => status === 202)
    expect(others).toEqual([])
    const losers = answers.filter(({ status }) => status !== 202)
    expect(losers).toHaveLength(99)
    for (const { status, body } of losers) {
      expect(status).toBe(409)
      expect(body).toMatchObject({ code: 'START_CONFLICT', sagaId: winner?.body.sagaId })
      expect(body.detail).toContain(winner?.body.sagaId)
    }
    expect(await sagasOf(definition)).toBe(1)
  })

  test('is the sagaKey where there is one, and the Idempotency-Key is recorded beside it', async () => {
    const definition = await define()
    const asked = (sagaKey: string, key: string) =>
      ask('POST', '/v1/sagas', { body: { definition, sagaKey }, headers: { 'idempotency-key': key } })
    const first = await asked('a', 'k1')
    expect((await asked('a', 'k2')).body.sagaId).toBe(first.body.sagaId)
    expect((await asked('b', 'k1')).body.sagaId).not.toBe(first.body.sagaId)
    const [row] = await query('SELECT saga_key, idempotency_key FROM sagas WHERE saga_id = $1', [
      first.body.sagaId,
    ])
    expect(row).toEqual({ saga_key: 'a', idempotency_key: 'k1' })
  })

  test('is one per definition if it is a sagaKey, and one per installation if it is an Idempotency-Key', async () => {
    const [one, other] = [await define(), await define()]
    const byKey = (definition: string) => ask('POST', '/v1/sagas', { body: { definition, sagaKey: 'same' } })
    expect((await byKey(one)).body.sagaId).not.toBe((await byKey(other)).body.sagaId)
    const headers = { 'idempotency-key': 'installation-wide' }
    const byHeader = (definition: string) => ask('POST', '/v1/sagas', { body: { definition }, headers })
    expect((await byHeader(one)).status).toBe(202)
    expect((await byHeader(other)).status).toBe(409)
  })

  test('compares the requests as they were sent, however they were spelt', async () => {
    const definition = await define()
    const headers = { 'idempotency-key': 'spelling' }
    const send = (raw: string) => ask('POST', '/v1/sagas', { raw, headers })
    const first = await send(`{"definition":"${definition}","input":{"a":1,"b":[1.0,"é"]}}`)
    const same = await send(`{ "input": {"b":[1,"\\u00e9"],"a":1e0}, "definition":"${definition}" }`)
    expect(same.body.sagaId).toBe(first.body.sagaId)
    const other = await send(`{"definition":"${definition}","input":{"a":1,"b":[1,"é"]},"tags":{}}`)
    expect(other.status).toBe(409)
  })

  test('may hold any visible text', async () => {
    const definition = await define()
    for (const sagaKey of [
      'a b',
      "'; DROP TABLE sagas; --",
      '%00',
      '💥',
      '../..',
      'ﷺ',
      '{"a":1}',
      'k'.repeat(255),
    ]) {
      const first = await ask('POST', '/v1/sagas', { body: { definition, sagaKey } })
      expect(first).toMatchObject({ status: 202, body: { sagaKey } })
      const found = await ask(
        'GET',
        `/v1/sagas?definition=${definition}&sagaKey=${encodeURIComponent(sagaKey)}`,
      )
      expect(found.body.items).toMatchObject([{ sagaId: first.body.sagaId, sagaKey }])
    }
  })

  test.each([[''], ['k'.repeat(256)]])('is refused as a header if it is no key: %j', async (key) => {
    const answer = await ask('POST', '/v1/sagas', {
      body: { definition: 'd' },
      headers: { 'idempotency-key': key },
    })
    expect(answer).toMatchObject({ status: 400, body: { code: 'BAD_REQUEST' } })
    expect(answer.body.errors).toMatchObject([{ pointer: '/headers/idempotency-key' }])
  })
})

describe('a batch', () => {
  test('answers for each item, in order: one that is refused keeps no other from starting', async () => {
    const definition = await define(undefined, { inputSchema: { type: 'integer' } })
    await ask('POST', '/v1/sagas', { body: { definition, input: 2, sagaKey: 'b' } })
    const sagas = [
      { definition, input: 1 },
      { definition, input: 'not whole' },
      { definition: 'nothing-of-that-name' },
      { definition, input: 2, sagaKey: 'b' },
      { definition, input: 3, sagaKey: 'b' },
      { definition, nonsense: true },
      'not even an object',
      { definition, input: 'x'.repeat(1024 * 1024) },
      { definition, input: 4 },
    ]
    const { status, body } = await ask('POST', '/v1/sagas/batch', { body: { sagas } })
    expect(status).toBe(200)
    expect(body.items).toMatchObject([
      { accepted: true, status: 'running', version: 1 },
      { accepted: false, problem: { status: 422, code: 'INVALID_INPUT', errors: [{ pointer: '/input' }] } },
      { accepted: false, problem: { status: 404, code: 'DEFINITION_NOT_FOUND' } },
      { accepted: true },
      { accepted: false, problem: { status: 409, code: 'START_CONFLICT' } },
      { accepted: false, problem: { status: 422, code: 'INVALID_REQUEST' } },
      { accepted: false, problem: { status: 422, code: 'INVALID_REQUEST' } },
      { accepted: false, problem: { status: 413, code: 'INPUT_TOO_LARGE' } },
      { accepted: true },
    ])
    expect(await sagasOf(definition)).toBe(3)
  })

  test('of a thousand is one request; sent again, it starts nothing more (S23)', async () => {
    const definition = await define()
    const sagas = Array.from({ length: 1_000 }, (_, input) => ({
      definition,
      input,
      ...(input === 7 && { sagaKey: 'seven' }),
    }))
    const headers = { 'idempotency-key': 'thousand' }
    const idsOf = async () => {
      const { body } = await ask('POST', '/v1/sagas/batch', { body: { sagas }, headers })
      return (body.items ?? []).map(({ sagaId }) => sagaId)
    }
    const ids = await idsOf()
    expect(new Set(ids).size).toBe(1_000)
    expect(await idsOf()).toEqual(ids)
    expect(await sagasOf(definition)).toBe(1_000)
    const [third] = await query('SELECT idempotency_key FROM sagas WHERE saga_id = $1', [ids[3]])
    expect(third?.idempotency_key).toBe('thousand#3')
    // The key of an item is the same if it is sent alone.
    const alone = await ask('POST', '/v1/sagas', {
      body: sagas[3],
      headers: { 'idempotency-key': 'thousand#3' },
    })
    expect(alone.body.sagaId).toBe(ids[3])
  })

  test.each([
    ['empty', []],
    ['over a thousand', Array.from({ length: 1_001 }, () => ({ definition: 'd' }))],
  ])('that is %s is invalid', async (_, sagas) => {
    const answer = await ask('POST', '/v1/sagas/batch', { body: { sagas } })
    expect(answer).toMatchObject({ status: 422, body: { code: 'INVALID_REQUEST' } })
  })
})

describe('a start with waitMs', () => {
  test('answers 200 when the saga has ended, and 202 when time is up', async () => {
    const definition = await define()
    const headers = { 'idempotency-key': 'waited for' }
    const waiting = ask('POST', '/v1/sagas?waitMs=20000', { body: { definition }, headers })
    const sagaId = await startedAs('waited for')
    await stage.end(sagaId, 'completed')
    expect(await waiting).toMatchObject({
      status: 200,
      headers: { etag: '"2"' },
      body: { sagaId, status: 'completed' },
    })
    // Once it has ended nobody waits.
    const again = await ask('POST', '/v1/sagas?waitMs=60000', { body: { definition }, headers })
    expect(again).toMatchObject({ status: 200, headers: { 'idempotent-replay': 'true' }, body: { sagaId } })
    expect(await ask('POST', '/v1/sagas?waitMs=10', { body: { definition } })).toMatchObject({
      status: 202,
      body: { status: 'running' },
    })
  })

  test('answers 200 when the saga needs a person', async () => {
    const definition = await define()
    const waiting = ask('POST', '/v1/sagas?waitMs=20000', {
      body: { definition },
      headers: { 'idempotency-key': 'sticks' },
    })
    await stage.stick(await startedAs('sticks'))
    expect(await waiting).toMatchObject({
      status: 200,
      body: { status: 'stuck', next: { act: 'waitForOperator' } },
    })
  })

  test.each([['60001'], ['-1'], ['1.5'], ['soon'], ['']])('of %j ms is not possible', async (waitMs) => {
    const answer = await ask('POST', `/v1/sagas?waitMs=${waitMs}`, { body: { definition: 'd' } })
    expect(answer).toMatchObject({
      status: 400,
      body: { code: 'BAD_REQUEST', errors: [{ pointer: '/query/waitMs' }] },
    })
  })

  async function startedAs(key: string): Promise<string> {
    for (;;) {
      const [row] = await query('SELECT saga_id FROM sagas WHERE idempotency_key = $1', [key])
      if (row !== undefined) return String(row.saga_id)
    }
  }
})

test('a start wakes a worker of its queue', async () => {
  const definition = await define()
  const woken: string[] = []
  const { due } = stage.store.wakeups
  stage.store.wakeups.due = (queue) => woken.push(queue)
  try {
    await start(definition)
    const http = await define(undefined, {
      steps: [{ ...step('one'), action: { type: 'http', url: 'http://a' }, compensation: undefined }],
    })
    await start(http)
  } finally {
    stage.store.wakeups.due = due
  }
  expect(woken).toEqual([definition, 'default'])
})
