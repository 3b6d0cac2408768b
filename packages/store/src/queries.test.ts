import type { SagaFilter } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { openDatabase } from './database.ts'
import { createDefinitions } from './definitions.ts'
import { createHistory } from './history.ts'
import { newSagaId } from './ids.ts'
import { createLane, type Lane } from './lane.ts'
import type { Place } from './lists.ts'
import { createQueries } from './queries.ts'
import { createStage, failure, heldAs, order, type Stage, success, transitionOf } from './testing.ts'

async function idsOf(stage: Stage, filter: SagaFilter): Promise<string[]> {
  const { items } = await stage.api.queries.sagas(filter, { limit: 100 })
  return items.map(({ sagaId }) => sagaId)
}

describe('the list', () => {
  test('can be narrowed by everything it says it can, and by several of these at once', async () => {
    const stage = await createStage()
    const orders = await stage.register()
    const newer = await stage.register({ ...order, deadlineMs: 60_000 })
    const trips = await stage.register({ ...order, name: 'trip' })
    const plain = await stage.start(orders)
    const keyed = await stage.start(orders, { sagaKey: 'o-1' })
    const tagged = await stage.start(newer, { tags: { shop: 'berlin', 'tier.1': 'gold' } })
    const other = await stage.start(trips, { tags: { shop: 'berlin' }, sagaKey: 'o-1' })
    await stage.sql(
      `UPDATE sagas s SET created_at = now() + i.n * interval '1 s'
       FROM unnest($1::uuid[]) WITH ORDINALITY AS i(saga_id, n) WHERE s.saga_id = i.saga_id`,
      [[plain, keyed, tagged, other]],
    )
    await stage.sql(
      `UPDATE sagas SET created_at = '2026-01-01Z', updated_at = '2026-01-02Z' WHERE saga_id = $1`,
      [plain],
    )
    await stage.sql(
      `UPDATE sagas SET status = 'stuck', state = state || '{"status": "stuck"}', failed_step = 'step2', due_at = NULL WHERE saga_id = $1`,
      [keyed],
    )
    const expected: [SagaFilter, string[]][] = [
      [{}, [other, tagged, keyed, plain]],
      [{ status: ['stuck'] }, [keyed]],
      [{ status: ['running', 'stuck'] }, [other, tagged, keyed, plain]],
      [{ status: ['completed'] }, []],
      [{ definition: 'order' }, [tagged, keyed, plain]],
      [{ definition: 'order', version: 2 }, [tagged]],
      [{ sagaKey: 'o-1' }, [other, keyed]],
      [{ sagaKey: 'o-1', definition: 'trip' }, [other]],
      [{ failedStep: 'step2' }, [keyed]],
      [{ tags: { shop: 'berlin' } }, [other, tagged]],
      [{ tags: { shop: 'berlin', 'tier.1': 'gold' } }, [tagged]],
      [{ tags: { shop: 'paris' } }, []],
      [{ createdBefore: '2026-01-01T00:00:00.001Z' }, [plain]],
      [{ createdAfter: '2026-01-01T00:00:00Z' }, [other, tagged, keyed]],
      [
        { createdAfter: '2025-12-31T23:59:59.999+00:00', createdBefore: '2026-01-01T01:00:01+01:00' },
        [plain],
      ],
      [{ updatedBefore: '2026-01-03T00:00:00Z' }, [plain]],
    ]
    for (const [filter, ids] of expected)
      expect(await idsOf(stage, filter), JSON.stringify(filter)).toEqual(ids)
  })

  test('page by page has every saga once, though others start meanwhile and many were created in the same instant', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const ids = await Promise.all(Array.from({ length: 47 }, () => stage.start(definition)))
    await stage.sql(`
      UPDATE sagas s SET created_at = '2026-01-01Z'::timestamptz + interval '1 ms' * (n / 9)
      FROM (SELECT saga_id, row_number() OVER () AS n FROM sagas) AS numbered WHERE s.saga_id = numbered.saga_id`)
    const seen: string[] = []
    let before: Place | undefined
    let pages = 0
    do {
      const page = await stage.api.queries.sagas({ definition: 'order' }, { limit: 10, before })
      seen.push(...page.items.map(({ sagaId }) => sagaId))
      before = page.last
      pages++
      await stage.start(definition)
      await stage.sql('UPDATE sagas SET version = version + 1, updated_at = now()')
    } while (before !== undefined)
    expect(pages).toBe(5)
    expect(seen).toHaveLength(47)
    expect(new Set(seen)).toEqual(new Set(ids))
  })

  test('has no further page when the last one is just full', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    for (let n = 0; n < 4; n++) await stage.start(definition)
    const first = await stage.api.queries.sagas({}, { limit: 2 })
    const second = await stage.api.queries.sagas({}, { limit: 2, before: first.last })
    expect(second.items).toHaveLength(2)
    expect(second.last).toBeUndefined()
  })
})

