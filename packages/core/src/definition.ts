import { z } from 'zod'
import {
  ACTION_SCOPE,
  COMPENSATION_SCOPE,
  compileExpression,
  type Expression,
  type Scope,
  WHEN_SCOPE,
} from './expression.ts'
import type { Json } from './json.ts'
import { compileProbe, type Probe } from './probe.ts'
import { compileRequest, type RequestTemplate } from './request.ts'
import { compileTemplate, type Template } from './template.ts'

/**
 * A saga definition: an immutable, versioned document that says which steps there are, what each does and how it
 * is undone (semantics S26, S27). This file holds its shape and its defaults; `lint.ts` says what is odd about one.
 */

/** Bytes of one definition, written as JSON (S32). */
export const MAX_DEFINITION_BYTES = 256 * 1024
/** Steps of one definition (S32). */
export const MAX_STEPS = 500
/** No attempt, deadline or back-off may be longer than a year: what is, is a mistake in units. */
export const MAX_DURATION_MS = 366 * 24 * 60 * 60 * 1000

export const DEFAULT_TIMEOUT_MS = 30_000
/** The queue of every definition without handlers (S20). */
export const DEFAULT_QUEUE = 'default'

/** The names of steps, definitions and queues. */
export const Name = z
  .string()
  .regex(
    /^[A-Za-z][A-Za-z0-9_-]{0,63}$/,
    'a name starts with a letter and has 1 to 64 letters, digits, "_" or "-"',
  )

const DurationMs = z
  .int()
  .min(1)
  .max(MAX_DURATION_MS)
  .meta({ description: 'milliseconds, from 1 to the number of milliseconds of 366 days' })

const JsonValue = z.custom<Json>((value) => value !== undefined).meta({ description: 'any JSON value' })

const HttpUrl = z
  .string()
  .max(2048)
  .refine((text) => urlProblem(text) === undefined, {
    error: (issue) => urlProblem(String(issue.input)) ?? '',
  })
  .meta({ description: 'an absolute http or https URL, without user name, password or fragment' })

/** A header a definition may set. Those that the engine or HTTP itself sets are refused. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/
const OWN_HEADERS =
  /^(host|content-length|content-type|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|idempotency-key|correlation-id|traceparent|tracestate|saga-.*)$/i

const Headers = z.record(z.string(), z.string().max(4096)).superRefine((headers, context) => {
  if (Object.keys(headers).length > 50) {
    context.addIssue({ code: 'custom', message: `${Object.keys(headers).length} headers; the most is 50` })
  }
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADER_NAME.test(name)) {
      context.addIssue({ code: 'custom', path: [name], message: 'not a valid name of an HTTP header' })
    } else if (OWN_HEADERS.test(name)) {
      context.addIssue({
        code: 'custom',
        path: [name],
        message: 'this header is set by the engine; remove it',
      })
    }
    // A header's value is visible Latin text: a line break in it would start another header.
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      context.addIssue({ code: 'custom', path: [name], message: 'has a character no HTTP header may carry' })
    }
  }
})

const ServicePath = z
  .string()
  .max(2048)
  .refine((text) => pathProblem(text) === undefined, {
    error: (issue) => pathProblem(String(issue.input)) ?? '',
  })
  .meta({ description: "below the service's base path: it begins with /, and leads nowhere else" })

/** Where a call goes: to an address, or to a service whose address each worker knows. */
const Target = {
  url: HttpUrl.optional(),
  service: Name.optional().meta({
    description: "a service of the worker's configuration; with path, in place of url",
  }),
  path: ServicePath.optional(),
}

function refuseOtherThanOneTarget(
  {
    url,
    service,
    path,
  }: { url?: string | undefined; service?: string | undefined; path?: string | undefined },
  context: { addIssue(issue: { code: 'custom'; path: string[]; message: string }): void },
): void {
  const refuse = (at: string, message: string) => context.addIssue({ code: 'custom', path: [at], message })
  if (url !== undefined) {
    if (service !== undefined) refuse('service', 'stands beside url; write url, or service and path')
    if (path !== undefined) refuse('path', 'stands beside url; write url, or service and path')
  } else if (service === undefined) {
    refuse('url', 'missing; write url, or service and path')
  } else if (path === undefined) {
    refuse('path', `missing; say where at "${service}", such as "/charges"`)
  }
}

const Condition = z.string().max(4096)

