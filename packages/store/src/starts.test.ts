import type { SagaState } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import type { Claimed } from './claims.ts'
import { ConnectionLost } from './failure.ts'
import { bucketOf, bucketOfKey, isSagaId, newSagaId } from './ids.ts'
import type { Outdated, Slot, StartAnswer } from './starts.ts'
import { openApiStore } from './store.ts'
import { createStage, eventually, order, orderOf, requestFor, type Stage } from './testing.ts'

async function rowsOf(stage: Stage): Promise<{ sagas: number; entries: number }> {
  const [counts] = await stage.sql<{ sagas: number; entries: number }>(
    'SELECT (SELECT count(*) FROM sagas) AS sagas, (SELECT count(*) FROM saga_history) AS entries',
  )
  return counts ?? { sagas: -1, entries: -1 }
}

function byKind(answers: (StartAnswer | Outdated)[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { is } of answers) counts[is] = (counts[is] ?? 0) + 1
  return counts
}

describe('a start', () => {
  test('is one row, due at once, and one entry, from which the state follows', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const input = { orderId: 'o-1', ключ: '😀', nested: [1, 1e-9, null] }
    const more = { input, correlationId: 'c', traceparent: 't', tags: { shop: 'é' }, deadlineMs: 60_000 }
    const answer = await stage.api.starts.start(requestFor(definition, more))
    expect(answer).toMatchObject({
      is: 'started',
      state: { status: 'running', context: { input }, correlationId: 'c' },
    })
    expect(isSagaId(answer.sagaId)).toBe(true)
    const [row] = await stage.sql<{ state: SagaState; bucket: number; overdue: boolean }>(
      'SELECT *, due_at <= now() AS overdue FROM sagas',
    )
    expect(row).toMatchObject({
      bucket: bucketOf(answer.sagaId),
      saga_id: answer.sagaId,
      queue: 'order',
      status: 'running',
      overdue: true,
      version: 1,
      epoch: 0,
      owner: null,
      start_key: null,
      correlation_id: 'c',
      tags: { shop: 'é' },
    })
    expect(row?.state).toEqual('state' in answer && answer.state)
    expect(Date.parse(row?.state.deadlineAt ?? '') - Date.parse(row?.state.startedAt ?? '')).toBe(60_000)
    const [first] = await stage.api.history.read(answer.sagaId, { limit: 10 })
    expect(first).toMatchObject({ seq: 1, kind: 'sagaStarted', input, at: row?.state.startedAt })
  })

  test('without a key is always another saga', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => stage.api.starts.start(requestFor(definition))),
    )
    expect(byKind(answers)).toEqual({ started: 20 })
    expect(new Set(answers.map(({ sagaId }) => sagaId)).size).toBe(20)
  })
})

