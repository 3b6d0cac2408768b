import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createStage, eventually, order, type Stage, type TestWorker } from './testing.ts'
import { createWakeups } from './wakeups.ts'
import type { Pulse } from './workers.ts'

const letter = { kind: 'cancel', actor: 'ada', reason: 'changed my mind' } as const

type Silent = Pulse['silent']

function workerRow(stage: Stage, worker: TestWorker) {
  return stage
    .sql<{
      heartbeat_at: Date
      holds: number
      backend_pid: number | null
      backend_start: Date | null
      ended_at: Date | null
      end_reason: string | null
    }>('SELECT * FROM workers WHERE worker_id = $1', [worker.workerId])
    .then(([row]) => row ?? Promise.reject(new Error('the worker is not registered')))
}

async function silentTo(worker: TestWorker): Promise<Silent> {
  return (await worker.session.pulse(worker.workerId, undefined)).silent
}

/** Ends the session of a worker as its death would; it would connect again when it next says something. */
async function cutOff(stage: Stage, worker: TestWorker): Promise<number> {
  const { backend_pid: pid } = await workerRow(stage, worker)
  if (pid === null) throw new Error('the worker has no session')
  await stage.sql('SELECT pg_terminate_backend($1)', [pid])
  await eventually('the session is over', async () => {
    const left = await stage.sql('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [pid])
    return left.length === 0 ? true : undefined
  })
  return pid
}

describe('a worker', () => {
  test('announces itself with its queues, its handlers and its session', async () => {
    const stage = await createStage()
    const worker = await stage.worker({ queues: ['a', 'b'], handlers: { a: ['one'] } })
    expect(await workerRow(stage, worker)).toMatchObject({
      pid: process.pid,
      queues: ['a', 'b'],
      ended_at: null,
    })
    const [session] = await stage.sql(`
      SELECT a.application_name FROM workers w JOIN pg_stat_activity a ON a.pid = w.backend_pid AND a.backend_start = w.backend_start`)
    expect(session).toEqual({ application_name: `backstitch/worker/${worker.workerId}` })
    expect(await stage.api.queries.workers()).toMatchObject([
      { workerId: worker.workerId, queues: ['a', 'b'], handlers: { a: ['one'] }, concurrency: 10, holds: 0 },
    ])
  })

  test('says that it is alive when it beats, and not when it only looks around', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const before = await workerRow(stage, worker)
    expect(await worker.session.pulse(worker.workerId, undefined)).toEqual({
      alive: true,
      unread: [],
      silent: [],
    })
    expect(await workerRow(stage, worker)).toEqual(before)
    await worker.session.pulse(worker.workerId, { holds: 5, services: {} })
    const after = await workerRow(stage, worker)
    expect(after.holds).toBe(5)
    expect(after.heartbeat_at.getTime()).toBeGreaterThanOrEqual(before.heartbeat_at.getTime())
    const [moved] = await stage.sql('SELECT heartbeat_at > started_at AS moved FROM workers')
    expect(moved).toEqual({ moved: true })
  })

  test('sees which of its sagas have unread mail, and no others (M1)', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const [worker, other] = [await stage.worker(), await stage.worker()]
    const ids = await Promise.all([1, 2, 3].map(() => stage.start(definition)))
    const mine = (await worker.claims.claim(['order'], 2)).map(({ lease }) => lease.sagaId)
    await other.claims.claim(['order'], 1)
    for (const sagaId of ids) await stage.api.mailbox.post(sagaId, letter)
    expect(new Set((await worker.session.pulse(worker.workerId, undefined)).unread)).toEqual(new Set(mine))
  })

  test('can ask which leases it has (F94)', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const worker = await stage.worker()
    await Promise.all([1, 2, 3].map(() => stage.start(definition)))
    const leases = (await worker.claims.claim(['order'], 2)).map(({ lease }) => lease)
    const seen = await worker.session.leases(worker.workerId)
    expect(seen).toHaveLength(2)
    expect(seen).toEqual(expect.arrayContaining(leases))
  })

  test('that signs off is over, with its reason', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    await worker.session.stop(worker.workerId)
    expect(await workerRow(stage, worker)).toMatchObject({ end_reason: 'stopped', holds: 0 })
    expect(await stage.api.queries.workers()).toEqual([])
    expect((await worker.session.pulse(worker.workerId, { holds: 0, services: {} })).alive).toBe(false)
  })
})

