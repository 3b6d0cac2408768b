/**
 * The JSON this engine takes in and hands out: I-JSON (RFC 7493), which reads back exactly as it was written.
 *
 * 1. What is accepted round-trips: what `JSON.stringify` writes of it, `parseJson` reads as its equal.
 * 2. What is refused is refused with a JSON pointer to the place and a sentence.
 * 3. Neither door throws or overflows the stack, and each takes time linear in what it is given.
 * 4. A problem is itself safe to store: its texts are bounded, well-formed and free of NUL.
 */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/**
 * Why a text or a value was refused.
 *
 * `pointer` is an RFC 6901 pointer to the place, `''` being the root. Keys which no database text can hold
 * are shown with U+FFFD, and a pointer over 2 KiB is cut, with a mark; all others resolve as they stand.
 * `detail` says what was found and what was expected.
 */
export type JsonProblem = { pointer: string; detail: string }

/**
 * `maxBytes` counts UTF-8 bytes of JSON text, `maxDepth` counts arrays and objects inside each other. Keep it
 * below 1,000, as the reading recurses that far.
 */
export type JsonLimits = { maxBytes: number; maxDepth: number }

export type JsonVerdict = { ok: true; value: Json } | { ok: false; problem: JsonProblem }

/** Deeper values parse, but cannot be trusted to be written again: serialisers recurse. */
export const MAX_DEPTH = 64

/**
 * What `checkJson` allows when its caller names no `maxBytes`: 16 MiB. There must be some limit, as
 * sixty-four arrays, each holding the next one twice, are a value of a few kilobytes whose JSON text no disk
 * can hold.
 */
export const MAX_CHECKED_BYTES = 16 * 1024 * 1024

/**
 * From about 1 MiB on, repeated keys are looked for before anything is built: an object of a million keys takes
 * seconds to build. In a smaller text it costs less to build first, and to look when a key is missing.
 */
const LARGE_TEXT = 1024 * 1024

const MAX_POINTER_BYTES = 2048
const MAX_QUOTED_BYTES = 200

/**
 * The door for text from outside: a request's body, a participant's answer.
 *
 * Refuses malformed JSON, NUL and lone surrogates (in keys too), numbers a double would change, nesting
 * deeper than `maxDepth`, text over `maxBytes` (when given), and duplicate keys. Where a text has
 * several faults, any of them may be the one told. `-0` becomes `0`. Keys such as `__proto__` become own
 * properties like any other.
 */
export function parseJson(text: string, limits: Partial<JsonLimits> = {}): JsonVerdict {
  const { maxBytes = Infinity, maxDepth = MAX_DEPTH } = limits
  // No code unit takes more than three bytes, so an ordinary text need not be measured.
  const bytes = text.length * 3 <= maxBytes ? 0 : byteLength(text)
  if (bytes > maxBytes) return refused('', tooLarge(bytes, maxBytes))

  const scanner = new Scanner(text, maxDepth, text.length > LARGE_TEXT)
  if (!scanner.scan()) return scanner.refusal()

  const value = scanner.build()
  if (isComplete(value, scanner.members)) return { ok: true, value }

  const keyWatcher = new Scanner(text, maxDepth, true)
  keyWatcher.scan()
  return keyWatcher.refusal()
}

/**
 * The door for values made in this process, such as what a handler returned. The accepted value is a copy, so
 * that getters are read once and the author may go on changing the original.
 *
 * `undefined` as a whole is `null`, properties holding `undefined` are left out, as are properties that are
 * not enumerable, and `-0` becomes `0`. All else that `JSON.stringify` would drop, change or choke on is
 * refused. `maxBytes` counts the JSON text the value makes and defaults to `MAX_CHECKED_BYTES`.
 */
export function checkJson(value: unknown, limits: Partial<JsonLimits> = {}): JsonVerdict {
  const { maxBytes = MAX_CHECKED_BYTES, maxDepth = MAX_DEPTH } = limits
  const copier = new Copier(maxBytes, maxDepth)
  const copy = copier.copy(value === undefined ? null : value)
  return copy === undefined ? copier.refusal() : { ok: true, value: copy }
}

