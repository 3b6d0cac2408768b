import { isDeepStrictEqual } from 'node:util'
import vm from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
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

// On what the tests of hostile input feed, quadratic work takes minutes. Linear work takes well under a second,
// save on a busy machine.
vi.setConfig({ testTimeout: 20_000 })

const NUL = 'found a NUL character (U+0000), expected text without any'
const HALF_PAIR = 'found half a surrogate pair, expected well-formed Unicode'
const REPEATED = 'found this key a second time, expected every key of an object once'

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
      expectEqual(accepted(parseJson(text)), JSON.parse(text))
    })

    it('a pair of surrogates of which only one half is escaped', () => {
      expect(accepted(parseJson('"\ud83d\\ude00"'))).toBe('😀')
      expect(accepted(parseJson('{"\\ud83d\ude00":1}'))).toStrictEqual({ '😀': 1 })
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
      ['1.5e-323', 1.5e-323],
      ['0.30000000000000004', 0.30000000000000004],
      ['0.300000000000000040000000', 0.30000000000000004],
      ['0e999999999999', 0],
      ['0.000e-5', 0],
    ])('the number %s', (text, number) => {
      expect(accepted(parseJson(text))).toBe(number)
    })

    it.each(['-0', '-0.0', '-0e5', '-0.000000000000000000000', '-0e-999'])(
      '%s as 0, at any place',
      (zero) => {
        expect(accepted(parseJson(zero))).toBe(0)
        const value = accepted(parseJson(`{"a":[1,${zero}],"__proto__":${zero},"b":{"c":${zero}},"d":-0.5}`))
        expectEqual(value, JSON.parse('{"a":[1,0],"__proto__":0,"b":{"c":0},"d":-0.5}'))
      },
    )

    it('keys that name the prototype, as properties like any other (F63)', () => {
      const text = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"prototype":1}'
      const value = accepted(parseJson(text))
      expect(JSON.stringify(value)).toBe(text)
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
      expect(Reflect.get({}, 'polluted')).toBeUndefined()
    })

    it('keys with escapes for what they are, whatever was read before', () => {
      // JSON.parse itself takes some of these for others: nodejs/node#63785.
      const keys = ['"', '\\', '\n', '"a', '\\a', '\\"', 'a', '0', '\u{10000}', '__proto__']
      for (const first of keys) {
        for (const second of keys.filter((key) => key !== first)) {
          const [one, other] = [JSON.stringify(first), JSON.stringify(second)]
          const members = `${one}:1,${other}:[{${one}:2}]`
          const value = Object.fromEntries<Json>([
            [first, 1],
            [second, [Object.fromEntries([[first, 2]])]],
          ])
          expectEqual(accepted(parseJson(`{${members}}`)), value)
        }
      }
      const text = '{"\\u0061":1,"b":{"\\u0031":-0,"\\"":{"\\\\":[{"\\t":2}]}}}'
      expectEqual(accepted(parseJson(text)), { a: 1, b: { 1: 0, '"': { '\\': [{ '\t': 2 }] } } })
    })

    it('sixty-four levels', () => {
      expect(parseJson(nested(MAX_DEPTH)).ok).toBe(true)
      expect(parseJson(`${'{"a":['.repeat(32)}1${']}'.repeat(32)}`).ok).toBe(true)
      expect(parseJson('7', { maxDepth: 0 }).ok).toBe(true)
    })

    it('a text of exactly the bytes allowed', () => {
      expect(parseJson('"é😀"', { maxBytes: 8 })).toStrictEqual({ ok: true, value: 'é😀' })
    })
  })

  describe('refuses', () => {
    it.each([
      ['', '', '1:1', 'the end of the text', 'a value'],
      ['  ', '', '1:3', 'the end of the text', 'a value'],
      ['nul', '', '1:1', '"n"', 'a value'],
      ['NaN', '', '1:1', '"N"', 'a value'],
      ['[Infinity]', '/0', '1:2', '"I"', 'a value'],
      ["'a'", '', '1:1', '"\'"', 'a value'],
      ['\ufeff1', '', '1:1', 'U+FEFF', 'a value'],
      ['\u00a01', '', '1:1', 'U+00A0', 'a value'],
      ['\0', '', '1:1', 'U+0000', 'a value'],
      ['\ud800', '', '1:1', 'U+D800', 'a value'],
      ['1 2', '', '1:3', '"2"', 'the end of the text'],
      ['{} x', '', '1:4', '"x"', 'the end of the text'],
      ['01', '', '1:2', '"1"', 'the end of the text'],
      ['0x10', '', '1:2', '"x"', 'the end of the text'],
      ['1 /* one */', '', '1:3', '"/"', 'the end of the text'],
      ['-', '', '1:2', 'the end of the text', 'a digit'],
      ['+1', '', '1:1', '"+"', 'a value'],
      ['.5', '', '1:1', '"."', 'a value'],
      ['[1.]', '/0', '1:4', '"]"', 'a digit'],
      ['[1e]', '/0', '1:4', '"]"', 'a digit'],
      ['[1e+]', '/0', '1:5', '"]"', 'a digit'],
      ['[', '/0', '1:2', 'the end of the text', 'a value'],
      ['[1,\n 2,\n]', '/2', '3:1', '"]"', 'a value'],
      ['[1 2]', '', '1:4', '"2"', '"," or "]"'],
      ['[1}', '', '1:3', '"}"', '"," or "]"'],
      ['{', '', '1:2', 'the end of the text', 'a key in double quotes'],
      ['{a:1}', '', '1:2', '"a"', 'a key in double quotes'],
      ['{"a":1,}', '', '1:8', '"}"', 'a key in double quotes'],
      ['{"a" 1}', '/a', '1:6', '"1"', '":"'],
      ['{"a":}', '/a', '1:6', '"}"', 'a value'],
      ['{"a":1 2}', '', '1:8', '"2"', '"," or "}"'],
      ['{"a":{"b":[0,{"c":tru}]}}', '/a/b/1/c', '1:19', '"t"', 'a value'],
      ['"a', '', '1:3', 'the end of the text', 'a closing quote'],
      ['{"a', '', '1:4', 'the end of the text', 'a closing quote'],
      ['"a\nb"', '', '1:3', 'U+000A', 'control characters escaped'],
      ['["a\0b"]', '/0', '1:4', 'U+0000', 'control characters escaped'],
      ['"\\x"', '', '1:3', '"x"', 'an escape such as \\n or \\u000a'],
      ['"\\u00g0"', '', '1:3', '"u"', 'an escape such as \\n or \\u000a'],
      ['"\\u12', '', '1:3', '"u"', 'an escape such as \\n or \\u000a'],
      ['"\\', '', '1:3', 'the end of the text', 'an escape such as \\n or \\u000a'],
    ])('malformed %j at %j, naming line and column', (text, pointer, place, found, expected) => {
      const [line, column] = place.split(':')
      expect(() => JSON.parse(text)).toThrow(SyntaxError)
      expect(refusalOf(parseJson(text))).toStrictEqual({
        pointer,
        detail: `malformed JSON at line ${line}, column ${column}: found ${found}, expected ${expected}`,
      })
    })

    it.each([
      ['"a\\u0000"', '', NUL],
      ['{"a":["x","\\u0000"]}', '/a/1', NUL],
      ['{"a":{"b\\u0000":1}}', '/a/b\ufffd', NUL],
      ['{"\\u0000":{"b":[}', '/\ufffd', NUL],
      ['"\\ud800"', '', HALF_PAIR],
      ['"\ud800"', '', HALF_PAIR],
      ['["ok","\\ude00\\ud83d"]', '/1', HALF_PAIR],
      ['{"a":[{"b":"\ude00x"}]}', '/a/0/b', HALF_PAIR],
      ['{"a":{"k\\uD83D":1}}', '/a/k\ufffd', HALF_PAIR],
      ['{"a":{"k\ud83d":1}}', '/a/k\ufffd', HALF_PAIR],
      ['["\ud83d","\ude00"]', '/0', HALF_PAIR],
      ['{"a":1,"a":1}', '/a', REPEATED],
      ['{"a":1,"b":{"c":[{"d":1,"e":2,"d":3}]}}', '/b/c/0/d', REPEATED],
      ['{"a":1,"\\u0061":2}', '/a', REPEATED],
      ['{"":0,"":0}', '/', REPEATED],
      ['{"a/b~":0,"a\\/b~":0}', '/a~1b~0', REPEATED],
      ['{"__proto__":0,"__proto__":0}', '/__proto__', REPEATED],
      ['{"7":0,"7":0}', '/7', REPEATED],
      ['[{"x":1},{"x":1,"x":1}]', '/1/x', REPEATED],
    ])('%j at %j: %s', (text, pointer, detail) => {
      expect(refusalOf(parseJson(text))).toStrictEqual({ pointer, detail })
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
      ['3e-324', '5e-324'],
    ])('the number %s, which a double keeps as %s', (number, kept) => {
      const found = `found the number ${number}, which a double keeps as ${kept}`
      const detail = `${found}: expected one it keeps unchanged, or a string`
      expect(refusalOf(parseJson(number))).toStrictEqual({ pointer: '', detail })
      expect(refusalOf(parseJson(`{"a":[0,${number}]}`))).toStrictEqual({ pointer: '/a/1', detail })
      expect(refusalOf(parseJson(`{"b/c":{"~":${number} }}`))).toStrictEqual({ pointer: '/b~1c/~0', detail })
    })

    it('the sixty-fifth level, before anything is built (F64)', () => {
      const detail = 'found an array or object 65 levels deep, expected at most 64'
      expect(refusalOf(parseJson(nested(65)))).toStrictEqual({ pointer: '/0'.repeat(64), detail })
      expect(refusalOf(parseJson('{"a":'.repeat(5_000_000)))).toStrictEqual({
        pointer: '/a'.repeat(64),
        detail,
      })
      expect(refusalOf(parseJson('[0,{"a":[]}]', { maxDepth: 2 }))).toStrictEqual({
        pointer: '/1/a',
        detail: 'found an array or object 3 levels deep, expected at most 2',
      })
    })

    it('a text over the bytes allowed', () => {
      const detail = 'found 8 bytes of JSON, expected at most 7'
      expect(refusalOf(parseJson('"é😀"', { maxBytes: 7 }))).toStrictEqual({ pointer: '', detail })
      expect(parseJson(`"${'€'.repeat(10)}"`, { maxBytes: 32 }).ok).toBe(true)
      expect(parseJson(`"${'€'.repeat(10)}"`, { maxBytes: 31 }).ok).toBe(false)
    })

    it('with a problem that is itself fit to be stored, however long keys and numbers are', () => {
      const long = refusalOf(parseJson(`{"${'kæ'.repeat(5000)}":{"\\u0000":0}}`))
      expect(long.pointer).toMatch(/^\/kækæ.*… \(\d+ bytes more\)$/)
      expect(byteLength(long.pointer)).toBeLessThanOrEqual(2048)
      expect(byteLength(refusalOf(parseJson('9'.repeat(9000))).detail)).toBeLessThan(1024)
    })
  })

  describe('soon answers megabytes of', () => {
    const list = (item: string) => `[${Array(200_000).fill(item).join(',')}]`
    const manyKeys = Array.from({ length: 200_000 }, (_, index) => `"${index}":1`).join(',')
    const zeros = '0'.repeat(2 * MEBIBYTE)

    it.each<[string, string, boolean]>([
      ['open brackets', '['.repeat(2 * MEBIBYTE), false],
      ['nested arrays', nested(MEBIBYTE), false],
      ['one key a million times', `{${Array(1_000_000).fill('"a":1').join(',')}}`, false],
      ['different keys', `{${manyKeys}}`, true],
      ['different keys of which the last is not', `{${manyKeys},"7":1}`, false],
      ['long keys inside each other', `{"${'k'.repeat(30_000)}":`.repeat(64), false],
      ['one number', '9'.repeat(2 * MEBIBYTE), false],
      ['zeros before a digit', `0.${zeros}1`, false],
      ['zeros between two digits', `1.${zeros}1`, false],
      ['zeros which cancel out', `0.${zeros}1e${zeros.length + 1}`, true],
      ['exponent', `1e${'9'.repeat(2 * MEBIBYTE)}`, false],
      ['numbers of seventeen digits', list('0.123456789012345660'), true],
      ['minus zeros', list('-0'), true],
      ['escapes', list('"\\u0041"'), true],
      ['escapes in one string', `"${'\\u0041'.repeat(400_000)}"`, true],
      ['backslashes', `"${'\\\\'.repeat(MEBIBYTE)}"`, true],
      ['backslashes without a closing quote', `"${'\\\\'.repeat(MEBIBYTE)}`, false],
      ['spaces', ' '.repeat(2 * MEBIBYTE), false],
      ['lines', `${'\n'.repeat(2 * MEBIBYTE)}x`, false],
    ])('%s', (_name, text, ok) => {
      expect(parseJson(text).ok).toBe(ok)
    })
  })

  describe('by law', () => {
    it('accepts every storable value as JSON.stringify writes it, and gives back its equal', () => {
      fc.assert(
        fc.property(iJson(), (value) => expectEqual(accepted(parseJson(JSON.stringify(value))), value)),
        { numRuns: 1000 },
      )
      fc.assert(
        fc.property(fc.jsonValue({ stringUnit: 'binary', maxDepth: 10 }), (value) => {
          const text = JSON.stringify(value)
          fc.pre(!text.includes('\\u0000'))
          expectEqual(accepted(parseJson(text)), accepted(checkJson(value)))
        }),
        { numRuns: 1000 },
      )
    })

    it('accepts only what JSON.parse accepts, as the same value, and what can be written again', () => {
      let count = 0
      fc.assert(
        fc.property(nearlyJson(), (text) => {
          const verdict = parseJson(text)
          if (!verdict.ok) return
          count++
          expectEqual(accepted(parseJson(JSON.stringify(verdict.value))), verdict.value)
          const native: unknown = JSON.parse(text)
          if (!text.includes('\\')) expectEqual(verdict.value, JSON.parse(JSON.stringify(native)))
        }),
        { numRuns: 5000 },
      )
      expect(count).toBeGreaterThan(1000)
    })

    it('calls malformed only what JSON.parse does', () => {
      fc.assert(
        fc.property(nearlyJson(), (text) => {
          const verdict = parseJson(text)
          if (verdict.ok || !verdict.problem.detail.startsWith('malformed')) return
          expect(() => JSON.parse(text)).toThrow(SyntaxError)
        }),
        { numRuns: 5000 },
      )
    })

    it('does not care how a text is spaced and escaped', () => {
      const indent = fc.constantFrom<string | number>(1, 4, '\t', '\r\n ')
      fc.assert(
        fc.property(iJson(), indent, spelling(), (value, space, choices) => {
          expectEqual(accepted(parseJson(JSON.stringify(value, null, space))), value)
          expectEqual(accepted(parseJson(respelled(value, choices))), value)
        }),
        { numRuns: 1000 },
      )
      fc.assert(
        fc.property(unstorable(), indent, (value, space) => {
          const problem = refusalOf(parseJson(JSON.stringify(value)))
          expectEqual(refusalOf(parseJson(JSON.stringify(value, null, space))), problem)
        }),
        { numRuns: 1000 },
      )
    })

    it('refuses a key repeated anywhere in a document, with its own pointer (F66)', () => {
      fc.assert(
        fc.property(iJson(), spot(), (value, where) => {
          const repeated = withRepeatedKey(value, where)
          fc.pre(repeated !== null)
          expectEqual(refusalOf(parseJson(repeated.text)), { pointer: repeated.pointer, detail: REPEATED })
        }),
        { numRuns: 2000 },
      )
    })

    it('accepts a number exactly when it is the decimal number that will be written (F62)', () => {
      fc.assert(
        fc.property(numeral(), (text) => {
          const isKept = Number.isFinite(Number(text)) && isSameDecimal(text, String(Number(text)))
          expect(parseJson(`[${text}]`).ok).toBe(isKept)
        }),
        { numRuns: 5000 },
      )
    })

    it('throws for none of 100,000 random texts of UTF-16 units, bare, quoted or as a key (F61)', () => {
      const verdicts = randomTexts(100_000).flatMap((text) =>
        [text, `"${text}"`, `{"${text}":0}`].map(isAccepted),
      )
      expect(verdicts.filter(Boolean).length).toBeGreaterThan(1000)
    })
  })
})

