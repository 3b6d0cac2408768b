import { randomUUID } from 'node:crypto'
import { type Json, type Schedule, ScheduleSpec } from '@backstitch/core'
import { createInputSchemas } from '@backstitch/input-schema'
import { ConnectionLost, openWorkerStore, type WorkerStore } from '@backstitch/store'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createCounters } from './counters.ts'
import { createScheduler } from './schedules.ts'
import { createStage, quiet, type Stage, sagaOf } from './testing.ts'

/** Schedules fired by workers on a real Postgres: once for each instant, whoever does it and whatever dies meanwhile (S38). */

const { document, saga } = sagaOf('report', { one: { action: () => 1 } })
const by = { actor: 'anna' }

async function put(stage: Stage, name: string, more: Partial<ScheduleSpec> = {}, input: Json = null) {
  const spec = ScheduleSpec.parse({
    definition: 'report',
    ...(more.at === undefined && { cron: '0 * * * *' }),
    ...more,
  })
  const answer = await stage.store.schedules.put(name, { spec, input }, by)
  if (answer.is === 'stale' || answer.is === 'past') throw new Error(answer.is)
}

/** As if the instant, a full hour, had come so many hours ago, and nobody had been there. */
async function miss(stage: Stage, name: string, hours: number): Promise<void> {
  await stage.query(
    `UPDATE schedules SET next_at = date_trunc('hour', now()) - $2 * interval '1 hour' WHERE name = $1`,
    [name, hours],
  )
}

async function schedule(stage: Stage, name: string): Promise<Schedule> {
  const found = await stage.store.schedules.get(name)
  if (found === undefined) throw new Error(`there is no schedule ${name}`)
  return found
}

/** Looks until it is so. */
async function answered(stage: Stage, name: string, holds = (seen: Schedule) => seen.runs.length > 0) {
  await expect
    .poll(async () => holds(await schedule(stage, name)), { timeout: 60_000, interval: 10 })
    .toBe(true)
  return schedule(stage, name)
}

async function sagas(stage: Stage) {
  return stage.query(
    `SELECT saga_id, tags, state->'context'->'input' AS input FROM sagas ORDER BY tags->>'scheduledAt'`,
  )
}

async function register(stage: Stage, more: Record<string, Json> = {}) {
  return stage.store.definitions.register({ ...Object(document), ...more })
}

/** A worker that does nothing but fire, on a store that a test may tamper with. */
async function fire(
  stage: Stage,
  tamper: (store: WorkerStore, workerId: string) => Partial<WorkerStore> = () => ({}),
) {
  const workerId = randomUUID()
  const store = await openWorkerStore({
    databaseUrl: stage.url,
    workerId,
    leaseMs: 30_000,
    onDue: () => undefined,
  })
  const counters = createCounters()
  const scheduler = createScheduler({
    store: { ...store, ...tamper(store, workerId) },
    schemas: createInputSchemas(),
    counters,
    log: quiet,
  })
  const stop = async () => {
    const stopped = scheduler.stop()
    await store.close()
    await stopped
  }
  onTestFinished(stop)
  scheduler.start()
  return { stop, counters }
}

