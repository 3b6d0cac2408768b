import { describe, expect, test } from 'vitest'
import type { Claimed } from './claims.ts'
import { createStage, order, type Stage } from './testing.ts'

const letter = { kind: 'cancel', actor: 'ada', reason: 'changed my mind' } as const

/** So many sagas of a queue, due one after the other: the first has waited longest. By their places in that order. */
async function due(
  stage: Stage,
  count: number,
  queue = 'order',
  agoS = 3_600,
  name = queue,
): Promise<string[]> {
  const definition = await stage.register({ ...order, name, queue })
  const ids = await Promise.all(Array.from({ length: count }, () => stage.start(definition)))
  await stage.sql(
    `UPDATE sagas s SET due_at = now() - interval '1 second' * ($2::int - i.n)
     FROM unnest($1::uuid[]) WITH ORDINALITY AS i(saga_id, n) WHERE s.saga_id = i.saga_id`,
    [ids, agoS],
  )
  return ids
}

const idsOf = (claimed: Claimed[]) => claimed.map(({ lease }) => lease.sagaId)

describe('a claim', () => {
  test('takes what is due under a new epoch, with all that is needed to run it', async () => {
    const stage = await createStage()
    const [sagaId = ''] = await due(stage, 1)
    const worker = await stage.worker()
    const [claimed, ...more] = await worker.claims.claim(['order'], 10)
    expect(more).toEqual([])
    const row = await stage.row(sagaId)
    expect(row).toMatchObject({ owner: worker.workerId, due_at: null, epoch: 1, version: 1, leases_lost: 0 })
    expect(claimed).toMatchObject({
      lease: { sagaId, epoch: 1 },
      definition: { name: 'order', version: 1 },
      version: 1,
      state: row.state,
      leasesLost: 0,
      mailSeq: 0,
      mailSeen: 0,
    })
    expect(await worker.claims.claim(['order'], 10)).toEqual([])
  })

  test('takes the ones that have waited longest, up to its limit (order of due time)', async () => {
    const stage = await createStage()
    const ids = await due(stage, 9)
    const worker = await stage.worker()
    for (const places of [
      [0, 3],
      [3, 6],
      [6, 9],
    ] as const) {
      const claimed = await worker.claims.claim(['order'], 3)
      expect(idsOf(claimed)).toEqual(ids.slice(...places))
    }
  })

  test('leaves alone what is not due yet, and says when it will be', async () => {
    const stage = await createStage()
    const [, second] = await due(stage, 2)
    await stage.sql(`UPDATE sagas SET due_at = now() + interval '1 hour'`)
    await stage.sql(`UPDATE sagas SET due_at = now() + interval '1 minute' WHERE saga_id = $1`, [second])
    const worker = await stage.worker()
    expect(await worker.claims.claim(['order'], 10)).toEqual([])
    const { dueMs, suspectWaitingMs } = await worker.claims.nextDueMs(['order'])
    expect(dueMs).toBeGreaterThan(55_000)
    expect(dueMs).toBeLessThanOrEqual(60_000)
    expect(suspectWaitingMs).toBeUndefined()
    expect(await worker.claims.nextDueMs(['another'])).toEqual({
      dueMs: undefined,
      suspectWaitingMs: undefined,
    })
  })

  test('of several workers at once takes each saga once (F03)', async () => {
    const stage = await createStage()
    const ids = await due(stage, 120)
    const workers = [await stage.worker(), await stage.worker(), await stage.worker()]
    const taken = await Promise.all(
      workers.map(async ({ claims }) => {
        const mine: Claimed[] = []
        for (;;) {
          const some = await claims.claim(['order'], 7)
          if (some.length === 0) return mine
          mine.push(...some)
        }
      }),
    )
    const all = taken.flatMap(idsOf)
    expect(all).toHaveLength(120)
    expect(new Set(all)).toEqual(new Set(ids))
    expect(taken.flat().every(({ lease }) => lease.epoch === 1)).toBe(true)
  })

  test('passes by a row that somebody has locked, and does not wait for it (F07)', async () => {
    const stage = await createStage()
    const [first, second] = await due(stage, 2)
    const worker = await stage.worker()
    await stage.sql('BEGIN')
    await stage.sql('SELECT 1 FROM sagas WHERE saga_id = $1 FOR UPDATE', [first])
    expect(idsOf(await worker.claims.claim(['order'], 10))).toEqual([second])
    await stage.sql('COMMIT')
    expect(idsOf(await worker.claims.claim(['order'], 10))).toEqual([first])
  })

  test.each(['nobody has heard of it', 'it has been declared dead'])(
    'by a worker takes nothing when %s (S17)',
    async (why) => {
      const stage = await createStage()
      const ids = await due(stage, 1)
      const worker = await stage.worker({ registered: why !== 'nobody has heard of it' })
      await stage.sql(`UPDATE workers SET ended_at = now(), end_reason = 'leaseExpired'`)
      expect(await worker.claims.claim(['order'], 10)).toEqual([])
      await stage.sql('UPDATE sagas SET leases_lost = 2')
      expect(await worker.claims.claimSuspect(['order'])).toEqual([])
      await stage.sql('UPDATE sagas SET owner = $1, due_at = NULL', [worker.workerId])
      const bucket = Number.parseInt(ids[0]?.slice(-2) ?? '', 16)
      expect(await worker.claims.takeAgain([{ bucket, sagaId: ids[0] ?? '', epoch: 0 }])).toEqual([])
    },
  )
})

