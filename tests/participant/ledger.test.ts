import { StepRejected } from '@backstitch/sdk'
import { createBarrier } from '@backstitch/sdk/participant'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { book, type Isolation, openParticipant } from './connections.ts'
import { type Deliver, type End, type Played, playSaga, randomFrom } from './virtual-engine.ts'

/**
 * F21: whatever the network does, the net effect of a step is one or zero, as the saga's end says. Each effect leaves a
 * line in the ledger: +1 by the action, -1 by the compensation.
 */

const SAGAS = Number(process.env.LEDGER_SAGAS ?? 1_500)
const LANES = 5

const barrier = createBarrier()
const { pool } = await openParticipant(barrier, 3 * LANES)

/** Carries out one delivery on a connection of its own, up to the point its fate allows. */
function participant(apply: Apply, isolation: Isolation, seen: Seen): Deliver {
  let inside = 0
  return async (call, fate) => {
    const client = await pool.connect()
    if (++inside > 1) seen.atOnce++
    let isKilled = false
    try {
      await client.query(`BEGIN ISOLATION LEVEL ${isolation}`)
      const reply = await apply(client, call)
      if (fate === 'rolledBack') throw new Crash()
      isKilled = fate === 'killedBeforeCommit'
      if (isKilled) return undefined
      await client.query('COMMIT')
      isKilled = fate === 'killedAfterCommit'
      return fate === 'answered' ? reply : undefined
    } catch (error) {
      await client.query('ROLLBACK')
      if (error instanceof StepRejected) return fate === 'answered' ? 'rejected' : undefined
      if (error instanceof Crash) return undefined
      if (!(error instanceof pg.DatabaseError && error.code === '40001')) throw error
      seen.serializationFailures++
      return undefined
    } finally {
      inside--
      client.release(isKilled)
    }
  }
}

class Crash extends Error {}

type Apply = (client: pg.PoolClient, call: Parameters<Deliver>[0]) => Promise<'succeeded' | 'rejected'>
type Seen = { atOnce: number; serializationFailures: number }

const work =
  (isRejecting: boolean): Apply =>
  async (client, { sagaId, direction }) => {
    if (isRejecting && direction === 'action') throw new StepRejected('no')
    await book(client, sagaId, direction === 'action' ? 1 : -1)
    return 'succeeded'
  }

const bare = work

const behindBarrier =
  (isRejecting: boolean): Apply =>
  async (client, call) => {
    const outcome = await barrier.once(client, call, () => work(isRejecting)(client, call))
    return outcome.kind === 'refused' ? 'rejected' : 'succeeded'
  }

async function playMany(name: string, participantOf: typeof work) {
  const seen: Seen = { atOnce: 0, serializationFailures: 0 }
  const played: Played[] = []
  const seeds = Array.from({ length: SAGAS }, (_, index) => index + 1)
  const lane = async () => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      const random = randomFrom(seed)
      const isolation = ISOLATIONS[Math.floor(random() * ISOLATIONS.length)]!
      const deliver = participant(participantOf(random() < 0.05), isolation, seen)
      played.push(await playSaga(`${name}-${seed}`, random, deliver))
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))

  const { rows } = await pool.query<{ saga_id: string; lines: number[] }>(
    'SELECT saga_id, array_agg(amount ORDER BY id) AS lines FROM ledger GROUP BY saga_id',
  )
  const lines = new Map(rows.map((row) => [row.saga_id, row.lines]))
  const wrong = played
    .map(({ sagaId, end }) => ({ sagaId, end, lines: lines.get(sagaId) ?? [] }))
    .filter((saga) => !RIGHT[saga.end].includes(saga.lines.join()))
  const ends = Object.fromEntries(
    ['completed', 'undone', 'rejected'].map((end) => [end, played.filter((one) => one.end === end).length]),
  )
  const sum = (of: (one: Played) => number) => played.reduce((total, one) => total + of(one), 0)
  return { wrong, ends, deliveries: sum((one) => one.deliveries), late: sum((one) => one.late), ...seen }
}

/** Most participants run as Postgres does by default. */
const ISOLATIONS: Isolation[] = [
  'READ COMMITTED',
  'READ COMMITTED',
  'READ COMMITTED',
  'REPEATABLE READ',
  'SERIALIZABLE',
]

/** The ledger's lines that go with each end. */
const RIGHT: Record<End, string[]> = { completed: ['1'], undone: ['', '1,-1'], rejected: [''] }

describe(`${SAGAS} sagas on a network that delays, repeats and loses`, () => {
  test('behind the barrier, every effect happens once or is undone once (F21)', async () => {
    const { wrong, ends, deliveries, late, atOnce } = await playMany('barrier', behindBarrier)
    expect(wrong).toEqual([])
    // The schedules are as bad as they should be.
    expect(Math.min(...Object.values(ends))).toBeGreaterThan(SAGAS / 100)
    expect(deliveries).toBeGreaterThan(2 * SAGAS)
    expect(late).toBeGreaterThan(SAGAS)
    expect(atOnce).toBeGreaterThan(SAGAS / 10)
  }, 300_000)

  test('without it, the same schedules leave wrong ledgers', async () => {
    const { wrong } = await playMany('bare', bare)
    expect(wrong.length).toBeGreaterThan(SAGAS / 10)
  }, 300_000)
})
