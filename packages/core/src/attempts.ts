import { z } from 'zod'
import { directionOf } from './agenda.ts'
import { stepOf } from './compensation.ts'
import { type HistoryItem, JsonValue } from './contract.ts'
import { isAct, isChild, type ResolvedDefinition } from './definition.ts'
import type { AttemptId } from './event.ts'
import type { Values } from './expression.ts'
import { apply, begin, Probed } from './history.ts'
import { byteLength, type Json } from './json.ts'
import { renderRequest } from './request.ts'
import { Direction, entryOf, generationOf, overrideOf, type SagaState, Waiting } from './state.ts'
import { render } from './template.ts'
import { contextOf, valueIn } from './values.ts'

/**
 * Every attempt of a saga, read out of its history: what was sent, what came of it, how long it waited and took.
 *
 * 1. Each attempt that an entry ends is told exactly once, in the order of the entries; what has not ended comes last.
 * 2. No duration is negative, whatever the clocks said.
 * 3. What was sent is rendered again from what was known then. Nothing a worker's configuration adds is known here, and a
 *    header or a parameter that sounds like a secret is not shown.
 */

/** What is larger is left out of a list, and shown where it is asked for by itself. */
export const LISTED_BYTES = 16 * 1024

export const AttemptState = z.enum([
  'scheduled',
  'running',
  'waiting',
  'succeeded',
  'rejected',
  'failed',
  'uncertain',
  'leaseLost',
  'interrupted',
  'calledOff',
  'late',
])
export type AttemptState = z.infer<typeof AttemptState>

const AttemptRequest = z
  .object({
    method: z.string().optional(),
    service: z
      .string()
      .optional()
      .meta({ description: "of the worker's configuration; `url` is a path there" }),
    url: z.string().optional(),
    headers: z.record(z.string(), z.string()).optional().meta({
      description: "the definition's own; a value that may be a secret is not shown",
    }),
    body: JsonValue.optional(),
    input: JsonValue.optional().meta({ description: 'what a handler or a saga is given' }),
    result: JsonValue.optional().meta({ description: 'what a compensation is told of its action' }),
    failure: z.object({ step: z.string().optional(), reason: z.string() }).optional(),
  })
  .meta({ id: 'AttemptRequest' })
export type AttemptRequest = z.infer<typeof AttemptRequest>

const Omitted = z.enum(['request', 'result'])

export const AttemptView = z
  .object({
    step: z.string(),
    direction: Direction,
    attempt: z.int().min(1),
    state: AttemptState.meta({
      description:
        'leaseLost, interrupted: cut short with its worker, it runs again under its number; calledOff: nobody waits for it any more; late: a result after its time-out, not applied',
    }),
    seq: z.int().optional().meta({ description: 'the history entry that ended it' }),
    idempotencyKey: z.string().optional(),
    scheduledAt: z.string().optional().meta({ description: 'from when on it could be made' }),
    startedAt: z.string().optional(),
    endedAt: z.string().optional(),
    queuedMs: z.int().min(0).optional().meta({ description: 'from scheduledAt to startedAt' }),
    tookMs: z.int().min(0).optional(),
    waiting: Waiting.optional(),
    child: z.string().optional().meta({ description: 'the saga that carries it out, or undoes it' }),
    by: z.enum(['callback', 'child', 'signal']).optional().meta({ description: 'who told of its end' }),
    request: AttemptRequest.optional(),
    result: JsonValue.optional(),
    error: z.object({ code: z.string(), message: z.string() }).optional(),
    probes: z.array(Probed).optional(),
    outcome: z.string().optional().meta({ description: 'of what came late' }),
    nextAt: z.string().optional().meta({ description: 'when it is made again, or its wait is over' }),
    worker: z.string().optional(),
    omitted: z.array(Omitted).optional().meta({ description: 'too large for a list: ask with whole=true' }),
  })
  .meta({ id: 'AttemptView' })
export type AttemptView = z.infer<typeof AttemptView>

/** What is known of an attempt before its values are put in place, which may be large. */
export type Attempt = {
  facts: Omit<AttemptView, 'request' | 'result' | 'omitted'>
  result: { value: Json; bytes: number } | undefined
  /** As of when it was dispatched. */
  state: SagaState | undefined
}

type Open = {
  id: AttemptId
  scheduledAt: string
  /** It has to wait for this; then the next look at it is at `dueAt`. */
  dueAt: string | undefined
  waiting: Waiting | undefined
  startedAt: string | undefined
  child: string | undefined
  probes: Probed[]
  state: SagaState
}

