import { next } from './agenda.ts'
import { decide } from './decide.ts'
import type { ResolvedDefinition, ResolvedStep } from './definition.ts'
import type { AttemptId } from './event.ts'
import { begin } from './history.ts'
import { startedEntry } from './start.ts'
import type { Direction, SagaState, Status } from './state.ts'

/** One thing the engine would do. What has the same `round` is under way together. */
export type Planned = { step: string; direction: Direction; outcome: 'succeeded' | 'rejected'; round: number }

/** What would happen, in order, and how it would end (S28). */
export type Plan = { acts: Planned[]; ends: Status }

/**
 * The dry run: what a saga of this definition does if step `failAt` is rejected (or nothing fails). It is the engine's
 * own `decide` that is asked, so the plan cannot differ from what will happen. Where others run beside the step that fails
 * they are taken to succeed before it does: the most there can be to undo.
 */
export function plan(registered: ResolvedDefinition, failAt?: string): Plan {
  // Nobody knows the input, so every condition is taken to hold.
  const unconditional = (steps: readonly ResolvedStep[]) =>
    steps.map((step) => ({ ...step, when: undefined }))
  const definition = {
    ...registered,
    steps: unconditional(registered.steps),
    groups: registered.groups.map((group) => ({ ...group, members: unconditional(group.members) })),
  }
  const acts: Planned[] = []
  let state = begin(startedEntry({ sagaId: 'planned', definition, input: null, inputBytes: 4, now: 0 }))
  const most = 2 * definition.steps.length
  for (let round = 1; acts.length <= most; round++) {
    const due = next(state)
    if (due.act !== 'attempt') return { acts, ends: state.status }
    for (const attempt of failingLast(due.attempts, failAt)) {
      const { step, direction } = attempt
      const outcome = step === failAt && direction === 'action' ? 'rejected' : 'succeeded'
      acts.push({ step, direction, outcome, round })
      state = settle(state, attempt, outcome, definition, acts.length)
    }
  }
  throw new Error(`the plan of "${definition.name}" did not end after ${most} acts`)
}

function failingLast<T extends AttemptId>(attempts: readonly T[], failAt: string | undefined): T[] {
  return [
    ...attempts.filter(({ step }) => step !== failAt),
    ...attempts.filter(({ step }) => step === failAt),
  ]
}

function settle(
  state: SagaState,
  { step, direction, attempt }: AttemptId,
  outcome: Planned['outcome'],
  definition: ResolvedDefinition,
  version: number,
): SagaState {
  const id = { step, direction, attempt }
  const event =
    outcome === 'succeeded'
      ? ({ type: 'attemptSucceeded', ...id, result: null, resultBytes: 4 } as const)
      : ({ type: 'attemptFailed', ...id, outcome, error: { code: 'PLANNED', message: 'as asked' } } as const)
  const decision = decide(state, event, { definition, now: 0, random: 0, version })
  if (decision.is === 'ignored') throw new Error(`the plan came to a halt: ${decision.why}`)
  return decision.state
}