describe('the definitions of one queue take turns (S20)', () => {
  const namesOf = (claimed: Claimed[]) => claimed.map(({ definition }) => definition.name)
  const turnsOf = (names: string[]) => names.filter((name, n) => name !== names[n - 1])

  test('from the one after that which had the last turn, and round; of each the oldest first', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const idsOfB = await due(stage, 3, 'shared', 10, 'b')
    await due(stage, 3, 'shared', 3_600, 'a')
    await due(stage, 3, 'shared', 60, 'c')
    const claim = (limit: number, after: string) =>
      worker.claims.claim(['shared'], limit, { after: new Map([['shared', after]]) })

    const first = await claim(2, 'a')
    expect(idsOf(first)).toEqual(idsOfB.slice(0, 2))
    expect(namesOf(await claim(3, 'b'))).toEqual(['c', 'c', 'c'])
    expect(namesOf(await claim(9, 'b'))).toEqual(['a', 'a', 'a', 'b'])
  })

  test('so that one with thousands does not keep another waiting with its ten (F07)', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    await due(stage, 1, 'shared', 3_600, 'many')
    await stage.sql(`
      INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                         created_at, updated_at, due_at)
      SELECT get_byte(uuid_send(id), 15), id, s.definition_name, 1, s.queue, s.status, s.state, 'h', now(), now(), s.due_at
      FROM sagas s, LATERAL (SELECT gen_random_uuid() AS id FROM generate_series(1, 5000) AS n WHERE s.saga_id IS NOT NULL) x`)
    await due(stage, 10, 'shared', 10, 'few')
    const after = new Map<string, string>()
    const turns: string[][] = []
    for (let n = 0; n < 4; n++) {
      const claimed = await worker.claims.claim(['shared'], 50, { after })
      for (const { queue, definition } of claimed) after.set(queue, definition.name)
      turns.push(turnsOf(namesOf(claimed)))
    }
    // From the beginning: the few come first by name, are done with, and are asked for again after each turn of the many.
    expect(turns).toEqual([['few', 'many'], ['many'], ['many'], ['many']])
    await due(stage, 10, 'shared', 10, 'zero')
    expect(turnsOf(namesOf(await worker.claims.claim(['shared'], 50, { after })))).toEqual(['zero', 'many'])
  })

  test('and one whose sagas all wait for later, or are suspects, loses its turn', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    await due(stage, 2, 'shared', 60, 'later')
    await stage.sql(`UPDATE sagas SET due_at = now() + interval '1 hour'`)
    await due(stage, 2, 'shared', 60, 'suspect')
    await stage.sql(`UPDATE sagas SET leases_lost = 2 WHERE definition_name = 'suspect'`)
    const ids = await due(stage, 2, 'shared', 60, 'zz')
    expect(idsOf(await worker.claims.claim(['shared'], 9))).toEqual(ids)
    const { dueMs } = await worker.claims.nextDueMs(['shared'])
    expect(dueMs).toBeGreaterThan(3_500_000)
  })
})

