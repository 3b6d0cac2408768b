import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import type { Answer } from '../testing.ts'
import { openStageForTest, type Stage } from '../testing.ts'

/** Nobody gets at the sagas until it is let go. */
async function lockSagas({ query }: Stage): Promise<() => Promise<unknown>> {
  const holding = query(
    'DO $$ BEGIN LOCK TABLE sagas IN ACCESS EXCLUSIVE MODE; PERFORM pg_sleep(600); END $$',
  ).catch(() => undefined)
  const holds = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`
  await expect.poll(async () => (await query(holds)).length).toBe(1)
  return async () => {
    await query(`SELECT pg_terminate_backend(pid) FROM (${holds}) AS h`)
    await holding
  }
}

async function refused({ ask }: Stage, why: string): Promise<number> {
  const { text } = await ask('GET', '/metrics')
  const line = text.split('\n').find((one) => one.includes(`requests_refused_total{why="${why}"}`))
  return Number(line?.split(' ').at(-1) ?? 0)
}

const reading = (stage: Stage) => async () => {
  const [row] = await stage.query(
    `SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  )
  return row?.n
}

test('a request whose caller has hung up counts until what it asked for has ended', async () => {
  const stage = await openStageForTest({ limits: { maxRequests: 3 } })
  const port = Number(new URL(await stage.app.listen({ port: 0, host: '127.0.0.1' })).port)
  const unlock = await lockSagas(stage)
  for (const n of [1, 2, 3]) {
    const socket = connect(port, '127.0.0.1')
    socket.write('GET /v1/sagas HTTP/1.1\r\nhost: x\r\n\r\n')
    await expect.poll(reading(stage)).toBe(n)
    socket.destroy()
    await once(socket, 'close')
  }

  const others = await Promise.all(Array.from({ length: 30 }, () => stage.ask('GET', '/v1/sagas')))
  expect(others.map(({ status }) => status)).toEqual(others.map(() => 503))
  expect(await refused(stage, 'requests')).toBe(30)
  await unlock()

  const list = async () => (await stage.ask('GET', '/v1/sagas')).status
  await expect.poll(list).toBe(200)
})

test('of starts that come in one burst no more are taken on than may wait', async () => {
  const stage = await openStageForTest({ limits: { maxWaitingStarts: 100 } })
  const definition = await stage.define()
  await stage.start(definition)
  const unlock = await lockSagas(stage)
  const burst = Array.from({ length: 400 }, () =>
    stage.ask('POST', '/v1/sagas', { body: { definition, input: {} } }),
  )
  await expect.poll(() => refused(stage, 'starts')).toBe(300)
  await unlock()

  const answers = await Promise.all(burst)
  const told = (status: number): Answer[] => answers.filter((answer) => answer.status === status)
  expect([told(202).length, told(503).length]).toEqual([100, 300])
  const seconds = told(503).map(({ headers }) => Number(headers['retry-after']))
  expect([Math.min(...seconds) >= 1, new Set(seconds).size > 1]).toEqual([true, true])
  const [row] = await stage.query('SELECT count(*)::int AS n FROM sagas')
  expect(row).toEqual({ n: 101 })
})

test('more waiters than there is room for are told so, and counted', async () => {
  const stage = await openStageForTest({ limits: { maxWaiters: 2 } })
  const sagaId = await stage.start(await stage.define())
  const wait = () => stage.ask('GET', `/v1/sagas/${sagaId}/wait?timeoutMs=60000`)
  const first = [wait(), wait()]
  await expect.poll(async () => (await stage.ask('GET', '/metrics')).text).toMatch(/^backstitch_waiters 2$/m)

  expect((await wait()).status).toBe(503)
  expect(await refused(stage, 'waiters')).toBe(1)
  await stage.end(sagaId, 'completed')
  expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200])
})

test('with every connection of the pool busy, the process is ready all the same', async () => {
  const stage = await openStageForTest()
  const unlock = await lockSagas(stage)
  const busy = Array.from({ length: 20 }, () => stage.ask('GET', '/v1/sagas'))
  await expect.poll(reading(stage)).toBe(8)

  expect((await stage.ask('GET', '/readyz')).status).toBe(200)
  await unlock()
  expect((await Promise.all(busy)).map(({ status }) => status)).toEqual(busy.map(() => 200))
})
