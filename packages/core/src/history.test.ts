import { describe, expect, test } from 'vitest'
import { apply, begin, Entry, fold } from './history.ts'
import { instantText } from './instant.ts'
import { startedEntry } from './start.ts'
import { entryOf, isClean, without } from './state.ts'
import { define, Play, START } from './testing.ts'
import { wantedOf } from './values.ts'

const order = define(['reserve', 'charge'])
const start = { sagaId: 'saga-1', definition: order, input: { amount: 5 }, inputBytes: 12, now: START }
const at = '2026-01-01T00:00:01.000Z'

describe('the first entry', () => {
  test('says all there is to know of a saga that has just started', () => {
    expect(begin(startedEntry(start))).toEqual({
      sagaId: 'saga-1',
      definition: { name: 'order', version: 1 },
      status: 'running',
      currentStepIndex: 0,
      completedSteps: [],
      compensatedSteps: [],
      context: { input: { amount: 5 } },
      startedAt: '2026-01-01T00:00:00.000Z',
      updatedAt: '2026-01-01T00:00:00.000Z',
      uncertainSteps: [],
      skippedSteps: [],
      attempts: { reserve: 1 },
      bytes: { inline: 12, total: 12 },
    })
  })

  test("carries a deadline: the start's own, else the definition's (S7)", () => {
    const hasty = { ...start, definition: define(['reserve'], { deadlineMs: 1_000 }) }
    expect(begin(startedEntry(hasty)).deadlineAt).toBe('2026-01-01T00:00:01.000Z')
    expect(begin(startedEntry({ ...hasty, deadlineMs: 2_000 })).deadlineAt).toBe('2026-01-01T00:00:02.000Z')
  })

  test('keeps a large input to itself (S33)', () => {
    const state = begin(startedEntry({ ...start, inputBytes: 5_000 }))
    expect(state).toMatchObject({ context: {}, bytes: { inline: 0, total: 5_000 } })
    expect(wantedOf(state).names).toEqual(['input'])
  })

  test('carries what ties the saga to its caller', () => {
    const state = begin(startedEntry({ ...start, correlationId: 'c-1', traceparent: '00-1' }))
    expect(state).toMatchObject({ correlationId: 'c-1', traceparent: '00-1' })
  })
})

