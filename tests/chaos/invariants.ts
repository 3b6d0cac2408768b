import { fold } from '@backstitch/core'
import { isLeftAlone, labelOf } from './client.ts'
import type { Evidence, Told } from './evidence.ts'
import { amountOf } from './faults.ts'
import {
  ACTION_ATTEMPTS,
  COMPENSATION_ATTEMPTS,
  type Definition,
  isGuarded,
  placedSteps,
  type Step,
} from './generator.ts'

/**
 * What must hold after a run, each in one function that reads nothing but the evidence and answers a sentence for everything
 * that is wrong. They are written from semantics.md, and know nothing of how the engine does it.
 */
export type Invariant = (evidence: Evidence) => string[]

const TERMINAL = ['completed', 'failed', 'cancelled', 'abandoned']
const NOBODYS: Definition = { name: '', defaults: {}, steps: [] }
const UNDONE = ['failed', 'cancelled']

/** S23, S24 */
export const everyAcknowledgedStartExistsOnce: Invariant = ({ client, sagas }) => {
  const wrong: string[] = []
  const ids = new Map<number, string[]>()
  for (const [sagaId, { saga }] of sagas) {
    if (saga.parent !== undefined) continue
    const label = labelOf(saga)
    ids.set(label, [...(ids.get(label) ?? []), sagaId])
    if ('twisted' in Object(saga.context.input))
      wrong.push(`start ${label}: the twisted request has started a saga`)
  }
  for (const [label, found] of ids)
    if (found.length > 1) wrong.push(`start ${label}: ${found.length} sagas, ${found.join(', ')}`)
  for (const line of client) {
    if (line.what !== 'start' || line.answer !== 'acknowledged') continue
    const { label, sagaId = '', twisted } = line
    if (twisted) wrong.push(`start ${label}: another request under the same key was acknowledged`)
    else if (ids.get(label)?.[0] !== sagaId)
      wrong.push(`start ${label}: acknowledged as ${sagaId}, and there is ${ids.get(label)?.[0]}`)
  }
  return wrong
}

/** S12, S14, S15, S19, F01, F12 */
export const everySagaIsTerminalOrRightlyStuck: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, history, calls }) => {
    if (TERMINAL.includes(saga.status)) return []
    if (saga.status !== 'stuck') return [`is ${saga.status} and does not move`]
    if (!isLeftAlone(saga)) return ['is stuck although it was told to try again']
    const { step, direction, reason, message } = saga.stuck ?? {}
    const last = history.findLast((entry) => entry.kind === 'attemptFailed' && entry.step === step)
    switch (reason) {
      case 'compensationFailed':
      case 'retriesExhausted': {
        if (last?.kind !== 'attemptFailed' || last.direction !== direction)
          return ['is stuck without a failed attempt']
        const steps = stepsOf(evidence, saga.definition.name)
        // A signal is waited for once (S7a).
        if (steps.some((one) => one.step.name === step && one.step.action.type === 'signal')) return []
        const most = direction === 'action' ? ACTION_ATTEMPTS : COMPENSATION_ATTEMPTS
        const made = calls.some(
          (call) => call.phase === 'received' && call.step === step && call.direction === direction,
        )
        if (!made) return [`is stuck over ${step}, which was never called`]
        return last.outcome === 'rejected' || last.attempt === most
          ? []
          : [`is stuck after attempt ${last.attempt}`]
      }
      case 'crashLoop':
        return history.filter(({ kind }) => kind === 'leaseLost').length >= 5 ? [] : ['is in no crash loop']
      default:
        return [`is stuck: ${reason}: ${message}`]
    }
  })

/** S1 */
export const completedMeansEveryEffectOnce: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, calls, undo }) => {
    if (saga.status !== 'completed' || undo !== undefined || saga.undoOf !== undefined) return []
    return stepsOf(evidence, saga.definition.name).flatMap(({ step }) => {
      if (isGuarded(step) === undefined) return []
      const net = netOf(calls, step.name)
      if (saga.completedSteps.includes(step.name))
        return net === 1 ? [] : [`is completed, and ${step.name} has ${net} effects`]
      if (!saga.skippedSteps.includes(step.name)) return [`is completed without ${step.name}`]
      return net === 0 || saga.uncertainSteps.includes(step.name)
        ? []
        : [`has skipped ${step.name}, which has ${net} effects`]
    })
  })

