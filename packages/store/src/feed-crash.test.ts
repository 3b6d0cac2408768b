import { describe, expect, onTestFinished, test } from 'vitest'
import { openApiStore } from './store.ts'
import { createStage, eventually, type Stage } from './testing.ts'

/** What a publisher says to the database, one after the other, by words of it. */
const MOMENTS = [
  'SELECT EXISTS (SELECT 1 FROM events',
  'begin',
  'set_config',
  'SELECT position FROM feed FOR UPDATE',
  'SELECT bucket, batch_id, told FROM events',
  'UPDATE events e SET first_position',
  'INSERT INTO saga_counts',
  'INSERT INTO saga_minutes',
  'INSERT INTO audit_log',
  'from "webhooks"',
  'insert into "webhook_deliveries"',
  'UPDATE feed SET position',
  'commit',
]

const STARTED = 5
const ABANDONED = 2

/** Sagas of which there is something to tell, an act among it, and a webhook that wants to hear of all. */
async function somethingToTell(stage: Stage): Promise<void> {
  const definition = await stage.register()
  await stage.api.webhooks.create({ url: 'https://hooks.example', types: ['*'] })
  const started = await Promise.all(Array.from({ length: STARTED }, () => stage.start(definition)))
  for (const sagaId of started.slice(0, ABANDONED))
    await stage.api.mailbox.abandon(sagaId, { actor: 'ada', reason: 'no use' }, {})
}

/** Whoever is left publishes; what the dead one holds is free as soon as the database has noticed. */
async function publishedByAnother(stage: Stage): Promise<void> {
  await eventually('nothing waits to be published', async () => {
    await stage.api.feed.publish()
    const waiting = await stage.sql('SELECT 1 FROM events WHERE last_position IS NULL')
    return waiting.length === 0 ? true : undefined
  })
}

async function expectEachToldOnce(stage: Stage): Promise<void> {
  const { items } = await stage.api.feed.events({}, { after: 0, limit: 1_000 })
  const total = STARTED + 2 * ABANDONED
  expect(items.map(({ position }) => position)).toEqual(Array.from({ length: total }, (_, n) => n + 1))
  const kinds = new Map<string, number>()
  for (const events of Map.groupBy(items, ({ sagaId }) => sagaId).values()) {
    const told = events.map(({ type }) => type).join(' ')
    kinds.set(told, (kinds.get(told) ?? 0) + 1)
  }
  expect(kinds).toEqual(
    new Map([
      ['saga.started', STARTED - ABANDONED],
      ['saga.started saga.acted saga.abandoned', ABANDONED],
    ]),
  )
  expect(await stage.sql('SELECT status::text, count FROM saga_counts WHERE count <> 0 ORDER BY 1')).toEqual([
    { status: 'abandoned', count: ABANDONED },
    { status: 'running', count: STARTED - ABANDONED },
  ])
  expect(
    await stage.sql('SELECT event, sum(count)::int AS count FROM saga_minutes GROUP BY 1 ORDER BY 1'),
  ).toEqual([
    { event: 'abandoned', count: ABANDONED },
    { event: 'started', count: STARTED },
  ])
  expect(await stage.sql('SELECT count(*)::int AS count FROM audit_log')).toEqual([{ count: ABANDONED }])
  expect(
    await stage.sql(
      `SELECT count(*)::int AS made, count(DISTINCT event->>'position')::int AS events FROM webhook_deliveries`,
    ),
  ).toEqual([{ made: total, events: total }])
}

describe('a publisher whose connection is cut (M6)', () => {
  test.each(MOMENTS)(
    'before it says "%s" leaves everything for another, who tells it once',
    async (words) => {
      const stage = await createStage({ own: true })
      const network = await stage.network()
      const dying = await openApiStore({ databaseUrl: network.url })
      onTestFinished(() => dying.close())
      await somethingToTell(stage)
      let reached = false
      network.when(words, () => {
        reached = true
        network.cut()
      })
      await expect(dying.feed.publish()).rejects.toBeInstanceOf(Error)
      expect(reached).toBe(true)
      await publishedByAnother(stage)
      await expectEachToldOnce(stage)
    },
  )

  test('before it hears that its commit was done has told everything, and tells it no more', async () => {
    const stage = await createStage({ own: true })
    const network = await stage.network()
    const dying = await openApiStore({ databaseUrl: network.url })
    onTestFinished(() => dying.close())
    await somethingToTell(stage)
    network.loseAnswers('commit', 1)
    await expect(dying.feed.publish()).rejects.toBeInstanceOf(Error)
    expect(network.answersToLose).toBe(0)
    await expectEachToldOnce(stage)
    expect(await dying.feed.publish()).toMatchObject({ events: 0, more: false })
    await publishedByAnother(stage)
    await expectEachToldOnce(stage)
  })

  test('is no hindrance to the others meanwhile: three publish, each is cut again and again, and all is told once', async () => {
    const stage = await createStage({ own: true })
    const networks = await Promise.all(Array.from({ length: 3 }, () => stage.network()))
    const stores = await Promise.all(networks.map(({ url }) => openApiStore({ databaseUrl: url })))
    onTestFinished(async () => {
      for (const store of stores) await store.close()
    })
    await stage.api.webhooks.create({ url: 'https://hooks.example', types: ['*'] })
    const definition = await stage.register()
    let isOver = false
    let cuts = 0
    const publishing = stores.map(async ({ feed }, n) => {
      for (let round = n; !isOver || round < n + MOMENTS.length; round++) {
        networks[n]?.when(MOMENTS[round % MOMENTS.length] ?? '', () => {
          cuts++
          networks[n]?.cut()
        })
        await feed.publish(3).catch(() => undefined)
      }
    })
    const sagaIds: string[] = []
    for (let n = 0; n < 60; n++) {
      const sagaId = await stage.start(definition)
      sagaIds.push(sagaId)
      if (n % 3 === 0) await stage.api.mailbox.abandon(sagaId, { actor: 'ada', reason: 'no use' }, {})
    }
    isOver = true
    await Promise.all(publishing)
    expect(cuts).toBeGreaterThan(3)
    await publishedByAnother(stage)
    const { items } = await stage.api.feed.events({}, { after: 0, limit: 1_000 })
    expect(items.map(({ position }) => position)).toEqual(Array.from({ length: 100 }, (_, n) => n + 1))
    for (const [n, sagaId] of sagaIds.entries()) {
      expect(
        items.filter((event) => event.sagaId === sagaId).map(({ type, seq }) => `${type} ${seq}`),
      ).toEqual(n % 3 === 0 ? ['saga.started 1', 'saga.acted 2', 'saga.abandoned 2'] : ['saga.started 1'])
    }
    expect(
      await stage.sql('SELECT status::text, count FROM saga_counts WHERE count <> 0 ORDER BY 1'),
    ).toEqual([
      { status: 'abandoned', count: 20 },
      { status: 'running', count: 40 },
    ])
    expect(await stage.sql('SELECT count(*)::int AS made FROM webhook_deliveries')).toEqual([{ made: 100 }])
  })
})