describe('a lost session (S17)', () => {
  test('is seen by the others at once, and by itself when it speaks again', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    expect(await silentTo(judge)).toEqual([])
    const backendPid = await cutOff(stage, victim)
    expect(await silentTo(judge)).toEqual([
      { workerId: victim.workerId, reason: 'connectionLost', backendPid },
    ])
    await eventually('it has another session', () => silentTo(victim).catch(() => undefined))
    expect((await workerRow(stage, victim)).backend_pid).not.toBe(backendPid)
    expect(await silentTo(judge)).toEqual([])
  })

  test('does not make a worker dead that has come back meanwhile (F05)', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    await cutOff(stage, victim)
    const [seen] = await silentTo(judge)
    await eventually('it has another session', () => silentTo(victim).catch(() => undefined))
    expect(seen && (await judge.session.declareDead(seen))).toBe(false)
    expect((await victim.session.pulse(victim.workerId, { holds: 0, services: {} })).alive).toBe(true)
  })

  test('nor one that came back and was lost again: that loss has a grace of its own', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    await cutOff(stage, victim)
    const [seen] = await silentTo(judge)
    await eventually('it has another session', () => silentTo(victim).catch(() => undefined))
    await cutOff(stage, victim)
    expect(seen && (await judge.session.declareDead(seen))).toBe(false)
  })

  test('makes it dead once and for ever: its heartbeat changes no row, and it cannot announce itself again (F06)', async () => {
    const stage = await createStage()
    const [judge, second, victim] = [await stage.worker(), await stage.worker(), await stage.worker()]
    await cutOff(stage, victim)
    const [seen] = await silentTo(judge)
    if (seen === undefined) throw new Error('nobody is silent')
    const declared = await Promise.all([judge, second].map((one) => one.session.declareDead(seen)))
    expect(declared.toSorted((a, b) => Number(a) - Number(b))).toEqual([false, true])
    const before = await workerRow(stage, victim)
    expect(before).toMatchObject({ end_reason: 'connectionLost' })
    await eventually('it has another session', () =>
      victim.session.pulse(victim.workerId, { holds: 7, services: {} }).then(
        ({ alive }) => (alive ? undefined : true),
        () => undefined,
      ),
    )
    expect(await workerRow(stage, victim)).toEqual(before)
    expect(await silentTo(judge)).toEqual([])
  })

  test('proves nothing if it is older than the database: a restart has cut everybody off', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    await cutOff(stage, victim)
    const [seen] = await silentTo(judge)
    await stage.sql(
      `
      UPDATE workers SET backend_start = (SELECT backend_start - interval '1 ms' FROM pg_stat_activity WHERE backend_type = 'walwriter')
      WHERE worker_id = $1`,
      [victim.workerId],
    )
    expect(await silentTo(judge)).toEqual([])
    expect(seen && (await judge.session.declareDead(seen))).toBe(false)
  })

  test('is told apart from another session that has the same process id by now', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    await stage.sql(
      `
      UPDATE workers w SET backend_pid = pg_backend_pid(), backend_start = a.backend_start + interval '1 ms'
      FROM pg_stat_activity a WHERE a.pid = pg_backend_pid() AND w.worker_id = $1`,
      [victim.workerId],
    )
    expect(await silentTo(judge)).toMatchObject([{ workerId: victim.workerId, reason: 'connectionLost' }])
  })

  test('of a worker behind a pooler says nothing: only its heartbeat does', async () => {
    const stage = await createStage()
    const network = await stage.network({ pooled: true })
    const [judge, victim] = [await stage.worker(), await stage.worker({ url: network.url })]
    expect(await workerRow(stage, victim)).toMatchObject({ backend_pid: null, backend_start: null })
    network.cut()
    expect(await silentTo(judge)).toEqual([])
    await stage.sql(
      `UPDATE workers SET lease_ms = 1, heartbeat_at = now() - interval '1 s' WHERE worker_id = $1`,
      [victim.workerId],
    )
    expect(await silentTo(judge)).toEqual([
      { workerId: victim.workerId, reason: 'leaseExpired', backendPid: null },
    ])
  })

  test('is judged by a role that may not see the server only where its own session is older', async () => {
    const stage = await createStage({ own: true })
    const role = `test_${randomBytes(6).toString('hex')}`
    await stage.sql(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`)
    await stage.sql(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`)
    try {
      const url = Object.assign(new URL(stage.url), { username: role, password: 'secret' }).href
      const elder = await stage.worker({ url })
      const victim = await stage.worker({ url })
      const younger = await stage.worker({ url })
      const backendPid = await cutOff(stage, victim)
      expect(await silentTo(younger)).toEqual([])
      expect(await silentTo(elder)).toEqual([
        { workerId: victim.workerId, reason: 'connectionLost', backendPid },
      ])
    } finally {
      await stage.sql(`DROP OWNED BY ${role} CASCADE`)
      await stage.sql(`DROP ROLE ${role}`)
    }
  })
})

