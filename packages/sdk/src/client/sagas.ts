import {
  Accepted,
  HistoryItem,
  isMoving,
  type Json,
  pageOf,
  type SagaFilter,
  SagaPlan,
  Saga as SagaSnapshot,
  SagaSummary,
  StartBatchAnswer,
  type StartSagaInput,
} from '@backstitch/core'
import { z } from 'zod'
import type { Saga } from '../define-saga.ts'
import { checkedInput } from './checked-input.ts'
import type { ListOptions } from './definitions.ts'
import { type Listing, listing } from './listing.ts'
import { type CallOptions, pause, type Query, type Transport } from './transport.ts'

/** What a caller may say about one start beside its input. */
export type StartDetails = Omit<StartSagaInput, 'definition' | 'input'>

export type StartOptions = CallOptions &
  StartDetails & {
    /** Starts with the same key are one start. With neither this nor a `sagaKey`, the client makes one up for this call. */
    idempotencyKey?: string | undefined
    /** Answer when the saga has ended, or needs a person, but after this time at the latest; up to 60,000. */
    waitMs?: number | undefined
  }

export type BatchStart<Input> = StartDetails & { input: Input }

export type VerbOptions = CallOptions & {
  /** Why, for the history. */
  reason: string
}

export type OperatorOptions = VerbOptions & {
  /** The step believed to be stuck; refused if it is another. */
  step?: string | undefined
  /** The saga's `version` when this was decided; refused with `STALE_VERSION` if it has moved since. */
  decidedOn?: number | undefined
}

export type LiveOptions = Omit<OperatorOptions, 'step'>

export type RetryVerbOptions = OperatorOptions & {
  /** Takes the place of the step's own input. */
  input?: Json | undefined
  /** Edit the input of a step that may have happened, or of a compensation: it may then be done twice. */
  force?: boolean | undefined
}

export type SagasClient = {
  /**
   * Starts a saga: one of ours, which types the input, or by name. Acknowledged means durable. A start that goes out twice
   * is still one start.
   */
  start<Input = Json>(
    saga: Saga<string, Input> | string,
    input: NoInfer<Input>,
    options?: StartOptions,
  ): Promise<SagaSnapshot>
  /** Up to 1,000 starts of one saga; an answer for each, in their order. */
  startBatch<Input = Json>(
    saga: Saga<string, Input> | string,
    starts: readonly BatchStart<NoInfer<Input>>[],
    options?: CallOptions & { idempotencyKey?: string | undefined },
  ): Promise<StartBatchAnswer['items']>
  get(sagaId: string, options?: CallOptions): Promise<SagaSnapshot>
  /** Newest first. */
  list(filter?: SagaFilter, options?: ListOptions): Listing<SagaSummary>
  /**
   * Waits until the saga has ended or needs a person; with `timeoutMs`, for so long, and then answers with the saga as it
   * stands. Look at its `status`.
   */
  wait(sagaId: string, options?: CallOptions): Promise<SagaSnapshot>
  /** Every transition, attempt and operator act, in order. */
  history(sagaId: string, options?: ListOptions): Listing<HistoryItem>
  /** Tells a step that waits for it, or one that will. What is sent twice is two signals, so it is not sent again by itself. */
  signal(sagaId: string, name: string, payload?: Json, options?: CallOptions): Promise<Accepted>
  /** Undoes what has been done. If it is too late, the error says how the saga ended (`sagaStatus`), or `PAST_PIVOT`. */
  cancel(sagaId: string, options: VerbOptions): Promise<Accepted>
  /** A stuck saga: tries the step again, with fresh attempts; with `input`, under a new key. */
  retry(sagaId: string, options: RetryVerbOptions): Promise<Accepted>
  /** A stuck saga: goes on without the step. */
  skip(sagaId: string, options: OperatorOptions): Promise<Accepted>
  /** A stuck saga: somebody has undone the step by hand. */
  markCompensated(sagaId: string, options: OperatorOptions): Promise<Accepted>
  /** Dispatches nothing more until it is resumed. What is under way ends. */
  pause(sagaId: string, options: LiveOptions): Promise<Accepted>
  resume(sagaId: string, options: LiveOptions): Promise<Accepted>
  /** Brings forward what is scheduled for later: a back-off or a delay. */
  runNow(sagaId: string, options: LiveOptions): Promise<Accepted>
  /** What each verb would make of the saga as it stands. */
  plan(sagaId: string, options?: CallOptions): Promise<SagaPlan>
  /** Any saga: ends it as it is, with whatever is still owed. */
  abandon(sagaId: string, options: LiveOptions): Promise<Accepted>
}

const SagaPage = pageOf(SagaSummary)

/** An entry of a kind that only a newer server knows is no reason to lose the others. */
const EntryOfNow = z.union([
  HistoryItem,
  z
    .object({ seq: z.int(), epoch: z.int(), worker: z.string().nullable(), at: z.string(), kind: z.string() })
    .transform(({ kind, ...entry }): HistoryItem => {
      const why = 'this version of the SDK does not know such an entry; the server may be newer'
      return { ...entry, kind: 'unreadable', storedKind: kind, why }
    }),
])
const HistoryPage = pageOf(EntryOfNow)

