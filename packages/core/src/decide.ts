import {
  agendaWith,
  agendaWithout,
  deadlineActs,
  directionOf,
  dueNow,
  EMPTY_AGENDA,
  isAttempted,
  isAwaited,
  overdue,
} from './agenda.ts'
import { stepOf } from './compensation.ts'
import { crashLooped, cutShort, type Given, giveUp, goOn, moveOn, onward, settle, turn } from './course.ts'
import { type Act, isAct, isWait, type ResolvedDefinition } from './definition.ts'
import type { AttemptId, ChildReport, Event } from './event.ts'
import { type Change, change, type Entry, type Fact, note } from './history.ts'
import { instantText } from './instant.ts'
import { byteLength, sanitizeText } from './json.ts'
import {
  INLINE_BYTES,
  MAX_CONTEXT_BYTES,
  MAX_ERROR_BYTES,
  MAX_KEPT_SIGNALS,
  MAX_LEASES_LOST,
  MAX_REASON_BYTES,
} from './limits.ts'
import { retryDelayMs } from './retry.ts'
import { entryOf, isMoving, isTerminal, type SagaState } from './state.ts'
import { byOperator, pastDeadline, resumed } from './verbs.ts'

/**
 * The rules. `decide` says what one event makes of a saga; it does nothing, knows no clock and draws no random number.
 *
 * Invariants, proven in decide.laws.test.ts and, for what runs at once, in groups.laws.test.ts:
 *  1. terminal is absorbing (S22)
 *  2. what is compensated is the reverse of what completed, with uncertain steps that ask for it in their place (S8, S9)
 *  3. nothing is compensated twice (S10)
 *  4. attempts are bounded (S5, S11, S19)
 *  5. every moving saga has something under way or scheduled, or is paused (S15)
 *  6. folding the entries gives the state (S35)
 *  7. once the pivot has completed nothing is undone (S14)
 */

export type Decision = { is: 'transition'; entry: Entry; state: SagaState } | { is: 'ignored'; why: string }

const MAX_CODE_BYTES = 128