/** How a participant is asked what became of an attempt whose outcome is uncertain. */
export const HttpProbe = z
  .strictObject({
    type: z.literal('http'),
    method: z.enum(['GET', 'POST']).default('GET'),
    ...Target,
    headers: Headers.optional(),
    body: JsonValue.optional(),
    timeoutMs: DurationMs.optional(),
    happened: Condition.optional().meta({
      description: 'an expression over `answer` ({status, body}): true if the step has happened',
    }),
    result: JsonValue.optional().meta({
      description: 'what it gave, if it happened; `answer.body` if absent',
    }),
    willNotHappen: Condition.optional().meta({
      description:
        'an expression over `answer`: true only if the participant promises that nothing sent so far has happened or ever will',
    }),
  })
  .superRefine(refuseOtherThanOneTarget)
  .meta({
    description:
      'asks what became of an attempt whose outcome is uncertain. Without expressions the answer is 2xx and {"outcome": "happened", "result": …}, {"outcome": "willNotHappen"} or {"outcome": "unknown"}',
  })

export const HttpAction = z
  .strictObject({
    type: z.literal('http'),
    method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']).default('POST'),
    ...Target,
    headers: Headers.optional(),
    body: JsonValue.optional(),
    completion: z.enum(['answer', 'callback']).optional().meta({
      description:
        'callback: an answer 202 means that it is under way, and that its end comes to POST /v1/callbacks/{token}',
    }),
    probe: HttpProbe.optional(),
  })
  .superRefine(refuseOtherThanOneTarget)
  .meta({ description: 'a call to an HTTP service: by url, or by service and path' })

export const HandlerAction = z.strictObject({ type: z.literal('handler') }).meta({
  description: 'a TypeScript function registered in a worker under the definition and the name of the step',
})

export const DelayAction = z
  .strictObject({ type: z.literal('delay'), delayMs: DurationMs })
  .meta({ description: 'waits, and costs nothing but its row meanwhile' })

export const SignalAction = z
  .strictObject({ type: z.literal('signal'), signal: Name })
  .meta({ description: 'waits for a signal of this name; its payload is the result' })

export const SagaAction = z
  .strictObject({
    type: z.literal('saga'),
    definition: Name,
    version: z
      .int()
      .min(1)
      .optional()
      .meta({ description: 'the highest when the step is come to, if absent' }),
    input: JsonValue.optional().meta({
      description: "may hold expressions; this saga's own input, if absent",
    }),
  })
  .meta({
    description:
      'starts a saga and waits for its end; undone as one unit, by its own compensations in reverse',
  })

const Action = z.discriminatedUnion('type', [
  HttpAction,
  HandlerAction,
  DelayAction,
  SignalAction,
  SagaAction,
])

export const RetryPolicy = z
  .strictObject({
    maxAttempts: z.int().min(1).max(1000),
    initialDelayMs: DurationMs,
    factor: z.number().min(1).max(100),
    maxDelayMs: DurationMs,
  })
  .partial()
  .meta({ description: 'attempts and back-off: exponential with full jitter, never under 100 ms' })

const Compensation = z.discriminatedUnion('type', [
  HttpAction.safeExtend({ timeoutMs: DurationMs.optional(), retry: RetryPolicy.optional() }),
  HandlerAction.extend({ timeoutMs: DurationMs.optional(), retry: RetryPolicy.optional() }),
])

export const CompensateWhen = z.enum(['completed', 'uncertain'])

export const Step = z
  .strictObject({
    name: Name,
    description: z.string().max(2000).optional(),
    action: Action,
    compensation: Compensation.optional(),
    timeoutMs: DurationMs.optional(),
    retry: RetryPolicy.optional(),
    compensateWhen: CompensateWhen.optional(),
    when: z
      .string()
      .max(4096)
      .optional()
      .meta({ description: 'an expression (CEL); the step is skipped if it is false' }),
    pivot: z
      .boolean()
      .optional()
      .meta({ description: 'once this step has completed nothing is undone any more' }),
  })
  .meta({ id: 'Step', description: 'an action and, optionally, the compensation that undoes it' })

/** Members of one parallel group. */
export const MAX_MEMBERS = 100

export const CompensateMembers = z.enum(['oneByOne', 'together'])

export const Parallel = z
  .strictObject({
    parallel: z.array(Step).min(1).max(MAX_MEMBERS),
    compensate: CompensateMembers.optional().meta({
      description:
        'how what completed is undone: in reverse order of completion (the default), or all at once',
    }),
  })
  .meta({ id: 'Parallel', description: 'steps that run at once; the group is done when all of them are' })

