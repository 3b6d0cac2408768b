import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { CLAIM, CLAIM_SUSPECT, TAKE_AGAIN } from './claims.ts'
import { COMMIT, COMMIT_ONE, COMMIT_WITH_FAMILY, PARK, RELEASE } from './commits.ts'
import { INSERT, INSERT_ONE } from './starts.ts'
import { openApiStore, openWorkerStore } from './store.ts'
import { createStage, failure, heldAs, order, requestFor, transitionOf } from './testing.ts'
import { SWEEP } from './workers.ts'

/** What must not depend on where a machine stands, what its clock says, or who listens. */

const ownZone = process.env.TZ
afterEach(() => {
  if (ownZone === undefined) delete process.env.TZ
  else process.env.TZ = ownZone
})

describe.each(['America/St_Johns', 'Asia/Kathmandu'])('in %s, on a database elsewhere', (zone) => {
  test('an instant is an instant: what is due, stored and read back is the same (F71)', async () => {
    process.env.TZ = zone
    const { url, query, drop } = await createTestDatabase()
    onTestFinished(drop)
    const name = new URL(url).pathname.slice(1)
    await query(`ALTER DATABASE "${name}" SET timezone = 'Pacific/Chatham'`)
    await query(`ALTER DATABASE "${name}" SET datestyle = 'ISO, DMY'`)
    const api = await openApiStore({ databaseUrl: url })
    onTestFinished(() => api.close())
    const workerId = '00000000-0000-7000-8000-000000000001'
    const worker = await openWorkerStore({
      databaseUrl: url,
      workerId,
      leaseMs: 30_000,
      onDue: () => undefined,
    })
    onTestFinished(() => worker.close())
    await worker.session.register({
      workerId,
      queues: ['order'],
      handlers: {},
      concurrency: 1,
      leaseMs: 30_000,
      services: {},
    })

    const before = Date.now()
    const definition = await api.definitions.register(order)
    const { sagaId } = await api.starts.start(requestFor(definition))
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was due')
    const held = heldAs(claimed)
    const now = worker.clock.now()
    const event = failure(held.state, 'failed')
    const transition = transitionOf(held, event, definition.resolved, {
      now,
      after: { is: 'due', at: now + 3_600_000 },
    })
    expect(await worker.commits.commit([transition], 0)).toMatchObject([
      { ok: true, answer: { is: 'committed' } },
    ])

    const { dueMs = 0 } = await worker.claims.nextDueMs(['order'])
    expect(Math.abs(dueMs - 3_600_000)).toBeLessThan(60_000)
    const saga = await api.queries.saga(sagaId)
    expect(saga).toMatchObject({ startedAt: held.state.startedAt, updatedAt: new Date(now).toISOString() })
    expect(Math.abs(Date.parse(held.state.startedAt) - before)).toBeLessThan(60_000)
    const entries = await api.history.read(sagaId, { limit: 10 })
    expect(entries.map(({ at }) => at)).toEqual([held.state.startedAt, new Date(now).toISOString()])
    expect(await worker.session.pulse(workerId, { holds: 0, services: {} })).toMatchObject({
      alive: true,
      silent: [],
    })
  })
})

test('a database that writes its dates in another style is refused with a sentence (F71)', async () => {
  const { url, query, drop } = await createTestDatabase()
  onTestFinished(drop)
  await query(`ALTER DATABASE "${new URL(url).pathname.slice(1)}" SET datestyle = 'SQL, DMY'`)
  await expect(openApiStore({ databaseUrl: url })).rejects.toThrow(`DateStyle is "SQL, DMY"; it must be ISO`)
})

test('a start that is repeated, and a saga that is read, leave the row as it was: no crash is counted (F16)', async () => {
  const stage = await createStage()
  const definition = await stage.register()
  const request = requestFor(definition, { idempotencyKey: 'busy' })
  const { sagaId } = await stage.api.starts.start(request)
  const worker = await stage.worker()
  await worker.claims.claim(['order'], 1)
  const before = await stage.row(sagaId)

  const starts = Array.from({ length: 100 }, () => stage.api.starts.start(request))
  const reads = Array.from({ length: 100 }, () => stage.api.queries.saga(sagaId))
  await Promise.all([...starts, ...reads])

  expect(await stage.row(sagaId)).toEqual(before)
  expect(before.leases_lost).toBe(0)
})

test('no statement that changes a saga notifies anybody, and no trigger does it for one (F34)', async () => {
  const statements = [
    CLAIM,
    CLAIM_SUSPECT,
    TAKE_AGAIN,
    COMMIT,
    COMMIT_ONE,
    COMMIT_WITH_FAMILY,
    PARK,
    RELEASE,
    INSERT,
    INSERT_ONE,
  ]
  const schema = await readFile(path.join(import.meta.dirname, '../../../migrations/schema.sql'), 'utf8')
  for (const text of [...statements.map((statement) => statement.text), SWEEP]) {
    expect(text).toMatch(/UPDATE|INSERT/)
    expect(text).not.toMatch(/notify/i)
  }
  expect(schema).toContain('CREATE TABLE sagas')
  expect(schema).not.toMatch(/CREATE (OR REPLACE )?(TRIGGER|FUNCTION|PROCEDURE|RULE)|notify/i)
})