describe('checkJson', () => {
  describe('accepts', () => {
    it('plain values, as a copy of its own', () => {
      const value = { a: [1, 'two', null, { b: true }], c: {} }
      const copy = accepted(checkJson(value))
      expect(copy).toStrictEqual(value)
      value.a.push(5)
      expect(copy).toStrictEqual({ a: [1, 'two', null, { b: true }], c: {} })
    })

    it('nothing at all as null, for handlers that return nothing', () => {
      expect(checkJson(undefined)).toStrictEqual({ ok: true, value: null })
    })

    it('properties that are undefined or not enumerable, by leaving them out', () => {
      const value = Object.defineProperty({ b: undefined, c: { d: 1, e: undefined } }, 'hidden', { value: 1 })
      expect(accepted(checkJson(value))).toStrictEqual({ c: { d: 1 } })
    })

    it('-0 as 0', () => {
      expect(accepted(checkJson([-0, { a: -0 }]))).toStrictEqual([0, { a: 0 }])
    })

    it('frozen objects, objects without a prototype, and one object in two places', () => {
      const shared = Object.freeze({ x: 1 })
      const bare: unknown = Object.assign(Object.create(null), { shared })
      expect(accepted(checkJson([shared, bare]))).toStrictEqual([{ x: 1 }, { shared: { x: 1 } }])
    })

    it('getters and proxies that behave, reading each property once', () => {
      let reads = 0
      const value = { get: Object.defineProperty({}, 'once', { get: () => ++reads, enumerable: true }) }
      expect(accepted(checkJson(value))).toStrictEqual({ get: { once: 1 } })
      expect(reads).toBe(1)
      expect(accepted(checkJson(new Proxy({ a: new Proxy([1], {}) }, {})))).toStrictEqual({ a: [1] })
    })

    it('keys that name the prototype, as properties like any other', () => {
      const text = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
      const copy = accepted(checkJson(JSON.parse(text)))
      expect(JSON.stringify(copy)).toBe(text)
      expect(Object.getPrototypeOf(copy)).toBe(Object.prototype)
      expect(Reflect.get({}, 'polluted')).toBeUndefined()
    })

    it('sixty-four levels', () => {
      expect(checkJson(JSON.parse(nested(64))).ok).toBe(true)
    })
  })

  describe('refuses', () => {
    const cycle: { a: unknown[] } = { a: [] }
    cycle.a.push({ b: cycle })
    const hole = 'a hole in an array, expected a JSON value: write null'
    const toJson = 'an object with a toJSON function, expected plain values: return what toJSON() gives'

    it.each<[string, unknown, string, string]>([
      ['NaN', { a: [0, NaN] }, '/a/1', 'NaN, expected a finite number'],
      ['Infinity', Infinity, '', 'Infinity, expected a finite number'],
      ['-Infinity', [-Infinity], '/0', '-Infinity, expected a finite number'],
      ['a BigInt', { n: 1n }, '/n', 'a BigInt, expected a JSON value: write it as a string, with String(n)'],
      ['a function', { f: () => 1 }, '/f', 'a function, expected a JSON value'],
      ['a symbol', Symbol('s'), '', 'a symbol, expected a JSON value'],
      ['undefined in an array', [1, undefined], '/1', 'undefined, expected a JSON value: write null'],
      ['a hole', { a: Object.assign([1], { 2: 3 }) }, '/a/1', hole],
      ['four thousand million holes', Object.assign([], { length: 2 ** 32 - 1 }), '/0', hole],
      ['a symbol for a key', [{ [Symbol('k')]: 1 }], '/0', 'the key Symbol(k), expected strings for keys'],
      ['toJSON', { a: { toJSON: () => 1 } }, '/a', toJson],
      ['a hidden toJSON', Object.defineProperty([], 'toJSON', { value: () => 1 }), '', toJson],
      ['a cycle', cycle, '/a/0/b', 'a cycle: this object holds itself, expected a tree of plain values'],
      [
        'an array with properties',
        { match: /b/.exec('abc') },
        '/match',
        'an array with the property index, expected nothing but its items',
      ],
      [
        '65 levels',
        JSON.parse(nested(65)),
        '/0'.repeat(64),
        'an array or object 65 levels deep, expected at most 64',
      ],
    ])('%s', (_name, value, pointer, found) => {
      expect(refusalOf(checkJson(value))).toStrictEqual({ pointer, detail: `found ${found}` })
    })

    it.each([
      ['a string', { 'a/b': ['\0'] }, '/a~1b/0', NUL],
      ['a key', { a: { '\0': 1 } }, '/a/\ufffd', NUL],
      ['a string', ['\ud800'], '/0', HALF_PAIR],
      ['a key', [{ '~\udc00': 1 }], '/0/~0\ufffd', HALF_PAIR],
    ])('%s of %j at %j: %s', (_name, value, pointer, detail) => {
      expect(refusalOf(checkJson(value))).toStrictEqual({ pointer, detail })
    })

    class Order {
      readonly id = 1
    }
    class Rows extends Array {}
    class Teapot extends Error {}
    const bytes = 'return its bytes as base64 text'
    const numbers = `${bytes}, or its numbers as [...array]`
    const plain = 'return a plain object, such as { ...object }'

    it.each<[string, unknown, string]>([
      ['a Date', new Date(0), 'return date.toISOString()'],
      ['a Date', new Date(NaN), 'return date.toISOString()'],
      ['a Map', new Map(), 'return Object.fromEntries(map)'],
      ['a Set', new Set(), 'return [...set]'],
      ['a Promise', Promise.resolve(), 'await it'],
      ['a Teapot', new Teapot(), 'throw it, or return its message'],
      ['a RegExp', /x/, 'return its source'],
      ['a String', Object('x'), 'return its valueOf()'],
      ['a Number', Object(1), 'return its valueOf()'],
      ['a Boolean', Object(true), 'return its valueOf()'],
      ['a BigInt', Object(1n), 'return it as a string'],
      ['an Uint8Array', new Uint8Array(2), numbers],
      ['a Buffer', Buffer.from('x'), numbers],
      ['an ArrayBuffer', new ArrayBuffer(1), bytes],
      ['a Rows', new Rows(), 'return [...array]'],
      ['an Order', new Order(), plain],
      ['an Object', Object.create({ inherited: 1 }), plain],
      ['an object of some class', new (class {})(), plain],
      // Its prototype is not this realm's, so it cannot be told from an instance.
      ['an Object', vm.runInNewContext('({ a: 1 })'), plain],
    ])('%s, with a hint', (found, value, hint) => {
      const detail = `found ${found}, expected plain values: ${hint}`
      expect(refusalOf(checkJson({ a: [value] }))).toStrictEqual({ pointer: '/a/0', detail })
    })

    it('a value over the bytes allowed, counted as JSON.stringify would write it', () => {
      const detail = 'found more than 7 bytes of JSON, expected no more'
      expect(checkJson(['é', 1], { maxBytes: 8 }).ok).toBe(true)
      expect(refusalOf(checkJson(['é', 1], { maxBytes: 7 }))).toStrictEqual({ pointer: '', detail })
      expect(checkJson('x'.repeat(MAX_CHECKED_BYTES - 2)).ok).toBe(true)
      expect(checkJson('x'.repeat(MAX_CHECKED_BYTES - 1)).ok).toBe(false)
    })

    it('an object that doubles at every level, without writing it out', () => {
      let value: unknown = []
      for (let level = 1; level < MAX_DEPTH; level++) value = [value, value]
      expect(checkJson(value, { maxBytes: MEBIBYTE }).ok).toBe(false)
    })
  })

  describe('does not throw for', () => {
    const fail = () => {
      throw new Error('boo\0')
    }
    const unreadable = 'found something that cannot be read (boo\ufffd), expected plain values'
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()

    it('a getter that throws', () => {
      const value = [Object.defineProperty({ ok: 1 }, 'a', { get: fail, enumerable: true })]
      expect(refusalOf(checkJson(value))).toStrictEqual({ pointer: '/0/a', detail: unreadable })
    })

    it.each(['ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor', 'get'])(
      'a proxy whose %s throws',
      (trap) => {
        const value = { p: [new Proxy({ a: 1 }, { [trap]: fail })] }
        expect(refusalOf(checkJson(value))).toStrictEqual({ pointer: '/p/0', detail: unreadable })
      },
    )

    it('a revoked proxy', () => {
      expect(refusalOf(checkJson({ r: revoked.proxy })).pointer).toBe('/r')
    })

    it.each<[string, unknown]>([
      ['whose message throws', Object.defineProperty(new Error('x'), 'message', { get: fail })],
      ['whose message is no string', Object.assign(new Error('x'), { message: Object.create(null) })],
      ['that has no way to a string', Object.create(null)],
      ['that is a revoked proxy', revoked.proxy],
      ['that is a symbol', Symbol('x')],
      ['of a megabyte', 'x'.repeat(MEBIBYTE)],
    ])('an error %s', (_name, error) => {
      const get = () => {
        throw error
      }
      const { pointer, detail } = refusalOf(
        checkJson(Object.defineProperty({}, 'a', { get, enumerable: true })),
      )
      expect(pointer).toBe('/a')
      expect(byteLength(detail)).toBeLessThan(1024)
    })

    it.each([Infinity, -1, NaN, 'x', null])('an array which says its length is %s', (length) => {
      const value = new Proxy([1], { get: (_target, key) => (key === 'length' ? length : 1) })
      expect(checkJson(value, { maxBytes: MEBIBYTE }).ok).toBe(false)
    })

    it('a constructor which is none or hides its name', () => {
      const nameless = Object.defineProperty(class {}, 'name', { get: fail })
      for (const fake of [null, { name: 'x' }, nameless]) {
        expect(checkJson(Object.create({ constructor: fake })).ok).toBe(false)
      }
    })
  })

  describe('by law', () => {
    it('accepts every storable value, as its equal', () => {
      fc.assert(
        fc.property(iJson(), (value) => expectEqual(accepted(checkJson(value)), value)),
        { numRuns: 1000 },
      )
    })

    it('gives the same refusal as parseJson gives for the text', () => {
      fc.assert(
        fc.property(unstorable(), (value) => {
          expectEqual(refusalOf(checkJson(value)), refusalOf(parseJson(JSON.stringify(value))))
        }),
        { numRuns: 1000 },
      )
    })

    it('allows exactly the bytes that JSON.stringify writes', () => {
      fc.assert(
        fc.property(iJson(), (value) => {
          const bytes = Buffer.byteLength(JSON.stringify(value))
          expect(checkJson(value, { maxBytes: bytes }).ok).toBe(true)
          expect(checkJson(value, { maxBytes: bytes - 1 }).ok).toBe(false)
        }),
        { numRuns: 1000 },
      )
    })

    it('makes of anything a value which is written and read as its equal, or a refusal (F62)', () => {
      let count = 0
      fc.assert(
        fc.property(anything(), (value) => {
          const verdict = checkJson(value)
          if (!verdict.ok) return
          count++
          expectEqual(accepted(parseJson(JSON.stringify(verdict.value))), verdict.value)
        }),
        { numRuns: 5000 },
      )
      expect(count).toBeGreaterThan(100)
    })
  })
})

