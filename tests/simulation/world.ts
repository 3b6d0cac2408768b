import {
  type Definition,
  Definition as DefinitionShape,
  type Direction,
  type HandlerCall,
  isTerminal,
  type Json,
  resolveDefinition,
  type SagaModule,
  type SagaState,
  stepOf,
} from '@backstitch/core'
import { foldOf, type MemoryDatabase, type MemoryRow } from '@backstitch/store/memory'
import type { Host, Virtual } from './virtual.ts'

/** What is run, by participants that do what they are asked once per key, and what must hold of it whatever happens. */

const handler = { action: { type: 'handler' }, compensation: { type: 'handler' } } as const
const retry = { maxAttempts: 4, initialDelayMs: 200, maxDelayMs: 2_000 }
const named = (name: string, more: Record<string, Json> = {}): Json => ({ name, ...handler, ...more })
const defaults = { retry, timeoutMs: 2_000 }
const lone = { name: 'last', action: { type: 'handler' } }

export const documents: readonly Json[] = [
  { name: 'plain', defaults, steps: ['a', 'b', 'c'].map((name) => named(name)) },
  {
    name: 'unsure',
    defaults: { ...defaults, compensateWhen: 'uncertain' },
    steps: [named('a'), named('b'), named('c')],
  },
  { name: 'turning', defaults, steps: [named('a'), { ...lone, name: 'p', pivot: true }, lone] },
  {
    name: 'grouped',
    defaults,
    steps: [named('a'), { parallel: [named('b'), named('c'), named('d')] }, named('e')],
  },
  {
    name: 'waiting',
    defaults,
    steps: [
      named('a'),
      { name: 'pause', action: { type: 'delay', delayMs: 1_500 } },
      { name: 'word', action: { type: 'signal', signal: 'go' }, timeoutMs: 4_000 },
      named('b'),
    ],
  },
  {
    name: 'parent',
    defaults,
    steps: [named('a'), { name: 'inner', action: { type: 'saga', definition: 'plain' } }, named('b')],
  },
]

type Behaviour = 'succeeds' | 'rejects' | 'failsOnce' | 'keepsFailing' | 'loses' | 'hangs'
const USUAL: Behaviour[] = ['succeeds', 'succeeds', 'succeeds', 'succeeds', 'failsOnce', 'loses']
const FORWARD: Behaviour[] = [...USUAL, 'rejects', 'keepsFailing', 'hangs']
const BACKWARD: Behaviour[] = [...USUAL, 'succeeds', 'succeeds', 'keepsFailing']

type Working = { call: HandlerCall; host: Host; workerId: string; isOver: boolean }
type Effect = { done: boolean; undone: boolean }

