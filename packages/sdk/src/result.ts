import type { Json } from '@backstitch/core'

/** What a step returns becomes JSON. These types say so while it is being written; the engine checks it when it runs. */

/** Stands where JSON has nothing to stand. */
export type NotJson<What extends string> = { readonly 'cannot be JSON': What }

/** `T` with everything JSON cannot hold replaced. `unknown` passes: it is safe to read, and is checked when it runs. */
export type AsJson<T> = unknown extends T
  ? T
  : T extends Json
    ? T
    : T extends undefined
      ? NotJson<'undefined: say null'>
      : T extends bigint
        ? NotJson<'a bigint: return String(n)'>
        : T extends symbol
          ? NotJson<'a symbol'>
          : T extends Date
            ? NotJson<'a Date: return date.toISOString()'>
            : T extends (...args: never) => unknown
              ? NotJson<'a function, or a method of a class'>
              : { [K in keyof T]: AsJsonMember<T, K> }

/** A property may be undefined and is then left out; an item of an array may not. */
type AsJsonMember<T, K extends keyof T> = T extends readonly unknown[]
  ? AsJson<T[K]>
  : AsJson<Exclude<T[K], undefined>> | Extract<T[K], undefined>

/** Nothing for a result that is JSON; for any other a demand that cannot be met and says why. */
export type MustBeJson<Result> = [Something<Result>] extends [AsJson<Something<Result>>]
  ? unknown
  : { 'the result of the action is not JSON': AsJson<Something<Result>> }

/** A result as later steps read it: what returns nothing is stored as null. */
export type Stored<Result> = [Result] extends [Something<Result>] ? Result : Something<Result> | null

type Something<Result> = Exclude<Result, void>