/**
 * The one spelling of an accepted value, for hashing: no spaces, keys sorted by UTF-16 code units (RFC 8785).
 */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (isJsonArray(value)) return `[${value.map((item) => canonicalJson(item)).join(',')}]`
  let members = ''
  for (const key of Object.keys(value).sort()) {
    const item = value[key]
    if (item === undefined) continue
    members += `${members === '' ? '' : ','}${JSON.stringify(key)}:${canonicalJson(item)}`
  }
  return `{${members}}`
}

/** The bytes `text` takes as UTF-8. A lone surrogate counts three, being written as U+FFFD. */
export function byteLength(text: string): number {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    if (unit < 0x800) {
      bytes += 1
    } else {
      bytes += 2
      // A pair is four bytes: the three already counted, and the one its second unit stands for.
      if (isHighSurrogate(unit) && isLowSurrogate(text.charCodeAt(i + 1))) i++
    }
  }
  return bytes
}

/**
 * `text` made fit to be stored as an error message: NUL and lone surrogates become U+FFFD, and what is longer
 * than `maxBytes` of UTF-8 is cut between two characters and ends in `… (N bytes more)`, within `maxBytes`
 * all the same. N counts what `text` held beyond the cut. Where not even the mark would fit, the text is cut
 * without one.
 */
export function sanitizeText(text: string, maxBytes: number): string {
  // Every unit is a byte or more, and cleaning leaves their number as it is.
  const clean = text.slice(0, Math.max(0, maxBytes)).replaceAll('\0', '\ufffd').toWellFormed()
  if (clean.length === text.length && byteLength(clean) <= maxBytes) return clean

  const bytes = byteLength(text)
  // The mark shows a smaller number in the end, so it cannot grow.
  const room = maxBytes - byteLength(cutMark(bytes))
  if (!(room >= 0)) return prefixOf(clean, maxBytes)
  const kept = prefixOf(clean, room)
  return kept + cutMark(bytes - byteLength(text.slice(0, kept.length)))
}

function cutMark(bytes: number): string {
  return `… (${bytes} bytes more)`
}

/** The longest beginning of a well-formed text that takes at most `maxBytes`. */
function prefixOf(text: string, maxBytes: number): string {
  let end = 0
  let bytes = 0
  for (const character of text) {
    bytes += byteLength(character)
    if (!(bytes <= maxBytes)) break
    end += character.length
  }
  return text.slice(0, end)
}

// ── Reading text ───────────────────────────────────────────────────────────────────────────────────────────

const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const LOWER_U = 0x75
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/**
 * A double tells all decimals of fifteen digits apart, save the very large and the very small. So a numeral
 * this short, with an exponent of two digits at most, needs no closer look.
 */
const SAFE_LENGTH = 15
const SAFE_EXPONENT_LENGTH = 2

/**
 * V8's `JSON.parse` mistakes a key with an escape for another key it met before: after `{"a":[],"\\":0}` it
 * may read the key `"\""` of `{"a":1,"\"":2}` as `"\\"` (nodejs/node#63785; Node 24 and 26). So such keys are
 * given aliases, which need no escape, and get their names back afterwards. No key of the text's own begins
 * with the second half of a surrogate pair.
 */
const ALIAS_MARK = '\udc00'

type PathToken = string | number

/**
 * Reads JSON text from left to right and stops at the first fault. It builds nothing: `JSON.parse` does that
 * much faster, and may do so once the text is known to be well-formed and shallow.
 *
 * The reading methods return whether all is well. On a fault each enclosing array and object adds its own
 * token to the trail while returning, so that a good text pays nothing for the pointer it does not need.
 */
class Scanner {
  /** How many `"key": value` the text holds. */
  members = 0
  private readonly text: string
  private readonly maxDepth: number
  private readonly watchKeys: boolean
  /** Lone surrogates can then come from `\u` escapes only. */
  private readonly wellFormed: boolean
  private at = 0
  /** Whether the string last read had a `\` in it, and whether one before a `u`. */
  private escape = false
  private unicodeEscape = false
  /** Whether a number is `-0`, in whatever spelling. */
  private minusZero = false
  /** The text up to the last key with an escape, all such keys replaced by aliases. */
  private aliased = ''
  private aliasedUpTo = 0
  /** What the aliases stand for. */
  private readonly escapedKeys: string[] = []
  private detail = ''
  private readonly trail: PathToken[] = []

