import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextInstants } from './cron.ts'
import {
  LATE_MS,
  MAX_CAUGHT_UP,
  PutSchedule,
  planDue,
  remember,
  type ScheduleRun,
  ScheduleSpec,
  scheduleKey,
  startOf,
  timingOf,
} from './schedule.ts'

const hourly = specOf({ cron: '0 * * * *' })
const at = (time: string) => Date.parse(`2026-03-02T${time}Z`)

function specOf(more: Partial<ScheduleSpec>): ScheduleSpec {
  return ScheduleSpec.parse({ definition: 'order', ...more })
}

function shown(spec: ScheduleSpec, nextAt: number, now: number) {
  const { fire, missed, nextAt: next } = planDue(spec, nextAt, now)
  const time = (instant: number) => new Date(instant).toISOString().slice(11, 16)
  return {
    fire: fire.map(time),
    ...(missed && { missed: `${time(missed.from)}-${time(missed.to)}` }),
    next: next === undefined ? undefined : time(next),
  }
}

describe('what is due', () => {
  test('nothing, before its time', () => {
    expect(shown(hourly, at('09:00'), at('08:59:59'))).toEqual({ fire: [], next: '09:00' })
  })

  test.each(['skip', 'last', 'all'] as const)('is started within the minute (missed: %s)', (missed) => {
    const spec = specOf({ ...hourly, missed })
    expect(shown(spec, at('09:00'), at('09:00'))).toEqual({ fire: ['09:00'], next: '10:00' })
    expect(shown(spec, at('09:00'), at('09:00:59.999'))).toEqual({ fire: ['09:00'], next: '10:00' })
  })

  test('and was missed: the last of it is started, unless told otherwise', () => {
    expect(shown(hourly, at('09:00'), at('12:30'))).toEqual({
      fire: ['12:00'],
      missed: '09:00-11:00',
      next: '13:00',
    })
    expect(shown(hourly, at('09:00'), at('09:01'))).toEqual({ fire: ['09:00'], next: '10:00' })
  })

  test('and was missed: skip leaves it out, but for what is in time', () => {
    const spec = specOf({ ...hourly, missed: 'skip' })
    expect(shown(spec, at('09:00'), at('12:30'))).toEqual({ fire: [], missed: '09:00-12:00', next: '13:00' })
    expect(shown(spec, at('09:00'), at('09:01'))).toEqual({ fire: [], missed: '09:00-09:00', next: '10:00' })
    expect(shown(spec, at('09:00'), at('12:00:10'))).toEqual({
      fire: ['12:00'],
      missed: '09:00-11:00',
      next: '13:00',
    })
  })

  test('and was missed: all is caught up, oldest first', () => {
    const spec = specOf({ ...hourly, missed: 'all' })
    expect(shown(spec, at('09:00'), at('12:30'))).toEqual({
      fire: ['09:00', '10:00', '11:00', '12:00'],
      next: '13:00',
    })
  })

  test('and was missed for longer than is caught up: it is skipped', () => {
    const catchUpMs = 2 * 3_600_000
    expect(shown(specOf({ ...hourly, missed: 'all', catchUpMs }), at('09:00'), at('12:30'))).toEqual({
      fire: ['11:00', '12:00'],
      missed: '09:00-10:00',
      next: '13:00',
    })
    const daily = specOf({ cron: '0 1 * * *', catchUpMs })
    expect(shown(daily, at('01:00'), at('12:30'))).toEqual({ fire: [], missed: '01:00-01:00', next: '01:00' })
  })

  test('once, and no more: at', () => {
    const once = { at: '2026-03-02T09:00:00+00:00' }
    expect(shown(specOf(once), at('09:00'), at('09:00'))).toEqual({ fire: ['09:00'], next: undefined })
    expect(shown(specOf(once), at('09:00'), at('19:00'))).toEqual({ fire: ['09:00'], next: undefined })
    expect(shown(specOf({ ...once, missed: 'skip' }), at('09:00'), at('19:00'))).toEqual({
      fire: [],
      missed: '09:00-09:00',
      next: undefined,
    })
  })

  test('an instant that was promised is kept, also when the time zones have changed since', () => {
    expect(shown(hourly, at('09:17'), at('09:17:01'))).toEqual({ fire: ['09:17'], next: '10:00' })
    expect(shown(specOf({ ...hourly, missed: 'all' }), at('09:17'), at('11:30')).fire).toEqual([
      '09:17',
      '10:00',
      '11:00',
    ])
  })

  test('every minute for a year: the cost does not grow with what was missed', () => {
    const spec = specOf({ cron: '* * * 1-6 *', missed: 'all', timeZone: 'Europe/Berlin' })
    const began = performance.now()
    const plan = planDue(spec, Date.parse('2025-01-01T00:00Z'), Date.parse('2025-12-31T00:00Z'))
    expect(plan.fire).toHaveLength(MAX_CAUGHT_UP)
    expect(performance.now() - began).toBeLessThan(10_000)
  })
})

