import type { z } from 'zod'
import {
  Definition,
  isAct,
  isChild,
  isWait,
  MAX_DEFINITION_BYTES,
  placedSteps,
  type ResolvedStep,
  resolveDefinition,
  type Step,
} from './definition.ts'
import { ACTION_SCOPE, COMPENSATION_SCOPE, compileExpression, WHEN_SCOPE } from './expression.ts'
import { byteLength, type Json, type JsonProblem } from './json.ts'
import { compileProbe } from './probe.ts'
import { compileRequest } from './request.ts'
import { compileTemplate, references } from './template.ts'

/**
 * Checks a document that claims to be a definition (S27): what makes it impossible is a problem and refuses it; what is
 * merely odd is a warning and is returned with it. Both name the place by a JSON pointer.
 */

export type Checked =
  | { ok: true; definition: Definition; warnings: JsonProblem[] }
  | { ok: false; problems: JsonProblem[] }

export function checkDefinition(document: Json): Checked {
  const bytes = byteLength(JSON.stringify(document))
  if (bytes > MAX_DEFINITION_BYTES) {
    const detail = `the definition has ${bytes} bytes as JSON; the most is ${MAX_DEFINITION_BYTES}`
    return { ok: false, problems: [{ pointer: '', detail }] }
  }
  const parsed = Definition.safeParse(document)
  if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error) }
  const unreadable = expressionProblems(parsed.data)
  if (unreadable.length > 0) return { ok: false, problems: unreadable }
  const problems = impossible(parsed.data)
  if (problems.length > 0) return { ok: false, problems }
  return { ok: true, definition: parsed.data, warnings: odd(parsed.data) }
}

/** Turns zod's issues into places and sentences. Shared by everything that validates a document. */
export function problemsOf(error: Pick<z.ZodError, 'issues'>): JsonProblem[] {
  return error.issues.flatMap((issue): JsonProblem[] => {
    // A union told apart by a field has no shapes to choose from, and a message of its own.
    if (issue.code === 'invalid_union' && issue.errors.length > 0) {
      const issues = meant(issue.errors)
      return problemsOf({ issues: issues.map((one) => ({ ...one, path: [...issue.path, ...one.path] })) })
    }
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        pointer: pointerTo([...issue.path, key]),
        detail: 'unknown field; remove it or check its spelling',
      }))
    }
    return [{ pointer: pointerTo(issue.path), detail: issue.message }]
  })
}

/** Of the shapes a value could have had, the one it comes nearest to: the one that knows all its fields. */
function meant(shapes: z.core.$ZodIssue[][]): z.core.$ZodIssue[] {
  const knowsAll = shapes.find(
    (issues) => !issues.some(({ code, path }) => code === 'unrecognized_keys' && path.length === 0),
  )
  return knowsAll ?? shapes[0] ?? []
}

