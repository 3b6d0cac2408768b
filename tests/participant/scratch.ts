import { randomUUID } from 'node:crypto'
import { startLocalPostgres } from '@backstitch/local-postgres'
import { createBarrier } from '@backstitch/sdk/participant'
import pg from 'pg'
const fsync = process.argv[2] === 'on'
const directory = `/tmp/bs-barrier-bench-${process.pid}`
const server = await startLocalPostgres({ directory, settings: { fsync, full_page_writes: fsync, max_connections: 50 }, temporary: true })
const pool = new pg.Pool({ connectionString: server.url, max: 8 })
const barrier = createBarrier()
await pool.query(barrier.migrationSql)
await pool.query('CREATE TABLE ledger (id bigserial PRIMARY KEY, saga_id text NOT NULL, amount int NOT NULL)')
const call = (sagaId: string, direction: 'action' | 'compensation') => ({ sagaId, step: 'charge', direction, idempotencyKey: `${sagaId}:charge:${direction}:1` })
const tx = async (work: (c: pg.PoolClient) => Promise<unknown>) => {
  const c = await pool.connect()
  await c.query('BEGIN'); await work(c); await c.query('COMMIT'); c.release()
}
const book = (c: pg.PoolClient, id: string) => c.query('INSERT INTO ledger (saga_id, amount) VALUES ($1, 1)', [id])
const bare = () => tx((c) => book(c, randomUUID()))
const done = () => { const id = randomUUID(); return tx((c) => barrier.once(c, call(id, 'action'), async () => { await book(c, id); return { ok: true } })) }
const fixed = randomUUID()
await tx((c) => barrier.once(c, call(fixed, 'action'), async () => 1))
const ids: string[] = []
const run = async (name: string, f: () => Promise<unknown>, lanes: number, n: number) => {
  const t: number[] = []
  const s = performance.now()
  let left = n
  await Promise.all(Array.from({ length: lanes }, async () => { while (left-- > 0) { const a = performance.now(); await f(); t.push(performance.now() - a) } }))
  const all = performance.now() - s
  t.sort((a, b) => a - b)
  return { name, lanes, perSecond: Math.round(n / (all / 1000)), p50: t[Math.floor(t.length / 2)]!.toFixed(2), p99: t[Math.floor(t.length * 0.99)]!.toFixed(2) }
}
const undoNothing = () => { const id = randomUUID(); return tx((c) => barrier.once(c, call(id, 'compensation'), async () => 1)) }
const replay = () => { const id = ids[Math.floor(Math.random() * ids.length)]!; return tx((c) => barrier.once(c, call(id, 'action'), async () => 1)) }
for (let i = 0; i < 500; i++) { const id = randomUUID(); ids.push(id); await tx((c) => barrier.once(c, call(id, 'action'), async () => 1)) }
for (const lanes of [1, 8]) for (let round = 0; round < 3; round++)
  for (const [name, f] of [['bare', bare], ['done', done], ['replayed', replay], ['nothingToUndo', undoNothing]] as const)
    console.log(fsync ? 'fsync' : 'no-fsync', JSON.stringify(await run(name, f, lanes, 3000)))
console.log((await pool.query("select count(*)::int n, pg_table_size('saga_barrier') t, pg_indexes_size('saga_barrier') i, pg_size_pretty(pg_total_relation_size('saga_barrier')) from saga_barrier")).rows)
const s = performance.now(); console.log('prune', await barrier.prune(pool, 0), performance.now() - s, 'ms')
await pool.end(); await server.stop()
