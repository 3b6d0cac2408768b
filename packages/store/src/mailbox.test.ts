import { apply } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { newSagaId } from './ids.ts'
import type { Letter } from './mailbox.ts'
import { createStage, heldAs, type Stage, success, transitionOf } from './testing.ts'

const cancel: Letter = { kind: 'cancel', actor: 'ada', reason: 'changed my mind' }
const by = { actor: 'ada', reason: 'beyond repair' }

async function waiting(stage: Stage): Promise<string> {
  const sagaId = await stage.start(await stage.register())
  await stage.sql(`UPDATE sagas SET due_at = now() + interval '1 hour' WHERE saga_id = $1`, [sagaId])
  return sagaId
}

describe('a letter', () => {
  test('makes a waiting saga due, and says where it stood', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const posted = await stage.api.mailbox.post(sagaId, cancel)
    expect(posted).toEqual({ is: 'posted', status: 'running', version: 1, queue: 'order' })
    expect(await stage.sql('SELECT mail_seq, mail_seen, due_at <= now() AS due FROM sagas')).toEqual([
      { mail_seq: 1, mail_seen: 0, due: true },
    ])
    expect(await stage.api.mailbox.read(sagaId, 0)).toEqual([{ seq: 1, letter: cancel }])
  })

  test('for a saga that is held lies there for its holder, who goes on', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const worker = await stage.worker()
    await stage.sql('UPDATE sagas SET due_at = now()')
    const [claimed] = await worker.claims.claim(['order'], 1)
    await stage.api.mailbox.post(sagaId, cancel)
    expect(await stage.row(sagaId)).toMatchObject({
      owner: worker.workerId,
      due_at: null,
      mail_seq: 1,
      epoch: 1,
    })
    expect(claimed?.mailSeq).toBe(0)
  })

  test('of many at once has a number of its own, and they are read in order, from where the reader was', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const reasons = Array.from({ length: 150 }, (_, n) => `reason ${n}`)
    await Promise.all(reasons.map((reason) => stage.api.mailbox.post(sagaId, { ...cancel, reason })))
    const first = await stage.api.mailbox.read(sagaId, 0)
    const second = await stage.api.mailbox.read(sagaId, first.at(-1)?.seq ?? 0)
    const all = [...first, ...second]
    expect(all.map(({ seq }) => seq)).toEqual(reasons.map((_, n) => n + 1))
    const told = all.map(({ letter }) => letter.kind === 'cancel' && letter.reason)
    expect(new Set(told)).toEqual(new Set(reasons))
    expect((await stage.row(sagaId)).mail_seq).toBe(150)
  })

  test.each<[string, Parameters<Stage['api']['mailbox']['post']>[2]]>([
    ['another status', { status: 'stuck' }],
    ['another version', { version: 2 }],
  ])('that is meant for %s is refused, and not kept', async (_, when) => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const before = await stage.row(sagaId)
    expect(await stage.api.mailbox.post(sagaId, cancel, when)).toEqual({
      is: 'refused',
      status: 'running',
      version: 1,
      pastPivot: false,
    })
    expect(await stage.row(sagaId)).toEqual(before)
    expect(await stage.api.mailbox.read(sagaId, 0)).toEqual([])
  })

  test('that is meant for this status and this version is taken', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    expect((await stage.api.mailbox.post(sagaId, cancel, { status: 'running', version: 1 })).is).toBe(
      'posted',
    )
  })

  test('that may not come after the pivot is refused there, and says so (S25)', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    expect((await stage.api.mailbox.post(sagaId, cancel, { beforePivot: true })).is).toBe('posted')
    await stage.sql('UPDATE sagas SET past_pivot = true')
    expect(await stage.api.mailbox.post(sagaId, cancel, { beforePivot: true })).toMatchObject({
      is: 'refused',
      pastPivot: true,
    })
    expect((await stage.api.mailbox.post(sagaId, cancel)).is).toBe('posted')
  })

  test('to nobody is answered so', async () => {
    const stage = await createStage()
    expect(await stage.api.mailbox.post(newSagaId(0), cancel)).toEqual({ is: 'unknown' })
    expect(await stage.api.mailbox.abandon(newSagaId(0), by)).toEqual({ is: 'unknown' })
  })

  test('that races with other letters and with commits loses none of them', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const sagaId = await stage.start(definition)
    const worker = await stage.worker()
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was claimed')
    const held = heldAs(claimed)
    const step = transitionOf(held, success(held.state), definition.resolved)
    const [answers] = await Promise.all([
      worker.commits.commit([step], 0),
      ...Array.from({ length: 20 }, () => stage.api.mailbox.post(sagaId, cancel)),
    ])
    expect(answers).toMatchObject([{ ok: true, answer: { is: 'committed' } }])
    expect(await stage.row(sagaId)).toMatchObject({ version: 2, mail_seq: 20 })
    expect(await stage.api.mailbox.read(sagaId, 0)).toHaveLength(20)
  })
})

