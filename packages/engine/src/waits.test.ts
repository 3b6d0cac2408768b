import type { Json } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { createGate, createStage, rejection, type Stage, sagaOf } from './testing.ts'

/** Steps that nobody carries out, and the step after which nothing is undone. */

function waitingSaga(name: string, waits: Record<string, Json>, undone: string[] = []) {
  const undo = ({ step }: { step: string }) => void undone.push(step)
  const { saga, document } = sagaOf(name, {
    before: { action: () => 1, compensation: undo },
    wait: { action: () => 'never called' },
    after: { action: ({ context }) => context.wait ?? null, compensation: undo },
  })
  if (typeof document !== 'object' || document === null || !('steps' in document))
    throw new Error('no document')
  const [before = null, , after = null] = Array.isArray(document.steps) ? document.steps : []
  return { saga, document: { ...document, steps: [before, { name: 'wait', ...waits }, after] } }
}

async function signal(stage: Stage, sagaId: string, name: string, payload: Json) {
  return stage.store.mailbox.post(sagaId, { kind: 'signal', signal: name, payload })
}

const APPROVAL = { action: { type: 'signal', signal: 'approved' }, timeoutMs: 3_600_000 }

describe('a signal', () => {
  test('ends the step that waits for it, and its payload is the result (M2)', async () => {
    const stage = await createStage()
    const { saga, document } = waitingSaga('approval', APPROVAL)
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    const waiting = await stage.eventually(sagaId, ({ attempts }) => attempts.wait === 1)
    expect(waiting.next.attempts).toMatchObject([
      { step: 'wait', waiting: { for: 'signal', signal: 'approved' } },
    ])
    await expect.poll(async () => (await stage.saga(sagaId)).next.worker).toBeUndefined()

    expect((await signal(stage, sagaId, 'approved', { by: 'ada' })).is).toBe('posted')

    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({
      status: 'completed',
      context: { wait: { by: 'ada' }, after: { by: 'ada' } },
    })
  })

  test('that comes before its step is kept for it, first in first out, and one too many blocks no end (M2)', async () => {
    const stage = await createStage()
    const gate = createGate()
    const { saga, document } = waitingSaga('early', APPROVAL)
    const handlers = new Map([...saga.handlers, ['before', { action: () => gate.wait() }]])
    await stage.worker({ sagas: [{ ...saga, handlers }] })
    const sagaId = await stage.start(document)
    await gate.reached
    await signal(stage, sagaId, 'approved', 'first')
    await signal(stage, sagaId, 'other', 'never asked for')
    await signal(stage, sagaId, 'approved', 'second')
    await stage.eventually(sagaId, ({ signals }) => signals?.approved?.length === 2)
    gate.open()

    const ended = await stage.ended(sagaId)

    expect(ended).toMatchObject({ status: 'completed', context: { wait: 'first' } })
    expect(
      (await stage.history(sagaId)).map(({ kind }) => kind).filter((kind) => kind.startsWith('signal')),
    ).toEqual(['signalKept', 'signalDropped', 'signalKept', 'signalReceived'])
  })

  test('that does not come in time fails the step for good, and what was done is undone (S7a)', async () => {
    const stage = await createStage()
    const undone: string[] = []
    const { saga, document } = waitingSaga('missed', { ...APPROVAL, timeoutMs: 150 }, undone)
    await stage.worker({ sagas: [saga] })

    const ended = await stage.ended(await stage.start(document))

    expect(ended).toMatchObject({
      status: 'failed',
      failedStep: 'wait',
      compensatedSteps: ['before'],
      clean: true,
    })
    expect(ended.failureReason).toContain('SIGNAL_TIMEOUT')
    expect(undone).toEqual(['before'])
  })

  test('is still awaited after every worker has died, and a large payload reaches the next step whole', async () => {
    const stage = await createStage()
    const { saga, document } = waitingSaga('patient', APPROVAL)
    const first = await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await stage.eventually(sagaId, ({ attempts, next }) => attempts.wait === 1 && next.worker === undefined)
    await first.stop(0)
    const large = 'x'.repeat(100_000)
    await signal(stage, sagaId, 'approved', large)

    await stage.worker({ sagas: [saga] })

    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      context: { wait: large, after: large },
    })
  })

  test('a cancel while it is waited for takes effect at once (S25)', async () => {
    const stage = await createStage()
    const { saga, document } = waitingSaga('cancelled', APPROVAL)
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await stage.eventually(sagaId, ({ attempts }) => attempts.wait === 1)

    await stage.store.mailbox.post(
      sagaId,
      { kind: 'cancel', actor: 'ada', reason: 'enough' },
      { beforePivot: true },
    )

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'cancelled', compensatedSteps: ['before'] })
  })
})

test('a delay ends by itself, without an attempt, and holds no lease meanwhile (S7a)', async () => {
  const stage = await createStage()
  const { saga, document } = waitingSaga('later', { action: { type: 'delay', delayMs: 400 } })
  await stage.worker({ sagas: [saga] })
  const sagaId = await stage.start(document)
  const waiting = await stage.eventually(
    sagaId,
    ({ attempts, next }) => attempts.wait === 1 && next.worker === undefined,
  )

  const ended = await stage.ended(sagaId)

  expect(ended).toMatchObject({ status: 'completed', context: { wait: null } })
  expect(Date.parse(ended.endedAt ?? '') - Date.parse(waiting.updatedAt)).toBeGreaterThanOrEqual(400)
})

