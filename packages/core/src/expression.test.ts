import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ACTION_SCOPE,
  COMPENSATION_SCOPE,
  compileExpression,
  type Evaluated,
  type Expression,
  evaluate,
  type Scope,
  WHEN_SCOPE,
} from './expression.ts'
import { type Json, parseJson } from './json.ts'

function compile(source: string, scope: Scope = COMPENSATION_SCOPE, wants?: 'bool'): Expression {
  const compiled = compileExpression(source, scope, wants)
  if (!compiled.ok) throw new Error(`${source}: ${compiled.detail}`)
  return compiled.expression
}

function refusal(source: string, scope: Scope = COMPENSATION_SCOPE, wants?: 'bool') {
  const compiled = compileExpression(source, scope, wants)
  return compiled.ok ? 'compiled' : compiled.detail
}

function run(source: string, values: Record<string, Json> = {}): Evaluated {
  return evaluate(compile(source), { input: {}, context: {}, saga: {}, result: null, failure: {}, ...values })
}

function given(source: string, values?: Record<string, Json>): Json {
  const evaluated = run(source, values)
  if (!evaluated.ok) throw new Error(`${source}: ${evaluated.detail}`)
  return evaluated.value
}

function faultOf(source: string, values?: Record<string, Json>): string {
  const evaluated = run(source, values)
  return evaluated.ok ? `gave ${JSON.stringify(evaluated.value)}` : evaluated.detail
}

const json = (text: string): Json => {
  const verdict = parseJson(text)
  if (!verdict.ok) throw new Error(verdict.problem.detail)
  return verdict.value
}

describe('numbers are JSON numbers', () => {
  const input = { total: 3, half: 0.5, n: 1, list: ['a', 'b'] }

  test.each([
    ['input.total > 0', true],
    ['input.n + 1', 2],
    ['input.n == 1', true],
    ['input.n == 1.0', true],
    ['1 == 1.0', true],
    ['input.n in [0, 1]', true],
    ['input.list[input.n]', 'b'],
    ['input.list[size(input.list) - 1]', 'b'],
    ['input.half < 1', true],
    ['input.half * 2', 1],
    ['-input.half', -0.5],
    ['7 % 4', 3],
    ['0.1 + 0.2', 0.1 + 0.2],
    ['1e300 * 10', 1e301],
    ['0x10', 16],
  ])('%s is %j', (source, value) => {
    expect(given(source, { input })).toBe(value)
  })

  test('division is of doubles, also of whole numbers; int() cuts the fraction off', () => {
    expect(given('5 / 2')).toBe(2.5)
    expect(given('input.total / 2', { input })).toBe(1.5)
    expect(given('int(5 / 2)')).toBe(2)
    expect(given('int(-5 / 2)')).toBe(-2)
  })

  test('whole numbers are exact or an error', () => {
    expect(given('9007199254740990 + 1')).toBe(9007199254740991)
    expect(faultOf('9007199254740991 + 1')).toContain('beyond 2^53')
    expect(faultOf('9007199254740991 * 3')).toContain('beyond 2^53')
    expect(refusal('9007199254740993')).toContain('beyond 2^53')
  })

  test.each(['1 / 0', '1 % 0', 'input.n / input.zero', '0.0 / 0'])('%s is an error', (source) => {
    expect(faultOf(source, { input: { n: 1, zero: 0 } })).toContain('divides by zero')
  })

  test('what no JSON number can be is an error, and -0 is 0', () => {
    expect(faultOf('1e308 * 10')).toContain('too large for a number')
    expect(faultOf('double("1e400")')).toContain('cannot read')
    expect(faultOf('double("NaN")')).toContain('cannot read')
    expect(Object.is(given('-0.0'), 0)).toBe(true)
    expect(Object.is(given('-input.zero', { input: { zero: 0 } }), 0)).toBe(true)
    expect(Object.is(given('0 * -1'), 0)).toBe(true)
    expect(Object.is(given('double("-0")'), 0)).toBe(true)
  })

  test('arithmetic on whole numbers is what it is in BigInt, or refused', () => {
    const wholes = fc.maxSafeInteger()
    fc.assert(
      fc.property(wholes, wholes, fc.constantFrom('+', '-', '*'), (a, b, op) => {
        const exact =
          op === '+' ? BigInt(a) + BigInt(b) : op === '-' ? BigInt(a) - BigInt(b) : BigInt(a) * BigInt(b)
        const evaluated = run(`input.a ${op} input.b`, { input: { a, b } })
        const isSafe = Number.isSafeInteger(Number(exact)) && BigInt(Number(exact)) === exact
        expect(evaluated.ok ? BigInt(Number(evaluated.value)) : 'refused').toBe(isSafe ? exact : 'refused')
      }),
    )
  })

  test('conversions are written out', () => {
    expect(given('"n" + string(1) + string(1.5) + string(true)')).toBe('n11.5true')
    expect(given('int("12") + int(2.9) + double("1.5")')).toBe(15.5)
    expect(given('bool("true") && !bool("false")')).toBe(true)
    expect(faultOf('int("1.5")')).toContain('"1.5"')
    expect(faultOf('bool("yes")')).toContain('"yes"')
    expect(refusal('"a" + 1')).toContain('write string(…)')
  })
})

