import type { Direction, Json } from '@backstitch/core'

/** What became of one call. */
export type Outcome<T> =
  /** The work ran now; its result will be remembered as of the commit. */
  | { kind: 'done'; result: T }
  /** The work ran at an earlier call, and this is what it returned. */
  | { kind: 'replayed'; result: Json }
  /** A compensation whose action never ran, and now never will. */
  | { kind: 'nothingToUndo' }
  /** An action that comes after its compensation. */
  | { kind: 'refused'; reason: 'undone' }
  /** An action with an edited input that was done with the input before; `result` is what it returned then. */
  | { kind: 'refused'; reason: 'alreadyDone'; result: Json }

/** What is remembered about one step of one saga; both undefined: nothing was ever done. */
export type Remembered = {
  action: { generation: number; result: Json } | undefined
  /** `result` is undefined where there was nothing to undo. */
  undone: { result: Json | undefined } | undefined
}

/** What is to be done about a call, given what is remembered. */
export type Decision =
  | { kind: 'answer'; outcome: Exclude<Outcome<never>, { kind: 'done' }> }
  | { kind: 'bury' }
  | { kind: 'work'; result: Json | undefined }
  | { kind: 'amend'; result: Json }

export function decide(remembered: Remembered, direction: Direction, generation: number): Decision {
  return direction === 'action' ? decideAction(remembered, generation) : decideCompensation(remembered)
}

function decideAction({ action, undone }: Remembered, generation: number): Decision {
  if (undone !== undefined) return { kind: 'answer', outcome: { kind: 'refused', reason: 'undone' } }
  if (action === undefined) return { kind: 'work', result: undefined }
  const { result } = action
  // A lower generation is a late delivery from before the edit: what was done since counts.
  if (generation !== action.generation) return { kind: 'amend', result }
  return { kind: 'answer', outcome: { kind: 'replayed', result } }
}

/** Whatever generation was done is what is undone, once, whatever the generation of the compensation. */
function decideCompensation({ action, undone }: Remembered): Decision {
  if (undone?.result !== undefined) {
    return { kind: 'answer', outcome: { kind: 'replayed', result: undone.result } }
  }
  if (undone !== undefined) return { kind: 'answer', outcome: { kind: 'nothingToUndo' } }
  if (action === undefined) return { kind: 'bury' }
  return { kind: 'work', result: action.result }
}
