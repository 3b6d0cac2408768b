import type { ASTNode } from '@marcbachmann/cel-js'
import { FUNCTIONS, MACROS, METHODS, type Operation, Pattern } from './expression-functions.ts'
import { MAX_SOURCE, parse, placeOf, Refusal, refusalOf } from './expression-syntax.ts'
import {
  a,
  attempt,
  Budget,
  calculate,
  compare,
  count,
  cut,
  detailOf,
  emptyMap,
  Fault,
  isList,
  isMap,
  type Kind,
  keysOf,
  kindOf,
  lookUp,
  quote,
  same,
  TOO_LARGE,
} from './expression-values.ts'
import { byteLength, checkJson, type Json } from './json.ts'

/**
 * Expressions in definitions: CEL as it reads, JSON as it computes.
 *
 * The library reads the source into a tree. What the tree means is said here, because four things cannot be had from
 * the library's own evaluator: built-in functions replaced (its `matches` takes exponential time), a budget which
 * `||`, `all` and `exists` do not swallow as they swallow other errors, maps with a key named `constructor`, and
 * lists whose items are of several kinds.
 *
 * 1. Every value is JSON, at every moment. A number is a double, so `5 / 2` is `2.5` and `1 == 1.0`; whole numbers are
 *    exact or an error, never rounded.
 * 2. Keys are own keys: no expression reaches a prototype, a function or anything else of the host.
 * 3. Evaluating never throws, reads no clock and ends within `MAX_STEPS` and `MAX_TEXT`, whatever the source and data.
 * 4. `a && b`, `a || b`, `all` and `exists` are true or false wherever one side suffices, even if the other side fails.
 * 5. `has(a.b.c)` is false if any part of the path is missing, be it the last or an earlier one.
 *
 * There are no timestamps, bytes or unsigned integers. Strings are counted in code points and compared by code units.
 */

/** The variables an expression may use at its place. */
export type Scope = { readonly [name: string]: Kind }

/** The body, URL and headers of an action: the start input, all results by the names of their steps, the attempt. */
export const ACTION_SCOPE: Scope = { input: 'dyn', context: 'map', saga: 'map' }
/** Whether a step is run at all. */
export const WHEN_SCOPE: Scope = { ...ACTION_SCOPE }
/** S11: a compensation also knows what its step gave and why the saga failed. */
export const COMPENSATION_SCOPE: Scope = { ...ACTION_SCOPE, result: 'dyn', failure: 'map' }

export type Values = { readonly [name: string]: Json }

/** A checked expression. Immutable to its users; may be evaluated any number of times. */
export type Expression = {
  readonly source: string
  readonly gives: Kind
  /** The steps whose results it reads, as far as their names stand in it: `context.pay`, `context["pay"]`. */
  readonly context: readonly string[]
  /** The value, not yet measured. Throws a `Fault`; `evaluate` is the door that does not. */
  readonly compute: (values: Values, budget: Budget) => Json
}

export type Compiled = { ok: true; expression: Expression } | { ok: false; detail: string; offset?: number }
export type Evaluated = { ok: true; value: Json } | { ok: false; detail: string }

/** UTF-8 bytes of JSON which an expression or a document of them may make (S32). */
export const MAX_RENDERED_BYTES = 1024 * 1024

