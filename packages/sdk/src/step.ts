import type { CompensateWhen, HandlerCall, Json, RetryPolicy } from '@backstitch/core'
import type { z } from 'zod'
import type { HttpCall } from './http.ts'
import type { Stored } from './result.ts'
import type { ChildCall } from './saga.ts'
import type { WaitCall } from './wait.ts'

/** What a step is made of, and what its functions are told. */

/** Written out, so that an editor shows the properties and not how they came together. */
export type Flat<T> = { [K in keyof T]: T[K] } & {}

/** The start input and the results of the steps before, by name. A step that an operator skipped has left none. */
export type Context<Input, Results> = Flat<{ input: Input } & Results>

type Attempt = Omit<HandlerCall, 'direction' | 'input' | 'context' | 'result' | 'failure'>

/** What an action is told (S36). */
export type ActionCall<Input, Results> = Attempt & {
  direction: 'action'
  /** The start input as its schema gives it out: defaults filled in, transforms applied. */
  input: Input
  context: Context<Input, Results>
}

/** What a compensation is told (S11). */
export type CompensationCall<Input, Results, Result> = Attempt & {
  direction: 'compensation'
  input: Input
  /** Results of earlier steps are there; of later ones there may be, and nothing is known about them here. */
  context: Context<Input, Results> & { readonly [laterStep: string]: Json | undefined }
  /** What the action returned; undefined if that was never learned, which only `compensateWhen: 'uncertain'` allows. */
  result: Result
  /** Why the saga turned round. */
  failure: { step: string | undefined; reason: string }
}

/** The result a compensation is certain to get. */
type Undone<Result, When extends CompensateWhen> =
  | Stored<Result>
  | ('uncertain' extends When ? undefined : never)

type Undo<Input, Results, Result, When extends CompensateWhen> =
  | ((call: CompensationCall<Input, Results, Undone<Result, When>>) => unknown)
  | HttpCall<unknown>

export type RetryOptions = z.infer<typeof RetryPolicy>

/** One step. `action` stands before `compensation`: from the one the compiler learns what the other undoes. */
export type StepSpec<
  Input,
  Results,
  Result,
  When extends CompensateWhen,
  Condition extends string | undefined = undefined,
  Sent = never,
> = {
  description?: string | undefined
  /** A function that returns the step's result, a call to an HTTP service, a wait, or a saga of its own. */
  action:
    | ((call: ActionCall<Input, Results>) => Result | Promise<Result>)
    | HttpCall<Result>
    | WaitCall<Result>
    | ChildCall<Result, Sent>
  /** What undoes it; as `{ run }` with a time-out and retries of its own. */
  compensation?:
    | Undo<Input, Results, Result, When>
    | {
        run: Undo<Input, Results, Result, When>
        timeoutMs?: number | undefined
        retry?: RetryOptions | undefined
      }
    | undefined
  /**
   * Of one attempt; where a signal or a callback is waited for, of the waiting, and then it must be said. A function that has
   * one should pass `signal` on to what takes long.
   */
  timeoutMs?: number | undefined
  retry?: RetryOptions | undefined
  /** `uncertain`: undone also if it failed and may have had its effect (S9). */
  compensateWhen?: When | undefined
  /**
   * An expression (CEL) over `input`, `context` and `saga`; the step is skipped if it is false. Later steps then find no result
   * of it: its type says so.
   */
  when?: Condition
  /** Once this step has completed nothing is undone any more: later steps are retried, and then a person is asked (S14). */
  pivot?: boolean | undefined
}

/** What later steps find of a step: its result, or, if it has a condition, perhaps none. */
export type ResultOf<
  Name extends string,
  Result,
  Condition extends string | undefined,
> = Condition extends string ? { [K in Name]?: Stored<Result> } : { [K in Name]: Stored<Result> }

/** A step's name if it is free, else the reason why it is not. */
export type FreeName<Name extends string, Results> = string extends Name
  ? Name // known only when it runs, and checked then
  : Name extends 'input'
    ? '"input" is taken by the start input'
    : Name extends keyof Results
      ? `"${Name}" is already the name of a step`
      : Name
