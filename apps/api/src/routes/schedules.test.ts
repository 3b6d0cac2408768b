import { afterAll, describe, expect, test } from 'vitest'
import { openStage } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask, define } = stage
const definition = await define('report', {
  inputSchema: { type: 'object', properties: { day: { type: 'string' } }, additionalProperties: false },
})
const nightly = { definition, input: {}, cron: '30 2 * * *', timeZone: 'Europe/Berlin' }
const because = { body: { reason: 'because' } }
let names = 0

async function put(more: object = {}, headers: Record<string, string> = {}, name = `s${++names}`) {
  const answer = await ask('PUT', `/v1/schedules/${name}`, { body: { ...nightly, ...more }, headers })
  return { ...answer, name }
}

describe('PUT', () => {
  test('creates, repeats and replaces a schedule, and says when it runs next', async () => {
    const created = await put({}, { 'x-actor': 'anna' })
    const { name } = created
    expect(created).toMatchObject({
      status: 201,
      headers: { etag: '"1"', location: `/v1/schedules/${name}` },
      body: {
        ...nightly,
        name,
        version: 1,
        paused: false,
        missed: 'last',
        overlap: 'allow',
        runs: [],
        changes: [{ actor: 'anna', act: 'created' }],
      },
    })
    const { nextRuns, nextRunAt } = created.body as { nextRuns: string[]; nextRunAt: string }
    expect(nextRuns).toHaveLength(5)
    expect(nextRuns[0]).toBe(nextRunAt)
    expect(nextRuns).toEqual(nextRuns.toSorted())

    expect(await put({}, { 'x-actor': 'bob' }, name)).toMatchObject({ status: 200, text: created.text })
    expect(await put({ missed: 'all' }, { 'x-actor': 'bob' }, name)).toMatchObject({
      status: 200,
      headers: { etag: '"2"' },
      body: { missed: 'all', changes: [{ actor: 'bob', act: 'replaced' }, {}] },
    })
    expect(await ask('GET', `/v1/schedules/${name}`)).toMatchObject({
      status: 200,
      body: { version: 2, input: {} },
    })
  })

  test('on the version it was decided on, or not at all', async () => {
    expect(await put({}, { 'if-match': '"1"' })).toMatchObject({
      status: 412,
      body: { code: 'STALE_VERSION' },
    })
    const { name } = await put()
    expect(await put({ missed: 'skip' }, { 'if-match': '"1"' }, name)).toMatchObject({ status: 200 })
    expect(await put({ missed: 'all' }, { 'if-match': '"1"' }, name)).toMatchObject({
      status: 412,
      body: { detail: expect.stringContaining('the schedule has version 2') },
    })
    expect(await put({}, { 'if-match': 'W/"x"' }, name)).toMatchObject({
      status: 400,
      body: { code: 'BAD_REQUEST' },
    })
  })

  test.each<[object, number, string, string]>([
    [{ cron: '0 25 * * *' }, 422, 'INVALID_REQUEST', '/cron: the hour, "25"'],
    [{ cron: '* * * * * *' }, 422, 'INVALID_REQUEST', '/cron: has 6 fields'],
    [{ cron: '0 0 31 2 *' }, 422, 'INVALID_REQUEST', '/cron: never comes'],
    [{ cron: '\u0000' }, 400, 'MALFORMED_JSON', ''],
    [{ cron: '*'.repeat(100_000) }, 422, 'INVALID_REQUEST', '/cron'],
    [{ timeZone: 'Mars/Phobos' }, 422, 'INVALID_REQUEST', '/timeZone: there is no time zone'],
    [{ timeZone: '+02:00' }, 422, 'INVALID_REQUEST', '/timeZone: is not the name of a time zone'],
    [{ at: '2030-01-01T00:00:00Z' }, 422, 'INVALID_REQUEST', 'either "at"'],
    [{ cron: undefined }, 422, 'INVALID_REQUEST', 'either "at"'],
    [
      { cron: undefined, timeZone: undefined, at: '2020-01-01T00:00:00Z' },
      422,
      'INVALID_REQUEST',
      '/at: has passed',
    ],
    [{ cron: undefined, timeZone: undefined, at: 'tomorrow' }, 422, 'INVALID_REQUEST', '/at'],
    [{ definition: 'nothing' }, 404, 'DEFINITION_NOT_FOUND', 'no definition "nothing"'],
    [{ version: 99 }, 404, 'DEFINITION_NOT_FOUND', 'no version 99'],
    [{ input: { day: 1 } }, 422, 'INVALID_INPUT', '/input/day'],
    [{ input: { other: 1 } }, 422, 'INVALID_INPUT', '/input'],
    [{ instantAs: 'other' }, 422, 'INVALID_INPUT', '/input'],
    [{ instantAs: '__proto__' }, 422, 'INVALID_REQUEST', '/instantAs'],
    [{ input: { day: 'x'.repeat(70_000) } }, 413, 'INPUT_TOO_LARGE', 'the most is 65536'],
    [{ input: { day: 'x'.repeat(200_000) } }, 413, 'BODY_TOO_LARGE', ''],
    [{ tags: { scheduledAt: 'x' } }, 422, 'INVALID_REQUEST', 'is set by the schedule itself'],
    [{ tags: { 'a b': 'x' } }, 422, 'INVALID_REQUEST', '/tags'],
    [{ correlationId: 'a\nb' }, 422, 'INVALID_REQUEST', '/correlationId'],
    [{ missed: 'maybe' }, 422, 'INVALID_REQUEST', '/missed'],
    [{ catchUpMs: 1e300 }, 422, 'INVALID_REQUEST', '/catchUpMs'],
    [{ unknown: 1 }, 422, 'INVALID_REQUEST', 'unknown'],
  ])('refuses %o', async (more, status, code, detail) => {
    const answer = await put(more)
    expect({ status: answer.status, code: answer.body.code }).toEqual({ status, code })
    expect(answer.text).toContain(JSON.stringify(detail).slice(1, -1))
    expect((await ask('GET', `/v1/schedules/${answer.name}`)).status).toBe(404)
  })

  test('takes an instant into the input, which the schema then sees', async () => {
    expect((await put({ instantAs: 'day' })).status).toBe(201)
  })

  test.each(['9to5', 'a b', 'x'.repeat(65), '%00', '..%2f', '__proto__'])(
    'under the name %s is refused',
    async (name) => {
      const answer = await ask('PUT', `/v1/schedules/${encodeURIComponent(name)}`, { body: nightly })
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expect(answer.status).toBeLessThan(500)
      expect((await ask('GET', `/v1/schedules/${encodeURIComponent(name)}`)).status).toBe(404)
    },
  )
})

