import { createHash } from 'node:crypto'
import { canonicalJson } from '@backstitch/core'
import { afterAll, describe, expect, test } from 'vitest'
import { openStage, step } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask, query, define } = stage

function document(more: Record<string, unknown> = {}) {
  return { name: 'order', steps: [step('one'), step('two')], ...more }
}

describe('registering', () => {
  test('the same content is the same version, other content is a new one (S26)', async () => {
    const body = document({ name: 'same' })
    const first = await ask('POST', '/v1/definitions', { body })
    expect(first).toMatchObject({ status: 201, headers: { location: '/v1/definitions/same/versions/1' } })
    const hash = createHash('sha256').update(canonicalJson(body)).digest('hex')
    expect(first.body).toEqual({ name: 'same', version: 1, hash, warnings: [] })
    // Spelt differently, it is the same.
    const raw = `{ "steps": ${JSON.stringify(body.steps)},\n "name": "s\\u0061me" }`
    expect(await ask('POST', '/v1/definitions', { raw })).toMatchObject({ status: 200, body: first.body })
    const other = await ask('POST', '/v1/definitions', { body: { ...body, description: 'x' } })
    expect(other).toMatchObject({ status: 201, body: { version: 2 } })
  })

  test('at once by many is one version', async () => {
    const body = document({ name: 'crowd' })
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => ask('POST', '/v1/definitions', { body })),
    )
    expect(new Set(answers.map((answer) => answer.body.version))).toEqual(new Set([1]))
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    const different = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        ask('POST', '/v1/definitions', { body: { ...body, description: `${n}` } }),
      ),
    )
    expect(new Set(different.map((answer) => answer.body.version)).size).toBe(30)
  })

  test('gives back the document as it was sent, whatever reading it adds (S31)', async () => {
    const raw = JSON.stringify(
      document({
        name: 'as-sent',
        inputSchema: { properties: { constructor: { const: 1 } }, 'x-note': [1.5, null] },
        steps: [{ name: 'one', action: { type: 'http', url: 'http://a/', body: { a: 'BODY' } } }],
      }),
    ).replace('"BODY"', '{"__proto__":{"x":1},"constructor":2}')
    expect((await ask('POST', '/v1/definitions', { raw })).status).toBe(201)
    const read = await ask('GET', '/v1/definitions/as-sent')
    expect(canonicalJson(JSON.parse(read.text).document)).toBe(canonicalJson(JSON.parse(raw)))
  })

  test('warns of what is odd, and takes it', async () => {
    const answer = await ask('POST', '/v1/definitions', {
      body: document({
        name: 'odd',
        inputSchema: { type: 'object', requierd: ['a'], properties: { a: { format: 'flavour' } } },
        steps: [{ name: 'one', action: { type: 'handler' } }, step('two')],
      }),
    })
    expect(answer.status).toBe(201)
    expect(answer.body.warnings).toEqual([
      { pointer: '/steps/0', detail: expect.stringContaining('no compensation') },
      { pointer: '/inputSchema/requierd', detail: expect.stringContaining('not known') },
      { pointer: '/inputSchema/properties/a/format', detail: expect.stringContaining('flavour') },
    ])
  })

  const tooMany = Array.from({ length: 501 }, (_, n) => step(`s${n}`))
  test.each<[string, unknown, string]>([
    ['nothing', {}, '/name'],
    ['a list', [], ''],
    ['a text', 'order', ''],
    ['null', null, ''],
    ['an unknown field', document({ stpes: [] }), '/stpes'],
    [
      'a field called __proto__',
      JSON.parse(`{"__proto__":{},"name":"x","steps":[${JSON.stringify(step('a'))}]}`),
      '/__proto__',
    ],
    ['no steps', document({ steps: [] }), '/steps'],
    ['too many steps', document({ steps: tooMany }), '/steps'],
    ['a duplicate step', document({ steps: [step('a'), step('a')] }), '/steps/1/name'],
    ['a reserved name', document({ steps: [step('input')] }), '/steps/0/name'],
    ['a name that is none', document({ name: '1st' }), '/name'],
    ['a name with NUL spelt out', document({ name: 'a\\u0000' }), '/name'],
    [
      'an unknown type of action',
      document({ steps: [{ name: 'a', action: { type: 'magic' } }] }),
      '/steps/0/action/type',
    ],
    [
      'impossible retries',
      document({ defaults: { retry: { initialDelayMs: 500, maxDelayMs: 100 } } }),
      '/defaults/retry',
    ],
    ['too large', document({ description: 'x'.repeat(300_000) }), ''],
    ['an inputSchema that is none', document({ inputSchema: { type: 'strnig' } }), '/inputSchema/type'],
    [
      'an inputSchema of another dialect',
      document({ inputSchema: { $schema: 'http://json-schema.org/draft-07/schema#' } }),
      '/inputSchema/$schema',
    ],
    [
      'an inputSchema that fetches',
      document({ inputSchema: { $ref: 'http://127.0.0.1:1/schema.json' } }),
      '/inputSchema',
    ],
    [
      'a pattern that is none',
      document({ inputSchema: { properties: { 'a/b': { pattern: '(' } } } }),
      '/inputSchema/properties/a~1b/pattern',
    ],
    ['a pattern that looks around', document({ inputSchema: { pattern: '(?=a)b' } }), '/inputSchema/pattern'],
  ])('of %s is refused, with the place (S27)', async (_, body, pointer) => {
    for (const path of ['/v1/definitions', '/v1/definitions/validate']) {
      const answer = await ask('POST', path, { raw: JSON.stringify(body) })
      expect(answer).toMatchObject({ status: 422, body: { code: 'INVALID_DEFINITION' } })
      expect(answer.body.errors).toContainEqual(expect.objectContaining({ pointer }))
    }
  })

  test('only to see whether it could be stores nothing', async () => {
    const answer = await ask('POST', '/v1/definitions/validate', { body: document({ name: 'unseen' }) })
    expect(answer).toMatchObject({ status: 200, body: { warnings: [] } })
    expect((await ask('GET', '/v1/definitions/unseen')).status).toBe(404)
  })

  test('of 256 KiB is possible, and of a little more is not (S32)', async () => {
    const sized = (bytes: number) => {
      const body = document({
        name: 'large',
        steps: [{ ...step('one'), action: { type: 'http', url: 'http://a/', body: '' } }],
      })
      const text = JSON.stringify(body)
      return text.replace('"body":""', `"body":"${'x'.repeat(bytes - text.length)}"`)
    }
    expect((await ask('POST', '/v1/definitions', { raw: sized(256 * 1024) })).status).toBe(201)
    expect((await ask('POST', '/v1/definitions', { raw: sized(256 * 1024 + 1) })).status).toBe(422)
    expect(await ask('POST', '/v1/definitions', { raw: sized(600 * 1024) })).toMatchObject({
      status: 413,
      body: { code: 'BODY_TOO_LARGE' },
    })
  })
})

