import {
  checkJson,
  type Json,
  type PutScheduleInput,
  pageOf,
  Schedule,
  ScheduleStarted,
  ScheduleSummary,
} from '@backstitch/core'
import type { Saga } from '../define-saga.ts'
import { BackstitchError } from '../errors.ts'
import type { ListOptions } from './definitions.ts'
import { type Listing, listing } from './listing.ts'
import type { VerbOptions } from './sagas.ts'
import type { CallOptions, Transport } from './transport.ts'

/** When a schedule runs, and how, beside what it starts. */
export type ScheduleDetails = Omit<PutScheduleInput, 'definition' | 'input'>

/** The input but for the field that each run fills in (`instantAs`). */
type Given<Input, Field extends string> = [Field] extends [never] ? Input : Omit<Input, Field>

export type ChangeOptions = CallOptions & {
  /** The schedule's `version` when this was decided; refused with `STALE_VERSION` if it has been changed since. */
  decidedOn?: number | undefined
}

export type SchedulesClient = {
  /** Creates a schedule, or replaces it; the same again changes nothing. Starts one of our sagas, which types the input, or one by name. */
  put<Input = Json, Field extends string = never>(
    name: string,
    saga: Saga<string, Input> | string,
    input: NoInfer<Given<Input, Field>>,
    details: ScheduleDetails & { instantAs?: Field | undefined },
    options?: ChangeOptions,
  ): Promise<Schedule>
  /** With the next times it runs, and what became of the last. */
  get(name: string, options?: CallOptions): Promise<Schedule>
  /** By name. */
  list(options?: ListOptions): Listing<ScheduleSummary>
  /** Answers with what it was. The sagas it has started go on. */
  delete(name: string, options?: ChangeOptions): Promise<Schedule>
  pause(name: string, options: ChangeOptions & VerbOptions): Promise<Schedule>
  /** Goes on with the next time: what came meanwhile is not caught up. */
  resume(name: string, options: ChangeOptions & VerbOptions): Promise<Schedule>
  /** Starts its saga now, also while it is paused. Runs with the same key are one run; without one, the client makes one up for this call. */
  runNow(
    name: string,
    options: ChangeOptions & VerbOptions & { idempotencyKey?: string | undefined },
  ): Promise<ScheduleStarted>
}

const SchedulePage = pageOf(ScheduleSummary)

export function schedulesClient(call: Transport): SchedulesClient {
  function change(verb: 'pause' | 'resume') {
    return async (name: string, { reason, decidedOn, ...options }: ChangeOptions & VerbOptions) => {
      const path = ['schedules', name, verb]
      const headers = ifMatch(decidedOn)
      return call({ method: 'POST', path, body: { reason }, headers, repeatable: true }, Schedule, options)
    }
  }

  return {
    async put(name, saga, input, details, { decidedOn, ...options } = {}) {
      const checked = checkJson(input)
      if (!checked.ok) {
        const { pointer, detail } = checked.problem
        const errors = [{ pointer: `/input${pointer}`, detail }]
        throw new BackstitchError({ code: 'INVALID_INPUT', detail: 'the input is not JSON', errors })
      }
      const definition = typeof saga === 'string' ? saga : saga.name
      const body = { definition, input: checked.value, ...details }
      // With a version named, a second arrival would find that the first has been there.
      const repeatable = decidedOn === undefined
      const path = ['schedules', name]
      return call({ method: 'PUT', path, body, headers: ifMatch(decidedOn), repeatable }, Schedule, options)
    },

    async get(name, options) {
      return call({ method: 'GET', path: ['schedules', name], repeatable: true }, Schedule, options)
    },

    list({ limit, ...options } = {}) {
      const path = ['schedules']
      return listing((cursor) =>
        call({ method: 'GET', path, query: { limit, cursor }, repeatable: true }, SchedulePage, options),
      )
    },

    // Deleted by a first arrival, it could not be answered to the second.
    async delete(name, { decidedOn, ...options } = {}) {
      const path = ['schedules', name]
      return call(
        { method: 'DELETE', path, headers: ifMatch(decidedOn), repeatable: false },
        Schedule,
        options,
      )
    },

    pause: change('pause'),
    resume: change('resume'),

    async runNow(name, { reason, decidedOn, idempotencyKey = crypto.randomUUID(), ...options }) {
      const path = ['schedules', name, 'run-now']
      const headers = { ...ifMatch(decidedOn), 'idempotency-key': idempotencyKey }
      return call(
        { method: 'POST', path, body: { reason }, headers, repeatable: true },
        ScheduleStarted,
        options,
      )
    },
  }
}

function ifMatch(version: number | undefined): { 'if-match': string | undefined } {
  return { 'if-match': version === undefined ? undefined : `"${version}"` }
}