describe('one saga', () => {
  test('has every value in place, wherever it is kept (S33)', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const big = (text: string) => text.repeat(3_000)
    const input = { text: big('é') }
    const sagaId = await stage.start(definition, { input, inputBytes: 6_011, tags: { a: 'b' }, sagaKey: 'k' })
    const worker = await stage.worker()
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was claimed')
    let held = heldAs(claimed)
    for (const result of [{ small: 1 }, { big: big('x') }]) {
      const step = transitionOf(held, success(held.state, result), definition.resolved)
      await worker.commits.commit([step], 0)
      held = { ...held, version: held.version + 1, state: step.state }
    }
    expect((await stage.row(sagaId)).state.context).toEqual({ step1: { small: 1 } })
    const saga = await stage.api.queries.saga(sagaId)
    expect(saga).toMatchObject({
      context: { input, step1: { small: 1 }, step2: { big: big('x') } },
      version: 3,
      tags: { a: 'b' },
      sagaKey: 'k',
      next: {
        act: 'attempt',
        attempts: [{ step: 'step3', direction: 'action', attempt: 1 }],
        worker: worker.workerId,
      },
    })
    for (const hidden of ['bytes', 'traceparent', 'unreadable', 'clean', 'endedAt'])
      expect(saga).not.toHaveProperty(hidden)
  })

  test.each([
    ['rejected', true],
    ['uncertain', false],
  ] as const)('that has failed says whether it is clean: %s', async (outcome, clean) => {
    const stage = await createStage()
    const definition = await stage.register({ ...order, defaults: { retry: { maxAttempts: 1 } } })
    const sagaId = await stage.start(definition)
    const worker = await stage.worker()
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was claimed')
    const held = heldAs(claimed)
    const end = transitionOf(held, failure(held.state, outcome), definition.resolved)
    await worker.commits.commit([end], 0)
    expect(await stage.api.queries.saga(sagaId)).toMatchObject({
      status: 'failed',
      clean,
      endedAt: end.state.updatedAt,
      next: { act: 'nothing' },
    })
  })

  test('that is not there is undefined', async () => {
    const stage = await createStage()
    expect(await stage.api.queries.saga(newSagaId(0))).toBeUndefined()
  })
})

