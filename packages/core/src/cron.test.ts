import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { cronProblems, lastInstants, nextInstant, nextInstants, SHORTEST_INTERVAL_MS } from './cron.ts'

const berlin = 'Europe/Berlin'
const newYork = 'America/New_York'

function runs(cron: string, timeZone: string, after: string, count: number): string[] {
  return nextInstants({ cron, timeZone }, Date.parse(after), count).map((instant) =>
    new Date(instant).toISOString().replace(':00.000Z', 'Z'),
  )
}

describe('a cron', () => {
  test.each<[string, string[]]>([
    ['0 9 * * MON-FRI', ['2026-03-02T09:00Z', '2026-03-03T09:00Z', '2026-03-04T09:00Z']],
    ['*/20 8-9 * * *', ['2026-03-01T08:00Z', '2026-03-01T08:20Z', '2026-03-01T08:40Z']],
    ['5,10-12/2 0 1 jan,JUL *', ['2026-07-01T00:05Z', '2026-07-01T00:10Z', '2026-07-01T00:12Z']],
    ['0 0 L * *', ['2026-03-31T00:00Z', '2026-04-30T00:00Z', '2026-05-31T00:00Z']],
    ['0 0 29 2 *', ['2028-02-29T00:00Z', '2032-02-29T00:00Z', '2036-02-29T00:00Z']],
    ['0 0 * * MON#2', ['2026-03-09T00:00Z', '2026-04-13T00:00Z', '2026-05-11T00:00Z']],
    ['0 0 * * 5#L', ['2026-03-27T00:00Z', '2026-04-24T00:00Z', '2026-05-29T00:00Z']],
    ['0 0 * 2 MON#5', ['2044-02-29T00:00Z', '2072-02-29T00:00Z', '2112-02-29T00:00Z']],
    ['0 0 * * 7', ['2026-03-08T00:00Z', '2026-03-15T00:00Z', '2026-03-22T00:00Z']],
    // Either day will do, as in every cron, where both are named.
    ['0 0 13 * FRI', ['2026-03-06T00:00Z', '2026-03-13T00:00Z', '2026-03-20T00:00Z']],
  ])('%s runs when it says', (cron, expected) => {
    expect(cronProblems(cron, 'UTC')).toEqual([])
    expect(runs(cron, 'UTC', '2026-03-01T00:00:00Z', 3)).toEqual(expected)
  })

  test.each<[string, string | RegExp]>([
    ['', /has 0 fields; write five: minute, hour, day of the month/],
    ['* * * * * *', /has 6 fields/],
    ['@daily', /has 1 fields/],
    [' * * * * *', /with one space between/],
    ['*  * * * *', /with one space between/],
    ['\t0 9 * * *', /minute/],
    ['60 * * * *', /the minute, "60", has "60"; write \*, 0 to 59/],
    ['0 24 * * *', /the hour/],
    ['0 0 0 * *', /the day of the month/],
    ['0 0 32 * *', /the day of the month/],
    ['0 0 * 13 *', /the month, "13".*JAN to DEC/],
    ['0 0 * * 8', /the day of the week.*SUN to SAT/],
    ['0 0 * * MON#6', /the day of the week/],
    ['0 0 * MON *', /the month/],
    ['0 0 15W * *', /the day of the month/],
    ['0 0 L-3 * *', /the day of the month/],
    ['? * * * *', /the minute/],
    ['-1 * * * *', /the minute/],
    ['1,,2 * * * *', /the minute/],
    ['1-2-3 * * * *', /the minute/],
    ['0x1 * * * *', /the minute/],
    ['*/0 * * * *', /the step 0; write one from 1 to 59/],
    ['*/90 * * * *', /the step 90/],
    ['5/15 * * * *', /a step needs a range: write "5-59\/15"/],
    ['0 22-2 * * *', /the hour.*whose end comes before its beginning/],
    ['0 0 * * FRI-MON', /the day of the week.*whose end comes before/],
    ['٣ * * * *', /the minute/],
    ['0 0 30 2 *', /never comes/],
    ['0 0 31 4,6,9,11 *', /never comes/],
  ])('%j is refused, and the message names the field', (cron, detail) => {
    expect(cronProblems(cron, 'UTC')).toEqual([
      { pointer: '/cron', detail: expect.stringMatching(detail) as string },
    ])
  })

  test.each([`${'1,'.repeat(200)}1 * * * *`, '* '.repeat(100_000)])('that is too long is refused', (cron) => {
    expect(cronProblems(cron, 'UTC')).toMatchObject([{ detail: expect.stringContaining('the most is 200') }])
  })

  test.each(['Mars/Phobos', '+02:00', '', 'CET2', 'Europe/Berlin\0', 'x'.repeat(65), '__proto__', 'local'])(
    'in the time zone %j is refused',
    (zone) => {
      expect(cronProblems('0 9 * * *', zone)).toMatchObject([{ pointer: '/timeZone' }])
    },
  )
})