describe('a key (S23)', () => {
  test('makes one saga of a hundred equal starts at once, from two processes (F09)', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const other = await openApiStore({ databaseUrl: stage.url })
    const request = requestFor(definition, { sagaKey: 'o-1' })
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) => (n % 2 === 0 ? stage.api : other).starts.start(request)),
    )
    await other.close()
    expect(byKind(answers)).toEqual({ started: 1, repeated: 99 })
    expect(new Set(answers.map(({ sagaId }) => sagaId)).size).toBe(1)
    expect(await rowsOf(stage)).toEqual({ sagas: 1, entries: 1 })
  })

  test('makes one saga of each of many, though two processes send them in opposite order, without a deadlock (F36)', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    const sessions = async () => {
      // Within a transaction this view would never change.
      await stage.sql('SELECT pg_stat_clear_snapshot()')
      return stage.sql<{ waits: boolean }>(
        `SELECT wait_event_type IS NOT DISTINCT FROM 'Lock' AS waits FROM pg_stat_activity WHERE datname = current_database()`,
      )
    }
    const before = (await sessions()).length
    const one = await openApiStore({ databaseUrl: stage.url })
    const other = await openApiStore({ databaseUrl: stage.url })
    // Somebody holds a key in the middle, so that both are half done before either can go on.
    const held = 'saga:order:o-7'
    const sagaId = newSagaId(0, bucketOfKey(held))
    await stage.sql('BEGIN')
    await stage.sql(
      `INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                          created_at, updated_at, due_at, start_key, saga_key)
       VALUES ($1, $2, 'order', 1, 'order', 'running', '{"status": "running"}', 'h', now(), now(), now(), $3, 'o-7')`,
      [bucketOf(sagaId), sagaId, held],
    )
    const keys = Array.from({ length: 32 }, (_, n) => `o-${n}`)
    const answering = Promise.all([
      ...keys.map((sagaKey) => one.starts.start(requestFor(definition, { sagaKey }))),
      ...keys.toReversed().map((sagaKey) => other.starts.start(requestFor(definition, { sagaKey }))),
    ])
    await eventually('both wait', async () =>
      (await sessions()).filter(({ waits }) => waits).length >= 2 ? true : undefined,
    )
    await stage.sql('ROLLBACK')
    expect(byKind(await answering)).toEqual({ started: 32, repeated: 32 })
    await Promise.all([one.close(), other.close()])
    // A session tells how it fared at the latest when it ends.
    await eventually('their sessions are over', async () =>
      (await sessions()).length === before ? true : undefined,
    )
    const deadlocks = 'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()'
    expect(await stage.sql(deadlocks)).toEqual([{ deadlocks: 0 }])
  })

  test('with another request is a conflict, and names the saga that has it', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const sagaId = await stage.start(definition, { sagaKey: 'o-1', requestHash: 'one' })
    expect(
      await stage.api.starts.start(requestFor(definition, { sagaKey: 'o-1', requestHash: 'two' })),
    ).toEqual({ is: 'conflict', sagaId })
    expect(
      await stage.api.starts.start(requestFor(definition, { sagaKey: 'o-1', requestHash: 'one' })),
    ).toEqual({ is: 'repeated', sagaId })
  })

  test.each(['sagaKey', 'idempotencyKey'] as const)(
    'given twice within one batch is one saga (%s)',
    async (kind) => {
      const stage = await createStage()
      const definition = await stage.register()
      const answers = await Promise.all(
        ['one', 'one', 'two'].map((requestHash) =>
          stage.api.starts.start(requestFor(definition, { [kind]: 'o-1', requestHash })),
        ),
      )
      const first = answers.findIndex(({ is }) => is === 'started')
      const kinds =
        first === 2
          ? ['conflict', 'conflict', 'started']
          : [
              ['started', 'repeated'],
              ['repeated', 'started'],
            ][first]?.concat('conflict')
      expect(answers.map(({ is }) => is)).toEqual(kinds)
      expect(new Set(answers.map(({ sagaId }) => sagaId)).size).toBe(1)
      expect(await rowsOf(stage)).toEqual({ sagas: 1, entries: 1 })
    },
  )

  test('of the saga beats the Idempotency-Key, which is recorded', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const both = requestFor(definition, { sagaKey: 'o-1', idempotencyKey: 'i-1' })
    const { sagaId } = await stage.api.starts.start(both)
    expect(await stage.api.starts.start({ ...both, idempotencyKey: 'i-2' })).toEqual({
      is: 'repeated',
      sagaId,
    })
    expect(await stage.api.starts.start({ ...both, sagaKey: 'o-2' })).toMatchObject({ is: 'started' })
    expect(await stage.api.starts.start(requestFor(definition, { idempotencyKey: 'i-1' }))).toMatchObject({
      is: 'started',
    })
    const [row] = await stage.sql('SELECT * FROM sagas WHERE saga_id = $1', [sagaId])
    expect(row).toMatchObject({ start_key: 'saga:order:o-1', saga_key: 'o-1', idempotency_key: 'i-1' })
    expect(bucketOf(sagaId)).toBe(bucketOfKey('saga:order:o-1'))
  })

  test('of the saga belongs to its definition, whatever the version; an Idempotency-Key to the installation', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const newer = await stage.register({ ...order, deadlineMs: 1_000 })
    const another = await stage.register({ ...order, name: 'another' })
    const sagaId = await stage.start(definition, { sagaKey: 'k' })
    expect(await stage.api.starts.start(requestFor(newer, { sagaKey: 'k' }))).toEqual({
      is: 'repeated',
      sagaId,
    })
    expect(await stage.api.starts.start(requestFor(another, { sagaKey: 'k' }))).toMatchObject({
      is: 'started',
    })
    const byRequest = await stage.start(definition, { idempotencyKey: 'k' })
    const answer = await stage.api.starts.start(
      requestFor(another, { idempotencyKey: 'k', requestHash: 'of another' }),
    )
    expect(answer).toEqual({ is: 'conflict', sagaId: byRequest })
  })

  test('is not confused with another that looks like it', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const another = await stage.register({ ...order, name: 'order-a' })
    const requests = [
      requestFor(definition, { sagaKey: 'a:b' }),
      requestFor(another, { sagaKey: 'b' }),
      requestFor(definition, { idempotencyKey: 'saga:order:a:b' }),
      requestFor(definition, { sagaKey: 'A:B' }),
      requestFor(definition, { sagaKey: 'a:b ' }),
      requestFor(definition, { sagaKey: '' }),
      requestFor(definition, { sagaKey: 'é' }),
      requestFor(definition, { sagaKey: 'e\u0301' }),
    ]
    const answers = await Promise.all(requests.map((request) => stage.api.starts.start(request)))
    expect(byKind(answers)).toEqual({ started: requests.length })
    const again = await Promise.all(requests.map((request) => stage.api.starts.start(request)))
    expect(again.map(({ sagaId }) => sagaId)).toEqual(answers.map(({ sagaId }) => sagaId))
  })

  test('can be asked about without starting anything', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const request = requestFor(definition, { sagaKey: 'o-1' })
    expect(await stage.api.starts.find(request)).toBeUndefined()
    expect(await stage.api.starts.find(requestFor(definition))).toBeUndefined()
    const sagaId = await stage.start(definition, { sagaKey: 'o-1' })
    expect(await stage.api.starts.find(request)).toEqual({ is: 'repeated', sagaId })
    expect(await stage.api.starts.find({ ...request, requestHash: 'other' })).toEqual({
      is: 'conflict',
      sagaId,
    })
    expect(await rowsOf(stage)).toEqual({ sagas: 1, entries: 1 })
  })
})

