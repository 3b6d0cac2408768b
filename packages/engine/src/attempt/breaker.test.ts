import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createBreaker, DEFAULT_BREAKER, type Verdict } from './breaker.ts'

const OPTIONS = { ...DEFAULT_BREAKER, minCalls: 4, windowMs: 1_000, openMs: 100, maxOpenMs: 400, trials: 2 }

function stage() {
  let now = 0
  const breaker = createBreaker(OPTIONS)
  return {
    breaker,
    state: () => breaker.state(now),
    waitMs: () => breaker.waitMs(now),
    pass(ms: number) {
      now += ms
    },
    enter() {
      const settle = breaker.enter(now)
      return (verdict: Verdict) => settle(verdict, now)
    },
    call(...verdicts: Verdict[]) {
      for (const verdict of verdicts) breaker.enter(now)(verdict, now)
    },
  }
}

describe('a closed breaker', () => {
  test('opens when enough of the last calls were bad', () => {
    const { call, state, waitMs } = stage()
    call('good', 'bad', 'good')
    expect(state()).toBe('closed')
    call('bad')

    expect(state()).toBe('open')
    expect(waitMs()).toBe(100)
  })

  test('opens neither over few calls, nor over old ones, nor over those that say nothing', () => {
    const { call, state, pass } = stage()
    call('bad', 'bad', 'bad', 'none', 'none')
    expect(state()).toBe('closed')
    pass(1_001)
    call('bad', 'bad', 'bad')
    expect(state()).toBe('closed')
  })

  test('forgets in favour of the last hundred calls', () => {
    const { call, state } = stage()
    call(...Array.from({ length: 1_000 }, (): Verdict => 'good'))
    call(...Array.from({ length: 49 }, (): Verdict => 'bad'))
    expect(state()).toBe('closed')
    call('bad')
    expect(state()).toBe('open')
  })
})

describe('a breaker that was open', () => {
  test('lets a few through, and closes when as many were good', () => {
    const { call, state, waitMs, pass, enter } = stage()
    call('bad', 'bad', 'bad', 'bad')
    pass(100)
    expect(state()).toBe('halfOpen')
    const first = enter()
    const second = enter()
    expect(waitMs()).toBe(100)

    first('good')
    expect(state()).toBe('halfOpen')
    expect(waitMs()).toBeUndefined()
    second('good')
    expect(state()).toBe('closed')
  })

  test('opens again at the first bad one, for twice as long, up to the most', () => {
    const { call, waitMs, pass } = stage()
    call('bad', 'bad', 'bad', 'bad')
    for (const openMs of [200, 400, 400]) {
      pass(waitMs() ?? 0)
      call('bad')
      expect(waitMs()).toBe(openMs)
    }
  })

  test('hears nothing of calls from before it opened', () => {
    const { call, state, pass, enter } = stage()
    const stale = [enter(), enter(), enter()]
    call('bad', 'bad', 'bad', 'bad')
    pass(100)
    for (const settle of stale) settle('good')
    expect(state()).toBe('halfOpen')
    for (const settle of [enter(), enter()]) settle('good')
    expect(state()).toBe('closed')
  })

  test('gives the place of a trial that was called off to another', () => {
    const { call, waitMs, pass, enter } = stage()
    call('bad', 'bad', 'bad', 'bad')
    pass(100)
    const [first] = [enter(), enter()]
    expect(waitMs()).toBe(100)
    first('none')
    expect(waitMs()).toBeUndefined()
  })
})

test('whatever happens, it lets somebody through again in the end, and never more than its trials at once while half-open', () => {
  const Step = fc.oneof(
    fc.record({ is: fc.constant('enter' as const) }),
    fc.record({
      is: fc.constant('settle' as const),
      verdict: fc.constantFrom<Verdict>('good', 'bad', 'none'),
    }),
    fc.record({ is: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 500 }) }),
  )
  fc.assert(
    fc.property(fc.array(Step, { maxLength: 60 }), (steps) => {
      const { breaker, pass, enter, waitMs, state } = stage()
      const under: { settle: (verdict: Verdict) => void; trial: boolean }[] = []
      for (const step of steps) {
        if (step.is === 'pass') pass(step.ms)
        if (step.is === 'settle') under.shift()?.settle(step.verdict)
        if (step.is === 'enter' && waitMs() === undefined) {
          const trial = state() === 'halfOpen'
          under.push({ settle: enter(), trial })
        }
      }
      for (const { settle } of under) settle('none')
      pass(OPTIONS.maxOpenMs)
      expect(waitMs()).toBeUndefined()
      let admitted = 0
      while (state() === 'halfOpen' && waitMs() === undefined && admitted < 10) {
        enter()
        admitted++
      }
      expect(admitted).toBeLessThanOrEqual(OPTIONS.trials)
      expect(breaker.state(0)).toBeDefined()
    }),
  )
})
