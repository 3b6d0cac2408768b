import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { expect, onTestFinished, test } from 'vitest'
import { failureOf } from './failure.ts'
import { openApiStore, openWorkerStore } from './store.ts'
import { createStage, failure, heldAs, requestFor, success, transitionOf } from './testing.ts'
import { createNetwork } from './testing-proxy.ts'

test('a store cannot be opened on a database that does not answer, and says so', async () => {
  const { url, drop } = await createTestDatabase({ empty: true })
  onTestFinished(drop)
  const network = await createNetwork(url)
  await network.close()
  expect(await openApiStore({ databaseUrl: network.url }).catch(failureOf)).toBe('connection')
})

test('a store says which migrations its database lacks', async () => {
  const { url, drop } = await createTestDatabase({ empty: true })
  const store = await openApiStore({ databaseUrl: url })
  onTestFinished(async () => {
    await store.close()
    await drop()
  })
  expect((await store.check()).missingMigrations).toContain('0001_sagas')
  const stage = await createStage()
  expect(await stage.api.check()).toEqual({ missingMigrations: [] })
})

test('behind a transaction-mode pooler everything works that works without (F35)', async () => {
  const stage = await createStage()
  const { url } = await stage.network({ pooled: true })
  const api = await openApiStore({ databaseUrl: url })
  const worker = await stage.worker({ url })
  try {
    const definition = await api.definitions.register((await stage.register()).source)
    const started = await Promise.all(
      ['a', 'a', 'b', 'c', 'd'].map((sagaKey) => api.starts.start(requestFor(definition, { sagaKey }))),
    )
    expect(new Set(started.map(({ sagaId }) => sagaId)).size).toBe(4)
    const [first, second, third, fourth] = (await worker.claims.claim(['order'], 10)).map(heldAs)
    if (first === undefined || second === undefined || third === undefined || fourth === undefined)
      throw new Error('too few')
    const transitions = [
      transitionOf(first, success(first.state), definition.resolved),
      transitionOf(second, failure(second.state, 'rejected'), definition.resolved),
    ]
    const answers = await worker.commits.commit(transitions, 0)
    expect(answers.map((answer) => answer.ok && answer.answer.is)).toEqual(['committed', 'committed'])
    await worker.commits.release(third.lease, 0)
    await worker.commits.park(fourth.lease, 'why', 0)
    expect(await worker.session.pulse(worker.workerId, { holds: 1, services: {} })).toMatchObject({
      alive: true,
    })
    expect((await worker.claims.takeAgain([first.lease])).length).toBe(1)
    expect((await api.stats()).sagas.map(({ status, count }) => `${count} ${status}`)).toEqual([
      '1 failed',
      '2 running',
      '1 stuck',
    ])
  } finally {
    await api.close()
  }
})

test('a store closes in the middle of a black hole, and leaves nothing behind that is still trying', async () => {
  const stage = await createStage()
  const definition = await stage.register()
  const network = await stage.network()
  const api = await openApiStore({ databaseUrl: network.url })
  const workerId = crypto.randomUUID()
  const worker = await openWorkerStore({
    databaseUrl: network.url,
    workerId,
    leaseMs: 60_000,
    onDue: () => undefined,
  })
  await worker.session.register({
    workerId,
    queues: ['order'],
    handlers: {},
    concurrency: 1,
    leaseMs: 60_000,
    services: {},
  })
  await stage.start(definition)
  const held = (await worker.claims.claim(['order'], 1)).map(heldAs)
  const commits = held.map((one) => transitionOf(one, success(one.state), definition.resolved))
  await api.queries.workers()
  network.goBlack()
  const waiting = [
    worker.commits.commit(commits, 0).then(([answer]) => answer?.ok),
    worker.claims.claim(['order'], 1).catch(failureOf),
    worker.session.pulse(workerId, { holds: 0, services: {} }).catch(failureOf),
    ...held.map(({ lease }) => worker.commits.release(lease, 0).catch(failureOf)),
  ]
  const begun = performance.now()
  await Promise.all([worker.close(), api.close()])
  expect(await Promise.all(waiting)).toEqual([false, 'connection', 'connection', 'connection'])
  expect(performance.now() - begun).toBeLessThan(15_000)
})