describe('reading', () => {
  test('one, a version of one, and all versions', async () => {
    await define('read')
    await define('read', { description: 'two' })
    const latest = await ask('GET', '/v1/definitions/read')
    expect(latest.body).toMatchObject({
      name: 'read',
      version: 2,
      queue: 'read',
      document: { description: 'two' },
    })
    expect(latest.body.createdAt).toMatch(/Z$/)
    const first = await ask('GET', '/v1/definitions/read/versions/1')
    expect(first.body).toMatchObject({ version: 1, document: { name: 'read' } })
    const { body } = await ask('GET', '/v1/definitions/read/versions')
    const { document: _, ...summary } = latest.body
    expect(body.items?.[0]).toEqual(summary)
    expect(body.items).toMatchObject([{ version: 2 }, { version: 1 }])
  })

  test('all, by name, in pages', async () => {
    await Promise.all(Array.from({ length: 9 }, (_, n) => define(`list-${n}`)))
    const names: string[] = []
    for (let cursor = ''; ; ) {
      const { body } = await ask('GET', `/v1/definitions?limit=4${cursor}`)
      names.push(...(body.items ?? []).map(({ name }) => String(name)))
      if (body.nextCursor === undefined) break
      cursor = `&cursor=${body.nextCursor}`
    }
    const rows = await query('SELECT DISTINCT name FROM definitions ORDER BY name')
    expect(names).toEqual(rows.map(({ name }) => name))
    const { body } = await ask('GET', '/v1/definitions/list-1/versions?limit=1')
    expect(body).toEqual({ items: [expect.objectContaining({ version: 1 })] })
  })

  test('versions in pages', async () => {
    for (let n = 0; n < 5; n++) await define('pages', { description: `${n}` })
    const first = await ask('GET', '/v1/definitions/pages/versions?limit=2')
    const second = await ask('GET', `/v1/definitions/pages/versions?limit=3&cursor=${first.body.nextCursor}`)
    expect(first.body.items).toMatchObject([{ version: 5 }, { version: 4 }])
    expect(second.body).toEqual({ items: [3, 2, 1].map((version) => expect.objectContaining({ version })) })
    await define('pages-too')
    const foreign = await ask('GET', `/v1/definitions/pages-too/versions?cursor=${first.body.nextCursor}`)
    expect(foreign).toMatchObject({ status: 400, body: { code: 'INVALID_CURSOR' } })
  })

  const strange = [
    'nothing',
    '%00',
    '1st',
    'a%20b',
    "'--",
    '__proto__',
    'constructor',
    '%F0%9F%92%A5',
    'x'.repeat(65),
    'a%2Fb',
  ]
  test.each(strange)('what is not there is not found: %s', async (name) => {
    for (const path of ['', '/versions', '/versions/1', '/plan']) {
      const answer = await ask('GET', `/v1/definitions/${name}${path}`)
      expect(answer).toMatchObject({ status: 404, body: { code: 'DEFINITION_NOT_FOUND' } })
    }
  })

  test.each(['0', '2', '-1', '01x', '1.0', '2147483648', '99999999999999999999', '%00', ''])(
    'no version is called %j',
    async (version) => {
      await define('versioned').catch(() => undefined)
      const answer = await ask('GET', `/v1/definitions/versioned/versions/${version}`)
      expect(answer).toMatchObject({ status: 404, body: { code: 'DEFINITION_NOT_FOUND' } })
    },
  )
})

