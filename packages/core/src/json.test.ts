import vm from 'node:vm'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import {
  byteLength,
  canonicalJson,
  checkJson,
  type Json,
  type JsonVerdict,
  MAX_CHECKED_BYTES,
  MAX_DEPTH,
  parseJson,
  sanitizeText,
} from './json.ts'

const MEBIBYTE = 1024 * 1024

function problemIn(verdict: JsonVerdict) {
  if (verdict.ok) throw new Error(`accepted: ${JSON.stringify(verdict.value)}`)
  return verdict.problem
}

function valueOf(verdict: JsonVerdict): Json {
  if (!verdict.ok) throw new Error(`refused: ${JSON.stringify(verdict.problem)}`)
  return verdict.value
}

function parsed(text: string): unknown {
  return JSON.parse(text)
}

function nested(depth: number): string {
  return '['.repeat(depth) + ']'.repeat(depth)
}

/** Quadratic work on this many units takes minutes, linear work a few milliseconds. */
function expectSoon(work: () => void) {
  const start = performance.now()
  work()
  expect(performance.now() - start).toBeLessThan(3000)
}

/** Keys which have broken something somewhere: pollution, reordering, pointers, escapes. */
const awkwardKey = fc.constantFrom(
  '',
  '__proto__',
  'constructor',
  'prototype',
  'toJSON',
  'length',
  '0',
  '10',
  '-1',
  'a/b',
  '~1',
  '"',
  '\\',
  '\\u0000',
  '\n',
  '\u2028',
  'é',
  'e\u0301',
  '😀',
)

const storableText = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', 'nul'))

const storableNumber = fc
  .oneof(fc.integer(), fc.maxSafeInteger(), fc.double({ noNaN: true, noDefaultInfinity: true }))
  .map((number) => (number === 0 ? 0 : number))

/** All of I-JSON that can be stored, with `__proto__` as an own property. */
const iJson: fc.Arbitrary<Json> = fc.letrec<{ value: Json; object: Json; array: readonly Json[] }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, depthIdentifier: 'json' },
    fc.constantFrom<Json>(null, true, false),
    storableNumber,
    storableText,
    tie('object'),
    tie('array'),
  ),
  object: fc
    .array(fc.tuple(fc.oneof(awkwardKey, storableText), tie('value')), {
      maxLength: 6,
      depthIdentifier: 'json',
    })
    .map((members) => Object.fromEntries(members)),
  array: fc.array(tie('value'), { maxLength: 6, depthIdentifier: 'json' }),
})).value

