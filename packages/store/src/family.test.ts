import { startedEntry } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import type { Transition } from './commits.ts'
import type { Registered } from './definitions.ts'
import { type ChildStart, type Family, splitByFamily } from './family.ts'
import { bucketOf, newSagaId } from './ids.ts'
import type { Letter } from './mailbox.ts'
import {
  createStage,
  eventually,
  type Held,
  heldAs,
  type Stage,
  success,
  type TestWorker,
  transitionOf,
} from './testing.ts'

/** What rides in a commit beside its own saga: letters to others, and the start of new ones (M4). */

const news = (sagaId: string): Letter => ({ kind: 'childReport', sagaId, status: 'completed' })

async function holding(count: number) {
  const stage = await createStage()
  const definition = await stage.register()
  await Promise.all(Array.from({ length: count }, () => stage.start(definition)))
  const worker = await stage.worker()
  const held = (await worker.claims.claim(['order'], count)).map(heldAs)
  return { stage, definition, worker, held }
}

function advance(held: Held, definition: Registered, family?: Family): Transition {
  return { ...transitionOf(held, success(held.state), definition.resolved), family }
}

async function commit(worker: TestWorker, ...transitions: Transition[]) {
  return (await worker.commits.commit(transitions, 0)).map((one) => (one.ok ? one.answer.is : 'failed'))
}

function childOf({ lease, version }: Held, definition: Registered): ChildStart {
  const { name, version: pinned, queue } = definition
  const entry = startedEntry({
    sagaId: newSagaId(Date.now(), bucketOf(lease.sagaId)),
    definition: definition.resolved,
    input: { from: 'above' },
    inputBytes: 16,
    now: Date.now(),
    correlationId: 'c-1',
    parent: { sagaId: lease.sagaId, queue, step: 'step1', direction: 'action', depth: 1 },
  })
  const of = { name, version: pinned, queue }
  return { entry, definition: of, parentSagaId: lease.sagaId, parentVersion: version }
}

async function mailOf(stage: Stage, sagaId: string) {
  return stage.sql('SELECT seq, body FROM saga_mail WHERE saga_id = $1 ORDER BY seq', [sagaId])
}

describe('a letter in a commit', () => {
  test('is there with it, makes its reader due, and is numbered after those before it', async () => {
    const { stage, definition, worker, held } = await holding(3)
    const [one, two] = held
    const reader = await stage.start(definition)
    await stage.api.mailbox.post(reader, { kind: 'cancel', actor: 'ada', reason: 'first' })
    if (one === undefined || two === undefined) throw new Error()
    const letters = (from: Held) => ({ letters: [{ to: reader, letter: news(from.lease.sagaId) }] })
    expect(
      await commit(worker, advance(one, definition, letters(one)), advance(two, definition, letters(two))),
    ).toEqual(['committed', 'committed'])
    expect(await mailOf(stage, reader)).toEqual([
      { seq: 1, body: { kind: 'cancel', actor: 'ada', reason: 'first' } },
      { seq: 2, body: news(one.lease.sagaId) },
      { seq: 3, body: news(two.lease.sagaId) },
    ])
    expect(await stage.row(reader)).toMatchObject({ mail_seq: 3, mail_seen: 0, owner: null })
  })

  test('is not written if its commit is not, and not to a saga that has ended (M1, S16)', async () => {
    const { stage, definition, worker, held } = await holding(2)
    const [one, two] = held
    if (one === undefined || two === undefined) throw new Error()
    const [reader, ended] = [await stage.start(definition), await stage.start(definition)]
    await stage.api.mailbox.abandon(ended, { actor: 'ada', reason: 'enough' })
    const stale = {
      ...advance(one, definition, { letters: [{ to: reader, letter: news('x') }] }),
      version: 9,
    }
    const late = advance(two, definition, { letters: [{ to: ended, letter: news('x') }] })
    expect(await commit(worker, stale, late)).toEqual(['leaseLost', 'committed'])
    expect(await mailOf(stage, reader)).toEqual([])
    expect(await mailOf(stage, ended)).toEqual([])
    expect(await stage.row(ended)).toMatchObject({ mail_seq: 0 })
  })

  test('reaches a saga that has a transition of its own in the same flush: neither is lost', async () => {
    const { stage, definition, worker, held } = await holding(2)
    const [parent, child] = held
    if (parent === undefined || child === undefined) throw new Error()
    const letters = [{ to: parent.lease.sagaId, letter: news(child.lease.sagaId) }]
    const back = [{ to: child.lease.sagaId, letter: news(parent.lease.sagaId) }]
    expect(
      await commit(
        worker,
        advance(parent, definition, { letters: back }),
        advance(child, definition, { letters }),
      ),
    ).toEqual(['committed', 'committed'])
    for (const { lease } of [parent, child]) {
      expect(await stage.row(lease.sagaId)).toMatchObject({ version: 2, mail_seq: 1, due_at: null })
      expect(await mailOf(stage, lease.sagaId)).toHaveLength(1)
    }
  })

  test('is written once when the answer to its commit was lost (F30, F27)', async () => {
    const stage = await createStage()
    const definition = await stage.register()
    const [reader] = await Promise.all([stage.start(definition), stage.start(definition)])
    const network = await stage.network()
    const worker = await stage.worker({ url: network.url })
    const held = (await worker.claims.claim(['order'], 2)).map(heldAs)
    const sender = held.find(({ lease }) => lease.sagaId !== reader)
    if (sender === undefined) throw new Error()
    network.when('commit_with_family', network.swallowAnswers)
    const family = {
      letters: [{ to: reader, letter: news(sender.lease.sagaId) }],
      starts: [childOf(sender, definition)],
    }
    const answer = commit(worker, advance(sender, definition, family))
    await eventually('it is carried out', async () =>
      (await stage.row(sender.lease.sagaId)).version === 2 ? true : undefined,
    )
    network.heal()
    network.cut()
    expect(await answer).toEqual(['committed'])
    expect(await mailOf(stage, reader)).toHaveLength(1)
    const children = await stage.sql('SELECT 1 FROM sagas WHERE parent_saga_id = $1', [sender.lease.sagaId])
    expect(children).toHaveLength(1)
  })
})