/** The document as its author writes it. */
export const Definition = z
  .strictObject({
    name: Name,
    description: z.string().max(10_000).optional(),
    queue: Name.optional(),
    inputSchema: z.record(z.string(), JsonValue).optional(),
    deadlineMs: DurationMs.optional(),
    defaults: z
      .strictObject({
        timeoutMs: DurationMs.optional(),
        retry: RetryPolicy.optional(),
        compensateWhen: CompensateWhen.optional(),
      })
      .optional(),
    steps: z
      .array(z.union([Step, Parallel]))
      .min(1)
      .max(MAX_STEPS),
  })
  .superRefine((definition, context) => {
    const first = new Map<string, string>()
    const all = placedSteps(definition)
    if (all.length > MAX_STEPS) {
      const message = `${all.length} steps, members of groups counted; the most is ${MAX_STEPS}`
      context.addIssue({ code: 'custom', path: ['steps'], message })
    }
    all.forEach(({ step, path: place, at }) => {
      const path = [...place, 'name']
      if (step.name === 'input') {
        context.addIssue({
          code: 'custom',
          path,
          message: '"input" is taken: the start input stands under it in the context',
        })
      }
      const earlier = first.get(step.name)
      if (earlier !== undefined) {
        context.addIssue({
          code: 'custom',
          path,
          message: `"${step.name}" is already the name of ${earlier}`,
        })
      }
      first.set(step.name, at)
    })
  })
  .meta({ id: 'Definition', description: 'a saga definition' })

export type Definition = z.infer<typeof Definition>
export type Step = z.infer<typeof Step>
export type Parallel = z.infer<typeof Parallel>

/** Every step with its place in the document, members of groups among them. */
export function placedSteps({ steps }: { readonly steps: readonly (Step | Parallel)[] }): {
  step: Step
  /** Which place of the list it is in: members of one group share it. */
  group: number
  path: (string | number)[]
  /** The place in words. */
  at: string
}[] {
  return steps.flatMap((entry, group) => {
    if (!('parallel' in entry)) return [{ step: entry, group, path: ['steps', group], at: `step ${group}` }]
    return entry.parallel.map((step, member) => ({
      step,
      group,
      path: ['steps', group, 'parallel', member],
      at: `member ${member} of step ${group}`,
    }))
  })
}
export type HttpAction = z.infer<typeof HttpAction>
export type HttpProbe = z.infer<typeof HttpProbe>
export type HandlerAction = z.infer<typeof HandlerAction>
export type SagaAction = z.infer<typeof SagaAction>
export type CompensateWhen = z.infer<typeof CompensateWhen>
export type CompensateMembers = z.infer<typeof CompensateMembers>

/** Every number a retry needs, nothing left out. */
export type Retry = { maxAttempts: number; initialDelayMs: number; factor: number; maxDelayMs: number }

export type DelayAction = z.infer<typeof DelayAction>
export type SignalAction = z.infer<typeof SignalAction>

/** One direction of a step with all its defaults filled in. */
export type Act = {
  call: HttpAction | HandlerAction
  /** What is sent, if it is sent over HTTP. */
  request?: RequestTemplate | undefined
  timeoutMs: number
  /** How long its callback may take, if it ends by one. Then `timeoutMs` is that of the request which begins it (M3). */
  callbackMs: number | undefined
  retry: Retry
  /** How to ask what became of it. */
  probe?: Probe | undefined
  /** Of a compensation: how to ask what became of the action it undoes. */
  actionProbe?: Probe | undefined
}

/** A step that nobody carries out: it ends by itself, or when it is told to (S7a). */
export type Wait = { for: 'delay'; delayMs: number } | { for: 'signal'; signal: string; timeoutMs: number }

/** A step that is a saga of its own (M4). `input`: this saga's own, if absent. */
export type Child = { starts: string; version: number | undefined; input: Template | undefined }

/** A completed child is undone as one unit, by a saga that compensates its steps (M5). */
export type Undo = { undoes: 'child' }

export type ResolvedStep = {
  name: string
  /** Its place in the definition's list, which the members of a group share. */
  group: number
  action: Act | Wait | Child
  when: Expression | undefined
  pivot: boolean
  compensation: Act | Undo | undefined
  compensateWhen: CompensateWhen
}

