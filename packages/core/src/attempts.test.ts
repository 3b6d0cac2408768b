import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dueNow, next } from './agenda.ts'
import { type AttemptView, attemptsOf, createAttemptReader, HIDDEN, LISTED_BYTES } from './attempts.ts'
import type { HistoryItem } from './contract.ts'
import type { Outcome } from './event.ts'
import type { Entry, Verb } from './history.ts'
import type { Json } from './json.ts'
import { define, Play, START, type StepSketch } from './testing.ts'

/** As they are stored: numbered, and with who wrote them. */
function itemsOf(entries: readonly Entry[]): HistoryItem[] {
  return entries.map((entry, index) => ({ seq: index + 1, epoch: 1, worker: 'w1', ...entry }))
}

function attemptsIn(saga: Play, worker: string | undefined = 'w1'): AttemptView[] {
  return attemptsOf(itemsOf(saga.entries), saga.definition, { now: saga.now, worker })
}

const http = (more: Record<string, Json>) => ({ type: 'http', url: 'http://pay/charges', ...more })

describe('an attempt', () => {
  test('waits for its worker, is made, fails, and waits for its next', () => {
    const saga = new Play(define(['charge']), { total: 7 })
    saga.now = START + 500
    const id = { step: 'charge', direction: 'action', attempt: 1 } as const
    const error = { code: 'BUSY', message: 'later' }
    saga.tell({ type: 'attemptFailed', ...id, outcome: 'failed', error, tookMs: 120 })

    expect(attemptsIn(saga)).toMatchObject([
      {
        ...id,
        state: 'failed',
        seq: 2,
        scheduledAt: new Date(START).toISOString(),
        startedAt: new Date(START + 380).toISOString(),
        endedAt: new Date(START + 500).toISOString(),
        queuedMs: 380,
        tookMs: 120,
        error,
        request: { input: { total: 7 } },
        nextAt: saga.state.dueAt?.charge,
      },
      { ...id, attempt: 2, state: 'scheduled', nextAt: saga.state.dueAt?.charge },
    ])
  })

  test('is under way while a worker holds its saga, and else scheduled', () => {
    const saga = new Play(define(['charge']))
    expect(attemptsIn(saga, 'w1')).toMatchObject([{ state: 'running', worker: 'w1' }])
    expect(
      attemptsOf(itemsOf(saga.entries), saga.definition, { now: saga.now, worker: undefined }),
    ).toMatchObject([{ state: 'scheduled' }])
  })

  test('that is brought forward could be made from then on', () => {
    const saga = new Play(define([{ name: 'charge', retry: { initialDelayMs: 60_000 } }]))
    saga.settle('failed')
    saga.now += 1_000
    const at = new Date(saga.now).toISOString()
    saga.tell({ type: 'verbRequested', verb: 'runNow', actor: 'ada', reason: 'now' })
    expect(attemptsIn(saga)).toMatchObject([{ attempt: 1 }, { attempt: 2, scheduledAt: at }])
  })

  test('that was cut short with its worker runs again under its number', () => {
    const saga = new Play(define(['charge']))
    saga.crash()
    saga.settle('succeeded')
    expect(attemptsIn(saga).map(({ attempt, state }) => ({ attempt, state }))).toEqual([
      { attempt: 1, state: 'leaseLost' },
      { attempt: 1, state: 'succeeded' },
    ])
  })

  test('of a wait lasts from when it is come to until its signal', () => {
    const saga = new Play(
      define([{ name: 'approve', action: { type: 'signal', signal: 'ok' }, compensation: undefined }]),
    )
    expect(attemptsIn(saga)).toMatchObject([{ state: 'waiting', waiting: { for: 'signal', signal: 'ok' } }])
    saga.now += 4_000
    saga.signal('ok', { by: 'ada' })
    expect(attemptsIn(saga)).toMatchObject([
      { state: 'succeeded', by: 'signal', queuedMs: 0, tookMs: 4_000, result: { by: 'ada' } },
    ])
  })

  test('that a callback ends took from its request to the callback', () => {
    const saga = new Play(
      define([{ name: 'ship', action: http({ completion: 'callback' }), compensation: undefined }]),
    )
    const id = { step: 'ship', direction: 'action', attempt: 1 } as const
    saga.now += 300
    saga.tell({ type: 'attemptPending', ...id, tookMs: 100 })
    expect(attemptsIn(saga)).toMatchObject([{ state: 'waiting', waiting: { for: 'callback' } }])
    saga.now += 5_000
    saga.tell({ type: 'attemptSucceeded', ...id, by: 'callback', result: 1, resultBytes: 1 })
    expect(attemptsIn(saga)).toMatchObject([{ by: 'callback', queuedMs: 200, tookMs: 5_100 }])
  })

  test('whose wait a cancel ends is called off', () => {
    const saga = new Play(
      define([{ name: 'rest', action: { type: 'delay', delayMs: 9_000 }, compensation: undefined }]),
    )
    saga.now += 1_000
    saga.cancel()
    expect(attemptsIn(saga)).toMatchObject([{ state: 'calledOff', tookMs: 1_000 }])
  })

  test('that is called off while it backs off has not begun, however long the one took that ended it', () => {
    const member = (name: string) => ({ name, action: http({}), retry: { initialDelayMs: 60_000 } })
    const saga = new Play(define([{ parallel: [member('a'), member('b')] }]))
    saga.random = 0.9
    saga.end('a', 'failed', ['b'])
    saga.now += 1_000
    const id = { step: 'b', direction: 'action', attempt: 1 } as const
    const error = { code: 'NO', message: 'no' }
    saga.tell({ type: 'attemptFailed', ...id, outcome: 'rejected', error, tookMs: 900 })
    const [, , calledOff] = attemptsIn(saga)
    expect(calledOff).toMatchObject({ step: 'a', attempt: 2, state: 'calledOff' })
    expect(calledOff).not.toHaveProperty('startedAt')
    expect(calledOff).not.toHaveProperty('tookMs')
  })

  test('of which the clocks disagree took no negative time', () => {
    const saga = new Play(define(['charge']))
    const id = { step: 'charge', direction: 'action', attempt: 1 } as const
    saga.now = START + 10
    saga.tell({ type: 'attemptSucceeded', ...id, result: 1, resultBytes: 1, tookMs: 5_000 })
    expect(attemptsIn(saga)).toMatchObject([{ queuedMs: 0, tookMs: 10 }])
  })
})

