import { failureOf } from '@backstitch/core'
import { describe, expect, test, vi } from 'vitest'
import { StepFailed, StepRejected, StepUncertain } from './outcomes.ts'

describe('an outcome that is thrown', () => {
  test('is read as what it says', () => {
    expect(failureOf(new StepRejected('card declined', { code: 'CARD_DECLINED' }))).toEqual({
      outcome: 'rejected',
      error: { code: 'CARD_DECLINED', message: 'card declined' },
    })
    expect(failureOf(new StepFailed('busy', { retryAfterMs: 500 }))).toEqual({
      outcome: 'failed',
      error: { code: 'FAILED', message: 'busy' },
      retryAfterMs: 500,
    })
    expect(failureOf(new StepUncertain('no reply', { cause: new Error('socket hang up') }))).toEqual({
      outcome: 'uncertain',
      error: { code: 'UNCERTAIN', message: 'no reply: socket hang up' },
    })
  })

  test('is an error like any other to everybody else', () => {
    const cause = new Error('why')
    const error = new StepRejected('no', { cause })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'StepRejected', message: 'no', code: 'REJECTED', cause })
    expect(String(error)).toBe('StepRejected: no')
    expect(new StepFailed('no')).not.toHaveProperty('cause')
  })

  test('is known even if it comes from another copy of this package', async () => {
    vi.resetModules()
    const copy = await import('./outcomes.ts')
    const error = new copy.StepRejected('no')
    expect(error).not.toBeInstanceOf(StepRejected)
    expect(failureOf(error).outcome).toBe('rejected')
  })
})