export function pointerTo(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/** Expressions that do not compile, or that ask about a step whose result cannot be there. */
function expressionProblems(definition: Definition): JsonProblem[] {
  const placed = placedSteps(definition)
  const names = placed.map(({ step }) => step.name)
  return placed.flatMap(({ step, group, path }) => {
    const at = pointerTo(path)
    const before = new Set(placed.filter((other) => other.group < group).map((other) => other.step.name))
    const problems: JsonProblem[] = []
    if (step.when !== undefined) {
      const compiled = compileExpression(step.when, WHEN_SCOPE, 'bool')
      if (compiled.ok) problems.push(...absent(compiled.expression.context, before, names, `${at}/when`))
      else problems.push({ pointer: `${at}/when`, detail: compiled.detail })
    }
    if (step.action.type === 'http') {
      const compiled = compileRequest(step.action, ACTION_SCOPE, `${at}/action`)
      problems.push(
        ...(compiled.ok ? absent(compiled.context, before, names, `${at}/action`) : compiled.problems),
      )
    }
    if (step.action.type === 'saga' && step.action.input !== undefined) {
      const pointer = `${at}/action/input`
      const compiled = compileTemplate(step.action.input, ACTION_SCOPE, pointer)
      if (compiled.ok) problems.push(...absent(references(compiled.template).context, before, names, pointer))
      else problems.push(...compiled.problems)
    }
    for (const direction of ['action', 'compensation'] as const) {
      const call = step[direction]
      if (call?.type !== 'http' || call.probe === undefined) continue
      const place = `${at}/${direction}/probe`
      const compiled = compileProbe(
        call.probe,
        direction === 'action' ? ACTION_SCOPE : COMPENSATION_SCOPE,
        place,
      )
      const there = direction === 'action' ? before : new Set(names)
      problems.push(...(compiled.ok ? absent(compiled.context, there, names, place) : compiled.problems))
    }
    if (step.compensation?.type === 'http') {
      const compiled = compileRequest(step.compensation, COMPENSATION_SCOPE, `${at}/compensation`)
      const any = new Set(names)
      problems.push(
        ...(compiled.ok ? absent(compiled.context, any, names, `${at}/compensation`) : compiled.problems),
      )
    }
    return problems
  })
}

function absent(
  read: readonly string[],
  there: ReadonlySet<string>,
  names: readonly string[],
  pointer: string,
): JsonProblem[] {
  return read
    .filter((name) => !there.has(name))
    .map((name) => ({
      pointer,
      detail: names.includes(name)
        ? `reads context.${name}, the result of a step that has not run by then`
        : `reads context.${name}, but there is no step "${name}"`,
    }))
}

/** Settings each of which is valid and that cannot go together. */
function impossible(definition: Definition): JsonProblem[] {
  const problems: JsonProblem[] = []
  const resolved = resolveDefinition(definition, 1)
  const placed = placedSteps(definition)
  const pivot = placed.findIndex(({ step }) => step.pivot === true)
  placed.forEach(({ step, path }, index) => {
    const at = pointerTo(path)
    problems.push(...waitProblems(step, at))
    if (step.pivot === true && index !== pivot) {
      const detail = `step "${placed[pivot]?.step.name}" is the pivot already; there is one at most`
      problems.push({ pointer: `${at}/pivot`, detail })
    }
    if (step.pivot === true && path.includes('parallel')) {
      const detail =
        'the pivot stands alone: while it runs, no other member may still fail; give it a place of its own'
      problems.push({ pointer: `${at}/pivot`, detail })
    }
    const { action, compensation } = resolved.steps[index] ?? {}
    const acts = [
      [step.retry && `${at}/retry`, action],
      [step.compensation?.retry && `${at}/compensation/retry`, compensation],
    ] as const
    for (const [own, act] of acts) {
      if (act === undefined || !isAct(act) || act.retry.maxDelayMs >= act.retry.initialDelayMs) continue
      const pointer = own ?? '/defaults/retry'
      const detail = `maxDelayMs (${act.retry.maxDelayMs}) is less than initialDelayMs (${act.retry.initialDelayMs}), counting the defaults`
      // One mistake in the defaults is one problem, however many steps have it from there.
      if (!problems.some((known) => known.pointer === pointer)) problems.push({ pointer, detail })
    }
    if (step.compensateWhen !== undefined && step.compensation === undefined) {
      problems.push({
        pointer: `${at}/compensateWhen`,
        detail: 'this step has no compensation, so this can have no effect',
      })
    }
    for (const direction of ['action', 'compensation'] as const) {
      const call = step[direction]
      if (call?.type === 'http' && call.method === 'GET' && call.body !== undefined) {
        problems.push({ pointer: `${at}/${direction}/body`, detail: 'a GET request has no body' })
      }
      if (call?.type === 'http' && call.probe?.method === 'GET' && call.probe.body !== undefined) {
        problems.push({ pointer: `${at}/${direction}/probe/body`, detail: 'a GET request has no body' })
      }
    }
  })
  return problems
}

/** What a step that no worker carries out cannot have, and what one that waits must have (S4, S7a). */
function waitProblems(step: Step, at: string): JsonProblem[] {
  const { type } = step.action
  const problems: JsonProblem[] = []
  const refuse = (field: string, detail: string) => problems.push({ pointer: `${at}/${field}`, detail })
  if (step.action.type === 'http' && step.action.completion === 'callback' && step.timeoutMs === undefined) {
    refuse('timeoutMs', 'missing; a step that waits for a callback says for how long')
  }
  if (
    step.compensation?.type === 'http' &&
    step.compensation.completion === 'callback' &&
    step.compensation.timeoutMs === undefined
  ) {
    refuse('compensation/timeoutMs', 'missing; a compensation that waits for a callback says for how long')
  }
  if (type === 'saga') {
    if (step.timeoutMs !== undefined) {
      refuse('timeoutMs', 'a saga has its own deadline (deadlineMs of its definition) or none; remove this')
    }
    if (step.retry !== undefined) refuse('retry', 'a saga ends once, and retries its own steps; remove this')
    if (step.compensateWhen !== undefined) {
      refuse('compensateWhen', 'a saga that did not complete has undone itself; remove this')
    }
  }
  if (type !== 'delay' && type !== 'signal') return problems
  if (step.retry !== undefined) refuse('retry', `a ${type} is waited for once; remove this`)
  if (step.pivot === true) refuse('pivot', `a ${type} changes nothing, so it cannot be the pivot`)
  if (type === 'signal' && step.timeoutMs === undefined) {
    refuse('timeoutMs', 'missing; a step that waits for a signal says for how long')
  }
  if (type === 'delay') {
    if (step.timeoutMs !== undefined) refuse('timeoutMs', 'a delay has no time-out; remove this')
    if (step.compensation !== undefined) refuse('compensation', 'a delay leaves nothing to undo; remove this')
  }
  return problems
}

/** How long one attempt or wait may take. A saga's own deadline is its definition's. */
function longestMs(action: ResolvedStep['action']): number {
  if (isChild(action)) return 0
  if (isWait(action)) return action.for === 'delay' ? action.delayMs : action.timeoutMs
  return action.callbackMs ?? action.timeoutMs
}

/** The index of the last step, if it has no others beside it; else past the end. */
function lastAlone(placed: ReturnType<typeof placedSteps>): number {
  const alone = placed.at(-2)?.group !== placed.at(-1)?.group
  return alone ? placed.length - 1 : placed.length
}

/** What is allowed and probably not meant. */
function odd(definition: Definition): JsonProblem[] {
  const warnings: JsonProblem[] = []
  const resolved = resolveDefinition(definition, 1)
  // What comes after the pivot, and the pivot itself once it is done, is never undone (S14).
  const placed = placedSteps(definition)
  const pivot = placed.findIndex(({ step }) => step.pivot === true)
  // What fails beside a member of the last group makes the group's others be undone.
  const last = pivot < 0 ? lastAlone(placed) : pivot
  placed.forEach(({ step, path }, index) => {
    const at = pointerTo(path)
    if (pivot >= 0 && index > pivot && step.compensation !== undefined) {
      const detail = `step "${step.name}" comes after the pivot "${placed[pivot]?.step.name}": this compensation can never run`
      warnings.push({ pointer: `${at}/compensation`, detail })
    }
    const writes =
      step.action.type === 'handler' || (step.action.type === 'http' && step.action.method !== 'GET')
    if (writes && step.compensation === undefined && index < last) {
      const detail = `step "${step.name}" may change something and has no compensation: if a later step fails, its effect stays`
      warnings.push({ pointer: at, detail })
    }
    if (
      step.action.type === 'http' &&
      step.compensation?.type === 'http' &&
      step.action.url === step.compensation.url &&
      step.action.service === step.compensation.service &&
      step.action.path === step.compensation.path &&
      step.action.method === step.compensation.method
    ) {
      warnings.push({
        pointer: `${at}/compensation/${step.action.url === undefined ? 'path' : 'url'}`,
        detail: 'the compensation is the same request as the action',
      })
    }
    const isCalledBack = step.action.type === 'http' && step.action.completion === 'callback'
    const { compensateWhen } = resolved.steps[index] ?? {}
    if (isCalledBack && step.compensation !== undefined && compensateWhen === 'completed') {
      const detail = `step "${step.name}" may still happen when its callback has not come in time or is waited for no longer; with compensateWhen "uncertain" it is undone then, too`
      warnings.push({ pointer: at, detail })
    }
    const action = resolved.steps[index]?.action
    const timeoutMs = action === undefined ? 0 : longestMs(action)
    if (definition.deadlineMs !== undefined && timeoutMs > definition.deadlineMs) {
      const detail = `one attempt of step "${step.name}" may take ${timeoutMs} ms, longer than the saga's deadline of ${definition.deadlineMs} ms`
      warnings.push({ pointer: step.timeoutMs === undefined ? at : `${at}/timeoutMs`, detail })
    }
  })
  return warnings
}