describe('a due saga waits for a worker (S20)', () => {
  const http = { type: 'http', url: 'http://ship/' }
  const handlers = { order: ['step1'] }
  const cases: [string, Parameters<Stage['worker']>[0] | undefined, boolean][] = [
    ['while there is none', undefined, true],
    ['while none serves its queue', { queues: ['another'], handlers }, true],
    ['while none has the handler of its step', { handlers: { order: ['step2'] } }, true],
    ['while the handler is that of another definition', { handlers: { trip: ['step1'] } }, true],
    ['no longer when one has both', { handlers }, false],
  ]

  test.each(cases)('%s', async (_, options, waiting) => {
    const stage = await createStage()
    const sagaId = await stage.start(await stage.register())
    if (options !== undefined) await stage.worker(options)
    const next = (await stage.api.queries.saga(sagaId))?.next
    expect(next).toMatchObject({ act: 'attempt' })
    expect(next?.waitingForWorker === true).toBe(waiting)
  })

  test('not for a handler, if its step is a call', async () => {
    const stage = await createStage()
    const definition = await stage.register({ name: 'ship', steps: [{ name: 'call', action: http }] })
    const sagaId = await stage.start(definition)
    expect((await stage.api.queries.saga(sagaId))?.next.waitingForWorker).toBe(true)
    await stage.worker({ queues: ['default'] })
    expect((await stage.api.queries.saga(sagaId))?.next.waitingForWorker).toBeUndefined()
  })

  test('and not before it is due', async () => {
    const stage = await createStage()
    const sagaId = await stage.start(await stage.register())
    await stage.sql(
      `UPDATE sagas SET due_at = now() + interval '1 hour', state = state || '{"dueAt": {"step1": "2999-01-01T00:00:00.000Z"}}'`,
    )
    expect((await stage.api.queries.saga(sagaId))?.next.waitingForWorker).toBeUndefined()
  })

  test('also while a worker that lacks what it needs has put it off', async () => {
    const stage = await createStage()
    const sagaId = await stage.start(await stage.register())
    await stage.sql(`UPDATE sagas SET due_at = now() + interval '30 seconds'`)
    expect((await stage.api.queries.saga(sagaId))?.next.waitingForWorker).toBe(true)
  })

  test('while none is configured for the service it calls, or for one that its probe asks', async () => {
    const stage = await createStage()
    const probe = { type: 'http', service: 'audit', path: '/' }
    const action = { type: 'http', service: 'payments', path: '/', probe }
    const definition = await stage.register({ name: 'pay', steps: [{ name: 'call', action }] })
    const sagaId = await stage.start(definition)
    const worker = await stage.worker({ queues: ['default'] })
    const state = { breaker: 'closed' as const, inFlight: 0, waiting: 0, limit: 1 }
    const named = { ...state, named: true }
    const waits = async () => (await stage.api.queries.saga(sagaId))?.next.waitingForWorker

    await worker.session.pulse(worker.workerId, {
      holds: 0,
      services: { payments: named, audit: { ...state, named: false } },
    })
    expect(await waits()).toBe(true)
    await worker.session.pulse(worker.workerId, { holds: 0, services: { payments: named, audit: named } })
    expect(await waits()).toBeUndefined()
  })

  test('that is gone is no worker', async () => {
    const stage = await createStage()
    const sagaId = await stage.start(await stage.register())
    const worker = await stage.worker({ handlers })
    await worker.session.stop(worker.workerId)
    expect((await stage.api.queries.saga(sagaId))?.next.waitingForWorker).toBe(true)
  })
})

test('who are asked for by their ids at once are few statements, and each gets its own', async () => {
  const stage = await createStage()
  const definition = await stage.register()
  const ids = await Promise.all(Array.from({ length: 50 }, () => stage.start(definition)))
  const database = openDatabase({ databaseUrl: stage.url, applicationName: 'test', max: 1 })
  const lane = createLane({ databaseUrl: stage.url, applicationName: 'test' })
  const statements: string[] = []
  const counting: Lane = {
    ...lane,
    query(statement, values) {
      statements.push(statement.name)
      return lane.query(statement, values)
    },
  }
  const queries = createQueries(
    database,
    counting,
    createDefinitions(database, lane),
    createHistory(database),
  )
  const asked = [...ids, newSagaId(0), ...ids]
  const found = await Promise.all(asked.map((sagaId) => queries.saga(sagaId)))
  expect(found.map((saga) => saga?.sagaId)).toEqual([...ids, undefined, ...ids])
  expect(statements).toEqual(['sagas', 'sagas'])
  await Promise.all([lane.close(), database.destroy()])
})

test('resting are those that have ended or need a person, and no others', async () => {
  const stage = await createStage()
  const definition = await stage.register()
  const [running = '', stuck = '', ended = ''] = await Promise.all(
    [1, 2, 3].map(() => stage.start(definition)),
  )
  await stage.sql(
    `UPDATE sagas SET status = 'stuck', state = state || '{"status": "stuck"}', due_at = NULL WHERE saga_id = $1`,
    [stuck],
  )
  await stage.api.mailbox.abandon(ended, { actor: 'ada', reason: 'why' })
  const resting = await stage.api.queries.resting([running, stuck, ended, newSagaId(0)])
  expect([...resting.keys()].toSorted()).toEqual([stuck, ended].toSorted())
  // Each as it would be read by itself.
  for (const [sagaId, saga] of resting) expect(saga).toEqual(await stage.api.queries.saga(sagaId))
  expect(await stage.api.queries.resting([])).toEqual(new Map())
})

