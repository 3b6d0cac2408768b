import vm from 'node:vm'
import { entryOf, type Json, type JsonProblem, pointerTo } from '@backstitch/core'
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { RE2JS } from 're2js'

/**
 * The inputSchema of a definition: JSON Schema 2020-12, written by whoever may register a definition, applied to whatever
 * callers send. Neither may stop this process, so:
 *
 * 1. Patterns are matched by RE2, in time linear in the text. What RE2 does not have (look-around, back-references) is
 *    refused when the definition is registered.
 * 2. Nothing is fetched: a `$ref` leads into the same schema or nowhere.
 * 3. A schema that may cost much (it refers to itself, or names a part many times over, or compares all items with each
 *    other), or one that costs little and meets a large input, is applied under a watchdog. The others need none, which
 *    is what most starts get: the watchdog alone takes a third of a millisecond.
 */
export type InputSchemas = {
  /** What is wrong with the schema, or merely odd: places in the definition. */
  check(schema: Json): { problems: JsonProblem[]; warnings: JsonProblem[] }
  /** Where the input does not fit: places in the start. */
  misfits(of: { name: string; version: number; schema: Json }, input: Json, inputBytes: number): JsonProblem[]
}

const DIALECT = /^https?:\/\/json-schema\.org\/draft\/2020-12\/schema#?$/
const MAX_SCHEMA_BYTES = 64 * 1024
const MAX_PATTERN_LENGTH = 1_000
const MAX_FORMATTED_LENGTH = 4_096
/** To be registered; once that has been done, a slower moment must not turn it down. */
const COMPILE_MS = 1_000
const COMPILE_AGAIN_MS = 5_000
const VALIDATE_MS = 250
/** Cost of a schema times bytes of an input: what is below takes some tens of milliseconds at the very most. */
const HARMLESS = 20_000_000
/** Inputs up to this size are told of everything that is wrong with them, larger ones of the first thing. */
const MAX_EXPLAINED_BYTES = 16 * 1024
const MAX_MISFITS = 20
const KEPT = 1_000

type Compiled = { first: ValidateFunction; all: () => ValidateFunction; cost: number }

export function createInputSchemas(): InputSchemas {
  const kept = new Map<string, Compiled>()
  // It only ever sees the schema of schemas, which is compiled once.
  const judge = new Ajv2020({ strict: false, logger: false })
  addFormats.default(judge)

  function compiled({ name, version, schema }: { name: string; version: number; schema: Json }): Compiled {
    const key = `${name} ${version}`
    const known = kept.get(key) ?? compile(schema, COMPILE_AGAIN_MS)
    kept.delete(key)
    kept.set(key, known)
    const [oldest] = kept.keys()
    if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest)
    return known
  }

  return {
    check(schema) {
      const bytes = Buffer.byteLength(JSON.stringify(schema))
      if (bytes > MAX_SCHEMA_BYTES)
        return refused(`has ${bytes} bytes as JSON; the most is ${MAX_SCHEMA_BYTES}`)
      if (!isObject(schema)) return refused('is not a JSON Schema; write an object')
      const dialect = entryOf(schema, '$schema')
      if (dialect !== undefined && !(typeof dialect === 'string' && DIALECT.test(dialect))) {
        return refused('names another dialect; what is understood here is JSON Schema 2020-12', '/$schema')
      }
      if (judge.validateSchema(withoutDialect(schema)) !== true) {
        return { problems: (judge.errors ?? []).slice(0, MAX_MISFITS).map(inSchema), warnings: [] }
      }
      const patterns = badPatterns(schema)
      if (patterns.length > 0) return { problems: patterns, warnings: [] }
      try {
        compile(schema, COMPILE_MS)
      } catch (error) {
        return refused(
          isOvertime(error)
            ? 'takes too long to compile; make it smaller'
            : `cannot be compiled: ${messageOf(error)}`,
        )
      }
      return { problems: [], warnings: unknownWords(schema, judge) }
    },

    misfits(of, input, inputBytes) {
      try {
        const { first, all, cost } = compiled(of)
        const harmless = cost * inputBytes <= HARMLESS
        const fits = harmless ? first(input) : withinTime(VALIDATE_MS, () => first(input))
        if (fits === true) return []
        const explained = inputBytes <= MAX_EXPLAINED_BYTES ? explain(all, input) : undefined
        return (explained ?? first.errors ?? []).slice(0, MAX_MISFITS).map(inInput)
      } catch (error) {
        const why = isOvertime(error)
          ? `could not be checked against the inputSchema within ${VALIDATE_MS} ms; send less, or simplify the schema`
          : `could not be checked against the inputSchema: ${messageOf(error)}`
        return [{ pointer: '/input', detail: why }]
      }
    },
  }
}

function explain(all: () => ValidateFunction, input: Json): ErrorObject[] | undefined {
  try {
    const validate = all()
    withinTime(VALIDATE_MS, () => validate(input))
    return validate.errors ?? undefined
  } catch {
    return undefined
  }
}