/** A registered definition as the engine uses it: defaults resolved, steps found by name. */
export type Group = { members: readonly ResolvedStep[]; compensate: CompensateMembers }

export type ResolvedDefinition = {
  name: string
  version: number
  queue: string
  deadlineMs: number | undefined
  /** In order; what is to run at once stands together. A step alone is a group of one. */
  groups: readonly Group[]
  steps: readonly ResolvedStep[]
  indexOf: ReadonlyMap<string, number>
}

const DEFAULT_RETRY: Retry = { maxAttempts: 3, initialDelayMs: 200, factor: 2, maxDelayMs: 30_000 }
/** S11: one attempt and three retries. */
const COMPENSATION_ATTEMPTS = 4

/** Fills in the defaults: the step's own, else the definition's, else the engine's (S4, S5, S11). */
export function resolveDefinition(definition: Definition, version: number): ResolvedDefinition {
  const { defaults } = definition
  const timeoutMs = defaults?.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const retry: Retry = { ...DEFAULT_RETRY, ...present(defaults?.retry) }
  const steps = placedSteps(definition).map(({ step, group }): ResolvedStep => {
    return {
      name: step.name,
      group,
      // A saga that did not complete has undone itself: what it could not undo, no undo of it would.
      compensateWhen:
        step.action.type === 'saga'
          ? 'completed'
          : (step.compensateWhen ?? defaults?.compensateWhen ?? 'completed'),
      when: step.when === undefined ? undefined : compiledCondition(step.when),
      pivot: step.pivot === true,
      action: resolveAction(step, timeoutMs, retry),
      compensation: resolveCompensation(step, timeoutMs, retry),
    }
  })
  const groups = definition.steps.map((entry, index) => ({
    members: steps.filter(({ group }) => group === index),
    compensate: ('parallel' in entry ? entry.compensate : undefined) ?? ('oneByOne' as const),
  }))
  return {
    name: definition.name,
    version,
    queue: queueOf(definition),
    deadlineMs: definition.deadlineMs,
    groups,
    steps,
    indexOf: new Map(steps.map((step, index) => [step.name, index])),
  }
}

function resolveAction(step: Step, defaultMs: number, retry: Retry): ResolvedStep['action'] {
  const { action } = step
  switch (action.type) {
    case 'delay':
      return { for: 'delay', delayMs: action.delayMs }
    case 'signal':
      return { for: 'signal', signal: action.signal, timeoutMs: step.timeoutMs ?? defaultMs }
    case 'saga': {
      const { definition: starts, version, input } = action
      return { starts, version, input: input === undefined ? undefined : compiledInput(input) }
    }
    default:
      return resolveAct(action, ACTION_SCOPE, step.timeoutMs ?? defaultMs, {
        ...retry,
        ...present(step.retry),
      })
  }
}

function resolveCompensation(step: Step, defaultMs: number, retry: Retry): Act | Undo | undefined {
  const { compensation } = step
  if (compensation === undefined) return step.action.type === 'saga' ? { undoes: 'child' } : undefined
  const act = resolveAct(compensation, COMPENSATION_SCOPE, compensation.timeoutMs ?? defaultMs, {
    ...retry,
    maxAttempts: COMPENSATION_ATTEMPTS,
    ...present(compensation.retry),
  })
  return { ...act, actionProbe: resolveProbe(step.action, ACTION_SCOPE) }
}

/** A request is not waited for as long as its callback may be: it only has to be taken on. */
function resolveAct(call: HttpAction | HandlerAction, scope: Scope, ownMs: number, retry: Retry): Act {
  const callbackMs = call.type === 'http' && call.completion === 'callback' ? ownMs : undefined
  const timeoutMs = callbackMs === undefined ? ownMs : Math.min(callbackMs, DEFAULT_TIMEOUT_MS)
  const request = compiledRequest(call, scope)
  return { call, request, probe: resolveProbe(call, scope), timeoutMs, callbackMs, retry }
}

/** `checkDefinition` has refused what does not compile: here it is a bug, or a definition that nobody has checked. */
function compiledRequest(action: HttpAction | HandlerAction, scope: Scope): RequestTemplate | undefined {
  if (action.type !== 'http') return undefined
  const compiled = compileRequest(action, scope, '')
  if (compiled.ok) return compiled.request
  throw new Error(compiled.problems.map(({ pointer, detail }) => `${pointer}: ${detail}`).join('; '))
}

