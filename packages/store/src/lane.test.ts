import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { expect, onTestFinished, test } from 'vitest'
import { ConnectionLost, failureOf } from './failure.ts'
import { createLane, type LaneOptions } from './lane.ts'
import { eventually } from './testing.ts'
import { createNetwork } from './testing-proxy.ts'

const PID = { name: 'pid', text: 'SELECT pg_backend_pid()' }
const ADD = { name: 'add', text: 'SELECT $1::int4 + 1' }

async function stage(options: Parameters<typeof createNetwork>[1] = {}) {
  const { url, query, drop } = await createTestDatabase({ empty: true })
  onTestFinished(drop)
  const network = await createNetwork(url, options)
  onTestFinished(network.close)
  return {
    network,
    query,
    lane(options: Partial<LaneOptions> = {}) {
      const lane = createLane({ databaseUrl: network.url, applicationName: 'test', ...options })
      onTestFinished(lane.close)
      return lane
    },
  }
}

test('a lane connects when it is first used, and keeps that connection', async () => {
  const { lane, network } = await stage()
  const one = lane()
  expect(network.accepted).toBe(0)
  const [[first] = []] = await one.query(PID, [])
  const [[second] = []] = await one.query(PID, [])
  expect(second).toBe(first)
  expect(network.accepted).toBe(1)
})

test('a lane whose session was terminated while idle has another one for the next statement', async () => {
  const { lane, network, query } = await stage()
  const one = lane()
  const [[pid] = []] = await one.query(PID, [])
  await query('SELECT pg_terminate_backend($1)', [pid])
  await eventually('the connection is gone', () => (network.connections === 0 ? true : undefined))
  expect(await one.query(ADD, [1])).toEqual([[2]])
  expect(network.accepted).toBe(2)
})

test('a statement whose session is terminated under it fails as a lost connection, and the next one goes through', async () => {
  const { lane, network, query } = await stage()
  const one = lane()
  const [[pid] = []] = await one.query(PID, [])
  const failed = one.query({ name: 'sleep', text: 'SELECT pg_sleep(60)' }, []).catch(failureOf)
  await query('SELECT pg_terminate_backend($1)', [pid])
  expect(await failed).toBe('connection')
  expect(await one.query(ADD, [1])).toEqual([[2]])
  await eventually('only one connection is left', () => (network.connections === 1 ? true : undefined))
})

test('a statement through a black hole fails when it has been silent for too long, and the next one goes through', async () => {
  const { lane, network } = await stage()
  const one = lane({ silenceMs: 400 })
  await one.query(PID, [])
  network.goBlack()
  expect(await one.query(ADD, [1]).catch(failureOf)).toBe('connection')
  network.heal()
  expect(await one.query(ADD, [2])).toEqual([[3]])
  await eventually('only one connection is left', () => (network.connections === 1 ? true : undefined))
})

test('a black hole that opens while the lane connects is one too', async () => {
  const { lane, network } = await stage()
  const one = lane({ silenceMs: 400 })
  network.goBlack()
  expect(await one.query(ADD, [1]).catch(failureOf)).toBe('connection')
  network.heal()
  expect(await one.query(ADD, [2])).toEqual([[3]])
  await eventually('only one connection is left', () => (network.connections === 1 ? true : undefined))
})

test.each(['pg_backend_pid', 'plan_cache_mode'])(
  'so is one that opens when it has connected and asks for %s',
  async (message) => {
    const { lane, network } = await stage()
    const one = lane({ silenceMs: 400 })
    network.when(message, network.goBlack)
    expect(await one.query(ADD, [1]).catch(failureOf)).toBe('connection')
    network.heal()
    expect(await one.query(ADD, [2])).toEqual([[3]])
    await eventually('only one connection is left', () => (network.connections === 1 ? true : undefined))
  },
)