/** An instance for each schema: what one names by `$id` must not be found by another. */
function compile(schema: Json, timeoutMs: number): Compiled {
  const given = withoutDialect(schema)
  const build = (allErrors: boolean) => {
    const ajv = new Ajv2020({
      allErrors,
      strict: false,
      // The schema has been judged; here it is only compiled.
      meta: false,
      validateSchema: false,
      // What an object inherits is not a property of it: "required": ["constructor"] must mean one's own.
      ownProperties: true,
      // Written out wherever it is named, a part that is named often would fill the memory.
      inlineRefs: false,
      code: { regExp: linearRegExp },
      logger: false,
    })
    addFormats.default(ajv)
    tameFormats(ajv)
    return withinTime(timeoutMs, () => ajv.compile(given))
  }
  let everything: ValidateFunction | undefined
  return { first: build(false), all: () => (everything ??= build(true)), cost: costOf(given) }
}

/** What JSON Schema allows and ignores, and whoever misspelt it would like to know about. */
function unknownWords(schema: Json, judge: Ajv2020): JsonProblem[] {
  const warnings: JsonProblem[] = []
  visit(schema, [], (node, path) => {
    const warn = (place: string, detail: string) =>
      warnings.push({ pointer: pointerTo(['inputSchema', ...path, place]), detail })
    for (const key of Object.keys(node)) {
      if (judge.getKeyword(key) === false && !key.startsWith('x-'))
        warn(key, 'this keyword is not known, and ignored')
    }
    const format = entryOf(node, 'format')
    if (typeof format === 'string' && !Object.hasOwn(judge.formats, format)) {
      warn('format', `the format "${format}" is not known, and not checked`)
    }
  })
  return warnings.slice(0, MAX_MISFITS)
}

/** Ajv looks for the dialect by itself, and would find that it was told to forget it. */
function withoutDialect(schema: Json): Record<string, Json> {
  const { $schema: _, ...rest } = isObject(schema) ? schema : {}
  return rest
}

function tameFormats(ajv: Ajv2020): void {
  // Its expression takes time quadratic in the text.
  ajv.addFormat('url', (text) => text.length <= MAX_FORMATTED_LENGTH && URL.canParse(text))
  ajv.addFormat('regex', (text) => text.length <= MAX_FORMATTED_LENGTH && isRegExp(text))
}

function isRegExp(text: string): boolean {
  try {
    new RegExp(text, 'u')
    return true
  } catch {
    return false
  }
}

// ── Patterns ─────────────────────────────────────────────────────────────────────────────────────────────────────

type Matcher = { test: (text: string) => boolean; toString: () => string }

/** Ajv asks for a regular expression by its pattern; this one understands the same patterns but for what RE2 has not. */
function linearRegExp(pattern: string): Matcher {
  if (pattern.length > MAX_PATTERN_LENGTH) {
    throw new Error(`the pattern has ${pattern.length} characters; the most is ${MAX_PATTERN_LENGTH}`)
  }
  const compiled = RE2JS.compile(RE2JS.translateRegExp(pattern))
  // By what it says of itself Ajv tells one pattern of a schema from another.
  return { test: (text) => compiled.test(text), toString: () => pattern }
}
linearRegExp.code = 'linearRegExp'

function badPatterns(schema: Json): JsonProblem[] {
  const problems: JsonProblem[] = []
  const look = (pattern: string, path: PropertyKey[]) => {
    try {
      linearRegExp(pattern)
    } catch (error) {
      const detail = `cannot be used: ${messageOf(error)} (patterns are those of RE2: no look-around, no back-references)`
      problems.push({ pointer: pointerTo(['inputSchema', ...path]), detail })
    }
  }
  visit(schema, [], (node, path) => {
    const pattern = entryOf(node, 'pattern')
    if (typeof pattern === 'string') look(pattern, [...path, 'pattern'])
    const byPattern = entryOf(node, 'patternProperties')
    if (isObject(byPattern))
      for (const key of Object.keys(byPattern)) look(key, [...path, 'patternProperties', key])
  })
  return problems
}

// ── Cost ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const ONE_SCHEMA = [
  'additionalItems',
  'additionalProperties',
  'contains',
  'else',
  'if',
  'items',
  'not',
  'propertyNames',
  'then',
  'unevaluatedItems',
  'unevaluatedProperties',
]
const SCHEMA_LISTS = ['allOf', 'anyOf', 'items', 'oneOf', 'prefixItems']
const SCHEMA_MAPS = ['dependencies', 'dependentSchemas', 'patternProperties', 'properties']
const DEFINITIONS = ['$defs', 'definitions']

type Node = { readonly [key: string]: Json }