describe('abandoning (S30b)', () => {
  test('ends the saga at once, with who and why, and its holder has lost it', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const sagaId = await stage.start(definition)
    const worker = await stage.worker()
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was claimed')
    await stage.api.mailbox.post(sagaId, cancel)
    expect(await stage.api.mailbox.abandon(sagaId, by)).toEqual({
      is: 'posted',
      status: 'abandoned',
      version: 2,
      queue: 'order',
    })
    const row = await stage.row(sagaId)
    expect(row).toMatchObject({
      status: 'abandoned',
      epoch: 2,
      owner: null,
      due_at: null,
      mail_seq: 1,
      mail_seen: 1,
    })
    expect(row.ended_at).toEqual(row.updated_at)
    expect(row.state.updatedAt).toBe(row.updated_at.toISOString())
    const [, entry] = await stage.api.history.read(sagaId, { limit: 9 })
    expect(entry).toMatchObject({ kind: 'abandoned', ...by, epoch: 2, worker: null, at: row.state.updatedAt })
    const held = heldAs(claimed)
    const [answer] = await worker.commits.commit(
      [transitionOf(held, success(held.state), definition.resolved)],
      0,
    )
    expect(answer).toEqual({ ok: true, answer: { is: 'leaseLost' } })
  })

  test('leaves nothing in the state that folding the history would not (S35)', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const had = {
      dueAt: { one: '2026-01-01T00:00:00.000Z' },
      waiting: { one: { for: 'delay' } },
      gaveUp: { two: { reason: 'retriesExhausted', message: 'no' } },
      leasesLost: 2,
    }
    await stage.sql('UPDATE sagas SET state = state || $2::jsonb WHERE saga_id = $1', [
      sagaId,
      JSON.stringify(had),
    ])
    const before = await stage.row(sagaId)
    await stage.api.mailbox.abandon(sagaId, by)
    const [, entry] = await stage.api.history.read(sagaId, { limit: 9 })
    if (entry === undefined) throw new Error('no entry')
    expect((await stage.row(sagaId)).state).toEqual(apply(before.state, entry, entry.seq))
  })

  test('is refused if the saga has moved since it was decided', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const before = await stage.row(sagaId)
    expect(await stage.api.mailbox.abandon(sagaId, by, { version: 7 })).toMatchObject({
      is: 'refused',
      version: 1,
    })
    expect(await stage.row(sagaId)).toEqual(before)
    expect((await stage.api.mailbox.abandon(sagaId, by, { version: 1 })).is).toBe('posted')
  })

  test('asked for twice happens once', async () => {
    const stage = await createStage()
    const sagaId = await waiting(stage)
    const answers = await Promise.all([1, 2, 3].map(() => stage.api.mailbox.abandon(sagaId, by)))
    expect(answers.filter(({ is }) => is === 'posted')).toHaveLength(1)
    expect(answers.filter(({ is }) => is === 'ended')).toHaveLength(2)
    expect(await stage.history(sagaId)).toHaveLength(2)
  })
})