/** Reads one history, entry by entry, keeping no more of it than its state and its values. */
export type AttemptReader = {
  /** The attempts that this entry ends. */
  take(item: HistoryItem): Attempt[]
  /** Those that have not ended. `now`: milliseconds since the epoch; `worker`: who holds the saga. */
  open(at: { now: number; worker?: string | undefined }): Attempt[]
  /** With its values. What is large is left out unless the whole is asked for. */
  view(attempt: Attempt, whole?: boolean): AttemptView
}

export function createAttemptReader(definition: ResolvedDefinition | undefined): AttemptReader {
  let state: SagaState | undefined
  const known: Known = { values: new Map(), edits: new Map() }
  const open = new Map<string, Open>()

  function take(item: HistoryItem): Attempt[] {
    if (item.kind === 'unreadable') {
      state = undefined
      open.clear()
      return []
    }
    const before = state
    const ended = endings(item, open, before).map((ending) => {
      const slot = slotOf(open, ending.id)
      if (ending.state !== 'late') open.delete(ending.id.step)
      return attemptOf(item, ending, ending.state === 'late' ? undefined : slot)
    })
    if (item.kind === 'attemptPending' || item.kind === 'childStarted') begun(item, slotOf(open, item))
    keepValues(item, known)
    if (item.kind === 'sagaStarted') state = begin(item)
    else if (before !== undefined) state = apply(before, item, item.seq)
    if (state === undefined) return ended
    const after = state
    for (const { facts } of ended) {
      const again = entryOf(after.attempts, facts.step) === facts.attempt + 1
      const nextAt = again ? entryOf(after.dueAt, facts.step) : undefined
      if (nextAt !== undefined) facts.nextAt = nextAt
    }
    return [...ended, ...follow(open, after, item).map((slot) => calledOff(item, slot))]
  }

  return {
    take,

    open: ({ now, worker }) =>
      [...open.values()].map((slot): Attempt => {
        const { id, scheduledAt, dueAt, waiting, startedAt, child, probes } = slot
        const isDue = dueAt === undefined || Date.parse(dueAt) <= now
        const isRunning = waiting === undefined && isDue && worker !== undefined && state?.status !== 'stuck'
        return {
          facts: {
            ...id,
            state: waiting !== undefined ? 'waiting' : isRunning ? 'running' : 'scheduled',
            scheduledAt,
            ...(startedAt !== undefined && { startedAt }),
            ...(waiting !== undefined && { waiting }),
            ...(child !== undefined && { child }),
            ...(probes.length > 0 && { probes }),
            ...(dueAt !== undefined && { nextAt: dueAt }),
            ...(isRunning && { worker }),
          },
          result: undefined,
          state: slot.state,
        }
      }),

    view({ facts, result, state: then }, whole = false) {
      const omitted: z.infer<typeof Omitted>[] = []
      const most = whole ? Number.POSITIVE_INFINITY : LISTED_BYTES
      let request: AttemptRequest | undefined
      if (then !== undefined && definition !== undefined) {
        if (then.bytes.total <= most) request = requestOf(definition, then, known, facts)
        else omitted.push('request')
        if (request !== undefined && !whole && byteLength(JSON.stringify(request)) > most) {
          request = undefined
          omitted.push('request')
        }
      }
      if (result !== undefined && result.bytes > most) omitted.push('result')
      return {
        ...facts,
        ...(then !== undefined && { idempotencyKey: keyOf(then, facts) }),
        ...(request !== undefined && { request }),
        ...(result !== undefined && result.bytes <= most && { result: result.value }),
        ...(omitted.length > 0 && { omitted }),
      }
    },
  }
}

/** All of them at once, for a history that is at hand. */
export function attemptsOf(
  items: readonly HistoryItem[],
  definition: ResolvedDefinition | undefined,
  at: { now: number; worker?: string | undefined },
): AttemptView[] {
  const reader = createAttemptReader(definition)
  const attempts = items.flatMap((item) => reader.take(item))
  return [...attempts, ...reader.open(at)].map((attempt) => reader.view(attempt, true))
}

// --- What an entry says --------------------------------------------------------------------------------------------

type Recorded = Exclude<HistoryItem, { kind: 'unreadable' }>
type Ending = {
  id: AttemptId
  state: AttemptState
  more: Partial<Attempt['facts']>
  result: Attempt['result']
}

