import { randomUUID } from 'node:crypto'
import { StepRejected } from '@backstitch/sdk'
import { createBarrier, type Outcome, type SagaCall, type Work } from '@backstitch/sdk/participant'
import type pg from 'pg'
import { beforeEach, describe, expect, test } from 'vitest'
import { book, callOf, type Isolation, openParticipant, untilWaiting } from './connections.ts'

const barrier = createBarrier()
const { pool, inTransaction, booked } = await openParticipant(barrier)

let sagaId: string
beforeEach(() => {
  sagaId = randomUUID()
})

const once = <T>(call: SagaCall, work: (client: pg.PoolClient) => Work<T>, isolation?: Isolation) =>
  inTransaction((client) => barrier.once(client, call, work(client)), isolation)

const act = (generation?: number, isolation?: Isolation): Promise<Outcome<unknown>> =>
  once(
    callOf(sagaId, 'action', generation),
    (client) => async () => {
      await book(client, sagaId, 100)
      return { charged: 100 }
    },
    isolation,
  )

const undo = (generation?: number, isolation?: Isolation): Promise<Outcome<unknown>> =>
  once(
    callOf(sagaId, 'compensation', generation),
    (client) =>
      async ({ result }) => {
        await book(client, sagaId, -100)
        return { undid: result }
      },
    isolation,
  )

describe('one call after the other', () => {
  test('an action runs once, and every later call is answered with its result', async () => {
    expect(await act()).toEqual({ kind: 'done', result: { charged: 100 } })
    expect(await act()).toEqual({ kind: 'replayed', result: { charged: 100 } })
    expect(await act()).toEqual({ kind: 'replayed', result: { charged: 100 } })
    expect(await booked(sagaId)).toEqual([100])
  })

  test('its compensation runs once, and is given its result', async () => {
    await act()
    expect(await undo()).toEqual({ kind: 'done', result: { undid: { charged: 100 } } })
    expect(await undo()).toEqual({ kind: 'replayed', result: { undid: { charged: 100 } } })
    expect(await booked(sagaId)).toEqual([100, -100])
  })

  test('an action after its compensation is refused', async () => {
    await act()
    await undo()
    expect(await act()).toEqual({ kind: 'refused', reason: 'undone' })
    expect(await act(2)).toEqual({ kind: 'refused', reason: 'undone' })
    expect(await booked(sagaId)).toEqual([100, -100])
  })

  test('the undo of what was never done does nothing, and is remembered: the late action is refused (F21)', async () => {
    expect(await undo()).toEqual({ kind: 'nothingToUndo' })
    expect(await undo()).toEqual({ kind: 'nothingToUndo' })
    expect(await act()).toEqual({ kind: 'refused', reason: 'undone' })
    expect(await undo()).toEqual({ kind: 'nothingToUndo' })
    expect(await booked(sagaId)).toEqual([])
  })

  test('steps and sagas do not know of each other', async () => {
    await act()
    const ship: SagaCall = {
      sagaId,
      step: 'ship',
      direction: 'compensation',
      idempotencyKey: `${sagaId}:ship:compensation:1`,
    }
    expect(await once(ship, () => async () => 1)).toEqual({ kind: 'nothingToUndo' })
    sagaId = randomUUID()
    expect(await undo()).toEqual({ kind: 'nothingToUndo' })
  })
})