/** S8, S9: late appliers are counted, since the ledger is read when nothing is under way any more. */
export const undoneMeansNoEffectOrAListedOne: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, calls, undo }) => {
    if (!UNDONE.includes(saga.status) && undo?.saga.status !== 'completed') return []
    const uncertain = [...saga.uncertainSteps, ...(undo?.saga.uncertainSteps ?? [])]
    const definition = evidence.definitions.get(saga.definition.name)
    return stepsOf(evidence, saga.definition.name).flatMap(({ step }) => {
      const net = netOf(calls, step.name)
      if (net === 0) return []
      const listed = uncertain.includes(step.name)
      const undoneForSure = whenOf(step, definition) === 'uncertain' && isGuarded(step)
      if (step.compensation === undefined) {
        return listed || saga.completedSteps.includes(step.name)
          ? []
          : [`has an effect of ${step.name} that nobody knows of`]
      }
      return listed && !undoneForSure ? [] : [`is ${saga.status}, and ${step.name} has ${net} effects left`]
    })
  })

/** S2: whoever has one key for one step cannot do it twice. */
export const noEffectTwice: Invariant = ({ sagas }) =>
  eachSaga(sagas, ({ calls }) =>
    [...new Set(calls.map(({ step }) => step))]
      .filter((step) => ![0, 1].includes(netOf(calls, step)))
      .map((step) => `${step} has ${netOf(calls, step)} effects`),
  )

/** S2; but for each edited input of an action there may be another (S30a). */
export const oneKeyPerStepAndDirection: Invariant = ({ ledger, sagas }) => {
  const keys = new Map<string, Set<string>>()
  const places = new Map<string, string>()
  const wrong = new Set<string>()
  for (const { call, sagaId, step, direction, key } of ledger) {
    if (call === 0) continue
    const place = `${sagaId} ${step} ${direction}`
    const those = (keys.get(place) ?? new Set()).add(key)
    const edits =
      sagas
        .get(sagaId)
        ?.history.filter((entry) => entry.kind === 'retried' && entry.edited && entry.step === step) ?? []
    const most = direction === 'action' ? 1 + edits.length : 1
    if (those.size > most) wrong.add(`${place} has more than ${most} keys`)
    if ((places.get(key) ?? place) !== place) wrong.add(`${key} is the key of more than one step`)
    keys.set(place, those)
    places.set(key, place)
  }
  return [...wrong]
}

/**
 * S5, S11, S17b: no attempt has a number over its bound, and each request is accounted for: by an attempt whose end is in the
 * history, or by an interruption that says why there is none.
 */
export const attemptsAreBounded: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, calls, undo, ...told }) => {
    // Its calls are those of the saga that it undoes, and are counted there.
    if (saga.undoOf !== undefined) return []
    const history = [...told.history, ...(undo?.history ?? [])]
    const wrong: string[] = []
    const received = calls.filter(({ phase }) => phase === 'received')
    const retries = history.filter(({ kind }) => kind === 'retried').length
    const interruptions = history.filter(({ kind }) => kind === 'leaseLost' || kind === 'interrupted').length
    // An abandoned saga writes down no more what becomes of an attempt that was under way.
    const cutOff = [saga, undo?.saga].filter((one) => one?.status === 'abandoned').length
    for (const [place, those] of Map.groupBy(received, ({ step, direction }) => `${step} ${direction}`)) {
      const [first] = those
      if (first === undefined) continue
      const most = first.direction === 'action' ? ACTION_ATTEMPTS : COMPENSATION_ATTEMPTS
      const highest = Math.max(...those.map(({ attempt }) => attempt))
      if (highest > most) wrong.push(`${place}: attempt ${highest}, where ${most} is the last`)
      const ended = history.filter(
        (entry) =>
          (entry.kind === 'attemptSucceeded' || entry.kind === 'attemptFailed') &&
          entry.step === first.step &&
          entry.direction === first.direction,
      ).length
      if (ended > most * (1 + retries))
        wrong.push(`${place}: ${ended} attempts, ${retries} retries by a person`)
      // What a callback was waited for may be given up without an end of its own.
      const pending = history.filter(
        (entry) => entry.kind === 'attemptPending' && entry.step === first.step,
      ).length
      if (those.length > ended + pending + interruptions + cutOff)
        wrong.push(
          `${place}: ${those.length} requests, ${ended} attempts ended, ${interruptions} interruptions`,
        )
    }
    return wrong
  })

