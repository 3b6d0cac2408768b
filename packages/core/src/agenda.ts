import type { NextAct } from './contract.ts'
import { MAX_DURATION_MS } from './definition.ts'
import type { AttemptId, Event } from './event.ts'
import type { Change } from './history.ts'
import {
  type Direction,
  entryOf,
  isMoving,
  isTerminal,
  type SagaState,
  type Waiting,
  without,
} from './state.ts'

/** What a saga has under way, and what it waits for: read out of its state. */

/**
 * What a saga waits for, as a value: what the worker does, and what the API says will happen next. A paused one waits for
 * whoever resumes it, whatever it has scheduled (S30a).
 */
export type Next = { act: 'nothing' } | { act: 'waitForOperator' } | { act: 'attempt'; attempts: Scheduled[] }

/** `waiting`: no worker carries it out; it ends at `dueAt`, or before that by what it waits for. */
export type Scheduled = AttemptId & { dueAt: string | undefined; waiting: Waiting | undefined }

export function next(state: SagaState): Next {
  if (isTerminal(state.status)) return { act: 'nothing' }
  if (state.status === 'stuck' || state.paused !== undefined) return { act: 'waitForOperator' }
  const direction = directionOf(state)
  return {
    act: 'attempt',
    attempts: Object.entries(state.attempts).map(([step, attempt]) => ({
      step,
      direction,
      attempt,
      dueAt: entryOf(state.dueAt, step),
      waiting: entryOf(state.waiting, step),
    })),
  }
}

/** `next` as the API shows it: what is absent is left out. */
export function nextAct(state: SagaState): NextAct {
  const due = next(state)
  if (due.act !== 'attempt') return { act: due.act }
  const attempts = due.attempts.map(({ dueAt, waiting, ...id }) => ({
    ...id,
    ...(dueAt !== undefined && { dueAt }),
    ...(waiting !== undefined && { waiting }),
  }))
  return { act: 'attempt', attempts }
}

/** Which way a saga goes; a stuck one, which way it went. */
export function directionOf(state: SagaState): Direction {
  if (state.status === 'stuck') return state.stuck?.direction ?? 'action'
  return state.status === 'compensating' ? 'compensation' : 'action'
}

/** What an attempt comes to whose callback has not come in time (M3a). */
export const CALLBACK_OVERDUE = {
  outcome: 'uncertain',
  error: { code: 'CALLBACK_TIMEOUT', message: 'the callback had not come in time' },
} as const

/** The attempts whose callback has not come in time. Where a step has a probe it is asked before that counts (S11a). */
export function overdueCallbacks(state: SagaState, now: number): AttemptId[] {
  const due = next(state)
  if (due.act !== 'attempt') return []
  return due.attempts.flatMap(({ step, direction, attempt, dueAt, waiting }) =>
    waiting?.for === 'callback' && dueAt !== undefined && Date.parse(dueAt) <= now
      ? [{ step, direction, attempt }]
      : [],
  )
}

/**
 * What a wait comes to when its time is over (S7a): a delay has done its work, a signal or a callback has not come.
 * `but`: the steps whose participant is asked first.
 */
export function overdue(state: SagaState, now: number, but: readonly string[] = []): Event | undefined {
  const due = next(state)
  if (due.act !== 'attempt') return undefined
  for (const { step, direction, attempt, dueAt, waiting } of due.attempts) {
    if (waiting === undefined || dueAt === undefined || Date.parse(dueAt) > now || but.includes(step))
      continue
    const failed = { type: 'attemptFailed', step, direction, attempt } as const
    switch (waiting.for) {
      case 'condition':
        return { type: 'conditionDue' }
      case 'delay':
        return { type: 'attemptSucceeded', step, direction, attempt, result: null, resultBytes: 4 }
      case 'callback':
        return { ...failed, ...CALLBACK_OVERDUE }
      case 'signal': {
        // It came in time and lies in its letter, however late the letter is read.
        if (entryOf(state.signals, waiting.signal) !== undefined) continue
        const message = `the signal "${waiting.signal}" had not come in time`
        return { ...failed, outcome: 'failed', error: { code: 'SIGNAL_TIMEOUT', message } }
      }
      // A child has its own deadline or none; its end is heard of, and never waited out.
      case 'saga':
        continue
    }
  }
  return undefined
}

/** A letter whose signal came before its step, and whose step now waits for it (M2). */
export function keptSignal(state: SagaState): { signal: string; letter: number } | undefined {
  if (state.status !== 'running' || state.paused !== undefined) return undefined
  for (const waiting of Object.values(state.waiting ?? {})) {
    if (waiting.for !== 'signal') continue
    const [letter] = entryOf(state.signals, waiting.signal) ?? []
    if (letter !== undefined) return { signal: waiting.signal, letter }
  }
  return undefined
}

