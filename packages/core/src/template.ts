import {
  compileExpression,
  type Expression,
  MAX_RENDERED_BYTES,
  type Scope,
  type Values,
} from './expression.ts'
import { Budget, detailOf, Fault, isList, kindOf } from './expression-values.ts'
import { checkJson, type Json, type JsonProblem, sanitizeText } from './json.ts'

/**
 * `${{ … }}` in documents, headers and URLs.
 *
 * 1. A string that is nothing but `"${{ e }}"` becomes the value of `e`, of whatever type. A string with text around it
 *    stays a string: strings as they are, numbers and truth values in JSON notation, nothing else.
 * 2. `$${{` stands for a literal `${{`. Keys are never templates.
 * 3. What has no expression is returned as it is, and costs nothing.
 * 4. A value never changes where a URL leads: each is percent-encoded, its segment is never `.`, `..` or empty, and
 *    scheme and host are literal.
 * 5. Rendering never throws. All expressions of one document share one budget.
 */

/** Any JSON document with expressions in its strings. */
export type Template = {
  readonly pointer: string
  readonly root: Node
  readonly expressions: readonly Expression[]
}

/** A URL or a header: text, whatever its expressions give. */
export type TextTemplate = {
  readonly pointer: string
  readonly parts: readonly Part[]
  readonly expressions: readonly Expression[]
}

export type Rendered<T> = { ok: true; value: T } | { ok: false; pointer: string; detail: string }

type Part = string | Expression

type Constant = { readonly is: 'constant'; readonly value: Json }

type Node =
  | Constant
  | { readonly is: 'value'; readonly pointer: string; readonly expression: Expression }
  | { readonly is: 'text'; readonly pointer: string; readonly parts: readonly Part[] }
  | { readonly is: 'list'; readonly items: readonly Node[] }
  | { readonly is: 'map'; readonly members: readonly Member[] }

type Member = { readonly key: string; readonly node: Node }

const OPENING = '${{'
const ESCAPED = '$${{'
const CLOSING = '}}'

export const MAX_URL = 2048
const MAX_HEADER = 4096

// ── Documents ──────────────────────────────────────────────────────────────────────────────────────────────

/** `pointer` is where the document stands in a larger one, for the problems' sake. */
export function compileTemplate(
  value: Json,
  scope: Scope,
  pointer: string,
): { ok: true; template: Template } | { ok: false; problems: JsonProblem[] } {
  const compiler = new TemplateCompiler(scope)
  const root = compiler.node(value, pointer)
  const { problems, expressions } = compiler
  return problems.length > 0
    ? { ok: false, problems }
    : { ok: true, template: { pointer, root, expressions } }
}

/** The document with every expression replaced by what it gives, at most `MAX_RENDERED_BYTES` of JSON. */
export function render(template: Template, values: Values): Rendered<Json> {
  const { root } = template
  if (root.is === 'constant') return { ok: true, value: root.value }
  const renderer = new Renderer(values)
  try {
    // The values are others' own; the copy is not, and has been measured.
    const verdict = checkJson(renderer.node(root), { maxBytes: MAX_RENDERED_BYTES })
    if (verdict.ok) return verdict
    const { pointer, detail } = verdict.problem
    return { ok: false, pointer: template.pointer + pointer, detail }
  } catch (error) {
    return { ok: false, pointer: renderer.pointer, detail: detailOf(error) }
  }
}

/** The names of the steps whose results are read, as far as they stand in the source. */
export function references(read: Expression | Pick<Template, 'expressions'>): { context: string[] } {
  const expressions = 'expressions' in read ? read.expressions : [read]
  return { context: [...new Set(expressions.flatMap(({ context }) => context))] }
}

class TemplateCompiler {
  readonly problems: JsonProblem[] = []
  readonly expressions: Expression[] = []
  private readonly scope: Scope

  constructor(scope: Scope) {
    this.scope = scope
  }