/** S8: by the order in which the participants were first asked. */
export const undoneInReverseOrder: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, calls }) => {
    const steps = stepsOf(evidence, saga.definition.name)
    const asked = new Set(
      calls
        .filter(
          ({ phase, direction, call }) => phase === 'received' && direction === 'compensation' && call > 0,
        )
        .map(({ step }) => step),
    )
    const order = [...asked].flatMap((name) => steps.filter(({ step }) => step.name === name))
    const wrong: string[] = []
    order.forEach((one, index) => {
      const before = order[index - 1]
      if (before === undefined || before.group > one.group) return
      const [done, next] = [before, one].map(({ step }) => saga.completedSteps.indexOf(step.name))
      const isWrong =
        before.group < one.group || (!one.together && done !== -1 && next !== -1 && (done ?? 0) < (next ?? 0))
      if (isWrong) wrong.push(`${one.step.name} is undone after ${before.step.name}`)
    })
    return wrong
  })

/** S1: nothing of a later place in the list is asked for before what has completed at the earlier ones was done. */
export const doneInOrder: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, calls }) => {
    const actions = calls.filter(({ direction }) => direction === 'action')
    const first = (phase: string, step: string) =>
      actions.findIndex((line) => line.phase === phase && line.step === step)
    const steps = stepsOf(evidence, saga.definition.name).filter(({ step }) => isGuarded(step) !== undefined)
    const done = steps.filter(({ step }) => saga.completedSteps.includes(step.name))
    return steps.flatMap(({ step, group }) => {
      const asked = first('received', step.name)
      const early = done.find(
        (other) => asked !== -1 && other.group < group && first('applied', other.step.name) > asked,
      )
      return early === undefined ? [] : [`asks for ${step.name} before ${early.step.name} is done`]
    })
  })

/**
 * S8, S13: once undoing has begun nothing is done. What a participant gets all the same is a request that was on its way when
 * its attempt was given up, and of that the history knows.
 */
export const nothingForwardOnceUndoingHasBegun: Invariant = ({ sagas }) =>
  eachSaga(sagas, ({ history, calls }) => {
    const received = calls.filter(({ phase }) => phase === 'received')
    const begun = received.findIndex(({ direction }) => direction === 'compensation')
    if (begun === -1) return []
    const late = received.slice(begun).filter(({ direction }) => direction === 'action')
    return [...Map.groupBy(late, ({ step }) => step)].flatMap(([step, those]) => {
      const givenUp = history.filter(
        (entry) =>
          (entry.kind === 'attemptFailed' && entry.step === step && entry.outcome === 'uncertain') ||
          (entry.kind === 'attemptPending' && entry.step === step) ||
          ((entry.kind === 'leaseLost' || entry.kind === 'interrupted') && entry.steps.includes(step)),
      ).length
      return those.length > givenUp
        ? [`${step} is asked for ${those.length} times after undoing has begun`]
        : []
    })
  })

/** S14 */
export const nothingUndonePastThePivot: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, calls }) => {
    const pivot = stepsOf(evidence, saga.definition.name).find(({ step }) => step.pivot)?.step.name
    if (pivot === undefined || !saga.completedSteps.includes(pivot)) return []
    const undone = calls.find(({ phase, direction }) => phase === 'received' && direction === 'compensation')
    return undone === undefined ? [] : [`is past its pivot, and ${undone.step} is being undone`]
  })

/** S5 */
export const aNoIsNotTriedAgain: Invariant = ({ sagas }) =>
  eachSaga(sagas, ({ history }) => {
    const refused = new Set<string>()
    return history.flatMap((entry) => {
      if (entry.kind === 'retried') refused.clear()
      if (entry.kind !== 'attemptFailed' && entry.kind !== 'attemptSucceeded') return []
      const place = `${entry.step} ${entry.direction}`
      const again = refused.has(place)
      if (entry.outcome === 'rejected') refused.add(place)
      return again ? [`${place} was refused, and tried again`] : []
    })
  })

