import type { Definition } from './definition.ts'
import type { AttemptError, Outcome } from './event.ts'
import { type Json, sanitizeText } from './json.ts'
import { MAX_ERROR_BYTES } from './limits.ts'
import type { Direction } from './state.ts'

/**
 * What lies between those who write handlers (sdk) and those who run them (engine): the call, the functions, and how
 * something thrown is read. Neither of the two imports the other.
 */

declare global {
  /** Only named here, since core has no platform types; where they are there, this is the same AbortSignal. */
  interface AbortSignal {}
}

/** What a handler is told about the attempt it carries out (S11, S36). */
export type HandlerCall = {
  sagaId: string
  definition: { name: string; version: number }
  step: string
  direction: Direction
  /** From 1. A handler may see one number twice: a lost lease uses up no attempt (S17b). */
  attempt: number
  /** The same for every attempt of this step in this direction (S2). */
  idempotencyKey: string
  correlationId: string | undefined
  /** W3C trace context. */
  traceparent: string
  /** The saga's start input, as it is stored. */
  input: Json
  /** Results of completed steps by name, and `input`. */
  context: Readonly<Record<string, Json>>
  /** A compensation's: the result of the action it undoes, if the action is known to have succeeded. */
  result: Json | undefined
  /** A compensation's: why the saga turned round. */
  failure: { step: string | undefined; reason: string } | undefined
  /** Fires when the time-out passes or the lease is lost; then nothing the handler returns counts any more. */
  signal: AbortSignal
}

/** Returns the result, or a promise of it. What it returns is checked to be JSON; what it throws is read by `failureOf`. */
export type Handler = (call: HandlerCall) => unknown

/** A definition with the functions its handler steps name: what a worker is given. */
export type SagaModule = {
  readonly definition: Definition
  readonly handlers: ReadonlyMap<string, { readonly [direction in Direction]?: Handler }>
}

export function handlerOf(saga: SagaModule, step: string, direction: Direction): Handler | undefined {
  return saga.handlers.get(step)?.[direction]
}

/**
 * The property by which an error says what became of the step: 'rejected', 'failed' or 'uncertain'. A registered symbol
 * and not a class, so that it is recognised across copies of a module.
 */
export const OUTCOME: unique symbol = Symbol.for('backstitch.outcome')

export type AttemptFailure = {
  outcome: Exclude<Outcome, 'succeeded'>
  error: AttemptError
  retryAfterMs?: number
}

/**
 * What something thrown by a handler means. Without a mark of its own it is `failed`. Whatever was thrown, this does not
 * throw, and its texts can be stored (S31).
 */
export function failureOf(thrown: unknown): AttemptFailure {
  const outcome = outcomeOf(thrown)
  const code = read(thrown, 'code')
  const retryAfterMs = read(thrown, 'retryAfterMs')
  const hasCode = typeof code === 'string' && /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/.test(code)
  return {
    outcome: outcome ?? 'failed',
    error: {
      code: hasCode ? code : DEFAULT_CODES[outcome ?? 'unmarked'],
      message: sanitizeText(describe(thrown, outcome !== undefined), MAX_ERROR_BYTES),
    },
    ...(isDuration(retryAfterMs) && { retryAfterMs }),
  }
}

const DEFAULT_CODES = {
  rejected: 'REJECTED',
  failed: 'FAILED',
  uncertain: 'UNCERTAIN',
  unmarked: 'HANDLER_ERROR',
} as const

/** How many causes a message tells: `fetch failed` says nothing, and its cause says all. */
const MAX_CAUSES = 3

function outcomeOf(thrown: unknown): AttemptFailure['outcome'] | undefined {
  const mark = read(thrown, OUTCOME)
  return mark === 'rejected' || mark === 'failed' || mark === 'uncertain' ? mark : undefined
}

/** The sentence for a person. A marked error was written for one; of any other its class is told, too. */
function describe(thrown: unknown, isMarked: boolean): string {
  const parts = [sentenceOf(thrown, !isMarked)]
  let cause = read(thrown, 'cause')
  for (let depth = 0; depth < MAX_CAUSES && cause !== undefined && cause !== null; depth++) {
    const sentence = sentenceOf(cause, false)
    if (!parts.some((part) => part.includes(sentence))) parts.push(sentence)
    cause = read(cause, 'cause')
  }
  return parts.join(': ')
}

function sentenceOf(thrown: unknown, withName: boolean): string {
  if (typeof thrown !== 'object' || thrown === null) return textOf(thrown)
  const [name, message, code] = [read(thrown, 'name'), read(thrown, 'message'), read(thrown, 'code')]
  // Node's AggregateError for a refused connection has a code and no message.
  const said = [message, code, name].find((text) => typeof text === 'string' && text !== '')
  if (typeof said !== 'string') return 'an object without a message was thrown'
  return withName && typeof name === 'string' && name !== '' && name !== 'Error' && said !== name
    ? `${name}: ${said}`
    : said
}

/** A property of something foreign, whose getters and proxies run their author's code. */
function read(owner: unknown, key: PropertyKey): unknown {
  if (typeof owner !== 'object' || owner === null) return undefined
  try {
    return Reflect.get(owner, key)
  } catch {
    return undefined
  }
}

function textOf(thrown: unknown): string {
  if (typeof thrown === 'string' && thrown !== '') return thrown
  return typeof thrown === 'function'
    ? 'a function was thrown'
    : `${typeof thrown} was thrown: ${String(thrown)}`
}

function isDuration(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}
