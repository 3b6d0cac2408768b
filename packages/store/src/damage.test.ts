import { describe, expect, test } from 'vitest'
import { createStage, heldAs, type Stage } from './testing.ts'

/** S29, S30b: whatever the state column holds, the saga can be read, listed, cancelled, parked and abandoned. */

const damages: [string, (state: object) => unknown][] = [
  ['null', () => null],
  ['an array', () => ['not', 'a', 'state']],
  ['a string', () => '{"status": "running"}'],
  ['a number', () => 42],
  ['an empty object', () => ({})],
  [
    'an object of another shape',
    () => ({ status: 'running', completedSteps: 'all of them', attempts: [1, 2] }),
  ],
  ['a state with half its fields', (state) => ({ ...state, context: undefined, attempts: undefined })],
  [
    'a state with a step done of which the history knows nothing',
    (state) => ({ ...state, completedSteps: ['step1'], bytes: { inline: 0, total: 9_000 } }),
  ],
  [
    'a state that refers to an edited input which no history can have',
    (state) => ({ ...state, inputOverrides: { step1: { action: { generation: 2, seq: 1e15 } } } }),
  ],
  ['ten megabytes', (state) => ({ ...state, context: { input: 'x'.repeat(10_000_000) } })],
  [
    'a megabyte of another shape',
    () => ({ status: 'running', junk: Array.from({ length: 50_000 }, () => 'twenty bytes of junk') }),
  ],
]

async function damaged(damage: (state: object) => unknown): Promise<{ stage: Stage; sagaId: string }> {
  const stage = await createStage()
  const definition = await stage.register()
  const sagaId = await stage.start(definition)
  const { state } = await stage.row(sagaId)
  await stage.sql('UPDATE sagas SET state = $2::jsonb WHERE saga_id = $1', [
    sagaId,
    JSON.stringify(damage(state)),
  ])
  return { stage, sagaId }
}

describe.each(damages)('a saga whose state is %s', (_, damage) => {
  test('can be read and listed, by what its row knows', async () => {
    const { stage, sagaId } = await damaged(damage)
    const healthy = await stage.start(await stage.register())
    const known = { sagaId, definition: { name: 'order', version: 1 }, status: 'running', version: 1 }
    expect(await stage.api.queries.saga(sagaId)).toMatchObject(known)
    const { items } = await stage.api.queries.sagas({}, { limit: 10 })
    expect(new Set(items.map((item) => item.sagaId))).toEqual(new Set([healthy, sagaId]))
    expect(items.find((item) => item.sagaId === sagaId)).toMatchObject(known)
    expect(await stage.api.history.show(sagaId, { limit: 9 })).toHaveLength(1)
  })

  test('can be cancelled, claimed and parked, and then goes to a person who can read why', async () => {
    const { stage, sagaId } = await damaged(damage)
    const posted = await stage.api.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'why' })
    expect(posted).toMatchObject({ is: 'posted', status: 'running' })
    const worker = await stage.worker()
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('it was not claimed')
    if (!('unreadable' in claimed.state)) heldAs(claimed)
    await worker.commits.park(
      claimed.lease,
      'unreadable' in claimed.state ? claimed.state.unreadable : 'anything',
      claimed.mailSeq,
    )
    expect(await stage.row(sagaId)).toMatchObject({ status: 'stuck', owner: null, due_at: null, version: 2 })
    expect(await stage.api.queries.saga(sagaId)).toMatchObject({
      status: 'stuck',
      stuck: { reason: 'undecidable' },
    })
    expect((await stage.api.queries.sagas({ status: ['stuck'] }, { limit: 10 })).items).toHaveLength(1)
    expect(await stage.api.history.read(sagaId, { limit: 9 })).toMatchObject([
      { kind: 'sagaStarted' },
      { kind: 'parked' },
    ])
    expect((await stage.api.queries.resting([sagaId])).get(sagaId)).toMatchObject({ status: 'stuck' })
  })

  test('can be abandoned, held or not (F11)', async () => {
    for (const held of [false, true]) {
      const { stage, sagaId } = await damaged(damage)
      if (held) await (await stage.worker()).claims.claim(['order'], 1)
      expect(await stage.api.mailbox.abandon(sagaId, { actor: 'ada', reason: 'why' })).toMatchObject({
        is: 'posted',
        version: 2,
      })
      expect(await stage.row(sagaId)).toMatchObject({ status: 'abandoned', owner: null, due_at: null })
      expect(await stage.api.queries.saga(sagaId)).toMatchObject({ status: 'abandoned' })
      expect(await stage.api.history.read(sagaId, { limit: 9 })).toMatchObject([
        { kind: 'sagaStarted' },
        { kind: 'abandoned' },
      ])
    }
  })

  test('is freed with the others when its worker dies (F15)', async () => {
    const { stage, sagaId } = await damaged(damage)
    const [dead, living] = [await stage.worker(), await stage.worker()]
    await dead.claims.claim(['order'], 1)
    await dead.session.stop(dead.workerId)
    expect(await living.session.sweep(10)).toBe(1)
    expect(await stage.row(sagaId)).toMatchObject({ owner: null, leases_lost: 1, epoch: 2 })
  })
})