export function decide(state: SagaState, event: Event, known: Given): Decision {
  if (isTerminal(state.status)) return ignored(`the saga is ${state.status}`)
  const given = { ...known, underWay: known.underWay?.filter((step) => !isAbout(event, step)) }
  const at = instantText(given.now)
  const record = recorder(state, given)

  switch (event.type) {
    case 'attemptSucceeded': {
      if (!isAwaited(state, event)) return ignored(notAwaited(event))
      const { type: _, inDoubt = false, ...facts } = event
      const succeeded = { kind: 'attemptSucceeded', at, ...facts, outcome: 'succeeded' } as const
      if (event.direction === 'compensation') {
        const doubt = inDoubt ? { uncertain: [event.step] } : {}
        return record(succeeded, (mid) => ({ ...doubt, ...goOn(change(mid, doubt), event.step, given) }))
      }
      if (!fits(state, event.resultBytes)) {
        const { step, direction, attempt } = event
        const error = { code: 'CONTEXT_TOO_LARGE', message: tooLarge(state, event.resultBytes) }
        // What a participant did stays done; a delay did nothing.
        const outcome = entryOf(state.waiting, step)?.for === 'delay' ? 'failed' : 'uncertain'
        return decide(state, { type: 'attemptFailed', step, direction, attempt, outcome, error }, given)
      }
      const spilled = state.bytes.inline + event.resultBytes > INLINE_BYTES
      return record({ ...succeeded, ...(spilled && { spilled }) }, (mid) =>
        goOn(mid, event.step, given, event),
      )
    }

    case 'attemptPending': {
      if (!isAttempted(state, event)) return ignored(notAwaited(event))
      const { type: _, ...facts } = event
      const { callbackMs } = actOf(given.definition, event)
      if (callbackMs === undefined) return ignored('no callback is waited for')
      return record({ kind: 'attemptPending', at, ...facts }, (mid) => {
        // The saga has turned round meanwhile: it waits no longer for what may yet happen.
        if (mid.cause !== undefined && event.direction === 'action') {
          const uncertain = { uncertain: [event.step] }
          return { ...uncertain, ...goOn(change(mid, uncertain), event.step, given) }
        }
        const dueAt = new Date(given.now + callbackMs).toISOString()
        const slot = { attempt: event.attempt, dueAt, waiting: { for: 'callback' as const } }
        return settle(mid, agendaWith(mid, event.step, slot), given)
      })
    }

    case 'childStarted': {
      if (!isAttempted(state, event)) return ignored(notAwaited(event))
      const { type: _, ...facts } = event
      return record({ kind: 'childStarted', at, ...facts }, (mid) => {
        const waiting = { for: 'saga' as const, sagaId: event.child.sagaId }
        return settle(mid, agendaWith(mid, event.step, { attempt: event.attempt, waiting }), given)
      })
    }

    case 'childReported':
      return hearOfChild(state, event, given, record)

    case 'conditionDue': {
      if (overdue(state, given.now)?.type !== 'conditionDue') return ignored('no condition is waited for')
      return record({ kind: 'conditionChecked', at }, (mid) =>
        onward(change(mid, EMPTY_AGENDA), mid.currentStepIndex, given),
      )
    }

    case 'nothingRuns': {
      if (state.gaveUp === undefined || !isMoving(state.status) || state.paused !== undefined)
        return ignored('nothing has given up')
      return record({ kind: 'waitedNoLonger', at }, (mid) => settle(mid, agendaWithout(mid, []), given))
    }

    case 'signalReceived': {
      const { signal, letter, payload: result, payloadBytes: resultBytes } = event
      const step = waitingFor(state, signal)
      const [oldest = letter] = entryOf(state.signals, signal) ?? []
      if (step === undefined || oldest !== letter) return keepSignal(state, event, given, record)
      if (!fits(state, resultBytes)) {
        const why = tooLarge(state, resultBytes)
        return record({ kind: 'signalDropped', at, signal, letter, why }, () => ({}))
      }
      const spilled = state.bytes.inline + resultBytes > INLINE_BYTES
      const received = { kind: 'signalReceived', at, signal, letter, step, result, resultBytes } as const
      return record({ ...received, ...(spilled && { spilled }) }, (mid) =>
        goOn(mid, step, given, { step, result }),
      )
    }

    case 'attemptFailed': {
      if (!isAwaited(state, event)) return ignored(notAwaited(event))
      const { type: _, retryAfterMs: __, ...told } = event
      const error = {
        code: sanitizeText(event.error.code, MAX_CODE_BYTES),
        message: sanitizeText(event.error.message, MAX_ERROR_BYTES),
      }
      const facts = { ...told, error }
      const { step, direction, attempt } = event
      const maxAttempts = attemptsOf(given.definition, event)
      const isLast = event.outcome === 'rejected' || attempt >= maxAttempts
      return record({ kind: 'attemptFailed', at, ...facts }, (mid) => {
        const isForward = direction === 'action'
        if (isForward && mid.cause !== undefined) return goOn(mid, step, given)
        if (!isLast) return retry(mid, event, given)
        if (!isForward) {
          const message = undoFailed(facts)
          return giveUp(mid, step, { reason: 'compensationFailed', message }, given)
        }
        const failureReason = reasonOf(facts, maxAttempts)
        // A stuck saga is left by a person alone (S30): what failed meanwhile is looked at then.
        if (mid.pivot === 'completed' || mid.status === 'stuck')
          return giveUp(mid, step, { reason: 'retriesExhausted', message: failureReason }, given)
        const pivot = mid.pivot === undefined ? {} : { pivot: 'failed' as const }
        const why = { ...pivot, cause: 'failure', failedStep: step, failureReason } as const
        return turn(change(mid, agendaWithout(mid, [step])), why, given)
      })
    }

    case 'lateResult': {
      const { type: _, ...facts } = event
      return record({ kind: 'lateResult', at, ...facts }, () => ({}))
    }

    case 'leaseLost': {
      if (!isMoving(state.status) || event.leasesLost <= (state.leasesLost ?? 0))
        return ignored('already recorded')
      const dispatched = dueNow(state, given.now)
      const { steps, left } = cutShort(given.definition, state, dispatched)
      return record({ kind: 'leaseLost', at, leasesLost: event.leasesLost, steps }, (mid) => {
        if (event.leasesLost < MAX_LEASES_LOST) return left
        const suspect = dispatched[0] ?? Object.keys(mid.attempts)[0]
        const where = suspect === undefined ? 'with nothing under way' : `at step "${suspect}"`
        const message = `${MAX_LEASES_LOST} workers in a row died while they held this saga ${where}, without progress between`
        return crashLooped(change(mid, left), suspect, message, given)
      })
    }

    case 'interrupted': {
      if (!isMoving(state.status)) return ignored('nothing was under way')
      const { begun } = event
      const due = dueNow(state, given.now)
      const cut = begun === undefined ? due : due.filter((step) => begun.includes(step))
      const { steps, left } = cutShort(given.definition, state, cut)
      return record({ kind: 'interrupted', at, steps }, () => left)
    }

    case 'deadlinePassed': {
      if (!deadlineActs(state)) return ignored('the deadline has nothing left to stop')
      return record({ kind: 'deadlinePassed', at }, (mid) => pastDeadline(mid, state.deadlineAt, given))
    }

    case 'cancelRequested': {
      const { type: _, ...facts } = event
      const failureReason = sanitizeText(`cancelled by ${event.actor}: ${event.reason}`, MAX_REASON_BYTES)
      return record({ kind: 'cancelRequested', at, ...facts }, (noted) =>
        moveOn(noted, given, (mid) => {
          // A saga that is stuck going forward turns round now, whether or not it was to turn round before (S25).
          const goesForward =
            mid.status === 'running' ? mid.cause === undefined : mid.stuck?.direction === 'action'
          if (goesForward && mid.pivot === undefined)
            return turn(mid, { cause: 'cancel', failureReason }, given)
          // It had nothing to turn round; what was held back by a pause goes on (S30a).
          return state.paused === undefined ? {} : resumed(mid, given)
        }),
      )
    }

    case 'verbRequested': {
      const { fact, follow } = byOperator(state, event, given)
      return record(fact, follow)
    }
  }
}

