import type { HistoryItem } from '@backstitch/sdk'
import { expect, test } from 'vitest'
import { Timeline } from './timeline.ts'

const nameOf = (worker: string) => (worker === 'w-1' ? 'worker 1' : worker)
/** What is told of the last of these entries. */
const told = (...items: HistoryItem[]) => {
  const timeline = new Timeline(nameOf)
  return items.map((item) => timeline.read(item)).at(-1)
}
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
  to: { attempts: { chargePayment: 1, bookHotel: 1 } },
}

test('a start is told by the story itself, a lost lease where it happens', () => {
  expect(told(started)).toEqual([])
  const lost: HistoryItem = {
    kind: 'leaseLost',
    seq: 2,
    at: at(1),
    ...written,
    leasesLost: 1,
    steps: [],
    to: {},
  }
  expect(told(started, lost)).toEqual([])
})

const done: HistoryItem = {
  kind: 'attemptSucceeded',
  seq: 2,
  at: at(2),
  ...written,
  ...attempt,
  outcome: 'succeeded',
  result: 1,
  resultBytes: 1,
  to: { attempts: { bookHotel: 1 } },
}

test('a step took as long as it is since it was scheduled, whatever happened beside it', () => {
  expect(told(started, done)).toEqual([
    { mark: '✓', what: 'chargePayment', tookMs: 2000, who: 'worker 1', note: undefined },
  ])
  const hotel: HistoryItem = { ...done, seq: 3, at: at(5), step: 'bookHotel', by: 'callback', to: {} }
  expect(told(started, done, hotel)).toMatchObject([
    { mark: '✓', what: 'bookHotel', tookMs: 5000, note: 'called back' },
  ])
})

test('the undo of a step that ended last took as long as it did itself', () => {
  const turned = { status: 'compensating' as const, attempts: { chargePayment: 1 } }
  const undo: HistoryItem = { ...done, seq: 3, at: at(3), direction: 'compensation', to: {} }
  expect(told(started, { ...done, to: turned }, undo)).toMatchObject([{ mark: '↩', tookMs: 1000 }])
})

test('an undo is told as one, also where a saga of its own did it', () => {
  expect(told(started, { ...done, direction: 'compensation' })).toMatchObject([{ mark: '↩', note: 'undone' }])
  expect(told(started, { ...done, direction: 'compensation', by: 'child' })).toMatchObject([
    { mark: '↩', note: 'undone, by a saga of its own' },
  ])
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
  expect(told(started, again)).toMatchObject([{ mark: '!', note: 'uncertain: 503; will be tried again' }])
  // The second attempt's time is its own.
  expect(told(started, again, { ...done, attempt: 2 })).toMatchObject([{ tookMs: 1000 }])
  const final: HistoryItem = {
    ...failed,
    seq: 2,
    at: at(1),
    ...written,
    outcome: 'rejected',
    to: { status: 'compensating' },
  }
  expect(told(started, final)).toMatchObject([{ mark: '✗', note: 'rejected: 503' }])
})

test('what is waited for is told when it begins, and a step that was passed over beside what led past it', () => {
  const pending: HistoryItem = { kind: 'attemptPending', seq: 2, at: at(1), ...written, ...attempt, to: {} }
  expect(told(started, pending)).toMatchObject([{ mark: '·', note: 'is taken on, and will call back' }])
  const child = { sagaId: 'c', definition: { name: 'insurance', version: 1 } }
  const begun: HistoryItem = {
    kind: 'childStarted',
    seq: 2,
    at: at(1),
    ...written,
    ...attempt,
    child,
    to: {},
  }
  expect(told(started, begun)).toMatchObject([{ mark: '·', note: 'starts saga "insurance"' }])
  expect(told(started, { ...begun, direction: 'compensation' })).toEqual([])
  expect(told(started, { ...done, to: { skipped: ['applyForVisa'] } })).toMatchObject([
    { mark: '✓' },
    { mark: '·', what: 'applyForVisa', note: 'is skipped: its condition is false' },
  ])
})

test('what else there may be in a history is named', () => {
  const by = { seq: 2, at: at(1), ...written, actor: 'ada', reason: 'why' }
  const cancel: HistoryItem = { kind: 'cancelRequested', ...by, to: {} }
  expect(told(started, cancel)).toMatchObject([{ mark: '✗', what: 'cancelled', note: 'why' }])
  const retried: HistoryItem = { kind: 'retried', ...by, step: 'chargePayment', to: {} }
  expect(told(started, retried)).toMatchObject([{ mark: '·', what: 'retried', note: 'why' }])
})
