import { type Handler, type HandlerCall, type JsonProblem, problemsOf } from '@backstitch/core'
import { z } from 'zod'
import { StepRejected } from './outcomes.ts'
import type { ActionCall, CompensationCall } from './step.ts'

/** Between the engine, which knows JSON, and a step's functions, which know their types. */

/** What stored values are read through. */
export type Schemas<Input> = {
  input: z.core.$ZodType<Input> | undefined
  /** Of results that no function of ours returned, by step. */
  answers: ReadonlyMap<string, z.core.$ZodType>
}

export function actionHandler<Input, Results>(
  run: (call: ActionCall<Input, Results>) => unknown,
  schemas: Schemas<Input>,
): Handler {
  return async (call) =>
    run({ ...call, direction: 'action', ...(await readSoFar<Input, Results>(call, schemas)) })
}

/** What a compensation returns is not kept: there is no later step to read it, and it need not be JSON. */
export function compensationHandler<Input, Results, Result>(
  run: (call: CompensationCall<Input, Results, Result>) => unknown,
  schemas: Schemas<Input>,
): Handler {
  return async (call) => {
    const { step, result, failure = { step: undefined, reason: 'not recorded' } } = call
    await run({
      ...call,
      direction: 'compensation',
      ...(await readSoFar<Input, Results>(call, schemas)),
      result: promised<Result>(result === undefined ? undefined : await readAnswer(step, result, schemas)),
      failure,
    })
  }
}

async function readSoFar<Input, Results>(
  call: HandlerCall,
  schemas: Schemas<Input>,
): Promise<{
  input: Input
  context: CompensationCall<Input, Results, never>['context']
}> {
  const input =
    schemas.input === undefined
      ? promised<Input>(call.input)
      : await read(schemas.input, call.input, 'INVALID_INPUT', 'the input of the saga')
  const context: Record<string, unknown> = { ...call.context, input }
  for (const step of schemas.answers.keys()) {
    // An operator may have skipped the step; then there is nothing to read.
    if (Object.hasOwn(call.context, step)) context[step] = await readAnswer(step, call.context[step], schemas)
  }
  return { input, context: promised(context) }
}

async function readAnswer(step: string, answer: unknown, { answers }: Schemas<unknown>): Promise<unknown> {
  const schema = answers.get(step)
  return schema === undefined
    ? answer
    : read(schema, answer, 'INVALID_RESULT', `the result of step "${step}"`)
}

/** A value that does not fit will not fit the next time either. */
async function read<T>(schema: z.core.$ZodType<T>, value: unknown, code: string, what: string): Promise<T> {
  const parsed = await z.safeParseAsync(schema, value)
  if (parsed.success) return parsed.data
  throw new StepRejected(`${what} does not fit its schema: ${sentenceOf(problemsOf(parsed.error))}`, { code })
}

function sentenceOf(problems: readonly JsonProblem[]): string {
  return problems.map(({ pointer, detail }) => (pointer === '' ? detail : `${pointer}: ${detail}`)).join('; ')
}

/**
 * The one place where a type is believed. Results were returned by this saga's own steps, whose types these are, and have
 * only been through JSON since; without a schema the input is whatever JSON it is.
 */
function promised<T>(value: unknown): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return value as T
}
