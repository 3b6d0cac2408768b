import { type Json, type ScheduleRun, ScheduleSpec } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import type { DueSchedule, Fired, Wanted } from './schedules.ts'
import { openApiStore } from './store.ts'
import { createStage, eventually, type Stage } from './testing.ts'

const by = { actor: 'anna' }
const hourly = wanted({ cron: '0 * * * *' })

function wanted(more: Partial<ScheduleSpec>, input: Json = null): Wanted {
  return { spec: ScheduleSpec.parse({ definition: 'order', ...more }), input }
}

/** As if its time had come. */
async function makeDue(stage: Stage, name: string, ago = '1 second'): Promise<void> {
  await stage.sql(
    `UPDATE schedules SET next_at = date_trunc('milliseconds', now()) - $2::interval WHERE name = $1`,
    [name, ago],
  )
}

function next(_: DueSchedule, now: number, runs: ScheduleRun[] = []): Fired {
  return { nextAt: now + 3_600_000, runs }
}

function run(outcome: ScheduleRun['outcome'], more: Partial<ScheduleRun> = {}): ScheduleRun {
  const instant = '2026-03-02T09:00:00.000Z'
  return { instant, at: instant, outcome, ...more }
}

describe('put', () => {
  test('creates, finds the same again, and replaces; the version counts the changes, with who made them', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    const created = await schedules.put('nightly', hourly, by)
    expect(created).toMatchObject({
      is: 'created',
      schedule: { version: 1, paused: false, runs: [], input: null },
    })
    expect(await schedules.put('nightly', { ...hourly }, { actor: 'bob' })).toEqual({
      ...created,
      is: 'unchanged',
    })
    expect(await schedules.put('nightly', wanted({ cron: '0 * * * *' }, 1), { actor: 'bob' })).toMatchObject({
      is: 'replaced',
      schedule: {
        version: 2,
        input: 1,
        changes: [
          { actor: 'bob', act: 'replaced' },
          { actor: 'anna', act: 'created' },
        ],
      },
    })
  })

  test('by twenty at once makes one schedule', async () => {
    const stage = await createStage()
    const puts = await Promise.all(
      Array.from({ length: 20 }, () => stage.api.schedules.put('one', hourly, by)),
    )
    expect(puts.map(({ is }) => is).toSorted()).toEqual([
      'created',
      ...Array.from({ length: 19 }, () => 'unchanged'),
    ])
  })

  test('on another version than the one it was decided on changes nothing', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    expect(await schedules.put('nightly', hourly, { ...by, ifVersion: 1 })).toEqual({
      is: 'stale',
      version: undefined,
    })
    await schedules.put('nightly', hourly, by)
    const other = wanted({ cron: '5 * * * *' })
    expect(await schedules.put('nightly', other, { ...by, ifVersion: 2 })).toEqual({
      is: 'stale',
      version: 1,
    })
    expect(await schedules.put('nightly', other, { ...by, ifVersion: 1 })).toMatchObject({ is: 'replaced' })
  })

  test('keeps what is due and has not been answered, unless it says when anew', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    await schedules.put('nightly', hourly, by)
    await makeDue(stage, 'nightly', '3 hours')
    const due = (await schedules.get('nightly'))?.nextRunAt
    await schedules.put('nightly', wanted({ cron: '0 * * * *' }, 'other'), by)
    expect((await schedules.get('nightly'))?.nextRunAt).toBe(due)
    await schedules.put('nightly', wanted({ cron: '30 * * * *' }), by)
    expect(Date.parse(String((await schedules.get('nightly'))?.nextRunAt))).toBeGreaterThan(
      Date.now() - 60_000,
    )
  })

  test('of a time that has passed is refused, by the clock of the database', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    expect(await schedules.put('once', wanted({ at: '2020-01-01T00:00:00Z' }), by)).toMatchObject({
      is: 'past',
    })
    expect(await schedules.get('once')).toBeUndefined()
  })

  test('of a time that had been given before, and has passed since, is still the same again', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    const [clock] = await stage.sql<{ soon: Date }>("SELECT now() + interval '50 ms' AS soon")
    const once = wanted({ at: clock?.soon.toISOString() })
    await schedules.put('once', once, by)
    await eventually('it is due', async () => (((await schedules.nextDueMs()) ?? 1) <= 0 ? true : undefined))
    const worker = await stage.worker()
    await worker.schedules.takeDue(10, async () => [{ nextAt: undefined, runs: [run('started')] }])
    expect(await schedules.put('once', once, by)).toMatchObject({
      is: 'unchanged',
      schedule: { nextRunAt: null, nextRuns: [] },
    })
    const other = { ...once, input: 'other' }
    expect(await schedules.put('once', other, by)).toMatchObject({ is: 'past' })
  })
})