describe('a schedule', () => {
  test.each([
    `spec = '{"missed": "never heard of"}'`,
    `spec = spec || '{"cron": "at noon"}'`,
    `spec = spec || '{"timeZone": "Mars/Olympus"}'`,
    `next_at = '-infinity'`,
  ])(
    'that other hands have damaged by %s keeps no other from being fired, and is laid aside (F15)',
    async (damage) => {
      const stage = await createStage()
      await register(stage)
      for (const name of ['bad', 'good']) {
        await put(stage, name)
        await miss(stage, name, 1)
      }
      await stage.query(`UPDATE schedules SET ${damage} WHERE name = 'bad'`)
      const { counters } = await fire(stage)

      expect((await answered(stage, 'good')).runs[0]).toMatchObject({ outcome: 'started' })
      const { lastError } = await answered(stage, 'bad', (seen) => seen.lastError !== undefined)
      expect(lastError).toMatchObject({ outcome: 'failed', error: { code: 'INTERNAL' } })
      expect(await sagas(stage)).toHaveLength(1)
      expect((await schedule(stage, 'bad')).nextRunAt).toBeNull()
      await expect.poll(() => counters.snapshot().scheduleRuns).toMatchObject({ started: 1, failed: 1 })
      // Nothing but what it had said before is enough to have it run again.
      await put(stage, 'bad')
      expect((await schedule(stage, 'bad')).nextRunAt).not.toBeNull()
    },
  )

  test('at a time is fired by a worker then, not before, and never again', async () => {
    const stage = await createStage()
    await register(stage)
    const worker = await stage.worker({ sagas: [saga] })
    const [clock] = await stage.query(`SELECT (extract(epoch FROM now()) * 1000)::float8 + 1000 AS soon`)
    const at = new Date(Math.floor(Number(clock?.soon))).toISOString()
    await put(stage, 'once', { at, instantAs: 'day', tags: { shop: 'b' } }, { a: 1 })

    const { runs, nextRunAt, lastError } = await answered(stage, 'once')

    expect(runs).toEqual([
      { instant: at, at: expect.any(String), outcome: 'started', sagaId: expect.any(String) },
    ])
    expect(nextRunAt).toBeNull()
    expect(lastError).toBeUndefined()
    const decidedAfterMs = Date.parse(String(runs[0]?.at)) - Date.parse(at)
    expect(decidedAfterMs).toBeGreaterThanOrEqual(0)
    expect(decidedAfterMs).toBeLessThan(15_000)
    const [one, ...others] = await sagas(stage)
    expect(others).toEqual([])
    expect(one).toEqual({
      saga_id: runs[0]?.sagaId,
      tags: { shop: 'b', schedule: 'once', scheduledAt: at },
      input: { a: 1, day: at },
    })
    expect((await stage.ended(String(runs[0]?.sagaId))).status).toBe('completed')
    expect(worker.counters().scheduleRuns).toEqual({ started: 1 })
  })

  test('that nobody was there for is caught up as it says, when a worker comes back (F13)', async () => {
    const stage = await createStage()
    await register(stage)
    for (const missed of ['skip', 'last', 'all'] as const) {
      await put(stage, missed, { missed })
      await miss(stage, missed, 3)
    }
    await put(stage, 'paused')
    await stage.store.schedules.pause('paused', by)
    const { counters } = await fire(stage)

    const seen = await Promise.all(['skip', 'last', 'all'].map((name) => answered(stage, name)))

    // Within the first minute of an hour its instant is in time.
    const outcomes = seen.map(({ runs }) => runs.map(({ outcome }) => outcome).toReversed())
    expect([['skipped'], ['skipped', 'started']]).toContainEqual(outcomes[0])
    expect(outcomes[1]).toEqual(['skipped', 'started'])
    expect(outcomes[2]).toEqual(['started', 'started', 'started', 'started'])
    const instants = seen[2]?.runs.map(({ instant }) => Date.parse(instant)) ?? []
    expect(instants.map((instant) => (instants[0] ?? 0) - instant)).toEqual(
      [0, 1, 2, 3].map((n) => n * 3_600_000),
    )
    for (const { nextRunAt, runs } of seen) {
      expect(Date.parse(String(nextRunAt))).toBeGreaterThan(Date.parse(String(runs[0]?.at)))
    }
    expect((await schedule(stage, 'paused')).runs).toEqual([])
    expect(counters.snapshot().scheduleRuns).toMatchObject({ started: (await sagas(stage)).length })
  })

  test('that is not to overlap starts nothing while its last saga has not ended', async () => {
    const stage = await createStage()
    await register(stage)
    await put(stage, 'nightly', { overlap: 'skip', missed: 'all' })
    await miss(stage, 'nightly', 2)
    await fire(stage)
    const first = await answered(stage, 'nightly')
    expect(first.runs.map(({ outcome, why }) => why ?? outcome)).toEqual(['overlap', 'started'])
    expect(first.runs[0]).toMatchObject({ until: expect.any(String) })

    const sagaId = String(first.runs[1]?.sagaId)
    await miss(stage, 'nightly', 0)
    await answered(
      stage,
      'nightly',
      ({ runs, nextRunAt }) => nextRunAt === first.nextRunAt && runs.length === 2,
    )
    await stage.store.mailbox.abandon(sagaId, { actor: 'anna', reason: 'test' })
    await miss(stage, 'nightly', 5)
    await answered(stage, 'nightly', ({ runs }) =>
      runs.some((run) => run.outcome === 'started' && run.sagaId !== sagaId),
    )
  })

  test('goes on under a version registered later', async () => {
    const stage = await createStage()
    await register(stage)
    await put(stage, 'nightly')
    await register(stage, { deadlineMs: 60_000 })
    await miss(stage, 'nightly', 0)
    await fire(stage)
    const { runs } = await answered(stage, 'nightly')
    expect((await stage.saga(String(runs[0]?.sagaId))).definition).toEqual({ name: 'report', version: 2 })
  })
})

describe('a start that is refused', () => {
  test('is told on the schedule, and the next instant goes on', async () => {
    const stage = await createStage()
    await register(stage)
    await put(stage, 'misfit', {}, { day: 1 })
    await put(stage, 'gone', { definition: 'never-registered' })
    await put(stage, 'version', { version: 9 })
    await register(stage, { inputSchema: { type: 'object', properties: { day: { type: 'string' } } } })
    for (const name of ['misfit', 'gone', 'version']) await miss(stage, name, 0)
    const { counters } = await fire(stage)

    const [misfit, gone, version] = await Promise.all(
      ['misfit', 'gone', 'version'].map((name) => answered(stage, name)),
    )

    expect(misfit?.lastError?.error).toMatchObject({
      code: 'INVALID_INPUT',
      detail: expect.stringContaining('report version 2: /input/day'),
    })
    expect(gone?.lastError).toEqual(gone?.runs[0])
    expect(gone?.lastError?.error).toEqual({
      code: 'DEFINITION_NOT_FOUND',
      detail: 'there is no definition "never-registered"',
    })
    expect(version?.lastError?.error?.detail).toBe('there is no version 9 of "report"')
    for (const seen of [misfit, gone, version])
      expect(Date.parse(String(seen?.nextRunAt))).toBeGreaterThan(Date.now())
    expect(await sagas(stage)).toEqual([])
    expect(counters.snapshot().scheduleRuns).toEqual({ failed: 3 })
  })
})