/** S22, S35: by the histories, and by what callers saw while it happened. */
export const statusNeverMovesBackwards: Invariant = ({ sagas, client }) => {
  const wrong = eachSaga(sagas, ({ history }) => {
    let status = 'running'
    return history.flatMap((entry) => {
      const before = status
      status = 'to' in entry ? (entry.to.status ?? status) : status
      if (TERMINAL.includes(before)) return [`has entry ${entry.seq} (${entry.kind}) after it was ${before}`]
      const byAPerson = /^(retried|skipped|markedCompensated|cancelRequested)$/.test(entry.kind)
      const isBack =
        before === 'stuck'
          ? !/^(stuck|abandoned)$/.test(status) && !byAPerson
          : before === 'compensating' && status === 'running'
      return isBack ? [`goes from ${before} to ${status} by ${entry.kind}`] : []
    })
  })
  const seen = Map.groupBy(
    client.filter((line) => line.what === 'seen'),
    ({ sagaId }) => sagaId,
  )
  for (const [sagaId, looks] of seen) {
    for (const earlier of looks) {
      const later = looks.find(
        ({ askedAt, version }) => askedAt > earlier.answeredAt && version < earlier.version,
      )
      if (later !== undefined)
        wrong.push(`${sagaId} was seen at version ${earlier.version} and then at ${later.version}`)
      const final = sagas.get(sagaId)?.saga.status
      if (TERMINAL.includes(earlier.status) && final !== earlier.status)
        wrong.push(`${sagaId} was seen ${earlier.status} and is ${final}`)
    }
  }
  return wrong
}

/** S25, F10 */
export const everyCancelWasToldTheTruth: Invariant = ({ sagas, client, definitions }) => {
  const wrong: string[] = []
  const cancels = Map.groupBy(
    client.filter((line) => line.what === 'cancel'),
    ({ sagaId }) => sagaId,
  )
  for (const [sagaId, asked] of cancels) {
    const told = sagas.get(sagaId)
    if (told === undefined) continue
    const { saga, history } = told
    const accepted = asked.filter(({ answer }) => answer === 'accepted').length
    const unknown = asked.filter(({ answer }) => answer === 'unknown').length
    const read = history.filter(({ kind }) => kind === 'cancelRequested').length
    if (accepted > 0 && saga.status === 'completed') wrong.push(`${sagaId} took a cancel and is completed`)
    if (read < accepted && saga.status !== 'abandoned')
      wrong.push(`${sagaId} took ${accepted} cancels and read ${read}`)
    if (read > accepted + unknown && saga.parent === undefined && !mayReadAgain(told))
      wrong.push(`${sagaId} was cancelled ${accepted} times and read it ${read} times`)
    for (const { answer, status } of asked) {
      if (answer === 'ended' && status !== saga.status)
        wrong.push(`${sagaId} was said to be ${status} and is ${saga.status}`)
      if (answer !== 'pastPivot') continue
      const pivot = placedSteps(definitions.get(saga.definition.name) ?? NOBODYS).find(
        ({ step }) => step.pivot,
      )
      if (pivot === undefined) wrong.push(`${sagaId} was said to be past a pivot it does not have`)
      else if (accepted === 0 && saga.status === 'cancelled')
        wrong.push(`${sagaId} was said to be past its pivot and is cancelled`)
    }
  }
  return wrong
}

/** S11: what was taken is given back to the penny, by those who know from its result how much it was. */
export const moneyIsConserved: Invariant = (evidence) => {
  const wrong = eachSaga(evidence.sagas, ({ saga, calls }) =>
    [...Map.groupBy(calls, ({ step }) => step)].flatMap(([step, those]) => {
      if (
        saga.completedSteps.includes(step) &&
        those.some((line) => line.phase === 'received' && line.told === false)
      )
        return [`${step} is undone by somebody who does not know its result`]
      const sum = those.reduce((total, line) => total + (line.phase === 'applied' ? line.amount : 0), 0)
      const due = netOf(calls, step) * amountOf(labelOf(saga), step)
      return sum === due ? [] : [`${step} holds ${sum} where ${due} is due`]
    }),
  )
  const known = evidence.ledger.filter(({ sagaId }) => !evidence.sagas.has(sagaId))
  if (known.length > 0) wrong.push(`${known.length} calls belong to sagas that do not exist`)
  return wrong
}

