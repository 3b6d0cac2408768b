import { createClient } from '@backstitch/sdk'
import { expect, test } from 'vitest'
import { ledger } from './ledger-sagas.ts'
import { openTheatre, startApi } from './processes.ts'

test('schedules whose workers are killed while they fire: one saga for each, and none that was not due (S38)', async () => {
  const theatre = await openTheatre()
  const { url } = await startApi(theatre.database.url)
  const { schedules } = createClient({ url })
  const names = Array.from({ length: 300 }, (_, n) => `s${n}`)
  const now = async () => {
    const query = 'SELECT floor(extract(epoch FROM now()) * 1000)::float8 AS now'
    return Number((await theatre.database.query(query))[0]?.now)
  }
  const at = (fromMs: number, n: number) => new Date(fromMs + n * 10).toISOString()
  const farMs = (await now()) + 3_600_000
  await Promise.all(names.map((name, n) => schedules.put(name, ledger, {}, { at: at(farMs, n) })))
  await schedules.put('hourly', ledger, {}, { cron: '0 * * * *' })
  await schedules.pause('hourly', { reason: 'test' })
  // As if most of that hour had passed. They are due one after the other, over three seconds.
  const soonMs = (await now()) + 4_000
  const dueAt = (n: number) => at(soonMs, n)
  await theatre.database.query(
    `UPDATE schedules s SET next_at = i.at::timestamptz, spec = s.spec || jsonb_build_object('at', i.at)
     FROM unnest($1::text[], $2::text[]) AS i(name, at) WHERE s.name = i.name`,
    [names, names.map((_, n) => dueAt(n))],
  )

  let workers = await Promise.all([theatre.worker(), theatre.worker()])
  for (let round = 0; round < 5; round++) {
    const before = await started()
    // In the middle of it: some have been started since the last one was killed.
    await expect.poll(started, { timeout: 60_000, interval: 5 }).toBeGreaterThan(Math.min(before + 20, 299))
    const [victim, ...others] = workers
    victim?.child.kill('SIGKILL')
    workers = [...others, await theatre.worker()]
  }
  await expect.poll(unanswered, { timeout: 60_000 }).toBe(0)

  async function started(): Promise<number> {
    const [row] = await theatre.database.query('SELECT count(*)::int AS n FROM sagas')
    return Number(row?.n)
  }
  async function unanswered(): Promise<number> {
    const [row] = await theatre.database.query(
      'SELECT count(*)::int AS n FROM schedules WHERE next_at IS NOT NULL',
    )
    return Number(row?.n)
  }

  expect(await started()).toBe(300)
  for (const [n, name] of names.entries()) {
    const { runs, nextRunAt } = await schedules.get(name)
    expect(runs).toMatchObject([{ instant: dueAt(n), outcome: 'started', sagaId: expect.any(String) }])
    expect(nextRunAt).toBeNull()
  }
  const { runs } = await schedules.get('s0')
  const saga = await theatre.ended(String(runs[0]?.sagaId))
  expect(saga).toMatchObject({ status: 'completed', tags: { schedule: 's0', scheduledAt: dueAt(0) } })

  const { sagaId } = await schedules.runNow('hourly', { reason: 'asked for' })
  expect((await theatre.ended(sagaId)).status).toBe('completed')
  expect((await schedules.get('hourly')).paused).toBe(true)
})