describe('a start of the highest version (S26)', () => {
  test.each([1, 3])('is made if it is the highest, and is what any start is: %i at once', async (count) => {
    const stage = await createStage()
    await stage.register(orderOf(1))
    const definition = await stage.register(orderOf(2))
    await stage.register({ ...orderOf(3), name: 'another' })
    const answers = await Promise.all(
      Array.from({ length: count }, () => stage.api.starts.startIfLatest(requestFor(definition))),
    )
    expect(byKind(answers)).toEqual({ started: count })
    expect(await rowsOf(stage)).toEqual({ sagas: count, entries: count })
  })

  test.each([1, 3])('writes nothing if there is a higher one: %i at once', async (count) => {
    const stage = await createStage()
    const definition = await stage.register(orderOf(1))
    await stage.register(orderOf(2))
    const answers = await Promise.all(
      Array.from({ length: count }, (_, n) =>
        stage.api.starts.startIfLatest(requestFor(definition, n === 1 ? { sagaKey: 'o-1' } : {})),
      ),
    )
    expect(answers).toEqual(Array.from({ length: count }, () => ({ is: 'outdated' })))
    const [written] = await stage.sql<{ events: number }>('SELECT count(*)::int AS events FROM events')
    expect({ ...(await rowsOf(stage)), ...written }).toEqual({ sagas: 0, entries: 0, events: 0 })
  })

  test('says nothing of the starts beside it, nor of those that name an older version', async () => {
    const stage = await createStage()
    const older = await stage.register(orderOf(1))
    const newer = await stage.register(orderOf(2))
    const another = await stage.register({ ...orderOf(1), name: 'another' })
    const { startIfLatest, start } = stage.api.starts
    const answers = await Promise.all([
      startIfLatest(requestFor(older)),
      startIfLatest(requestFor(newer)),
      start(requestFor(older)),
      startIfLatest(requestFor(another)),
    ])
    expect(answers.map(({ is }) => is)).toEqual(['outdated', 'started', 'started', 'started'])
    expect(await rowsOf(stage)).toEqual({ sagas: 3, entries: 3 })
  })

  test('of a definition that is not there any more is not made', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    await stage.sql('DELETE FROM definitions')
    expect(await stage.api.starts.startIfLatest(requestFor(definition))).toEqual({ is: 'outdated' })
    expect(await rowsOf(stage)).toEqual({ sagas: 0, entries: 0 })
  })

  test('finds the saga of its key, whatever the versions are (S23)', async () => {
    const stage = await createStage()
    const definition = await stage.register(orderOf(1))
    const request = requestFor(definition, { sagaKey: 'o-1' })
    const first = await stage.api.starts.startIfLatest(request)
    if (first.is !== 'started') throw new Error(`the first start is ${first.is}`)
    const { sagaId } = first
    await stage.register(orderOf(2))
    expect(await stage.api.starts.startIfLatest(request)).toEqual({ is: 'repeated', sagaId })
    const other = { ...request, requestHash: 'other' }
    expect(await stage.api.starts.startIfLatest(other)).toEqual({ is: 'conflict', sagaId })
  })

  test('leaves its slot if it is outdated', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const definition = await stage.register(orderOf(1))
    await stage.register(orderOf(2))
    const slot = slotOf(worker.workerId)
    await stage.api.starts.startIfLatest(requestFor(definition), slot)
    expect(slot.became).toEqual(['left'])
  })
})