describe('maps and lists', () => {
  const input = json('{"name":"é😀x","items":[{"q":1},{"q":5}],"mixed":[1,"a",null,{"k":[1]}],"none":null}')

  test.each([
    ['input.items.map(i, i.q * 2)', [2, 10]],
    ['input.items.map(i, i.q > 2, i.q)', [5]],
    ['input.items.filter(i, i.q > 2)', [{ q: 5 }]],
    ['input.items.exists_one(i, i.q == 5)', true],
    ['input.items.all(i, i.q > 0) && input.items.exists(i, i.q == 5)', true],
    ['input.items.exists(i, input.items.exists(j, j.q == i.q * 5))', true],
    ['"a" in input.mixed && null in input.mixed && !("b" in input.mixed)', true],
    ['{"k": [1.0]} in input.mixed', true],
    ['"name" in input && !("nope" in input)', true],
    ['input.items == [{"q": 1}, {"q": 5}]', true],
    ['{"a": 1, "b": 2} == {"b": 2, "a": 1}', true],
    ['input.none == null', true],
    ['input.map(key, key)', ['name', 'items', 'mixed', 'none']],
    ['size(input) + size(input.items) + size(input.name)', 9],
    ['[1] + ["a"] + input.items', [1, 'a', { q: 1 }, { q: 5 }]],
    ['input.none == null ? "none" : 1', 'none'],
    ['cel.bind(x, input.items[1].q, x * x)', 25],
    ['[1, 2].map(input, input)', [1, 2]],
    ['dyn(1) == "a"', false],
  ])('%s is %j', (source, value) => {
    expect(given(source, { input })).toEqual(value)
  })

  test('a missing key or item is an error that says which', () => {
    expect(faultOf('input.order.total', { input })).toBe('"input" has no key "order"')
    expect(faultOf('input.items[0].price', { input })).toBe('"input.items[0]" has no key "price"')
    expect(faultOf('input.items[2]', { input })).toBe('"input.items" has 2 items, and no item 2')
    expect(faultOf('input.items[-1]', { input })).toContain('no item -1')
    expect(faultOf('input.items[0.5]', { input })).toContain('no item 0.5')
    expect(faultOf('input.none.x', { input })).toBe('"input.none" is null, which has no key "x"')
  })

  test('a variable without a value is an error too', () => {
    expect(evaluate(compile('result.id'), { input: {} })).toEqual({
      ok: false,
      detail: '"result" has no value here',
    })
  })

  test('has() is false wherever the path breaks, and true for null', () => {
    const context = { pay: { id: 'p' } }
    expect(given('has(context.pay.id)', { context })).toBe(true)
    expect(given('has(context.pay.ref)', { context })).toBe(false)
    expect(given('has(context.ship.id)', { context })).toBe(false)
    expect(given('has(context["ship"].id.deep)', { context })).toBe(false)
    expect(given('has(input.none)', { input })).toBe(true)
    expect(given('has(input.none.x)', { input })).toBe(false)
    expect(given('has(input.items[1].q) && !has(input.items[2].q)', { input })).toBe(true)
    expect(given('has(context.ship) ? context.ship.id : "none"', { context })).toBe('none')
    expect(refusal('has(input)')).toContain('has(input.name)')
  })

  test('one side of && and || suffices, whichever it is, and whatever becomes of the other', () => {
    expect(given('true || input.nope')).toBe(true)
    expect(given('input.nope || true')).toBe(true)
    expect(given('input.nope && false')).toBe(false)
    expect(faultOf('input.nope || false')).toContain('nope')
    expect(faultOf('input.nope && true')).toContain('nope')
    expect(given('input.items.exists(i, i.nope || i.q == 5)', { input })).toBe(true)
    expect(faultOf('input.items.all(i, i.nope)', { input })).toContain('nope')
  })
})