  node(value: Json, pointer: string): Node {
    if (typeof value === 'string') return this.string(value, pointer)
    if (typeof value !== 'object' || value === null) return { is: 'constant', value }
    if (isList(value)) {
      const items = value.map((item, index) => this.node(item, `${pointer}/${index}`))
      if (!items.every(isConstant)) return { is: 'list', items }
      // A string may have had an escape in it.
      const isSame = items.every((item, index) => item.value === value[index])
      return { is: 'constant', value: isSame ? value : items.map((item) => item.value) }
    }
    const members = Object.entries(value).map(([key, item]) => {
      const at = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
      if (key.includes(OPENING)) this.problem(at, 'a key is not a template; only values may hold ${{ … }}')
      return { key, node: this.node(item, at) }
    })
    const constants = members.flatMap(({ key, node }) =>
      isConstant(node) ? [[key, node.value] as const] : [],
    )
    if (constants.length < members.length) return { is: 'map', members }
    const isSame = constants.every(([key, constant]) => constant === value[key])
    return { is: 'constant', value: isSame ? value : Object.fromEntries(constants) }
  }

  private string(source: string, pointer: string): Node {
    const parts = this.parts(source, pointer)
    const [first, ...others] = parts
    if (first === undefined) return { is: 'constant', value: '' }
    if (others.length > 0) {
      this.refuseUnprintable(parts, pointer)
      return { is: 'text', pointer, parts }
    }
    return typeof first === 'string'
      ? { is: 'constant', value: first }
      : { is: 'value', pointer, expression: first }
  }

  /** The text between the expressions, unescaped, and the expressions; no part of it is empty. */
  parts(source: string, pointer: string): Part[] {
    const parts: Part[] = []
    let literal = ''
    let at = 0
    while (at < source.length) {
      const next = source.indexOf(OPENING, at)
      if (next === -1) break
      // An odd one out: "$${{" is an escape, whatever stands before it.
      if (next > at && source.charAt(next - 1) === '$') {
        literal += source.slice(at, next - 1) + OPENING
        at = next + OPENING.length
        continue
      }
      const start = next + OPENING.length
      const end = endOf(source, start)
      if (end === -1) {
        const detail = `"${OPENING}" at character ${next + 1} is never closed by "${CLOSING}"; for the text itself write "${ESCAPED}"`
        this.problem(pointer, detail)
        return []
      }
      literal += source.slice(at, next)
      if (literal !== '') parts.push(literal)
      literal = ''
      const expression = this.expression(source.slice(start, end), pointer)
      if (expression !== undefined) parts.push(expression)
      at = end + CLOSING.length
    }
    literal += source.slice(at)
    if (literal !== '') parts.push(literal)
    return parts
  }

  refuseUnprintable(parts: readonly Part[], pointer: string): void {
    for (const part of parts) {
      if (typeof part === 'string' || isPrintable(part.gives)) continue
      this.problem(pointer, notPrintable(part, part.gives))
    }
  }

  private expression(source: string, pointer: string): Expression | undefined {
    const compiled = compileExpression(source.trim(), this.scope)
    if (compiled.ok) {
      this.expressions.push(compiled.expression)
      return compiled.expression
    }
    this.problem(pointer, `in \${{ ${shown(source)} }}: ${compiled.detail}`)
    return undefined
  }

  problem(pointer: string, detail: string): void {
    this.problems.push({ pointer: sanitizeText(pointer, 2048), detail })
  }
}

function isConstant(node: Node): node is Constant {
  return node.is === 'constant'
}

/**
 * Where the `}}` stands that ends an expression: not in a string, a comment or a map. -1 if there is none. Strings are
 * told as the grammar tells them.
 */
function endOf(source: string, start: number): number {
  let braces = 0
  for (let at = start; at < source.length; at++) {
    const character = source.charAt(at)
    if (character === '"' || character === "'") {
      at = closingQuote(source, at)
      if (at === -1) return -1
    } else if (character === '/' && source.charAt(at + 1) === '/') {
      const line = source.indexOf('\n', at)
      // A comment on the last line would swallow the end.
      if (line === -1) return -1
      at = line
    } else if (character === '{') {
      braces++
    } else if (character === '}') {
      if (braces > 0) braces--
      else if (source.charAt(at + 1) === '}') return at
    }
  }
  return -1
}