describe('what becomes free goes to whoever has least (S20)', () => {
  const shared = (name: string) => ({ queue: 'shared', name })
  const perName = (claimed: Claimed[]) => Object.groupBy(claimed, ({ definition }) => definition.name)

  test('first what nothing is held of, then the fewest', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    for (const name of ['a', 'b', 'c', 'd']) await due(stage, 2, 'shared', 3_600, name)
    const held = [shared('c'), shared('a')]
    const claimed = await worker.claims.claim(['shared'], 7, { held })
    expect(claimed.map(({ definition }) => definition.name)).toEqual(['b', 'b', 'd', 'd', 'c', 'c', 'a'])
  })

  test('no more of one than its share; what is held of a queue that is not served gives nothing', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const many = await due(stage, 9, 'shared', 3_600, 'many')
    const few = await due(stage, 2, 'shared', 10, 'more')
    await due(stage, 2, 'other')
    const held = [{ queue: 'other', name: 'other' }]
    expect(idsOf(await worker.claims.claim(['shared'], 9, { share: 3, held }))).toEqual([
      ...many.slice(0, 3),
      ...few,
    ])
    const again = await worker.claims.claim(['shared'], 9, { share: 3, held: [shared('many'), ...held] })
    expect(idsOf(again)).toEqual(many.slice(3, 6))
  })

  test('letters for many do not keep another waiting, whether it has letters or not (F07)', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const many = await due(stage, 40, 'shared', 3_600, 'many')
    const few = await due(stage, 4, 'shared', 10, 'few')
    for (const sagaId of [...many, ...few.slice(0, 2)]) await stage.api.mailbox.post(sagaId, letter)
    await stage.sql(`UPDATE sagas SET due_at = now() - interval '1 hour' WHERE definition_name = 'many'`)
    const { many: some = [], few: all = [] } = perName(
      await worker.claims.claim(['shared'], 20, { mail: 10, held: [shared('many')] }),
    )
    expect([some.length, new Set(idsOf(all))]).toEqual([16, new Set(few)])
  })
})

describe('queues (S20)', () => {
  test('are served only by those who serve them', async () => {
    const stage = await createStage()
    const [mine] = await due(stage, 1, 'mine')
    await due(stage, 1, 'theirs')
    const worker = await stage.worker()
    expect(idsOf(await worker.claims.claim(['mine', 'empty'], 10))).toEqual([mine])
    expect(await worker.claims.claim([], 10)).toEqual([])
  })

  test('are served in the order asked for, each oldest first, until there is no more room', async () => {
    const stage = await createStage()
    const fast = await due(stage, 4, 'fast', 60)
    const slow = await due(stage, 4, 'slow', 3_600)
    const worker = await stage.worker()
    expect(idsOf(await worker.claims.claim(['fast', 'slow'], 6))).toEqual([...fast, ...slow.slice(0, 2)])
    expect(idsOf(await worker.claims.claim(['slow', 'fast'], 6))).toEqual(slow.slice(2))
  })

  test('do not keep anybody from reading mail: any worker takes a saga that has some, and first', async () => {
    const stage = await createStage()
    const mine = await due(stage, 3, 'mine')
    const theirs = await due(stage, 2, 'theirs', 60)
    await stage.api.mailbox.post(theirs[1] ?? '', letter)
    const worker = await stage.worker()
    const claimed = await worker.claims.claim(['mine'], 3)
    expect(idsOf(claimed)).toEqual([theirs[1], ...mine.slice(0, 2)])
    expect(claimed[0]).toMatchObject({ mailSeq: 1, mailSeen: 0 })
  })

  test('give a saga with mail once, though it is due in a queue of ours as well', async () => {
    const stage = await createStage()
    const [, second] = await due(stage, 2)
    await stage.api.mailbox.post(second ?? '', letter)
    const worker = await stage.worker()
    const claimed = await worker.claims.claim(['order'], 10)
    expect(claimed).toHaveLength(2)
    expect(idsOf(claimed)[0]).toBe(second)
  })

  test('do not give mail for a saga that somebody holds', async () => {
    const stage = await createStage()
    const [sagaId = ''] = await due(stage, 1)
    const [holder, other] = [await stage.worker(), await stage.worker()]
    await holder.claims.claim(['order'], 1)
    await stage.api.mailbox.post(sagaId, letter)
    expect(await other.claims.claim(['order'], 10)).toEqual([])
  })
})