describe('the pivot', () => {
  function withPivot(last: () => unknown, pivot: () => unknown, undone: string[] = []) {
    const undo = ({ step }: { step: string }) => void undone.push(step)
    return sagaOf('pivot', {
      before: { action: () => 1, compensation: undo },
      pay: { action: pivot, options: { pivot: true } },
      last: { action: last, options: { retry: { maxAttempts: 2, initialDelayMs: 1, maxDelayMs: 100 } } },
    })
  }

  test('once it is done a later failure undoes nothing: the saga is stuck, and an operator finishes it (S14)', async () => {
    const stage = await createStage()
    const undone: string[] = []
    let broken = true
    const last = () => {
      if (broken) throw rejection('no room')
    }
    const { saga, document } = withPivot(last, () => 'paid', undone)
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)

    const stuck = await stage.eventually(sagaId, ({ status }) => status === 'stuck')
    expect(stuck).toMatchObject({
      stuck: { step: 'last', direction: 'action', reason: 'retriesExhausted' },
      pivot: 'completed',
    })
    const cancel = { kind: 'cancel', actor: 'ada', reason: 'too late' } as const
    expect(await stage.store.mailbox.post(sagaId, cancel, { beforePivot: true })).toMatchObject({
      is: 'refused',
      pastPivot: true,
    })

    broken = false
    await stage.store.mailbox.post(sagaId, { kind: 'verb', verb: 'retry', actor: 'ada', reason: 'made room' })
    expect((await stage.ended(sagaId)).status).toBe('completed')
    expect(undone).toEqual([])
  })

  test('if it fails for good everything before it is undone (S14, S25)', async () => {
    const stage = await createStage()
    const undone: string[] = []
    const pivot = () => {
      throw rejection('declined')
    }
    const { saga, document } = withPivot(() => 1, pivot, undone)
    await stage.worker({ sagas: [saga] })

    const ended = await stage.ended(await stage.start(document))

    expect(ended).toMatchObject({ status: 'failed', failedStep: 'pay', compensatedSteps: ['before'] })
    expect(ended.pivot).toBeUndefined()
  })

  test('a cancel that was acknowledged is never overtaken by it; one that is not says so (S25)', async () => {
    const stage = await createStage()
    const undone: string[] = []
    const { saga, document } = withPivot(
      () => 1,
      () => 'paid',
      undone,
    )
    await stage.worker({ sagas: [saga] })

    const answers = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const sagaId = await stage.start(document)
        const letter = { kind: 'cancel', actor: 'a', reason: 'r' } as const
        const posted = await stage.store.mailbox.post(sagaId, letter, { beforePivot: true })
        return { posted, ended: await stage.ended(sagaId) }
      }),
    )

    for (const { posted, ended } of answers) {
      expect(ended.status).toBe(posted.is === 'posted' ? 'cancelled' : 'completed')
      if (posted.is === 'posted') expect(ended.completedSteps).not.toContain('pay')
    }
  })
})

/** What the database has read of the table `sagas` so far: the figures that sessions report when they end. */
async function readSoFar(stage: Stage): Promise<{ whole: number; rows: number }> {
  const [figures] = await stage.query(
    `SELECT seq_scan::int AS whole, coalesce(idx_tup_fetch, 0)::int + seq_tup_read::int AS rows
     FROM pg_stat_user_tables WHERE relname = 'sagas'`,
  )
  return { whole: Number(figures?.whole), rows: Number(figures?.rows) }
}

test('a hundred thousand waiting sagas cost nothing but their rows: a worker beside them reads next to nothing, and still hears', async () => {
  const stage = await createStage()
  const definition: Json = {
    name: 'patient',
    steps: [{ name: 'wait', action: { type: 'signal', signal: 'now' }, timeoutMs: 86_400_000 }],
  }
  const one = await stage.start(definition)
  const first = await stage.worker()
  await stage.eventually(
    one,
    ({ next }) => next.worker === undefined && next.attempts?.[0]?.waiting !== undefined,
  )
  await first.stop()
  await stage.query(`
    INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                       created_at, updated_at, due_at)
    SELECT get_byte(uuid_send(id), 15), id, s.definition_name, s.definition_version, s.queue, s.status,
           s.state || jsonb_build_object('sagaId', id), s.request_hash, s.created_at, s.updated_at, s.due_at
    FROM sagas s, (SELECT gen_random_uuid() AS id FROM generate_series(1, 99999)) AS ids`)
  await stage.query('ANALYZE sagas')

  const before = await readSoFar(stage)
  const worker = await stage.worker()
  const beats = async () => {
    const [row] = await stage.query('SELECT heartbeat_at FROM workers WHERE worker_id = $1', [
      worker.workerId,
    ])
    return String(row?.heartbeat_at)
  }
  for (let beat = 0; beat < 2; beat++) {
    const last = await beats()
    await expect.poll(beats, { timeout: 60_000 }).not.toBe(last)
  }
  expect(worker.holds).toBe(0)
  await worker.stop()
  // A session's figures are there a moment after its end.
  await expect.poll(async () => (await readSoFar(stage)).rows).toBeGreaterThan(before.rows)
  const after = await readSoFar(stage)

  // Some twenty looks at who is due and who is alive: a row or two each.
  expect(after.whole - before.whole).toBe(0)
  expect(after.rows - before.rows).toBeLessThan(500)

  await stage.worker()
  await signal(stage, one, 'now', 'at last')
  expect((await stage.ended(one)).context.wait).toBe('at last')
})