/** Checks a source: its syntax, its names, its kinds and its size. `wants` is what it must give. */
export function compileExpression(source: string, scope: Scope, wants?: 'bool'): Compiled {
  if (source.length > MAX_SOURCE) {
    return { ok: false, detail: `the expression has ${source.length} characters; the most is ${MAX_SOURCE}` }
  }
  if (source.trim() === '') return { ok: false, detail: 'the expression is empty' }
  try {
    const compiler = new Compiler(source, scope)
    const { kind, run } = compiler.node(parse(source))
    if (wants === 'bool' && kind !== 'bool' && kind !== 'dyn') {
      return { ok: false, detail: `the expression gives ${a(kind)}; expected true or false` }
    }
    const compute = (values: Values, budget: Budget): Json => {
      const value = run({ values, budget, locals: [] })
      if (wants === 'bool' && typeof value !== 'boolean') {
        throw new Fault(`gives ${a(kindOf(value))}; expected true or false`)
      }
      return value
    }
    return { ok: true, expression: { source, gives: kind, context: [...compiler.context], compute } }
  } catch (error) {
    const { detail, offset } = refusalOf(error, source)
    if (offset === undefined) return { ok: false, detail }
    return { ok: false, detail: `${detail} (at ${placeOf(source, offset)})`, offset }
  }
}

/** The value of an expression, at most `MAX_RENDERED_BYTES` of it. Never throws. */
export function evaluate(expression: Expression, values: Values, budget = new Budget()): Evaluated {
  try {
    return measured(expression.compute(values, budget))
  } catch (error) {
    return { ok: false, detail: detailOf(error) }
  }
}

function measured(value: Json): Evaluated {
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return { ok: true, value }
  if (typeof value === 'string') {
    // No code unit takes more than three bytes.
    const fits = value.length * 3 <= MAX_RENDERED_BYTES || byteLength(value) <= MAX_RENDERED_BYTES
    if (fits) return { ok: true, value }
    return { ok: false, detail: `gives more than ${MAX_RENDERED_BYTES} bytes of text` }
  }
  const verdict = checkJson(value, { maxBytes: MAX_RENDERED_BYTES })
  if (verdict.ok) return verdict
  const { pointer, detail } = verdict.problem
  return { ok: false, detail: pointer === '' ? detail : `${detail} (at ${pointer} of the value)` }
}

// ── Compiling ──────────────────────────────────────────────────────────────────────────────────────────────

type Frame = { readonly values: Values; readonly budget: Budget; readonly locals: Json[] }
type Run = (frame: Frame) => Json
type Part = { readonly kind: Kind; readonly run: Run; readonly literal?: Json; readonly shown: string }

type Selection = Extract<ASTNode, { op: '.' | '[]' }>
type Call = Extract<ASTNode, { op: 'call' }>
type MethodCall = Extract<ASTNode, { op: 'rcall' }>
type Pair = Extract<ASTNode, { op: '&&' | '+' }>['args']

/** Turns a tree into closures, knowing the kind of each part as far as it can be known. */
class Compiler {
  readonly context = new Set<string>()
  private readonly source: string
  private readonly scope: Scope
  /** The variables of the macros around the place at hand; the last of a name hides the others. */
  private readonly locals: { name: string; kind: Kind }[] = []

  constructor(source: string, scope: Scope) {
    this.source = source
    this.scope = scope
  }

  node(node: ASTNode): Part {
    switch (node.op) {
      case 'value':
        return this.literal(node)
      case 'id':
        return this.variable(node.args, node)
      case '.':
      case '[]':
        return this.selection(node)
      case 'call':
        return this.call(node)
      case 'rcall':
        return this.method(node)
      case 'list':
        return this.list(node.args, node)
      case 'map':
        return this.map(node.args, node)
      case '?:':
        return this.conditional(node.args, node)
      case '||':
        return this.logical(node.args, true, node)
      case '&&':
        return this.logical(node.args, false, node)
      case '!_':
        return this.not(node.args, node)
      case '-_':
        return this.negation(node.args, node)
      case '==':
      case '!=':
        return this.equality(node.args, node.op === '==', node)
      case '<':
      case '<=':
      case '>':
      case '>=':
        return this.comparison(node.args, node.op, node)
      case 'in':
        return this.membership(node.args, node)
      case '+':
        return this.sum(node.args, node)
      case '-':
      case '*':
      case '/':
      case '%':
        return this.arithmetic(node.args, node.op, node)
      case '.?':
      case '[?]':
        throw new Refusal(`"${node.op}" is not supported; ask with has(…)`, node.pos)
    }
  }

