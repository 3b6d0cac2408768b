import type { HttpProbe } from './definition.ts'
import { compileExpression, type Expression, evaluate, type Scope, type Values } from './expression.ts'
import type { Json, JsonProblem } from './json.ts'
import { compileRequest, type RequestTemplate } from './request.ts'
import { compileTemplate, references, render, type Template } from './template.ts'

/**
 * Asking a participant what became of an attempt whose outcome is uncertain, and reading its answer.
 *
 * 1. `happened` makes the attempt succeed. `willNotHappen` withdraws its uncertainty: it is a promise, that nothing sent so
 *    far under the key has happened and that nothing still on its way will. Everything else proves nothing.
 * 2. That something is not there (404) is no such promise: the request may arrive after the answer has left.
 * 3. Only a whole answer with a status from 200 to 299, or from 400 to 499 but for 408, 425 and 429, is read at all.
 */
export type Probe = {
  call: HttpProbe
  request: RequestTemplate
  timeoutMs: number
  happened: Expression | undefined
  willNotHappen: Expression | undefined
  result: Template | undefined
}

export type Finding =
  | { answer: 'happened'; result: Json }
  | { answer: 'willNotHappen' }
  | { answer: 'unknown'; why: string }

const DEFAULT_PROBE_TIMEOUT_MS = 10_000

type CompiledProbe = { ok: true; probe: Probe; context: string[] } | { ok: false; problems: JsonProblem[] }

/** @param pointer to the probe in its definition */
export function compileProbe(call: HttpProbe, scope: Scope, pointer: string): CompiledProbe {
  const withAnswer: Scope = { ...scope, answer: 'map' }
  const request = compileRequest(call, scope, pointer)
  const problems = request.ok ? [] : request.problems
  const context = request.ok ? request.context : []

  function condition(field: 'happened' | 'willNotHappen'): Expression | undefined {
    const source = call[field]
    if (source === undefined) return undefined
    const compiled = compileExpression(source, withAnswer, 'bool')
    if (!compiled.ok) {
      problems.push({ pointer: `${pointer}/${field}`, detail: compiled.detail })
      return undefined
    }
    context.push(...compiled.expression.context)
    return compiled.expression
  }

  const happened = condition('happened')
  const willNotHappen = condition('willNotHappen')
  const compiled =
    call.result === undefined ? undefined : compileTemplate(call.result, withAnswer, `${pointer}/result`)
  if (compiled?.ok === false) problems.push(...compiled.problems)
  const result = compiled?.ok === true ? compiled.template : undefined
  if (result !== undefined) context.push(...references(result).context)
  if (!request.ok || problems.length > 0) return { ok: false, problems }
  const timeoutMs = call.timeoutMs ?? DEFAULT_PROBE_TIMEOUT_MS
  const probe = { call, request: request.request, timeoutMs, happened, willNotHappen, result }
  return { ok: true, probe, context: [...new Set(context)] }
}

/** What a participant's answer says. `body` is null unless the status is 2xx and it was JSON. Never throws. */
export function readProbe(probe: Probe, answer: { status: number; body: Json }, values: Values): Finding {
  const { status, body } = answer
  if (!isReadable(status)) return unknown(`it answered ${status}`)
  const scope: Values = { ...values, answer: { status, body } }
  const happened = holds(probe.happened, scope, isSuccess(status) && outcomeIn(body) === 'happened')
  const willNot = holds(probe.willNotHappen, scope, isSuccess(status) && outcomeIn(body) === 'willNotHappen')
  if (typeof happened === 'string') return unknown(`happened: ${happened}`)
  if (typeof willNot === 'string') return unknown(`willNotHappen: ${willNot}`)
  if (happened && willNot) return unknown('the answer says both that it happened and that it will not')
  if (willNot) return { answer: 'willNotHappen' }
  if (!happened) return unknown(`it answered ${status}, which does not say what became of it`)
  if (probe.result === undefined) {
    return {
      answer: 'happened',
      result: probe.happened === undefined ? (memberOf(body, 'result') ?? null) : body,
    }
  }
  const result = render(probe.result, scope)
  return result.ok
    ? { answer: 'happened', result: result.value }
    : unknown(`${result.pointer}: ${result.detail}`)
}

function isReadable(status: number): boolean {
  return isSuccess(status) || (status >= 400 && status < 500 && ![408, 425, 429].includes(status))
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300
}

function holds(condition: Expression | undefined, scope: Values, standard: boolean): boolean | string {
  if (condition === undefined) return standard
  const verdict = evaluate(condition, scope)
  return verdict.ok ? verdict.value === true : verdict.detail
}

function outcomeIn(body: Json): Json | undefined {
  return memberOf(body, 'outcome')
}

function memberOf(body: Json, key: string): Json | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined
  return Object.entries(body).find(([name]) => name === key)?.[1]
}

function unknown(why: string): Finding {
  return { answer: 'unknown', why }
}