  constructor(text: string, maxDepth: number, watchKeys: boolean) {
    this.text = text
    this.maxDepth = maxDepth
    this.watchKeys = watchKeys
    this.wellFormed = text.isWellFormed()
  }

  scan(): boolean {
    this.skipSpace()
    if (!this.value(0)) return false
    this.skipSpace()
    return this.at === this.text.length || this.malformed('the end of the text')
  }

  /** The value of a text in which no fault was found. */
  build(): unknown {
    const { text, escapedKeys } = this
    const value: unknown = JSON.parse(this.aliased + text.slice(this.aliasedUpTo))
    return this.minusZero || escapedKeys.length > 0 ? mended(value, escapedKeys) : value
  }

  refusal(): JsonVerdict {
    return refused(pointerTo(this.trail.reverse()), this.detail)
  }

  private value(depth: number): boolean {
    const unit = this.unit()
    if (unit === QUOTE) return this.stringValue()
    if (unit === OPEN_BRACE) return this.mayNest(depth) && this.object(depth + 1)
    if (unit === OPEN_BRACKET) return this.mayNest(depth) && this.array(depth + 1)
    if (unit === MINUS || isDigit(unit)) return this.number()
    return this.literal('true') || this.literal('false') || this.literal('null') || this.malformed('a value')
  }

  private mayNest(depth: number): boolean {
    return depth < this.maxDepth || this.fault(tooDeep(this.maxDepth))
  }

  private object(depth: number): boolean {
    this.at++
    this.skipSpace()
    if (this.skip(CLOSE_BRACE)) return true
    const seen = this.watchKeys ? new Set<string>() : null
    for (;;) {
      const start = this.at
      if (this.unit() !== QUOTE) return this.malformed('a key in double quotes')
      if (!this.skipString()) return false
      const end = this.at
      this.members++
      if (this.escape) this.alias(start, end)
      const good =
        this.isWholesome(start) &&
        (seen === null || this.isNew(start, seen)) &&
        this.colon() &&
        this.value(depth)
      if (!good) return this.inside(this.decoded(start, end))
      this.skipSpace()
      if (this.skip(CLOSE_BRACE)) return true
      if (!this.skip(COMMA)) return this.malformed('"," or "}"')
      this.skipSpace()
    }
  }

  private alias(start: number, end: number): void {
    this.aliased += `${this.text.slice(this.aliasedUpTo, start)}"${ALIAS_MARK}${this.escapedKeys.length}"`
    this.aliasedUpTo = end
    this.escapedKeys.push(this.decoded(start, end))
  }

  private array(depth: number): boolean {
    this.at++
    this.skipSpace()
    if (this.skip(CLOSE_BRACKET)) return true
    for (let index = 0; ; index++) {
      if (!this.value(depth)) return this.inside(index)
      this.skipSpace()
      if (this.skip(CLOSE_BRACKET)) return true
      if (!this.skip(COMMA)) return this.malformed('"," or "]"')
      this.skipSpace()
    }
  }

  private colon(): boolean {
    this.skipSpace()
    if (!this.skip(COLON)) return this.malformed('":"')
    this.skipSpace()
    return true
  }

  /** Whether the key just read is the first of its name, as it reads without escapes. */
  private isNew(start: number, seen: Set<string>): boolean {
    const key = this.decoded(start, this.at)
    if (seen.has(key)) return this.fault('found this key a second time, expected every key of an object once')
    seen.add(key)
    return true
  }

  private stringValue(): boolean {
    const start = this.at
    return this.skipString() && this.isWholesome(start)
  }

  private skipString(): boolean {
    const { text } = this
    let at = this.at + 1
    this.escape = false
    this.unicodeEscape = false
    for (;;) {
      const unit = text.charCodeAt(at)
      if (unit === QUOTE) {
        this.at = at + 1
        return true
      }
      if (unit === BACKSLASH) {
        const length = escapeLength(text, at)
        if (length === 0) return this.malformedAt(at + 1, 'an escape such as \\n or \\u000a')
        this.escape = true
        if (length > 2) this.unicodeEscape = true
        at += length
      } else if (unit >= 0x20) {
        at++
      } else {
        return this.malformedAt(at, at < text.length ? 'control characters escaped' : 'a closing quote')
      }
    }
  }