describe('beside the state', () => {
  test('tags that are no strings do not hide the saga', async () => {
    const { stage, sagaId } = await damaged((state) => state)
    await stage.sql(`UPDATE sagas SET tags = '{"a": 1}'`)
    expect(await stage.api.queries.saga(sagaId)).toMatchObject({ sagaId, tags: {} })
  })

  test('an entry that cannot be read says so in its place', async () => {
    const { stage, sagaId } = await damaged((state) => state)
    await stage.sql(`UPDATE saga_history SET body = '{"what": "is this"}'`)
    expect(await stage.api.history.show(sagaId, { limit: 9 })).toMatchObject([
      { seq: 1, kind: 'unreadable', storedKind: 'sagaStarted' },
    ])
    await expect(stage.api.history.read(sagaId, { limit: 9 })).rejects.toThrow('history entry 1')
  })

  test.each([['infinity'], ['-infinity'], ['290000-01-01']])(
    'an entry of the instant %s says so in its place, and hides no value of another',
    async (at) => {
      const { stage, sagaId } = await damaged((state) => ({
        ...state,
        completedSteps: ['step1'],
        context: {},
        bytes: { inline: 0, total: 9_000 },
      }))
      const result = { kind: 'attemptSucceeded', step: 'step1', direction: 'action', attempt: 1 }
      await stage.sql(
        `INSERT INTO saga_history (bucket, saga_id, seq, at, kind, epoch, body)
         SELECT bucket, saga_id, 2, now(), 'attemptSucceeded', 1, $2::json FROM sagas WHERE saga_id = $1
         UNION ALL
         SELECT bucket, saga_id, 3, $3::timestamptz, 'attemptSucceeded', 1, $2::json FROM sagas WHERE saga_id = $1`,
        [sagaId, JSON.stringify({ ...result, outcome: 'succeeded', result: 7, resultBytes: 1, to: {} }), at],
      )
      const [, , third] = await stage.api.history.show(sagaId, { limit: 9 })
      expect(third).toMatchObject({ seq: 3, kind: 'unreadable', storedKind: 'attemptSucceeded' })
      expect(await stage.api.queries.saga(sagaId)).toMatchObject({ context: { step1: 7 } })
    },
  )

  test('a letter of a kind nobody knows is an error for its reader, which is no outage', async () => {
    const { stage, sagaId } = await damaged((state) => state)
    await stage.api.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'why' })
    await stage.sql(`UPDATE saga_mail SET body = '{"kind": "of a later release"}'`)
    const { failureOf } = await import('./failure.ts')
    expect(failureOf(await stage.api.mailbox.read(sagaId, 0).catch((error: unknown) => error))).toBe(
      'statement',
    )
  })
})
