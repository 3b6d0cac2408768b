import type { HistoryItem } from '@backstitch/sdk'
import { expect, test } from 'vitest'
import { momentOf } from './timeline.ts'

const nameOf = (worker: string) => (worker === 'w-1' ? 'worker 1' : worker)
const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString()
const written = { epoch: 1, worker: 'w-1' }
const attempt = { step: 'chargePayment', direction: 'action', attempt: 1 } as const
const failed = {
  kind: 'attemptFailed',
  ...attempt,
  error: { code: 'HTTP_503', message: 'the participant answered 503' },
} as const

const started: HistoryItem = {
  kind: 'sagaStarted',
  seq: 1,
  at: at(0),
  epoch: 0,
  worker: null,
  sagaId: 's',
  definition: { name: 'order', version: 1 },
  input: null,
  inputBytes: 4,
  to: {},
}

test('a start is told by the story itself, a lost lease where it happens', () => {
  expect(momentOf(started, undefined, nameOf)).toBeUndefined()
  const lost: HistoryItem = {
    kind: 'leaseLost',
    seq: 2,
    at: at(1),
    ...written,
    leasesLost: 1,
    steps: [],
    to: {},
  }
  expect(momentOf(lost, started, nameOf)).toBeUndefined()
})

test('an action that succeeded took as long as it is since the entry before', () => {
  const done: HistoryItem = {
    kind: 'attemptSucceeded',
    seq: 2,
    at: at(2),
    ...written,
    ...attempt,
    outcome: 'succeeded',
    result: 1,
    resultBytes: 1,
    to: {},
  }
  expect(momentOf(done, started, nameOf)).toEqual({
    mark: '✓',
    what: 'chargePayment',
    tookMs: 2000,
    who: 'worker 1',
    note: undefined,
  })
  expect(momentOf({ ...done, direction: 'compensation' }, started, nameOf)).toMatchObject({
    mark: '↩',
    note: 'undone',
  })
})

test('a failure that is tried again is not the end', () => {
  const again: HistoryItem = {
    ...failed,
    seq: 2,
    at: at(1),
    ...written,
    outcome: 'uncertain',
    to: { attempts: { chargePayment: 2 } },
  }
  expect(momentOf(again, started, nameOf)).toMatchObject({
    mark: '!',
    note: 'uncertain: 503; will be tried again',
  })
  const final: HistoryItem = {
    ...failed,
    seq: 2,
    at: at(1),
    ...written,
    outcome: 'rejected',
    to: { status: 'compensating' },
  }
  expect(momentOf(final, started, nameOf)).toMatchObject({ mark: '✗', note: 'rejected: 503' })
})

test('what else there may be in a history is named', () => {
  const cancel: HistoryItem = {
    kind: 'cancelRequested',
    seq: 2,
    at: at(1),
    ...written,
    actor: 'ada',
    reason: 'why',
    to: {},
  }
  expect(momentOf(cancel, started, nameOf)).toMatchObject({ mark: '·', what: 'cancelRequested', note: 'why' })
})
