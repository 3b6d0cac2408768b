import { type Chance, chanceOf } from './chance.ts'

/** What is run: random definitions, and for each start what its caller does with it. All of it follows from the seed. */

export type Definition = {
  name: string
  defaults: { compensateWhen?: string; [key: string]: unknown }
  steps: Entry[]
}
export type Entry = Step | { parallel: Step[]; compensate: string }
export type Step = {
  name: string
  action: { type: string; service?: string; [key: string]: unknown }
  compensation?: { retry?: { maxAttempts: number }; [key: string]: unknown }
  compensateWhen?: string
  pivot?: boolean
  retry?: { maxAttempts: number }
  [key: string]: unknown
}

export type Script = {
  label: number
  definition: string
  by: 'sagaKey' | 'Idempotency-Key'
  key: string
  /** The same request, sent this often at once. */
  copies: number
  /** The same key with another input, a little later. */
  twisted: boolean
  deadlineMs: number | undefined
  /** After this long it is cancelled. */
  cancelAfterMs: number | undefined
  /** After this long it is held back, for so long. */
  pause: { afterMs: number; forMs: number } | undefined
  /** After this long what is scheduled for later is brought forward. */
  hurryAfterMs: number | undefined
  /** After these its signal is sent, where it waits for one: once for each. */
  signalsAfterMs: number[]
}

/** The timeout of every step: what hangs, hangs longer. */
export const TIMEOUT_MS = 600
export const HANG_MS = 1_000
/** How long a callback or a signal is waited for. */
const CALLBACK_MS = 1_500

export const ACTION_ATTEMPTS = 3
export const COMPENSATION_ATTEMPTS = 4

export const BACKOFF = { initialDelayMs: 20, maxDelayMs: 150 }
const DEFAULTS = { timeoutMs: TIMEOUT_MS, retry: { maxAttempts: ACTION_ATTEMPTS, ...BACKOFF } }

export function definitionsOf(seed: number, { count = 12, pivots = 0.2 } = {}): Definition[] {
  const single = singlesOf(seed, count, pivots)
  return [...single, ...parentsOf(seed, single)]
}

/** One of whose steps is a saga of its own, undone as one unit; what is past a pivot could not be. */
function parentsOf(seed: number, single: readonly Definition[]): Definition[] {
  const children = single.filter((definition) => placedSteps(definition).every(({ step }) => !step.pivot))
  return Array.from({ length: children.length === 0 ? 0 : 2 }, (_, index) => {
    const chance = chanceOf(seed, 'parent', index)
    const child: Step = { name: 'child', action: { type: 'saga', definition: chance.pick(children).name } }
    return {
      name: `chaos-parent-${index}`,
      defaults: DEFAULTS,
      steps: [call(chance, 's1'), child, call(chance, 's2')],
    }
  })
}

function singlesOf(seed: number, count: number, pivots: number): Definition[] {
  return Array.from({ length: count }, (_, index) => {
    const chance = chanceOf(seed, 'definition', index)
    const entries = 1 + chance.int(5)
    let steps = 0
    const name = () => `s${++steps}`
    const definition: Definition = {
      name: `chaos-${index}`,
      defaults: DEFAULTS,
      steps: Array.from({ length: entries }, (): Entry => {
        if (chance.happens(0.1)) return delay(name(), 10 + chance.int(150))
        if (chance.happens(0.08)) return signal(name())
        if (chance.happens(0.2)) {
          const parallel = Array.from({ length: 2 + chance.int(2) }, () => call(chance, name()))
          return { parallel, compensate: chance.pick(['oneByOne', 'together']) }
        }
        return call(chance, name())
      }),
    }
    const singles = definition.steps.filter(
      (entry): entry is Step => 'action' in entry && entry.action.type === 'http',
    )
    if (singles.length > 0 && chance.happens(pivots)) chance.pick(singles).pivot = true
    return definition
  })
}

function delay(name: string, delayMs: number): Step {
  return { name, action: { type: 'delay', delayMs } }
}

/** Callers send it some time after the start: before its step is come to, while it is waited for, or too late. */
export const SIGNAL = 'go'

function signal(name: string): Step {
  return { name, timeoutMs: CALLBACK_MS, action: { type: 'signal', signal: SIGNAL } }
}

function call(chance: Chance, name: string): Step {
  const guarded = chance.happens(0.7)
  const undoable = chance.happens(0.92)
  const http = (path: string) => ({ type: 'http', service: guarded ? 'guarded' : 'plain', path })
  return {
    name,
    // Its end comes by a callback, and may come before the answer.
    ...(chance.happens(0.15)
      ? { action: { ...http('/do'), completion: 'callback' }, timeoutMs: CALLBACK_MS }
      : { action: http('/do') }),
    ...(undoable && {
      compensation: { ...http('/undo'), retry: { maxAttempts: COMPENSATION_ATTEMPTS, ...BACKOFF } },
    }),
    // Without a barrier an undo of what may still come would prove nothing.
    ...(guarded && undoable && chance.happens(0.7) && { compensateWhen: 'uncertain' }),
  }
}

/** How often callers do what. */
export type Habits = {
  cancels: number
  cancelsWithinMs: number
  repeats: number
  twists: number
  deadlines: number
  pauses: number
  hurries: number
}
export const HABITS: Habits = {
  cancels: 0.15,
  cancelsWithinMs: 700,
  repeats: 0.15,
  twists: 0.05,
  deadlines: 0.08,
  pauses: 0.08,
  hurries: 0.1,
}

export function scriptOf(
  seed: number,
  label: number,
  definitions: readonly Definition[],
  { cancels, cancelsWithinMs, repeats, twists, deadlines, pauses, hurries }: Habits,
): Script {
  const chance = chanceOf(seed, 'start', label)
  const definition = chance.pick(definitions)
  return {
    label,
    definition: definition.name,
    by: chance.pick(['sagaKey', 'Idempotency-Key']),
    key: `${seed}-${label}`,
    copies: chance.happens(repeats) ? 2 + chance.int(4) : 1,
    twisted: chance.happens(twists),
    deadlineMs: chance.happens(deadlines) ? 200 + chance.int(1_500) : undefined,
    signalsAfterMs: signalsOf(definition).map(() => chance.int(1_000)),
    cancelAfterMs: chance.happens(cancels) ? chance.int(cancelsWithinMs) : undefined,
    pause: chance.happens(pauses) ? { afterMs: chance.int(700), forMs: chance.int(1_500) } : undefined,
    hurryAfterMs: chance.happens(hurries) ? chance.int(1_000) : undefined,
  }
}

/** Whether it is carried out by somebody who keeps a barrier; undefined if nobody carries it out. */
export function isGuarded({ action }: Step): boolean | undefined {
  if (/^(delay|signal|saga)$/.test(action.type)) return undefined
  return action.type === 'handler' || action.service === 'guarded'
}

function signalsOf(definition: Definition): Step[] {
  return placedSteps(definition).flatMap(({ step }) => (step.action.type === 'signal' ? [step] : []))
}

/** Every step, with the place of its entry in the list. */
export function placedSteps({ steps }: Definition): { step: Step; group: number; together: boolean }[] {
  return steps.flatMap((entry, group) => {
    if ('action' in entry) return [{ step: entry, group, together: false }]
    return entry.parallel.map((step) => ({ step, group, together: entry.compensate === 'together' }))
  })
}