describe('text', () => {
  test.each([
    ['"a,b,,c".split(",").join("-")', 'a-b--c'],
    ['"aXbX".replace("X", "--")', 'a--b--'],
    ['"😀é".split("")', ['😀', 'é']],
    ['size("😀é")', 2],
    ['"a😀b".indexOf("b")', 2],
    ['"a😀b".substring(1, 2)', '😀'],
    ['"a😀b".substring(3)', ''],
    ['" ÀbC ".trim().lowerAscii()', 'Àbc'],
    ['"àbc".upperAscii()', 'àBC'],
    ['"orders/1".startsWith("orders/") && "a".endsWith("a") && "abc".contains("b")', true],
    ['"a" < "b" && "a" <= "a"', true],
    ['\'single\' + r"\\raw" + """triple"""', 'single\\rawtriple'],
  ])('%s is %j', (source, value) => {
    expect(given(source)).toEqual(value)
  })

  test('long needles are found as indexOf finds them', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 200 })
    const needles = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 24 })
    fc.assert(
      fc.property(letters, needles, (text, part) => {
        expect(given('input.text.indexOf(input.part)', { input: { text, part } })).toBe(text.indexOf(part))
        expect(given('input.text.split(input.part)', { input: { text, part } })).toEqual(text.split(part))
      }),
    )
  })

  test('no text with U+0000 or half a character can be made', () => {
    expect(refusal('"\\u0000"')).toContain('U+0000')
    expect(refusal('"\\x00"')).toContain('U+0000')
    expect(refusal('"\\ud800"')).toContain('surrogate')
    expect(faultOf('"a".replace("", "b")')).toContain('empty')
  })
})

describe('keys are own keys', () => {
  const names = [
    'constructor',
    '__proto__',
    'toString',
    'valueOf',
    'hasOwnProperty',
    'prototype',
    '__defineGetter__',
  ]

  test.each(names)('%s is no key of a value that has none', (name) => {
    for (const holder of [
      'input',
      'input.list',
      'input.text',
      'input.number',
      'context',
      '{}',
      '[1]',
      '"a"',
    ]) {
      const source = `dyn(${holder}).${name}`
      expect(faultOf(source, { input: { list: [], text: 'a', number: 1 } })).toContain(`no key "${name}"`)
      expect(given(`has(dyn(${holder}).${name})`, { input: { list: [], text: 'a', number: 1 } })).toBe(false)
    }
    expect(given(`"${name}" in input`)).toBe(false)
    expect(given(`input == {"${name}": 1}`, { input: { other: 1 } })).toBe(false)
    expect(faultOf(`input[input.key]`, { input: { key: name } })).toContain(name)
  })

  test.each(names)('%s is a key like any other where the data have it', (name) => {
    const input = json(`{"${name}":{"a":1},"b":2}`)
    expect(given(`input.${name}.a`, { input })).toBe(1)
    expect(given(`input["${name}"]["a"]`, { input })).toBe(1)
    expect(given(`has(input.${name}.a) && "${name}" in input`, { input })).toBe(true)
    expect(given('input.map(key, input[key])', { input })).toEqual([{ a: 1 }, 2])
    expect(JSON.stringify(given('input', { input }))).toBe(JSON.stringify(input))
  })

  test.each(names)('%s can be written into a map', (name) => {
    const made = given(`{"${name}": {"a": 1}}`)
    expect(JSON.stringify(made)).toBe(`{"${name}":{"a":1}}`)
    expect(given(`{"${name}": {"a": 1}}.${name}.a`)).toBe(1)
    expect(given(`{"${name}": 1} == input`, { input: json(`{"${name}":1}`) })).toBe(true)
  })

  test.each(names)('%s is no variable and no function', (name) => {
    expect(refusal(name)).toMatch(/unknown variable|reserved identifier/)
    expect(refusal(`${name}()`)).toMatch(/unknown function|reserved identifier/)
    expect(refusal(`input.${name}()`)).toContain('unknown method')
  })

  test('an evaluation changes nothing it was given, and its value is nobody else’s', () => {
    const input = json('{"a":[1],"__proto__":{"b":[2]}}')
    const before = JSON.stringify(input)
    const value = given('{"x": input, "y": input.a + [3]}', { input })
    expect(JSON.stringify(input)).toBe(before)
    expect(value).not.toBe(input)
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
  })
})

