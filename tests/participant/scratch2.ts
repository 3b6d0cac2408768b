import { randomUUID } from 'node:crypto'
import { startLocalPostgres } from '@backstitch/local-postgres'
import { createBarrier } from '@backstitch/sdk/participant'
import { statementsFor } from '../../packages/sdk/src/participant/table.ts'
import pg from 'pg'
const directory = `/tmp/bs-barrier-bench-${process.pid}`
const server = await startLocalPostgres({ directory, settings: { fsync: false, full_page_writes: false, max_connections: 50 }, temporary: true })
const client = new pg.Client(server.url); await client.connect()
const barrier = createBarrier()
await client.query(barrier.migrationSql)
await client.query('CREATE TABLE ledger (id bigserial PRIMARY KEY, saga_id text NOT NULL, amount int NOT NULL)')
const sql = statementsFor('saga_barrier')
const measure = async (title: string) => {
  const times: Record<string, number[]> = {}
  const timed = async (name: string, text: string, values: unknown[]) => { const a = performance.now(); const r = await client.query(text, values); (times[name] ??= []).push(performance.now() - a); return r }
  for (let i = 0; i < 3000; i++) {
    const id = randomUUID()
    await client.query('BEGIN')
    const { rows } = await timed('take', sql.take, [id, 'charge'])
    await timed('ledger', 'INSERT INTO ledger (saga_id, amount) VALUES ($1, 1)', [id])
    await timed('record', sql.recordAction, [id, 'charge', 1, '{"ok":true}', rows[0].transaction_id])
    await timed('commit', 'COMMIT', [])
    await timed('select1', 'SELECT $1::text', ['x'])
  }
  console.log(title, Object.fromEntries(Object.entries(times).map(([n, t]) => [n, t.sort((a, b) => a - b)[1500]!.toFixed(3)])))
}
await measure('as is'); await measure('as is')
await client.query('ANALYZE'); await measure('analyzed')
await client.query('ALTER TABLE saga_barrier DROP CONSTRAINT saga_barrier_result_of_action, DROP CONSTRAINT saga_barrier_result_of_undoing'); await measure('no checks')
await client.query('DROP INDEX saga_barrier_heard_at'); await measure('no index')
for (const s of [sql.recordAction]) console.log((await client.query('EXPLAIN (ANALYZE, SUMMARY) ' + s.replace('$3','1').replace('$4',"'1'").replace('$1', "'x'").replace('$2', "'y'").replace('$5', "'1'"))).rows.map((r) => r['QUERY PLAN']).join('\n'))
await client.end(); await server.stop()