/** A string literal in which each character is escaped or not, as `choices` has it. */
function spelled(text: string, choices: readonly boolean[]): string {
  const units = text.split('').map((unit, index) => {
    const escaped = `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
    if (choices[index % choices.length]) return escaped
    return /["\\]/.test(unit) || unit < ' ' ? escaped : unit
  })
  return `"${units.join('')}"`
}

const spelling = fc.array(fc.boolean(), { minLength: 1, maxLength: 5 })

describe('parseJson', () => {
  describe('accepts', () => {
    it.each([
      'null',
      'true',
      ' false ',
      '0',
      '""',
      '[]',
      '{}',
      '\t[\r\n1 , 2 ] \n',
      '{"a":{"b":[null,true,{"c":"d"}]}}',
      '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"',
      '"😀 \\ud83d\\ude00 é e\u0301 \u2028 \ufffd \uffff"',
      '"\\\\u0000"',
      '{"2":1,"1":2,"a":{"":0}}',
      '{"e\u0301":1,"\u00e9":2}',
      '{"a":{"x":1},"b":{"x":1}}',
    ])('%j, as JSON.parse reads it', (text) => {
      expect(valueOf(parseJson(text))).toStrictEqual(parsed(text))
    })

    it('a pair of surrogates of which only one half is escaped', () => {
      expect(valueOf(parseJson('"\ud83d\\ude00"'))).toBe('😀')
      expect(valueOf(parseJson('{"\\ud83d\ude00":1}'))).toStrictEqual({ '😀': 1 })
    })

    it.each([
      ['1.0', 1],
      ['1e2', 100],
      ['1E+2', 100],
      ['100e-2', 1],
      ['1.10', 1.1],
      ['0.1', 0.1],
      ['-12.50', -12.5],
      ['1e00002', 100],
      ['9007199254740991', 9007199254740991],
      ['-9007199254740992', -9007199254740992],
      ['100000000000000000000000', 1e23],
      ['1e308', 1e308],
      ['1.7976931348623157e308', Number.MAX_VALUE],
      ['2.2250738585072014e-308', 2.2250738585072014e-308],
      ['5e-324', Number.MIN_VALUE],
      ['0.30000000000000004', 0.30000000000000004],
      ['0.300000000000000040000000', 0.30000000000000004],
      ['0e999999999999', 0],
      ['0.000e-5', 0],
    ])('the number %s', (text, number) => {
      expect(valueOf(parseJson(text))).toBe(number)
    })

    it.each(['-0', '-0.0', '-0e5', '-0.000000000000000000000', '-0e-999'])(
      '%s as 0, wherever it stands',
      (zero) => {
        expect(valueOf(parseJson(zero))).toBe(0)
        const value = valueOf(parseJson(`{"a":[1,${zero}],"__proto__":${zero},"b":{"c":${zero}},"d":-0.5}`))
        expect(value).toStrictEqual(parsed('{"a":[1,0],"__proto__":0,"b":{"c":0},"d":-0.5}'))
      },
    )

    it('keys that name the prototype, as properties like any other', () => {
      const text = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"prototype":1}'
      const value = valueOf(parseJson(text))
      expect(Object.keys(value ?? {})).toEqual(['__proto__', 'constructor', 'prototype'])
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
      expect(JSON.stringify(value)).toBe(text)
    })

    it('sixty-four levels', () => {
      expect(parseJson(nested(MAX_DEPTH))).toMatchObject({ ok: true })
      expect(parseJson('{"a":['.repeat(32) + '1' + ']}'.repeat(32))).toMatchObject({ ok: true })
      expect(parseJson('7', { maxDepth: 0 })).toMatchObject({ ok: true })
    })

    it('a text of exactly the bytes allowed', () => {
      expect(parseJson('"é😀"', { maxBytes: 8 })).toStrictEqual({ ok: true, value: 'é😀' })
    })
  })

  describe('refuses, with the place and the reason,', () => {
    it.each([
      ['', '', 'malformed JSON at line 1, column 1: found the end of the text, expected a value'],
      ['  ', '', 'malformed JSON at line 1, column 3: found the end of the text, expected a value'],
      ['nul', '', 'malformed JSON at line 1, column 1: found "n", expected a value'],
      ['NaN', '', 'malformed JSON at line 1, column 1: found "N", expected a value'],
      ['[Infinity]', '/0', 'malformed JSON at line 1, column 2: found "I", expected a value'],
      ["'a'", '', 'malformed JSON at line 1, column 1: found "\'", expected a value'],
      ['\ufeff1', '', 'malformed JSON at line 1, column 1: found U+FEFF, expected a value'],
      ['\u00a01', '', 'malformed JSON at line 1, column 1: found U+00A0, expected a value'],
      ['\0', '', 'malformed JSON at line 1, column 1: found U+0000, expected a value'],
      ['\ud800', '', 'malformed JSON at line 1, column 1: found U+D800, expected a value'],
      ['1 2', '', 'malformed JSON at line 1, column 3: found "2", expected the end of the text'],
      ['{} x', '', 'malformed JSON at line 1, column 4: found "x", expected the end of the text'],
      ['01', '', 'malformed JSON at line 1, column 2: found "1", expected the end of the text'],
      ['-', '', 'malformed JSON at line 1, column 2: found the end of the text, expected a digit'],
      ['+1', '', 'malformed JSON at line 1, column 1: found "+", expected a value'],
      ['.5', '', 'malformed JSON at line 1, column 1: found ".", expected a value'],
      ['[1.]', '/0', 'malformed JSON at line 1, column 4: found "]", expected a digit'],
      ['[1e]', '/0', 'malformed JSON at line 1, column 4: found "]", expected a digit'],
      ['[1e+]', '/0', 'malformed JSON at line 1, column 5: found "]", expected a digit'],
      ['0x10', '', 'malformed JSON at line 1, column 2: found "x", expected the end of the text'],
      ['[', '/0', 'malformed JSON at line 1, column 2: found the end of the text, expected a value'],
      ['[1,\n 2,\n]', '/2', 'malformed JSON at line 3, column 1: found "]", expected a value'],
      ['[1 2]', '', 'malformed JSON at line 1, column 4: found "2", expected "," or "]"'],
      ['[1}', '', 'malformed JSON at line 1, column 3: found "}", expected "," or "]"'],
      [
        '{',
        '',
        'malformed JSON at line 1, column 2: found the end of the text, expected a key in double quotes',
      ],
      ['{a:1}', '', 'malformed JSON at line 1, column 2: found "a", expected a key in double quotes'],
      ['{"a":1,}', '', 'malformed JSON at line 1, column 8: found "}", expected a key in double quotes'],
      ['{"a" 1}', '/a', 'malformed JSON at line 1, column 6: found "1", expected ":"'],
      ['{"a":}', '/a', 'malformed JSON at line 1, column 6: found "}", expected a value'],
      ['{"a":1 "b":2}', '', 'malformed JSON at line 1, column 8: found """, expected "," or "}"'],
      [
        '{"a":{"b":[0,{"c":tru}]}}',
        '/a/b/1/c',
        'malformed JSON at line 1, column 19: found "t", expected a value',
      ],
      ['"a', '', 'malformed JSON at line 1, column 3: found the end of the text, expected a closing quote'],
      ['{"a', '', 'malformed JSON at line 1, column 4: found the end of the text, expected a closing quote'],
      ['"a\nb"', '', 'malformed JSON at line 1, column 3: found U+000A, expected control characters escaped'],
      [
        '["a\0b"]',
        '/0',
        'malformed JSON at line 1, column 4: found U+0000, expected control characters escaped',
      ],
      [
        '"\\x"',
        '',
        'malformed JSON at line 1, column 3: found "x", expected an escape such as \\n or \\u000a',
      ],
      [
        '"\\u00g0"',
        '',
        'malformed JSON at line 1, column 3: found "u", expected an escape such as \\n or \\u000a',
      ],
      [
        '"\\',
        '',
        'malformed JSON at line 1, column 3: found the end of the text, expected an escape such as \\n or \\u000a',
      ],
      [
        '"\\u12',
        '',
        'malformed JSON at line 1, column 3: found "u", expected an escape such as \\n or \\u000a',
      ],
      ['1 /* one */', '', 'malformed JSON at line 1, column 3: found "/", expected the end of the text'],
    ])('malformed %j', (text, pointer, detail) => {
      expect(() => parsed(text)).toThrow(SyntaxError)
      expect(problemIn(parseJson(text))).toStrictEqual({ pointer, detail })
    })

    it.each([
      ['"a\\u0000"', ''],
      ['{"a":["x","\\u0000"]}', '/a/1'],
      ['{"a":{"b\\u0000":1}}', '/a/b\ufffd'],
      ['{"\\u0000":{"b":[}', '/\ufffd'],
    ])('a NUL in %j', (text, pointer) => {
      expect(problemIn(parseJson(text))).toStrictEqual({
        pointer,
        detail: 'found a NUL character (U+0000), expected text without any',
      })
    })

    it.each([
      ['"\\ud800"', ''],
      ['"\ud800"', ''],
      ['["ok","\\ude00\\ud83d"]', '/1'],
      ['{"a":[{"b":"\ude00x"}]}', '/a/0/b'],
      ['{"a":{"k\\uD83D":1}}', '/a/k\ufffd'],
      ['{"a":{"k\ud83d":1}}', '/a/k\ufffd'],
      ['["\ud83d","\ude00"]', '/0'],
    ])('half a surrogate pair in %j', (text, pointer) => {
      expect(problemIn(parseJson(text))).toStrictEqual({
        pointer,
        detail: 'found half a surrogate pair, expected well-formed Unicode',
      })
    })

    it.each([
      ['12345678901234567890', '12345678901234567000'],
      ['9007199254740993', '9007199254740992'],
      // Exactly a double, and yet written back as another number.
      ['1152921504606846976', '1152921504606847000'],
      ['0.1234567890123456789', '0.12345678901234568'],
      ['1.00000000000000000001', '1'],
      ['1e400', 'Infinity'],
      ['-1e400', '-Infinity'],
      ['1e99999999999999999999', 'Infinity'],
      ['1e-400', '0'],
      ['-1e-400', '0'],
      ['1e-99999999999999999999', '0'],
      ['2.5e-324', '5e-324'],
      ['1.5e-323', '1.5e-323'],
    ])('the number %s unless a double keeps it', (number, kept) => {
      for (const [text, pointer] of [
        [number, ''],
        [`{"a":[0,${number}]}`, '/a/1'],
        [`{"b/c":{"~":${number} }}`, '/b~1c/~0'],
      ] as const) {
        if (number === kept) {
          expect(parseJson(text)).toMatchObject({ ok: true })
        } else {
          expect(problemIn(parseJson(text))).toStrictEqual({
            pointer,
            detail: `found the number ${number}, which a double keeps as ${kept}: expected one it keeps unchanged, or a string`,
          })
        }
      }
    })

    it.each([
      ['{"a":1,"a":1}', '/a'],
      ['{"a":1,"b":{"c":[{"d":1,"e":2,"d":3}]}}', '/b/c/0/d'],
      ['{"a":1,"\\u0061":2}', '/a'],
      ['{"":0,"":0}', '/'],
      ['{"a/b~":0,"a\\/b~":0}', '/a~1b~0'],
      ['{"__proto__":0,"__proto__":0}', '/__proto__'],
      ['{"7":0,"7":0}', '/7'],
      ['[{"x":1},{"x":1,"x":1}]', '/1/x'],
    ])('the second of two keys in %j', (text, pointer) => {
      expect(problemIn(parseJson(text))).toStrictEqual({
        pointer,
        detail: 'found this key a second time, expected every key of an object once',
      })
    })

    it('the sixty-fifth level, before anything is built', () => {
      const detail = 'found an array or object 65 levels deep, expected at most 64'
      expect(problemIn(parseJson(nested(65)))).toStrictEqual({ pointer: '/0'.repeat(64), detail })
      expect(problemIn(parseJson('{"a":'.repeat(5_000_000)))).toStrictEqual({
        pointer: '/a'.repeat(64),
        detail,
      })
      expect(problemIn(parseJson('[0,{"a":[]}]', { maxDepth: 2 }))).toStrictEqual({
        pointer: '/1/a',
        detail: 'found an array or object 3 levels deep, expected at most 2',
      })
    })

    it('a text over the bytes allowed', () => {
      const detail = 'found 8 bytes of JSON, expected at most 7'
      expect(problemIn(parseJson('"é😀"', { maxBytes: 7 }))).toStrictEqual({ pointer: '', detail })
      expect(parseJson('x'.repeat(11), { maxBytes: 10 })).toMatchObject({ ok: false })
    })

    it('with a problem that can itself be stored, however long the keys and numbers are', () => {
      const long = problemIn(parseJson(`{"${'kæ'.repeat(5000)}":{"\\u0000":${'9'.repeat(9000)}}}`))
      const number = problemIn(parseJson('9'.repeat(9000)))
      for (const { pointer, detail } of [long, number]) {
        expect(byteLength(pointer)).toBeLessThanOrEqual(2048)
        expect(byteLength(detail)).toBeLessThan(1024)
      }
      expect(long.pointer).toMatch(/^\/kækæ.*… \(\d+ bytes more\)$/)
    })
  })

  describe('answers hostile text of megabytes soon:', () => {
    const list = (item: string) => `[${Array(200_000).fill(item).join(',')}]`
    const zeros = '0'.repeat(2 * MEBIBYTE)

    it.each<[string, string, boolean]>([
      ['open brackets', '['.repeat(2 * MEBIBYTE), false],
      ['nested arrays', nested(MEBIBYTE), false],
      ['one key a million times', `{${Array(1_000_000).fill('"a":1').join(',')}}`, false],
      ['different keys', `{${Array.from({ length: 200_000 }, (_, i) => `"${i}":1`).join(',')},"7":1}`, false],
      ['a long number', '9'.repeat(2 * MEBIBYTE), false],
      ['a fraction of many zeros', `0.${zeros}1`, false],
      ['many zeros between two digits', `1.${zeros}1`, false],
      ['many zeros which cancel out', `0.${zeros}1e${zeros.length + 1}`, true],
      ['a long exponent', `1e${'9'.repeat(2 * MEBIBYTE)}`, false],
      ['numbers of seventeen digits', list('0.123456789012345660'), true],
      ['minus zeros', list('-0'), true],
      ['escapes', list('"\\u0041"'), true],
      ['one string of escapes', `"${'\\u0041'.repeat(400_000)}"`, true],
      ['backslashes', `"${'\\\\'.repeat(MEBIBYTE)}"`, true],
      ['an open string of backslashes', `"${'\\\\'.repeat(MEBIBYTE)}`, false],
      ['spaces', ' '.repeat(2 * MEBIBYTE), false],
      ['lines', `${'\n'.repeat(2 * MEBIBYTE)}x`, false],
      ['long keys inside each other', `{"${'k'.repeat(30_000)}":`.repeat(64), false],
    ])('%s', (_name, text, ok) => {
      expectSoon(() => expect(parseJson(text).ok).toBe(ok))
    })
  })

  describe('holds these laws:', () => {
    it('it accepts every storable I-JSON value as JSON.stringify writes it, and gives back its equal', () => {
      fc.assert(
        fc.property(iJson, (value) => {
          expect(valueOf(parseJson(JSON.stringify(value)))).toStrictEqual(value)
        }),
        { numRuns: 1000 },
      )
      fc.assert(
        fc.property(fc.jsonValue({ stringUnit: 'binary', maxDepth: MAX_DEPTH }), (value) => {
          const text = JSON.stringify(value)
          fc.pre(!text.includes('\\u0000'))
          expect(valueOf(parseJson(text))).toStrictEqual(parsed(text))
        }),
        { numRuns: 1000 },
      )
    })

    it('whatever it accepts can be written, and reads back as its equal', () => {
      fc.assert(
        fc.property(fc.oneof(nearlyJson, fc.json({ stringUnit: 'binary' })), (text) => {
          const verdict = parseJson(text)
          if (verdict.ok) expect(parsed(JSON.stringify(verdict.value))).toStrictEqual(verdict.value)
        }),
        { numRuns: 5000 },
      )
    })

    it('it calls a text malformed exactly when JSON.parse does, and never reads another value', () => {
      fc.assert(
        fc.property(nearlyJson, (text) => {
          const verdict = parseJson(text)
          if (verdict.ok) expect(verdict.value).toEqual(withoutMinusZeros(parsed(text)))
          else if (verdict.problem.detail.startsWith('malformed'))
            expect(() => parsed(text)).toThrow(SyntaxError)
          else expect(() => parsed(text)).not.toThrow()
        }),
        { numRuns: 20_000 },
      )
    })

    it('how a text is spaced and escaped does not change the verdict', () => {
      fc.assert(
        fc.property(
          iJson,
          fc.constantFrom<string | number>(1, 4, '\t', '\r\n '),
          spelling,
          (value, indent, choices) => {
            const pretty = JSON.stringify(value, null, indent)
            expect(valueOf(parseJson(pretty))).toStrictEqual(value)
            expect(valueOf(parseJson(respelled(value, choices)))).toStrictEqual(value)
          },
        ),
        { numRuns: 1000 },
      )
    })

    it('spacing does not change a refusal either', () => {
      fc.assert(
        fc.property(unstorable, fc.constantFrom<string | number>(1, '\t'), (value, indent) => {
          const problem = problemIn(parseJson(JSON.stringify(value)))
          expect(problemIn(parseJson(JSON.stringify(value, null, indent)))).toStrictEqual(problem)
        }),
        { numRuns: 1000 },
      )
    })

    it('a key repeated anywhere in a document is refused, with its own pointer', () => {
      const spot = fc.record({
        object: fc.nat(),
        key: fc.nat(),
        after: fc.nat(),
        choices: spelling,
        value: iJson,
      })
      fc.assert(
        fc.property(iJson, spot, (value, where) => {
          const doubled = withRepeatedKey(value, where)
          fc.pre(doubled !== null)
          expect(problemIn(parseJson(doubled.text))).toStrictEqual({
            pointer: doubled.pointer,
            detail: 'found this key a second time, expected every key of an object once',
          })
        }),
        { numRuns: 2000 },
      )
    })

    it('it accepts a number exactly when its decimal value is that of the number written back', () => {
      fc.assert(
        fc.property(numeral, (text) => {
          const written = String(Number(text))
          const kept = Number.isFinite(Number(text)) && sameDecimal(text, written)
          expect(parseJson(`[${text}]`).ok).toBe(kept)
        }),
        { numRuns: 20_000 },
      )
    })

    it('100,000 random texts of UTF-16 units, quoted or not, never make it throw', () => {
      let accepted = 0
      for (const text of randomTexts(100_000)) {
        for (const each of [text, `"${text}"`, `{"${text}":0}`]) if (parseJson(each).ok) accepted++
      }
      expect(accepted).toBeGreaterThan(1000)
    })
  })
})