/** Proxies end what is silent for longer. */
const LONGEST_POLL_MS = 25_000
/** A server on its way down answers a poll at once: it is not asked again sooner than this. */
const SHORTEST_POLL_MS = 500

export function sagasClient(call: Transport): SagasClient {
  function operate(verb: string) {
    return async (
      sagaId: string,
      { reason, step, decidedOn, input, force, ...options }: RetryVerbOptions,
    ): Promise<Accepted> => {
      const headers = { 'if-match': decidedOn === undefined ? undefined : `"${decidedOn}"` }
      const path = ['sagas', sagaId, verb]
      // A second skip would skip the next step: what may have arrived is for the operator to look at.
      return call(
        {
          method: 'POST',
          path,
          body: { reason, step, ...(input !== undefined && { input: checkedInput(input, '/input') }), force },
          headers,
          repeatable: false,
        },
        Accepted,
        options,
      )
    }
  }

  return {
    async start(saga, input, options = {}) {
      const { signal, timeoutMs, headers, idempotencyKey, waitMs, ...details } = options
      const body = { definition: nameOf(saga), input: checkedInput(input, '/input'), ...details }
      const key = idempotencyKey ?? (details.sagaKey === undefined ? crypto.randomUUID() : undefined)
      return call(
        {
          method: 'POST',
          path: ['sagas'],
          query: { waitMs },
          body,
          headers: { 'idempotency-key': key },
          repeatable: true,
          heldMs: waitMs,
        },
        SagaSnapshot,
        { signal, timeoutMs, headers },
      )
    },

    async startBatch(saga, starts, { idempotencyKey = crypto.randomUUID(), ...options } = {}) {
      const definition = nameOf(saga)
      const sagas = starts.map(({ input, ...details }, index) => ({
        definition,
        input: checkedInput(input, `/sagas/${index}/input`),
        ...details,
      }))
      const headers = { 'idempotency-key': idempotencyKey }
      const path = ['sagas', 'batch']
      const answer = await call(
        { method: 'POST', path, body: { sagas }, headers, repeatable: true },
        StartBatchAnswer,
        options,
      )
      return answer.items
    },

    async get(sagaId, options) {
      return call({ method: 'GET', path: ['sagas', sagaId], repeatable: true }, SagaSnapshot, options)
    },

    list(filter = {}, { limit, ...options } = {}) {
      const query = { ...queryOf(filter), limit }
      return listing((cursor) =>
        call(
          { method: 'GET', path: ['sagas'], query: { ...query, cursor }, repeatable: true },
          SagaPage,
          options,
        ),
      )
    },

    async wait(sagaId, { timeoutMs = Number.POSITIVE_INFINITY, ...options } = {}) {
      const until = performance.now() + timeoutMs
      for (;;) {
        const started = performance.now()
        const heldMs = Math.round(Math.min(LONGEST_POLL_MS, Math.max(0, until - started)))
        const saga = await call(
          {
            method: 'GET',
            path: ['sagas', sagaId, 'wait'],
            query: { timeoutMs: heldMs },
            heldMs,
            repeatable: true,
          },
          SagaSnapshot,
          options,
        )
        const leftMs = until - performance.now()
        if (!isMoving(saga.status) || leftMs <= 0) return saga
        const earlyMs = SHORTEST_POLL_MS - (performance.now() - started)
        if (earlyMs > 0) await pause(Math.min(earlyMs, leftMs), options.signal)
      }
    },

    history(sagaId, { limit, ...options } = {}) {
      const path = ['sagas', sagaId, 'history']
      return listing((cursor) =>
        call({ method: 'GET', path, query: { limit, cursor }, repeatable: true }, HistoryPage, options),
      )
    },

    async signal(sagaId, name, payload = null, options = {}) {
      const path = ['sagas', sagaId, 'signals', name]
      return call(
        { method: 'POST', path, body: checkedInput(payload, ''), repeatable: false },
        Accepted,
        options,
      )
    },

    // Asked for twice it is still one cancel.
    async cancel(sagaId, { reason, ...options }) {
      const path = ['sagas', sagaId, 'cancel']
      return call({ method: 'POST', path, body: { reason }, repeatable: true }, Accepted, options)
    },

    async plan(sagaId, options) {
      return call({ method: 'GET', path: ['sagas', sagaId, 'plan'], repeatable: true }, SagaPlan, options)
    },

    pause: operate('pause'),
    resume: operate('resume'),
    runNow: operate('run-now'),
    retry: operate('retry'),
    skip: operate('skip'),
    markCompensated: operate('mark-compensated'),
    abandon: operate('abandon'),
  }
}

function nameOf(saga: Saga | string): string {
  return typeof saga === 'string' ? saga : saga.name
}

function queryOf({ tags = {}, ...filter }: SagaFilter): Query {
  return {
    ...filter,
    ...Object.fromEntries(Object.entries(tags).map(([name, value]) => [`tag.${name}`, value])),
  }
}