  /** Whether the string just read can be stored as text. */
  private isWholesome(start: number): boolean {
    if (this.wellFormed && !this.unicodeEscape) return true
    const trouble = troubleWith(this.decoded(start, this.at))
    return trouble === null || this.fault(trouble)
  }

  private decoded(start: number, end: number): string {
    const quoted = this.text.slice(start, end)
    return quoted.includes('\\') ? String(JSON.parse(quoted)) : quoted.slice(1, -1)
  }

  private number(): boolean {
    const start = this.at
    const negative = this.skip(MINUS)
    const leadingZero = this.unit() === ZERO
    if (leadingZero) this.at++
    else if (!this.skipDigits()) return false
    if (this.skip(DOT) && !this.skipDigits()) return false
    const hasExponent = this.skipExponentMark()
    const exponentStart = this.at
    if (hasExponent && !this.skipDigits()) return false

    if (this.at - start > SAFE_LENGTH || this.at - exponentStart > SAFE_EXPONENT_LENGTH) {
      const numeral = this.text.slice(start, this.at)
      if (!survivesDouble(numeral)) return this.fault(doubleWouldChange(numeral))
    }
    // Looked at last: here a zero is a zero, not a number too small for a double.
    if (negative && leadingZero && Number(this.text.slice(start, this.at)) === 0) this.minusZero = true
    return true
  }

  private skipDigits(): boolean {
    const start = this.at
    while (isDigit(this.unit())) this.at++
    return this.at > start || this.malformed('a digit')
  }

  private skipExponentMark(): boolean {
    const unit = this.unit() | 0x20
    if (unit !== 0x65) return false
    this.at++
    if (this.unit() === 0x2b || this.unit() === MINUS) this.at++
    return true
  }

  private literal(word: string): boolean {
    if (!this.text.startsWith(word, this.at)) return false
    this.at += word.length
    return true
  }

  private skip(unit: number): boolean {
    if (this.unit() !== unit) return false
    this.at++
    return true
  }

  private skipSpace(): void {
    const { text } = this
    let at = this.at
    while (isSpace(text.charCodeAt(at))) at++
    this.at = at
  }

  /** The code unit at hand, NaN at the end of the text. */
  private unit(): number {
    return this.text.charCodeAt(this.at)
  }

  private inside(token: PathToken): false {
    this.trail.push(token)
    return false
  }

  private malformed(expected: string): false {
    return this.malformedAt(this.at, expected)
  }

  private malformedAt(at: number, expected: string): false {
    const found = at < this.text.length ? nameOf(this.text.charCodeAt(at)) : 'the end of the text'
    return this.fault(`malformed JSON at ${placeOf(this.text, at)}: found ${found}, expected ${expected}`)
  }

  private fault(detail: string): false {
    this.detail = detail
    return false
  }
}

const ONE_LETTER_ESCAPES = new Set(Array.from('"\\/bfnrt', (letter) => letter.charCodeAt(0)))

/** The length of the escape which begins at `at`: 2, 6 for `\u0000`, or 0 when it is none. */
function escapeLength(text: string, at: number): number {
  const unit = text.charCodeAt(at + 1)
  if (unit !== LOWER_U) return ONE_LETTER_ESCAPES.has(unit) ? 2 : 0
  for (let i = at + 2; i < at + 6; i++) {
    if (!isHexDigit(text.charCodeAt(i))) return 0
  }
  return 6
}

function isSpace(unit: number): boolean {
  return unit <= 0x20 && (unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09)
}

function isDigit(unit: number): boolean {
  return unit >= ZERO && unit <= NINE
}

function isHexDigit(unit: number): boolean {
  const lowered = unit | 0x20
  return isDigit(unit) || (lowered >= 0x61 && lowered <= 0x66)
}

/** A code unit as an error message may show it. */
function nameOf(unit: number): string {
  if (unit > 0x20 && unit < 0x7f) return `"${String.fromCharCode(unit)}"`
  return `U+${unit.toString(16).toUpperCase().padStart(4, '0')}`
}