describe('laws of catching up', () => {
  const specs = fc.record({
    cron: fc.constantFrom(
      '* * * * *',
      '*/7 * * * *',
      '0 * * * *',
      '30 2 * * *',
      '0 9 * * MON-FRI',
      '0,30 1-3 * * *',
    ),
    timeZone: fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York'),
    missed: fc.constantFrom('skip' as const, 'last' as const, 'all' as const),
    catchUpMs: fc.integer({ min: LATE_MS, max: 4 * 86_400_000 }),
  })
  // Around the changes of the clocks of 2026, in both places.
  const times = fc
    .tuple(
      fc.constantFrom('2026-03-08', '2026-03-29', '2026-10-25', '2026-11-01').map((day) => Date.parse(day)),
      fc.integer({ min: -2 * 86_400_000, max: 2 * 86_400_000 }),
    )
    .map(([day, ms]) => day + ms)
  const awayMs = fc.oneof(fc.integer({ min: 0, max: 120_000 }), fc.integer({ min: 0, max: 3 * 86_400_000 }))

  const cases = fc.tuple(specs, times, awayMs).map(([more, from, ms]) => {
    const spec = specOf(more)
    const [nextAt = 0] = nextInstants(timingOf(spec), from, 1)
    const now = nextAt + ms
    // By counting: all that has come.
    const due: number[] = []
    for (
      let last = nextAt;
      last <= now;
      last = nextInstants(timingOf(spec), last, 1)[0] ?? Number.POSITIVE_INFINITY
    )
      due.push(last)
    return { spec, nextAt, now, due, plan: planDue(spec, nextAt, now) }
  })

  test('what is fired has come, is fired once, in order; and all before the first of it is told as missed', () => {
    fc.assert(
      fc.property(cases, ({ due, plan, nextAt, now }) => {
        const { fire, missed } = plan
        expect(fire).toEqual(due.slice(due.length - fire.length))
        const skipped = due.slice(0, due.length - fire.length)
        expect(missed).toEqual(skipped.length === 0 ? undefined : { from: nextAt, to: skipped.at(-1) })
        expect(plan.nextAt).toBeGreaterThan(now)
      }),
    )
  })

  test('what is in time is fired, what is too late is not, and the policy says what of the rest', () => {
    fc.assert(
      fc.property(cases, ({ spec, due, plan, now }) => {
        const late = (instant: number) => now - instant >= LATE_MS
        const tooLate = (instant: number) => late(instant) && now - instant > spec.catchUpMs
        const newest = due.at(-1) ?? 0
        const expected = {
          skip: due.filter((instant) => !late(instant)),
          last: tooLate(newest) ? [] : [newest],
          all: due.filter((instant) => !tooLate(instant)).slice(-MAX_CAUGHT_UP),
        }
        expect(plan.fire).toEqual(expected[spec.missed])
      }),
    )
  })

  test('looking often or seldom, no instant is fired twice, and looking often none is missed', () => {
    fc.assert(
      fc.property(specs, times, fc.array(awayMs, { maxLength: 8 }), (more, from, pauses) => {
        const spec = specOf(more)
        let now = from
        let [nextAt] = nextInstants(timingOf(spec), from, 1)
        const fired: number[] = []
        for (const pause of pauses) {
          now += pause
          const plan = planDue(spec, nextAt ?? 0, now)
          fired.push(...plan.fire)
          nextAt = plan.nextAt
        }
        expect(fired).toEqual([...new Set(fired)].toSorted((a, b) => a - b))
      }),
    )
  })
})

