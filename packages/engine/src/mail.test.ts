import { describe, expect, test } from 'vitest'
import { createStage, rejection, sagaOf } from './testing.ts'

describe('letters that are read together are all acted on, though the first would have ended the saga (S25, M1)', () => {
  test("an operator's verb, and a cancel after it", async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('aside', {
      one: {
        action: () => 1,
        compensation: () => {
          throw rejection('never')
        },
      },
      two: {
        action: () => {
          throw rejection('no')
        },
      },
    })
    const first = await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await stage.eventually(sagaId, ({ status }) => status === 'stuck')
    await first.stop()

    const by = { actor: 'ada', reason: 'done by hand' }
    await stage.store.mailbox.post(sagaId, { kind: 'verb', verb: 'markCompensated', ...by })
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'bob', reason: 'enough' })
    await stage.worker({ sagas: [saga] })

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', compensatedSteps: ['one'] })
    const kinds = (await stage.history(sagaId)).slice(-2).map(({ kind }) => kind)
    expect(kinds).toEqual(['cancelRequested', 'markedCompensated'])
  })

  test('a cancel while a signal is waited for, and the signal after it: it leads neither past the pivot nor to the end', async () => {
    const stage = await createStage()
    for (const after of ['the pivot', 'the end']) {
      const wait = { name: 'wait', action: { type: 'signal', signal: 'go' }, timeoutMs: 60_000 }
      const pivot = { name: 'pay', action: { type: 'http', url: 'http://127.0.0.1:9' }, pivot: true }
      const name = after === 'the end' ? 'ending' : 'paying'
      const first = await stage.worker()
      const sagaId = await stage.start({ name, steps: after === 'the end' ? [wait] : [wait, pivot] })
      await first.stop()

      await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'enough' })
      await stage.store.mailbox.post(sagaId, { kind: 'signal', signal: 'go', payload: 1 })
      const second = await stage.worker()

      expect(await stage.ended(sagaId), after).toMatchObject({ status: 'cancelled', completedSteps: [] })
      await second.stop()
    }
  })

  test('a signal, and the cancel after it: nothing was dispatched over it yet, and so it holds (S25)', async () => {
    const stage = await createStage()
    for (const before of ['the pivot', 'the end']) {
      const wait = { name: 'wait', action: { type: 'signal', signal: 'go' }, timeoutMs: 60_000 }
      const pivot = { name: 'pay', action: { type: 'http', url: 'http://127.0.0.1:9' }, pivot: true }
      const name = before === 'the end' ? 'ending' : 'paying'
      const first = await stage.worker()
      const sagaId = await stage.start({ name, steps: before === 'the end' ? [wait] : [wait, pivot] })
      await first.stop()

      await stage.store.mailbox.post(sagaId, { kind: 'signal', signal: 'go', payload: 1 })
      await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'enough' })
      const second = await stage.worker()

      expect(await stage.ended(sagaId), before).toMatchObject({ status: 'cancelled' })
      const kinds = (await stage.history(sagaId)).map(({ kind }) => kind)
      expect(kinds.filter((kind) => kind === 'cancelRequested')).toHaveLength(1)
      await second.stop()
    }
  })

  test('a cancel while a retry is waited for, and a late result after it', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('waiting', {
      only: {
        action: () => {
          throw new Error('later')
        },
        options: { retry: { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } },
      },
    })
    const first = await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await stage.eventually(sagaId, ({ attempts }) => attempts.only === 2)
    await first.stop()

    const late = { step: 'only', direction: 'action', attempt: 1, outcome: 'succeeded' } as const
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'enough' })
    await stage.store.mailbox.post(sagaId, { kind: 'lateResult', ...late })
    await stage.worker({ sagas: [saga] })

    expect((await stage.ended(sagaId)).status).toBe('cancelled')
    const kinds = (await stage.history(sagaId)).slice(-2).map(({ kind }) => kind)
    expect(kinds).toEqual(['lateResult', 'cancelRequested'])
  })
})

test('a letter that changes nothing is read once: its saga waits on as it did (M1, F28)', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('waiting', {
    first: { action: () => 1 },
    later: {
      action: () => {
        throw new Error('later')
      },
      options: { retry: { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } },
    },
  })
  await stage.worker({ sagas: [saga] })
  const sagaId = await stage.start(document)
  await stage.eventually(sagaId, ({ attempts }) => attempts.later === 2)
  const place = async () => {
    const [row] = await stage.query(
      'SELECT epoch::int, mail_seq = mail_seen AS read, due_at > now() AS waits FROM sagas WHERE saga_id = $1',
      [sagaId],
    )
    return row
  }

  // Its step was decided while the callback was on its way.
  const end = { result: null }
  await stage.store.mailbox.post(sagaId, { kind: 'callback', step: 'first', direction: 'action', end })

  await expect.poll(place, { timeout: 60_000 }).toMatchObject({ read: true, waits: true })
  const { length } = await stage.history(sagaId)
  expect(await place()).toMatchObject({ epoch: 3 })
  expect(length).toBe(3)
})
