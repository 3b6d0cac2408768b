import type { Entry } from './history.ts'
import type { Json } from './json.ts'
import { Direction, overrideOf, type SagaState, type Way } from './state.ts'

/**
 * Where the values of a saga stand: in the state's `context` while they are small together, else in their history entries
 * alone (S33). Which those are need not be written down: what has completed and is not in the context.
 */

/** The values that stand in history entries alone, by name: what whoever holds the saga keeps beside its state. */
export type Spilled = ReadonlyMap<string, Json>

export function hasSpilled({ bytes }: SagaState): boolean {
  return bytes.inline < bytes.total
}

function spilledNames(state: SagaState): string[] {
  if (!hasSpilled(state)) return []
  return ['input', ...state.completedSteps].filter((name) => !Object.hasOwn(state.context, name))
}

/** The whole context. */
export function contextOf(
  state: SagaState,
  spilled: Spilled,
): { input: Json; context: Record<string, Json> } {
  const context: Record<string, Json> = { ...state.context }
  // What was spilled after this state is not of it.
  for (const name of spilledNames(state)) {
    const value = spilled.get(name)
    if (value !== undefined) context[name] = value
  }
  return { input: valueIn(state, spilled, 'input') ?? null, context }
}

/** One value of the context, without putting the whole together. */
export function valueIn(
  { context, completedSteps }: SagaState,
  spilled: Spilled,
  name: string,
): Json | undefined {
  if (Object.hasOwn(context, name)) return context[name]
  return name === 'input' || completedSteps.includes(name) ? spilled.get(name) : undefined
}

/** What a person has put in the place of the input. */
export function editedInput(state: SagaState, spilled: Spilled, way: Way): { input: Json } | undefined {
  if (overrideOf(state, way)?.seq === undefined) return undefined
  const input = spilled.get(editOf(way))
  return input === undefined ? undefined : { input }
}

/** The name of an edited input. No step has such a name. */
export function editOf({ step, direction }: Way): string {
  return `${step}:${direction}`
}

/** What is to be looked for in the history: results, by the names of their steps, and edited inputs, by their entries. */
export type Wanted = { names: readonly string[]; edits: ReadonlyMap<string, number> }

export function wantedOf(state: SagaState): Wanted {
  const edits = new Map<string, number>()
  for (const [step, ways] of Object.entries(state.inputOverrides ?? {}))
    for (const direction of Direction.options) {
      const seq = ways[direction]?.seq
      if (seq !== undefined) edits.set(editOf({ step, direction }), seq)
    }
  return { names: spilledNames(state), edits }
}

/** The kinds of the entries that hold what is wanted by name. */
export const HOLDERS = ['sagaStarted', 'attemptSucceeded', 'signalReceived'] as const

/**
 * So many of these kinds are to be looked at, in their order: what undos have resulted in comes after all that steps have, and
 * is part of no context. What is undone in a saga of its own had its results from the start (M5).
 */
export function holdersOf({ completedSteps, undoOf }: SagaState): number {
  return 1 + (undoOf === undefined ? completedSteps.length : 0)
}

/** What is wanted, as far as these entries hold it. */
export function valuesFrom(
  entries: Iterable<{ seq: number; entry: Entry }>,
  { names, edits }: Wanted,
): Map<string, Json> {
  const held = new Map<string, Json>()
  const inputs = new Map<number, Json>()
  for (const { seq, entry } of entries) {
    if (entry.kind === 'sagaStarted') {
      for (const [name, value] of Object.entries(entry.undo?.results ?? {})) held.set(name, value)
      held.set('input', entry.input)
    } else if (
      entry.kind === 'signalReceived' ||
      (entry.kind === 'attemptSucceeded' && entry.direction === 'action')
    ) {
      held.set(entry.step, entry.result)
    } else if (entry.kind === 'retried' && entry.edited !== undefined) inputs.set(seq, entry.edited.input)
  }
  const found = new Map<string, Json>()
  const keep = (name: string, value: Json | undefined) => value !== undefined && found.set(name, value)
  for (const name of names) keep(name, held.get(name))
  for (const [name, seq] of edits) keep(name, inputs.get(seq))
  return found
}

/** The first of what is wanted that was not found. */
export function missingIn({ names, edits }: Wanted, found: Spilled): string | undefined {
  return [...names, ...edits.keys()].find((name) => !found.has(name))
}
