import type { Json } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { createInputSchemas } from './input-schema.ts'

const schemas = createInputSchemas()
let names = 0

/** Where the input does not fit the schema. */
function misfits(schema: Json, input: Json, name = `s${++names}`) {
  return schemas.misfits({ name, version: 1, schema }, input, Buffer.byteLength(JSON.stringify(input)))
}

function timed<T>(work: () => T): { ms: number; result: T } {
  const began = performance.now()
  const result = work()
  return { ms: performance.now() - began, result }
}

function accepted(schema: Json): boolean {
  return schemas.check(schema).problems.length === 0
}

describe('what authors may expect of JSON Schema 2020-12', () => {
  test.each<[string, Json, Json, Json]>([
    ['references', { $ref: '#/$defs/a', $defs: { a: { type: 'string' } } }, 'x', 1],
    [
      'recursion',
      { $id: 'https://x/tree', properties: { next: { $ref: '#' } }, required: ['n'] },
      { n: 1, next: { n: 2 } },
      { n: 1, next: {} },
    ],
    ['anchors', { $ref: '#it', $defs: { a: { $anchor: 'it', type: 'integer' } } }, 1, 1.5],
    ['tuples', { prefixItems: [{ type: 'string' }], items: false }, ['a'], ['a', 1]],
    [
      'conditions',
      JSON.parse('{"if":{"properties":{"a":{"const":1}}},"then":{"required":["b"]}}'),
      { a: 1, b: 1 },
      { a: 1 },
    ],
    ['dependent schemas', { dependentRequired: { a: ['b'] } }, { a: 1, b: 1 }, { a: 1 }],
    ['what is left over', { properties: { a: true }, unevaluatedProperties: false }, { a: 1 }, { b: 1 }],
    ['all, any, one', { oneOf: [{ type: 'integer' }, { minimum: 5 }] }, 1, 7],
    ['unique items', { uniqueItems: true }, [1, { a: 1 }], [{ a: 1 }, { a: 1 }]],
    ['e-mail addresses', { format: 'email' }, 'a@b.example', 'a b'],
    ['addresses', { format: 'uri' }, 'https://a/b', 'nothing of the kind'],
    ['instants', { format: 'date-time' }, '2026-01-02T03:04:05Z', 'today'],
    ['UUIDs', { format: 'uuid' }, '018f0000-0000-7000-8000-000000000000', 'x'],
    ['patterns', { pattern: '^\\d{3}-\\p{Lu}+$' }, '123-ÉA', '123-é'],
    ['patterns with escapes of JavaScript', { pattern: '^\\u{1F600}\\/[\\u00e9]$' }, '😀/é', 'x'],
    [
      'several patterns, each for its own',
      { properties: { a: { pattern: '^a$' }, b: { pattern: '^b$' } } },
      { a: 'a', b: 'b' },
      { a: 'a', b: 'a' },
    ],
    ['patterns anywhere in a text', { pattern: 'b+' }, 'abbc', 'ac'],
    [
      'patterns of keys',
      { patternProperties: { '^x-': { type: 'string' } }, additionalProperties: false },
      { 'x-a': 's' },
      { 'x-a': 1 },
    ],
    [
      'its own name for its dialect',
      { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'null' },
      null,
      0,
    ],
    ['words of their own', { 'x-note': 1, description: 'd', examples: [1], type: 'integer' }, 1, '1'],
    ['unknown formats', { type: 'string', format: 'flavour' }, 'x', 1],
    [
      'names every object inherits',
      { required: ['constructor', 'toString'] },
      { constructor: 1, toString: 2 },
      {},
    ],
    ['an id that another schema has too', { $id: 'https://x/same', type: 'string' }, 'x', 1],
    ['an id that another schema has too, again', { $id: 'https://x/same', type: 'integer' }, 1, 'x'],
  ])('%s', (_, schema, fits, doesNot) => {
    expect(schemas.check(schema).problems).toEqual([])
    expect(misfits(schema, fits)).toEqual([])
    const [first] = misfits(schema, doesNot)
    expect(first?.pointer).toMatch(/^\/input/)
    expect(first?.detail.length).toBeGreaterThan(3)
  })

  test('everything that is wrong with a small input is told at once, with its place', () => {
    const schema = {
      properties: { 'a/b~c': { type: 'string' }, n: { enum: [1, 2] } },
      additionalProperties: false,
    }
    expect(misfits(schema, { 'a/b~c': 1, n: 3, more: 1 })).toEqual([
      { pointer: '/input', detail: 'has the property "more", which the schema does not allow' },
      { pointer: '/input/a~1b~0c', detail: 'must be string' },
      { pointer: '/input/n', detail: 'must be equal to one of the allowed values: [1,2]' },
    ])
  })

  test('of a large input the first thing is told, and never more than a few', () => {
    const many: Json = Array.from({ length: 100_000 }, () => 1)
    expect(misfits({ items: { type: 'string' } }, many)).toHaveLength(1)
    expect(
      misfits(
        { items: { type: 'string' } },
        Array.from({ length: 100 }, () => 1),
      ),
    ).toHaveLength(20)
  })

  test('versions are told apart, and their compiled forms are kept', () => {
    const of = (version: number, schema: Json) =>
      schemas.misfits({ name: 'versions', version, schema }, 1, 1).length
    expect(of(1, { type: 'integer' })).toBe(0)
    expect(of(2, { type: 'string' })).toBe(1)
    const heavy: Json = {
      properties: Object.fromEntries(
        Array.from({ length: 300 }, (_, n) => [`p${n}`, { type: 'integer', minimum: n }]),
      ),
    }
    const first = timed(() => misfits(heavy, {}, 'heavy'))
    const later = Array.from({ length: 20 }, () => timed(() => misfits(heavy, {}, 'heavy')))
    expect(Math.min(...later.map(({ ms }) => ms))).toBeLessThan(first.ms / 2 + 1)
  })
})