test('what is not there is not found, by any verb', async () => {
  for (const [method, path, asked] of [
    ['GET', '', {}],
    ['DELETE', '', {}],
    ['POST', '/pause', because],
    ['POST', '/resume', because],
    ['POST', '/run-now', because],
  ] as const) {
    expect(await ask(method, `/v1/schedules/none${path}`, asked)).toMatchObject({
      status: 404,
      body: { code: 'SCHEDULE_NOT_FOUND' },
    })
  }
})

test('a person pauses and resumes it, says why, and is remembered', async () => {
  const { name } = await put()
  const pause = { body: { reason: 'audit' }, headers: { 'x-actor': 'anna' } }
  const paused = await ask('POST', `/v1/schedules/${name}/pause`, pause)
  expect(paused).toMatchObject({
    status: 200,
    headers: { etag: '"2"' },
    body: { paused: true, nextRunAt: null, nextRuns: [] },
  })
  const stale = await ask('POST', `/v1/schedules/${name}/resume`, {
    ...because,
    headers: { 'if-match': '"1"' },
  })
  expect(stale).toMatchObject({ status: 412, body: { code: 'STALE_VERSION' } })
  const resumed = await ask('POST', `/v1/schedules/${name}/resume`, because)
  expect(resumed.body).toMatchObject({
    paused: false,
    nextRunAt: expect.any(String),
    changes: [
      { act: 'resumed', actor: 'anonymous', reason: 'because' },
      { act: 'paused', actor: 'anna', reason: 'audit' },
      { act: 'created' },
    ],
  })
  expect(await ask('POST', `/v1/schedules/${name}/pause`, { body: {} })).toMatchObject({ status: 422 })
})

describe('run now', () => {
  test('starts its saga once under one key, also while it is paused, with its instant and its tags', async () => {
    const { name } = await put({ paused: true, instantAs: 'day', tags: { shop: 'b' } })
    const asked = { ...because, headers: { 'idempotency-key': 'k', 'x-actor': 'anna' } }
    const first = await ask('POST', `/v1/schedules/${name}/run-now`, asked)
    expect(first).toMatchObject({ status: 202, headers: { location: `/v1/sagas/${first.body.sagaId}` } })
    const { instant } = first.body as { instant?: string }
    expect(await ask('POST', `/v1/schedules/${name}/run-now`, asked)).toMatchObject({
      status: 202,
      body: first.body,
    })

    const saga = await ask('GET', `/v1/sagas/${first.body.sagaId}`)
    expect(saga.body).toMatchObject({
      tags: { shop: 'b', schedule: name, scheduledAt: instant },
      context: { input: { day: instant } },
    })
    const listed = await ask('GET', `/v1/sagas?tag.schedule=${name}`)
    expect(listed.body.items).toHaveLength(1)
    const { body } = await ask('GET', `/v1/schedules/${name}`)
    expect(body).toMatchObject({
      version: 1,
      paused: true,
      lastRun: { outcome: 'started', sagaId: first.body.sagaId, actor: 'anna', instant },
    })

    const second = await ask('POST', `/v1/schedules/${name}/run-now`, because)
    expect(second.body.sagaId).not.toBe(first.body.sagaId)
  })

  test('is refused as a start is, and leaves nothing behind', async () => {
    const other = await define('narrowing')
    const { name } = await put({ definition: other, input: 1 })
    await ask('POST', '/v1/definitions', {
      body: {
        name: other,
        inputSchema: { type: 'string' },
        steps: [{ name: 'one', action: { type: 'handler' } }],
      },
    })
    const answer = await ask('POST', `/v1/schedules/${name}/run-now`, because)
    expect(answer).toMatchObject({ status: 422, body: { code: 'INVALID_INPUT' } })
    expect((await ask('GET', `/v1/schedules/${name}`)).body).toMatchObject({
      runs: [],
      changes: [{ act: 'created' }],
    })
  })
})

