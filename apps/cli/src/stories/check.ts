import { isDeepStrictEqual } from 'node:util'
import type { SagaSnapshot } from '@backstitch/sdk'
import type { Check } from '../narrator.ts'

/** A claim about how things ended, and whether it holds. */
export function is(claim: string, found: unknown, expected: unknown): Check {
  return { claim, holds: isDeepStrictEqual(found, expected), found: shown(found) }
}

export function holds(claim: string, truth: boolean, found: unknown): Check {
  return { claim, holds: truth, found: shown(found) }
}

/** What must be so at the end of any story: the saga ended, with nothing uncertain. */
export function endedAs(saga: SagaSnapshot, status: SagaSnapshot['status']): Check[] {
  return [
    holds(`the saga should be ${status}`, saga.status === status, standing(saga)),
    is('no step should be uncertain', saga.uncertainSteps, []),
  ]
}

/** How it stands, and why. */
export function standing({ status, stuck, failureReason }: SagaSnapshot): string {
  const why = stuck?.message ?? failureReason
  return why === undefined ? status : `${status} (${why})`
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