describe('work that throws', () => {
  test('is not remembered: the action runs again', async () => {
    const failing = once(callOf(sagaId, 'action'), (client) => async () => {
      await book(client, sagaId, 100)
      throw new StepRejected('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(await booked(sagaId)).toEqual([])
    expect(await act()).toMatchObject({ kind: 'done' })
  })

  test('and so does the compensation, and in between the action is still done', async () => {
    await act()
    const failing = once(callOf(sagaId, 'compensation'), () => () => Promise.reject(new Error('later')))
    await expect(failing).rejects.toThrow('later')
    expect(await act()).toMatchObject({ kind: 'replayed' })
    expect(await undo()).toMatchObject({ kind: 'done' })
    expect(await booked(sagaId)).toEqual([100, -100])
  })

  test('is not remembered even by somebody who commits all the same', async () => {
    await inTransaction(async (client) => {
      const failing = barrier.once(client, callOf(sagaId, 'action'), () => Promise.reject(new Error('no')))
      await expect(failing).rejects.toThrow('no')
    })
    expect(await act()).toMatchObject({ kind: 'done' })
    expect(await undo()).toMatchObject({ kind: 'done' })
  })

  test('a statement that failed and was passed over cannot be committed as done', async () => {
    const swallowing = once(callOf(sagaId, 'action'), (client) => async () => {
      await client.query('SELECT 1/0').catch(() => {})
    })
    await expect(swallowing).rejects.toMatchObject({ code: '25P02' })
    expect(await undo()).toEqual({ kind: 'nothingToUndo' })
  })
})

describe('results', () => {
  test.each([
    ['null', null],
    ['false', false],
    ['an empty text', ''],
    ['text beyond ASCII', 'é😀\u2028'],
    ['long numbers and keys in their order', { z: 1e21, a: 0.1, 2: [null] }],
    ['keys that name the prototype', JSON.parse('{"__proto__":{"a":1}}')],
  ])('%s comes back as it was', async (_, result) => {
    const call = callOf(sagaId, 'action')
    expect(await once(call, () => async () => result)).toEqual({ kind: 'done', result })
    const replayed = await once(call, () => async () => 'not this')
    expect(JSON.stringify(replayed)).toBe(JSON.stringify({ kind: 'replayed', result }))
  })

  test('work without a result has the result null, and its compensation knows that it was done', async () => {
    await once(callOf(sagaId, 'action'), () => async () => {})
    expect(await act()).toEqual({ kind: 'replayed', result: null })
    expect(await undo()).toEqual({ kind: 'done', result: { undid: null } })
  })

  test.each([
    ['a Date', new Date(), /cannot be kept/],
    ['a NUL', '\0', /found a NUL/],
    ['NaN', { cents: Number.NaN }, /step "charge" cannot be kept at \/cents/],
    ['more than a mebibyte', 'x'.repeat(1024 * 1024), /cannot be kept/],
  ])('%s, which Backstitch would not take, is not committed', async (_, result, message) => {
    await expect(once(callOf(sagaId, 'action'), () => async () => result)).rejects.toThrow(message)
    expect(await undo()).toEqual({ kind: 'nothingToUndo' })
  })
})

describe('an edited input (S30a)', () => {
  test('runs if the action was not done before, whatever its generation', async () => {
    expect(await act(3)).toMatchObject({ kind: 'done' })
    expect(await act(3)).toMatchObject({ kind: 'replayed' })
  })

  test('of an action that was done is refused, and told what was done', async () => {
    await act(1)
    expect(await act(2)).toEqual({ kind: 'refused', reason: 'alreadyDone', result: { charged: 100 } })
    expect(await act(1)).toMatchObject({ kind: 'replayed' })
    expect(await undo(1)).toMatchObject({ kind: 'done' })
    expect(await booked(sagaId)).toEqual([100, -100])
  })

  const amend = (generation: number) =>
    inTransaction((client) =>
      barrier.once(
        client,
        callOf(sagaId, 'action', generation),
        () => Promise.reject(new Error('not this one')),
        {
          amend: async (known) => {
            await book(client, sagaId, -20)
            return { charged: 80, before: known.result }
          },
        },
      ),
    )

  test('is amended by who can: once, and the compensation is given what stands then', async () => {
    await act(1)
    const result = { charged: 80, before: { charged: 100 } }
    expect(await amend(2)).toEqual({ kind: 'done', result })
    expect(await amend(2)).toEqual({ kind: 'replayed', result })
    expect(await undo(1)).toEqual({ kind: 'done', result: { undid: result } })
    expect(await amend(3)).toEqual({ kind: 'refused', reason: 'undone' })
    expect(await booked(sagaId)).toEqual([100, -20, -100])
  })

  test('the late call of the generation before does not bring the old input back', async () => {
    await act(2)
    expect(await act(1)).toEqual({ kind: 'replayed', result: { charged: 100 } })
    expect(await booked(sagaId)).toEqual([100])
  })

  test('of a compensation does not undo twice', async () => {
    await act()
    await undo(1)
    expect(await undo(2)).toMatchObject({ kind: 'replayed' })
    expect(await booked(sagaId)).toEqual([100, -100])
  })
})

/** Work that waits until it is let go, or told to fail. */
function held() {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  const work = async (client: pg.PoolClient, amount: number) => {
    await book(client, sagaId, amount)
    started.resolve()
    await promise
    return amount
  }
  return { work, started: started.promise, letGo: resolve, fail: reject }
}

describe('calls at once', () => {
  test('the second of two equal ones waits, and is answered with what the first returns', async () => {
    const { work, started, letGo } = held()
    const first = once(callOf(sagaId, 'action'), (client) => () => work(client, 7))
    await started
    const second = act()
    await untilWaiting(pool, 1)
    letGo()
    expect(await first).toEqual({ kind: 'done', result: 7 })
    expect(await second).toEqual({ kind: 'replayed', result: 7 })
    expect(await booked(sagaId)).toEqual([7])
  })

  test('and runs itself if the first rolls back', async () => {
    const { work, started, fail } = held()
    const first = once(callOf(sagaId, 'action'), (client) => () => work(client, 7))
    await started
    const second = act()
    await untilWaiting(pool, 1)
    fail(new Error('crash'))
    await expect(first).rejects.toThrow('crash')
    expect(await second).toMatchObject({ kind: 'done' })
    expect(await booked(sagaId)).toEqual([100])
  })

  test('a compensation that overtakes its action waits for it, and undoes it', async () => {
    const { work, started, letGo } = held()
    const action = once(callOf(sagaId, 'action'), (client) => () => work(client, 7))
    await started
    const compensation = undo()
    await untilWaiting(pool, 1)
    letGo()
    expect(await action).toMatchObject({ kind: 'done' })
    expect(await compensation).toEqual({ kind: 'done', result: { undid: 7 } })
    expect(await booked(sagaId)).toEqual([7, -100])
  })

  test('an action waits for its compensation, and is refused', async () => {
    await act()
    const { work, started, letGo } = held()
    const compensation = once(callOf(sagaId, 'compensation'), (client) => () => work(client, -100))
    await started
    const late = act()
    await untilWaiting(pool, 1)
    letGo()
    expect(await compensation).toMatchObject({ kind: 'done' })
    expect(await late).toEqual({ kind: 'refused', reason: 'undone' })
    expect(await booked(sagaId)).toEqual([100, -100])
  })

  test('an action that waits for a tombstone is refused', async () => {
    const tombstone = Promise.withResolvers<void>()
    const written = Promise.withResolvers<void>()
    const compensation = inTransaction(async (client) => {
      const outcome = await barrier.once(client, callOf(sagaId, 'compensation'), () =>
        Promise.reject(new Error('no')),
      )
      written.resolve()
      await tombstone.promise
      return outcome
    })
    await written.promise
    const late = act()
    await untilWaiting(pool, 1)
    tombstone.resolve()
    expect(await compensation).toEqual({ kind: 'nothingToUndo' })
    expect(await late).toEqual({ kind: 'refused', reason: 'undone' })
    expect(await booked(sagaId)).toEqual([])
  })

  test.each<Isolation>(['REPEATABLE READ', 'SERIALIZABLE'])(
    'under %s the second fails with 40001, and replays when tried again',
    async (isolation) => {
      const { work, started, letGo } = held()
      const first = once(callOf(sagaId, 'action'), (client) => () => work(client, 7), isolation)
      await started
      const second = act(1, isolation)
      // oxlint-disable-next-line vitest/valid-expect -- awaited below, when the first has been let go
      const failed = expect(second).rejects.toMatchObject({ code: '40001' })
      await untilWaiting(pool, 1)
      letGo()
      expect(await first).toMatchObject({ kind: 'done' })
      await failed
      expect(await act(1, isolation)).toEqual({ kind: 'replayed', result: 7 })
      expect(await undo(1, isolation)).toEqual({ kind: 'done', result: { undid: 7 } })
      expect(await booked(sagaId)).toEqual([7, -100])
    },
  )

  test('under REPEATABLE READ what was committed after the snapshot is not overlooked', async () => {
    const stale = inTransaction(async (client) => {
      await client.query('SELECT count(*) FROM ledger') // takes the snapshot
      await act()
      return barrier.once(client, callOf(sagaId, 'compensation'), () => book(client, sagaId, -100))
    }, 'REPEATABLE READ')
    await expect(stale).rejects.toMatchObject({ code: '40001' })
    expect(await booked(sagaId)).toEqual([100])
  })
})

describe('used wrongly', () => {
  test('without a transaction it says so, for nothing would hold the step', async () => {
    const pooled = barrier.once(pool, callOf(sagaId, 'action'), async () => 1)
    await expect(pooled).rejects.toThrow(/not called inside a transaction/)
    const client = await pool.connect()
    const bare = barrier.once(client, callOf(randomUUID(), 'compensation'), async () => 1)
    await expect(bare).rejects.toThrow(/not called inside a transaction/)
    client.release()
    expect(await act()).toMatchObject({ kind: 'done' })
  })

  test('with a key that is not the call’s, nothing runs', async () => {
    const call = { ...callOf(sagaId, 'action'), idempotencyKey: `${randomUUID()}:charge:action:1` }
    await expect(once(call, () => async () => 1)).rejects.toMatchObject({ code: 'NOT_A_SAGA_CALL' })
  })

  test('in a savepoint it works', async () => {
    const outcome = await inTransaction(async (client) => {
      await client.query('SAVEPOINT here')
      const inside = await barrier.once(client, callOf(sagaId, 'action'), async () => 1)
      await client.query('RELEASE here')
      return inside
    })
    expect(outcome).toEqual({ kind: 'done', result: 1 })
    expect(await act()).toEqual({ kind: 'replayed', result: 1 })
  })
})

describe('the table', () => {
  test('has the name one likes, in the schema one likes, and may be created twice', async () => {
    const other = createBarrier({ table: 'Payments.Once_Only' })
    await pool.query('CREATE SCHEMA "Payments"')
    await pool.query(other.migrationSql)
    await pool.query(other.migrationSql)
    const outcome = await inTransaction((client) =>
      other.once(client, callOf(sagaId, 'action'), async () => 1),
    )
    expect(outcome.kind).toBe('done')
    const { rows } = await pool.query('SELECT saga_id FROM "Payments"."Once_Only"')
    expect(rows).toEqual([{ saga_id: sagaId }])
  })

  test.each(['a b', 'a"; DROP TABLE x; --', 'a.b.c', '', '1a', 'x'.repeat(41)])('but not %j', (table) => {
    expect(() => createBarrier({ table })).toThrow(/cannot be called/)
  })

  test('refuses rows that say nonsense', async () => {
    const insert = `INSERT INTO saga_barrier (saga_id, step, action_generation, action_result, undone_generation, undone_result)
      VALUES ('nonsense', 'x', $1, $2, $3, $4)`
    for (const values of [
      [1, null, null, null],
      [null, '1', null, null],
      [null, null, null, '1'],
      [null, null, 1, '1'],
      [1, '1', 1, null],
    ]) {
      await expect(pool.query(insert, values)).rejects.toThrow(/saga_barrier_result_of_/)
    }
  })
})

describe('pruning', () => {
  const WEEK_MS = 7 * 24 * 60 * 60 * 1000
  const age = (ids: string[], days: number) =>
    pool.query(`UPDATE saga_barrier SET heard_at = now() - $2 * interval '1 day' WHERE saga_id = ANY ($1)`, [
      ids,
      days,
    ])
  const left = async (ids: string[]) => {
    const sql = 'SELECT count(*)::int AS count FROM saga_barrier WHERE saga_id = ANY ($1)'
    return (await pool.query<{ count: number }>(sql, [ids])).rows[0]?.count
  }

  test('forgets, in batches, what nobody has called about for so long, and nothing else', async () => {
    const old = Array.from({ length: 25 }, () => randomUUID())
    const young = Array.from({ length: 5 }, () => randomUUID())
    for (const id of [...old, ...young]) {
      sagaId = id
      await act()
    }
    await age(old, 8)
    await age(young, 6)
    expect(await barrier.prune(pool, WEEK_MS, { batchSize: 10 })).toBe(25)
    expect(await left(old)).toBe(0)
    expect(await left(young)).toBe(5)
    expect(await barrier.prune(pool, WEEK_MS)).toBe(0)
  })

  test('a call makes its step young again, and one that is under way is passed over', async () => {
    const [asked, held] = [randomUUID(), randomUUID()]
    for (sagaId of [asked, held]) await act()
    await age([asked, held], 8)
    sagaId = asked
    await act()
    await inTransaction(async (client) => {
      await barrier.once(client, callOf(held, 'compensation'), async () => 1)
      expect(await barrier.prune(pool, WEEK_MS)).toBe(0)
    })
    expect(await left([asked, held])).toBe(2)
  })

  test.each([-1, Number.NaN])('takes no age of %d', async (olderThanMs) => {
    await expect(barrier.prune(pool, olderThanMs)).rejects.toThrow(/expected 0 or more/)
  })
})
