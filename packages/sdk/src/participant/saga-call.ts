import type { Direction } from '@backstitch/core'
import { StepRejected } from '../outcomes.ts'

/** Which step of which saga asks for what: all that the barrier needs. What a handler is given is one, too. */
export type SagaCall = {
  readonly sagaId: string
  readonly step: string
  readonly direction: Direction
  /** `<sagaId>:<step>:<direction>:<generation>`: the same for every attempt, until an operator edits the input (S30a). */
  readonly idempotencyKey: string
}

/** Node's, Fastify's and Express's `request.headers`, or those of a `fetch` request. */
export type SagaHeaders =
  | { readonly [lowerCaseName: string]: string | readonly string[] | undefined }
  | { get: (name: string) => string | null }

const SHAPES = {
  'saga-id': { pattern: /^[\x21-\x7e]{1,200}$/, expected: '1 to 200 visible ASCII characters' },
  'saga-step': { pattern: /^[A-Za-z][A-Za-z0-9_-]{0,63}$/, expected: 'the name of a step' },
  'saga-direction': { pattern: /^(?:action|compensation)$/, expected: '"action" or "compensation"' },
  'idempotency-key': { pattern: /^[\x21-\x7e]{1,400}$/, expected: '<saga>:<step>:<direction>:<generation>' },
} as const

/** From the headers that every call of a saga carries (S36). Throws a StepRejected that names the header it does not like. */
export function sagaCallOf(headers: SagaHeaders): SagaCall {
  const call: SagaCall = {
    sagaId: headerOf(headers, 'saga-id'),
    step: headerOf(headers, 'saga-step'),
    direction: headerOf(headers, 'saga-direction') === 'action' ? 'action' : 'compensation',
    idempotencyKey: headerOf(headers, 'idempotency-key'),
  }
  generationOf(call)
  return call
}

/** From 1. It is raised when an operator edits the step's input; all else in the key must agree with the call. */
export function generationOf({ sagaId, step, direction, idempotencyKey }: SagaCall): number {
  const head = `${sagaId}:${step}:${direction}:`
  const generation = idempotencyKey.startsWith(head) ? idempotencyKey.slice(head.length) : ''
  if (/^[1-9][0-9]{0,8}$/.test(generation)) return Number(generation)
  throw notASagaCall(`the idempotency key is "${idempotencyKey}", expected "${head}" and a number from 1`)
}

function headerOf(headers: SagaHeaders, name: keyof typeof SHAPES): string {
  const value = headerValue(headers, name)
  const { pattern, expected } = SHAPES[name]
  if (value === undefined) throw notASagaCall(`there is no header "${name}", expected ${expected}`)
  if (pattern.test(value)) return value
  throw notASagaCall(`the header "${name}" is "${value}", expected ${expected}`)
}

/** Undefined if it is not there; one that came twice is both, by a comma. */
export function headerValue(headers: SagaHeaders, name: string): string | undefined {
  if (typeof headers.get === 'function') return headers.get(name) ?? undefined
  const value: unknown = Reflect.get(headers, name)
  return typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ') : undefined
}

function notASagaCall(why: string): StepRejected {
  return new StepRejected(`not the call of a saga: ${why}`, { code: 'NOT_A_SAGA_CALL' })
}