/** The clocks go forward at 2:00 and back at 3:00 (Berlin), at 2:00 (New York). */
describe('where the clocks change', () => {
  test.each<[string, string, string, string[]]>([
    // Forward: 2:30 does not exist. Once a day stays once a day: at the moment of the change.
    [berlin, '30 2 * * *', '2026-03-28T12:00:00Z', ['2026-03-29T01:00Z', '2026-03-30T00:30Z']],
    [newYork, '30 2 * * *', '2026-03-07T12:00:00Z', ['2026-03-08T07:00Z', '2026-03-09T06:30Z']],
    [berlin, '0 2 29 3 *', '2026-03-28T12:00:00Z', ['2026-03-29T01:00Z', '2027-03-29T00:00Z']],
    // Back: 2:30, or 1:30, comes twice, and the first is the one.
    [berlin, '30 2 * * *', '2026-10-24T12:00:00Z', ['2026-10-25T00:30Z', '2026-10-26T01:30Z']],
    [newYork, '30 1 * * *', '2026-10-31T12:00:00Z', ['2026-11-01T05:30Z', '2026-11-02T06:30Z']],
    // More than once a day: what does not exist is left out, what comes twice runs twice.
    [berlin, '0,30 2 * * *', '2026-03-28T12:00:00Z', ['2026-03-30T00:00Z', '2026-03-30T00:30Z']],
    [berlin, '*/30 * * * *', '2026-03-29T00:00:00Z', ['2026-03-29T00:30Z', '2026-03-29T01:00Z']],
    [
      berlin,
      '0,30 2 * * *',
      '2026-10-24T12:00:00Z',
      [
        '2026-10-25T00:00Z',
        '2026-10-25T00:30Z',
        '2026-10-25T01:00Z',
        '2026-10-25T01:30Z',
        '2026-10-26T01:00Z',
      ],
    ],
    [
      newYork,
      '0 * * * *',
      '2026-11-01T04:00:00Z',
      ['2026-11-01T05:00Z', '2026-11-01T06:00Z', '2026-11-01T07:00Z', '2026-11-01T08:00Z'],
    ],
    // Where midnight does not exist.
    ['America/Sao_Paulo', '0 0 * * *', '2018-11-03T12:00:00Z', ['2018-11-04T03:00Z', '2018-11-05T02:00Z']],
  ])('%s: %s', (zone, cron, after, expected) => {
    expect(runs(cron, zone, after, expected.length)).toEqual(expected)
  })
})

const zones = fc.constantFrom(
  'UTC',
  berlin,
  newYork,
  'Australia/Lord_Howe',
  'Asia/Kolkata',
  'America/Sao_Paulo',
)
const part = (least: number, most: number) => {
  const number = fc.integer({ min: least, max: most })
  const range = fc.tuple(number, number).map((ends) => ends.toSorted((a, b) => a - b).join('-'))
  const item = fc.oneof(
    number.map(String),
    range,
    fc.tuple(range, fc.integer({ min: 1, max: most })).map((ends) => ends.join('/')),
  )
  return fc.oneof(
    { weight: 2, arbitrary: fc.constant('*') },
    fc.integer({ min: 1, max: most }).map((step) => `*/${step}`),
    fc.array(item, { minLength: 1, maxLength: 3 }).map((items) => items.join(',')),
  )
}
const crons = fc
  .tuple(part(0, 59), part(0, 23), part(1, 28), part(1, 12), part(0, 7))
  .map((fields) => fields.join(' '))
