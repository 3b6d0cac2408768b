import {
  type CompensateMembers,
  type CompensateWhen,
  checkDefinition,
  checkJson,
  type Definition,
  type Json,
  type JsonProblem,
  type SagaModule,
} from '@backstitch/core'
import { z } from 'zod'
import { BackstitchError } from './errors.ts'
import { actionHandler, compensationHandler, type Schemas } from './handlers.ts'
import type { HttpCall } from './http.ts'
import type { MustBeJson } from './result.ts'
import type { ChildCall } from './saga.ts'
import type { FreeName, ResultOf, RetryOptions, StepSpec } from './step.ts'
import type { WaitCall } from './wait.ts'

/**
 * A saga as its author writes it: a chain, because each step's types build on those of the steps before, and a chain is
 * what the compiler can follow. Each link is a new value; none changes the one it came from.
 */

/** A definition with its handlers. A worker takes it as it is (`SagaModule`); a client takes it for the types of a start. */
export interface Saga<Name extends string = string, Input = unknown, Results = unknown> extends SagaModule {
  readonly name: Name
  /** The document to register. Made and checked when first asked for; what is wrong with it is thrown then. */
  readonly definition: Definition
  /** By the name of the step; steps that are all HTTP have none. */
  readonly handlers: SagaModule['handlers']
  /** Schemas of what its HTTP services answer, for a saga that has this one as a step. */
  readonly '~answers': ReadonlyMap<string, z.core.$ZodType>
  /** For the compiler only. */
  readonly '~types'?: { input: Input; results: Results }
}

/** What takes the next step. */
export interface Steps<
  Name extends string,
  Input,
  Parsed,
  Results,
  When extends CompensateWhen = 'completed',
> {
  step<
    StepName extends string,
    Result,
    StepWhen extends CompensateWhen = When,
    const Condition extends string | undefined = undefined,
  >(
    name: FreeName<StepName, Results>,
    step: StepSpec<Parsed, Results, Result, StepWhen, Condition, Input> & MustBeJson<Result>,
  ): SagaWithSteps<Name, Input, Parsed, Results & ResultOf<StepName, Result, Condition>, When>

  /**
   * Steps that run at once: `.parallel((group) => group.step(…).step(…))`. They see the results of the steps before, and not
   * each other's; the step after the group sees all.
   */
  parallel<Joint>(
    members: (
      group: Group<Input, Parsed, Results, NoResults, When>,
    ) => Group<Input, Parsed, Results, Joint, When>,
    options?: ParallelOptions,
  ): SagaWithSteps<Name, Input, Parsed, Results & Joint, When>
}

/** What takes the members of a parallel group. `Before` is what each of them sees, `Joint` what they leave. */
export interface Group<Input, Parsed, Before, Joint, When extends CompensateWhen = 'completed'> {
  step<
    StepName extends string,
    Result,
    StepWhen extends CompensateWhen = When,
    const Condition extends string | undefined = undefined,
  >(
    name: FreeName<StepName, Before & Joint>,
    step: StepSpec<Parsed, Before, Result, StepWhen, Condition, Input> & MustBeJson<Result>,
  ): Group<Input, Parsed, Before, Joint & ResultOf<StepName, Result, Condition>, When>
  readonly '~links': readonly Link[]
  /** For the compiler only. */
  readonly '~types'?: { joint: Joint }
}

export type ParallelOptions = {
  /** How what completed is undone: in reverse order of completion (`oneByOne`, if not said otherwise), or all at once. */
  compensate?: CompensateMembers | undefined
}

export type SagaWithSteps<Name extends string, Input, Parsed, Results, When extends CompensateWhen> = Saga<
  Name,
  Input,
  Results
> &
  Steps<Name, Input, Parsed, Results, When>

export type SagaOptions<Name extends string, Schema extends z.core.$ZodType, When extends CompensateWhen> = {
  name: Name
  /**
   * Of the start input. It becomes the definition's `inputSchema`, so that the API refuses what does not fit; and each
   * handler gets its input through it, anew for each attempt, so that defaults and transforms hold (and must give the
   * same each time).
   */
  input?: Schema | undefined
  description?: string | undefined
  /** Who runs it: only workers that serve this queue. Its own name, if it has handlers and names none (S20). */
  queue?: string | undefined
  deadlineMs?: number | undefined
  /** For every step that does not say otherwise. */
  defaults?:
    | { timeoutMs?: number | undefined; retry?: RetryOptions | undefined; compensateWhen?: When | undefined }
    | undefined
}

export type NoResults = Record<never, never>

export function defineSaga<
  const Name extends string,
  Schema extends z.core.$ZodType = z.core.$ZodType<Json, Json>,
  When extends CompensateWhen = 'completed',
>(options: SagaOptions<Name, Schema, When>): Steps<Name, z.input<Schema>, z.output<Schema>, NoResults, When> {
  const { input, ...head } = options
  const inputSchema = input === undefined ? undefined : jsonSchemaOf(input, options.name)
  return chain({ head: { ...head, inputSchema }, input, links: [], steps: [] })
}