function placeOf(text: string, at: number): string {
  let line = 1
  let lineStart = 0
  for (let end = text.indexOf('\n'); end !== -1 && end < at; end = text.indexOf('\n', lineStart)) {
    line++
    lineStart = end + 1
  }
  return `line ${line}, column ${at - lineStart + 1}`
}

/**
 * Whether a JSON numeral names the same decimal number as the shortest numeral of the double it becomes,
 * which is the one that will be written. `1.10` and `1e2` do; `12345678901234567890`, `1e400` and `1e-400` do
 * not.
 */
function survivesDouble(numeral: string): boolean {
  const written = String(Number(numeral))
  if (written === numeral) return true
  if (written.endsWith('Infinity')) return false
  // The same digits are the same number: the nearest double is never ten times off.
  return significantDigits(numeral) === significantDigits(written)
}

/** The digits between the first and the last that is not zero; none for zero. */
function significantDigits(numeral: string): string {
  const mark = numeral.search(/e/i)
  const mantissa = mark === -1 ? numeral : numeral.slice(0, mark)
  const digits = mantissa.replace('.', '')
  const first = digits.search(/[1-9]/)
  if (first === -1) return ''
  // Not a regular expression: /0+$/ takes quadratic time on a long run of zeros which is not at the end.
  let end = digits.length
  while (digits.charCodeAt(end - 1) === ZERO) end--
  return digits.slice(first, end)
}

/**
 * Whether what `JSON.parse` made holds every member the text has. A repeated key is read twice but kept once,
 * and counting costs far less than remembering every key.
 */
function isComplete(parsed: unknown, members: number): parsed is Json {
  return countMembers(parsed) === members
}

/** How many object members there are at all depths of a value known to be shallow. */
function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const isArray = isUnknownArray(value)
  const items: readonly unknown[] = isArray ? value : Object.values(value)
  let members = isArray ? 0 : items.length
  for (const item of items) {
    if (typeof item === 'object') members += countMembers(item)
  }
  return members
}

/**
 * Puts `0` for `-0` and keys for their aliases, at all depths of a value known to be shallow and nobody
 * else's.
 */
function mended(value: unknown, keys: readonly string[]): unknown {
  if (value === 0) return 0
  if (typeof value !== 'object' || value === null) return value
  if (isUnknownArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = mended(value[index], keys)
    return value
  }
  const copy: Record<string, unknown> = {}
  for (const [name, item] of Object.entries(value)) {
    const key = name.startsWith(ALIAS_MARK) ? keys[Number(name.slice(1))] : name
    if (key !== undefined) put(copy, key, mended(item, keys))
  }
  return copy
}

// ── Checking values ────────────────────────────────────────────────────────────────────────────────────────

/** Stands for a property which could not be read; the fault has been told already. */
const UNREADABLE = Symbol('unreadable')

/**
 * Copies a value of this process, looking at each part once. The copying methods return `undefined` on the
 * first fault, and then each enclosing array and object adds its own token to the trail.
 *
 * Whatever touches a foreign object stands in a `try`: getters and proxies run their author's code.
 */
class Copier {
  private readonly maxBytes: number
  private readonly maxDepth: number
  /** UTF-8 bytes of the JSON text of what was copied so far. */
  private bytes = 0
  private readonly ancestors: object[] = []
  private detail = ''
  private readonly trail: PathToken[] = []

  constructor(maxBytes: number, maxDepth: number) {
    this.maxBytes = maxBytes
    this.maxDepth = maxDepth
  }

  copy(value: unknown): Json | undefined {
    switch (typeof value) {
      case 'string':
        return this.text(value)
      case 'number':
        return this.number(value)
      case 'boolean':
        return this.weigh(value ? 4 : 5) ? value : undefined
      case 'object':
        if (value === null) return this.weigh(4) ? null : undefined
        return this.container(value)
      case 'undefined':
        return this.fault('found undefined, expected a JSON value: write null')
      case 'bigint':
        return this.fault('found a BigInt, expected a JSON value: write it as a string, with String(n)')
      case 'function':
        return this.fault('found a function, expected a JSON value')
      default:
        return this.fault('found a symbol, expected a JSON value')
    }
  }