describe('pause', () => {
  test('makes nothing due until it is resumed, and what came meanwhile is forgotten', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    await schedules.put('nightly', hourly, by)
    await makeDue(stage, 'nightly', '3 hours')
    const paused = await schedules.pause('nightly', { actor: 'bob', reason: 'maintenance' })
    expect(paused).toMatchObject({
      is: 'changed',
      schedule: { paused: true, nextRunAt: null, nextRuns: [], version: 2 },
    })
    expect(await schedules.nextDueMs()).toBeUndefined()
    // Twice is once, and a put that does not say so does not resume it.
    expect(await schedules.pause('nightly', by)).toEqual(paused)
    expect(await schedules.put('nightly', wanted({ cron: '5 * * * *' }), by)).toMatchObject({
      schedule: { paused: true, nextRunAt: null },
    })
    const resumed = await schedules.resume('nightly', { actor: 'bob', reason: 'done' })
    expect(resumed).toMatchObject({
      schedule: {
        paused: false,
        version: 4,
        changes: [
          { act: 'resumed', actor: 'bob', reason: 'done' },
          { act: 'replaced' },
          { act: 'paused' },
          {},
        ],
      },
    })
    expect(await schedules.nextDueMs()).toBeGreaterThan(0)
  })

  test('can be said with put, too', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    expect(await schedules.put('nightly', { ...hourly, paused: true }, by)).toMatchObject({
      schedule: { nextRunAt: null },
    })
    const { spec, input } = hourly
    const resumed = await schedules.put('nightly', { spec, input, paused: false }, by)
    expect(resumed).toMatchObject({ is: 'replaced', schedule: { paused: false } })
    expect(await schedules.nextDueMs()).toBeGreaterThan(0)
  })
})

test('what is not there, or has changed, is told', async () => {
  const stage = await createStage()
  const { schedules } = stage.api
  const never = async () => expect.unreachable()
  for (const act of [schedules.pause, schedules.resume, schedules.delete]) {
    expect(await act('none', by)).toEqual({ is: 'unknown' })
  }
  expect(await schedules.runNow('none', by, never)).toEqual({ is: 'unknown' })
  await schedules.put('one', hourly, by)
  for (const act of [schedules.pause, schedules.resume, schedules.delete]) {
    expect(await act('one', { ...by, ifVersion: 7 })).toEqual({ is: 'stale', version: 1 })
  }
  expect(await schedules.runNow('one', { ...by, ifVersion: 7 }, never)).toEqual({ is: 'stale', version: 1 })
  expect(await schedules.delete('one', {})).toMatchObject({ is: 'deleted', schedule: { name: 'one' } })
  expect(await schedules.get('one')).toBeUndefined()
})

test('the list is by name, a page at a time', async () => {
  const stage = await createStage()
  const { schedules } = stage.api
  for (const name of ['c', 'a', 'b']) await schedules.put(name, hourly, by)
  expect((await schedules.list({ limit: 2 })).map(({ name }) => name)).toEqual(['a', 'b'])
  expect((await schedules.list({ after: 'b', limit: 2 })).map(({ name }) => name)).toEqual(['c'])
})