describe('a schedule at the door', () => {
  const good = { definition: 'order', cron: '0 9 * * *' }
  const problemsWith = (more: object) =>
    PutSchedule.safeParse({ ...good, ...more }).error?.issues.map(
      ({ path, message }) => `${path.join('/')}: ${message}`,
    )

  test('says once or by cron, and has defaults for the rest', () => {
    expect(PutSchedule.parse(good)).toEqual({
      ...good,
      input: null,
      missed: 'last',
      catchUpMs: 366 * 86_400_000,
      overlap: 'allow',
    })
  })

  test.each<[object, string]>([
    [{ cron: undefined }, 'either "at", for once, or "cron"'],
    [{ at: '2026-03-02T09:00:00Z' }, 'either "at", for once, or "cron"'],
    [{ cron: undefined, at: '2026-02-30T09:00:00Z' }, 'at'],
    [{ cron: undefined, at: '2026-03-02T09:00:00Z', timeZone: 'UTC' }, 'goes with "cron"'],
    [{ timeZone: 'Mars/Phobos' }, 'timeZone: there is no time zone'],
    [{ cron: '0 0 30 2 *' }, 'cron: never comes'],
    [{ cron: '0 9 * *' }, 'cron: has 4 fields'],
    [{ missed: 'some' }, 'missed'],
    [{ catchUpMs: 59_999 }, 'catchUpMs'],
    [{ tags: { schedule: 'x' } }, 'the tag "schedule" is set by the schedule itself'],
    [
      { tags: Object.fromEntries(Array.from({ length: 19 }, (_, n) => [`t${n}`, ''])) },
      '19 tags; the most is 18',
    ],
    [{ instantAs: 'day' }, 'instantAs: needs an input that is an object'],
    [{ instantAs: 'day', input: [] }, 'needs an input that is an object'],
    [{ instantAs: 'day', input: { day: 1 } }, 'already'],
    [{ extra: 1 }, 'extra'],
  ])('%j is refused', (more, why) => {
    expect(problemsWith(more)?.join('; ')).toContain(why)
  })
})

test('what a run hands to its saga: the tags that find it, and its instant where it is asked for', () => {
  const spec = specOf({ cron: '0 9 * * *', tags: { shop: 'b' }, instantAs: 'day', version: 2 })
  expect(startOf('nightly', spec, { a: 1 }, at('09:00'))).toEqual({
    definition: 'order',
    version: 2,
    input: { a: 1, day: '2026-03-02T09:00:00.000Z' },
    tags: { shop: 'b', schedule: 'nightly', scheduledAt: '2026-03-02T09:00:00.000Z' },
    correlationId: undefined,
    deadlineMs: undefined,
  })
  expect(scheduleKey('id', at('09:00'))).toBe('id:2026-03-02T09:00:00.000Z')
})

test('twenty runs are remembered, and skips in a row are one line', () => {
  const run = (n: number, outcome: ScheduleRun['outcome'], why?: ScheduleRun['why']): ScheduleRun => ({
    instant: `i${n}`,
    at: `a${n}`,
    outcome,
    ...(why && { why }),
  })
  const started = Array.from({ length: 30 }, (_, n) => run(n, 'started')).reduce<ScheduleRun[]>(remember, [])
  expect(started.map(({ instant }) => instant)).toEqual(Array.from({ length: 20 }, (_, n) => `i${29 - n}`))
  const more = [
    run(30, 'skipped', 'overlap'),
    run(31, 'skipped', 'overlap'),
    run(32, 'skipped', 'overlap'),
    run(33, 'skipped', 'missed'),
  ]
  expect(more.reduce(remember, started).slice(0, 3)).toEqual([
    run(33, 'skipped', 'missed'),
    { ...run(32, 'skipped', 'overlap'), instant: 'i30', until: 'i32' },
    run(29, 'started'),
  ])
})