test('a lane whose settings are refused does not keep that connection', async () => {
  const { network, query, lane } = await stage()
  const one = lane()
  network.when('plan_cache_mode', network.cut)
  expect(await one.query(ADD, [1]).catch(failureOf)).toBe('connection')
  expect(await one.query({ name: 'mode', text: 'SHOW plan_cache_mode' }, [])).toEqual([
    ['force_generic_plan'],
  ])
  const there =
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test'"
  await eventually('only one is left', async () => ((await query(there)).length === 1 ? true : undefined))
})

test('a lane closes at once in the middle of a black hole', async () => {
  const { lane, network } = await stage()
  const [idle, busy, connecting, preparing] = [lane(), lane(), lane(), lane()]
  await idle.query(PID, [])
  await busy.query(PID, [])
  const prepared = new Promise<void>((resolve) => {
    network.when('plan_cache_mode', () => {
      network.goBlack()
      resolve()
    })
  })
  const waiting = [preparing.query(ADD, [1]).catch(failureOf)]
  await prepared
  waiting.push(...[busy, connecting].map((one) => one.query(ADD, [1]).catch(failureOf)))
  await eventually('the last is connecting', () => (network.accepted === 4 ? true : undefined))
  const before = performance.now()
  await Promise.all([idle, busy, connecting, preparing].map((one) => one.close()))
  expect(await Promise.all(waiting)).toEqual(['connection', 'connection', 'connection'])
  expect(performance.now() - before).toBeLessThan(15_000)
})

test('a closed lane takes nothing more, and leaves no connection behind', async () => {
  const { lane, network } = await stage()
  const one = lane()
  await one.query(PID, [])
  await one.close()
  await expect(one.query(PID, [])).rejects.toThrow(ConnectionLost)
  await eventually('the connection is gone', () => (network.connections === 0 ? true : undefined))
})

test('a server that refuses connections is one that is away (F32)', async () => {
  const { lane, network } = await stage()
  const one = lane()
  await network.close()
  expect(await one.query(ADD, [1]).catch(failureOf)).toBe('connection')
})

test('statements go out one after the other, in order, and none waits inside node-postgres (F38)', async () => {
  const warnings: string[] = []
  const hear = (warning: Error) => warnings.push(warning.message)
  process.on('warning', hear)
  const { lane } = await stage()
  const one = lane()
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => one.query(ADD, [n])))
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', hear)
  expect(answers).toEqual(Array.from({ length: 50 }, (_, n) => [[n + 1]]))
  expect(warnings).toEqual([])
})

test('a statement that fails says so, and does not hold up those behind it', async () => {
  const { lane, network } = await stage()
  const one = lane()
  const bad = one.query({ name: 'bad', text: 'SELECT 1 / $1::int4' }, [0])
  const good = one.query(ADD, [1])
  expect(failureOf(await bad.catch((error: unknown) => error))).toBe('statement')
  expect(await good).toEqual([[2]])
  expect(network.accepted).toBe(1)
})

test('a direct lane prepares its statements by name, once, with plans that do not depend on the values', async () => {
  const { lane } = await stage()
  const one = lane()
  for (let n = 0; n < 3; n++) await one.query(ADD, [n])
  const prepared = {
    name: 'prepared',
    text: 'SELECT name, generic_plans, custom_plans FROM pg_prepared_statements WHERE name = $1',
  }
  expect(await one.query(prepared, ['add'])).toEqual([['add', 3, 0]])
})

test('behind a pooler it prepares nothing and sets nothing: the next statement may run in another session (F35)', async () => {
  const { lane } = await stage({ pooled: true })
  const one = lane()
  expect(await one.query(ADD, [1])).toEqual([[2]])
  expect(await one.query(ADD, [2])).toEqual([[3]])
  const seen = {
    name: 'seen',
    text: 'SELECT current_setting($1), (SELECT count(*)::int FROM pg_prepared_statements)',
  }
  expect(await one.query(seen, ['plan_cache_mode'])).toEqual([['auto', 0]])
})

test('int8 comes back as a number', async () => {
  const { lane } = await stage()
  expect(await lane().query({ name: 'big', text: 'SELECT 4611686018427387::int8' }, [])).toEqual([
    [4611686018427387],
  ])
})