describe('a lease without a heartbeat', () => {
  test('is over after its time, and not before', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    await stage.sql(
      `UPDATE workers SET heartbeat_at = now() - interval '1 hour', lease_ms = 3_700_000 WHERE worker_id = $1`,
      [victim.workerId],
    )
    expect(await silentTo(judge)).toEqual([])
    await stage.sql('UPDATE workers SET lease_ms = 1 WHERE worker_id = $1', [victim.workerId])
    expect(await silentTo(judge)).toMatchObject([{ workerId: victim.workerId, reason: 'leaseExpired' }])
  })

  test('begins anew when the database does', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    const [up] = await stage.sql<{ ms: number }>(`
      SELECT (extract(epoch FROM now() - backend_start) * 1000)::int AS ms FROM pg_stat_activity WHERE backend_type = 'walwriter'`)
    await stage.sql(`UPDATE workers SET heartbeat_at = '2020-01-01', lease_ms = $2 WHERE worker_id = $1`, [
      victim.workerId,
      (up?.ms ?? 0) + 60_000,
    ])
    expect(await silentTo(judge)).toEqual([])
  })
})

describe('the sweep', () => {
  async function held(stage: Stage, worker: TestWorker, count: number): Promise<string[]> {
    const definition = await stage.register()
    await Promise.all(Array.from({ length: count }, () => stage.start(definition)))
    return (await worker.claims.claim(['order'], count)).map(({ lease }) => lease.sagaId)
  }

  test('frees what belongs to the dead, and counts a lost lease; what belongs to the living it leaves alone', async () => {
    const stage = await createStage()
    const [living, dead] = [await stage.worker(), await stage.worker()]
    const [kept = ''] = await held(stage, living, 1)
    const [freed = ''] = await held(stage, dead, 1)
    const before = await stage.row(kept)
    await dead.session.stop(dead.workerId)
    expect(await living.session.sweep(10)).toBe(1)
    expect(await stage.row(kept)).toEqual(before)
    expect(await stage.row(freed)).toMatchObject({ owner: null, epoch: 2, leases_lost: 1, version: 1 })
    expect(await stage.sql('SELECT due_at <= now() AS due FROM sagas WHERE saga_id = $1', [freed])).toEqual([
      { due: true },
    ])
    expect(await living.session.sweep(10)).toBe(0)
  })

  test('leaves alone the sagas of a worker that is silent and has not been declared dead', async () => {
    const stage = await createStage()
    const [judge, victim] = [await stage.worker(), await stage.worker()]
    await held(stage, victim, 1)
    await stage.sql(`UPDATE workers SET heartbeat_at = '2020-01-01', lease_ms = 1 WHERE worker_id = $1`, [
      victim.workerId,
    ])
    expect(await judge.session.sweep(10)).toBe(0)
  })

  test('frees what belongs to somebody nobody has ever heard of', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    await held(stage, worker, 1)
    await stage.sql('UPDATE sagas SET owner = $1', [randomUUID()])
    expect(await worker.session.sweep(10)).toBe(1)
  })

  test('takes no more than it may, and passes by what is locked', async () => {
    const stage = await createStage()
    const [living, dead] = [await stage.worker(), await stage.worker()]
    const [first = ''] = await held(stage, dead, 5)
    await dead.session.stop(dead.workerId)
    await stage.sql('BEGIN')
    await stage.sql('SELECT 1 FROM sagas WHERE saga_id = $1 FOR UPDATE', [first])
    expect(await living.session.sweep(2)).toBe(2)
    expect(await living.session.sweep(10)).toBe(2)
    await stage.sql('COMMIT')
    expect(await living.session.sweep(10)).toBe(1)
  })

  test('leaves a stuck saga at rest, unless it has mail', async () => {
    const stage = await createStage()
    const [living, dead] = [await stage.worker(), await stage.worker()]
    const [resting = '', asked = ''] = await held(stage, dead, 2)
    await stage.sql(`UPDATE sagas SET status = 'stuck', state = state || '{"status": "stuck"}'`)
    await stage.api.mailbox.post(asked, letter)
    await dead.session.stop(dead.workerId)
    expect(await living.session.sweep(10)).toBe(2)
    expect(await stage.row(resting)).toMatchObject({ owner: null, due_at: null })
    expect((await stage.row(asked)).due_at).not.toBeNull()
  })

  test('leaves a paused saga at rest, unless it has mail (S30c)', async () => {
    const stage = await createStage()
    const [living, dead] = [await stage.worker(), await stage.worker()]
    const [resting = '', asked = ''] = await held(stage, dead, 2)
    await stage.sql('UPDATE sagas SET paused = true')
    await stage.api.mailbox.post(asked, letter)
    await dead.session.stop(dead.workerId)
    expect(await living.session.sweep(10)).toBe(2)
    expect(await stage.row(resting)).toMatchObject({ owner: null, due_at: null, leases_lost: 1 })
    expect((await stage.row(asked)).due_at).not.toBeNull()
  })

  test('of two workers at once frees each saga once (F05)', async () => {
    const stage = await createStage()
    const [one, other, dead] = [await stage.worker(), await stage.worker(), await stage.worker()]
    await held(stage, dead, 40)
    await dead.session.stop(dead.workerId)
    const freed = await Promise.all([one.session.sweep(100), other.session.sweep(100)])
    // What one had locked, the other passed by.
    expect(freed[0] + freed[1]).toBe(40)
    expect(await stage.sql('SELECT DISTINCT epoch, leases_lost FROM sagas')).toEqual([
      { epoch: 2, leases_lost: 1 },
    ])
  })
})

