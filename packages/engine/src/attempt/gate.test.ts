import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Permit } from './admission.ts'
import type { AttemptEnd } from './attempt.ts'
import { DEFAULT_BREAKER } from './breaker.ts'
import { createGate } from './gate.ts'
import { ended, succeeded } from './http-end.ts'

const GOOD = succeeded(null)
const BAD = ended('uncertain', 'TIMEOUT', 'no answer')
const NEVER = new AbortController().signal

function stage(options: { limit?: number; maxWaiting?: number; minCalls?: number } = {}) {
  let now = 0
  const { limit = 2, maxWaiting = 2, minCalls = 4 } = options
  // A call is assumed to take 100 ms until one has shown how long it does.
  const maxWaitMs = (maxWaiting * 100) / limit
  const gate = createGate({ limit, maxWaitMs, breaker: { ...DEFAULT_BREAKER, minCalls }, now: () => now })
  return {
    gate,
    pass(ms: number) {
      now += ms
    },
    later(direction: 'action' | 'compensation' = 'action'): number | undefined {
      const admission = gate.admit(direction)
      if (admission.is === 'later') return admission.delayMs
      admission.permit.done()
      return undefined
    },
    permit(direction: 'action' | 'compensation' = 'action'): Permit {
      const admission = gate.admit(direction)
      if (admission.is === 'now') return admission.permit
      throw new Error(`not admitted for ${admission.delayMs} ms`)
    },
  }
}

/** What has been said of whose turn it is by now. */
async function turnsOf(...permits: Permit[]): Promise<(boolean | 'waits')[]> {
  const turns = permits.map((permit) => permit.turn(NEVER))
  await new Promise((resolve) => setImmediate(resolve))
  return Promise.all(
    turns.map((turn) => Promise.race([turn, Promise.resolve('waits' as const).then((waits) => waits)])),
  )
}