describe('the plan (S28)', () => {
  test('is what would happen, with and without a failure', async () => {
    await define('planned')
    await define('planned', { steps: [step('only')] })
    const without = await ask('GET', '/v1/definitions/planned/plan?version=1')
    expect(without.body).toEqual({
      definition: { name: 'planned', version: 1 },
      acts: ['one', 'two', 'three'].map((name, index) => ({
        step: name,
        direction: 'action',
        outcome: 'succeeded',
        round: index + 1,
      })),
      ends: 'completed',
    })
    const failing = await ask('GET', '/v1/definitions/planned/plan?version=1&failAt=three')
    expect(failing.body).toEqual({
      definition: { name: 'planned', version: 1 },
      failAt: 'three',
      acts: [
        { step: 'one', direction: 'action', outcome: 'succeeded', round: 1 },
        { step: 'two', direction: 'action', outcome: 'succeeded', round: 2 },
        { step: 'three', direction: 'action', outcome: 'rejected', round: 3 },
        { step: 'two', direction: 'compensation', outcome: 'succeeded', round: 4 },
        { step: 'one', direction: 'compensation', outcome: 'succeeded', round: 5 },
      ],
      ends: 'failed',
    })
    expect((await ask('GET', '/v1/definitions/planned/plan')).body).toMatchObject({
      definition: { version: 2 },
    })
    for (const failAt of ['nothing', 'toString', '__proto__', '%00', '']) {
      const answer = await ask('GET', `/v1/definitions/planned/plan?failAt=${failAt}`)
      expect(answer).toMatchObject({
        status: 400,
        body: { code: 'BAD_REQUEST', errors: [{ pointer: '/query/failAt' }] },
      })
    }
  })
})