/** S16, S17a, S35 */
export const historyIsWhole: Invariant = ({ sagas }) =>
  eachSaga(sagas, ({ saga, history }) => {
    const wrong: string[] = []
    if (history.some(({ seq }, index) => seq !== index + 1)) wrong.push('has gaps in its history')
    if (history.at(-1)?.seq !== saga.version)
      wrong.push(`is at version ${saga.version} and has ${history.length} entries`)
    if (history.some(({ epoch }, index) => epoch < (history[index - 1]?.epoch ?? 0)))
      wrong.push('has an epoch that goes back')
    const entries = history.flatMap((item) => (item.kind === 'unreadable' ? [] : [item]))
    if (entries.length < history.length) return [...wrong, 'has an entry that nobody can read']
    const state = fold(entries)
    for (const field of [
      'status',
      'currentStepIndex',
      'completedSteps',
      'compensatedSteps',
      'skippedSteps',
      'uncertainSteps',
      'failureReason',
      'failedStep',
      'attempts',
    ] as const) {
      const [told, is] = [JSON.stringify(state[field]), JSON.stringify(saga[field])]
      if (told !== is) wrong.push(`${field} is ${is}, and its history says ${told}`)
    }
    const own = ownFold(history)
    if (own.completed.join() !== saga.completedSteps.join())
      wrong.push(`has completed ${saga.completedSteps.join()}, its entries say ${own.completed.join()}`)
    if (own.compensated.join() !== saga.compensatedSteps.join())
      wrong.push(`has undone ${saga.compensatedSteps.join()}, its entries say ${own.compensated.join()}`)
    return wrong
  })

/** The fold in its own words: who relies on the engine's alone would share its mistakes. */
function ownFold(history: Told['history']): { completed: string[]; compensated: string[] } {
  const [first] = history
  const completed = first?.kind === 'sagaStarted' ? [...(first.undo?.completedSteps ?? [])] : []
  const compensated: string[] = []
  for (const entry of history) {
    if (entry.kind === 'attemptSucceeded')
      (entry.direction === 'action' ? completed : compensated).push(entry.step)
    if (entry.kind === 'signalReceived') completed.push(entry.step)
    if (entry.kind === 'markedCompensated') compensated.push(entry.step)
  }
  return { completed, compensated }
}

/** What the history says was done was done: a success that nobody answered is made up. */
export const everySuccessWasAnswered: Invariant = (evidence) =>
  eachSaga(evidence.sagas, ({ saga, history, calls }) =>
    history.flatMap((entry) => {
      if (entry.kind !== 'attemptSucceeded') return []
      const step = stepsOf(evidence, saga.definition.name).find(({ step }) => step.name === entry.step)
      if (step === undefined || isGuarded(step.step) === undefined) return []
      const answered = calls.some(
        (line) =>
          line.phase === 'responded' &&
          line.status === 200 &&
          line.step === entry.step &&
          line.direction === entry.direction,
      )
      return answered
        ? []
        : [`${entry.step} ${entry.direction} is said to have succeeded, and nobody has said so`]
    }),
  )

/** M2: first in first out, and none twice; a step that waits for one completes by one. */
export const everySignalIsUsedOnce: Invariant = ({ sagas, client }) =>
  eachSaga(sagas, ({ saga, history }) => {
    const used = history.flatMap((entry) => (entry.kind === 'signalReceived' ? [entry.letter] : []))
    const sent = client.filter((line) => line.what === 'signal' && line.sagaId === saga.sagaId).length
    const wrong = new Set(used).size < used.length ? ['has used a signal twice'] : []
    return used.length > sent ? [...wrong, `has used ${used.length} signals of ${sent}`] : wrong
  })

/** F65: what a participant points to is not gone to. */
export const noRedirectIsFollowed: Invariant = ({ strays }) =>
  strays === 0 ? [] : [`${strays} redirects were followed`]

/** F03, F31, F36 */
export const nothingLeaked: Invariant = ({ leaks }) => [...leaks]