/** What an event tells of is running no more. */
function isAbout(event: Event, step: string): boolean {
  return 'step' in event && event.step === step
}

/** S4, M4: the end of a child is the end of its step. That it needs a person only shows why this saga waits. */
function hearOfChild(
  state: SagaState,
  { sagaId: child, status, clean, reason, result = null, resultBytes = 4 }: ChildReport,
  given: Given,
  record: ReturnType<typeof recorder>,
): Decision {
  const [step, waiting] =
    Object.entries(state.waiting ?? {}).find(([, one]) => one.for === 'saga' && one.sagaId === child) ?? []
  if (step === undefined || waiting?.for !== 'saga') return ignored(`saga ${child} is not waited for`)
  const direction = directionOf(state)
  const attempt = entryOf(state.attempts, step) ?? 1
  const id = { step, direction, attempt, by: 'child' as const }
  if (status === 'completed') {
    // It has happened and can be undone, whether or not there is room for what it has to say.
    const less = { sagaId: child, results: null }
    const told = fits(state, resultBytes)
      ? { result, resultBytes }
      : { result: less, resultBytes: byteLength(JSON.stringify(less)) }
    return decide(state, { type: 'attemptSucceeded', ...id, ...told, inDoubt: clean === false }, given)
  }
  if (isTerminal(status)) {
    const why = reason === undefined ? '' : `: ${reason}`
    const error = { code: `CHILD_${status.toUpperCase()}`, message: `saga ${child} is ${status}${why}` }
    // What it left behind it leaves behind here.
    const outcome = clean === true ? 'rejected' : 'uncertain'
    return decide(state, { type: 'attemptFailed', ...id, outcome, error }, given)
  }
  if ((waiting.stuck === true) === (status === 'stuck')) return ignored(`saga ${child} is ${status}`)
  const at = instantText(given.now)
  return record({ kind: 'childReported', at, step, child, status }, (mid) => {
    const { stuck: _, ...rest } = waiting
    return agendaWith(mid, step, {
      attempt,
      waiting: status === 'stuck' ? { ...rest, stuck: true } : rest,
    })
  })
}