describe('a suspect, whose last two workers died over it (S19)', () => {
  test('is claimed alone, the one that has waited longest, and by nobody in passing (F14)', async () => {
    const stage = await createStage()
    const ids = await due(stage, 4)
    await stage.sql('UPDATE sagas SET leases_lost = 2 WHERE saga_id = ANY ($1)', [ids.slice(1, 3)])
    const worker = await stage.worker()
    expect(idsOf(await worker.claims.claim(['order'], 10))).toEqual([ids[0], ids[3]])
    expect((await worker.claims.nextDueMs(['order'])).suspectWaitingMs).toBeGreaterThan(3_000_000)
    const [suspect, ...more] = await worker.claims.claimSuspect(['order'])
    expect(more).toEqual([])
    expect(suspect).toMatchObject({ lease: { sagaId: ids[1] }, leasesLost: 2 })
    expect(idsOf(await worker.claims.claimSuspect(['order']))).toEqual([ids[2]])
    expect(await worker.claims.claimSuspect(['order'])).toEqual([])
    expect((await worker.claims.nextDueMs(['order'])).suspectWaitingMs).toBeUndefined()
  })

  test('of a queue nobody serves still gets its mail', async () => {
    const stage = await createStage()
    const [sagaId = ''] = await due(stage, 1, 'theirs')
    await stage.sql('UPDATE sagas SET leases_lost = 2')
    const worker = await stage.worker()
    expect(await worker.claims.claimSuspect(['mine'])).toEqual([])
    expect((await worker.claims.nextDueMs(['mine'])).suspectWaitingMs).toBeUndefined()
    await stage.api.mailbox.post(sagaId, letter)
    expect(await worker.claims.claim(['mine'], 10)).toEqual([])
    expect((await worker.claims.nextDueMs(['mine'])).suspectWaitingMs).toBeGreaterThanOrEqual(0)
    expect(idsOf(await worker.claims.claimSuspect(['mine']))).toEqual([sagaId])
  })
})

describe('taking again', () => {
  test('gives what is ours a new epoch, under which the old one is stale', async () => {
    const stage = await createStage()
    await due(stage, 2)
    const worker = await stage.worker()
    const claimed = await worker.claims.claim(['order'], 2)
    const again = await worker.claims.takeAgain(claimed.map(({ lease }) => lease))
    expect(new Set(idsOf(again))).toEqual(new Set(idsOf(claimed)))
    expect(again.map(({ lease, leasesLost }) => ({ epoch: lease.epoch, leasesLost }))).toEqual([
      { epoch: 2, leasesLost: 0 },
      { epoch: 2, leasesLost: 0 },
    ])
    expect(await worker.claims.takeAgain(claimed.map(({ lease }) => lease))).toEqual([])
  })

  test('gives nothing of what belongs to another by now', async () => {
    const stage = await createStage()
    await due(stage, 1)
    const [one, other] = [await stage.worker(), await stage.worker()]
    const leases = (await one.claims.claim(['order'], 1)).map(({ lease }) => lease)
    expect(await other.claims.takeAgain(leases)).toEqual([])
    await one.commits.release(leases[0] ?? { bucket: 0, sagaId: '', epoch: 0 }, 0)
    expect(await one.claims.takeAgain(leases)).toEqual([])
  })
})
