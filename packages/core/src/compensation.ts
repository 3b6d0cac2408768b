import type { ResolvedDefinition } from './definition.ts'
import type { SagaState } from './state.ts'

/**
 * The steps still to be undone, next one first (S8, S9): an uncertain step whose definition wants it undone, then what
 * completed, in reverse order of completion. A step without a compensation is passed over.
 */
export function owed(state: SagaState, definition: ResolvedDefinition): string[] {
  const completed = new Set(state.completedSteps)
  const done = new Set([...state.compensatedSteps, ...(state.skippedCompensations ?? [])])
  const uncertain = state.uncertainSteps.filter(
    (name) => !completed.has(name) && stepOf(definition, name)?.compensateWhen === 'uncertain',
  )
  return [...uncertain.reverse(), ...state.completedSteps.toReversed()].filter(
    (name) => !done.has(name) && stepOf(definition, name)?.compensation !== undefined,
  )
}

export function stepOf(definition: ResolvedDefinition, name: string) {
  const index = definition.indexOf.get(name)
  return index === undefined ? undefined : definition.steps[index]
}
