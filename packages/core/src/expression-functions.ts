import { RE2JS } from 're2js'
import {
  a,
  type Budget,
  count,
  cut,
  Fault,
  isList,
  isMap,
  type Kind,
  keysOf,
  kindOf,
  quote,
  TOO_LARGE,
} from './expression-values.ts'
import type { Json } from './json.ts'

/** The functions and methods of expressions. Each takes time linear in what it takes from the budget. */

const MAX_PATTERN = 256
const MAX_PROGRAM = 1000
/** Finding the other case of every character in a wide range takes milliseconds for each range. */
const IGNORES_CASE = /\(\?[A-Za-z]*i/
const WIDE_CLASS = /[^\x20-\x7e]|\\[pPx]/
/** Large classes such as `\pL` take milliseconds to compile. */
const PATTERN_STEPS = 20_000
/** A matcher remembers the states it met; after reading this much it is thrown away. */
const MATCHER_LIFE = 200_000

/** A function or, with its receiver as the first argument, a method. Its arguments are of the kinds it takes. */
export type Operation = {
  readonly takes: readonly (readonly Kind[])[]
  readonly gives: Kind
  readonly run: (args: readonly Json[], budget: Budget, pattern: Pattern) => Json
}

const TEXT: readonly Kind[] = ['string']
const NUMBER: readonly Kind[] = ['number']

function text(value: Json | undefined): string {
  if (typeof value === 'string') return value
  throw new Fault('expected a string')
}

function number(value: Json | undefined): number {
  if (typeof value === 'number') return value
  throw new Fault('expected a number')
}

function textual(gives: Kind, arity: number, run: (texts: string[], budget: Budget) => Json): Operation {
  return {
    takes: Array.from({ length: arity }, () => TEXT),
    gives,
    run: (args, budget) => run(args.map(text), budget),
  }
}

const size: Operation = {
  takes: [['string', 'list', 'map']],
  gives: 'number',
  run: ([value = null], budget) => {
    if (isList(value)) return value.length
    if (isMap(value)) return keysOf(value, budget).length
    budget.read(text(value).length)
    return codePoints(text(value))
  },
}

const matches: Operation = {
  takes: [TEXT, TEXT],
  gives: 'bool',
  run: ([subject, source], budget, pattern) => pattern.test(text(subject), text(source), budget),
}

export const FUNCTIONS: ReadonlyMap<string, readonly Operation[]> = new Map([
  ['size', [size]],
  ['matches', [matches]],
  [
    'string',
    [{ takes: [['string', 'number', 'bool']], gives: 'string', run: ([value = null]) => notation(value) }],
  ],
  ['int', [{ takes: [['number', 'string']], gives: 'number', run: ([value = null]) => whole(value) }]],
  ['double', [{ takes: [['number', 'string']], gives: 'number', run: ([value = null]) => numeral(value) }]],
  ['bool', [{ takes: [['bool', 'string']], gives: 'bool', run: ([value = null]) => truthOf(value) }]],
  [
    'dyn',
    [
      {
        takes: [['null', 'bool', 'number', 'string', 'list', 'map']],
        gives: 'dyn',
        run: ([value = null]) => value,
      },
    ],
  ],
])

export const MACROS = ['map', 'filter', 'all', 'exists', 'exists_one']

export const METHODS: ReadonlyMap<string, readonly Operation[]> = new Map([
  ['size', [size]],
  ['matches', [matches]],
  [
    'contains',
    [textual('bool', 2, ([subject = '', part = ''], budget) => indexOf(subject, part, budget) !== -1)],
  ],
  [
    'startsWith',
    [
      textual('bool', 2, ([subject = '', part = ''], budget) => {
        budget.read(part.length)
        return subject.startsWith(part)
      }),
    ],
  ],
  [
    'endsWith',
    [
      textual('bool', 2, ([subject = '', part = ''], budget) => {
        budget.read(part.length)
        return subject.endsWith(part)
      }),
    ],
  ],
  [
    'indexOf',
    [
      textual('number', 2, ([subject = '', part = ''], budget) => {
        const at = indexOf(subject, part, budget)
        return at === -1 ? -1 : codePoints(subject.slice(0, at))
      }),
    ],
  ],
  [
    'lowerAscii',
    [textual('string', 1, ([subject = ''], budget) => recased(subject, /[A-Z]+/g, 'toLowerCase', budget))],
  ],
  [
    'upperAscii',
    [textual('string', 1, ([subject = ''], budget) => recased(subject, /[a-z]+/g, 'toUpperCase', budget))],
  ],
  [
    'trim',
    [
      textual('string', 1, ([subject = ''], budget) => {
        budget.read(subject.length)
        return subject.trim()
      }),
    ],
  ],
  [
    'replace',
    [
      textual('string', 3, ([subject = '', part = '', by = ''], budget) => {
        if (part === '') throw new Fault('replace() got an empty string to look for')
        const pieces = split(subject, part, budget)
        budget.read(subject.length + by.length * pieces.length)
        return pieces.join(by)
      }),
    ],
  ],
  [
    'split',
    [textual('list', 2, ([subject = '', separator = ''], budget) => split(subject, separator, budget))],
  ],
  [
    'join',
    [
      { takes: [['list']], gives: 'string', run: ([list], budget) => join(list, '', budget) },
      { takes: [['list'], TEXT], gives: 'string', run: ([list, by], budget) => join(list, text(by), budget) },
    ],
  ],
  [
    'substring',
    [
      {
        takes: [TEXT, NUMBER],
        gives: 'string',
        run: ([subject, start], budget) => substring(text(subject), number(start), undefined, budget),
      },
      {
        takes: [TEXT, NUMBER, NUMBER],
        gives: 'string',
        run: ([subject, start, end], budget) => substring(text(subject), number(start), number(end), budget),
      },
    ],
  ],
])

/** A string as it is, anything else that is no list or map as JSON writes it. */
function notation(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function whole(value: Json): number {
  const isNumeral = typeof value === 'string' && /^-?[0-9]{1,16}$/.test(value)
  if (typeof value === 'string' && !isNumeral)
    throw new Fault(`int() cannot read ${quote(value)} as a whole number`)
  const made = Math.trunc(Number(value))
  if (!Number.isSafeInteger(made)) throw new Fault(`int() got ${notation(value)}, which is ${TOO_LARGE}`)
  return made === 0 ? 0 : made
}

function numeral(value: Json): number {
  const isNumeral =
    typeof value !== 'string' ||
    (value.length <= 400 && /^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(value))
  const made = isNumeral ? Number(value) : NaN
  if (!Number.isFinite(made)) throw new Fault(`double() cannot read ${quote(notation(value))} as a number`)
  return made === 0 ? 0 : made
}

function truthOf(value: Json): boolean {
  if (value === true || value === 'true') return true
  if (value === false || value === 'false') return false
  throw new Fault(`bool() cannot read ${quote(notation(value))}; expected "true" or "false"`)
}

function codePoints(subject: string): number {
  let pairs = 0
  for (let at = 0; at < subject.length; at++) {
    if ((subject.charCodeAt(at) & 0xfc00) === 0xd800) pairs++
  }
  return subject.length - pairs
}

/** The code unit with which the code point of that number begins. */
function unitOf(subject: string, point: number): number {
  let at = 0
  for (let left = point; left > 0; left--) {
    if (at >= subject.length) return -1
    at += (subject.charCodeAt(at) & 0xfc00) === 0xd800 ? 2 : 1
  }
  return at
}

function substring(subject: string, start: number, end: number | undefined, budget: Budget): string {
  budget.read(subject.length)
  const ends = end === undefined ? subject.length : unitOf(subject, end)
  const starts = unitOf(subject, start)
  const isPlace = [start, end ?? 0].every((place) => Number.isSafeInteger(place) && place >= 0)
  if (!isPlace || starts === -1 || ends < starts) {
    const range = end === undefined ? start : `${start} to ${end}`
    throw new Fault(`substring() got ${range}, of a string of ${count(codePoints(subject), 'character')}`)
  }
  return subject.slice(starts, ends)
}

/** Only ASCII letters, as others change their length or depend on the language. */
function recased(
  subject: string,
  letters: RegExp,
  to: 'toLowerCase' | 'toUpperCase',
  budget: Budget,
): string {
  budget.read(subject.length)
  return subject.replaceAll(letters, (found) => found[to]())
}

function join(list: Json | undefined, by: string, budget: Budget): string {
  if (list === undefined || !isList(list)) throw new Fault('join() is for lists')
  budget.step(list.length)
  const texts = list.map((item) => {
    if (typeof item !== 'string')
      throw new Fault(`join() found ${a(kindOf(item))} in the list; expected strings`)
    budget.read(item.length + by.length)
    return item
  })
  return texts.join(by)
}

function split(subject: string, separator: string, budget: Budget): string[] {
  if (separator === '') {
    budget.step(subject.length)
    return Array.from(subject)
  }
  const pieces: string[] = []
  const find = finder(separator, budget)
  budget.read(subject.length)
  let start = 0
  for (let at = find(subject, 0); at !== -1; at = find(subject, start)) {
    budget.step()
    pieces.push(subject.slice(start, at))
    start = at + separator.length
  }
  pieces.push(subject.slice(start))
  return pieces
}

function indexOf(subject: string, part: string, budget: Budget): number {
  budget.read(subject.length)
  return finder(part, budget)(subject, 0)
}

/** From this length on the host's search is not trusted with crooked texts: at its worst it takes the product of both. */
const LONG_NEEDLE = 16

/** A search in linear time (Knuth, Morris and Pratt). */
function finder(part: string, budget: Budget): (subject: string, from: number) => number {
  budget.read(part.length)
  if (part.length < LONG_NEEDLE) return (subject, from) => subject.indexOf(part, from)
  const borders = new Int32Array(part.length)
  for (let at = 1, length = 0; at < part.length; at++) {
    while (length > 0 && part.charCodeAt(at) !== part.charCodeAt(length)) length = borders[length - 1] ?? 0
    if (part.charCodeAt(at) === part.charCodeAt(length)) length++
    borders[at] = length
  }
  return (subject, from) => {
    let length = 0
    for (let at = from; at < subject.length; at++) {
      const unit = subject.charCodeAt(at)
      while (length > 0 && unit !== part.charCodeAt(length)) length = borders[length - 1] ?? 0
      if (unit === part.charCodeAt(length)) length++
      if (length === part.length) return at + 1 - length
    }
    return -1
  }
}

/** The regular expression of one place in a source. It finds its pattern anywhere in the text, as CEL says. */
export class Pattern {
  private matcher: RE2JS | undefined
  private source = ''
  private program = 0
  private used = 0

  test(subject: string, source: string, budget: Budget): boolean {
    if (this.matcher === undefined || this.source !== source || this.used > MATCHER_LIFE) {
      if (this.source !== source) budget.step(PATTERN_STEPS)
      this.prepare(source)
    }
    const work = (subject.length + 1) * this.program
    budget.read(work)
    this.used += work
    return this.matcher?.test(subject) ?? false
  }

  prepare(source: string): void {
    if (source.length > MAX_PATTERN) {
      throw new Fault(`the pattern has ${source.length} characters; the most is ${MAX_PATTERN}`)
    }
    if (IGNORES_CASE.test(source) && WIDE_CLASS.test(source)) {
      throw new Fault('the pattern ignores case, (?i), and so may hold ASCII only, without \\p and \\x')
    }
    const matcher = compiled(source)
    const program = matcher.programSize()
    if (program > MAX_PROGRAM) {
      throw new Fault(`the pattern makes ${program} instructions; the most is ${MAX_PROGRAM}`)
    }
    this.matcher = matcher
    this.source = source
    this.program = program
    this.used = 0
  }
}

function compiled(source: string): RE2JS {
  try {
    return RE2JS.compile(source)
  } catch (error) {
    const why = error instanceof Error ? error.message : 'not readable'
    throw new Fault(`the pattern cannot be used: ${cut(why)}`)
  }
}