describe('what was sent', () => {
  test('is rendered from what was known then, not from what came later', () => {
    const body = { total: '${{ input.total }}', seen: '${{ size(context) }}' }
    const saga = new Play(define(['reserve', { name: 'charge', action: http({ body }) }, 'ship']), {
      total: 7,
    })
    saga.settleAll('succeeded', 'succeeded', 'succeeded')
    const [, charge] = attemptsIn(saga)
    expect(charge).toMatchObject({
      step: 'charge',
      idempotencyKey: 'saga-1:charge:action:1',
      request: { method: 'POST', url: 'http://pay/charges', headers: {}, body: { total: 7, seen: 2 } },
    })
  })

  test('of a later attempt is rendered from what was known when that was due', () => {
    const member = (name: string) => ({
      name,
      action: http({ body: '${{ size(context) }}' }),
      compensation: http({}),
      retry: { initialDelayMs: 10_000 },
    })
    const saga = new Play(define([{ parallel: [member('a'), member('b'), member('c')] }]))
    saga.tell(
      {
        type: 'attemptFailed',
        step: 'a',
        direction: 'action',
        attempt: 1,
        outcome: 'failed',
        error: { code: 'X', message: '' },
      },
      ['b', 'c'],
    )
    saga.end('b', 'succeeded', ['c'])
    saga.waitUntilDue()
    saga.now += 20_000
    saga.end('c', 'succeeded', ['a'])
    saga.end('a', 'succeeded')
    expect(attemptsIn(saga).map(({ step, attempt, request }) => [step, attempt, request?.body])).toEqual([
      ['a', 1, 1],
      ['b', 1, 1],
      ['c', 1, 1],
      ['a', 2, 2],
    ])
  })

  test('shows an undo what its action gave, and why', () => {
    const saga = new Play(
      define([
        { name: 'charge', action: http({}), compensation: http({ method: 'DELETE' }) },
        { name: 'ship', retry: { maxAttempts: 1 } },
      ]),
    )
    saga.settle('succeeded', { result: { id: 'c1' } })
    saga.settle('rejected')
    saga.settle('succeeded')
    const undo = attemptsIn(saga).find(({ direction }) => direction === 'compensation')
    expect(undo?.request?.body).toMatchObject({
      direction: 'compensation',
      result: { id: 'c1' },
      failure: { step: 'ship' },
    })
  })

  test('finds values that stand in the history alone (S33)', () => {
    const large = 'x'.repeat(3_000)
    const saga = new Play(
      define(['reserve', { name: 'charge', action: http({ body: '${{ context.reserve }}' }) }]),
      large,
    )
    saga.settle('succeeded', { result: large })
    saga.settle('succeeded')
    expect([...saga.spilled.keys()]).toEqual(['input', 'reserve'])
    const [reserve, charge] = attemptsIn(saga)
    expect([reserve?.request?.input, charge?.request?.body]).toEqual([large, large])
  })

  test('is what a person has put in its place, under a key of its own (S30a)', () => {
    const body = { card: '${{ input.card }}' }
    const saga = new Play(
      define([
        { name: 'pay', pivot: true, compensation: undefined },
        { name: 'charge', action: http({ body }), retry: { maxAttempts: 1 } },
        { name: 'ship', action: http({}) },
      ]),
      { card: 'old' },
    )
    const retry = (input: Json) =>
      saga.tell({ type: 'verbRequested', verb: 'retry', actor: 'ada', reason: 'typo', input, force: true })
    saga.settleAll('succeeded', 'rejected')
    retry({ card: 'newer' })
    saga.settle('rejected')
    retry({ card: 'newest' })
    saga.settle('succeeded')
    const charges = attemptsIn(saga).filter(({ step }) => step === 'charge')
    expect(charges.map(({ idempotencyKey, request }) => [idempotencyKey, request?.body])).toEqual([
      ['saga-1:charge:action:1', { card: 'old' }],
      ['saga-1:charge:action:2', { card: 'newer' }],
      ['saga-1:charge:action:3', { card: 'newest' }],
    ])
    expect(attemptsIn(saga).at(-1)?.request?.body).toMatchObject({ input: { card: 'old' } })
  })

  test('hides what sounds like a secret', () => {
    const action = http({
      url: 'http://pay/charges?api_key=abc&page=2',
      headers: { Authorization: 'Bearer abc', 'X-Api-Key': 'abc', 'X-Region': 'eu' },
    })
    const saga = new Play(define([{ name: 'charge', action }]))
    const [charge] = attemptsIn(saga)
    expect(charge?.request).toMatchObject({
      url: `http://pay/charges?api_key=${HIDDEN}&page=2`,
      headers: { Authorization: HIDDEN, 'X-Api-Key': HIDDEN, 'X-Region': 'eu' },
    })
  })

  test('is left out of a list where it is large', () => {
    const saga = new Play(define(['reserve']), 'x'.repeat(LISTED_BYTES))
    saga.settle('succeeded', { result: 'y'.repeat(LISTED_BYTES) })
    const reader = createAttemptReader(saga.definition)
    const [reserve] = itemsOf(saga.entries).flatMap((item) => reader.take(item))
    if (reserve === undefined) throw new Error('there is one')
    expect(reader.view(reserve)).toMatchObject({ omitted: ['request', 'result'] })
    expect(reader.view(reserve)).not.toHaveProperty('result')
    expect(reader.view(reserve, true)).toMatchObject({
      request: { input: 'x'.repeat(LISTED_BYTES) },
      result: 'y'.repeat(LISTED_BYTES),
    })
  })

  test('is not known of a definition that is not there, nor after an entry that cannot be read (S29)', () => {
    const saga = new Play(define(['reserve', 'charge']))
    saga.settleAll('succeeded', 'succeeded')
    const items = itemsOf(saga.entries)
    const unknown = attemptsOf(items, undefined, { now: saga.now })
    expect(unknown.map(({ step, request }) => ({ step, request }))).toEqual([
      { step: 'reserve', request: undefined },
      { step: 'charge', request: undefined },
    ])
    const [started, , charged] = items
    if (started === undefined || charged === undefined) throw new Error('there are three')
    const damaged: HistoryItem = {
      seq: 2,
      epoch: 1,
      worker: null,
      kind: 'unreadable',
      at: started.at,
      storedKind: 'attemptSucceeded',
      why: 'damaged',
    }
    const rest = attemptsOf([started, damaged, charged], saga.definition, { now: saga.now })
    expect(rest).toMatchObject([{ step: 'charge', state: 'succeeded', seq: 3 }])
  })
})

