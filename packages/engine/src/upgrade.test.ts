import { expect, test } from 'vitest'
import { createStage, sagaOf } from './testing.ts'

/** Workers of two releases run beside each other while one is rolled out (F80). */

test('what a newer release has added to a state is still there after an older one has run the saga', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('newer', { one: { action: () => 1 }, two: { action: () => 2 } })
  const sagaId = await stage.start(document)
  await stage.query(`UPDATE sagas SET state = state || '{"added": {"later": [1]}}' WHERE saga_id = $1`, [
    sagaId,
  ])
  await stage.worker({ sagas: [saga] })

  await stage.ended(sagaId)

  const [row] = await stage.query(`SELECT state->'added' AS added FROM sagas WHERE saga_id = $1`, [sagaId])
  expect(row).toEqual({ added: { later: [1] } })
})

test('a letter that only a newer release can read parks nothing: the saga is left to a worker that can, and offered again a little later (F28)', async () => {
  const stage = await createStage()
  const { saga, document } = sagaOf('letter', { one: { action: () => 1 } })
  const sagaId = await stage.start(document)
  await stage.query('UPDATE sagas SET mail_seq = mail_seq + 1 WHERE saga_id = $1', [sagaId])
  await stage.query(
    `INSERT INTO saga_mail (bucket, saga_id, seq, body) SELECT bucket, saga_id, 1, '{"kind": "fromTheFuture"}' FROM sagas`,
  )
  await stage.worker({ sagas: [saga] })
  const claimedAndLetGo = async () => {
    const [row] = await stage.query(
      'SELECT epoch = 2 AND owner IS NULL AND due_at > now() AS "letGo", status, mail_seen FROM sagas',
    )
    return row
  }
  await expect
    .poll(claimedAndLetGo, { timeout: 60_000 })
    .toMatchObject({ letGo: true, status: 'running', mail_seen: '0' })

  // As if a worker of the newer release had read it.
  const read = 'UPDATE sagas SET mail_seen = mail_seq, due_at = now() WHERE owner IS NULL RETURNING 1 AS done'
  await expect.poll(() => stage.query(read)).toEqual([{ done: 1 }])
  expect((await stage.ended(sagaId)).status).toBe('completed')
})