test('deleting answers with what it was; its sagas go on', async () => {
  const { name } = await put()
  const ran = await ask('POST', `/v1/schedules/${name}/run-now`, because)
  expect(await ask('DELETE', `/v1/schedules/${name}`, { headers: { 'if-match': '"9"' } })).toMatchObject({
    status: 412,
  })
  expect(await ask('DELETE', `/v1/schedules/${name}`)).toMatchObject({
    status: 200,
    body: { name, ...nightly },
  })
  expect((await ask('GET', `/v1/schedules/${name}`)).status).toBe(404)
  expect((await ask('GET', `/v1/sagas/${ran.body.sagaId}`)).body).toMatchObject({ status: 'running' })
})

describe('a schedule that other hands have damaged (S29)', () => {
  test.each([
    [`spec = '{"missed": "never heard of"}'`, ''],
    [`spec = spec || '{"cron": "at noon"}'`, definition],
    [`spec = spec || '{"timeZone": "Mars/Olympus"}'`, definition],
    [`spec = spec - 'cron'`, definition],
    [`spec = spec || '{"catchUpMs": "a week"}'`, definition],
    [`next_at = '-infinity', created_at = '-infinity', runs = '[7]', last_error = '7'`, definition],
  ])(
    'by %s is shown as that, hides no other, and can be paused, replaced and deleted',
    async (damage, of) => {
      const { name } = await put()
      const { name: other } = await put()
      await stage.query(`UPDATE schedules SET ${damage} WHERE name = $1`, [name])
      try {
        const seen = { name, definition: of, unreadable: expect.stringMatching(/./), nextRunAt: null }
        const list = await ask('GET', '/v1/schedules?limit=100')
        expect(list.status).toBe(200)
        const { items } = list.body as { items: { name: string }[] }
        expect(items.find((item) => item.name === name)).toMatchObject(seen)
        expect(items.find((item) => item.name === other)).not.toHaveProperty('unreadable')
        expect(await ask('GET', `/v1/schedules/${name}`)).toMatchObject({
          status: 200,
          body: { ...seen, nextRuns: [] },
        })
        const cannot = { status: 409, body: { code: 'VERB_NOT_POSSIBLE' } }
        expect(await ask('POST', `/v1/schedules/${name}/run-now`, because)).toMatchObject(cannot)
        expect(await ask('POST', `/v1/schedules/${name}/resume`, because)).toMatchObject(cannot)
        expect(await ask('POST', `/v1/schedules/${name}/pause`, because)).toMatchObject({
          status: 200,
          body: { paused: true },
        })
        await stage.query(`UPDATE schedules SET paused = false, ${damage} WHERE name = $1`, [name])
        const replaced = await put({ paused: false }, {}, name)
        expect(replaced).toMatchObject({ status: 200, body: { nextRunAt: expect.any(String) } })
        expect(replaced.body).not.toHaveProperty('unreadable')
        await stage.query(`UPDATE schedules SET ${damage} WHERE name = $1`, [name])
      } finally {
        expect(await ask('DELETE', `/v1/schedules/${name}`)).toMatchObject({ status: 200 })
      }
    },
  )
})

test('the list has every schedule once, page by page, and no input', async () => {
  const expected = await stage.query('SELECT name FROM schedules ORDER BY name')
  const seen: unknown[] = []
  let cursor = ''
  do {
    const page = await ask('GET', `/v1/schedules?limit=3${cursor}`)
    expect(page.status).toBe(200)
    for (const item of page.body.items ?? []) {
      expect(item).not.toHaveProperty('input')
      seen.push({ name: item.name })
    }
    cursor = page.body.nextCursor === undefined ? '' : `&cursor=${page.body.nextCursor}`
  } while (cursor !== '')
  expect(expected.length).toBeGreaterThan(3)
  expect(seen).toEqual(expected)
  expect(await ask('GET', '/v1/schedules?cursor=nonsense')).toMatchObject({
    body: { code: 'INVALID_CURSOR' },
  })
  expect((await ask('GET', '/v1/schedules?paused=true')).status).toBe(400)
})
