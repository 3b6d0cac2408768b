import { type ASTNode, Environment, ParseError } from '@marcbachmann/cel-js'
import { sanitizeText } from './json.ts'

/** From the source of an expression to its tree, and from the library's complaints to sentences. */

/** UTF-16 units of one expression. */
export const MAX_SOURCE = 4096
/** Operators, calls, literals and names in one expression. */
const MAX_NODES = 1000
/** Brackets, calls and conditionals inside each other. */
const MAX_NESTING = 48
const MAX_LITERAL_ITEMS = 200
const MAX_ARGUMENTS = 8

/** An expression that cannot be meant, and where. */
export class Refusal extends Error {
  readonly offset: number | undefined
  constructor(detail: string, offset?: number) {
    super(detail)
    this.offset = offset
  }
}

/** The library keeps every unknown name it is asked for, so it is replaced now and then. */
const GRAMMAR_LIFE = 1000
let grammar: Environment | undefined
let parsed = 0

export function parse(source: string): ASTNode {
  if (grammar === undefined || ++parsed > GRAMMAR_LIFE) {
    parsed = 0
    const limits = {
      maxAstNodes: MAX_NODES,
      maxDepth: MAX_NESTING,
      maxListElements: MAX_LITERAL_ITEMS,
      maxMapEntries: MAX_LITERAL_ITEMS,
      maxCallArguments: MAX_ARGUMENTS,
    }
    // A function of its own gives it a table of its own, which goes when it goes. No expression can call it.
    grammar = new Environment({ limits }).registerFunction('ownTable(int): int', () => 0n)
  }
  return grammar.parse(source).ast
}

const TOKENS: ReadonlyMap<string, string> = new Map([
  ['EOF', 'the end'],
  ['NUMBER', 'a number'],
  ['STRING', 'a string'],
  ['BYTES', 'bytes'],
  ['BOOLEAN', 'true or false'],
  ['NULL', 'null'],
  ['IDENTIFIER', 'a name'],
  ['PLUS', '"+"'],
  ['MINUS', '"-"'],
  ['MULTIPLY', '"*"'],
  ['DIVIDE', '"/"'],
  ['MODULO', '"%"'],
  ['EQ', '"=="'],
  ['NE', '"!="'],
  ['LT', '"<"'],
  ['LE', '"<="'],
  ['GT', '">"'],
  ['GE', '">="'],
  ['AND', '"&&"'],
  ['OR', '"||"'],
  ['NOT', '"!"'],
  ['IN', '"in"'],
  ['LPAREN', '"("'],
  ['RPAREN', '")"'],
  ['LBRACKET', '"["'],
  ['RBRACKET', '"]"'],
  ['LBRACE', '"{"'],
  ['RBRACE', '"}"'],
  ['DOT', '"."'],
  ['COMMA', '","'],
  ['COLON', '":"'],
  ['QUESTION', '"?"'],
])

const LIMITS: ReadonlyMap<string, string> = new Map([
  ['maxAstNodes', `has more than ${MAX_NODES} parts`],
  ['maxDepth', `is nested more than ${MAX_NESTING} levels deep`],
  ['maxListElements', `has a list of more than ${MAX_LITERAL_ITEMS} items written out`],
  ['maxMapEntries', `has a map of more than ${MAX_LITERAL_ITEMS} keys written out`],
  ['maxCallArguments', `has a call with more than ${MAX_ARGUMENTS} arguments`],
])

export function refusalOf(error: unknown, source: string): { detail: string; offset?: number | undefined } {
  if (error instanceof Refusal) return { detail: error.message, offset: error.offset }
  if (error instanceof ParseError) {
    const offset = error.range?.start
    return { detail: sanitizeText(syntaxDetail(error.code, error.summary, source, offset), 500), offset }
  }
  return { detail: 'the expression is too deep to be read' }
}

function syntaxDetail(code: string, summary: string, source: string, offset: number | undefined): string {
  if (code === 'limit_exceeded') {
    const [, limit = ''] = /^Exceeded (\w+)/.exec(summary) ?? []
    return `the expression ${LIMITS.get(limit) ?? 'is too large'}`
  }
  if (code === 'unexpected_character' && offset !== undefined) {
    const found = String.fromCodePoint(source.codePointAt(offset) ?? 0)
    if (found === '=') return 'found "="; write "==" to compare'
    if (found === '&' || found === '|') return `found "${found}"; write "${found}${found}"`
    return `found ${JSON.stringify(found)}, expected the end or an operator`
  }
  const [, unexpected] = /^Unexpected token: (\w+)$/.exec(summary) ?? []
  if (unexpected !== undefined) return `found ${TOKENS.get(unexpected) ?? unexpected}, expected a value`
  const [, wanted, got] = /^Expected (\w+), got (\w+)$/.exec(summary) ?? []
  if (wanted !== undefined && got !== undefined) {
    const hint = wanted === 'IDENTIFIER' ? '; write other names as ["name"]' : ''
    return `found ${TOKENS.get(got) ?? got}, expected ${TOKENS.get(wanted) ?? wanted}${hint}`
  }
  return `${summary.charAt(0).toLowerCase()}${summary.slice(1)}`
}

export function placeOf(source: string, offset: number): string {
  const before = source.slice(0, offset).split('\n')
  const column = (before.at(-1) ?? '').length + 1
  return before.length === 1 ? `character ${column}` : `line ${before.length}, character ${column}`
}