describe('canonicalJson', () => {
  it('writes no spaces, and sorts keys by their UTF-16 units at every depth', () => {
    const inner = [{ b: 1e21, a: -0 }, '\u2028"']
    const value = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '😀': 5, '\u0080': 6, ö: inner }
    expect(canonicalJson(value)).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"ö":[{"a":0,"b":1e+21},"\u2028\\""],"\u20ac":1,"😀":5,"\ufb33":3}',
    )
  })

  it('keeps __proto__ as a key', () => {
    const value = accepted(parseJson('{"b":1,"__proto__":{"a":[]}}'))
    expect(canonicalJson(value)).toBe('{"__proto__":{"a":[]},"b":1}')
  })

  it('is one text for all orders of the keys, and loses nothing', () => {
    fc.assert(
      fc.property(iJson(), (value) => {
        const text = canonicalJson(value)
        expect(canonicalJson(withKeysReversed(value))).toBe(text)
        expectEqual(accepted(parseJson(text)), value)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('byteLength', () => {
  it('counts the bytes of UTF-8', () => {
    const texts = ['', 'a', 'é', '€', '😀', '\ud800', '\ude00\ud83d', 'a\0\uffff']
    expect(texts.map(byteLength)).toEqual([0, 1, 2, 3, 4, 3, 6, 5])
  })

  it('agrees with the encoder on random texts', () => {
    const texts = randomTexts(10_000)
    expect(texts.map(byteLength)).toEqual(texts.map((text) => Buffer.byteLength(text)))
  })
})

describe('sanitizeText', () => {
  it('leaves ordinary text alone', () => {
    expect(sanitizeText('out of stock: café 😀', 8192)).toBe('out of stock: café 😀')
    expect(sanitizeText('', 0)).toBe('')
    expect(sanitizeText('x'.repeat(50), 50)).toBe('x'.repeat(50))
  })

  it('replaces NUL and lone surrogates (F60)', () => {
    expect(sanitizeText('a\0b\ud800c\udc00😀', 100)).toBe('a\ufffdb\ufffdc\ufffd😀')
  })

  it('cuts a long text and says how much is missing (F67)', () => {
    expect(sanitizeText('x'.repeat(90), 50)).toBe(`${'x'.repeat(31)}… (59 bytes more)`)
    expect(sanitizeText('é'.repeat(40), 50)).toBe(`${'é'.repeat(15)}… (50 bytes more)`)
  })

  it('never splits a character (F61)', () => {
    for (let maxBytes = 0; maxBytes < 60; maxBytes++) {
      expect(sanitizeText('😀'.repeat(20), maxBytes)).toMatch(/^(😀)*(… \(\d+ bytes more\))?$/u)
    }
  })

  it('cuts without a mark where the mark has no room', () => {
    expect(sanitizeText('abcdefgh', 3)).toBe('abc')
    expect(sanitizeText('a😀', 3)).toBe('a')
    expect(sanitizeText('\0\0', 2)).toBe('')
    expect([0, -5, NaN].map((maxBytes) => sanitizeText('x', maxBytes))).toEqual(['', '', ''])
  })

  it('makes of any text one that fits, can be stored, and is its beginning', () => {
    fc.assert(
      fc.property(fc.constantFrom(...randomTexts(3000)), fc.nat(80), (text, maxBytes) => {
        const result = sanitizeText(text, maxBytes)
        expect(Buffer.byteLength(result)).toBeLessThanOrEqual(maxBytes)
        expect(accepted(checkJson(result))).toBe(result)
        const [mark, missing] = /… \((\d+) bytes more\)$/.exec(result) ?? ['']
        const kept = result.slice(0, result.length - mark.length)
        expect(text.replaceAll('\0', '\ufffd').toWellFormed().startsWith(kept)).toBe(true)
        expect(missing ?? '0').toBe(mark === '' ? '0' : String(Buffer.byteLength(text.slice(kept.length))))
      }),
      { numRuns: 5000 },
    )
  })

  it('is quick with megabytes', () => {
    expect(byteLength(sanitizeText('\0\ud800é'.repeat(MEBIBYTE), 8192))).toBeLessThanOrEqual(8192)
  })
})

// ── What the tests are made of ─────────────────────────────────────────────────────────────────────────────

function accepted(verdict: JsonVerdict): Json {
  if (!verdict.ok) throw new Error(`refused: ${JSON.stringify(verdict.problem)}`)
  return verdict.value
}

function refusalOf(verdict: JsonVerdict) {
  if (verdict.ok) throw new Error('accepted')
  return verdict.problem
}

function isAccepted(text: string): boolean {
  return parseJson(text).ok
}

/** Vitest's own equality takes a key named `constructor` for the class. */
function expectEqual(actual: unknown, expected: unknown) {
  if (isDeepStrictEqual(actual, expected)) return
  throw new Error(`not equal: ${JSON.stringify(actual)} and ${JSON.stringify(expected)}`)
}

function nested(depth: number): string {
  return '['.repeat(depth) + ']'.repeat(depth)
}

/** Keys which have broken something somewhere: pollution, reordering, pointers, escapes. */
function awkwardKey() {
  const names = ['__proto__', 'constructor', 'prototype', 'toJSON', 'length', '0', '10', '-1']
  return fc.constantFrom(
    '',
    ...names,
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
}

/** Any value which can be stored, `__proto__` being an own property where it is a key. */
function iJson(): fc.Arbitrary<Json> {
  const text = fc.string({ unit: 'binary' }).map((each) => each.replaceAll('\0', 'nul'))
  const number = fc
    .oneof(fc.integer(), fc.maxSafeInteger(), fc.double({ noNaN: true, noDefaultInfinity: true }))
    .map((each) => (each === 0 ? 0 : each))
  const size = { maxLength: 6, depthIdentifier: 'json' }
  return fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 6, depthIdentifier: 'json' },
      fc.constantFrom(null, true, false),
      number,
      text,
      fc
        .array(fc.tuple(fc.oneof(awkwardKey(), text), tie('value')), size)
        .map((members) => Object.fromEntries(members)),
      fc.array(tie('value'), size),
    ),
  })).value
}

/** A value with a NUL, half a pair or too many levels in some place. */
function unstorable(): fc.Arbitrary<Json> {
  const tooDeep: Json = JSON.parse(nested(MAX_DEPTH + 1))
  const bad = fc.constantFrom<Json>('\0', 'x\ud800', { '\udc00\0': 1 }, { k: ['\0'] }, tooDeep)
  return fc
    .tuple(iJson(), bad, fc.array(awkwardKey()))
    .map(([sibling, place, path]) =>
      path.reduce<Json>(
        (inner, key, index) => (index % 2 ? [sibling, inner] : Object.fromEntries([[key, inner]])),
        place,
      ),
    )
}

/** JSON text with up to three of its characters exchanged, removed or added. */
function nearlyJson(): fc.Arbitrary<string> {
  const structure = [' ', '\n', '\t', '{', '}', '[', ']', ',', ':', '"', '""', '"a":1,', 'true', 'null']
  const numbers = ['0', '1', '-', '-0', '.', 'e', 'E+', '99999999999999999']
  const units = ['\\', '\\u', '\0', '\ud800', '\udc00', '\\u0000', '\\ud83d', '\\ude00', '\u00a0']
  const added = fc.constantFrom('', ...structure, ...numbers, ...units)
  const edit = fc.record({ at: fc.nat(), removed: fc.nat(2), added })
  return fc
    .tuple(iJson(), fc.constantFrom(0, 1), fc.array(edit, { maxLength: 3 }))
    .map(([value, indent, edits]) =>
      edits.reduce(
        (text, { at, removed, added }) => {
          const place = at % (text.length + 1)
          return text.slice(0, place) + added + text.slice(place + removed)
        },
        JSON.stringify(value, null, indent),
      ),
    )
}

function anything(): fc.Arbitrary<unknown> {
  return fc.anything({
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
}

/** Which characters of a string are escaped, in turns. */
function spelling(): fc.Arbitrary<boolean[]> {
  return fc.array(fc.boolean(), { minLength: 1, maxLength: 5 })
}

function spelled(text: string, choices: readonly boolean[]): string {
  const units = text.split('').map((unit, index) => {
    const isEscaped = choices[index % choices.length] || unit === '"' || unit === '\\' || unit < ' '
    return isEscaped ? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}` : unit
  })
  return `"${units.join('')}"`
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

function withKeysReversed(value: Json): Json {
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map(withKeysReversed)
  const members = Object.entries(value).reverse()
  return Object.fromEntries(members.map(([key, item]) => [key, withKeysReversed(item)]))
}

/** Picks one of the objects in a document, one of its keys, and the place where this is repeated. */
type Spot = { object: number; key: number; place: number; choices: boolean[]; value: Json }

function spot(): fc.Arbitrary<Spot> {
  return fc.record({ object: fc.nat(), key: fc.nat(), place: fc.nat(), choices: spelling(), value: iJson() })
}

/** The document's text with the repeated key, and the pointer to it; null when no object has a key. */
function withRepeatedKey(root: Json, at: Spot): { text: string; pointer: string } | null {
  const objects: { object: Json; path: string }[] = []
  const collect = (value: Json, path: string) => {
    if (value === null || typeof value !== 'object') return
    if (!Array.isArray(value) && Object.keys(value).length > 0) objects.push({ object: value, path })
    for (const [key, item] of Object.entries(value)) collect(item, path + tokenOf(key))
  }
  collect(root, '')
  const chosen = objects[at.object % objects.length]
  if (chosen === undefined) return null
  const keys = Object.keys(chosen.object ?? {})
  const key = keys[at.key % keys.length] ?? ''

  const write = (value: Json): string => {
    if (value === null || typeof value !== 'object') return JSON.stringify(value)
    if (Array.isArray(value)) return `[${value.map(write).join(',')}]`
    const members = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}:${write(item)}`)
    if (value === chosen.object) {
      const repeated = `${spelled(key, at.choices)}:${JSON.stringify(at.value)}`
      members.splice(at.place % (members.length + 1), 0, repeated)
    }
    return `{${members.join(',')}}`
  }
  return { text: write(root), pointer: chosen.path + tokenOf(key) }
}

function tokenOf(key: string): string {
  return `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
}

/** Numbers as JSON may spell them, on both sides of what a double keeps. */
function numeral(): fc.Arbitrary<string> {
  const double = fc.double({ noNaN: true, noDefaultInfinity: true })
  const small = fc.double({ noNaN: true, min: -1e6, max: 1e6 })
  const digits = (maxLength: number) => fc.stringMatching(new RegExp(`^[0-9]{1,${maxLength}}$`))
  const spelledOut = fc.record({
    sign: fc.constantFrom('', '-'),
    whole: digits(20).map((each) => each.replace(/^0+(?=.)/, '')),
    fraction: fc.oneof(
      fc.constant(''),
      digits(22).map((each) => `.${each}`),
    ),
    exponent: fc.oneof(
      fc.constant(''),
      fc.integer({ min: -345, max: 320 }).map((each) => `e${each}`),
    ),
  })
  return fc.oneof(
    spelledOut.map(({ sign, whole, fraction, exponent }) => sign + whole + fraction + exponent),
    double.map(String),
    double.map((number) => number.toExponential()),
    small.map((number) => number.toFixed(17)),
    fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
  )
}

/** Exactly, in whole numbers: both times the same power of ten. */
function isSameDecimal(a: string, b: string): boolean {
  const scaled = (text: string) => {
    const [mantissa = '', exponent = '0'] = text.split('e')
    const [whole = '', fraction = ''] = mantissa.split('.')
    return BigInt(whole + fraction) * 10n ** BigInt(800 + Number(exponent) - fraction.length)
  }
  return scaled(a) === scaled(b)
}

/** The same texts in every run, with many surrogates, controls and characters that mean something in JSON. */
function randomTexts(count: number): string[] {
  let state = 20_261_120
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >> 8) % below
  }
  const special = '{}[]",:\\/bfnrtu0123456789eE+-. \t\n\0truefalsn'
  const kinds = [
    () => special.charCodeAt(next(special.length)),
    () => 0xd800 + next(0x800),
    () => next(0x80),
    () => next(0x10000),
  ]
  const unit = () => kinds[next(kinds.length)]?.() ?? 0
  return Array.from({ length: count }, () => String.fromCharCode(...Array.from({ length: next(24) }, unit)))
}
