import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { openStage } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask, define } = stage
const definition = await define()

/** A start whose input is this text, byte for byte. */
function startWith(input: string | Buffer, headers: Record<string, string> = {}) {
  const raw = Buffer.concat([
    Buffer.from(`{"definition":"${definition}","input":`),
    Buffer.from(input),
    Buffer.from('}'),
  ])
  return ask('POST', '/v1/sagas', { raw, headers })
}

describe('what is not acceptable JSON is refused with its place (S31, F60)', () => {
  test.each<[string, string | Buffer, string]>([
    ['NUL in a text', '{"a":["x\\u0000"]}', '/input/a/0'],
    ['NUL in a key', '{"a\\u0000b":1}', '/input/a\ufffdb'],
    ['half a surrogate pair', '["\\ud800"]', '/input/0'],
    ['the other half', '{"a":"\\udc00x"}', '/input/a'],
    ['two halves the wrong way round', '"\\udc00\\ud800"', '/input'],
    ['a key twice', '{"a":1,"b":{"c":1,"c":2}}', '/input/b/c'],
    ['a key twice, spelt differently', '{"a":1,"\\u0061":2}', '/input/a'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}', '/input/__proto__'],
    ['a number that loses digits', '[12345678901234567890]', '/input/0'],
    ['a number that is too large', '{"n":1e400}', '/input/n'],
    ['a number that is too small', '{"n":1e-400}', '/input/n'],
    ['a decimal that loses digits', '0.1234567890123456789', '/input'],
    ['65 levels', `${'['.repeat(64)}1${']'.repeat(64)}`, `/input${'/0'.repeat(63)}`],
    ['a hundred thousand levels', '['.repeat(100_000), `/input${'/0'.repeat(63)}`],
    ['NaN', 'NaN', '/input'],
    ['Infinity', '-Infinity', '/input'],
    ['a comment', '1 /* one */', ''],
    ['single quotes', "'a'", '/input'],
    ['a trailing comma', '[1,]', '/input/1'],
    ['a bare key', '{a:1}', '/input'],
    ['an octal number', '[010]', '/input'],
    ['a plus', '+1', '/input'],
    ['a raw line break in a text', '"a\nb"', '/input'],
    ['an unfinished text', '"abc', '/input'],
    ['an unfinished escape', '"\\u12', '/input'],
    ['an unfinished list', '[1,2', ''],
    ['something after the end', '1}, {"x":1', ''],
  ])('%s', async (_, input, pointer) => {
    const answer = await startWith(input)
    expect(answer).toMatchObject({ status: 400, body: { code: 'MALFORMED_JSON' } })
    const [place] = answer.body.errors ?? []
    expect(place?.detail.length).toBeGreaterThan(10)
    if (pointer !== '') expect(place?.pointer).toContain(pointer.slice(0, 30))
  })

  test.each<[string, Buffer]>([
    ['a lone continuation byte', Buffer.from([0x22, 0x80, 0x22])],
    ['an overlong encoding', Buffer.from([0x22, 0xc0, 0xaf, 0x22])],
    ['a surrogate in UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])],
    ['beyond Unicode', Buffer.from([0x22, 0xf5, 0x80, 0x80, 0x80, 0x22])],
    ['Latin-1', Buffer.from('"é"', 'latin1')],
  ])('text that is not UTF-8: %s', async (_, input) => {
    expect(await startWith(input)).toMatchObject({
      status: 400,
      body: { code: 'MALFORMED_JSON', detail: 'the body is not valid UTF-8' },
    })
  })

  test('UTF-16 is no UTF-8 either', async () => {
    const raw = Buffer.from(`{"definition":"${definition}"}`, 'utf16le')
    expect((await ask('POST', '/v1/sagas', { raw })).status).toBe(400)
  })

  test.each([[''], [' '], ['\n']])('an empty body is told apart: %j', async (raw) => {
    expect(await ask('POST', '/v1/sagas', { raw })).toMatchObject({
      status: 400,
      body: { code: 'MALFORMED_JSON' },
    })
    expect(await ask('POST', '/v1/sagas')).toMatchObject({ status: 400, body: { code: 'MALFORMED_JSON' } })
  })

  test('every beginning of a good body is refused and none is an error of ours', async () => {
    const good = Buffer.from(
      `{"definition":"${definition}","input":{"a":["é💥",1.5e3,true,null,{"b":"\\u00e9\\n"}]}}`,
    )
    const answers = await Promise.all(
      Array.from(good.subarray(1), (_, end) => ask('POST', '/v1/sagas', { raw: good.subarray(0, end + 1) })),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([400]))
    expect(new Set(answers.map(({ body }) => body.code))).toEqual(new Set(['MALFORMED_JSON']))
    expect((await ask('POST', '/v1/sagas', { raw: good })).status).toBe(202)
  })
})

describe('a body is JSON and nothing else', () => {
  test.each([
    ['application/json; charset=utf-8'],
    ['application/json;charset="UTF-8"'],
    ['APPLICATION/JSON'],
    ['application/vnd.backstitch.v1+json'],
    ['application/problem+json; profile=x'],
  ])('%s is taken', async (type) => {
    expect((await startWith('1', { 'content-type': type })).status).toBe(202)
  })

  test.each([
    ['text/plain'],
    ['application/x-www-form-urlencoded'],
    ['multipart/form-data; boundary=x'],
    ['application/xml'],
    ['application/jsonp'],
    ['application/json-seq'],
    ['text/json'],
    ['application/json; charset=utf-16'],
    ['application/json; charset=latin1'],
    ['nonsense'],
    [''],
  ])('%j is not', async (type) => {
    const answer = await startWith('1', { 'content-type': type })
    expect(answer).toMatchObject({ status: 415, body: { code: 'UNSUPPORTED_MEDIA_TYPE' } })
  })

  test.each(['gzip', 'deflate', 'br', 'zstd', 'identity, gzip'])(
    'compressed (%s), it is not',
    async (encoding) => {
      const raw = gzipSync(`{"definition":"${definition}"}`)
      const answer = await ask('POST', '/v1/sagas', { raw, headers: { 'content-encoding': encoding } })
      expect(answer).toMatchObject({ status: 415, body: { code: 'UNSUPPORTED_MEDIA_TYPE' } })
    },
  )
})

describe('a body has an end (S32)', () => {
  test.each([
    ['/v1/sagas', 2 * 1024 * 1024],
    ['/v1/sagas/batch', 16 * 1024 * 1024],
    ['/v1/definitions', 512 * 1024],
    ['/v1/definitions/validate', 512 * 1024],
    ['/v1/sagas/018f0000-0000-7000-8000-000000000000/cancel', 64 * 1024],
  ])('%s takes %i bytes', async (path, most) => {
    const asLarge = await ask('POST', path, { raw: ' '.repeat(most) })
    expect(asLarge.body.code).toBe('MALFORMED_JSON')
    const larger = await ask('POST', path, { raw: ' '.repeat(most + 1) })
    expect(larger).toMatchObject({ status: 413, body: { code: 'BODY_TOO_LARGE' } })
  })
})