describe('checkJson', () => {
  describe('accepts', () => {
    it('plain values, as a copy that is theirs alone', () => {
      const value = { a: [1, 'two', null, { b: true }], c: {} }
      const copy = valueOf(checkJson(value))
      expect(copy).toStrictEqual(value)
      value.a.push(5)
      expect(copy).toStrictEqual({ a: [1, 'two', null, { b: true }], c: {} })
    })

    it('nothing at all as null, for handlers that return nothing', () => {
      expect(checkJson(undefined)).toStrictEqual({ ok: true, value: null })
    })

    it('properties that are undefined, by leaving them out', () => {
      expect(valueOf(checkJson({ a: undefined, b: { c: undefined, d: 1 } }))).toStrictEqual({ b: { d: 1 } })
    })

    it('properties that are not enumerable, by leaving them out', () => {
      expect(valueOf(checkJson(Object.defineProperty({ a: 1 }, 'b', { value: 2 })))).toStrictEqual({ a: 1 })
    })

    it('-0 as 0', () => {
      expect(valueOf(checkJson([-0, { a: -0 }]))).toStrictEqual([0, { a: 0 }])
    })

    it('objects without a prototype, frozen ones, and the same object in two places', () => {
      const shared = Object.freeze({ x: 1 })
      const bare = Object.assign(Object.create(null), { shared })
      expect(valueOf(checkJson([shared, bare]))).toStrictEqual([{ x: 1 }, { shared: { x: 1 } }])
    })

    it('getters and proxies that behave, reading each property once', () => {
      let reads = 0
      const value = {
        get once() {
          return ++reads
        },
      }
      expect(valueOf(checkJson(value))).toStrictEqual({ once: 1 })
      expect(valueOf(checkJson(new Proxy({ a: new Proxy([1], {}) }, {})))).toStrictEqual({ a: [1] })
    })

    it('keys that name the prototype, as properties like any other', () => {
      const text = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
      const copy = valueOf(checkJson(parsed(text)))
      expect(JSON.stringify(copy)).toBe(text)
      expect(Object.getPrototypeOf(copy)).toBe(Object.prototype)
    })

    it('sixty-four levels', () => {
      expect(checkJson(parsed(nested(64)))).toMatchObject({ ok: true })
    })
  })

  describe('refuses, with the place and the reason,', () => {
    class Order {
      readonly id = 1
    }
    class Teapot extends Error {}
    const cycle: { a: unknown[] } = { a: [] }
    cycle.a.push({ b: cycle })
    const match = /b/.exec('abc')

    it.each<[string, unknown, string, string]>([
      ['NaN', { a: [0, NaN] }, '/a/1', 'found NaN, expected a finite number'],
      ['Infinity', Infinity, '', 'found Infinity, expected a finite number'],
      ['-Infinity', [-Infinity], '/0', 'found -Infinity, expected a finite number'],
      [
        'a BigInt',
        { n: 1n },
        '/n',
        'found a BigInt, expected a JSON value: write it as a string, with String(n)',
      ],
      ['a function', { f: () => 1 }, '/f', 'found a function, expected a JSON value'],
      ['a class', [Order], '/0', 'found a function, expected a JSON value'],
      ['a symbol', Symbol('s'), '', 'found a symbol, expected a JSON value'],
      [
        'undefined in an array',
        { a: [1, undefined] },
        '/a/1',
        'found undefined, expected a JSON value: write null',
      ],
      // biome-ignore lint/suspicious/noSparseArray: that is the point
      ['a hole', { a: [1, , 3] }, '/a/1', 'found a hole in an array, expected a JSON value: write null'],
      [
        'a huge hole',
        new Array(2 ** 32 - 1),
        '/0',
        'found a hole in an array, expected a JSON value: write null',
      ],
      [
        'a symbol key',
        { a: { [Symbol('k')]: 1 } },
        '/a',
        'found the key Symbol(k), expected strings for keys',
      ],
      [
        'a Date',
        { at: new Date(0) },
        '/at',
        'found a Date, expected plain values: return date.toISOString()',
      ],
      [
        'an invalid Date',
        new Date(NaN),
        '',
        'found a Date, expected plain values: return date.toISOString()',
      ],
      ['a Map', [new Map()], '/0', 'found a Map, expected plain values: return Object.fromEntries(map)'],
      ['a Set', { s: new Set() }, '/s', 'found a Set, expected plain values: return [...set]'],
      ['a Promise', { p: Promise.resolve() }, '/p', 'found a Promise, expected plain values: await it'],
      [
        'an Error',
        new Teapot(),
        '',
        'found a Teapot, expected plain values: throw it, or return its message',
      ],
      ['a RegExp', [/x/], '/0', 'found a RegExp, expected plain values: return its source'],
      [
        'an instance',
        { o: new Order() },
        '/o',
        'found an Order, expected plain values: return a plain object, such as { ...object }',
      ],
      ['a String object', Object('x'), '', 'found a String, expected plain values: return its valueOf()'],
      ['a Number object', Object(1), '', 'found a Number, expected plain values: return its valueOf()'],
      ['a Boolean object', Object(true), '', 'found a Boolean, expected plain values: return its valueOf()'],
      ['a BigInt object', Object(1n), '', 'found a BigInt, expected plain values: return it as a string'],
      [
        'a typed array',
        { b: new Uint8Array(2) },
        '/b',
        'found an Uint8Array, expected plain values: return its bytes as base64 text, or its numbers as [...array]',
      ],
      [
        'a Buffer',
        Buffer.from('x'),
        '',
        'found a Buffer, expected plain values: return its bytes as base64 text, or its numbers as [...array]',
      ],
      [
        'an ArrayBuffer',
        new ArrayBuffer(1),
        '',
        'found an ArrayBuffer, expected plain values: return its bytes as base64 text',
      ],
      [
        'a kind of array',
        new (class Rows extends Array {})(),
        '',
        'found a Rows, expected plain values: return [...array]',
      ],
      [
        'a nameless class',
        new (class {})(),
        '',
        'found an object of some class, expected plain values: return a plain object, such as { ...object }',
      ],
      [
        'inherited data',
        Object.create({ a: 1 }),
        '',
        'found an Object, expected plain values: return a plain object, such as { ...object }',
      ],
      [
        'toJSON',
        { a: { toJSON: () => 1 } },
        '/a',
        'found an object with a toJSON function, expected plain values: return what toJSON() gives',
      ],
      [
        'hidden toJSON',
        Object.defineProperty([], 'toJSON', { value: () => 1 }),
        '',
        'found an object with a toJSON function, expected plain values: return what toJSON() gives',
      ],
      [
        'a match',
        { m: match },
        '/m',
        'found an array with the property index, expected nothing but its items',
      ],
      [
        'a cycle',
        cycle,
        '/a/0/b',
        'found a cycle: this object holds itself, expected a tree of plain values',
      ],
      [
        '65 levels',
        parsed(nested(65)),
        '/0'.repeat(64),
        'found an array or object 65 levels deep, expected at most 64',
      ],
      ['a NUL', { 'a/b': ['\0'] }, '/a~1b/0', 'found a NUL character (U+0000), expected text without any'],
      [
        'a NUL in a key',
        { a: { '\0': 1 } },
        '/a/\ufffd',
        'found a NUL character (U+0000), expected text without any',
      ],
      ['half a pair', ['\ud800'], '/0', 'found half a surrogate pair, expected well-formed Unicode'],
      [
        'half a pair in a key',
        [{ '~\udc00': 1 }],
        '/0/~0\ufffd',
        'found half a surrogate pair, expected well-formed Unicode',
      ],
    ])('%s', (_name, value, pointer, detail) => {
      expect(problemIn(checkJson(value))).toStrictEqual({ pointer, detail })
    })

    it('values over the bytes allowed, as JSON.stringify would write them', () => {
      expect(checkJson(['é', 1], { maxBytes: 8 })).toMatchObject({ ok: true })
      expect(problemIn(checkJson(['é', 1], { maxBytes: 7 }))).toStrictEqual({
        pointer: '',
        detail: 'found more than 7 bytes of JSON, expected no more',
      })
      expect(checkJson('x'.repeat(MAX_CHECKED_BYTES))).toMatchObject({ ok: false, problem: { pointer: '' } })
    })

    it('an object that doubles at every level, instead of writing it out', () => {
      let value: unknown = []
      for (let level = 1; level < MAX_DEPTH; level++) value = [value, value]
      expectSoon(() => expect(checkJson(value, { maxBytes: MEBIBYTE }).ok).toBe(false))
    })
  })

  describe('is not thrown off by', () => {
    function fail(): never {
      throw new Error('boo\0')
    }
    const unreadable = 'found something that cannot be read (boo\ufffd), expected plain values'
    const failing = (trap: keyof ProxyHandler<object>) => ({ p: [new Proxy({ a: 1 }, { [trap]: fail })] })
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()

    it('a getter that throws', () => {
      const value = [
        {
          ok: 1,
          get a() {
            return fail()
          },
        },
      ]
      expect(problemIn(checkJson(value))).toStrictEqual({ pointer: '/0/a', detail: unreadable })
    })

    it.each(['ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor', 'get'] as const)(
      'a proxy whose %s throws',
      (trap) => {
        expect(problemIn(checkJson(failing(trap)))).toStrictEqual({ pointer: '/p/0', detail: unreadable })
      },
    )

    it('a revoked proxy', () => {
      expect(problemIn(checkJson({ r: revoked.proxy })).pointer).toBe('/r')
    })

    it.each<[string, unknown]>([
      ['a throwing message', Object.defineProperty(new Error('x'), 'message', { get: fail })],
      [
        'a message that is no string',
        Object.defineProperty(new Error('x'), 'message', { value: Object.create(null) }),
      ],
      ['no way to a string', Object.create(null)],
      ['a revoked proxy', revoked.proxy],
      ['a symbol', Symbol('x')],
      ['a megabyte', 'x'.repeat(MEBIBYTE)],
    ])('an error with %s', (_name, error) => {
      const value = {
        get a() {
          throw error
        },
      }
      const { pointer, detail } = problemIn(checkJson(value))
      expect(pointer).toBe('/a')
      expect(byteLength(detail)).toBeLessThan(1024)
    })

    it.each<[string, unknown]>([
      ['endless', new Proxy([], { get: (_target, key) => (key === 'length' ? Infinity : 1) })],
      ['bigint', new Proxy([], { get: (_target, key) => (key === 'length' ? 1n : 1) })],
      ['absent', new Proxy([], { get: () => undefined })],
    ])('an array whose length is %s', (_name, value) => {
      expectSoon(() => expect(checkJson(value, { maxBytes: MEBIBYTE }).ok).toBe(false))
    })

    it('a name or constructor that is none', () => {
      for (const constructor of [
        null,
        { name: 'x' },
        Object.defineProperty(class {}, 'name', { get: fail }),
      ]) {
        expect(checkJson(Object.create({ constructor })).ok).toBe(false)
      }
    })

    it('an object of another realm, which it refuses like any object of some class', () => {
      expect(problemIn(checkJson(vm.runInNewContext('({ a: 1 })'))).detail).toContain('found an Object')
    })
  })

  describe('holds these laws:', () => {
    it('it accepts every storable value, as its equal', () => {
      fc.assert(
        fc.property(iJson, (value) => {
          expect(valueOf(checkJson(value))).toStrictEqual(value)
        }),
        { numRuns: 1000 },
      )
    })

    it('it agrees with parseJson about what is written', () => {
      fc.assert(
        fc.property(unstorable, (value) => {
          expect(checkJson(value)).toStrictEqual(parseJson(JSON.stringify(value)))
        }),
        { numRuns: 1000 },
      )
    })

    it('it allows exactly the bytes that JSON.stringify writes', () => {
      fc.assert(
        fc.property(iJson, (value) => {
          const bytes = Buffer.byteLength(JSON.stringify(value))
          expect(checkJson(value, { maxBytes: bytes }).ok).toBe(true)
          expect(checkJson(value, { maxBytes: bytes - 1 }).ok).toBe(false)
        }),
        { numRuns: 1000 },
      )
    })

    it('what it makes of anything is written by JSON.stringify and read by parseJson as its equal', () => {
      const anything = fc.anything({
        withBigInt: true,
        withBoxedValues: true,
        withDate: true,
        withMap: true,
        withSet: true,
        withNullPrototype: true,
        withSparseArray: true,
        withTypedArray: true,
        withObjectString: true,
      })
      fc.assert(
        fc.property(anything, (value) => {
          const verdict = checkJson(value)
          if (verdict.ok)
            expect(valueOf(parseJson(JSON.stringify(verdict.value)))).toStrictEqual(verdict.value)
        }),
        { numRuns: 5000 },
      )
    })
  })
})