  refusal(): JsonVerdict {
    // The size is a fault of the whole, not of the part that happened to come last.
    if (this.bytes > this.maxBytes) return refused('', moreThan(this.maxBytes))
    return refused(pointerTo(this.trail.reverse()), this.detail)
  }

  private text(value: string): string | undefined {
    if (!this.weigh(quotedLength(value))) return undefined
    const trouble = troubleWith(value)
    return trouble === null ? value : this.fault(trouble)
  }

  private number(value: number): number | undefined {
    if (!Number.isFinite(value)) return this.fault(`found ${value}, expected a finite number`)
    const plain = value === 0 ? 0 : value
    return this.weigh(String(plain).length) ? plain : undefined
  }

  private container(value: object): Json | undefined {
    if (this.ancestors.includes(value)) {
      return this.fault('found a cycle: this object holds itself, expected a tree of plain values')
    }
    if (this.ancestors.length >= this.maxDepth) return this.fault(tooDeep(this.maxDepth))
    this.ancestors.push(value)
    try {
      return this.members(value)
    } catch (error) {
      return this.fault(cannotBeRead(error))
    } finally {
      this.ancestors.pop()
    }
  }

  private members(value: object): Json | undefined {
    const prototype: unknown = Object.getPrototypeOf(value)
    const isArray = isUnknownArray(value)
    const isPlain = isArray
      ? prototype === Array.prototype
      : prototype === Object.prototype || prototype === null
    if (!isPlain) return this.fault(notPlain(value))
    if (typeof Reflect.get(value, 'toJSON') === 'function') {
      return this.fault(
        'found an object with a toJSON function, expected plain values: return what toJSON() gives',
      )
    }
    return isArray ? this.array(value) : this.object(value)
  }

  private array(array: readonly unknown[]): Json | undefined {
    if (!this.weigh(2)) return undefined
    const copy: Json[] = []
    for (let index = 0; index < array.length; index++) {
      const item = this.item(array, index)
      if (item === undefined || !this.weigh(index === 0 ? 0 : 1)) return this.inside(index)
      copy.push(item)
    }
    const keys = Reflect.ownKeys(array)
    // The indexes come first, then `length`.
    if (keys.length === copy.length + 1) return copy
    const [extra = 'length'] = keys.slice(copy.length).filter((key) => key !== 'length')
    return this.fault(`found an array with the property ${quoted(extra)}, expected nothing but its items`)
  }

  private item(array: readonly unknown[], index: number): Json | undefined {
    const item = this.read(array, index)
    if (item === UNREADABLE) return undefined
    if (item === undefined && !Object.hasOwn(array, index)) {
      return this.fault('found a hole in an array, expected a JSON value: write null')
    }
    return this.copy(item)
  }

  private object(source: object): Json | undefined {
    if (!this.weigh(2)) return undefined
    const [symbol] = Object.getOwnPropertySymbols(source)
    if (symbol !== undefined) return this.fault(`found the key ${quoted(symbol)}, expected strings for keys`)

    const copy: Record<string, Json> = {}
    let isFirst = true
    for (const key of Object.keys(source)) {
      const member = this.read(source, key)
      if (member === undefined) continue
      // The colon, and the comma which all but the first have before them.
      if (!this.weigh(isFirst ? 1 : 2) || this.text(key) === undefined) return this.inside(key)
      const item = member === UNREADABLE ? undefined : this.copy(member)
      if (item === undefined) return this.inside(key)
      put(copy, key, item)
      isFirst = false
    }
    return copy
  }

  private read(owner: object, key: PathToken): unknown {
    try {
      return Reflect.get(owner, key)
    } catch (error) {
      this.fault(cannotBeRead(error))
      return UNREADABLE
    }
  }

  private weigh(bytes: number): boolean {
    this.bytes += bytes
    return this.bytes <= this.maxBytes
  }

  private inside(token: PathToken): undefined {
    this.trail.push(token)
  }

  private fault(detail: string): undefined {
    this.detail = detail
  }
}