  private literal(node: Extract<ASTNode, { op: 'value' }>): Part {
    const value = node.args
    if (typeof value === 'bigint') {
      const number = Number(value)
      if (!Number.isSafeInteger(number)) throw new Refusal(`${value} is ${TOO_LARGE}`, node.pos)
      return this.constant(number, node)
    }
    if (typeof value === 'string') {
      if (value.includes('\0')) throw new Refusal('a string holds U+0000, which no JSON here may', node.pos)
      return this.constant(value.toWellFormed(), node)
    }
    if (typeof value === 'object' && value !== null) {
      const what = value instanceof Uint8Array ? 'bytes (b"…")' : 'unsigned integers (1u)'
      throw new Refusal(`${what} are not supported: values are JSON`, node.pos)
    }
    return this.constant(value === 0 ? 0 : value, node)
  }

  private constant(value: string | number | boolean | null, node: ASTNode): Part {
    return { kind: kindOf(value), run: () => value, literal: value, shown: this.show(node) }
  }

  private variable(name: string, node: ASTNode): Part {
    const slot = this.locals.findLastIndex((local) => local.name === name)
    if (slot !== -1) {
      const kind = this.locals[slot]?.kind ?? 'dyn'
      return { kind, run: ({ locals }) => locals[slot] ?? null, shown: name }
    }
    const kind = Object.hasOwn(this.scope, name) ? this.scope[name] : undefined
    if (kind === undefined) {
      const known = Object.keys(this.scope).join(', ')
      throw new Refusal(
        `unknown variable "${cut(name)}"; there are ${known}${this.dashHint(node)}`,
        node.start,
      )
    }
    const run: Run = ({ values }) => {
      const value = Object.hasOwn(values, name) ? values[name] : undefined
      if (value === undefined) throw new Fault(`"${name}" has no value here`)
      return value
    }
    return { kind, run, shown: name }
  }

  /** `context.take-stock.id` reads as a subtraction. */
  private dashHint(node: ASTNode): string {
    return /[A-Za-z0-9_]-$/.test(this.source.slice(0, node.start))
      ? '. A name with a dash is written ["a-name"]'
      : ''
  }

  private selection(node: Selection): Part {
    const target = this.node(node.args[0])
    const key = this.key(target, node)
    const shown = this.show(node)
    const { literal } = key
    if (typeof literal === 'string') {
      return { kind: 'dyn', run: (frame) => memberOf(target, literal, frame), shown }
    }
    const run: Run = (frame) => {
      const index = key.run(frame)
      return typeof index === 'string' ? memberOf(target, index, frame) : itemOf(target, index, frame)
    }
    return { kind: 'dyn', run, shown }
  }

  /** The `b` of `a.b` and of `a["b"]`, with what the kinds forbid refused. */
  private key(target: Part, node: Selection): Part {
    const key = node.op === '.' ? this.constant(node.args[1], node) : this.node(node.args[1])
    if (target.kind !== 'dyn' && target.kind !== 'map' && target.kind !== 'list') {
      throw new Refusal(`"${target.shown}" is ${a(target.kind)}, which has no keys`, node.pos)
    }
    const wanted = target.kind === 'list' ? 'number' : target.kind === 'map' ? 'string' : 'dyn'
    const fits = key.kind === 'dyn' || key.kind === wanted || (wanted === 'dyn' && isKeyKind(key.kind))
    if (!fits) {
      const expected = wanted === 'dyn' ? 'a string or a number' : a(wanted)
      throw new Refusal(`"${target.shown}" is looked into by ${a(key.kind)}; expected ${expected}`, node.pos)
    }
    const [owner] = node.args
    const ofContext = owner.op === 'id' && owner.args === 'context' && !this.isLocal('context')
    if (ofContext && typeof key.literal === 'string' && key.literal !== 'input') this.context.add(key.literal)
    return key
  }