/**
 * When a worker must look at the saga again, in milliseconds since the epoch: its earliest attempt or its deadline.
 * `undefined` where no time will change anything: the saga has ended or a person must act. What waits for a child alone
 * hears of its end by mail; its own time is as far off as any may be.
 */
export function wakeAt(state: SagaState, now: number, underWay: readonly string[] = []): number | undefined {
  if (!isMoving(state.status) || state.paused !== undefined) return undefined
  let at = now + MAX_DURATION_MS
  for (const step of Object.keys(state.attempts)) {
    if (entryOf(state.waiting, step)?.for === 'saga' || underWay.includes(step)) continue
    const dueAt = entryOf(state.dueAt, step)
    at = Math.min(at, dueAt === undefined ? now : Date.parse(dueAt))
  }
  return deadlineActs(state) ? Math.min(at, Date.parse(state.deadlineAt)) : at
}

/** Has the deadline passed, with something left for it to stop? */
export function isPastDeadline(state: SagaState, now: number): boolean {
  return deadlineActs(state) && Date.parse(state.deadlineAt) <= now
}

/**
 * A deadline stops what goes forward; it stops no compensation, and nothing once the pivot is under way (S7). Of a paused saga
 * it acts when that is resumed (S30a).
 */
export function deadlineActs(state: SagaState): state is SagaState & { deadlineAt: string } {
  return (
    state.deadlineAt !== undefined &&
    state.status === 'running' &&
    state.cause === undefined &&
    state.pivot === undefined &&
    state.paused === undefined
  )
}

/** The attempts that may have been dispatched: those without a due time, or with one that has come. Nobody dispatches a wait. */
export function dueNow(state: SagaState, now: number): string[] {
  return Object.keys(state.attempts).filter((step) => isDue(state, step, now))
}

function isDue(state: SagaState, step: string, now: number): boolean {
  if (entryOf(state.waiting, step) !== undefined) return false
  const dueAt = entryOf(state.dueAt, step)
  return dueAt === undefined || Date.parse(dueAt) <= now
}

/** What a worker may begin at this moment: what it has not begun already. */
export function attemptsDue(
  state: SagaState,
  now: number,
  begun: { has(step: string): boolean },
): AttemptId[] {
  const due: AttemptId[] = []
  if (!isMoving(state.status) || state.paused !== undefined) return due
  const direction = directionOf(state)
  for (const [step, attempt] of Object.entries(state.attempts))
    if (!begun.has(step) && isDue(state, step, now)) due.push({ step, direction, attempt })
  return due
}

/** Duplicates and results of attempts that are no longer current change nothing. */
export function isAwaited(state: SagaState, { step, direction, attempt }: AttemptId): boolean {
  return directionOf(state) === direction && entryOf(state.attempts, step) === attempt
}

/** Is this the attempt that its step is at, with no word yet that it goes on elsewhere? */
export function isAttempted(state: SagaState, id: AttemptId): boolean {
  return isAwaited(state, id) && entryOf(state.waiting, id.step) === undefined
}

// --- The agenda as a change --------------------------------------------------------------------------------------

/** What replaces `attempts`, `dueAt` and `waiting` as a whole. */
export type Agenda = { attempts: Record<string, number> } & Pick<Change, 'dueAt' | 'waiting'>

/** One step's place in it. */
export type Slot = { attempt: number; dueAt?: string; waiting?: Waiting }

export const EMPTY_AGENDA: Agenda = { attempts: {} }

/** The agenda without some of its steps. */
export function agendaWithout(state: SagaState, steps: readonly string[]): Agenda {
  if (Object.keys(state.attempts).every((step) => steps.includes(step))) return EMPTY_AGENDA
  return agenda(
    without(state.attempts, steps),
    without(state.dueAt ?? {}, steps),
    without(state.waiting ?? {}, steps),
  )
}

/** The agenda with one more step, or with another place for a step that it has. */
export function agendaWith(state: SagaState, step: string, { attempt, dueAt, waiting }: Slot): Agenda {
  const left = agendaWithout(state, [step])
  return agenda(
    { ...left.attempts, [step]: attempt },
    { ...left.dueAt, ...(dueAt !== undefined && { [step]: dueAt }) },
    { ...left.waiting, ...(waiting !== undefined && { [step]: waiting }) },
  )
}

export function isEmpty(agenda: Agenda): boolean {
  return Object.keys(agenda.attempts).length === 0
}

function agenda(
  attempts: Record<string, number>,
  dueAt: Record<string, string>,
  waiting: Record<string, Waiting>,
): Agenda {
  return {
    attempts,
    ...(Object.keys(dueAt).length > 0 && { dueAt }),
    ...(Object.keys(waiting).length > 0 && { waiting }),
  }
}