describe('no schema can stop this process', () => {
  const levels = (n: number, of: (name: string) => Json): Json => ({
    $ref: '#/$defs/l0',
    $defs: Object.fromEntries([
      ...Array.from({ length: n }, (_, i) => [`l${i}`, of(`#/$defs/l${i + 1}`)]),
      [`l${n}`, { type: 'string' }],
    ]),
  })

  test.each<[string, Json, Json]>([
    ['a pattern with nested repetition', { pattern: '^(a+)+$' }, `${'a'.repeat(500_000)}!`],
    ['a pattern with many alternatives', { pattern: '^(a|a|aa)*$' }, `${'a'.repeat(500_000)}!`],
    [
      'a pattern of keys with nested repetition',
      { patternProperties: { '^(x+x+)+y$': true } },
      { ['x'.repeat(100_000)]: 1 },
    ],
    ['a format that is slow to read', { format: 'url' }, `http://${'::'.repeat(250_000)}`],
    ['a format that compiles', { format: 'regex' }, '('.repeat(500_000)],
    ['each level twice', levels(40, ($ref) => ({ allOf: [{ $ref }, { $ref }] })), 1],
    ['each level in either of two ways', levels(40, ($ref) => ({ anyOf: [{ $ref }, { $ref }] })), 1],
    [
      'each level of the input twice',
      {
        $ref: '#/$defs/t',
        $defs: {
          t: {
            allOf: [
              { properties: { a: { $ref: '#/$defs/t' } } },
              { properties: { a: { $ref: '#/$defs/t' } } },
            ],
            type: 'object',
          },
        },
      },
      nest(60),
    ],
    ['a schema that is itself', { $ref: '#' }, 1],
    ['a schema that is all of itself', { allOf: [{ $ref: '#' }, { $ref: '#' }] }, 1],
    ['a dynamic reference to itself', { $dynamicAnchor: 'n', allOf: [{ $dynamicRef: '#n' }] }, 1],
    [
      'all items compared with each other',
      { uniqueItems: true },
      Array.from({ length: 60_000 }, (_, n) => ({ n })),
    ],
    [
      'an input with many items under many rules',
      { items: { allOf: Array.from({ length: 5_000 }, (_, n) => ({ not: { const: `x${n}` } })) } },
      Array.from({ length: 100_000 }, (_, n) => n),
    ],
    [
      'a long list of allowed values',
      { items: { enum: Array.from({ length: 5_000 }, (_, n) => ({ n })) } },
      Array.from({ length: 20_000 }, () => ({ n: -1 })),
    ],
  ])('%s', (_, schema, input) => {
    const { ms, result } = timed(() => (accepted(schema) ? misfits(schema, input) : 'refused'))
    // Compiling, validating and explaining each have their watchdog.
    expect(ms).toBeLessThan(10_000)
    expect(result === 'refused' || Array.isArray(result)).toBe(true)
  })

  test('a part that is large and named often is compiled once', () => {
    const names = Array.from({ length: 250 }, (_, n) => `p${n}`)
    const part = { properties: Object.fromEntries(names.map((name) => [name, { type: 'integer' }])) }
    const schema = {
      $defs: { part },
      properties: Object.fromEntries(names.map((name) => [name, { $ref: '#/$defs/part' }])),
    }
    expect(schemas.check(schema).problems).toEqual([])
    expect(misfits(schema, { p7: { p9: 'x' } })).toEqual([
      { pointer: '/input/p7/p9', detail: 'must be integer' },
    ])
  })

  test('what takes too long is answered as a misfit that says so', () => {
    const schema = levels(40, ($ref) => ({ allOf: [{ $ref }, { $ref }] }))
    // Fails at the first leaf, so an input that fits is the long one.
    const { ms, result } = timed(() => misfits(schema, 'fits'))
    expect(result).toEqual([{ pointer: '/input', detail: expect.stringContaining('within 250 ms') }])
    expect(ms).toBeLessThan(10_000)
  })

  test('and what is caught does no harm to the next', () => {
    expect(misfits({ type: 'integer' }, 1)).toEqual([])
    expect(misfits({ type: 'integer' }, 'x')).toHaveLength(1)
  })

  test('that cannot be compiled any more is a misfit that says so, and no error of ours', () => {
    expect(misfits({ $ref: '#/$defs/gone' }, 1)).toEqual([
      { pointer: '/input', detail: expect.stringContaining('could not be checked') },
    ])
  })

  test.each<[string, Json]>([
    ['another place on the network', { $ref: 'http://127.0.0.1:1/x' }],
    ['a file', { $ref: 'file:///etc/passwd' }],
    ['a path', { $ref: 'other.json' }],
    ['nowhere', { $ref: '#/$defs/nothing' }],
    ['text that is no reference', { $ref: '#/%zz' }],
    ['no text at all', { $ref: 1 }],
    ['too much', { enum: Array.from({ length: 30_000 }, (_, n) => n) }],
    ['a pattern that is too long', { pattern: 'a'.repeat(1_001) }],
    ['a pattern that grows', { pattern: '((a{1,100}){1,100}){1,100}' }],
    ['a back-reference', { patternProperties: { '(a)\\1': true } }],
    ['a keyword of the wrong kind', { properties: [] }],
    ['a requirement of the wrong kind', { required: 'a' }],
    ['no object', []],
  ])('a schema that refers to %s is refused', (_, schema) => {
    const { ms, result } = timed(() => schemas.check(schema))
    expect(result.problems.length).toBeGreaterThan(0)
    for (const { pointer, detail } of result.problems) {
      expect(pointer).toMatch(/^\/inputSchema/)
      expect(detail.length).toBeGreaterThan(3)
    }
    expect(ms).toBeLessThan(10_000)
  })

  test('code in a schema stays text', () => {
    const evil = '`${globalThis.hacked=1}`"];globalThis.hacked=1;//\'\\'
    const schema = {
      title: evil,
      required: [evil],
      properties: { [evil]: { const: evil, format: 'uuid' } },
      $comment: evil,
    }
    expect(accepted(schema)).toBe(true)
    misfits(schema, { [evil]: 1 })
    expect(globalThis).not.toHaveProperty('hacked')
  })
})

function nest(depth: number): Json {
  let value: Json = {}
  for (let level = 0; level < depth; level++) value = { a: value }
  return value
}
