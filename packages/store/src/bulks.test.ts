import { describe, expect, onTestFinished, test } from 'vitest'
import { type BulkTools, createBulks, type ItemResult, type WantedBulk } from './bulks.ts'
import { openDatabase } from './database.ts'
import { createStage, eventually, type Stage } from './testing.ts'

const wanted: Omit<WantedBulk, 'which'> = {
  verb: 'cancel',
  step: undefined,
  reason: 'too slow',
  actor: 'ann',
  perSecond: 5,
  requestHash: 'h',
}

async function cancel(sagaId: string, { mailbox }: BulkTools): Promise<ItemResult> {
  const { is } = await mailbox.post(sagaId, { kind: 'cancel', actor: 'ann', reason: 'too slow' })
  return { state: is === 'posted' ? 'accepted' : 'refused' }
}

async function lettersOf(stage: Stage): Promise<number> {
  const [row] = await stage.sql<{ count: number }>('SELECT count(*)::int AS count FROM saga_mail')
  return row?.count ?? 0
}

async function withSagas(count: number): Promise<{ stage: Stage; sagaIds: string[] }> {
  const stage = await createStage()
  const definition = await stage.register()
  const sagaIds: string[] = []
  for (let n = 0; n < count; n++) sagaIds.push(await stage.start(definition))
  return { stage, sagaIds }
}

function bulksOf(stage: Stage, most?: number) {
  const database = openDatabase({ databaseUrl: stage.url, applicationName: 'test', max: 3 })
  onTestFinished(() => database.destroy())
  return createBulks(database, most)
}

describe('a bulk operation (S30)', () => {
  test('is done once to each saga, however many carry it out', async () => {
    const { stage, sagaIds } = await withSagas(40)
    const { bulk } = await stage.api.bulks.create({ ...wanted, which: { sagaIds } })
    const lane = async (bulks: Pick<Stage['api']['bulks'], 'carryOut' | 'finish'>) => {
      while (await bulks.carryOut(bulk.bulkId, cancel));
      await bulks.finish(bulk.bulkId)
    }
    await Promise.all(
      [stage.api.bulks, bulksOf(stage), bulksOf(stage)].flatMap((one) => [lane(one), lane(one)]),
    )
    expect(await stage.api.bulks.get(bulk.bulkId)).toMatchObject({ state: 'done', done: 40, accepted: 40 })
    expect(await lettersOf(stage)).toBe(40)
  })

  test('that is cut short between the letter and its result has done neither, and does both later', async () => {
    const { stage, sagaIds } = await withSagas(1)
    const { bulks } = stage.api
    const { bulkId } = (await bulks.create({ ...wanted, which: { sagaIds } })).bulk
    const crash = bulks.carryOut(bulkId, async (sagaId, tools) => {
      await cancel(sagaId, tools)
      throw new Error('the process is gone')
    })
    await expect(crash).rejects.toThrow('the process is gone')
    expect(await lettersOf(stage)).toBe(0)
    await bulks.finish(bulkId)
    expect(await bulks.get(bulkId)).toMatchObject({ state: 'running', done: 0 })
    expect(await bulks.carryOut(bulkId, cancel)).toBe(true)
    expect(await bulks.carryOut(bulkId, cancel)).toBe(false)
    expect(await lettersOf(stage)).toBe(1)
  })

  test('is not stopped in the middle of a saga: what is under way is waited for, and counted', async () => {
    const { stage, sagaIds } = await withSagas(2)
    const { bulks } = stage.api
    const { bulkId } = (await bulks.create({ ...wanted, which: { sagaIds } })).bulk
    let goOn = (): void => undefined
    const gate = new Promise<void>((resolve) => {
      goOn = resolve
    })
    let began = false
    const underWay = bulks.carryOut(bulkId, async (sagaId, tools) => {
      began = true
      await gate
      return cancel(sagaId, tools)
    })
    await eventually('it is under way', () => began || undefined)
    const aborting = bulks.abort(bulkId, 'bob')
    await eventually('the abort waits', async () => {
      const waiting =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
      return (await stage.sql(waiting)).length > 0 || undefined
    })
    goOn()
    await underWay
    expect(await aborting).toMatchObject({ state: 'aborted', total: 2, done: 1, accepted: 1 })
    expect(await bulks.carryOut(bulkId, cancel)).toBe(false)
    expect(await lettersOf(stage)).toBe(1)
    await bulks.abort(bulkId, 'eve')
    const acts = await stage.api.audit.list({ subject: bulkId }, { limit: 5 })
    expect(acts.map(({ act, actor, subject }) => [act, actor, subject.kind])).toEqual([
      ['bulkAborted', 'bob', 'bulk'],
      ['cancel', 'ann', 'bulk'],
    ])
  })

  test('keeps its pace, however many carry it out', async () => {
    const { stage, sagaIds } = await withSagas(3)
    const { bulks } = stage.api
    const { bulkId } = (await bulks.create({ ...wanted, perSecond: 1, which: { sagaIds } })).bulk
    expect(await bulks.take()).toMatchObject({ bulkId, sagas: 1, verb: 'cancel', actor: 'ann' })
    const [row] = await stage.sql<{ pause: number }>(
      'SELECT extract(epoch FROM next_at - created_at)::float8 AS pause FROM bulk_operations',
    )
    expect(row?.pause).toBeGreaterThanOrEqual(1)
    await stage.sql("UPDATE bulk_operations SET next_at = now() + interval '1 hour'")
    expect(await bulks.take()).toBeUndefined()
    expect(await bulks.nextDueMs()).toBeGreaterThan(3_000_000)
    await stage.sql('UPDATE bulk_operations SET next_at = now(), per_second = 100')
    expect(await bulks.take()).toMatchObject({ sagas: 20 })
  })

  test('takes the oldest where there are more than one operation takes, and says so', async () => {
    const { stage, sagaIds } = await withSagas(5)
    const bulks = bulksOf(stage, 3)
    const which = { filter: { definition: 'order' } }
    expect(await bulks.preview(which, () => undefined)).toMatchObject({ matching: 4, judged: 5, possible: 5 })
    const { bulk } = await bulks.create({ ...wanted, which })
    expect(bulk).toMatchObject({ total: 3, cut: true })
    const items = await bulks.items(bulk.bulkId, { limit: 10 })
    expect(items.map(({ sagaId }) => sagaId)).toEqual(sagaIds.toSorted().slice(0, 3))
  })

  test('that goes wrong for one saga in a way that nobody expected goes on with the others', async () => {
    const { stage, sagaIds } = await withSagas(2)
    const { bulks } = stage.api
    const { bulkId } = (await bulks.create({ ...wanted, which: { sagaIds } })).bulk
    await bulks.fail(bulkId, sagaIds[0] ?? '', 'a bug')
    while (await bulks.carryOut(bulkId, cancel));
    await bulks.finish(bulkId)
    expect(await bulks.get(bulkId)).toMatchObject({ state: 'done', accepted: 1, failed: 1 })
    expect(await bulks.items(bulkId, { state: 'failed', limit: 5 })).toMatchObject([{ detail: 'a bug' }])
  })
})
