import {
  type Act,
  type AttemptId,
  actOf,
  attemptsDue,
  CALLBACK_OVERDUE,
  type Decision,
  decide,
  directionOf,
  type Event,
  editOf,
  entryOf,
  type Given,
  isAwaited,
  isMoving,
  isPastDeadline,
  isTerminal,
  keptSignal,
  next,
  overdue,
  overdueCallbacks,
  type SagaState,
  stepOf,
  wakeAt,
} from '@backstitch/core'
import type { InputSchemas } from '@backstitch/input-schema'
import type {
  ChildStart,
  Claimed,
  CommitAnswer,
  DatabaseClock,
  Definitions,
  Family,
  History,
  KnownMail,
  Lease,
  Letter,
  Mailbox,
  Queued,
  Transition,
} from '@backstitch/store'
import { isGated, isOutage, UnknownLetter } from '@backstitch/store'
import type { Logger } from 'pino'
import type { Admission, Permit } from './attempt/admission.ts'
import type { AttemptEnd } from './attempt/attempt.ts'
import type { Participants } from './attempt/participants.ts'
import { CALLED_OFF } from './attempt/probing.ts'
import { attemptRequest, type CallbackMaker } from './attempt/request.ts'
import { type ChildDue, childIn, familyOf, queuesMadeDue, startChild } from './children.ts'
import { createComplaints } from './complaints.ts'
import type { Counters } from './counters.ts'
import { eventOf, eventOfLetter } from './events.ts'
import type { GroupCommit } from './group-commit.ts'
import {
  abandonAttempts,
  callOff,
  type Held,
  isUnderWay,
  mayRepeat,
  type News,
  nextNews,
  notify,
} from './held.ts'

/**
 * Runs one claimed saga until its lease is given up: read the mail, dispatch what is due, wait for an outcome, decide,
 * commit, and again. One transition at a time; the next is dispatched only after the commit (S1, S17a).
 */
export type Runner = {
  /**
   * Resolves when the saga is no longer this worker's. Never rejects. `again`: this worker has had it before, and may
   * have lost its attempts with the database. `onProgress` is called when an attempt's end has been committed.
   */
  run(claimed: Claimed, how?: { again?: boolean; onProgress?: () => void }): Promise<void>
  /** There is mail for a saga that is held here. */
  poke(sagaId: string): void
  /** From now on every saga is let go at its next transition. */
  drain(): void
  /** Cuts running attempts short and lets their sagas go, with a word in the history (S21). */
  interrupt(): void
  /** The leases are gone: everything stops, and nothing more is written (S16). */
  forsake(): void
  /** Sagas held now. */
  readonly holds: number
  /** The definition of each. */
  heldDefinitions(): Queued[]
  /** Is this lease being run here? */
  has(lease: Lease): boolean
}

export type RunnerParts = {
  definitions: Definitions
  mailbox: Pick<Mailbox, 'read' | 'post'>
  history: Pick<History, 'values'>
  sagaState(sagaId: string): Promise<SagaState | undefined>
  callbackOf: CallbackMaker
  schemas: InputSchemas
  clock: DatabaseClock
  commit: GroupCommit
  release(lease: Lease, delayMs: number, mail: KnownMail): Promise<void>
  park(lease: Lease, reason: string, mailKnown: number): Promise<void>
  participants: Participants
  /** Queues this worker serves. Others' sagas it takes only to read their mail (S20). */
  queues: ReadonlySet<string>
  counters: Counters
  leaseMs: number
  log: Logger
  /** A saga that was let go is due at this instant: a hint for whoever claims next. */
  onDueAt(at: number): void
  /** A saga has ended, or needs a person, by a commit of this worker. */
  onRest(sagaId: string): void
  /** Sagas of these queues became due by a commit of another one. */
  onDue(queues: readonly string[]): void
}

/** A saga with a letter that only a newer release can read is offered again after this long. */
const UNREADABLE_DELAY_MS = 5_000
/** A longer time makes `setTimeout` fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1
/** What is due and cannot be done here at the moment is looked at again after this long, while other things go on. */
const LOOK_AGAIN_MS = 1_000
/** What could not be read because the database was away is asked for again after this long. */
const READ_AGAIN_MS = 200