describe('what is due', () => {
  test('is taken by one, although two look at once, and moves on with what came of it', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    for (const name of ['a', 'b', 'c', 'later']) await schedules.put(name, hourly, by)
    for (const name of ['a', 'b', 'c']) await makeDue(stage, name)
    const workers = [await stage.worker(), await stage.worker()]
    const taken: string[] = []
    let arrived = 0
    const counts = await Promise.all(
      workers.map((worker) =>
        worker.schedules.takeDue(2, async (due, now) => {
          arrived++
          await eventually('both have looked', () => (arrived === 2 ? true : undefined))
          taken.push(...due.map(({ name }) => name))
          return due.map((schedule) => next(schedule, now, [run('started', { sagaId: schedule.scheduleId })]))
        }),
      ),
    )
    expect(counts.toSorted((a, b) => a - b)).toEqual([1, 2])
    expect(taken.toSorted()).toEqual(['a', 'b', 'c'])
    expect(await workers[0]?.schedules.takeDue(9, async () => expect.unreachable())).toBe(0)
    expect(await schedules.get('a')).toMatchObject({ version: 1, lastRun: { outcome: 'started' } })
  })

  test('is due again, and nothing has come of it, if the one who took it fails or dies', async () => {
    const stage = await createStage()
    await stage.api.schedules.put('nightly', hourly, by)
    await makeDue(stage, 'nightly')
    const worker = await stage.worker()
    await expect(worker.schedules.takeDue(1, () => Promise.reject(new Error('gone')))).rejects.toThrow('gone')

    const network = await stage.network()
    const store = await openApiStore({ databaseUrl: network.url })
    let taken = false
    const dying = store.schedules
      .takeDue(1, async () => {
        taken = true
        network.cut()
        return []
      })
      .catch(() => 'died')
    expect(await dying).toBe('died')
    expect(taken).toBe(true)
    await store.close()
    await eventually('its session is gone', async () =>
      (await worker.schedules.takeDue(1, async (due, now) => due.map((one) => next(one, now)))) === 1
        ? true
        : undefined,
    )
  })

  test('says whether the saga started last has not ended', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const { schedules } = stage.api
    const worker = await stage.worker()
    await schedules.put('nightly', hourly, by)
    const sagaId = await stage.start(definition)
    const seen: boolean[] = []
    const take = async (runs: ScheduleRun[] = []) => {
      await makeDue(stage, 'nightly')
      await worker.schedules.takeDue(1, async (due, now) => {
        seen.push(...due.map(({ lastRuns }) => lastRuns))
        return due.map((one) => next(one, now, runs))
      })
    }
    await take([run('started', { sagaId }), run('skipped', { why: 'overlap' })])
    await take()
    await stage.api.mailbox.abandon(sagaId, { actor: 'anna', reason: 'test' })
    await take()
    expect(seen).toEqual([false, true, false])
  })

  test('remembers the last error until a start succeeds or it is replaced', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    const worker = await stage.worker()
    await schedules.put('nightly', hourly, by)
    const error = { code: 'INVALID_INPUT', detail: 'no' }
    const lastErrorAfter = async (...runs: ScheduleRun[]) => {
      await makeDue(stage, 'nightly')
      await worker.schedules.takeDue(1, async (due, now) => due.map((one) => next(one, now, runs)))
      return (await schedules.get('nightly'))?.lastError?.error
    }
    expect(await lastErrorAfter(run('failed', { error }))).toEqual(error)
    expect(await lastErrorAfter(run('skipped', { why: 'missed' }))).toEqual(error)
    expect(await lastErrorAfter(run('started'))).toBeUndefined()
    expect(await lastErrorAfter(run('started'), run('failed', { error }))).toEqual(error)
    await schedules.put('nightly', wanted({ cron: '1 * * * *' }), by)
    expect((await schedules.get('nightly'))?.lastError).toBeUndefined()
  })

  test('and cannot be read is laid aside, and keeps nothing else from running', async () => {
    const stage = await createStage()
    const { schedules } = stage.api
    for (const name of ['bad', 'good']) {
      await schedules.put(name, hourly, by)
      await makeDue(stage, name)
    }
    await stage.sql(`UPDATE schedules SET spec = '{"missed": "never heard of"}' WHERE name = 'bad'`)
    const worker = await stage.worker()
    const taken: string[] = []
    await worker.schedules.takeDue(9, async (due, now) => {
      taken.push(...due.map(({ name }) => name))
      return due.map((one) => next(one, now))
    })
    expect(taken).toEqual(['good'])
    expect(await schedules.nextDueMs()).toBeGreaterThan(0)
    expect(await schedules.put('bad', hourly, by)).toMatchObject({
      is: 'replaced',
      schedule: { paused: false },
    })
  })

  test('is left to others by a person who holds it, and a person who cannot have it is told so', async () => {
    const stage = await createStage({ own: true })
    const { schedules } = stage.api
    await schedules.put('nightly', hourly, by)
    await makeDue(stage, 'nightly')
    await stage.sql('BEGIN')
    await stage.sql('SELECT 1 FROM schedules FOR UPDATE')
    const worker = await stage.worker()
    expect(await worker.schedules.takeDue(1, async () => expect.unreachable())).toBe(0)
    await expect(schedules.pause('nightly', by)).rejects.toMatchObject({ code: '55P03' })
    await stage.sql('ROLLBACK')
  })
})

test('a key of a schedule is its own: no caller can choose it', async () => {
  const stage = await createStage()
  const definition = await stage.register()
  const start = (more: object) =>
    stage.api.starts.start({ definition, input: null, inputBytes: 4, requestHash: 'h', ...more })
  const first = await start({ scheduleKey: 'a:b' })
  expect(first.is).toBe('started')
  expect(await start({ scheduleKey: 'a:b' })).toEqual({ is: 'repeated', sagaId: first.sagaId })
  for (const other of [{ idempotencyKey: 'schedule:a:b' }, { idempotencyKey: 'a:b' }, { sagaKey: 'a:b' }]) {
    expect(await start(other)).toMatchObject({ is: 'started' })
  }
})

test('a run now is recorded once, however often it is asked for under its key', async () => {
  const stage = await createStage()
  const { schedules } = stage.api
  await schedules.put('nightly', { ...hourly, paused: true }, by)
  const sagaId = '01900000-0000-7000-8000-000000000001'
  const first = await schedules.runNow('nightly', { actor: 'bob', reason: 'now' }, async () => sagaId)
  expect(first).toMatchObject({ is: 'started', sagaId })
  expect(await schedules.runNow('nightly', by, async () => sagaId)).toEqual(first)
  expect(await schedules.get('nightly')).toMatchObject({
    version: 1,
    paused: true,
    runs: [{ sagaId, outcome: 'started', actor: 'bob' }],
    changes: [{ act: 'ranNow', actor: 'bob', reason: 'now' }, { act: 'created' }],
  })
})
