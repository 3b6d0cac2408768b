import { chanceOf } from './chance.ts'

/** What a participant does with one request. All but `ok` are the ways in which the field has seen services fail. */
export const FAULTS = [
  'ok',
  'errorBefore',
  'errorAfter',
  'dropAfter',
  'hangThenApply',
  'hang',
  'reset',
  'drip',
  'busy',
  'refuse',
  'huge',
  'crooked',
  'redirect',
] as const
export type Fault = (typeof FAULTS)[number]

export type Direction = 'action' | 'compensation'

/** How often each fault is to happen, of a hundred requests; what is left goes well. */
export type Mix = Readonly<Record<Direction, Partial<Record<Fault, number>>>>

export const CALM: Mix = { action: {}, compensation: {} }

/** Enough of everything that most sagas meet something, and more than half of them get through all the same. */
export const ROUGH: Mix = {
  action: {
    errorBefore: 3,
    errorAfter: 3,
    dropAfter: 3,
    hangThenApply: 2,
    hang: 1,
    reset: 2,
    drip: 2,
    busy: 3,
    refuse: 4,
    huge: 1,
    crooked: 1,
    redirect: 1,
  },
  // A definite no to an undo leaves the saga stuck: there are to be some of these, not many.
  compensation: {
    errorBefore: 4,
    errorAfter: 4,
    dropAfter: 4,
    hangThenApply: 2,
    hang: 1,
    reset: 3,
    drip: 2,
    busy: 4,
    refuse: 1,
    crooked: 1,
  },
}

export type Place = { label: number; step: string; direction: Direction; attempt: number }

/** The plan: decided by the seed alone, before anything has happened. `label` is the start's own number, since ids are random. */
export function faultOf(seed: number, mix: Mix, { label, step, direction, attempt }: Place): Fault {
  let roll = chanceOf(seed, 'fault', label, step, direction, attempt).next() * 100
  for (const fault of FAULTS) {
    roll -= mix[direction][fault] ?? 0
    if (roll < 0) return fault
  }
  return 'ok'
}

/** What a step moves: known to whoever knows the label, so that nobody need be believed. */
export function amountOf(label: number, step: string): number {
  return 1 + chanceOf('amount', label, step).int(100)
}