/** M6: of each saga its start first, each of its ends once, nothing twice, and no place in the feed without an event. */
export const everythingIsToldOnceAndInOrder: Invariant = ({ events, sagas }) => {
  const told = Map.groupBy(events, ({ sagaId }) => sagaId)
  const gaps = events.flatMap(({ position }, index) =>
    Number(position) === index + 1 ? [] : [`the event at place ${index + 1} has the position ${position}`],
  )
  const strangers = [...told.keys()].filter((sagaId) => !sagas.has(sagaId))
  return [
    ...gaps.slice(0, 1),
    ...strangers.map((sagaId) => `${sagaId} is told of, and is not there`),
    ...eachSaga(sagas, ({ saga }) => {
      const those = told.get(saga.sagaId) ?? []
      const changes = those.filter(({ type }) => type !== 'saga.acted')
      const wrong: string[] = []
      if (changes[0]?.type !== 'saga.started') wrong.push(`is first told to be ${changes[0]?.type}`)
      changes.slice(1).forEach(({ type, was, status }, index) => {
        const before = changes[index]?.status
        if (was !== before || type !== `saga.${status}`)
          wrong.push(`was ${before}, and is told as ${type} from ${was}`)
      })
      if (changes.at(-1)?.status !== saga.status)
        wrong.push(`is ${saga.status}, and was last told to be ${changes.at(-1)?.status}`)
      const ends = changes.filter(({ status }) => TERMINAL.includes(status)).length
      if (ends !== (TERMINAL.includes(saga.status) ? 1 : 0))
        wrong.push(`has ended ${ends} times, as it is told`)
      const seqs = those.map(({ seq }) => seq)
      if (seqs.some((seq, index) => seq < (seqs[index - 1] ?? 0))) wrong.push('is told in another order')
      if (new Set(those.map(({ type, seq }) => `${type} ${seq}`)).size < those.length)
        wrong.push('is told twice')
      return wrong
    }),
  ]
}

export const invariants: Readonly<Record<string, Invariant>> = {
  everyAcknowledgedStartExistsOnce,
  everySagaIsTerminalOrRightlyStuck,
  completedMeansEveryEffectOnce,
  undoneMeansNoEffectOrAListedOne,
  noEffectTwice,
  oneKeyPerStepAndDirection,
  attemptsAreBounded,
  doneInOrder,
  undoneInReverseOrder,
  nothingForwardOnceUndoingHasBegun,
  nothingUndonePastThePivot,
  aNoIsNotTriedAgain,
  statusNeverMovesBackwards,
  everyCancelWasToldTheTruth,
  everySuccessWasAnswered,
  everySignalIsUsedOnce,
  moneyIsConserved,
  historyIsWhole,
  everythingIsToldOnceAndInOrder,
  noRedirectIsFollowed,
  nothingLeaked,
}

function eachSaga(sagas: Evidence['sagas'], look: (told: Told) => string[]): string[] {
  return [...sagas].flatMap(([sagaId, told]) =>
    look(told).map((wrong) => `${sagaId} (start ${labelOf(told.saga)}): ${wrong}`),
  )
}

function stepsOf({ definitions }: Evidence, name: string) {
  const definition = definitions.get(name)
  if (definition === undefined) throw new Error(`nobody has registered ${name}`)
  return placedSteps(definition)
}

function whenOf({ compensateWhen }: Step, definition: Definition | undefined): string | undefined {
  return compensateWhen ?? definition?.defaults.compensateWhen
}

/**
 * A letter that is read while one before it waits is not seen before that one is: whoever takes over then reads both again. So
 * there must have been another letter, and a change of hands.
 */
function mayReadAgain({ history }: Told): boolean {
  const others = history.some(
    (entry) =>
      /^(signal|retried|skipped|markedCompensated|verbRefused|lateResult|paused|resumed|broughtForward)/.test(
        entry.kind,
      ) ||
      (entry.kind === 'attemptSucceeded' && entry.by === 'callback') ||
      (entry.kind === 'attemptFailed' && entry.by === 'callback'),
  )
  const epochs = history.flatMap(({ kind, epoch }) => (kind === 'cancelRequested' ? [epoch] : []))
  return others && new Set(epochs).size > 1
}

/** How often the step's effect stands. */
function netOf(calls: Told['calls'], step: string): number {
  return calls.reduce(
    (net, line) => net + (line.phase === 'applied' && line.step === step ? line.effect : 0),
    0,
  )
}