describe('exactly one saga for each instant', () => {
  test('although three workers fire at once', async () => {
    const stage = await createStage()
    await register(stage)
    const names = Array.from({ length: 120 }, (_, n) => `s${n}`)
    for (const name of names) {
      await put(stage, name, { missed: 'all' })
      await miss(stage, name, 1)
    }
    const workers = await Promise.all([fire(stage), fire(stage), fire(stage)])
    for (const name of names) await answered(stage, name)

    const started = await sagas(stage)
    expect(started).toHaveLength(240)
    expect(new Set(started.map(({ tags }) => JSON.stringify(tags))).size).toBe(240)
    const counted = workers.map(({ counters }) => counters.snapshot().scheduleRuns.started ?? 0)
    expect(counted.reduce((sum, count) => sum + count)).toBe(240)
  })

  test.each(['before', 'after'] as const)('although a worker dies %s its start', async (when) => {
    const stage = await createStage()
    await register(stage)
    await put(stage, 'nightly')
    await miss(stage, 'nightly', 0)
    let died = 0
    const dying = await fire(stage, (store, workerId) => ({
      starts: {
        ...store.starts,
        async start(request) {
          if (when === 'after') await store.starts.start(request)
          died++
          await stage.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`,
            [`backstitch/worker/${workerId}`],
          )
          throw new ConnectionLost('this worker has died')
        },
      },
    }))
    await expect.poll(() => died).toBeGreaterThan(0)
    await dying.stop()
    expect((await schedule(stage, 'nightly')).runs).toEqual([])
    expect(await sagas(stage)).toHaveLength(when === 'after' ? 1 : 0)

    // What the definition takes by now does not matter to a saga that is there.
    if (when === 'after') await register(stage, { inputSchema: { type: 'string' } })
    await fire(stage)
    const { runs } = await answered(stage, 'nightly')

    const [only, ...others] = await sagas(stage)
    expect(others).toEqual([])
    expect(runs).toMatchObject([{ outcome: 'started', sagaId: only?.saga_id }])
  })

  test('although it is changed between a start and the end of the worker that made it', async () => {
    const stage = await createStage()
    await register(stage)
    await put(stage, 'nightly', { missed: 'all' })
    await miss(stage, 'nightly', 2)
    const dying = await fire(stage, (store) => ({
      schedules: {
        ...store.schedules,
        takeDue: (limit, act) =>
          store.schedules.takeDue(limit, async (due, now) => {
            await act(due, now)
            throw new ConnectionLost('this worker has died')
          }),
      },
    }))
    await expect.poll(async () => (await sagas(stage)).length).toBe(3)
    await dying.stop()

    await put(stage, 'nightly', { missed: 'all', tags: { changed: 'yes' } }, 'other')
    await fire(stage)
    const { runs } = await answered(stage, 'nightly')

    expect(runs.map(({ outcome }) => outcome)).toEqual(['started', 'started', 'started'])
    expect(await sagas(stage)).toHaveLength(3)
  })

  test('although the database cannot take starts for a while: that is no refusal, and is tried again', async () => {
    const stage = await createStage()
    await register(stage)
    await put(stage, 'nightly')
    await miss(stage, 'nightly', 0)
    let tried = 0
    await fire(stage, (store) => ({
      starts: {
        ...store.starts,
        start: (request) =>
          ++tried === 1 ? Promise.reject(new ConnectionLost('no answer')) : store.starts.start(request),
      },
    }))
    const { runs, lastError } = await answered(stage, 'nightly')
    expect(runs.map(({ outcome }) => outcome)).toEqual(['started'])
    expect(lastError).toBeUndefined()
    expect(tried).toBe(2)
  })

  test('and a schedule made anew under an old name starts anew', async () => {
    const stage = await createStage()
    await register(stage)
    await fire(stage)
    for (const count of [1, 2]) {
      await put(stage, 'nightly')
      await miss(stage, 'nightly', 0)
      await answered(stage, 'nightly')
      expect(await sagas(stage)).toHaveLength(count)
      await stage.store.schedules.delete('nightly', {})
    }
  })
})

test('where there are no schedules a worker asks for one number every two seconds, and connects to nothing more', async () => {
  const stage = await createStage()
  const askedAt: number[] = []
  const workerStore = await fire(stage, (store) => ({
    schedules: {
      takeDue: () => expect.unreachable(),
      nextDueMs: () => {
        askedAt.push(performance.now())
        return store.schedules.nextDueMs()
      },
    },
  }))
  await expect.poll(() => askedAt.length).toBe(2)
  const [first = 0, second = 0] = askedAt
  // A timer may be a millisecond early.
  expect(second - first).toBeGreaterThan(1_990)
  await workerStore.stop()
})