describe('folding a history (S35)', () => {
  test('gives the state, after every entry', () => {
    const play = new Play(order).settleAll('uncertain', 'succeeded', 'rejected', 'failed', 'succeeded')
    expect(play.state.status).toBe('failed')
    play.moments.forEach(({ after }, index) => {
      expect(fold(play.entries.slice(0, index + 2))).toEqual(after)
    })
  })

  test('needs the beginning, and only one', () => {
    const started = startedEntry(start)
    expect(() => fold([])).toThrow('begins with sagaStarted')
    expect(() => fold([{ kind: 'deadlinePassed', at, to: {} }])).toThrow('begins with sagaStarted')
    expect(() => fold([started, started])).toThrow('starts once')
  })

  test('closes a saga whose abandonment was written without a decision, and leaves nothing scheduled (S30b)', () => {
    const play = new Play(order).settleAll('succeeded', 'failed')
    play.write({ kind: 'abandoned', at, actor: 'ada', reason: 'enough', to: { status: 'abandoned' } })
    expect(play.state).toMatchObject({
      status: 'abandoned',
      attempts: {},
      completedSteps: ['reserve'],
      updatedAt: at,
    })
    expect(play.state.dueAt).toBeUndefined()
  })

  describe('parks a saga about which nothing could be decided', () => {
    const trip = define(['reserve', 'charge', 'ship'])
    function parked(play: Play, direction: 'action' | 'compensation' = 'action'): Play {
      const since = instantText(play.now)
      const stuck = { step: null, direction, reason: 'undecidable', message: 'no sense', since } as const
      play.write({ kind: 'parked', at: since, reason: 'no sense', to: { status: 'stuck', stuck } })
      expect(play.state).toMatchObject({ status: 'stuck', stuck })
      return play
    }

    test('which is retried as it stands: what was under way counts as uncertain, and is made again under its number (S17b, S30)', () => {
      const play = parked(new Play(trip).settleAll('succeeded', 'failed'))
      // The retry of its second step was not due when it was parked.
      expect(play.operator('retry')).toMatchObject({ entry: { kind: 'retried' } })
      expect(play.state).toMatchObject({ status: 'running', attempts: { charge: 2 }, uncertainSteps: [] })
      play.waitUntilDue()
      parked(play).operator('retry')
      expect(play.state).toMatchObject({
        status: 'running',
        attempts: { charge: 2 },
        uncertainSteps: ['charge'],
      })
      expect(play.state.stuck).toBeUndefined()
      expect(play.settleAll('succeeded', 'succeeded').state).toMatchObject({
        status: 'completed',
        uncertainSteps: [],
      })
      expect(fold(play.entries)).toEqual(play.state)
    })

    test('which is cancelled: what was under way may have happened, and the end is not clean (S9, S25)', () => {
      const play = parked(new Play(trip).settleAll('succeeded'))
      play.cancel()
      expect(play.state).toMatchObject({ status: 'compensating', uncertainSteps: ['charge'] })
      const { state } = play.settleAll('succeeded')
      expect(state).toMatchObject({ status: 'cancelled', compensatedSteps: ['reserve'] })
      expect(isClean(state)).toBe(false)
    })

    test('which goes on being undone where it was being undone, and where it was stuck already', () => {
      const play = parked(new Play(trip).settleAll('succeeded', 'succeeded', 'rejected'), 'compensation')
      play.operator('retry')
      expect(play.state).toMatchObject({
        status: 'compensating',
        attempts: { charge: 1 },
        uncertainSteps: [],
      })
      const stuck = play.settleAll('failed', 'failed', 'failed', 'failed')
      expect(stuck.state.stuck).toMatchObject({ step: 'charge' })
      parked(stuck, 'compensation').operator('retry')
      expect(stuck.settleAll('succeeded', 'succeeded').state).toMatchObject({
        status: 'failed',
        compensatedSteps: ['charge', 'reserve'],
      })
    })

    test('whose mail is read first: what that makes of it refuses no retry that was asked for before (S30)', () => {
      const play = parked(new Play(order).settleAll('succeeded'))
      const decidedOn = play.version
      play.tell({ type: 'lateResult', step: 'charge', direction: 'action', attempt: 1, outcome: 'failed' })
      expect(play.version).toBe(decidedOn + 1)
      play.operator('retry', { decidedOn })
      expect(play.state.status).toBe('running')
      // Asked for twice, it is done once.
      play.operator('retry', { decidedOn })
      expect(play.entries.at(-1)).toMatchObject({ kind: 'verbRefused' })
    })

    test('before its first conditions were looked at: retried, it begins nothing before they have been (S1b)', () => {
      const handler = { type: 'handler' }
      const parallel = [
        { name: 'gift', action: handler, when: 'true' },
        { name: 'pack', action: handler },
      ]
      const play = parked(new Play(define([{ parallel }])))
      play.operator('retry')
      expect(play.state).toMatchObject({
        status: 'running',
        attempts: { gift: 1 },
        waiting: { gift: { for: 'condition' } },
      })
      expect(play.state.attempts).not.toHaveProperty('pack')
      play.checkCondition()
      expect(play.state.attempts).toEqual({ gift: 1, pack: 1 })
    })

    test('whose deadline has passed meanwhile: retried, it turns round before anything is begun (S7, S30a)', () => {
      const play = new Play(define(['reserve', { name: 'pay', pivot: true }], { deadlineMs: 1_000 }))
      play.operator('pause')
      const reserved = { step: 'reserve', direction: 'action', attempt: 1 } as const
      play.tell({ type: 'attemptSucceeded', ...reserved, result: 1, resultBytes: 1 })
      parked(play).operator('resume')
      play.now += 2_000
      play.operator('retry')
      expect(play.state).toMatchObject({ status: 'compensating', cause: 'deadline' })
      expect(play.state.pivot).toBeUndefined()
    })

    test('which takes no other verb about a step', () => {
      const play = parked(new Play(trip).settleAll('succeeded'))
      for (const verb of ['skip', 'markCompensated'] as const) {
        play.operator(verb)
        expect(play.entries.at(-1)).toMatchObject({
          kind: 'verbRefused',
          why: 'the saga is stuck at no step; it can only be retried as it is, or abandoned',
        })
      }
    })
  })

  test('lets the first cause stand: a later failure overwrites nothing', () => {
    const play = new Play(order).settleAll('succeeded')
    play.cancel()
    const later = { cause: 'failure', failureReason: 'later', failedStep: 'charge' } as const
    const state = apply(play.state, { kind: 'deadlinePassed', at, to: later }, play.version + 1)
    expect(state).toMatchObject({ cause: 'cancel', failureReason: 'cancelled by ada: changed my mind' })
  })

  test('is not misled by steps named like something every object has', () => {
    const names = ['constructor', 'toString', 'hasOwnProperty']
    const play = new Play(define(names)).settleAll(
      'failed',
      'succeeded',
      'uncertain',
      'succeeded',
      'rejected',
    )
    expect(play.settleAll('succeeded', 'succeeded').state).toMatchObject({
      status: 'failed',
      completedSteps: ['constructor', 'toString'],
      compensatedSteps: ['toString', 'constructor'],
      uncertainSteps: [],
    })
    expect(Object.keys(play.state.context)).toEqual(['input', 'constructor', 'toString'])
  })
})

test('a map has the entries that were put in, not those that every object inherits', () => {
  expect(entryOf({}, 'constructor')).toBeUndefined()
  expect(entryOf({ constructor: 1 }, 'constructor')).toBe(1)
  expect(entryOf(undefined, 'toString')).toBeUndefined()
  expect(without({ constructor: 1, toString: 2 }, ['toString'])).toEqual({ constructor: 1 })
})

test('an entry of an unknown kind is refused by the schema', () => {
  expect(Entry.safeParse({ kind: 'invented', at, to: {} }).success).toBe(false)
})