type Decided = Extract<Decision, { is: 'transition' }>

/** What is due and not admitted, by step. It puts off nothing but itself. */
type PutOff = ReadonlyMap<string, Exclude<Admission, { is: 'now' }>>

const NOTHING_PUT_OFF: PutOff = new Map()

/**
 * `saga` is undefined while it is being opened; `mailKnown` is the last letter that was heard of then. `cutShort`: an earlier
 * attempt of it was, and the history does not say so yet.
 */
type Place = { lease: Lease; of: Queued; mailKnown: number; saga: Held | undefined; cutShort: boolean }

export function createRunner(parts: RunnerParts): Runner {
  const { clock, commit, counters, log, participants } = parts
  const complain = createComplaints(log)
  /** By saga id; undefined while a claimed saga is being opened. */
  const held = new Map<string, Place>()
  /** Sagas whose attempts were cut short here without a word in the history: it has to be said by whoever has them next. */
  const dropped = new Set<string>()
  let draining = false
  let forsaken = false

  async function run(
    claimed: Claimed,
    how: { again?: boolean; onProgress?: () => void } = {},
  ): Promise<void> {
    const { lease } = claimed
    const older = held.get(lease.sagaId)
    // The answer to an older claim, which got lost for a while and was taken again meanwhile.
    if (older !== undefined && older.lease.epoch >= lease.epoch) return
    const wasDropped = dropped.delete(lease.sagaId) && how.again === true
    // Taken again while the answer to its claim was on its way: what that has begun has lost its lease (S16).
    const cutShort = wasDropped || older?.cutShort === true || (older?.saga?.underWay.size ?? 0) > 0
    const of = { queue: claimed.queue, name: claimed.definition.name }
    const place: Place = { lease, of, mailKnown: claimed.mailSeq, saga: undefined, cutShort }
    held.set(lease.sagaId, place)
    if (older?.saga !== undefined) loseLease(older.saga)
    try {
      const saga = await open(claimed)
      if (saga === undefined || held.get(lease.sagaId) !== place) return
      place.saga = saga
      saga.onProgress = how.onProgress
      if (place.cutShort) {
        const { version } = saga
        await transition(saga, { type: 'interrupted' })
        place.cutShort = !saga.ours && saga.version === version
      }
      await drive(saga, claimed.leasesLost)
    } catch (error) {
      place.cutShort ||= (place.saga?.underWay.size ?? 0) > 0
      await drop(place, error)
    } finally {
      if (place.saga !== undefined) leave(place.saga)
      // A later claim of the same saga by this worker may already stand here.
      if (held.get(lease.sagaId) === place) {
        held.delete(lease.sagaId)
        if (place.cutShort) dropped.add(lease.sagaId)
      }
    }
  }

  /** Puts together what running needs; parks what nothing can be decided about. */
  async function open(claimed: Claimed): Promise<Held | undefined> {
    const { lease, state } = claimed
    if ('unreadable' in state) return park(claimed, state.unreadable)
    const { name, version } = claimed.definition
    const definition = await patiently(() => parts.definitions.get(name, version))
    if (definition === undefined) {
      return park(claimed, `definition "${name}" version ${version} is not there`)
    }
    const unknown = Object.keys(state.attempts).find(
      (step) => stepOf(definition.resolved, step) === undefined,
    )
    if (unknown !== undefined)
      return park(claimed, `the state names step "${unknown}", which its definition does not have`)
    return {
      lease,
      definition: definition.resolved,
      version: claimed.version,
      mailSeq: claimed.mailSeq,
      mailSeen: claimed.mailSeen,
      mailSettled: undefined,
      endedFirst: [],
      cancelWaits: false,
      state,
      spilled: await patiently(() => parts.history.values(lease.sagaId, state)),
      underWay: new Map(),
      news: [],
      wake: undefined,
      ours: true,
      onProgress: undefined,
      progressed: false,
      found: { direction: directionOf(state), attempts: state.attempts },
    }
  }

  async function drive(saga: Held, leasesLost: number): Promise<void> {
    if (leasesLost > (saga.state.leasesLost ?? 0)) await transition(saga, { type: 'leaseLost', leasesLost })
    while (saga.ours) {
      if (hasMail(saga)) await readMail(saga)
      if (saga.ours && isPastDeadline(saga.state, clock.now())) {
        await transition(saga, { type: 'deadlinePassed' })
      }
      if (saga.state.waiting !== undefined && (await endWait(saga))) continue
      const ready = readyIn(saga)
      const child = childIn(saga, ready)
      if (child !== undefined) {
        await beginChild(saga, child)
        continue
      }
      if (!saga.ours) return
      const putOff = dispatch(saga, ready)
      if (saga.underWay.size === 0) {
        // Whoever is to be told need not wait for what is put off.
        const { gaveUp, status, paused } = saga.state
        if (gaveUp === undefined || !isMoving(status) || paused !== undefined || draining)
          return letGo(saga, putOff)
        await transition(saga, { type: 'nothingRuns' })
        continue
      }
      await settle(saga, await nextNews(saga, idleMs(saga, putOff)))
    }
  }

  /** Ends what nobody carries out: a wait whose time is over, or whose signal has come before it (S7a, M2). */
  async function endWait(saga: Held): Promise<boolean> {
    if (!saga.ours) return false
    const inQuestion = questionsIn(saga).map(({ step }) => step)
    const over = overdue(saga.state, clock.now(), inQuestion)
    if (over !== undefined) {
      await transition(saga, over)
      return true
    }
    const kept = keptSignal(saga.state)
    if (kept === undefined) return false
    const [found] = await patiently(() => parts.mailbox.read(saga.lease.sagaId, kept.letter - 1, 1))
    if (found?.seq !== kept.letter || found.letter.kind !== 'signal') {
      throw new Error(`letter ${kept.letter} should hold the signal "${kept.signal}" and does not`)
    }
    await transition(saga, eventOfLetter(found.letter, found.seq, saga.state))
    return true
  }

  /** Starts the saga that a step consists of, or the one that undoes it (M4, M5). */
  async function beginChild(saga: Held, { id, way }: ChildDue): Promise<void> {
    const { version } = saga
    const { event, start } = await patiently(() => startChild(saga, id, way, parts))
    await transition(saga, event, { start })
    if (saga.ours && saga.version === version)
      throw new Error(`the start of a saga for step "${id.step}" was not taken`)
  }

  /** What is due and not under way yet, if this worker may do it. */
  function readyIn(saga: Held): AttemptId[] {
    if (!saga.ours || draining || !serves(saga)) return []
    const due = attemptsDue(saga.state, clock.now(), saga.underWay)
    const questions = questionsIn(saga).filter(({ step }) => !saga.underWay.has(step))
    return questions.length === 0 ? due : [...due, ...questions]
  }

  /** Overdue callbacks of which somebody may know what became of them: they are asked about like an attempt is made (S11a). */
  function questionsIn({ state, definition }: Held): AttemptId[] {
    if (state.waiting === undefined) return []
    return overdueCallbacks(state, clock.now()).filter((id) => actOf(definition, id).probe !== undefined)
  }

  /** Starts the attempts that are due and admitted. The answer says when to ask again about those that were not. */
  function dispatch(saga: Held, ready: readonly AttemptId[]): PutOff {
    let putOff: Map<string, Exclude<Admission, { is: 'now' }>> | undefined
    for (const id of ready) {
      const act = actOf(saga.definition, id)
      const admission = participants.admit(saga.definition.name, id, act)
      if (admission.is === 'now') {
        begin(saga, id, act, admission.permit)
      } else {
        putOff ??= new Map()
        putOff.set(id.step, admission)
      }
    }
    return putOff ?? NOTHING_PUT_OFF
  }

  /** How long to listen for news of what is under way before something else has its time; undefined if nothing has. */
  function idleMs(saga: Held, putOff: PutOff): number | undefined {
    const { state, underWay } = saga
    if (state.deadlineAt === undefined && Object.keys(state.attempts).length <= underWay.size)
      return undefined
    const now = clock.now()
    const at = wakeAt(state, now, [...underWay.keys(), ...putOff.keys()])
    if (at === undefined) return undefined
    const again = [...putOff.values()].map((one) => (one.is === 'later' ? one.delayMs : LOOK_AGAIN_MS))
    return Math.min(at > now ? at - now : LOOK_AGAIN_MS, ...again, MAX_TIMER_MS)
  }

  function begin(saga: Held, id: AttemptId, act: Act, permit: Permit): void {
    const controller = new AbortController()
    const attempt = { id, controller, begun: false }
    saga.underWay.set(id.step, attempt)
    const asks = isQuestion(saga, id)
    const made = attemptRequest(
      saga.state,
      saga.spilled,
      id,
      act,
      controller.signal,
      parts.callbackOf,
      mayRepeat(saga, id),
    )
    const request = asks ? { ...made, overdue: true as const } : made
    participants
      .run(
        act,
        request,
        permit,
        () => controller.abort(),
        (end) => hearLate(saga, id, end),
        () => {
          const mayBegin = saga.state.paused === undefined
          attempt.begun = mayBegin && !asks
          return mayBegin
        },
      )
      .then(
        (end) => notify(saga, end === undefined ? { is: 'notMade', id } : { is: 'ended', id, end }),
        (error: unknown) => {
          log.fatal(
            { sagaId: saga.lease.sagaId, step: id.step, err: error },
            'an attempt threw: this is a bug',
          )
          const end = { outcome: 'uncertain', error: { code: 'INTERNAL', message: String(error) } } as const
          notify(saga, { is: 'ended', id, end })
        },
      )
  }

  function serves(saga: Held): boolean {
    return parts.queues.has(saga.definition.queue)
  }

  async function settle(saga: Held, news: News): Promise<void> {
    switch (news.is) {
      case 'mail':
        // The loop reads it; that there is some is all there is to know here.
        saga.mailSeq = Math.max(saga.mailSeq, saga.mailSeen + 1)
        return
      case 'due':
        return
      case 'interrupt': {
        const begun = [...saga.underWay].flatMap(([step, attempt]) => (attempt.begun ? [step] : []))
        abandonAttempts(saga)
        // What still waited for its turn was not made.
        if (begun.length > 0) await transition(saga, { type: 'interrupted', begun })
        return
      }
      case 'notMade':
        if (!isUnderWay(saga, news.id)) return
        saga.underWay.delete(news.id.step)
        // It has turned round meanwhile and would have let it end; it begins nothing more.
        if (isTurning(saga.state))
          await transition(saga, eventOf(news.id, isQuestion(saga, news.id) ? CALLBACK_OVERDUE : CALLED_OFF))
        return
      case 'late': {
        const { id, end } = news
        if (end.outcome === 'pending') return
        return transition(saga, { type: 'lateResult', ...id, outcome: end.outcome })
      }
      case 'ended':
        return settleEnd(saga, news.id, news.end)
    }
  }

  async function settleEnd(saga: Held, id: AttemptId, end: AttemptEnd): Promise<void> {
    if (!isUnderWay(saga, id)) return
    if (!isQuestion(saga, id)) counters.attempt(id.direction, end.outcome)
    // Nothing times out while a person is waited for (S12a, S30c): it is asked about again afterwards.
    else if ('error' in end && next(saga.state).act === 'waitForOperator') {
      saga.underWay.delete(id.step)
      return
    }
    if (isPastDeadline(saga.state, clock.now())) await transition(saga, { type: 'deadlinePassed' })
    // All mail that is known has been read, but for what a deadline's commit has told of: a callback that came before the answer.
    if (hasMail(saga)) await readMail(saga)
    // What neither the deadline has called off nor a callback has decided still counts.
    if (!isUnderWay(saga, id)) return
    await transition(saga, eventOf(id, end), { ended: id.step })
    saga.underWay.delete(id.step)
  }

  /**
   * Decides, commits, and only then believes it. Mail that would be ended over is read first (S25): meanwhile the lease is
   * kept, and no commit but one that ends the saga counts a letter as seen that waits here. `settled`: the last letter before
   * the one this event came in; what came in none keeps no letter waiting.
   */
  async function transition(
    saga: Held,
    event: Event,
    {
      ended,
      settled = Number.POSITIVE_INFINITY,
      start,
    }: { ended?: string; settled?: number; start?: ChildStart | undefined } = {},
  ): Promise<void> {
    while (saga.ours) {
      const known = given(saga)
      const decision = decide(saga.state, event, known)
      if (decision.is === 'ignored') {
        log.debug({ sagaId: saga.lease.sagaId, event: event.type, why: decision.why }, 'event ignored')
        return
      }
      // A cancel that waits for the mail after it has come first: what came after it neither ends the saga nor takes the pivot.
      if (saga.cancelWaits && isGated(decision)) return
      const family = familyOf(saga.state, decision, saga.spilled, start)
      const after = leaseAfter(saga, decision.state, known.now, ended)
      const next = transitionOf(saga, decision, after, family)
      const answer = await commit.submit(next)
      if (answer.is === 'committed') return believe(saga, decision, next, answer, ended)
      if (answer.is === 'leaseLost') return loseLease(saga)
      await readFirst(saga, event, settled, answer.mailSeq)
    }
  }

  function given(saga: Held): Given {
    const { definition, spilled, version } = saga
    const underWay = [...saga.underWay.keys(), ...saga.endedFirst]
    return { definition, spilled, now: clock.now(), random: Math.random(), version, underWay }
  }

  function transitionOf(
    saga: Held,
    { state, entry }: Decided,
    after: Transition['after'],
    family: Family | undefined,
  ): Transition {
    const { mailSettled = saga.mailSeen } = saga
    return {
      lease: saga.lease,
      version: saga.version,
      mailSeen: isGated({ state, entry }) ? saga.mailSeen : Math.min(mailSettled, saga.mailSeen),
      was: saga.state.status,
      state,
      entry,
      after,
      family,
    }
  }

  function believe(
    saga: Held,
    decision: Decided,
    { after, family }: Transition,
    { version, mailSeq }: Extract<CommitAnswer, { is: 'committed' }>,
    ended: string | undefined,
  ): void {
    saga.version = version
    saga.mailSeq = mailSeq
    saga.state = decision.state
    callOff(saga, ended)
    if (family !== undefined) tellFamily(decision.state, family)
    if (after.is !== 'keep') saga.ours = false
    if (after.is === 'due') parts.onDueAt(after.at)
    tell(saga, decision)
  }

  /** Mail that this event would have been settled over. */
  async function readFirst(saga: Held, event: Event, settled: number, mailSeq: number): Promise<void> {
    saga.mailSeq = mailSeq
    const { mailSettled: outer, endedFirst, cancelWaits } = saga
    saga.mailSettled = Math.min(outer ?? settled, settled)
    if (event.type === 'attemptSucceeded' || event.type === 'attemptFailed')
      saga.endedFirst = [...endedFirst, event.step]
    saga.cancelWaits ||= event.type === 'cancelRequested'
    await readMail(saga)
    Object.assign(saga, { mailSettled: outer, endedFirst, cancelWaits })
    if (saga.ours && saga.mailSeen < mailSeq) {
      saga.mailSeq = mailSeq
      throw new Error(`the mail has ${mailSeq} letters, of which only ${saga.mailSeen} can be read`)
    }
  }

  /** Those who are held here learn of their mail at once, the others are due. */
  function tellFamily(state: SagaState, family: Family): void {
    for (const { to } of family.letters ?? []) poke(to)
    parts.onDue(queuesMadeDue(state, family))
  }

  /** What becomes of the lease: it is kept while an attempt is under way or can be started at once. */
  function leaseAfter(
    saga: Held,
    state: SagaState,
    now: number,
    ended: string | undefined,
  ): Transition['after'] {
    if (isMoving(state.status)) {
      for (const { id } of saga.underWay.values()) if (id.step !== ended && isAwaited(state, id)) return KEEP
    }
    if (saga.mailSettled !== undefined && !isTerminal(state.status)) return KEEP
    const at = wakeAt(state, now)
    if (at === undefined) return { is: 'rest' }
    if (keptSignal(state) !== undefined) return KEEP
    return at > now || draining ? { is: 'due', at } : KEEP
  }

  async function readMail(saga: Held): Promise<void> {
    while (saga.ours && hasMail(saga)) {
      const letters = await patiently(() => parts.mailbox.read(saga.lease.sagaId, saga.mailSeen))
      if (letters.length === 0) {
        saga.mailSeq = saga.mailSeen
        return
      }
      for (const { seq, letter } of letters) {
        if (!saga.ours) return
        // One that would have ended the saga has had those after it read first.
        if (seq <= saga.mailSeen) continue
        const settled = saga.mailSeen
        saga.mailSeen = seq
        await transition(saga, eventOfLetter(letter, seq, saga.state), { settled })
      }
    }
  }

  /** An attempt under way need not suffer for a read that failed because the database was away for a moment. */
  async function patiently<T>(read: () => Promise<T>): Promise<T> {
    const end = performance.now() + parts.leaseMs
    for (;;) {
      try {
        return await read()
      } catch (error) {
        if (!isOutage(error) || forsaken || performance.now() > end) throw error
        await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS))
      }
    }
  }

  /** Nothing to dispatch, and no transition that would have said so. */
  async function letGo(saga: Held, putOff: PutOff): Promise<void> {
    saga.ours = false
    const again = await Promise.all(
      [...putOff.values()].map(async (one) => (one.is === 'later' ? one.delayMs : one.delayMs())),
    )
    const now = clock.now()
    const at = wakeAt(saga.state, now, [...putOff.keys()]) ?? now
    await parts.release(saga.lease, Math.max(0, Math.min(at - now, ...again)), mailOf(saga))
  }

  function hearLate(saga: Held, id: AttemptId, end: AttemptEnd): void {
    if (end.outcome === 'pending') return
    counters.late()
    if (saga.ours) notify(saga, { is: 'late', id, end })
    else passOn(saga, id, end)
  }

  function passOn(saga: Held, id: AttemptId, end: AttemptEnd): void {
    if (end.outcome === 'pending') return
    const letter: Letter = { kind: 'lateResult', ...id, outcome: end.outcome }
    // Whoever has it now writes it down; a saga that has ended takes no more mail, and then the log has it.
    parts.mailbox.post(saga.lease.sagaId, letter).catch(() => undefined)
    log.info(
      { sagaId: saga.lease.sagaId, ...id, outcome: end.outcome },
      'a result came after its time-out and was not applied',
    )
  }

  /** Whatever is still under way is aborted; late results that nobody here has written down are passed on. */
  function leave(saga: Held): void {
    saga.ours = false
    abandonAttempts(saga)
    for (const one of saga.news.splice(0)) if (one.is === 'late') passOn(saga, one.id, one.end)
  }

  function loseLease(saga: Held): void {
    if (!saga.ours) return
    saga.ours = false
    const place = held.get(saga.lease.sagaId)
    // It may be this worker's all the same, by a claim of which it has not heard yet.
    if (place?.saga === saga && saga.underWay.size > 0) place.cutShort = true
    abandonAttempts(saga)
    saga.wake?.()
    counters.leaseLost()
    log.warn(
      { sagaId: saga.lease.sagaId, epoch: saga.lease.epoch },
      'lease lost: another worker has this saga, or it has ended',
    )
  }

  async function park({ lease, mailSeq }: Claimed, reason: string): Promise<undefined> {
    counters.stuck()
    log.error({ sagaId: lease.sagaId, reason }, 'saga stuck: nothing can be decided about it')
    await parts.park(lease, reason, mailSeq)
    parts.onRest(lease.sagaId)
    return undefined
  }

  /**
   * Something failed outside the rules. If the database was away the saga is still ours and is taken up again once it is
   * back; otherwise this saga alone is to blame and goes to a person, and the others go on (F15).
   */
  async function drop(place: Place, error: unknown): Promise<void> {
    if (forsaken) return
    const { lease } = place
    if (isOutage(error)) {
      complain(error, 'a saga is let lie until the database is back')
      return
    }
    if (error instanceof UnknownLetter) {
      complain(error, 'a saga is left to a worker of a newer release')
      await parts.release(lease, UNREADABLE_DELAY_MS, mailOf(place.saga)).catch(() => undefined)
      return
    }
    log.error({ sagaId: lease.sagaId, err: error }, 'a saga could not be carried on')
    try {
      await parts.park(
        lease,
        `a worker could not carry it on: ${error instanceof Error ? error.message : String(error)}`,
        Math.max(place.mailKnown, place.saga?.mailSeq ?? 0),
      )
      place.cutShort = false
      parts.onRest(lease.sagaId)
    } catch (second) {
      log.error({ sagaId: lease.sagaId, err: second }, 'and could not be parked; it will be taken up again')
    }
  }

  function tell(saga: Held, { entry, state }: Decided): void {
    const { sagaId } = saga.lease
    counters.transition(entry.kind)
    if ((entry.kind === 'attemptSucceeded' || entry.kind === 'signalReceived') && entry.spilled === true)
      saga.spilled.set(entry.step, entry.result)
    if (entry.kind === 'retried' && entry.step !== undefined && entry.edited !== undefined)
      saga.spilled.set(editOf({ ...entry.edited, step: entry.step }), entry.edited.input)
    if (entry.kind === 'attemptSucceeded' || entry.kind === 'attemptFailed') {
      saga.progressed = true
      saga.onProgress?.()
    }
    if (entry.kind === 'attemptFailed') {
      const { step, direction, attempt, outcome, error } = entry
      log.info({ sagaId, step, direction, attempt, outcome, error }, 'attempt failed')
    }
    if (isTerminal(state.status) || state.status === 'stuck') parts.onRest(sagaId)
    if (state.status === 'stuck' && entry.to.status === 'stuck') {
      counters.stuck()
      log.error(
        { sagaId, definition: state.definition.name, stuck: state.stuck },
        'saga stuck: a person must act',
      )
    } else if (isTerminal(state.status)) {
      log.debug({ sagaId, definition: state.definition.name, status: state.status }, 'saga ended')
    }
  }

  function poke(sagaId: string): void {
    const saga = held.get(sagaId)?.saga
    // Asked for once is enough: the same news comes again until the mail has been read.
    if (saga !== undefined && !saga.news.some(({ is }) => is === 'mail')) notify(saga, { is: 'mail' })
  }

  function* sagas(): Generator<Held> {
    for (const { saga } of held.values()) if (saga !== undefined) yield saga
  }

  return {
    run,
    get holds() {
      return held.size
    },
    heldDefinitions: () => Array.from(held.values(), ({ of }) => of),
    has: (lease) => held.get(lease.sagaId)?.lease.epoch === lease.epoch,
    poke,
    drain() {
      draining = true
    },
    interrupt() {
      draining = true
      for (const saga of sagas()) notify(saga, { is: 'interrupt' })
    },
    forsake() {
      draining = true
      forsaken = true
      for (const saga of sagas()) {
        saga.ours = false
        abandonAttempts(saga)
        saga.wake?.()
      }
    },
  }
}

const KEEP = { is: 'keep' } as const

function hasMail({ mailSeq, mailSeen }: Held): boolean {
  return mailSeq > mailSeen
}

/** Its participant has taken it on already: what is under way asks what became of it. */
function isQuestion({ state }: Held, { step }: AttemptId): boolean {
  return entryOf(state.waiting, step) !== undefined
}

/** It goes forward only to let end what is running (S25). */
function isTurning({ status, cause }: SagaState): boolean {
  return status === 'running' && cause !== undefined
}

/** What was read while another letter waited for it has not been acted on yet. */
function mailOf(saga: Held | undefined): KnownMail {
  return saga === undefined
    ? { seen: 0, known: 0 }
    : { seen: saga.mailSettled ?? saga.mailSeen, known: saga.mailSeq }
}