test('one saga that cannot be shown keeps none of the others from whoever waits for them (S29)', async () => {
  const stage = await createStage()
  const definition = await stage.register()
  const ids = await Promise.all([1, 2, 3].map(() => stage.start(definition)))
  for (const id of ids) await stage.api.mailbox.abandon(id, { actor: 'ada', reason: 'why' })
  const database = openDatabase({ databaseUrl: stage.url, applicationName: 'test', max: 1 })
  const lane = createLane({ databaseUrl: stage.url, applicationName: 'test' })
  const [bad = '', ...good] = ids
  let isAway = false
  const queries = createQueries(database, lane, createDefinitions(database, lane), {
    ...createHistory(database),
    async values(sagaId) {
      if (isAway || sagaId === bad) throw new Error('a page of the table is damaged')
      return new Map()
    },
  })
  expect([...(await queries.resting(ids)).keys()].toSorted()).toEqual(good.toSorted())
  isAway = true
  await expect(queries.resting(ids)).rejects.toThrow('damaged')
  await Promise.all([lane.close(), database.destroy()])
})

describe('the statistics', () => {
  test('of an empty installation are zeros and nothings', async () => {
    const stage = await createStage()
    const none = { p50: null, p90: null, p99: null }
    expect(await stage.api.stats()).toEqual({
      sagas: [],
      perMinute: { started: 0, ended: 0 },
      minutes: expect.toSatisfy((minutes: unknown[]) => minutes.length === 60),
      durationMs: none,
      stepMs: none,
      oldestDueAt: null,
      oldestStuckAt: null,
    })
  })

  test('count, measure, and name what waits longest', async () => {
    const stage = await createStage()
    const orders = await stage.register()
    const trips = await stage.register({ ...order, name: 'trip' })
    const ids = await Promise.all(Array.from({ length: 11 }, () => stage.start(orders)))
    await stage.start(trips)
    // Ten that ended just now, after 100, 200, … 1,000 ms, in two steps of half that each.
    await stage.sql(
      `UPDATE sagas s SET status = 'completed', state = state || '{"status": "completed"}', due_at = NULL,
         ended_at = now(), created_at = now() - i.n * interval '100 ms'
       FROM unnest($1::uuid[]) WITH ORDINALITY AS i(saga_id, n) WHERE s.saga_id = i.saga_id`,
      [ids.slice(0, 10)],
    )
    await stage.sql('UPDATE saga_history h SET at = s.created_at FROM sagas s WHERE s.saga_id = h.saga_id')
    await stage.sql(`
      INSERT INTO saga_history (bucket, saga_id, seq, at, kind, epoch, body)
      SELECT bucket, saga_id, seq, created_at + (ended_at - created_at) / 2 * (seq - 1), 'attemptSucceeded', 1, '{}'
      FROM sagas, generate_series(2, 3) AS seq WHERE status = 'completed'`)
    await stage.sql(
      `UPDATE sagas SET status = 'stuck', state = state || '{"status": "stuck"}', due_at = NULL, updated_at = '2026-01-05Z', created_at = '2026-01-01Z' WHERE saga_id = $1`,
      [ids[10]],
    )
    await stage.sql(
      `UPDATE sagas SET due_at = '2026-01-02Z', created_at = '2026-01-01Z' WHERE definition_name = 'trip'`,
    )
    await stage.api.feed.publish()
    await stage.api.feed.recount()
    expect(await stage.api.stats()).toMatchObject({
      sagas: [
        { definition: 'order', status: 'completed', count: 10 },
        { definition: 'order', status: 'stuck', count: 1 },
        { definition: 'trip', status: 'running', count: 1 },
      ],
      perMinute: { started: 12, ended: 0 },
      durationMs: { p50: 550, p90: 910, p99: 991 },
      stepMs: { p50: 275, p90: 455, p99: 500 },
      oldestDueAt: '2026-01-02T00:00:00.000Z',
      oldestStuckAt: '2026-01-05T00:00:00.000Z',
    })
  })
})