function retry(
  state: SagaState,
  failed: AttemptId & { retryAfterMs?: number | undefined },
  given: Given,
): Change {
  const act = actOf(given.definition, failed)
  const delayMs = retryDelayMs(act.retry, failed.attempt, given.random, failed.retryAfterMs)
  const dueAt = new Date(given.now + delayMs).toISOString()
  const left = agendaWith(state, failed.step, { attempt: failed.attempt + 1, dueAt })
  return settle(state, left, given)
}

/** What is carried out in this direction of a step. */
export function actOf(definition: ResolvedDefinition, { step, direction }: AttemptId): Act {
  const act = stepOf(definition, step)?.[direction]
  // The schedule only ever names what the pinned definition has: anything else is a bug.
  if (act === undefined || !isAct(act))
    throw new Error(
      `definition "${definition.name}" version ${definition.version} has no ${direction} of step "${step}" to carry out`,
    )
  return act
}

/** A wait is waited out once (S7a), and a child ends once. */
function attemptsOf(definition: ResolvedDefinition, { step, direction }: AttemptId): number {
  const way = stepOf(definition, step)?.[direction]
  return way !== undefined && isAct(way) ? way.retry.maxAttempts : 1
}

function notAwaited({ step, direction, attempt }: AttemptId): string {
  return `attempt ${attempt} of the ${direction} of step "${step}" is not awaited`
}

function fits(state: SagaState, bytes: number): boolean {
  return state.bytes.total + bytes <= MAX_CONTEXT_BYTES
}

function tooLarge(state: SagaState, bytes: number): string {
  return `the result has ${bytes} bytes and the context already ${state.bytes.total}; together they may have ${MAX_CONTEXT_BYTES}`
}

function waitingFor(state: SagaState, signal: string): string | undefined {
  if (state.status !== 'running' || state.cause !== undefined) return undefined
  return Object.entries(state.waiting ?? {}).find(
    ([, waiting]) => waiting.for === 'signal' && waiting.signal === signal,
  )?.[0]
}

/**
 * M2: it waits for its step in its letter, first in first out. A letter that is kept already stays where it is. What no step
 * of the definition ever waits for is not kept: the state would grow with every name that somebody thinks of.
 */
function keepSignal(
  state: SagaState,
  { signal, letter }: { signal: string; letter: number },
  { definition, now }: Given,
  record: ReturnType<typeof recorder>,
): Decision {
  const at = instantText(now)
  const kept = entryOf(state.signals, signal) ?? []
  if (
    !definition.steps.some(
      ({ action }) => isWait(action) && action.for === 'signal' && action.signal === signal,
    )
  ) {
    return record(
      { kind: 'signalDropped', at, signal, letter, why: 'no step waits for this signal' },
      () => ({}),
    )
  }
  if (kept.includes(letter)) return ignored(`signal "${signal}" is kept already, and no step waits for it`)
  if (kept.length < MAX_KEPT_SIGNALS) return record({ kind: 'signalKept', at, signal, letter }, () => ({}))
  const why = `${MAX_KEPT_SIGNALS} signals of this name are kept already`
  return record({ kind: 'signalDropped', at, signal, letter, why }, () => ({}))
}

/** S12: a compensation that cannot be done goes to a person; none is skipped ahead of it. */
function undoFailed(event: AttemptId & { error: { code: string; message: string } }): string {
  return sanitizeText(
    `the compensation of step "${event.step}" failed on attempt ${event.attempt}: ${event.error.code}: ${event.error.message}`,
    MAX_REASON_BYTES,
  )
}

function reasonOf(
  event: AttemptId & { outcome: string; error: { code: string; message: string } },
  maxAttempts: number,
): string {
  const which = `step "${event.step}" ${event.outcome === 'rejected' ? 'was rejected' : 'failed'} on attempt ${event.attempt} of ${maxAttempts}`
  return sanitizeText(`${which}: ${event.error.code}: ${event.error.message}`, MAX_REASON_BYTES)
}

function ignored(why: string): Decision {
  return { is: 'ignored', why }
}

/** Completes a fact with what follows from it, and the state with both. */
function recorder(state: SagaState, given: Given) {
  return (fact: Fact, follow: (mid: SagaState) => Change): Decision => {
    const draft: Entry = { ...fact, to: {} }
    const mid = note(state, draft, given.version + 1)
    draft.to = follow(mid)
    return { is: 'transition', entry: draft, state: change(mid, draft.to) }
  }
}