/** The schemas directly inside a schema, each with its place. */
function inside(node: Node, maps: readonly string[]): [Json, PropertyKey[]][] {
  const found: [Json, PropertyKey[]][] = []
  for (const key of ONE_SCHEMA) {
    const one = entryOf(node, key)
    if (isObject(one)) found.push([one, [key]])
  }
  for (const key of SCHEMA_LISTS) {
    const list = entryOf(node, key)
    if (isArray(list)) found.push(...list.map((item, index): [Json, PropertyKey[]] => [item, [key, index]]))
  }
  for (const key of maps) {
    const map = entryOf(node, key)
    if (isObject(map)) for (const [name, item] of Object.entries(map)) found.push([item, [key, name]])
  }
  return found
}

function visit(schema: Json, path: PropertyKey[], look: (node: Node, path: PropertyKey[]) => void): void {
  if (!isObject(schema)) return
  look(schema, path)
  for (const [child, place] of inside(schema, [...SCHEMA_MAPS, ...DEFINITIONS]))
    visit(child, [...path, ...place], look)
}

/**
 * How often, at the most, one value of an input is looked at: the size of the schema with every reference written out.
 * Infinite if it refers to itself, or in a way that is not worth following, or compares all items with each other.
 */
function costOf(root: Json): number {
  const known = new Map<Node, number>()

  function cost(schema: Json): number {
    if (!isObject(schema)) return 1
    const counted = known.get(schema)
    if (counted !== undefined) return counted
    // Met again before it has been counted, it is inside itself.
    known.set(schema, Number.POSITIVE_INFINITY)
    let sum = own(schema)
    for (const [child] of inside(schema, SCHEMA_MAPS)) sum += cost(child)
    const reference = entryOf(schema, '$ref')
    if (reference !== undefined) {
      const target = typeof reference === 'string' ? resolve(root, reference) : undefined
      sum += target === undefined ? Number.POSITIVE_INFINITY : cost(target)
    }
    known.set(schema, sum)
    return sum
  }
  return cost(root)
}

function own(node: Node): number {
  if (Object.hasOwn(node, '$dynamicRef') || Object.hasOwn(node, '$id')) return Number.POSITIVE_INFINITY
  if (
    entryOf(node, 'uniqueItems') === true &&
    Number(entryOf(node, 'maxItems') ?? Number.POSITIVE_INFINITY) > 100
  ) {
    return Number.POSITIVE_INFINITY
  }
  let sum = 1
  for (const key of ['enum', 'required', 'type']) {
    const list = entryOf(node, key)
    if (isArray(list)) sum += list.length
  }
  // Measured against a comparison, per byte of text.
  if (Object.hasOwn(node, 'pattern')) sum += 20
  const byPattern = entryOf(node, 'patternProperties')
  if (isObject(byPattern)) sum += 20 * Object.keys(byPattern).length
  return sum
}

/** Only pointers within the document; anything else is left to Ajv, and to the watchdog. */
function resolve(root: Json, reference: string): Json | undefined {
  if (reference === '#') return root
  if (!reference.startsWith('#/')) return undefined
  let at: Json | undefined = root
  for (const token of decodeURIComponent(reference.slice(2)).split('/')) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~')
    if (isArray(at)) at = at[Number(key)]
    else if (isObject(at)) at = entryOf(at, key)
    else return undefined
  }
  return at
}

// ── Watchdog ─────────────────────────────────────────────────────────────────────────────────────────────────────

const slot: { work: () => unknown } = { work: () => undefined }
const watched = vm.createContext(slot)
const script = new vm.Script('work()')

/** Runs something that must not take longer, and throws if it does. It runs in this thread, and can be stopped all the same. */
function withinTime<T>(timeoutMs: number, work: () => T): T {
  let done: { value: T } | undefined
  slot.work = () => {
    done = { value: work() }
  }
  script.runInContext(watched, { timeout: timeoutMs })
  if (done === undefined) throw new Error('stopped before it was done')
  return done.value
}

/** The error may be of the watched realm, where `Error` is another. */
function isOvertime(error: unknown): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
  )
}

// ── Sentences ────────────────────────────────────────────────────────────────────────────────────────────────────

function refused(detail: string, place = ''): { problems: JsonProblem[]; warnings: JsonProblem[] } {
  return { problems: [{ pointer: `/inputSchema${place}`, detail }], warnings: [] }
}

function inSchema(error: ErrorObject): JsonProblem {
  return { pointer: `/inputSchema${error.instancePath}`, detail: sentence(error) }
}

function inInput(error: ErrorObject): JsonProblem {
  return { pointer: `/input${error.instancePath}`, detail: sentence(error) }
}

function sentence({
  keyword,
  message = 'does not fit',
  params,
}: ErrorObject<string, Record<string, unknown>>): string {
  switch (keyword) {
    case 'additionalProperties':
      return `has the property "${String(params.additionalProperty)}", which the schema does not allow`
    case 'enum':
      return `${message}: ${JSON.stringify(params.allowedValues).slice(0, 200)}`
    case 'const':
      return `${message}: ${JSON.stringify(params.allowedValue).slice(0, 200)}`
    default:
      return message
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.slice(0, 500) : String(error).slice(0, 500)
}

function isObject(value: Json | undefined): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isArray(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value)
}