// --- Laws ----------------------------------------------------------------------------------------------------------

const outcomes = fc.constantFrom<Outcome>(
  'succeeded',
  'succeeded',
  'succeeded',
  'failed',
  'rejected',
  'uncertain',
)
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constantFrom('handler', 'callback', 'signal', 'delay') }),
    fc.record({ members: fc.integer({ min: 2, max: 3 }) }),
  ),
  { minLength: 1, maxLength: 4 },
)
const moves = fc.array(
  fc.record({
    does: fc.oneof(
      { weight: 8, arbitrary: fc.constant('end' as const) },
      fc.constantFrom<Move['does']>(
        'pend',
        'crash',
        'interrupt',
        'cancel',
        'late',
        'signal',
        'retry',
        'skip',
        'pause',
        'resume',
        'runNow',
      ),
    ),
    outcome: outcomes,
    which: fc.nat(10),
    // Two workers' readings of the database's clock may differ a little.
    afterMs: fc.integer({ min: -500, max: 10_000 }),
    tookMs: fc.nat(12_000),
  }),
  { maxLength: 40 },
)

function write(kinds: { kind?: string; members?: number }[]): StepSketch[] {
  return kinds.map(({ kind, members }, place) => {
    const name = `s${place}`
    if (members !== undefined)
      return {
        parallel: Array.from({ length: members }, (_, member) => ({
          name: `${name}m${member}`,
          action: http({}),
          compensation: http({}),
        })),
      }
    if (kind === 'callback') return { name, action: http({ completion: 'callback' }) }
    if (kind === 'signal')
      return { name, action: { type: 'signal', signal: 'go' }, timeoutMs: 60_000, compensation: undefined }
    if (kind === 'delay') return { name, action: { type: 'delay', delayMs: 500 }, compensation: undefined }
    return name
  })
}

