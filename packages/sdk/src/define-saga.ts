import {
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
    step: StepSpec<Parsed, Results, Result, StepWhen, Condition> & MustBeJson<Result>,
  ): SagaWithSteps<Name, Input, Parsed, Results & ResultOf<StepName, Result, Condition>, When>
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
  return chain({ head: { ...head, inputSchema }, input, links: [] })
}

/** All that is known so far: what stands above the steps, and the steps. */
type Draft<Name extends string, Parsed> = {
  head: { name: Name; inputSchema: Json | undefined }
  input: Schemas<Parsed>['input']
  links: readonly Link[]
}

type Link = {
  name: string
  document: object
  handlers: NonNullable<ReturnType<SagaModule['handlers']['get']>>
  /** Of what an HTTP service answers. */
  answer: z.core.$ZodType | undefined
}

function chain<Name extends string, Input, Parsed, Results, When extends CompensateWhen>(
  draft: Draft<Name, Parsed>,
): SagaWithSteps<Name, Input, Parsed, Results, When> {
  const { head, links } = draft
  let definition: Definition | undefined
  return {
    name: head.name,
    get definition() {
      definition ??= definitionOf(head.name, { ...head, steps: links.map(({ document }) => document) })
      return definition
    },
    handlers: new Map(
      links
        .filter(({ handlers }) => Object.keys(handlers).length > 0)
        .map(({ name, handlers }) => [name, handlers]),
    ),
    step: (name, step) => chain({ ...draft, links: [...links, linkOf(name, step, draft)] }),
  }
}

function linkOf<Parsed, Results, Result, When extends CompensateWhen, Condition extends string | undefined>(
  name: string,
  step: StepSpec<Parsed, Results, Result, When, Condition>,
  { input, links }: Draft<string, Parsed>,
): Link {
  const { action, compensation, ...settings } = step
  const answer = typeof action === 'function' ? undefined : action.result
  const answers = new Map<string, z.core.$ZodType>()
  for (const earlier of [...links, { name, answer }]) {
    if (earlier.answer !== undefined) answers.set(earlier.name, earlier.answer)
  }
  const schemas = { input, answers }
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
function callOf(call: ((...args: never) => unknown) | HttpCall<unknown> | WaitCall<unknown>): object {
  if (typeof call === 'function') return { type: 'handler' }
  if (call.type === 'wait') return call.wait
  const { probe, ...request } = call.request
  return { type: 'http', ...request, ...(probe !== undefined && { probe: { type: 'http', ...probe } }) }
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