describe('canonicalJson', () => {
  it('writes no spaces, and sorts keys by their UTF-16 units at every depth', () => {
    const value = {
      '\u20ac': 1,
      '\r': 2,
      '\ufb33': 3,
      '1': 4,
      '😀': 5,
      '\u0080': 6,
      ö: [{ b: 1e21, a: -0 }, '\u2028"'],
    }
    expect(canonicalJson(value)).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"ö":[{"a":0,"b":1e+21},"\u2028\\""],"\u20ac":1,"😀":5,"\ufb33":3}',
    )
  })

  it('keeps __proto__ as a key', () => {
    expect(canonicalJson(valueOf(parseJson('{"b":1,"__proto__":{"a":[]}}')))).toBe(
      '{"__proto__":{"a":[]},"b":1}',
    )
  })

  it('is one text for all orders of the keys, and loses nothing', () => {
    fc.assert(
      fc.property(iJson, (value) => {
        const text = canonicalJson(value)
        expect(canonicalJson(reversed(value))).toBe(text)
        expect(parsed(text)).toStrictEqual(value)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('byteLength', () => {
  it('counts the bytes of UTF-8', () => {
    expect(['', 'a', 'é', '€', '😀', '\ud800', '\ude00\ud83d', 'a\0\uffff'].map(byteLength)).toEqual([
      0, 1, 2, 3, 4, 3, 6, 5,
    ])
  })

  it('agrees with the encoder on every text', () => {
    for (const text of randomTexts(10_000)) expect(byteLength(text)).toBe(Buffer.byteLength(text))
  })
})

describe('sanitizeText', () => {
  it('leaves ordinary text alone', () => {
    expect(sanitizeText('out of stock: café 😀', 8192)).toBe('out of stock: café 😀')
    expect(sanitizeText('', 0)).toBe('')
  })

  it('replaces NUL and lone surrogates', () => {
    expect(sanitizeText('a\0b\ud800c\udc00😀', 100)).toBe('a\ufffdb\ufffdc\ufffd😀')
  })

  it('cuts a long text and says how much is missing', () => {
    expect(sanitizeText('x'.repeat(100), 50)).toBe(`${'x'.repeat(31)}… (69 bytes more)`)
    expect(sanitizeText('x'.repeat(50), 50)).toBe('x'.repeat(50))
    expect(sanitizeText('é'.repeat(50), 50)).toBe(`${'é'.repeat(15)}… (70 bytes more)`)
  })

  it('never splits a character', () => {
    for (let maxBytes = 0; maxBytes < 60; maxBytes++) {
      expect(sanitizeText('😀'.repeat(20), maxBytes)).toMatch(/^(😀)*(… \(\d+ bytes more\))?$/u)
    }
  })

  it('cuts without a mark where the mark has no room', () => {
    expect(sanitizeText('abcdefgh', 3)).toBe('abc')
    expect(sanitizeText('a😀', 3)).toBe('a')
    expect(sanitizeText('\0\0', 2)).toBe('')
    expect(
      ['x'].map((text) => [sanitizeText(text, 0), sanitizeText(text, -5), sanitizeText(text, NaN)]),
    ).toEqual([['', '', '']])
  })

  it('of any text makes one that can be stored, fits, and is its beginning', () => {
    fc.assert(
      fc.property(fc.constantFrom(...randomTexts(3000)), fc.nat(120), (text, maxBytes) => {
        const result = sanitizeText(text, maxBytes)
        expect(Buffer.byteLength(result)).toBeLessThanOrEqual(maxBytes)
        expect(valueOf(checkJson(result))).toBe(result)
        const [, kept = '', missing] = /^(.*?)(?:… \((\d+) bytes more\))?$/su.exec(result) ?? []
        expect(text.replaceAll('\0', '\ufffd').toWellFormed().startsWith(kept)).toBe(true)
        if (missing) expect(Buffer.byteLength(text.slice(kept.length))).toBe(Number(missing))
      }),
      { numRuns: 5000 },
    )
  })

  it('is quick with a text of megabytes', () => {
    expectSoon(() => sanitizeText('\0\ud800é'.repeat(MEBIBYTE), 8192))
  })
})

afterAll(() => {
  expect(Reflect.get({}, 'polluted')).toBeUndefined()
})

// ── What the laws are made of ────────────────────────────────────────────────────────────────────────────────────

/** JSON text with up to three of its characters exchanged, removed or added. */
const nearlyJson = fc
  .tuple(
    fc.oneof(
      iJson.map((value) => JSON.stringify(value)),
      iJson.map((value) => JSON.stringify(value, null, 1)),
    ),
    fc.array(
      fc.record({
        at: fc.nat(),
        removed: fc.nat(2),
        added: fc.constantFrom(
          ...[
            '',
            ' ',
            '\n',
            '{',
            '}',
            '[',
            ']',
            '"',
            ',',
            ':',
            '\\',
            '\\u',
            '0',
            '1',
            '-',
            '-0',
            '.',
            'e',
            'E+',
            '\t',
          ],
          ...[
            '\0',
            '\ud800',
            '\udc00',
            '\\u0000',
            '\\ud83d',
            '\\ude00',
            'true',
            'null',
            '""',
            '"a":1,',
            '\u00a0',
          ],
        ),
      }),
      { maxLength: 3 },
    ),
  )
  .map(([text, edits]) => {
    let edited = text
    for (const { at, removed, added } of edits) {
      const place = at % (edited.length + 1)
      edited = edited.slice(0, place) + added + edited.slice(place + removed)
    }
    return edited
  })

/** A value with a NUL, half a pair, or too many levels in some place. */
const unstorable: fc.Arbitrary<Json> = fc
  .tuple(
    iJson,
    fc.constantFrom<Json>('\0', 'x\ud800', { '\udc00\0': 1 }, { k: ['\0'] }, bottomless()),
    fc.array(awkwardKey),
  )
  .map(([before, bad, path]) =>
    path.reduce<Json>(
      (inner, key, index) => (index % 2 ? [before, inner] : Object.fromEntries([[key, inner]])),
      bad,
    ),
  )

function bottomless(): Json {
  let value: Json = 0
  for (let level = 0; level <= MAX_DEPTH; level++) value = level % 2 ? [value] : { a: value }
  return value
}

function withoutMinusZeros(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

function reversed(value: Json): Json {
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map(reversed)
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reversed(item)]),
  )
}

function respelled(value: Json, choices: readonly boolean[]): string {
  if (typeof value === 'string') return spelled(value, choices)
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[ ${value.map((item) => respelled(item, choices)).join(' ,')}\t]`
  const members = Object.entries(value).map(
    ([key, item]) => `${spelled(key, choices)} :\n${respelled(item, choices)}`,
  )
  return `{\r\n${members.join(', ')} }`
}

type Spot = { object: number; key: number; after: number; choices: readonly boolean[]; value: Json }

/** The text of `root` in which one of its objects has one of its keys twice, or null when no object has a key. */
function withRepeatedKey(root: Json, spot: Spot): { text: string; pointer: string } | null {
  const objects: { object: object; path: string }[] = []
  const collect = (value: Json, path: string) => {
    if (value === null || typeof value !== 'object') return
    if (!Array.isArray(value) && Object.keys(value).length > 0) objects.push({ object: value, path })
    for (const [key, item] of Object.entries(value)) collect(item, path + token(key))
  }
  collect(root, '')
  const chosen = objects[spot.object % objects.length]
  if (chosen === undefined) return null
  const keys = Object.keys(chosen.object)
  const key = keys[spot.key % keys.length] ?? ''
  const repeated = `${spelled(key, spot.choices)}:${JSON.stringify(spot.value)}`

  const write = (value: Json): string => {
    if (value === null || typeof value !== 'object') return JSON.stringify(value)
    if (Array.isArray(value)) return `[${value.map(write).join(',')}]`
    const members = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${write(item)}`)
    if (value === chosen.object) members.splice(spot.after % (members.length + 1), 0, repeated)
    return `{${members.join(',')}}`
  }
  return { text: write(root), pointer: chosen.path + token(key) }
}

function token(key: string): string {
  return `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
}

const digits = (maxLength: number) =>
  fc.array(fc.constantFrom(...'00001234567899'), { minLength: 1, maxLength }).map((each) => each.join(''))

const numeral = fc.oneof(
  fc
    .record({
      sign: fc.constantFrom('', '-'),
      whole: digits(20).map((each) => each.replace(/^0+(?=.)/, '')),
      fraction: fc.option(digits(22), { nil: null }),
      exponent: fc.option(fc.integer({ min: -345, max: 320 }), { nil: null }),
    })
    .map(
      ({ sign, whole, fraction, exponent }) =>
        sign + whole + (fraction === null ? '' : `.${fraction}`) + (exponent === null ? '' : `e${exponent}`),
    ),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number.toExponential()),
  fc
    .double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 })
    .map((number) => number.toFixed(17)),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
)

/** Exact, by whole numbers: each numeral times the same power of ten. */
function sameDecimal(a: string, b: string): boolean {
  const scaled = (text: string) => {
    const [mantissa = '', exponent = '0'] = text.split(/e/i)
    const [whole = '', fraction = ''] = mantissa.split('.')
    return BigInt(whole + fraction) * 10n ** BigInt(800 + Number(exponent) - fraction.length)
  }
  return scaled(a) === scaled(b)
}

/** Short texts of UTF-16 units, with many surrogates, controls and characters that mean something in JSON. */
function randomTexts(count: number): string[] {
  const pick = fc.sample(fc.integer({ min: 0, max: 0x7fffffff }), { numRuns: 1, seed: 20_261_120 })[0] ?? 1
  let state = pick
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >> 8) % below
  }
  const special = '{}[]",:\\/bfnrtu0123456789eE+-. \t\n\0truefalsn'
  const unit = () => {
    const kind = next(4)
    if (kind === 0) return special.charCodeAt(next(special.length))
    if (kind === 1) return 0xd800 + next(0x800)
    return kind === 2 ? next(0x80) : next(0x10000)
  }
  return Array.from({ length: count }, () => String.fromCharCode(...Array.from({ length: next(24) }, unit)))
}