  private isLocal(name: string): boolean {
    return this.locals.some((local) => local.name === name)
  }

  private list(items: readonly ASTNode[], node: ASTNode): Part {
    const runs = items.map((item) => this.node(item).run)
    const run: Run = (frame) => {
      frame.budget.step(runs.length + 1)
      return runs.map((item) => item(frame))
    }
    return { kind: 'list', run, shown: this.show(node) }
  }

  private map(entries: readonly (readonly [ASTNode, ASTNode])[], node: ASTNode): Part {
    const known = new Set<string>()
    const parts = entries.map(([keyNode, valueNode]) => {
      const key = this.node(keyNode)
      if (key.kind !== 'string' && key.kind !== 'dyn') {
        throw new Refusal(
          `the key ${key.shown} is ${a(key.kind)}; the keys of a map are strings`,
          keyNode.pos,
        )
      }
      if (typeof key.literal === 'string') {
        if (known.has(key.literal)) throw new Refusal(`the key ${key.shown} stands twice`, keyNode.pos)
        known.add(key.literal)
      }
      return { key, value: this.node(valueNode).run }
    })
    const run: Run = (frame) => {
      frame.budget.step(parts.length + 1)
      const map = emptyMap()
      for (const { key, value } of parts) {
        const name = key.run(frame)
        if (typeof name !== 'string') throw mismatch('a key of a map', [key, name], 'string')
        frame.budget.read(name.length)
        if (Object.hasOwn(map, name)) throw new Fault(`the key ${quote(name)} stands twice in a map`)
        map[name] = value(frame)
      }
      return map
    }
    return { kind: 'map', run, shown: this.show(node) }
  }

  private conditional(
    [testNode, yesNode, noNode]: readonly [ASTNode, ASTNode, ASTNode],
    node: ASTNode,
  ): Part {
    const test = this.expect(testNode, 'bool', 'what stands before "?"')
    const yes = this.node(yesNode)
    const no = this.node(noNode)
    const run: Run = (frame) => {
      frame.budget.step()
      return this.truth(test, frame, 'what stands before "?"') ? yes.run(frame) : no.run(frame)
    }
    return { kind: yes.kind === no.kind ? yes.kind : 'dyn', run, shown: this.show(node) }
  }