describe('a hint that something is due', () => {
  test('reaches the workers, many as one, each queue once (F34)', async () => {
    const stage = await createStage()
    const heard: string[][] = []
    await stage.worker({ onDue: (queues) => heard.push(queues) })
    for (const queue of ['a', 'b', 'a', 'c', 'b', 'a']) stage.api.wakeups.due(queue)
    await eventually('all are heard of', () => (new Set(heard.flat()).size === 3 ? true : undefined))
    expect(heard.length).toBeLessThanOrEqual(2)
  })

  test('reaches a worker also after its session was lost (F33)', async () => {
    const stage = await createStage()
    const heard: string[][] = []
    const worker = await stage.worker({ onDue: (queues) => heard.push(queues) })
    await cutOff(stage, worker)
    await eventually('it has another session', () => silentTo(worker).catch(() => undefined))
    stage.api.wakeups.due('again')
    expect(await eventually('it is heard', () => heard[0])).toEqual(['again'])
  })

  test('of more queues than one message can carry is several messages', async () => {
    const stage = await createStage()
    const heard = new Set<string>()
    await stage.worker({ onDue: (queues) => queues.map((queue) => heard.add(queue)) })
    const queues = Array.from({ length: 250 }, (_, n) => `q${n}`.padEnd(64, 'x'))
    for (const queue of queues) stage.api.wakeups.due(queue)
    await eventually('all are heard of', () => (heard.size === 250 ? true : undefined))
    expect(heard).toEqual(new Set(queues))
  })

  test('holds up nobody who ends: one that is not answered is not waited for (F33)', async () => {
    const stage = await createStage()
    const network = await stage.network()
    const silent = { databaseUrl: network.url, applicationName: 'backstitch/test', silenceMs: 600_000 }
    const wakeups = createWakeups(silent)
    const isUnderWay = new Promise<void>((resolve) => {
      network.when('notify', () => {
        network.goBlack()
        resolve()
      })
    })
    wakeups.due('a')
    await isUnderWay
    wakeups.due('b')
    await wakeups.close()
    await expect.poll(() => network.connections).toBe(0)
  })
})

describe('what was put off is offered to a worker that can run it (S20)', () => {
  test('if it is due by its state, in its queues, of its definitions, and not too far ahead (F82)', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const other = await stage.register({ ...order, name: 'other', queue: 'order' })
    const elsewhere = await stage.register({ ...order, name: 'elsewhere' })
    const putOff = [await stage.start(definition), await stage.start(definition)]
    const [retried, waiting, far, damaged] = await Promise.all(
      [1, 2, 3, 4].map(() => stage.start(definition)),
    )
    const [ofOther, inOtherQueue] = [await stage.start(other), await stage.start(elsewhere)]
    const worker = await stage.worker()
    const dueNow = async () =>
      new Set(
        (await stage.sql('SELECT saga_id FROM sagas WHERE due_at <= now()')).map(({ saga_id }) => saga_id),
      )
    await stage.sql(`UPDATE sagas SET due_at = now() + interval '20 seconds'`)
    await stage.sql(`UPDATE sagas SET due_at = now() + interval '40 seconds' WHERE saga_id = '${far}'`)
    const dueAt = (id: string | undefined, at: string) =>
      stage.sql(`UPDATE sagas SET state = state || '{"dueAt": {"step1": "${at}"}}' WHERE saga_id = '${id}'`)
    await dueAt(retried, '2001-01-01T00:00:00.000Z')
    await dueAt(waiting, '2999-01-01T00:00:00.000Z')
    await stage.sql(`UPDATE sagas SET state = state || '{"attempts": 7}' WHERE saga_id = '${damaged}'`)

    expect(await worker.session.offer(['order'], ['order'], 30_000)).toBe(3)
    expect(await dueNow()).toEqual(new Set([...putOff, retried]))

    expect(await worker.session.offer(['order'], undefined, 30_000)).toBe(1)
    expect(await dueNow()).toEqual(new Set([...putOff, retried, ofOther]))
    expect(await dueNow()).not.toContain(inOtherQueue)
  })
})