/** All that is known so far: what stands above the steps, and the steps. */
type Draft<Name extends string, Parsed> = {
  head: { name: Name; inputSchema: Json | undefined }
  input: Schemas<Parsed>['input']
  /** Each step, members of groups among them. */
  links: readonly Link[]
  /** The definition's own list, in which a group is one entry. */
  steps: readonly object[]
}

/** One step, as the definition and the worker know it. */
type Link = {
  name: string
  document: object
  handlers: NonNullable<ReturnType<SagaModule['handlers']['get']>>
  /** Of what an HTTP service answers, a signal brings or a saga leaves. */
  answer: z.core.$ZodType | undefined
}

function chain<Name extends string, Input, Parsed, Results, When extends CompensateWhen>(
  draft: Draft<Name, Parsed>,
): SagaWithSteps<Name, Input, Parsed, Results, When> {
  const { head, links, steps } = draft
  let definition: Definition | undefined
  return {
    name: head.name,
    get definition() {
      definition ??= definitionOf(head.name, { ...head, steps })
      return definition
    },
    handlers: new Map(
      links
        .filter(({ handlers }) => Object.keys(handlers).length > 0)
        .map(({ name, handlers }) => [name, handlers]),
    ),
    '~answers': answersOf(links),
    step(name, step) {
      const link = linkOf(name, step, draft)
      return chain({ ...draft, links: [...links, link], steps: [...steps, link.document] })
    },
    parallel(members, options) {
      const added = members(groupOf(draft, []))['~links']
      const entry = { parallel: added.map(({ document }) => document), ...options }
      return chain({ ...draft, links: [...links, ...added], steps: [...steps, entry] })
    },
  }
}

function groupOf<Input, Parsed, Before, Joint, When extends CompensateWhen>(
  before: Draft<string, Parsed>,
  links: readonly Link[],
): Group<Input, Parsed, Before, Joint, When> {
  return {
    '~links': links,
    step: (name, step) => groupOf(before, [...links, linkOf(name, step, before)]),
  }
}

function answersOf(links: readonly Pick<Link, 'name' | 'answer'>[]): Map<string, z.core.$ZodType> {
  const answers = new Map<string, z.core.$ZodType>()
  for (const { name, answer } of links) if (answer !== undefined) answers.set(name, answer)
  return answers
}

function linkOf<
  Parsed,
  Results,
  Result,
  When extends CompensateWhen,
  Condition extends string | undefined,
  Sent,
>(
  name: string,
  step: StepSpec<Parsed, Results, Result, When, Condition, Sent>,
  { input, links }: Draft<string, Parsed>,
): Link {
  const { action, compensation, ...settings } = step
  const answer = typeof action === 'function' ? undefined : action.result
  const schemas = { input, answers: answersOf([...links, { name, answer }]) }
  const { run: undo, ...undoSettings } = isBare(compensation) ? { run: compensation } : compensation
  return {
    name,
    answer,
    handlers: {
      ...(typeof action === 'function' && { action: actionHandler(action, schemas) }),
      ...(typeof undo === 'function' && { compensation: compensationHandler(undo, schemas) }),
    },
    document: {
      name,
      ...settings,
      action: callOf(action),
      compensation: undo && { ...callOf(undo), ...undoSettings },
    },
  }
}

function isBare<Undo extends object>(
  compensation: Undo | { run: Undo } | undefined,
): compensation is Undo | undefined {
  return compensation === undefined || !('run' in compensation)
}

/** How the definition says who carries it out. */
function callOf(
  call: ((...args: never) => unknown) | HttpCall<unknown> | WaitCall<unknown> | ChildCall<unknown, never>,
): object {
  if (typeof call === 'function') return { type: 'handler' }
  switch (call.type) {
    case 'wait':
      return call.wait
    case 'saga':
      return { type: 'saga', ...call.child }
    case 'http': {
      const { probe, ...request } = call.request
      return { type: 'http', ...request, ...(probe !== undefined && { probe: { type: 'http', ...probe } }) }
    }
  }
}

function definitionOf(name: string, document: object): Definition {
  const json = checkJson(document)
  const checked = json.ok ? checkDefinition(json.value) : { ok: false as const, problems: [json.problem] }
  if (!checked.ok) throw notDefinable(name, 'it cannot be registered', checked.problems)
  return checked.definition
}

function jsonSchemaOf(schema: z.core.$ZodType, name: string): Json {
  try {
    const json = checkJson(z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' }))
    if (json.ok) return json.value
    throw notDefinable(name, 'its input schema is not JSON', [json.problem])
  } catch (error) {
    if (error instanceof BackstitchError) throw error
    const why = error instanceof Error ? error.message : String(error)
    throw notDefinable(name, `an input is JSON, and its schema says otherwise: ${why}`, [], error)
  }
}

function notDefinable(
  name: string,
  why: string,
  errors: readonly JsonProblem[],
  cause?: unknown,
): BackstitchError {
  return new BackstitchError({ code: 'INVALID_DEFINITION', detail: `saga "${name}": ${why}`, errors, cause })
}
