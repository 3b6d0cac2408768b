import type { ResolvedDefinition } from './definition.ts'
import type { SagaState } from './state.ts'

/**
 * The steps still to be undone, next one first (S8, S9): an uncertain step whose definition wants it undone, then what
 * completed, in reverse order of completion. A step without a compensation is passed over.
 */
export function owed(state: SagaState, definition: ResolvedDefinition): string[] {
  const done = new Set([...state.compensatedSteps, ...(state.skippedCompensations ?? [])])
  const order = state.completedSteps.toReversed()
  for (const name of state.uncertainSteps) {
    if (stepOf(definition, name)?.compensateWhen !== 'uncertain') continue
    // Most often the last that was tried, and then the first to be undone; one that was skipped has others after it.
    const place = order.findIndex((other) => groupOf(definition, other) <= groupOf(definition, name))
    order.splice(place < 0 ? order.length : place, 0, name)
  }
  return order.filter((name) => !done.has(name) && stepOf(definition, name)?.compensation !== undefined)
}

/**
 * The steps to undo next: one, or those of its group if they are undone together.
 */
export function nextOwed(state: SagaState, definition: ResolvedDefinition): string[] {
  const all = owed(state, definition)
  const group = groupOf(definition, all[0] ?? '')
  if (definition.groups[group]?.compensate !== 'together') return all.slice(0, 1)
  return all.filter((name) => groupOf(definition, name) === group)
}

function groupOf(definition: ResolvedDefinition, name: string): number {
  return stepOf(definition, name)?.group ?? -1
}

export function stepOf(definition: ResolvedDefinition, name: string) {
  const index = definition.indexOf.get(name)
  return index === undefined ? undefined : definition.steps[index]
}
