import { createTestDatabase } from '@backstitch/local-postgres/testing'
import type { Barrier, SagaCall } from '@backstitch/sdk/participant'
import pg from 'pg'
import { afterAll } from 'vitest'

/** A participant's own database: the barrier's table, and a ledger in which every effect leaves a line. */

export type Isolation = 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE'

export type Participant = {
  pool: pg.Pool
  /** Runs `work` in a transaction of its own; rolls back if it throws. */
  inTransaction: <T>(work: (client: pg.PoolClient) => Promise<T>, isolation?: Isolation) => Promise<T>
  /** The amounts booked for a saga, in order. */
  booked: (sagaId: string) => Promise<number[]>
}

export async function openParticipant(barrier: Barrier, connections = 8): Promise<Participant> {
  const database = await createTestDatabase({ empty: true })
  const pool = new pg.Pool({ connectionString: database.url, max: connections })
  pool.on('error', () => {})
  afterAll(async () => {
    await pool.end()
    await database.drop()
  })
  await pool.query(barrier.migrationSql)
  await pool.query(
    'CREATE TABLE ledger (id bigserial PRIMARY KEY, saga_id text NOT NULL, amount int NOT NULL)',
  )
  await pool.query('CREATE INDEX ON ledger (saga_id)')

  return {
    pool,
    inTransaction: async (work, isolation = 'READ COMMITTED') => {
      const client = await pool.connect()
      try {
        await client.query(`BEGIN ISOLATION LEVEL ${isolation}`)
        const result = await work(client)
        await client.query('COMMIT')
        return result
      } catch (error) {
        await client.query('ROLLBACK')
        throw error
      } finally {
        client.release()
      }
    },
    booked: async (sagaId) => {
      const sql = 'SELECT amount FROM ledger WHERE saga_id = $1 ORDER BY id'
      const { rows } = await pool.query<{ amount: number }>(sql, [sagaId])
      return rows.map(({ amount }) => amount)
    },
  }
}

export function callOf(sagaId: string, direction: SagaCall['direction'], generation = 1): SagaCall {
  return { sagaId, step: 'charge', direction, idempotencyKey: `${sagaId}:charge:${direction}:${generation}` }
}

export async function book(client: pg.PoolClient, sagaId: string, amount: number): Promise<void> {
  await client.query('INSERT INTO ledger (saga_id, amount) VALUES ($1, $2)', [sagaId, amount])
}

/** Resolves when `count` connections of the database wait for a lock. */
export async function untilWaiting(pool: pg.Pool, count: number): Promise<void> {
  const sql = `SELECT count(*)::int AS waiting FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`
  const giveUpAt = performance.now() + 10_000
  while (performance.now() < giveUpAt) {
    const { rows } = await pool.query<{ waiting: number }>(sql)
    if (rows[0]?.waiting === count) return
  }
  throw new Error(`there were never ${count} connections waiting for a lock`)
}