function endings(item: Recorded, open: ReadonlyMap<string, Open>, before: SagaState | undefined): Ending[] {
  switch (item.kind) {
    case 'attemptSucceeded': {
      const { step, direction, attempt, by, probes, result, resultBytes } = item
      const more = { ...(by && { by }), ...(probes && { probes }) }
      return [
        {
          id: { step, direction, attempt },
          state: 'succeeded',
          more,
          result: { value: result, bytes: resultBytes },
        },
      ]
    }
    case 'attemptFailed': {
      const { step, direction, attempt, outcome, error, by, probes } = item
      const more = { error, ...(by && { by }), ...(probes && { probes }) }
      return [{ id: { step, direction, attempt }, state: outcome, more, result: undefined }]
    }
    case 'signalReceived': {
      const { step, result, resultBytes } = item
      const id = { step, direction: 'action', attempt: open.get(step)?.id.attempt ?? 1 } as const
      return [
        { id, state: 'succeeded', more: { by: 'signal' }, result: { value: result, bytes: resultBytes } },
      ]
    }
    case 'lateResult': {
      const { step, direction, attempt, outcome } = item
      return [{ id: { step, direction, attempt }, state: 'late', more: { outcome }, result: undefined }]
    }
    case 'leaseLost':
    case 'interrupted':
      return item.steps.map((step) => {
        const direction = before === undefined ? 'action' : directionOf(before)
        const id = open.get(step)?.id ?? { step, direction, attempt: 1 }
        return { id, state: item.kind, more: {}, result: undefined }
      })
    default:
      return []
  }
}

function attemptOf(item: Recorded, { id, state, more, result }: Ending, slot: Open | undefined): Attempt {
  const times = timesOf(item.at, 'tookMs' in item ? item.tookMs : undefined, slot)
  const { child, waiting, probes = [] } = slot ?? {}
  const asked = [...probes, ...(more.probes ?? [])]
  return {
    facts: {
      ...id,
      state,
      seq: item.seq,
      endedAt: item.at,
      ...(item.worker !== null && { worker: item.worker }),
      ...times,
      ...(child !== undefined && { child }),
      ...(waiting !== undefined && { waiting }),
      ...more,
      ...(asked.length > 0 && { probes: asked }),
    },
    result,
    state: slot?.state,
  }
}

/**
 * `at` is the database's time and `tookMs` the worker's: what does not fit is cut, never negative. A wait begins when it is
 * come to; of what was cut short nobody knows when it began.
 */
function timesOf(at: string, took: number | undefined, slot: Open | undefined): Partial<Attempt['facts']> {
  const ended = Date.parse(at)
  const scheduled = slot === undefined ? ended - (took ?? 0) : Math.min(Date.parse(slot.scheduledAt), ended)
  const began =
    slot?.startedAt !== undefined
      ? Date.parse(slot.startedAt)
      : took === undefined
        ? undefined
        : Math.max(scheduled, ended - took)
  const scheduledAt = slot === undefined ? {} : { scheduledAt: iso(scheduled) }
  if (began === undefined) return scheduledAt
  const started = Math.min(Math.max(began, scheduled), ended)
  return {
    ...scheduledAt,
    startedAt: iso(started),
    ...(slot !== undefined && { queuedMs: started - scheduled }),
    tookMs: ended - started,
  }
}

/** It goes on elsewhere: from here on it is waited for. */
function begun(
  item: Extract<Recorded, { kind: 'attemptPending' | 'childStarted' }>,
  slot: Open | undefined,
): void {
  if (slot === undefined) return
  if (item.kind === 'attemptPending') {
    slot.startedAt = timesOf(item.at, item.tookMs, slot).startedAt ?? item.at
    slot.probes.push(...(item.probes ?? []))
  }
  if (item.kind === 'childStarted') {
    slot.startedAt = item.at
    slot.child = item.child.sagaId
  }
}

/** Brings what is open in line with the agenda. The answer is what nobody waits for any more. */
function follow(open: Map<string, Open>, state: SagaState, { at }: Recorded): Open[] {
  const direction = directionOf(state)
  const gone = [...open.values()].filter(
    ({ id }) => id.direction !== direction || entryOf(state.attempts, id.step) !== id.attempt,
  )
  for (const { id } of gone) open.delete(id.step)
  for (const [step, attempt] of Object.entries(state.attempts)) {
    const dueAt = entryOf(state.dueAt, step)
    const waiting = entryOf(state.waiting, step)
    const slot = open.get(step)
    // A wait is come to at once, and is over when it is due.
    const scheduledAt = waiting === undefined && dueAt !== undefined ? dueAt : at
    if (slot === undefined) {
      const startedAt = waiting === undefined || waiting.for === 'condition' ? undefined : at
      const id = { step, direction, attempt }
      open.set(step, {
        id,
        scheduledAt,
        dueAt,
        waiting,
        startedAt,
        child: undefined,
        probes: [],
        state,
      })
      continue
    }
    if (slot.dueAt !== dueAt && waiting === undefined) slot.scheduledAt = scheduledAt
    // Dispatched later than scheduled, it is given what has come meanwhile.
    if (waiting === undefined && dueAt !== undefined && at <= dueAt) slot.state = state
    slot.dueAt = dueAt
    slot.waiting = waiting
  }
  return gone
}