describe('a batch', () => {
  test('with bad rows at its ends and in its middle loses those and nothing else', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const bad = new Map([
      [0, { tags: { smuggled: '\0' } }],
      [10, { correlationId: 'NUL \0' }],
      [11, { input: { half: '\ud800' } }],
      [19, { requestHash: '\0' }],
    ])
    const answers = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) =>
        stage.api.starts.start(requestFor(definition, { sagaKey: `o-${n}`, ...bad.get(n) })),
      ),
    )
    expect(answers.map(({ status }) => status === 'rejected')).toEqual(answers.map((_, n) => bad.has(n)))
    expect(await rowsOf(stage)).toEqual({ sagas: 16, entries: 16 })
  })

  test('with a row that cannot even be written down loses that one, and at once', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const broken = { ...definition, version: Number.NaN }
    const answers = await Promise.allSettled(
      [definition, broken, definition].map((one) => stage.api.starts.start(requestFor(one))),
    )
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  test('leaves no doubt about those beside it: what is outdated was not made (S26)', async () => {
    const stage = await createStage()
    const definition = await stage.register(orderOf(1))
    await stage.register(orderOf(2))
    const broken = { ...definition, version: Number.NaN }
    const answers = await Promise.allSettled(
      [definition, broken].map((one) => stage.api.starts.startIfLatest(requestFor(one))),
    )
    expect(answers).toMatchObject([
      { status: 'fulfilled', value: { is: 'outdated' } },
      { status: 'rejected' },
    ])
  })
})

/** A slot that notes what became of it. */
function slotOf(workerId: string): Slot & { became: (Claimed | 'left')[] } {
  const became: (Claimed | 'left')[] = []
  return {
    workerId,
    became,
    expect: () => undefined,
    fill: (claimed) => void became.push(claimed),
    leave: () => void became.push('left'),
  }
}

describe('a start beside a worker', () => {
  test.each([1, 3])('leases the saga to it, as a claim would have: %i at once', async (count) => {
    const stage = await createStage()
    const worker = await stage.worker()
    const definition = await stage.register()
    const slots = Array.from({ length: count }, () => slotOf(worker.workerId))
    const answers = await Promise.all(
      slots.map((slot, n) => stage.api.starts.start(requestFor(definition, { input: { n } }), slot)),
    )
    for (const [n, { sagaId }] of answers.entries()) {
      const row = await stage.row(sagaId)
      expect(row).toMatchObject({ owner: worker.workerId, due_at: null, epoch: 1, version: 1 })
      expect(slots[n]?.became).toHaveLength(1)
      const [filled] = slots[n]?.became ?? []
      const leases = filled === undefined || filled === 'left' ? [] : [filled.lease]
      const [again] = await worker.claims.takeAgain(leases)
      expect(filled).toEqual(again && { ...again, lease: { ...again.lease, epoch: 1 } })
    }
    expect(await worker.claims.claim(['order'], 10)).toEqual([])
  })

  test('that has been declared dead is due like any other (S17)', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const definition = await stage.register()
    await worker.session.stop(worker.workerId)
    const slot = slotOf(worker.workerId)
    const { sagaId } = await stage.api.starts.start(requestFor(definition), slot)
    expect(await stage.row(sagaId)).toMatchObject({ owner: null, epoch: 0, due_at: expect.any(Date) })
    expect(slot.became).toEqual(['left'])
  })

  test('that was made before, or is refused, leaves the slot', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const definition = await stage.register()
    const sagaId = await stage.start(definition, { sagaKey: 'o-1' })
    const [again, refused] = [slotOf(worker.workerId), slotOf(worker.workerId)]
    expect(await stage.api.starts.start(requestFor(definition, { sagaKey: 'o-1' }), again)).toMatchObject({
      is: 'repeated',
      sagaId,
    })
    const broken = requestFor({ ...definition, version: Number.NaN })
    await expect(stage.api.starts.start(broken, refused)).rejects.toThrow('NaN')
    expect([again.became, refused.became]).toEqual([['left'], ['left']])
    expect((await stage.row(sagaId)).owner).toBeNull()
  })
})

