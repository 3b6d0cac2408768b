import { createTestDatabase } from '@backstitch/local-postgres/testing'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as binary from './binary.ts'
import { typeParsers } from './link.ts'

/** What Postgres makes of our arrays is what we put in: each encoder through a real server. */

const { url, drop } = await createTestDatabase({ empty: true })
const client = new pg.Client({ connectionString: url, types: typeParsers })
beforeAll(() => client.connect())
afterAll(async () => {
  await client.end()
  await drop()
})

/** The array as the server writes it as text, element by element. */
async function seen(type: string, bytes: Buffer): Promise<(string | null)[]> {
  const { rows } = await client.query<{ seen: string[] | null; length: number }>(
    `SELECT (SELECT array_agg(e::text ORDER BY n) FROM unnest($1::${type}[]) WITH ORDINALITY AS u(e, n)) AS seen,
            cardinality($1::${type}[]) AS length`,
    [bytes],
  )
  expect(rows[0]?.length).toBe(rows[0]?.seen?.length ?? 0)
  return rows[0]?.seen ?? []
}

async function roundTrips<T>(
  type: string,
  values: fc.Arbitrary<T>,
  encode: (values: T[]) => Buffer,
  expected: (value: T) => string | null,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(values, { maxLength: 20 }), async (drawn) => {
      expect(await seen(type, encode(drawn))).toEqual(drawn.map(expected))
    }),
    { numRuns: 60, examples: [[[]]] },
  )
}

const whole = (min: number, max: number) =>
  fc.oneof(fc.constantFrom(min, max, 0, -1), fc.integer({ min, max }))

test('int2, to its ends', () => roundTrips('int2', whole(-32_768, 32_767), binary.int2Array, String))
test('int4, to its ends', () => roundTrips('int4', whole(-(2 ** 31), 2 ** 31 - 1), binary.int4Array, String))
test('int8, as far as a number counts', () =>
  roundTrips('int8', whole(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), binary.int8Array, (value) =>
    String(value === 0 ? 0 : value),
  ))
test('bool', () => roundTrips('bool', fc.boolean(), binary.boolArray, String))
test('uuid', () => roundTrips('uuid', fc.uuid(), binary.uuidArray, String))
test('uuid in capitals, or without hyphens', () =>
  roundTrips(
    'uuid',
    fc.uuid(),
    (ids) => binary.uuidArray(ids.map((id) => id.toUpperCase().replace('-', ''))),
    String,
  ))
test.each([
  '',
  'not an id',
  '0',
  '0'.repeat(31),
  '0'.repeat(33),
  `${'0'.repeat(31)}g`,
  `${'0'.repeat(31)}é`,
  ` ${'0'.repeat(32)}`,
])('%j is no uuid, and never written as one', (text) =>
  expect(() => binary.uuidArray([text])).toThrow(RangeError),
)

const texts = fc.option(
  fc.oneof(fc.constantFrom('', 'null', 'NULL', '"', '\\', '{}', ' '), fc.string({ unit: 'binary' })),
  { nil: undefined },
)
test('text, with null, with any character but NUL', () =>
  roundTrips(
    'text',
    texts.map((text) => text?.replaceAll('\0', '')),
    binary.textArray,
    (text) => text ?? null,
  ))

/** `jsonb_typeof` and the like could hide a difference: the server's own text is parsed and compared. */
test('jsonb, with every JSON value it can hold', async () => {
  const values = fc
    .jsonValue({ noUnicodeString: false })
    .filter((value) => !JSON.stringify(value).includes('\\u0000'))
  await fc.assert(
    fc.asyncProperty(fc.array(values, { maxLength: 10 }), async (drawn) => {
      const written = drawn.map((value) => JSON.stringify(value))
      const back = await seen('jsonb', binary.jsonbArray(written))
      expect(back.map((text) => JSON.parse(text ?? 'null'))).toEqual(written.map((text) => JSON.parse(text)))
    }),
    { numRuns: 60, examples: [[[]], [[null, '', {}, [], '😀', 'é', 1e-7, 1e21]]] },
  )
})

test('json, letter by letter', async () => {
  const documents = fc.jsonValue({ noUnicodeString: false }).map((value) => JSON.stringify(value))
  await roundTrips('json', documents, binary.jsonArray, (document) => document)
})

test('instants, to the millisecond from 1720 to 2280, with null', async () => {
  const limits = { min: Date.parse('1720-01-01T00:00:00Z'), max: Date.parse('2280-01-01T00:00:00Z') }
  const instants = fc.option(
    fc.oneof(
      fc.constantFrom(0, -1, 946_684_800_000, 946_684_799_999, limits.min, limits.max),
      fc.integer(limits),
      fc.integer({ min: Date.parse('2020-01-01'), max: Date.parse('2040-01-01') }),
    ),
    { nil: undefined },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(instants, { maxLength: 20 }), async (drawn) => {
      const { rows } = await client.query<{ ms: string | null }>(
        'SELECT (extract(epoch FROM e) * 1000)::numeric(20, 3)::text AS ms FROM unnest($1::timestamptz[]) WITH ORDINALITY AS u(e, n) ORDER BY n',
        [binary.timestamptzArray(drawn)],
      )
      expect(rows.map(({ ms }) => (ms === null ? undefined : Number(ms)))).toEqual(
        drawn.map((at) => (at === 0 ? 0 : at)),
      )
    }),
    { numRuns: 60, examples: [[[]]] },
  )
})

test('instants at the ends of what a Date can hold, nearly', async () => {
  const ends = ['-004711-01-01T00:00:00.000Z', '+275760-09-12T00:00:00.000Z'].map((at) => Date.parse(at))
  const back = await seen('timestamptz', binary.timestamptzArray(ends))
  expect(back).toEqual([expect.stringMatching(/^4712-.* BC$/), expect.stringMatching(/^275760-09-/)])
})

test('an instant with a part of a millisecond is kept to the microsecond', async () => {
  const [at] = await seen(
    'timestamptz',
    binary.timestamptzArray([Date.parse('2026-01-01T00:00:00Z') + 0.123]),
  )
  expect(at).toContain('00:00.000123')
})

test('what is no number or no instant is refused, and never stored as another', () => {
  expect(() => binary.timestamptzArray([Number.NaN])).toThrow(RangeError)
  expect(() => binary.timestamptzArray([Number.POSITIVE_INFINITY])).toThrow(RangeError)
  for (const encode of [binary.int2Array, binary.int4Array, binary.int8Array]) {
    expect(() => encode([Number.NaN])).toThrow(RangeError)
    expect(() => encode([1.5])).toThrow(RangeError)
    expect(() => encode([2 ** 70])).toThrow(RangeError)
  }
  expect(() => binary.uuidArray(['not an id'])).toThrow(RangeError)
})
