import { describe, expect, test } from 'vitest'
import type { PlacedEvent } from './feed.ts'
import { createStage, eventually, type Stage } from './testing.ts'

async function published(stage: Stage): Promise<PlacedEvent[]> {
  while ((await stage.api.feed.publish()).more);
  return (await stage.api.feed.events({}, { after: 0, limit: 1_000 })).items
}

async function keptCounts(stage: Stage) {
  return stage.sql(
    `SELECT definition_name, status::text, count FROM saga_counts WHERE count <> 0 ORDER BY 1, 2`,
  )
}

async function realCounts(stage: Stage) {
  return stage.sql(
    `SELECT definition_name, status::text, count(*) AS count FROM sagas GROUP BY 1, 2 ORDER BY 1, 2`,
  )
}

describe('the feed', () => {
  test('tells of a start and of an abandoned saga, in the order in which it happened (M6)', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    const sagaId = await stage.start(definition)
    await stage.api.mailbox.abandon(sagaId, { actor: 'ada', reason: 'no use' }, {})
    const events = await published(stage)
    expect(events.map(({ type }) => type)).toEqual(['saga.started', 'saga.acted', 'saga.abandoned'])
    expect(events.map(({ position }) => position)).toEqual([1, 2, 3])
    expect(await keptCounts(stage)).toEqual(await realCounts(stage))
  })

  test('may lack for a moment what was just committed, and has it after the same place as soon as nobody holds it up (M6)', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    await stage.start(definition)
    const [first] = await published(stage)
    const after = await stage.api.feed.last()
    await stage.sql('BEGIN')
    await stage.sql('SELECT 1 FROM feed FOR UPDATE')
    const sagaId = await stage.start(definition)
    expect(await stage.api.feed.publish()).toMatchObject({ events: 0, more: false })
    expect(await stage.api.feed.events({}, { after, limit: 9 })).toMatchObject({ items: [], last: after })
    expect((await stage.api.queries.saga(sagaId))?.status).toBe('running')
    await stage.sql('ROLLBACK')

    await stage.api.feed.publish()
    const { items } = await stage.api.feed.events({}, { after, limit: 9 })
    expect(items).toMatchObject([{ sagaId, position: (first?.position ?? 0) + 1 }])
  })

  test('leaves no gap and gives no place twice when many publish at once (M6)', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    const starting = Promise.all(Array.from({ length: 200 }, () => stage.start(definition)))
    const publishers = Array.from({ length: 3 }, async () => {
      for (let round = 0; round < 20; round++) await stage.api.feed.publish(3)
    })
    await Promise.all([starting, ...publishers])
    const events = await published(stage)
    expect(events.map(({ position }) => position)).toEqual(
      Array.from({ length: 200 }, (_, index) => index + 1),
    )
    expect(new Set(events.map(({ sagaId }) => sagaId)).size).toBe(200)
  })

  test('a recount that has waited for a publisher counts what that has published', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    await stage.start(definition)
    await stage.sql('BEGIN')
    await stage.sql('SELECT 1 FROM feed FOR UPDATE')
    const counted = stage.api.feed.recount()
    await eventually('the recount waits', async () => {
      const [waiting] = await stage.sql(
        `SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()`,
      )
      return waiting
    })
    await stage.sql('DELETE FROM events')
    await stage.sql(`INSERT INTO saga_counts VALUES ('order', 'running', 1)`)
    await stage.sql('COMMIT')
    await counted
    expect(await keptCounts(stage)).toEqual(await realCounts(stage))
  })

  test('a recount corrects what old workers have not told', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    await stage.start(definition)
    await stage.sql('DELETE FROM events')
    await stage.sql(`INSERT INTO saga_counts VALUES ('gone', 'stuck', 7)`)
    await stage.start(definition)
    await stage.api.feed.recount()
    await published(stage)
    expect(await keptCounts(stage)).toEqual(await realCounts(stage))
  })

  test.each([
    ['no list', '{}'],
    ['no event', '[[{"type": "saga.slept"}]]'],
    [
      'no time',
      '[[{"type":"saga.failed","at":"x","sagaId":"S","status":"failed","definition":{"name":"order","version":1},"seq":2,"data":{}}]]',
    ],
    [
      'no saga',
      '[[{"type":"saga.failed","at":"2026-01-01T00:00:00.000Z","sagaId":"x","status":"failed","definition":{"name":"order","version":1},"seq":2,"data":{}}]]',
    ],
  ])('passes over what somebody has written into the table by hand: %s', async (_, told) => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    const sagaId = await stage.start(definition)
    await stage.sql(`INSERT INTO events (bucket, told, at) VALUES (0, $1, '2000-01-01')`, [
      told.replace('"S"', `"${sagaId}"`),
    ])
    expect(await stage.api.feed.publish()).toMatchObject({ events: 1, unreadable: 1 })
    expect((await published(stage)).map((event) => event.sagaId)).toEqual([sagaId])
  })

  test('goes on when a worker of another version has told of what is not known here (M6)', async () => {
    const stage = await createStage({ own: true })
    const definition = await stage.register()
    const sagaId = await stage.start(definition)
    await stage.sql(
      `INSERT INTO events (bucket, told) SELECT bucket, jsonb_build_array(jsonb_build_array(jsonb_set(told->0->0, '{type}', '"saga.slept"')))::json
       FROM (SELECT bucket, told::jsonb FROM events) o`,
    )
    const later = await stage.start(definition)
    const events = await published(stage)
    expect(events.map((event) => event.sagaId)).toEqual([sagaId, sagaId, later])
  })
})