describe('a bulkhead', () => {
  test('lets its limit through, a few wait, and the rest is put off for longer and longer', async () => {
    const { gate, permit, later } = stage({ limit: 2, maxWaiting: 1 })
    const [one, two, three] = [permit(), permit(), permit()]

    expect(await turnsOf(one, two, three)).toEqual([true, true, 'waits'])
    const delays = Array.from({ length: 50 }, () => later() ?? 0)
    expect(delays[0]).toBe(100)
    expect(delays.at(-1)).toBeGreaterThan(1_000)
    expect(delays).toEqual(delays.toSorted((a, b) => a - b))
    expect(gate.state()).toMatchObject({ inFlight: 2, waiting: 1, limit: 2, breaker: 'closed' })

    two.done(GOOD)
    expect(await turnsOf(three)).toEqual([true])
  })

  test('puts nothing off for longer than half a minute, however many there are and however long the calls hang', () => {
    const { permit, later, pass } = stage({ limit: 1, maxWaiting: 0 })
    permit()
    pass(3_600_000)
    for (let n = 0; n < 1_000; n++) expect(later()).toBeLessThanOrEqual(30_000)
  })

  test('keeps many waiting before a quick service, few before a slow one, and nobody new before one that hangs', () => {
    const waitingAfter = (callMs: number, hangsMs: number) => {
      const { gate, permit, pass } = stage({ limit: 1, maxWaiting: 3 })
      for (let n = 0; n < 100; n++) {
        const one = permit()
        pass(callMs)
        one.done(GOOD)
      }
      permit()
      pass(hangsMs)
      while (gate.admit('action').is === 'now') expect(gate.state().waiting).toBeLessThan(1_000)
      return gate.state().waiting
    }
    expect([waitingAfter(1, 0), waitingAfter(100, 0), waitingAfter(1_000, 0), waitingAfter(1, 301)]).toEqual([
      299, 3, 0, 0,
    ])
  })

  test('sends back whoever has waited for twice as long as was promised', async () => {
    const { permit, gate } = stage({ limit: 1, maxWaiting: 1 })
    permit()
    expect(await permit().turn(NEVER)).toBe(false)
    expect(gate.state().waiting).toBe(0)
  })

  test('gives its turns to compensations first', async () => {
    const { permit } = stage({ limit: 1, maxWaiting: 2 })
    const [first, action, undo] = [permit(), permit(), permit('compensation')]

    first.done(GOOD)
    expect(await turnsOf(undo, action)).toEqual([true, 'waits'])
  })

  test('sends the action back that came last, when a compensation comes and there is no place to wait', async () => {
    const { permit, later } = stage({ limit: 1, maxWaiting: 2 })
    const [first, action, lastAction] = [permit(), permit(), permit()]
    const undo = permit('compensation')

    expect(await turnsOf(first, action, lastAction, undo)).toEqual([true, 'waits', false, 'waits'])
    expect(later()).toBeDefined()
  })

  test('whoever is called off while waiting leaves the queue, and takes no turn', async () => {
    const { gate, permit } = stage({ limit: 1, maxWaiting: 1 })
    const first = permit()
    const controller = new AbortController()
    const second = permit()
    const turn = second.turn(controller.signal)
    controller.abort()

    expect(await turn).toBe(false)
    second.done()
    first.done(GOOD)
    expect(gate.state()).toMatchObject({ inFlight: 0, waiting: 0 })
  })

  test('every permit comes back, whatever happens: law', async () => {
    const Step = fc.oneof(
      fc.record({
        is: fc.constant('admit' as const),
        direction: fc.constantFrom('action' as const, 'compensation' as const),
      }),
      fc.record({ is: fc.constant('done' as const), index: fc.nat(20), good: fc.boolean() }),
      fc.record({ is: fc.constant('abort' as const), index: fc.nat(20) }),
      fc.record({ is: fc.constant('pass' as const), ms: fc.nat(10_000) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(Step, { maxLength: 80 }), async (steps) => {
        const { gate, pass } = stage({ limit: 2, maxWaiting: 2, minCalls: 3 })
        const all: { permit: Permit; controller: AbortController; turn: Promise<boolean> }[] = []
        for (const step of steps) {
          if (step.is === 'pass') pass(step.ms)
          if (step.is === 'done') all[step.index]?.permit.done(step.good ? GOOD : BAD)
          if (step.is === 'abort') all[step.index]?.controller.abort()
          if (step.is === 'admit') {
            const admission = gate.admit(step.direction)
            if (admission.is === 'later') continue
            const controller = new AbortController()
            const { permit } = admission
            all.push({ permit, controller, turn: permit.turn(controller.signal) })
          }
          expect(gate.state().inFlight).toBeLessThanOrEqual(2)
        }
        for (const { permit } of all) permit.done()
        await Promise.all(all.map(({ turn }) => turn))
        expect(gate.state()).toMatchObject({ inFlight: 0, waiting: 0 })
      }),
    )
  })
})

describe('the breaker of a gate', () => {
  test('sends back whoever waits when it opens', async () => {
    const { permit, later, gate } = stage({ limit: 1, maxWaiting: 2, minCalls: 1 })
    const [first, action, undo] = [permit(), permit(), permit('compensation')]
    first.done(BAD)

    expect(await turnsOf(action, undo)).toEqual([false, false])
    expect(gate.state()).toMatchObject({ breaker: 'open', lastError: 'TIMEOUT', inFlight: 0, waiting: 0 })
    expect(later()).toBeGreaterThanOrEqual(5_000)
  })

  test.each<[string, AttemptEnd | undefined]>([
    ['a rejection', ended('rejected', 'HTTP_422', 'no')],
    ['a result that cannot be taken', ended('uncertain', 'RESULT_TOO_LARGE', 'large')],
    ['a success', GOOD],
  ])('takes %s for an answer', (_, end) => {
    const { permit, gate } = stage({ minCalls: 1 })
    permit().done(end)
    expect(gate.state().breaker).toBe('closed')
  })

  test.each<[string, AttemptEnd | undefined]>([
    ['an attempt that was called off', ended('uncertain', 'ABORTED', 'off')],
    ['an attempt that never came to the service', undefined],
    ['a service that is asked too often', ended('failed', 'HTTP_429', 'slowly')],
  ])('learns nothing from %s', (_, end) => {
    const { permit, gate } = stage({ minCalls: 2 })
    permit().done(BAD)
    permit().done(end)
    expect(gate.state().breaker).toBe('closed')
    permit().done(BAD)
    expect(gate.state().breaker).toBe('open')
  })

  test.each([
    ['no connection', ended('failed', 'CONNECTION_REFUSED', 'refused')],
    ['no answer', BAD],
    ['5xx', ended('uncertain', 'HTTP_503', 'down')],
  ])('opens for %s', (_, end) => {
    const { permit, gate } = stage({ minCalls: 1 })
    permit().done(end)
    expect(gate.state().breaker).toBe('open')
  })
})

test('a service that says when to come again is left in peace until then, and its breaker stays closed', () => {
  const { permit, later, pass, gate } = stage()
  permit().done({ ...ended('failed', 'HTTP_429', 'slowly'), retryAfterMs: 2_000 })

  expect(later()).toBeGreaterThanOrEqual(2_000)
  expect(gate.state()).toMatchObject({ breaker: 'closed', lastError: 'HTTP_429' })
  pass(2_000)
  expect(later()).toBeUndefined()
})
