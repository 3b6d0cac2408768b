import type { DefinitionVersion, Direction, HistoryItem, Saga } from '@backstitch/core'
import { span } from '../ui/time.tsx'

/** What can be read out of a definition, a saga and its history, for people to look at. Nothing here decides anything. */

export type Step = {
  name: string
  /** Its place in the order; members of a group share one. */
  place: number
  group: boolean
  kind: string
  compensation: boolean
  pivot: boolean
  when: string | undefined
  does: string | undefined
  /** Does it say itself what body it sends? Then that is its input (S30a). */
  writesBody: Record<Direction, boolean>
  /** Can a person put another input in the place of its own (S30a)? */
  takesInput: Record<Direction, boolean>
}

type Document = DefinitionVersion['document']

export function stepsOf(document: Document | undefined): Step[] {
  const steps = document?.steps
  if (!Array.isArray(steps)) return []
  return steps.flatMap((entry: unknown, place) => {
    if (!isObject(entry)) return []
    const members: unknown[] = Array.isArray(entry.parallel) ? entry.parallel : [entry]
    return members.filter(isObject).map((step) => {
      const action = isObject(step.action) ? step.action : {}
      return {
        name: textOf(step.name),
        place,
        group: members.length > 1,
        kind: textOf(action.type),
        compensation: isObject(step.compensation) || action.type === 'saga',
        pivot: step.pivot === true,
        when: typeof step.when === 'string' ? step.when : undefined,
        does: whatItDoes(action),
        takesInput: { action: takesInput(action), compensation: takesInput(step.compensation) },
        writesBody: {
          action: action.body !== undefined,
          compensation: isObject(step.compensation) && step.compensation.body !== undefined,
        },
      }
    })
  })
}

/** What waits is given nothing, nor what is asked for. */
function takesInput(act: unknown): boolean {
  if (!isObject(act)) return false
  return act.type === 'handler' || act.type === 'saga' || (act.type === 'http' && act.method !== 'GET')
}

function whatItDoes(action: Record<string, unknown>): string | undefined {
  switch (action.type) {
    case 'http':
      return `${textOf(action.method) || 'POST'} ${textOf(action.url) || `${textOf(action.service)} ${textOf(action.path)}`}`
    case 'signal':
      return `waits for the signal ${textOf(action.signal)}`
    case 'delay':
      return `waits ${typeof action.delayMs === 'number' ? span(action.delayMs) : ''}`
    case 'saga':
      return `starts a saga of ${textOf(action.definition)}`
    default:
      return undefined
  }
}

export function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : ''
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** How a step stands in one direction. */
export type Standing =
  | 'done'
  | 'running'
  | 'scheduled'
  | 'waiting'
  | 'failed'
  | 'stuck'
  | 'skipped'
  | 'uncertain'
  | 'owed'
  | 'byHand'
  | 'ahead'
  | 'none'

export function standingOf(
  saga: Saga,
  step: Step,
  direction: Direction,
  history: readonly HistoryItem[],
): Standing {
  const { stuck, status } = saga
  if (status === 'stuck' && stuck?.step === step.name && stuck.direction === direction) return 'stuck'
  // A paused saga and a stuck one keep what is scheduled, and what they wait for (S12a).
  if (directionOf(saga) === direction && Object.hasOwn(saga.attempts, step.name)) {
    if (saga.waiting !== undefined && Object.hasOwn(saga.waiting, step.name)) return 'waiting'
    const dueAt =
      saga.dueAt !== undefined && Object.hasOwn(saga.dueAt, step.name) ? saga.dueAt[step.name] : undefined
    const isDue = dueAt === undefined || Date.parse(dueAt) <= Date.now()
    return saga.next.worker !== undefined && isDue ? 'running' : 'scheduled'
  }
  if (direction === 'compensation') {
    if (saga.compensatedSteps.includes(step.name)) {
      const byHand = history.some((entry) => entry.kind === 'markedCompensated' && entry.step === step.name)
      return byHand ? 'byHand' : 'done'
    }
    if (saga.skippedCompensations?.includes(step.name) === true) return 'skipped'
    if (!step.compensation) return 'none'
    const turned = saga.status !== 'running' && saga.status !== 'completed' && !isPastPivot(saga)
    return turned && saga.completedSteps.includes(step.name) ? 'owed' : 'ahead'
  }
  if (saga.completedSteps.includes(step.name)) return 'done'
  if (saga.skippedSteps.includes(step.name)) return 'skipped'
  if (saga.uncertainSteps.includes(step.name)) return 'uncertain'
  return saga.failedStep === step.name ? 'failed' : 'ahead'
}

function directionOf({ status, stuck }: Saga): Direction {
  if (status === 'stuck') return stuck?.direction ?? 'action'
  return status === 'compensating' ? 'compensation' : 'action'
}

export function isPastPivot(saga: Saga): boolean {
  return saga.pivot === 'completed'
}

/** What is still to be undone, in the order in which it will be (S8). */
export function owedOf(saga: Saga, steps: readonly Step[]): string[] {
  if (saga.status === 'running' || saga.status === 'completed' || isPastPivot(saga)) return []
  const undoable = new Set(steps.filter(({ compensation }) => compensation).map(({ name }) => name))
  const done = new Set([...saga.compensatedSteps, ...(saga.skippedCompensations ?? [])])
  return saga.completedSteps.filter((name) => undoable.has(name) && !done.has(name)).toReversed()
}