/** Whoever gave it up did not make it: how long the entry's own attempt took says nothing of this one. */
function calledOff({ at, seq }: Recorded, slot: Open): Attempt {
  const { id, child, waiting, probes, state } = slot
  return {
    facts: {
      ...id,
      state: 'calledOff',
      seq,
      endedAt: at,
      ...timesOf(at, undefined, slot),
      ...(child !== undefined && { child }),
      ...(waiting !== undefined && { waiting }),
      ...(probes.length > 0 && { probes }),
    },
    result: undefined,
    state,
  }
}

/** What the entries hold and the state only refers to: results by name (S33), edited inputs by entry (S30a). */
type Known = { values: Map<string, Json>; edits: Map<number, Json> }

function keepValues(item: Recorded, { values, edits }: Known): void {
  if (item.kind === 'sagaStarted' && item.spilled === true) {
    values.set('input', item.input)
    for (const [name, value] of Object.entries(item.undo?.results ?? {})) values.set(name, value)
  }
  if ((item.kind === 'attemptSucceeded' || item.kind === 'signalReceived') && item.spilled === true)
    values.set(item.step, item.result)
  if (item.kind === 'retried' && item.edited !== undefined) edits.set(item.seq, item.edited.input)
}

function slotOf(open: ReadonlyMap<string, Open>, { step, direction, attempt }: AttemptId): Open | undefined {
  const slot = open.get(step)
  return slot?.id.direction === direction && slot.id.attempt === attempt ? slot : undefined
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}

// --- What was sent -------------------------------------------------------------------------------------------------

/** S2, as the worker makes it. */
function keyOf(state: SagaState, { step, direction }: Pick<AttemptId, 'step' | 'direction'>): string {
  return `${state.undoOf ?? state.sagaId}:${step}:${direction}:${generationOf(state, { step, direction })}`
}

function requestOf(
  definition: ResolvedDefinition,
  state: SagaState,
  { values: spilled, edits }: Known,
  { step, direction, attempt }: AttemptId,
): AttemptRequest | undefined {
  const way = stepOf(definition, step)?.[direction]
  if (way === undefined) return undefined
  const { input, context } = contextOf(state, spilled)
  const seq = overrideOf(state, { step, direction })?.seq
  const edited = seq === undefined ? undefined : edits.get(seq)
  const sagaId = state.undoOf ?? state.sagaId
  const result = direction === 'compensation' ? valueIn(state, spilled, step) : undefined
  const failure =
    direction === 'compensation'
      ? {
          ...(state.failedStep !== undefined && { step: state.failedStep }),
          reason: state.failureReason ?? '',
        }
      : undefined
  const told = { ...(result !== undefined && { result }), ...(failure !== undefined && { failure }) }
  const { name, version } = state.definition
  const key = keyOf(state, { step, direction })
  const saga = { id: sagaId, definition: name, version, step, direction, attempt, idempotencyKey: key }
  const values: Values = {
    input,
    context,
    saga,
    ...(failure !== undefined && {
      result: result ?? null,
      failure: { step: failure.step ?? null, reason: failure.reason },
    }),
  }
  if (isChild(way)) {
    if (edited !== undefined || way.input === undefined) return { input: edited ?? input }
    const rendered = render(way.input, values)
    return rendered.ok ? { input: rendered.value } : undefined
  }
  if (!isAct(way)) return undefined
  const { call } = way
  if (call.type !== 'http') return { input: edited ?? input, ...told }
  // An edited body takes the place of one that may be the very thing that could not be written.
  const sent = way.request && edited !== undefined ? { ...way.request, body: undefined } : way.request
  const rendered = sent && renderRequest(sent, values)
  if (rendered?.ok !== true) return undefined
  const { url, path, headers, body: written } = rendered.value
  const body = call.body === undefined ? undefined : (edited ?? written)
  const to = url ?? path
  return {
    method: call.method,
    ...(call.service !== undefined && { service: call.service }),
    ...(to !== undefined && { url: withoutSecrets(to) }),
    headers: Object.fromEntries(
      Object.entries(headers).map(([header, value]) => [header, isSecret(header) ? HIDDEN : value]),
    ),
    ...(call.method !== 'GET' && {
      body: body ?? { sagaId, step, direction, input: edited ?? input, context, ...told },
    }),
  }
}

export const HIDDEN = '•••'
const SECRET = /auth|cookie|credential|key|pass|secret|session|signature|token/i

/** What sounds like a secret is taken for one. */
function isSecret(name: string): boolean {
  return SECRET.test(name)
}

function withoutSecrets(url: string): string {
  return url.replaceAll(/([?&])([^=&]+)=([^&]*)/g, (whole, mark: string, name: string) =>
    isSecret(name) ? `${mark}${name}=${HIDDEN}` : whole,
  )
}