/** The bytes a string takes as `JSON.stringify` writes it. */
function quotedLength(text: string): number {
  let bytes = byteLength(text) + 2
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === QUOTE || unit === BACKSLASH) bytes += 1
    else if (unit < 0x20) bytes += '\b\t\n\f\r'.includes(text.charAt(i)) ? 1 : 5
  }
  return bytes
}

const HINTS: readonly (readonly [{ readonly prototype: object }, string])[] = [
  [Date, 'return date.toISOString()'],
  [Map, 'return Object.fromEntries(map)'],
  [Set, 'return [...set]'],
  [Promise, 'await it'],
  [Error, 'throw it, or return its message'],
  [RegExp, 'return its source'],
  [ArrayBuffer, 'return its bytes as base64 text'],
  [Array, 'return [...array]'],
  [Boolean, 'return its valueOf()'],
  [Number, 'return its valueOf()'],
  [String, 'return its valueOf()'],
  [BigInt, 'return it as a string'],
]

/**
 * The sentence for an object which is neither an array nor a plain object. May throw what a hostile object
 * throws.
 */
function notPlain(value: object): string {
  const maker: unknown = Reflect.get(value, 'constructor')
  const name = typeof maker === 'function' ? maker.name : ''
  const article = /^[AEIOU]/.test(name) ? 'an' : 'a'
  const found = name === '' ? 'an object of some class' : `${article} ${quoted(name)}`
  return `found ${found}, expected plain values: ${hintFor(value)}`
}

function hintFor(value: object): string {
  if (ArrayBuffer.isView(value)) return 'return its bytes as base64 text, or its numbers as [...array]'
  const [, hint] = HINTS.find(([type]) => Object.prototype.isPrototypeOf.call(type.prototype, value)) ?? []
  return hint ?? 'return a plain object, such as { ...object }'
}

function cannotBeRead(error: unknown): string {
  return `found something that cannot be read (${messageOf(error)}), expected plain values`
}

/** What was thrown, in a few words, even when it is itself hostile. */
function messageOf(thrown: unknown): string {
  try {
    return sanitizeText(String(thrown instanceof Error ? thrown.message : thrown), MAX_QUOTED_BYTES)
  } catch {
    return 'its error cannot be read either'
  }
}

// ── Shared ─────────────────────────────────────────────────────────────────────────────────────────────────

function refused(pointer: string, detail: string): JsonVerdict {
  return { ok: false, problem: { pointer, detail } }
}

/** RFC 6901, kept fit to be stored. */
function pointerTo(path: readonly PathToken[]): string {
  const pointer = path
    .map((token) => `/${String(token).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('')
  return sanitizeText(pointer, MAX_POINTER_BYTES)
}

/**
 * Why a string cannot be stored, or null. PostgreSQL refuses both, the one as 22P05 and the other as 22P02.
 */
function troubleWith(text: string): string | null {
  if (text.includes('\0')) return 'found a NUL character (U+0000), expected text without any'
  if (!text.isWellFormed()) return 'found half a surrogate pair, expected well-formed Unicode'
  return null
}

function quoted(name: string | symbol): string {
  return sanitizeText(String(name), MAX_QUOTED_BYTES)
}

function doubleWouldChange(numeral: string): string {
  const shown = sanitizeText(numeral, MAX_QUOTED_BYTES)
  const found = `found the number ${shown}, which a double keeps as ${Number(numeral)}`
  return `${found}: expected one it keeps unchanged, or a string`
}

function tooDeep(maxDepth: number): string {
  return `found an array or object ${maxDepth + 1} levels deep, expected at most ${maxDepth}`
}

function tooLarge(bytes: number, maxBytes: number): string {
  return `found ${bytes} bytes of JSON, expected at most ${maxBytes}`
}

function moreThan(maxBytes: number): string {
  return `found more than ${maxBytes} bytes of JSON, expected no more`
}

/** Assigning to `__proto__` would change the prototype instead. */
function put<T>(object: Record<string, T>, key: string, value: T): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    object[key] = value
  }
}

function isJsonArray(value: Json): value is readonly Json[] {
  return Array.isArray(value)
}

function isUnknownArray(value: unknown): value is unknown[] {
  return Array.isArray(value)
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}