/** Where the last quote stands of the string that begins at `start`. */
function closingQuote(source: string, start: number): number {
  const single = source.charAt(start)
  const quote = source.startsWith(single.repeat(3), start) ? single.repeat(3) : single
  for (let at = start + quote.length; at < source.length; at++) {
    if (source.charAt(at) === '\\') at++
    else if (source.startsWith(quote, at)) return at + quote.length - 1
  }
  return -1
}

class Renderer {
  /** Of the place at work. */
  pointer = ''
  private readonly values: Values
  private readonly budget = new Budget()

  constructor(values: Values) {
    this.values = values
  }

  node(node: Node): Json {
    switch (node.is) {
      case 'constant':
        return node.value
      case 'value':
        this.pointer = node.pointer
        return node.expression.compute(this.values, this.budget)
      case 'text':
        this.pointer = node.pointer
        return node.parts.map((part) => this.part(part)).join('')
      case 'list':
        return node.items.map((item) => this.node(item))
      case 'map':
        // Makes own properties, whatever their names.
        return Object.fromEntries(node.members.map((member) => [member.key, this.node(member.node)]))
    }
  }

  part(part: Part): string {
    if (typeof part === 'string') return part
    const value = part.compute(this.values, this.budget)
    if (typeof value === 'object') throw new Fault(notPrintable(part, kindOf(value)))
    const text = String(value)
    this.budget.read(text.length)
    return text
  }
}

function isPrintable(kind: string): boolean {
  return kind !== 'null' && kind !== 'list' && kind !== 'map'
}

function notPrintable(expression: Expression, kind: string): string {
  const what = kind === 'null' ? 'null' : `a ${kind}`
  return `\${{ ${shown(expression.source)} }} gives ${what}; only strings, numbers, true and false go into a text`
}

function shown(source: string): string {
  return sanitizeText(source.trim().replaceAll(/\s+/g, ' '), 120)
}

function isText(part: Part): part is string {
  return typeof part === 'string'
}

// ── URLs ───────────────────────────────────────────────────────────────────────────────────────────────────

type CompiledText = { ok: true; template: TextTemplate } | { ok: false; problems: JsonProblem[] }

/** Scheme and host, up to the `/` or `?` that ends them. */
const ORIGIN = /^https?:\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?[/?]/i

/** Expressions may stand in the path and in the query, after a literal scheme and host. */
export function compileUrl(source: string, scope: Scope, pointer: string): CompiledText {
  const detail = 'scheme, host and port must be literal, and followed by "/" or "?" before the first ${{ … }}'
  return compileAddress(source, scope, pointer, { beginning: ORIGIN, detail })
}