  /** `a || b` is decided by a true, `a && b` by a false, whichever side has it. */
  private logical([leftNode, rightNode]: Pair, decides: boolean, node: ASTNode): Part {
    const role = decides ? 'a side of "||"' : 'a side of "&&"'
    const left = this.expect(leftNode, 'bool', role)
    const right = this.expect(rightNode, 'bool', role)
    const run: Run = (frame) => {
      frame.budget.step()
      const first = attempt(() => this.truth(left, frame, role), frame.budget)
      if (first === decides) return decides
      const second = this.truth(right, frame, role)
      if (second !== decides && first instanceof Fault) throw first
      return second
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private not(operandNode: ASTNode, node: ASTNode): Part {
    const operand = this.expect(operandNode, 'bool', 'what follows "!"')
    const run: Run = (frame) => {
      frame.budget.step()
      return !this.truth(operand, frame, 'what follows "!"')
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private negation(operandNode: ASTNode, node: ASTNode): Part {
    const operand = this.expect(operandNode, 'number', 'what follows "-"')
    const { literal } = operand
    if (typeof literal === 'number') return this.constant(literal === 0 ? 0 : -literal, node)
    const run: Run = (frame) => {
      frame.budget.step()
      const value = operand.run(frame)
      if (typeof value !== 'number') throw mismatch('what follows "-"', [operand, value], 'number')
      return value === 0 ? 0 : -value
    }
    return { kind: 'number', run, shown: this.show(node) }
  }

  private equality([leftNode, rightNode]: Pair, equal: boolean, node: ASTNode): Part {
    const left = this.node(leftNode)
    const right = this.node(rightNode)
    const differ = left.kind !== right.kind && ![left.kind, right.kind].some(isOpenKind)
    if (differ) throw new Refusal(`${a(left.kind)} is never equal to ${a(right.kind)}`, node.pos)
    const run: Run = (frame) => same(left.run(frame), right.run(frame), frame.budget) === equal
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private comparison([leftNode, rightNode]: Pair, op: '<' | '<=' | '>' | '>=', node: ASTNode): Part {
    const left = this.node(leftNode)
    const right = this.node(rightNode)
    this.admit(op, [left, right], ['number', 'string'], node)
    const run: Run = (frame) => {
      frame.budget.step()
      const first = left.run(frame)
      const second = right.run(frame)
      if (typeof first === 'number' && typeof second === 'number') return compare(first, second, op)
      if (typeof first !== 'string' || typeof second !== 'string') {
        throw cannot(op, [left, first], [right, second])
      }
      frame.budget.read(Math.min(first.length, second.length))
      return compare(first, second, op)
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private membership([itemNode, ownerNode]: Pair, node: ASTNode): Part {
    const item = this.node(itemNode)
    const owner = this.node(ownerNode)
    const isOwner = owner.kind === 'list' || owner.kind === 'map' || owner.kind === 'dyn'
    if (!isOwner)
      throw new Refusal(`"${owner.shown}" is ${a(owner.kind)}; "in" looks into lists and maps`, node.pos)
    if (owner.kind === 'map' && item.kind !== 'string' && item.kind !== 'dyn') {
      throw new Refusal(`the keys of a map are strings, and ${item.shown} is ${a(item.kind)}`, node.pos)
    }
    const run: Run = (frame) => {
      frame.budget.step()
      const value = item.run(frame)
      const values = owner.run(frame)
      if (isList(values)) return values.some((candidate) => same(candidate, value, frame.budget))
      if (isMap(values) && typeof value === 'string') {
        frame.budget.read(value.length)
        return Object.hasOwn(values, value)
      }
      throw cannot('in', [item, value], [owner, values])
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private sum([leftNode, rightNode]: Pair, node: ASTNode): Part {
    const left = this.node(leftNode)
    const right = this.node(rightNode)
    const kind = this.admit('+', [left, right], ['number', 'string', 'list'], node)
    const shown = this.show(node)
    const run: Run = (frame) => {
      frame.budget.step()
      const first = left.run(frame)
      const second = right.run(frame)
      if (typeof first === 'number' && typeof second === 'number') return calculate('+', first, second, shown)
      if (typeof first === 'string' && typeof second === 'string') {
        frame.budget.read(first.length + second.length)
        return first + second
      }
      if (!isList(first) || !isList(second)) throw cannot('+', [left, first], [right, second])
      frame.budget.step(first.length + second.length)
      return [...first, ...second]
    }
    return { kind, run, shown }
  }

  private arithmetic([leftNode, rightNode]: Pair, op: '-' | '*' | '/' | '%', node: ASTNode): Part {
    const left = this.node(leftNode)
    const right = this.node(rightNode)
    this.admit(op, [left, right], ['number'], node)
    const shown = this.show(node)
    const run: Run = (frame) => {
      frame.budget.step()
      const first = left.run(frame)
      const second = right.run(frame)
      if (typeof first === 'number' && typeof second === 'number') return calculate(op, first, second, shown)
      throw cannot(op, [left, first], [right, second])
    }
    return { kind: 'number', run, shown }
  }

  private call(node: Call): Part {
    const [name, args] = node.args
    if (name === 'has') return this.has(args, node)
    return this.apply(name, FUNCTIONS.get(name), args, 'function', node)
  }

  private method(node: MethodCall): Part {
    const [name, receiver, args] = node.args
    if (receiver.op === 'id' && receiver.args === 'cel' && name === 'bind') return this.bind(args, node)
    if (name === 'map' && args.length === 3) return this.transform(receiver, args, node)
    const macro = args.length === 2 ? name : ''
    switch (macro) {
      case 'all':
        return this.quantifier(receiver, args, false, node)
      case 'exists':
        return this.quantifier(receiver, args, true, node)
      case 'exists_one':
        return this.existsOne(receiver, args, node)
      case 'filter':
        return this.filter(receiver, args, node)
      case 'map':
        return this.transform(receiver, args, node)
      default:
        return this.apply(name, METHODS.get(name), [receiver, ...args], 'method', node)
    }
  }

  private apply(
    name: string,
    overloads: readonly Operation[] | undefined,
    argNodes: readonly ASTNode[],
    what: 'function' | 'method',
    node: ASTNode,
  ): Part {
    if (overloads === undefined) {
      const names = what === 'function' ? [...FUNCTIONS.keys(), 'has'] : [...METHODS.keys(), ...MACROS]
      throw new Refusal(`unknown ${what} "${cut(name)}"; there are ${names.join(', ')}`, node.pos)
    }
    const args = argNodes.map((arg) => this.node(arg))
    const operation = overloads.find(({ takes }) => takes.length === args.length)
    if (operation === undefined) {
      const given = what === 'function' ? args.length : args.length - 1
      throw new Refusal(`${name}() does not take ${given} argument${given === 1 ? '' : 's'}`, node.pos)
    }
    operation.takes.forEach((kinds, index) => {
      const arg = args[index]
      if (arg === undefined || arg.kind === 'dyn' || kinds.includes(arg.kind)) return
      const expected = kinds.map(a).join(' or ')
      throw new Refusal(`${name}() got ${a(arg.kind)}, ${arg.shown}; expected ${expected}`, node.pos)
    })
    const pattern = name === 'matches' ? this.pattern(args[1], node) : new Pattern()
    const run: Run = (frame) => {
      frame.budget.step()
      const values = args.map((arg) => arg.run(frame))
      operation.takes.forEach((kinds, index) => {
        const arg = args[index]
        const value = values[index]
        if (arg === undefined || value === undefined || kinds.includes(kindOf(value))) return
        throw mismatch(`what ${name}() gets`, [arg, value], ...kinds)
      })
      return operation.run(values, frame.budget, pattern)
    }
    return { kind: operation.gives, run, shown: this.show(node) }
  }

  /** A pattern that stands in the source is compiled at once, so that its fault is told at once. */
  private pattern(arg: Part | undefined, node: ASTNode): Pattern {
    const pattern = new Pattern()
    if (typeof arg?.literal === 'string') {
      try {
        pattern.prepare(arg.literal)
      } catch (error) {
        throw new Refusal(detailOf(error), node.pos)
      }
    }
    return pattern
  }

  private has(args: readonly ASTNode[], node: ASTNode): Part {
    const [arg] = args
    if (args.length !== 1 || arg === undefined || (arg.op !== '.' && arg.op !== '[]')) {
      throw new Refusal('has() asks for one member, as in has(input.name)', node.pos)
    }
    const selections: Selection[] = []
    let owner: ASTNode = arg
    while (owner.op === '.' || owner.op === '[]') {
      selections.unshift(owner)
      owner = owner.args[0]
    }
    const root = this.node(owner)
    // Only the root is known: what is inside may be anything.
    const keys = selections.map((each, depth) =>
      this.key(depth === 0 ? root : { ...root, kind: 'dyn' }, each),
    )
    const run: Run = (frame) => {
      let value: Json | undefined = root.run(frame)
      for (const key of keys) {
        frame.budget.step()
        value = value === undefined ? undefined : lookUp(value, key.run(frame))
      }
      return value !== undefined
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private bind(args: readonly ASTNode[], node: ASTNode): Part {
    const [nameNode, valueNode, bodyNode] = args
    if (args.length !== 3 || valueNode === undefined || bodyNode === undefined) {
      throw new Refusal('cel.bind() takes a name, a value and an expression', node.pos)
    }
    const value = this.node(valueNode)
    const { slot, body } = this.within(nameNode, value.kind, bodyNode, node)
    const run: Run = (frame) => {
      frame.budget.step()
      frame.locals[slot] = value.run(frame)
      return body.run(frame)
    }
    return { kind: body.kind, run, shown: this.show(node) }
  }

  private quantifier(ownerNode: ASTNode, args: readonly ASTNode[], decides: boolean, node: ASTNode): Part {
    const owner = this.node(ownerNode)
    const { slot, body, role } = this.loop(owner, args, 'bool', node)
    const run: Run = (frame) => {
      let fault: Fault | undefined
      for (const item of itemsOf(owner, frame)) {
        frame.budget.step()
        frame.locals[slot] = item
        const found = attempt(() => this.truth(body, frame, role), frame.budget)
        if (found === decides) return decides
        if (found instanceof Fault) fault ??= found
      }
      if (fault !== undefined) throw fault
      return !decides
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private existsOne(ownerNode: ASTNode, args: readonly ASTNode[], node: ASTNode): Part {
    const owner = this.node(ownerNode)
    const { slot, body, role } = this.loop(owner, args, 'bool', node)
    const run: Run = (frame) => {
      let count = 0
      for (const item of itemsOf(owner, frame)) {
        frame.budget.step()
        frame.locals[slot] = item
        if (this.truth(body, frame, role)) count++
      }
      return count === 1
    }
    return { kind: 'bool', run, shown: this.show(node) }
  }

  private filter(ownerNode: ASTNode, args: readonly ASTNode[], node: ASTNode): Part {
    const owner = this.node(ownerNode)
    const { slot, body, role } = this.loop(owner, args, 'bool', node)
    const run: Run = (frame) => {
      const kept: Json[] = []
      for (const item of itemsOf(owner, frame)) {
        frame.budget.step()
        frame.locals[slot] = item
        if (this.truth(body, frame, role)) kept.push(item)
      }
      return kept
    }
    return { kind: 'list', run, shown: this.show(node) }
  }

  /** `map(x, made)` and `map(x, kept, made)`. */
  private transform(ownerNode: ASTNode, args: readonly ASTNode[], node: ASTNode): Part {
    const owner = this.node(ownerNode)
    const test = args.length === 3 ? this.loop(owner, args.slice(0, 2), 'bool', node) : undefined
    const { slot, body } = this.loop(owner, [args[0], args.at(-1)], 'dyn', node)
    const run: Run = (frame) => {
      const made: Json[] = []
      for (const item of itemsOf(owner, frame)) {
        frame.budget.step()
        frame.locals[slot] = item
        if (test === undefined || this.truth(test.body, frame, test.role)) made.push(body.run(frame))
      }
      return made
    }
    return { kind: 'list', run, shown: this.show(node) }
  }

  private loop(
    owner: Part,
    [nameNode, bodyNode]: readonly (ASTNode | undefined)[],
    wants: 'bool' | 'dyn',
    node: ASTNode,
  ): { slot: number; body: Part; role: string } {
    if (owner.kind !== 'dyn' && owner.kind !== 'list' && owner.kind !== 'map') {
      throw new Refusal(`"${owner.shown}" is ${a(owner.kind)}; expected a list or a map`, node.pos)
    }
    if (bodyNode === undefined) throw new Refusal('a variable and an expression are needed', node.pos)
    const { slot, body } = this.within(nameNode, owner.kind === 'map' ? 'string' : 'dyn', bodyNode, node)
    const role = 'the condition on each item'
    if (wants === 'bool' && body.kind !== 'bool' && body.kind !== 'dyn') {
      throw new Refusal(`${role}, ${body.shown}, is ${a(body.kind)}; expected true or false`, bodyNode.pos)
    }
    return { slot, body, role }
  }

  /** Compiles `bodyNode` with one more variable. */
  private within(
    nameNode: ASTNode | undefined,
    kind: Kind,
    bodyNode: ASTNode,
    node: ASTNode,
  ): { slot: number; body: Part } {
    if (nameNode?.op !== 'id')
      throw new Refusal('a name for the variable is needed', nameNode?.pos ?? node.pos)
    const slot = this.locals.push({ name: nameNode.args, kind }) - 1
    const body = this.node(bodyNode)
    this.locals.pop()
    return { slot, body }
  }

  private expect(node: ASTNode, kind: 'bool' | 'number', role: string): Part {
    const part = this.node(node)
    if (part.kind !== kind && part.kind !== 'dyn') {
      throw new Refusal(`${role}, ${part.shown}, is ${a(part.kind)}; expected ${a(kind)}`, node.pos)
    }
    return part
  }

  /** The kind of both operands, where an operator takes two of one kind. */
  private admit(
    op: string,
    [left, right]: readonly [Part, Part],
    kinds: readonly Kind[],
    node: ASTNode,
  ): Kind {
    const known = [left.kind, right.kind].filter((kind) => kind !== 'dyn')
    const [kind = 'dyn'] = known
    const fits = known.every((each) => each === kind && kinds.includes(each))
    if (fits) return kind
    const hint =
      op === '+' && known.includes('string') && !known.includes('list') ? '; write string(…) around it' : ''
    throw new Refusal(`"${op}" does not take ${a(left.kind)} and ${a(right.kind)}${hint}`, node.pos)
  }

  private truth(part: Part, frame: Frame, role: string): boolean {
    const value = part.run(frame)
    if (typeof value !== 'boolean') throw mismatch(role, [part, value], 'bool')
    return value
  }

  private show(node: ASTNode): string {
    return cut(this.source.slice(node.start, node.end).replaceAll(/\s+/g, ' '))
  }
}

function memberOf(target: Part, key: string, frame: Frame): Json {
  frame.budget.step()
  const owner = target.run(frame)
  frame.budget.read(key.length)
  const member = lookUp(owner, key)
  if (member !== undefined) return member
  if (isMap(owner)) throw new Fault(`"${target.shown}" has no key ${quote(key)}`)
  throw new Fault(`"${target.shown}" is ${a(kindOf(owner))}, which has no key ${quote(key)}`)
}

function itemOf(target: Part, index: Json, frame: Frame): Json {
  frame.budget.step()
  const owner = target.run(frame)
  const item = lookUp(owner, index)
  if (item !== undefined) return item
  if (isList(owner) && typeof index === 'number') {
    throw new Fault(`"${target.shown}" has ${count(owner.length, 'item')}, and no item ${index}`)
  }
  throw new Fault(`"${target.shown}" is ${a(kindOf(owner))}, which is not looked into by ${a(kindOf(index))}`)
}

/** The items of a list, the keys of a map. */
function itemsOf(owner: Part, frame: Frame): readonly Json[] {
  frame.budget.step()
  const value = owner.run(frame)
  if (isList(value)) return value
  if (!isMap(value)) throw mismatch('what is looked through', [owner, value], 'list', 'map')
  return keysOf(value, frame.budget)
}

function mismatch(role: string, [part, value]: readonly [Part, Json], ...kinds: readonly Kind[]): Fault {
  return new Fault(`${role}, ${part.shown}, is ${a(kindOf(value))}; expected ${kinds.map(a).join(' or ')}`)
}

function cannot(
  op: string,
  [left, first]: readonly [Part, Json],
  [right, second]: readonly [Part, Json],
): Fault {
  const found = `${left.shown} is ${a(kindOf(first))} and ${right.shown} is ${a(kindOf(second))}`
  return new Fault(`"${op}" does not take these: ${found}`)
}

function isOpenKind(kind: Kind): boolean {
  return kind === 'dyn' || kind === 'null'
}

function isKeyKind(kind: Kind): boolean {
  return kind === 'string' || kind === 'number'
}