const timings = fc.record({ cron: crons, timeZone: zones })
const times = fc.integer({ min: Date.parse('2015-01-01'), max: Date.parse('2045-01-01') })

describe('laws', () => {
  test('a cron of the documented form is accepted; the next instant comes later, a minute at least after the one before, at a full minute', () => {
    fc.assert(
      fc.property(timings, times, (timing, after) => {
        expect(cronProblems(timing.cron, timing.timeZone)).toEqual([])
        const instants = nextInstants(timing, after, 4)
        expect(instants).toHaveLength(4)
        expect(instants[0]).toBeGreaterThan(after)
        instants.reduce((before, instant) => {
          expect(instant - before).toBeGreaterThanOrEqual(SHORTEST_INTERVAL_MS)
          return instant
        })
        for (const instant of instants) expect(instant % SHORTEST_INTERVAL_MS).toBe(0)
      }),
    )
  })

  test('there is no instant between an instant and the next, wherever one begins', () => {
    fc.assert(
      fc.property(timings, times, fc.double({ min: 0, max: 1, noNaN: true }), (timing, after, part) => {
        const [first = 0, second = 0] = nextInstants(timing, after, 2)
        const between = first + Math.floor((second - 1 - first) * part)
        expect(nextInstant(timing, between)).toBe(second)
      }),
    )
  })

  test('backwards are the same instants as forwards', () => {
    fc.assert(
      fc.property(timings, times, fc.constantFrom(0, 1, 999, 1_000, 59_999), (timing, after, moreMs) => {
        const forwards = nextInstants(timing, after, 5)
        const until = (forwards.at(-1) ?? 0) + moreMs
        expect(lastInstants(timing, 0, until, 5)).toEqual(forwards.toReversed())
        const [first = 0, second = 0] = forwards
        expect(lastInstants(timing, second, until, 5)).toEqual(forwards.slice(1).toReversed())
        expect(lastInstants(timing, first + 1, until, 5)).toEqual(forwards.slice(1).toReversed())
      }),
    )
  })

  test('whatever is written, it is refused or it runs; nothing throws', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc
        .array(fc.constantFrom('*', '/', '-', ',', '#', 'L', 'W', '?', ' ', '1', '59', '99', 'MON', 'JAN'), {
          maxLength: 20,
        })
        .map((parts) => parts.join('')),
      fc.array(fc.string({ maxLength: 4 }), { minLength: 5, maxLength: 5 }).map((parts) => parts.join(' ')),
    )
    fc.assert(
      fc.property(hostile, zones, (cron, timeZone) => {
        if (cronProblems(cron, timeZone).length > 0) return
        expect(nextInstant({ cron, timeZone }, Date.parse('2026-01-01'))).toBeGreaterThan(0)
      }),
      { numRuns: 500 },
    )
  })
})

describe('the clock of the machine', () => {
  afterEach(() => void vi.useRealTimers())

  test('plays no part', () => {
    const timing = { cron: '30 2 * * *', timeZone: berlin }
    const now = Date.parse('2026-03-28T12:00:00Z')
    const seen = ['1999-01-01', '2026-03-29T00:59:59Z', '2080-01-01'].map((clock) => {
      vi.useFakeTimers({ now: Date.parse(clock) })
      return [nextInstants(timing, now, 5), lastInstants(timing, 0, now, 5)]
    })
    expect(seen[1]).toEqual(seen[0])
    expect(seen[2]).toEqual(seen[0])
    expect(vi.getTimerCount()).toBe(0)
  })
})