export function createWorld(virtual: Virtual) {
  const violations: string[] = []
  const behaviours = new Map<string, Behaviour>()
  const answers = new Map<string, 'done' | 'rejected'>()
  const tries = new Map<string, number>()
  const keys = new Map<string, string>()
  const effects = new Map<string, Effect>()
  const working = new Map<string, Working[]>()
  const states = new Map<string, SagaState>()
  const accepted = new Set<string>()
  const claims = new Map<string, number>()
  const resolved = new Map(
    documents.map((document) => {
      const definition = DefinitionShape.parse(document)
      return [definition.name, resolveDefinition(definition, 1)] as const
    }),
  )
  let database: MemoryDatabase | undefined
  let isHealing = false

  function mustHold(holds: boolean, what: string): void {
    if (!holds) violations.push(`at ${Math.round(virtual.now())} ms: ${what}`)
  }

  /** Who runs this call: the saga itself, or the one that undoes it (M5). */
  function rowOf({ sagaId, direction }: HandlerCall): MemoryRow | undefined {
    const own = database?.rows.get(sagaId)
    if (direction === 'action' || own?.isEnded !== true) return own
    for (const [id, { undoOf }] of states)
      if (undoOf === sagaId && database?.rows.get(id)?.isEnded === false) return database.rows.get(id)
    return own
  }

  // --- At every change of a row ---------------------------------------------------------------------------------

  function onChange(before: MemoryRow | undefined, after: MemoryRow): void {
    const { sagaId } = after
    const say = (holds: boolean, what: string) =>
      mustHold(holds, `saga ${sagaId} (${after.definition.name}): ${what}`)
    const isMoving = after.status === 'running' || after.status === 'compensating'
    const places = [after.owner, after.dueAt, after.isEnded || undefined].filter(
      (one) => one !== undefined,
    ).length
    const mayRest = after.status === 'stuck' || after.paused
    say(places === 1 || (places === 0 && mayRest), 'is neither due nor held, or both (S15)')
    say(after.isEnded === isTerminal(after.status), 'has ended without an end')
    say(after.mailSeen <= after.mailSeq, 'has seen mail that has not come')
    if (places === 0) say(after.mailSeen === after.mailSeq, 'rests over unread mail (M1)')
    if (isMoving && after.isEnded) say(false, 'moves after its end')

    const history = database?.history(sagaId) ?? []
    say(history.length === after.version, `has version ${after.version} and ${history.length} entries (S35)`)
    if (before === undefined) {
      states.set(sagaId, JSON.parse(after.state))
      return
    }
    say(!before.isEnded || before.mailSeq !== after.mailSeq, 'changed after its end (S22)')
    say(after.epoch >= before.epoch, 'lost an epoch')
    if (after.epoch > before.epoch && after.owner !== undefined) {
      const times = (claims.get(sagaId) ?? 0) + 1
      claims.set(sagaId, times)
      say(times !== 500, 'has been claimed 500 times')
    }
    // Whoever counts as alive keeps what it has until it lets go of it.
    if (
      before.owner !== undefined &&
      after.owner !== before.owner &&
      after.version === before.version &&
      after.leasesLost > before.leasesLost
    )
      say(database?.isAlive(before.owner) === false, 'was taken from a living worker (S17)')
    if (after.version === before.version) {
      say(after.state === before.state, 'changed without a word in its history (S35)')
      return
    }

    const last = history.at(-1)
    say(after.version === before.version + 1 && last?.seq === after.version, 'has a gap in its history (S35)')
    say(last?.worker === before.owner, 'was written by another than its holder (S16)')
    say(
      (last?.epoch ?? 0) >= (history.at(-2)?.epoch ?? 0),
      'has entries of an older holder after those of a newer one (S16)',
    )
    const [was, is]: [SagaState, SagaState] = [JSON.parse(before.state), JSON.parse(after.state)]
    states.set(sagaId, is)
    say((is.paused !== undefined) === after.paused, 'is paused in its row or in its state alone')
    if (was.paused !== undefined && is.paused !== undefined) {
      say(is.pivot === was.pivot || is.pivot !== 'dispatched', 'came to its pivot while it was paused (S30a)')
      say(!isTerminal(is.status), 'is paused and has ended')
    }
    say(startsWith(is.completedSteps, was.completedSteps), 'forgot a completed step (S1)')
    say(startsWith(is.compensatedSteps, was.compensatedSteps), 'forgot a compensated step (S10)')
    say(new Set(is.compensatedSteps).size === is.compensatedSteps.length, 'compensated a step twice (S10)')
    if (was.status === 'compensating' || was.compensatedSteps.length > 0)
      say(
        is.completedSteps.length === was.completedSteps.length,
        'went forward after it had turned back (S8)',
      )
    if (was.status === 'running' && !after.isEnded)
      say(
        is.status !== 'compensating' || is.compensatedSteps.length === was.compensatedSteps.length,
        'undid something while it ran',
      )
    if (isTerminal(is.status)) ended(is, say)
  }

  function ended(state: SagaState, say: (holds: boolean, what: string) => void): void {
    const { sagaId, status, completedSteps, compensatedSteps, undoOf } = state
    say(
      JSON.stringify(canonical(foldOf(database?.history(sagaId) ?? []))) === JSON.stringify(canonical(state)),
      'is not what its history says (S35)',
    )
    say(!(status === 'completed' && accepted.has(sagaId)), 'completed although a cancel was accepted (S25)')
    // In reverse order of completion, those that asked for it although uncertain in between (S8).
    const order = compensatedSteps
      .filter((step) => completedSteps.includes(step))
      .map((step) => completedSteps.indexOf(step))
    say(
      order.every((place, index) => index === 0 || place < (order[index - 1] ?? 0)),
      `was undone as ${compensatedSteps.join()} after ${completedSteps.join()} (S8)`,
    )
    if (undoOf === undefined) netEffect(state, say)
  }

  /** Completed is done; failed and cancelled are undone, or called uncertain (S9). */
  function netEffect(state: SagaState, say: (holds: boolean, what: string) => void): void {
    const { sagaId, status, definition, skippedSteps } = state
    const undo = [...states.values()].find(({ undoOf }) => undoOf === sagaId)
    if (undo !== undefined) {
      // What it did is another saga's to undo (M5).
      if (undo.status === 'completed') rolledBack(undo, sagaId, say)
      return
    }
    if (status === 'failed' || status === 'cancelled') rolledBack(state, sagaId, say)
    if (status !== 'completed') return
    for (const step of resolved.get(definition.name)?.steps ?? []) {
      if (!('call' in step.action) || step.action.call.type !== 'handler') continue
      const { done, undone } = effects.get(`${sagaId} ${step.name}`) ?? { done: false, undone: false }
      if (!skippedSteps.includes(step.name))
        say(done && !undone, `completed, and step ${step.name} is ${done ? 'undone' : 'not done'}`)
    }
  }

  function rolledBack(
    { status, definition, uncertainSteps, children }: SagaState,
    sagaId: string,
    say: (holds: boolean, what: string) => void,
  ): void {
    for (const { name } of resolved.get(definition.name)?.steps ?? []) {
      const { done, undone } = effects.get(`${sagaId} ${name}`) ?? { done: false, undone: false }
      say(!done || undone || uncertainSteps.includes(name), `is ${status}, and step ${name} is done (S9)`)
      const child = states.get(children?.[name] ?? '')
      if (child?.status === 'completed' && !uncertainSteps.includes(name))
        say(
          [...states.values()].some(({ undoOf }) => undoOf === child.sagaId),
          `is ${status}, and its child ${name} is not undone (M5)`,
        )
    }
  }

  // --- Participants ---------------------------------------------------------------------------------------------

  function began(call: HandlerCall, host: Host, workerId: string): Working {
    const { sagaId, step, direction, attempt, idempotencyKey } = call
    const say = (holds: boolean, what: string) =>
      mustHold(holds, `saga ${sagaId}, ${direction} of ${step}, attempt ${attempt} on ${host.name}: ${what}`)
    // An edited input has a key of its own (S30a).
    const generation = Number(idempotencyKey.split(':').at(-1))
    const which = `${sagaId} ${step} ${direction} ${generation}`
    say(
      (keys.get(which) ?? idempotencyKey) === idempotencyKey && (keys.get(idempotencyKey) ?? which) === which,
      'has another key than before (S2)',
    )
    keys.set(which, idempotencyKey)
    keys.set(idempotencyKey, which)
    const row = rowOf(call)
    const definition = row && resolved.get(call.definition.name)
    const act = definition && stepOf(definition, step)?.[direction]
    if (act !== undefined && 'retry' in act)
      say(attempt <= act.retry.maxAttempts, 'is one more than there may be (S5)')
    const one: Working = { call, host, workerId, isOver: false }
    // Whoever has been declared dead does not know it yet; what it does is what nobody believes.
    if (row !== undefined && database?.isAlive(workerId) === true) {
      const state = states.get(row.sagaId)
      const isForward = state?.status === 'running'
      say(
        row.owner === workerId,
        `was begun without a lease: the saga is ${row.owner === undefined ? 'nobody’s' : 'another’s'} (S16)`,
      )
      if (row.owner === workerId) {
        say(
          state?.attempts[step] === attempt && isForward === (direction === 'action'),
          'was begun before it was committed that it would be (S1)',
        )
        say(state?.paused === undefined, 'was begun while the saga was paused (S30a)')
        const edits = state?.inputOverrides?.[step]?.[direction]
        say((edits?.generation ?? 1) === generation, 'has the key of another input (S30a)')
        say((call.input === 'edited') === (edits !== undefined), 'has another input than its key (S30a)')
      }
      for (const other of working.get(sagaId) ?? []) {
        if (other.isOver || !other.host.isUp || other.call.signal.aborted) continue
        if (other.workerId === workerId)
          say(other.call.step !== step, 'was begun while another of its step was running (S13)')
        else
          say(
            database?.isAlive(other.workerId) === false,
            `was begun while ${other.host.name} was at work on the saga (S13)`,
          )
      }
    }
    working.set(sagaId, [...(working.get(sagaId) ?? []).filter(({ isOver }) => !isOver), one])
    return one
  }

  /** What the participant makes of a request that has reached it: the same for the same key, always. */
  function asked({
    sagaId,
    step,
    direction,
    idempotencyKey: key,
  }: HandlerCall): 'done' | 'rejected' | 'failed' {
    const answered = answers.get(key)
    // In the calm somebody has seen to it that the participant can do what it refused.
    if (answered === 'done' || (answered === 'rejected' && !isHealing)) return answered
    const behaviour = behaviours.get(key) ?? virtual.pick(direction === 'action' ? FORWARD : BACKWARD)
    behaviours.set(key, behaviour)
    const times = (tries.get(key) ?? 0) + 1
    tries.set(key, times)
    const effect = effects.get(`${sagaId} ${step}`) ?? { done: false, undone: false }
    effects.set(`${sagaId} ${step}`, effect)
    // An action that comes after its compensation is refused: the barrier of the SDK (F21).
    const rejects = (behaviour === 'rejects' && !isHealing) || (direction === 'action' && effect.undone)
    if (rejects) {
      answers.set(key, 'rejected')
      return 'rejected'
    }
    if (!isHealing && (behaviour === 'keepsFailing' || (behaviour === 'failsOnce' && times === 1)))
      return 'failed'
    answers.set(key, 'done')
    if (direction === 'action') effect.done = true
    else effect.undone = true
    const state = states.get(sagaId)
    if (state !== undefined && isTerminal(state.status) && direction === 'action')
      netEffect(state, (holds, what) => mustHold(holds, `saga ${sagaId}, after its end: ${what}`))
    return 'done'
  }

  function carryOut(call: HandlerCall, workerId: string): Promise<Json> {
    const { host } = virtual
    if (host === undefined) throw new Error('an attempt belongs to a host')
    const one = began(call, host, workerId)
    const obeys = virtual.chance(0.8)
    return new Promise((resolve, reject) => {
      const over = (end: () => void) => {
        one.isOver = true
        end()
      }
      if (obeys)
        call.signal.addEventListener('abort', () => over(() => reject(outcomeError('uncertain'))), {
          once: true,
        })
      virtual.after(virtual.between(1, isHealing ? 50 : 800), () => {
        // Sent is sent, whatever has become of the sender.
        const outcome = asked(call)
        const behaviour = behaviours.get(call.idempotencyKey)
        const isSlow = behaviour === 'hangs' && !isHealing
        const back = isSlow ? virtual.between(1_500, 6_000) : virtual.between(1, isHealing ? 50 : 400)
        virtual.after(
          back,
          () =>
            over(() => {
              if (behaviour === 'loses' && !isHealing && virtual.chance(0.5))
                reject(outcomeError('uncertain'))
              else if (outcome === 'done') resolve({ by: call.step })
              else reject(outcomeError(outcome))
            }),
          host,
        )
      })
    })
  }

  return {
    violations,
    accepted,
    onChange,
    use(one: MemoryDatabase) {
      database = one
    },
    heal() {
      isHealing = true
    },
    /** What a worker is given. */
    modules: (workerIdOf: () => string): SagaModule[] =>
      documents.map((document) => {
        const definition: Definition = DefinitionShape.parse(document)
        const run = (call: HandlerCall) => carryOut(call, workerIdOf())
        const both: { readonly [direction in Direction]?: typeof run } = { action: run, compensation: run }
        const names = [...(resolved.get(definition.name)?.steps ?? [])].map(({ name }) => name)
        return { definition, handlers: new Map(names.map((name) => [name, both])) }
      }),
    /** When all is healed and everything has had its time. */
    check(): void {
      const requests = new Set<string>()
      for (const row of database?.rows.values() ?? []) {
        if (row.parentSagaId === undefined) {
          mustHold(!requests.has(row.requestHash), `request ${row.requestHash} started two sagas (F30)`)
          requests.add(row.requestHash)
        }
        mustHold(
          row.isEnded,
          `saga ${row.sagaId} (${row.definition.name}) is ${row.status} at the end: ${row.state}`,
        )
        const state = states.get(row.sagaId)
        if (row.isEnded && state !== undefined && state.undoOf === undefined)
          netEffect(state, (holds, what) => mustHold(holds, `saga ${row.sagaId}, at the end: ${what}`))
      }
    },
  }
}

function outcomeError(outcome: 'uncertain' | 'rejected' | 'failed'): Error {
  return Object.assign(new Error(outcome), { [Symbol.for('backstitch.outcome')]: outcome })
}

function startsWith(whole: readonly string[], part: readonly string[]): boolean {
  return part.every((one, index) => whole[index] === one)
}

/** With its keys in order. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, one]) => one !== undefined)
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, canonical(one)]),
  )
}
