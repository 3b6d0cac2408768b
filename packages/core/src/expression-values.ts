import { type Json, sanitizeText } from './json.ts'

/** What expressions compute with: JSON, within a budget. Every number made here is finite, and none is `-0`. */

/** What is known of a value before there is one; `dyn` is what is found out when it is there. */
export type Kind = 'dyn' | 'null' | 'bool' | 'number' | 'string' | 'list' | 'map'

/** Operators applied and items looked at in one evaluation. */
export const MAX_STEPS = 200_000
/** UTF-16 units read and written in one evaluation; a regular expression reads its text once per instruction. */
export const MAX_TEXT = 4 * 1024 * 1024
/** What an error costs that is caught by `||`, `&&`, `all` or `exists`: they are slow to make. */
const FAULT_STEPS = 50

/** What went wrong while computing, as a sentence. */
export class Fault extends Error {}

export class OverBudget extends Fault {}

/** How much may still be done. One budget may serve several expressions, such as those of one document. */
export class Budget {
  private steps = MAX_STEPS
  private text = MAX_TEXT

  step(count = 1): void {
    this.steps -= count
    if (this.steps < 0) {
      throw new OverBudget(`takes more than ${MAX_STEPS} steps: it looks at too many items`)
    }
  }

  read(units: number): void {
    this.text -= units
    if (this.text < 0) {
      throw new OverBudget(`reads or writes more than ${MAX_TEXT} characters, counting what it repeats`)
    }
  }
}

/** What a caught error says to a person. */
export function detailOf(error: unknown): string {
  if (error instanceof Fault) return error.message
  // Whatever it is: most likely the stack, with a caller already deep in it.
  return 'cannot be computed: too deep or too large'
}

export type JsonMap = { readonly [key: string]: Json }

export const TOO_LARGE = 'beyond 2^53, where JSON numbers are no longer exact'

export function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value)
}

export function isMap(value: Json): value is JsonMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Without a prototype `__proto__` is a key like any other. */
export function emptyMap(): Record<string, Json> {
  return { __proto__: null }
}

export function kindOf(value: Json): Exclude<Kind, 'dyn'> {
  if (value === null) return 'null'
  if (typeof value === 'boolean') return 'bool'
  if (typeof value === 'number') return 'number'
  if (typeof value === 'string') return 'string'
  return isList(value) ? 'list' : 'map'
}

/** The member of that name or place, if there is one. */
export function lookUp(owner: Json, key: Json): Json | undefined {
  if (typeof key === 'string') return isMap(owner) && Object.hasOwn(owner, key) ? owner[key] : undefined
  if (typeof key !== 'number' || !Number.isSafeInteger(key) || key < 0) return undefined
  return isList(owner) ? owner[key] : undefined
}

export function keysOf(map: JsonMap, budget: Budget): string[] {
  const keys = Object.keys(map)
  budget.step(keys.length)
  return keys
}

/** Equal as JSON; the order of keys is none of its business. */
export function same(left: Json, right: Json, budget: Budget): boolean {
  budget.step()
  if (typeof left === 'string') {
    if (typeof right !== 'string' || left.length !== right.length) return false
    budget.read(left.length)
    return left === right
  }
  if (isList(left)) {
    if (!isList(right) || left.length !== right.length) return false
    return left.every((item, index) => same(item, right[index] ?? null, budget))
  }
  if (!isMap(left)) return left === right
  if (!isMap(right)) return false
  const keys = keysOf(left, budget)
  if (keys.length !== keysOf(right, budget).length) return false
  return keys.every((key) => {
    budget.read(key.length)
    return Object.hasOwn(right, key) && same(left[key] ?? null, right[key] ?? null, budget)
  })
}

export function compare<T extends number | string>(left: T, right: T, op: '<' | '<=' | '>' | '>='): boolean {
  switch (op) {
    case '<':
      return left < right
    case '<=':
      return left <= right
    case '>':
      return left > right
    case '>=':
      return left >= right
  }
}

export function calculate(
  op: '+' | '-' | '*' | '/' | '%',
  left: number,
  right: number,
  shown: string,
): number {
  if ((op === '/' || op === '%') && right === 0) throw new Fault(`"${shown}" divides by zero`)
  const value = unchecked(op, left, right)
  if (!Number.isFinite(value)) throw new Fault(`"${shown}" is too large for a number`)
  const mustBeExact = op !== '/' && Number.isSafeInteger(left) && Number.isSafeInteger(right)
  if (mustBeExact && !Number.isSafeInteger(value)) throw new Fault(`"${shown}" is ${TOO_LARGE}`)
  return value === 0 ? 0 : value
}

function unchecked(op: '+' | '-' | '*' | '/' | '%', left: number, right: number): number {
  switch (op) {
    case '+':
      return left + right
    case '-':
      return left - right
    case '*':
      return left * right
    case '/':
      return left / right
    case '%':
      return left % right
  }
}

/** What `make` gives, or the fault it ends in. Being over budget is no such fault: nothing survives it. */
export function attempt(make: () => boolean, budget: Budget): boolean | Fault {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof Fault) || error instanceof OverBudget) throw error
    budget.step(FAULT_STEPS)
    return error
  }
}

const IN_WORDS: Record<Kind, string> = {
  dyn: 'any value',
  null: 'null',
  bool: 'true or false',
  number: 'a number',
  string: 'a string',
  list: 'a list',
  map: 'a map',
}

export function a(kind: Kind): string {
  return IN_WORDS[kind]
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

export function cut(text: string): string {
  return sanitizeText(text, 120)
}

export function quote(key: string): string {
  return JSON.stringify(cut(key))
}