describe('refused when it is compiled', () => {
  test.each([
    ['1 +', 'found the end, expected a value (at character 4)'],
    ['input.total = 1', 'found "="; write "==" to compare (at character 13)'],
    ['(1', 'found the end, expected ")" (at character 3)'],
    [
      'order.total',
      'unknown variable "order"; there are input, context, saga, result, failure (at character 1)',
    ],
    ['now()', 'unknown function "now"; there are '],
    ['timestamp("2026-01-01T00:00:00Z")', 'unknown function "timestamp"'],
    ['"a".reverse()', 'unknown method "reverse"; there are '],
    ['context.take-stock.id', 'A name with a dash is written ["a-name"]'],
    ['1 == "a"', 'a number is never equal to a string'],
    ['[1] > [2]', '">" does not take a list and a list'],
    ['!1', 'what follows "!", 1, is a number; expected true or false'],
    ['input.a && 1', 'a side of "&&", 1, is a number'],
    ['size(1)', 'size() got a number, 1; expected a string or a list or a map'],
    ['size()', 'size() does not take 0 arguments'],
    ['"a".foo', '"\\"a\\"" is a string, which has no keys'.replaceAll('\\', '')],
    ['{1: 2}', 'the keys of a map are strings'],
    ['{"a": 1, "a": 2}', 'stands twice'],
    ['[1].filter(x, x + 1)', 'expected true or false'],
    ['[1].map(1, 2)', 'variable'],
    ['1u', 'unsigned integers'],
    ['b"a"', 'bytes'],
    ['input.?a', 'expected a name'],
    ['', 'the expression is empty'],
    ['  ', 'the expression is empty'],
    ['input\n  .a ==\n  foo', 'line 3, character 3'],
  ])('%s: %s', (source, detail) => {
    const compiled = compileExpression(source, COMPENSATION_SCOPE)
    expect(compiled.ok ? 'compiled' : compiled.detail).toContain(detail)
  })

  test('with the place as a number, too', () => {
    expect(compileExpression('input.a + foo', ACTION_SCOPE)).toMatchObject({ ok: false, offset: 10 })
  })

  test('whatever is not in the scope of the place', () => {
    expect(refusal('result.id', ACTION_SCOPE)).toContain('unknown variable "result"')
    expect(refusal('failure.code == "x"', WHEN_SCOPE)).toContain('unknown variable "failure"')
    expect(refusal('result.id == failure.code', COMPENSATION_SCOPE)).toBe('compiled')
  })

  test('a condition that cannot be true or false', () => {
    expect(refusal('1 + 1', WHEN_SCOPE, 'bool')).toContain(
      'the expression gives a number; expected true or false',
    )
    expect(refusal('input.total > 0', WHEN_SCOPE, 'bool')).toBe('compiled')
    const open = compile('input.ready', WHEN_SCOPE, 'bool')
    expect(evaluate(open, { input: { ready: true } })).toEqual({ ok: true, value: true })
    expect(evaluate(open, { input: { ready: 'yes' } })).toEqual({
      ok: false,
      detail: 'gives a string; expected true or false',
    })
  })

  test.each([
    ['a long source', `"${'x'.repeat(4096)}"`, 'characters; the most is 4096'],
    ['many parts', `1${'+1'.repeat(1000)}`, 'more than 1000 parts'],
    ['deep brackets', `${'('.repeat(100)}1${')'.repeat(100)}`, 'more than 48 levels'],
    ['deep members', `input${'.a'.repeat(100)}`, 'more than 48 levels'],
    ['a long chain of "!"', `${'!'.repeat(4000)}true`, 'more than 1000 parts'],
    ['a large list', `[${'1,'.repeat(201)}1]`, 'a list of more than 200 items'],
    [
      'a large map',
      `{${Array.from({ length: 201 }, (_, i) => `"${i}":1`).join()}}`,
      'a map of more than 200 keys',
    ],
    ['many arguments', 'size(1,1,1,1,1,1,1,1,1)', 'more than 8 arguments'],
  ])('%s', (_, source, detail) => {
    expect(refusal(source)).toContain(detail)
  })

  test('each part of a source once: no nesting doubles the work', () => {
    expect(refusal(`input${'.map(x, true, x)'.repeat(40)}`)).toBe('compiled')
    expect(refusal(`${'has(input.a.b['.repeat(9)}"x"${'] )'.repeat(9)}`)).toMatch(
      /looked into by true or false/,
    )
    expect(refusal(`${'input.a.b[input.c.d ? "x" : '.repeat(8)}"x"${']'.repeat(8)}`)).toBe('compiled')
  })

  test('and nothing makes compiling or evaluating throw', () => {
    const words = fc.constantFrom(
      ...'input context . [ ] ( ) { } "a" 1 2.5 , : ? + - * / % < >= == != in && || ! has size map filter x all true null matches $ \\ \' é'.split(
        ' ',
      ),
    )
    fc.assert(
      fc.property(fc.array(words, { maxLength: 12 }), fc.jsonValue(), (parts, input) => {
        const compiled = compileExpression(parts.join(' '), ACTION_SCOPE)
        if (!compiled.ok) return
        const evaluated = evaluate(compiled.expression, { input: json(JSON.stringify(input)), context: {} })
        if (evaluated.ok) expect(JSON.parse(JSON.stringify(evaluated.value))).toEqual(evaluated.value)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('patterns', () => {
  test('are found anywhere in the text, and stand under RE2', () => {
    expect(given('"joe@example.com".matches("^[a-z]+@[a-z.]+$") && matches("xay", "a")')).toBe(true)
    expect(given('"ORDER".matches("(?i)^order$")')).toBe(true)
    expect(refusal('"a".matches("(?=a)")')).toContain('the pattern cannot be used')
    expect(refusal('"a".matches("(a)\\\\1")')).toContain('the pattern cannot be used')
  })

  test('that stand in the source are checked when it is compiled', () => {
    expect(refusal('input.a.matches("(")')).toContain('missing closing )')
    expect(refusal(`input.a.matches("${'a'.repeat(257)}")`)).toContain('257 characters; the most is 256')
    expect(refusal('input.a.matches("(a{100}){10}b{100}")')).toContain('instructions; the most is 1000')
    expect(refusal('input.a.matches("(a{1000}){1000}")')).toContain('the pattern cannot be used')
    expect(refusal('input.a.matches("(?i)\\\\pL")')).toContain('ASCII only')
  })

  test('that come with the data are checked then', () => {
    expect(given('"abc".matches(input.p)', { input: { p: 'b' } })).toBe(true)
    expect(faultOf('"abc".matches(input.p)', { input: { p: '(' } })).toContain('missing closing )')
    expect(given('input.list.filter(p, "abc".matches(p))', { input: { list: ['a', 'x', 'c'] } })).toEqual([
      'a',
      'c',
    ])
  })

  test('give the same answer however often they are used', () => {
    const expression = compile('input.text.matches("[ab]*a[ab]{12}c?$")')
    const texts = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 4000 })
    fc.assert(
      fc.property(texts, (text) => {
        const expected = /[ab]*a[ab]{12}c?$/.test(text.slice(-13))
        expect(evaluate(expression, { input: { text } })).toEqual({ ok: true, value: expected })
      }),
      { numRuns: 60 },
    )
  })
})

describe('an evaluation ends, whatever the source and the data', () => {
  const numbers = Array.from({ length: 250_000 }, (_, index) => index % 10)
  const keys = Object.fromEntries(Array.from({ length: 80_000 }, (_, index) => [`key${index}`, index]))
  const abab = Array.from({ length: 1 << 20 }, (_, index) => 'ab'.charAt(((index * 7919) % 13) % 2)).join('')
  const input: Json = {
    numbers,
    keys,
    abab,
    a: 'a'.repeat(1 << 20),
    patterns: numbers.map((n, i) => `\\pL${n}${i}`),
  }

  test.each([
    'input.numbers.map(a, input.numbers.map(b, a + b))',
    'input.numbers.all(a, input.numbers.all(b, input.numbers.all(c, a + b + c >= 0)))',
    'input.numbers.exists(a, input.numbers.exists(b, a + b > 100))',
    'input.numbers.exists(a, input.numbers.exists(b, b.nope))',
    'input.numbers.all(a, a.nope || a.nope)',
    'true || input.numbers.all(a, true) || true ? input.numbers.map(a, size(input.keys)) : []',
    'input.numbers.filter(a, a in input.numbers && 11 in input.numbers)',
    'input.keys.map(a, input.keys.map(b, a + b))',
    'input.keys == input.keys',
    'input.a.split("a")',
    'input.a.split("")',
    'input.a.replace("a", "aa")',
    'input.patterns.exists(p, "x".matches(p))',
    'input.numbers.map(a, [[[[[[[[[[a]]]]]]]]]])',
    'input.numbers + input.numbers',
  ])('%s takes too many steps', (source) => {
    expect(faultOf(source, { input })).toContain('takes more than 200000 steps')
  })

  test.each([
    'input.a.replace("aaaaaaaa", input.a)',
    'input.numbers.map(n, input.a + "a")',
    'input.numbers.all(n, input.a == input.a)',
    'input.abab.matches("[ab]*a[ab]{100}$")',
    'input.numbers.map(n, input.a.contains("b"))',
    'input.numbers.exists(n, input.a.endsWith(input.a + "b"))',
    'cel.bind(a, input.a, cel.bind(a, a + a, cel.bind(a, a + a, size(a + a))))',
  ])('%s reads or writes too much', (source) => {
    expect(faultOf(source, { input })).toContain('reads or writes more than 4194304 characters')
  })

  test.each(['input', 'input.a + "b"', '[input.a, input.a]', '[1, 2].map(n, input.keys)'])(
    '%s makes more than may be kept',
    (source) => {
      expect(faultOf(source, { input })).toMatch(/more than 1048576 bytes/)
    },
  )

  test('a value that doubles with every binding is never written out', () => {
    const times = 15
    const source = `cel.bind(a, [1], ${'cel.bind(a, [a, a], '.repeat(times)}a${')'.repeat(times + 1)}`
    expect(given(source)).toHaveLength(2)
    expect(faultOf(source.replace('[1]', '[input.a]'), { input })).toContain('more than 1048576 bytes')
  })

  test('being over budget is final: neither || nor exists saves it', () => {
    const endless = 'input.numbers.all(a, input.numbers.all(b, true))'
    expect(faultOf(`${endless} || true`, { input })).toContain('takes more than')
    expect(faultOf(`[1, 2].exists(x, x == 2 || ${endless} || true)`, { input })).toContain('takes more than')
  })

  test('large values are passed on without being looked at', () => {
    expect(given('input.numbers[249999]', { input })).toBe(9)
    expect(given('[input.numbers].size()', { input })).toBe(1)
    expect(given('input.a.contains("b") || input.a.startsWith("a")', { input })).toBe(true)
  })

  test('the search for a long needle is linear', () => {
    const needle = `${'a'.repeat(300_000)}b`
    expect(given('input.a.contains(input.needle)', { input: { a: 'a'.repeat(1 << 20), needle } })).toBe(false)
  })
})

describe('an expression knows', () => {
  test('which results it reads, as far as they are named', () => {
    const source =
      'has(context.pay.id) ? context["take-stock"].id : context[input.step].x + context.input.y + context.pay.z'
    expect(compile(source).context).toEqual(['pay', 'take-stock'])
    expect(compile('[1].map(context, context.nope)').context).toEqual([])
  })

  test('what it gives', () => {
    expect(compile('1 + input.a').gives).toBe('number')
    expect(compile('input.a + input.b').gives).toBe('dyn')
    expect(compile('"a" in input').gives).toBe('bool')
    expect(compile('input.ok ? "a" : null').gives).toBe('dyn')
    expect(compile('input.a.map(x, x)').gives).toBe('list')
  })
})