describe('a start whose answer was lost (F30)', () => {
  test.each([
    ['with a key', { sagaKey: 'o-1' }],
    ['without a key', {}],
  ])('is made once, and acknowledged as started: %s', async (_, more) => {
    const stage = await createStage()
    const definition = await stage.register()
    const network = await stage.network()
    const store = await openApiStore({ databaseUrl: network.url })
    await store.starts.start(requestFor(definition))
    network.when('start', network.swallowAnswers)
    const answer = store.starts.start(requestFor(definition, more))
    await eventually('it is carried out', async () => ((await rowsOf(stage)).sagas === 2 ? true : undefined))
    network.heal()
    network.cut()
    expect(await answer).toMatchObject({ is: 'started' })
    expect(await rowsOf(stage)).toEqual({ sagas: 2, entries: 2 })
    expect((await stage.row((await answer).sagaId)).status).toBe('running')
    await store.close()
  })

  test('and whose version is no longer the highest was made all the same', async () => {
    const stage = await createStage()
    const definition = await stage.register(orderOf(1))
    const network = await stage.network()
    const store = await openApiStore({ databaseUrl: network.url })
    await store.starts.start(requestFor(definition))
    network.when('start', network.swallowAnswers)
    const answer = store.starts.startIfLatest(requestFor(definition))
    await eventually('it is carried out', async () => ((await rowsOf(stage)).sagas === 2 ? true : undefined))
    await stage.register(orderOf(2))
    network.heal()
    network.cut()
    expect(await answer).toMatchObject({ is: 'started', state: { definition: { version: 1 } } })
    expect(await rowsOf(stage)).toEqual({ sagas: 2, entries: 2 })
    await store.close()
  })

  test('and may yet be made, though its version is no longer the highest, is not started under the next: nobody knows', async () => {
    const stage = await createStage()
    const definition = await stage.register(orderOf(1))
    const network = await stage.network()
    const store = await openApiStore({ databaseUrl: network.url })
    await store.starts.start(requestFor(definition))
    network.when('start', network.goBlack)
    const answer = Promise.allSettled([store.starts.startIfLatest(requestFor(definition))])
    await eventually('it is under way', () => (store.starts.waiting === 0 ? true : undefined))
    await stage.register(orderOf(2))
    network.heal()
    network.cut()
    expect(await answer).toMatchObject([{ status: 'rejected', reason: expect.any(ConnectionLost) }])
    expect(await rowsOf(stage)).toEqual({ sagas: 1, entries: 1 })
    await store.close()
  })

  test('leaves its slot, and its worker finds it among its leases (F01)', async () => {
    const stage = await createStage()
    const worker = await stage.worker()
    const definition = await stage.register()
    const network = await stage.network()
    const store = await openApiStore({ databaseUrl: network.url })
    await store.starts.start(requestFor(definition))
    network.when('start', network.swallowAnswers)
    const slot = slotOf(worker.workerId)
    const answer = store.starts.start(requestFor(definition), slot)
    await eventually('it is carried out', async () => ((await rowsOf(stage)).sagas === 2 ? true : undefined))
    network.heal()
    network.cut()
    const { sagaId } = await answer
    expect(slot.became).toEqual(['left'])
    const leases = await worker.session.leases(worker.workerId)
    expect(leases).toEqual([{ bucket: bucketOf(sagaId), sagaId, epoch: 1 }])
    await store.close()
  })

  test('and was made by somebody else meanwhile, under the same key, is theirs', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const network = await stage.network()
    const store = await openApiStore({ databaseUrl: network.url })
    await store.starts.start(requestFor(definition))
    network.when('start', network.goBlack)
    const answer = store.starts.start(requestFor(definition, { sagaKey: 'o-1' }))
    await eventually('it is under way', () => (store.starts.waiting === 0 ? true : undefined))
    const sagaId = await stage.start(definition, { sagaKey: 'o-1' })
    network.heal()
    network.cut()
    expect(await answer).toEqual({ is: 'repeated', sagaId })
    await store.close()
  })
})