describe('a saga started in a commit', () => {
  test('is due with its first entry, in the bucket and under the name of its parent', async () => {
    const { stage, definition, worker, held } = await holding(1)
    const [parent] = held
    if (parent === undefined) throw new Error()
    const start = childOf(parent, definition)
    expect(await commit(worker, advance(parent, definition, { starts: [start] }))).toEqual(['committed'])
    const row = await stage.row(start.entry.sagaId)
    expect(row).toMatchObject({
      bucket: bucketOf(parent.lease.sagaId),
      status: 'running',
      owner: null,
      parent_saga_id: parent.lease.sagaId,
      correlation_id: 'c-1',
    })
    expect(row.state.context).toEqual({ input: { from: 'above' } })
    expect(await stage.history(start.entry.sagaId)).toMatchObject([{ seq: 1, kind: 'sagaStarted' }])
    const [claimed] = await worker.claims.claim(['order'], 5)
    expect(claimed?.lease.sagaId).toBe(start.entry.sagaId)
  })

  test('is not there if the commit is not', async () => {
    const { stage, definition, worker, held } = await holding(1)
    const [parent] = held
    if (parent === undefined) throw new Error()
    const start = childOf(parent, definition)
    const stale = { ...advance(parent, definition, { starts: [start] }), version: 9 }
    expect(await commit(worker, stale)).toEqual(['leaseLost'])
    expect(await stage.sql('SELECT 1 FROM sagas WHERE saga_id = $1', [start.entry.sagaId])).toEqual([])
  })
})

describe('statements that read no state', () => {
  test.each([
    ['an end by hand', 'abandoned'],
    ['a saga about which nothing can be decided', 'stuck'],
  ] as const)('%s is told to the saga that waits for it, too', async (_, status) => {
    const { stage, definition, worker, held } = await holding(1)
    const [parent] = held
    if (parent === undefined) throw new Error()
    const start = childOf(parent, definition)
    await commit(worker, advance(parent, definition, { starts: [start] }))
    const child = start.entry.sagaId
    if (status === 'abandoned') await stage.api.mailbox.abandon(child, { actor: 'ada', reason: 'enough' })
    else {
      const [claimed] = await worker.claims.claim(['order'], 5)
      if (claimed === undefined) throw new Error()
      await worker.commits.park(claimed.lease, 'a bug', 0)
    }
    expect(await mailOf(stage, parent.lease.sagaId)).toEqual([
      { seq: 1, body: { kind: 'childReport', sagaId: child, status } },
    ])
    expect(await worker.mailbox.read(parent.lease.sagaId, 0)).toHaveLength(1)
  })
})

test('a flush is split so that no statement changes a row twice, and what has no family goes together', () => {
  const of = (sagaId: string, ...to: string[]) => ({
    lease: { sagaId },
    ...(to.length > 0 && { family: { letters: to.map((one) => ({ to: one, letter: news(sagaId) })) } }),
  })
  const names = (batches: { lease: { sagaId: string } }[][]) =>
    batches.map((batch) => batch.map(({ lease }) => lease.sagaId).join(''))
  expect(names(splitByFamily([of('a'), of('b')]))).toEqual(['ab'])
  expect(names(splitByFamily([of('a', 'x'), of('b'), of('c', 'x')]))).toEqual(['b', 'ac'])
  expect(names(splitByFamily([of('a', 'b'), of('b', 'a'), of('c', 'b')]))).toEqual(['ac', 'b'])
})

/** Two batches that write to the same sagas, in opposite orders, again and again. */
test('commits that write to the same sagas do not lock each other out (F36)', async () => {
  const { stage, definition, worker, held } = await holding(40)
  const readers = await Promise.all(Array.from({ length: 10 }, () => stage.start(definition)))
  const to = (reader: string, { lease }: Held) => ({ to: reader, letter: news(lease.sagaId) })
  const batch = (some: Held[], order: string[]) =>
    some.map((one) => advance(one, definition, { letters: order.map((reader) => to(reader, one)) }))
  const answers = await Promise.all([
    worker.commits.commit(batch(held.slice(0, 20), readers), 0),
    worker.commits.commit(batch(held.slice(20), readers.toReversed()), 1),
  ])
  expect(answers.flat().every((one) => one.ok && one.answer.is === 'committed')).toBe(true)
  for (const reader of readers) expect((await stage.row(reader)).mail_seq).toBe(40)
  const [deadlocks] = await stage.sql(
    'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
  )
  expect(Number(deadlocks?.deadlocks)).toBe(0)
})