type Move = {
  does: 'end' | 'pend' | 'crash' | 'interrupt' | 'cancel' | 'late' | 'signal' | Verb
  outcome: Outcome
  which: number
  afterMs: number
  tookMs: number
}

function make(saga: Play, { does, outcome, which, afterMs, tookMs }: Move): void {
  saga.now += afterMs
  const due = next(saga.state)
  const scheduled = due.act === 'attempt' ? due.attempts : []
  const one = scheduled[which % Math.max(1, scheduled.length)]
  if (does === 'retry' || does === 'skip' || does === 'pause' || does === 'resume' || does === 'runNow')
    saga.operator(does)
  if (one === undefined) return
  const { step, direction, attempt, waiting } = one
  const id = { step, direction, attempt }
  const running = dueNow(saga.state, saga.now)
  switch (does) {
    case 'end': {
      const error = { code: 'NO', message: 'no' }
      if (waiting?.for === 'signal') saga.signal('go')
      else if (outcome === 'succeeded')
        saga.tell({ type: 'attemptSucceeded', ...id, tookMs, result: which, resultBytes: 2 }, running)
      else saga.tell({ type: 'attemptFailed', ...id, tookMs, outcome, error }, running)
      return
    }
    case 'pend':
      if (waiting === undefined) saga.tell({ type: 'attemptPending', ...id, tookMs })
      return
    case 'late':
      saga.tell({ type: 'lateResult', ...id, outcome })
      return
    case 'crash':
      saga.crash()
      return
    case 'interrupt':
      saga.interrupt()
      return
    case 'cancel':
      saga.cancel(which % 2 === 0)
      return
    case 'signal':
      saga.signal('go')
      return
    default:
      return
  }
}

const sagas = fc.record({ kinds: steps, moves }).map(({ kinds, moves: made }) => {
  const saga = new Play(define(write(kinds)))
  for (const move of made) make(saga, move)
  return saga
})

describe('of any history', () => {
  test('each attempt that an entry ends is told exactly once, in their order', () => {
    fc.assert(
      fc.property(sagas, (saga) => {
        const expected = itemsOf(saga.entries).flatMap((item) => {
          if (item.kind === 'leaseLost' || item.kind === 'interrupted')
            return item.steps.map((step) => `${item.seq} ${step} ${item.kind}`)
          if (item.kind === 'signalReceived') return [`${item.seq} ${item.step} succeeded`]
          if (item.kind === 'lateResult') return [`${item.seq} ${item.step} late`]
          if (item.kind === 'attemptSucceeded' || item.kind === 'attemptFailed')
            return [`${item.seq} ${item.step} ${item.outcome}`]
          return []
        })
        const told = attemptsIn(saga)
          .filter(({ seq, state }) => seq !== undefined && state !== 'calledOff')
          .map(({ seq, step, state }) => `${seq} ${step} ${state}`)
        expect(told).toEqual(expected)
      }),
      { numRuns: 300 },
    )
  })

  test('what has not ended is what the state has under way, and comes last', () => {
    fc.assert(
      fc.property(sagas, (saga) => {
        const told = attemptsIn(saga)
        const open = told.filter(({ seq }) => seq === undefined)
        expect(open).toEqual(told.slice(told.length - open.length))
        expect(Object.fromEntries(open.map(({ step, attempt }) => [step, attempt]))).toEqual(
          saga.state.attempts,
        )
      }),
      { numRuns: 300 },
    )
  })

  test('no attempt takes or waits a negative time, ends before it began, or begins before it could', () => {
    fc.assert(
      fc.property(sagas, (saga) => {
        for (const { scheduledAt, startedAt, endedAt, queuedMs = 0, tookMs = 0 } of attemptsIn(saga)) {
          expect(queuedMs).toBeGreaterThanOrEqual(0)
          expect(tookMs).toBeGreaterThanOrEqual(0)
          const times = [scheduledAt, startedAt, endedAt].flatMap((at) => (at === undefined ? [] : [at]))
          expect(times).toEqual(times.toSorted())
        }
      }),
      { numRuns: 300 },
    )
  })
})