/** Below the base path of a service: it begins with one literal "/". Rendered like a URL, and as strictly. */
export function compilePath(source: string, scope: Scope, pointer: string): CompiledText {
  return compileAddress(source, scope, pointer, { beginning: /^\//, detail: 'must begin with a literal "/"' })
}

function compileAddress(
  source: string,
  scope: Scope,
  pointer: string,
  literal: { beginning: RegExp; detail: string },
): CompiledText {
  const compiler = new TemplateCompiler(scope)
  const parts = compiler.parts(source, pointer)
  compiler.refuseUnprintable(parts, pointer)
  const { problems, expressions } = compiler
  const [first = ''] = parts
  if (expressions.length > 0 && !(typeof first === 'string' && literal.beginning.test(first))) {
    compiler.problem(pointer, literal.detail)
  }
  if (expressions.length > 0) {
    parts.forEach((part, index) => {
      const wrong = isText(part) ? wrongInUrl(part, index === parts.length - 1) : undefined
      if (wrong !== undefined) compiler.problem(pointer, wrong)
    })
  }
  return problems.length > 0
    ? { ok: false, problems }
    : { ok: true, template: { pointer, parts, expressions } }
}

function wrongInUrl(literal: string, isLast: boolean): string | undefined {
  const [wrong] = /[^\x21-\x7e]|[#\\]/u.exec(literal) ?? []
  if (wrong !== undefined) {
    return `the URL holds ${JSON.stringify(wrong)} outside of \${{ … }}; percent-encode it, and leave out fragments`
  }
  const isCut = !isLast && /%[0-9A-Fa-f]?$/.test(literal)
  return isCut ? 'a percent-encoding is cut in two by ${{ … }}' : undefined
}

/** The URL, each value percent-encoded. */
export function renderUrl(template: TextTemplate, values: Values): Rendered<string> {
  const { pointer, parts, expressions } = template
  if (expressions.length === 0) return { ok: true, value: parts.filter(isText).join('') }
  const renderer = new Renderer(values)
  try {
    const pieces = parts.map((part) =>
      typeof part === 'string' ? part : encodeURIComponent(renderer.part(part)),
    )
    const value = pieces.join('')
    if (value.length > MAX_URL)
      throw new Fault(`the URL has ${value.length} characters; the most is ${MAX_URL}`)
    refuseBareSegments(parts, pieces)
    return { ok: true, value }
  } catch (error) {
    return { ok: false, pointer, detail: detailOf(error) }
  }
}

/** `.` and `..` climb, also if written `%2e`; an empty segment turns `/orders/{id}` into `/orders/`. */
function refuseBareSegments(parts: readonly Part[], pieces: readonly string[]): void {
  let segment = ''
  let maker: Expression | undefined
  const endSegment = (): void => {
    if (maker !== undefined && /^(\.|%2e){0,2}$/i.test(segment)) {
      const what = segment === '' ? 'an empty segment' : `the segment "${segment}"`
      throw new Fault(`\${{ ${shown(maker.source)} }} makes ${what} of the path, which leads elsewhere`)
    }
    segment = ''
    maker = undefined
  }
  for (const [index, part] of parts.entries()) {
    const piece = pieces[index] ?? ''
    if (typeof part !== 'string') {
      segment += piece
      maker = part
      continue
    }
    const query = piece.indexOf('?')
    const path = query === -1 ? piece : piece.slice(0, query)
    const [rest = '', ...segments] = path.split('/')
    segment += rest
    for (const next of segments) {
      endSegment()
      segment = next
    }
    if (query !== -1) break
  }
  endSegment()
}

// ── Headers ────────────────────────────────────────────────────────────────────────────────────────────────

/** The value of a header. */
export function compileHeader(source: string, scope: Scope, pointer: string): CompiledText {
  const compiler = new TemplateCompiler(scope)
  const parts = compiler.parts(source, pointer)
  compiler.refuseUnprintable(parts, pointer)
  const { problems, expressions } = compiler
  return problems.length > 0
    ? { ok: false, problems }
    : { ok: true, template: { pointer, parts, expressions } }
}

/** The value of a header: visible Latin-1 and spaces, so that it can neither end the header nor begin another. */
export function renderHeader(template: TextTemplate, values: Values): Rendered<string> {
  const { pointer, parts, expressions } = template
  if (expressions.length === 0) return { ok: true, value: parts.filter(isText).join('') }
  const renderer = new Renderer(values)
  try {
    const value = parts.map((part) => renderer.part(part)).join('')
    if (value.length > MAX_HEADER) {
      throw new Fault(`the header has ${value.length} characters; the most is ${MAX_HEADER}`)
    }
    const [wrong] = /[^\x20-\x7e\xa0-\xff]/u.exec(value) ?? []
    if (wrong !== undefined) {
      throw new Fault(
        `the header would hold ${JSON.stringify(wrong)}; it may hold visible Latin characters only`,
      )
    }
    return { ok: true, value }
  } catch (error) {
    return { ok: false, pointer, detail: detailOf(error) }
  }
}