function resolveProbe(action: Step['action'], scope: Scope): Probe | undefined {
  if (action.type !== 'http' || action.probe === undefined) return undefined
  const compiled = compileProbe(action.probe, scope, '')
  if (compiled.ok) return compiled.probe
  throw new Error(compiled.problems.map(({ pointer, detail }) => `${pointer}: ${detail}`).join('; '))
}

function compiledCondition(source: string): Expression {
  const compiled = compileExpression(source, WHEN_SCOPE, 'bool')
  if (compiled.ok) return compiled.expression
  throw new Error(compiled.detail)
}

function compiledInput(source: Json): Template {
  const compiled = compileTemplate(source, ACTION_SCOPE, '')
  if (compiled.ok) return compiled.template
  throw new Error(compiled.problems.map(({ pointer, detail }) => `${pointer}: ${detail}`).join('; '))
}

/** The services a worker must know to carry it out: its own, and those its probes ask. */
export function servicesOf(act: Act): string[] {
  const calls = [act.call, act.probe?.call, act.actionProbe?.call]
  return calls.flatMap((call) => (call?.type === 'http' && call.service !== undefined ? [call.service] : []))
}

/** Something that a participant carries out. */
export function isAct(way: Act | Wait | Child | Undo): way is Act {
  return 'call' in way
}

export function isWait(way: Act | Wait | Child | Undo): way is Wait {
  return 'for' in way
}

export function isChild(way: Act | Wait | Child | Undo): way is Child {
  return 'starts' in way
}

/** S20: a definition with handlers has a queue of its own unless it names one; all others share `default`. */
export function queueOf(definition: Definition): string {
  if (definition.queue !== undefined) return definition.queue
  return placedSteps(definition).some(({ step }) => hasHandler(step)) ? definition.name : DEFAULT_QUEUE
}

function hasHandler(step: Step): boolean {
  return step.action.type === 'handler' || step.compensation?.type === 'handler'
}

/** Drops the keys whose value is undefined, so that a spread cannot overwrite a default with nothing. */
function present(policy: z.infer<typeof RetryPolicy> | undefined): Partial<Retry> {
  const given: Partial<Retry> = {}
  if (policy?.maxAttempts !== undefined) given.maxAttempts = policy.maxAttempts
  if (policy?.initialDelayMs !== undefined) given.initialDelayMs = policy.initialDelayMs
  if (policy?.factor !== undefined) given.factor = policy.factor
  if (policy?.maxDelayMs !== undefined) given.maxDelayMs = policy.maxDelayMs
  return given
}

/** What is wrong with a path below a service's base path, or undefined. */
function pathProblem(text: string): string | undefined {
  const written = text.replaceAll(/\$\{\{.*?\}\}/gs, 'x')
  if (!written.startsWith('/')) return 'does not begin with "/"'
  if (written.startsWith('//')) return 'begins with "//", which would name another host'
  if (/[#\\]/.test(written)) return 'has a "#" or a "\\"; remove it'
  if (!/^[\x21-\x7e]*$/.test(written))
    return 'has a space, a control character or a letter outside ASCII; percent-encode it'
  const [path = ''] = written.split('?')
  if (path.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment)))
    return 'has a segment "." or "..", which leads elsewhere'
  return undefined
}

/** What is wrong with a participant's URL, or undefined. Written without `URL`, which core does not have. */
export function urlProblem(text: string): string | undefined {
  // An expression stands for some text; that it stands where it may, `compileUrl` sees to.
  const written = text.replaceAll(/\$\{\{.*?\}\}/gs, 'x')
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^#]*)(#.*)?$/.exec(written)
  if (match === null) return 'not an absolute URL; write it as http://host:port/path'
  const [, scheme = '', authority = '', rest = '', fragment] = match
  if (!/^https?$/i.test(scheme))
    return `the scheme is "${scheme}"; a participant is called over http or https`
  if (authority.includes('@'))
    return 'has a user name or password in it; credentials do not belong in a definition'
  if (!/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$/.test(authority))
    return `"${authority}" is not a host with an optional port`
  if (Number(/:([0-9]+)$/.exec(authority.replace(/^\[.*\]/, ''))?.[1] ?? 1) > 65_535)
    return 'the port is over 65535'
  if (fragment !== undefined) return 'has a fragment (#…), which is never sent; remove it'
  if (!/^[\x21-\x7e]*$/.test(rest))
    return 'has a space, a control character or a letter outside ASCII; percent-encode it'
  return undefined
}
