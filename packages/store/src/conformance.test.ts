import { randomUUID } from 'node:crypto'
import { type Event, isTerminal, type Json } from '@backstitch/core'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Claimed } from './claims.ts'
import type { Registered } from './definitions.ts'
import { createMemoryDatabase, type MemoryDatabase, openMemoryStore } from './memory.ts'
import type { WorkerStore } from './store.ts'
import { createStage, failure, heldAs, order, orderOf, requestFor, success, transitionOf } from './testing.ts'

/** One behaviour, two stores: what a worker sees of Postgres, and of the store that simulations use. */

type Theatre = {
  worker(options?: { leaseMs?: number; queues?: string[] }): Promise<WorkerStore & { workerId: string }>
  register(document?: Json): Promise<Registered>
  start(definition: Registered, more?: { idempotencyKey?: string; requestHash?: string }): Promise<string>
  /** Declared dead. */
  kill(worker: { workerId: string }): Promise<void>
  row(sagaId: string): Promise<Record<string, unknown>>
}

const SHOWN = ['status', 'version', 'epoch', 'leasesLost', 'mailSeq', 'mailSeen'] as const

async function onPostgres(): Promise<Theatre> {
  const stage = await createStage()
  return {
    worker: (options) => stage.worker(options),
    register: (document) => stage.register(document ?? order),
    start: (definition, more) => stage.start(definition, more),
    async kill({ workerId }) {
      await stage.sql(
        `UPDATE workers SET ended_at = now(), end_reason = 'leaseExpired' WHERE worker_id = $1`,
        [workerId],
      )
    },
    async row(sagaId) {
      const { status, version, epoch, owner, due_at, leases_lost, mail_seq, mail_seen } =
        await stage.row(sagaId)
      const counts = { leasesLost: leases_lost, mailSeq: mail_seq, mailSeen: mail_seen }
      return { status, version, epoch, isHeld: owner !== null, isDue: due_at !== null, ...counts }
    },
  }
}

async function inMemory(): Promise<Theatre> {
  const database: MemoryDatabase = createMemoryDatabase({ now: () => Date.now() })
  return {
    async worker({ leaseMs = 30_000, queues = ['order'] } = {}) {
      const workerId = randomUUID()
      const store = openMemoryStore(database, { workerId, leaseMs })
      await store.session.register({ workerId, queues, handlers: {}, concurrency: 1, leaseMs, services: {} })
      onTestFinished(() => store.close())
      return { ...store, workerId }
    },
    register: async (document) => database.register(document ?? order),
    async start(definition, more) {
      const key = more?.idempotencyKey
      const answer = database.start(requestFor(definition, more), key && `request:${key}`)
      return answer.sagaId
    },
    async kill({ workerId }) {
      database.stop(workerId)
    },
    async row(sagaId) {
      const row = database.rows.get(sagaId)
      if (row === undefined) throw new Error(`there is no saga ${sagaId}`)
      const shown = Object.fromEntries(SHOWN.map((name) => [name, row[name]]))
      return { ...shown, isHeld: row.owner !== undefined, isDue: row.dueAt !== undefined }
    },
  }
}

const cancel = { kind: 'cancel', actor: 'a', reason: 'r' } as const
const cancelled: Event = { type: 'cancelRequested', actor: 'a', reason: 'r' }

describe.each([
  ['Postgres', onPostgres],
  ['memory', inMemory],
])('the store on %s', (_, open) => {
  /** A saga that a worker has claimed. */
  async function claimed(document: Json = order) {
    const theatre = await open()
    const definition = await theatre.register(document)
    const sagaId = await theatre.start(definition)
    const worker = await theatre.worker()
    const [claim] = await worker.claims.claim(['order'], 10)
    if (claim === undefined) throw new Error('nothing was claimed')
    return { theatre, definition, sagaId, worker, claim }
  }

  async function commit(
    worker: WorkerStore,
    definition: Registered,
    claim: Claimed,
    event: Event | ((state: ReturnType<typeof heldAs>['state']) => Event),
    more: Parameters<typeof transitionOf>[3] = {},
  ) {
    const held = heldAs(claim)
    const what = typeof event === 'function' ? event(held.state) : event
    const transition = transitionOf(held, what, definition.resolved, { now: worker.clock.now(), ...more })
    const [settled] = await worker.commits.commit([transition], 0)
    if (settled?.ok !== true) throw new Error('the commit was not answered')
    const { state, version, mailSeen } = transition
    return { transition, answer: settled.answer, next: { ...claim, state, version: version + 1, mailSeen } }
  }

  test('a claim takes what is due, once, and says how it stands', async () => {
    const { theatre, sagaId, worker, claim } = await claimed()
    expect(claim).toMatchObject({
      lease: { sagaId, epoch: 1 },
      queue: 'order',
      definition: { name: 'order', version: 1 },
      version: 1,
      leasesLost: 0,
      mailSeq: 0,
      mailSeen: 0,
      state: { sagaId, status: 'running', attempts: { step1: 1 } },
    })
    expect(await worker.claims.claim(['order'], 10)).toEqual([])
    expect(await theatre.row(sagaId)).toMatchObject({ epoch: 1, isHeld: true, isDue: false })
    expect((await worker.session.leases(worker.workerId)).map(({ epoch }) => epoch)).toEqual([1])
  })

  test('a claim takes from its queues only, but the mail of any', async () => {
    const { theatre, definition } = await claimed()
    const sagaId = await theatre.start(definition)
    const other = await theatre.worker({ queues: ['other'] })
    expect(await other.claims.claim(['other'], 10)).toEqual([])
    await other.mailbox.post(sagaId, cancel)
    const [claim] = await other.claims.claim(['other'], 10)
    expect(claim).toMatchObject({ lease: { sagaId }, mailSeq: 1, mailSeen: 0 })
  })

  test('the definitions of a queue take turns', async () => {
    const theatre = await open()
    const worker = await theatre.worker()
    const names = ['a', 'a', 'b']
    for (const name of names) {
      const definition = await theatre.register({ ...orderOf(1), name, queue: 'order' })
      await theatre.start(definition)
    }
    const [first] = await worker.claims.claim(['order'], 1, { after: new Map([['order', 'a']]) })
    const [second] = await worker.claims.claim(['order'], 1, { after: new Map([['order', 'b']]) })
    expect([first?.definition.name, second?.definition.name]).toEqual(['b', 'a'])
  })

  test('a commit keeps the lease or gives it up', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed(orderOf(2))
    const one = await commit(worker, definition, claim, success)
    expect(one.answer).toEqual({ is: 'committed', version: 2, mailSeq: 0 })
    expect(await theatre.row(sagaId)).toMatchObject({ version: 2, isHeld: true, isDue: false })
    const two = await commit(worker, definition, one.next, (state) => failure(state, 'failed'), {
      after: { is: 'due', at: worker.clock.now() + 60_000 },
    })
    expect(two.answer).toMatchObject({ is: 'committed' })
    expect(await theatre.row(sagaId)).toMatchObject({ version: 3, epoch: 1, isHeld: false, isDue: true })
    const { dueMs } = await worker.claims.nextDueMs(['order'])
    expect(dueMs).toBeGreaterThan(50_000)
  })

  test('a commit under another epoch, or on another version, changes nothing (S16, S17a, F04)', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed()
    const stale = { ...claim, lease: { ...claim.lease, epoch: 0 } }
    expect((await commit(worker, definition, stale, success)).answer).toEqual({ is: 'leaseLost' })
    expect((await commit(worker, definition, { ...claim, version: 7 }, success)).answer).toEqual({
      is: 'leaseLost',
    })
    expect(await theatre.row(sagaId)).toMatchObject({ version: 1, status: 'running' })
  })

  test('a commit that is sent again is recognised; another one on the same version is not (F30)', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed()
    const { transition } = await commit(worker, definition, claim, success)
    const [again] = await worker.commits.commit([transition], 1)
    expect(again).toEqual({ ok: true, answer: { is: 'committed', version: 2, mailSeq: 0 } })
    const other = await commit(worker, definition, claim, (state) => failure(state, 'failed'))
    expect(other.answer).toEqual({ is: 'leaseLost' })
    expect(await theatre.row(sagaId)).toMatchObject({ version: 2 })
  })

  test('nothing ends over unread mail, and nothing happens after the end (S22, S25, F10, F24)', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed(orderOf(1))
    await worker.mailbox.post(sagaId, cancel)
    const early = await commit(worker, definition, claim, success)
    expect(early.answer).toEqual({ is: 'unreadMail', mailSeq: 1 })
    expect(await worker.mailbox.read(sagaId, 0)).toEqual([{ seq: 1, letter: cancel }])
    const read = await commit(worker, definition, { ...claim, mailSeen: 1 }, cancelled)
    expect(read.answer).toMatchObject({ is: 'committed' })
    expect(isTerminal(read.transition.state.status)).toBe(true)
    expect(await theatre.row(sagaId)).toMatchObject({ status: 'cancelled', isHeld: false, isDue: false })
    expect(await worker.mailbox.post(sagaId, cancel)).toEqual({
      is: 'ended',
      status: 'cancelled',
      version: 2,
    })
    expect(
      (await commit(worker, definition, read.next, success).catch(() => undefined))?.answer,
    ).toBeUndefined()
  })

  test('mail makes due what rests or waits, and what is given up over it (M1)', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed(orderOf(2))
    await worker.mailbox.post(sagaId, cancel)
    const later = { is: 'due', at: worker.clock.now() + 60_000 } as const
    await commit(worker, definition, claim, (state) => failure(state, 'failed'), { after: later })
    const [again] = await worker.claims.claim(['order'], 10)
    expect(again).toMatchObject({ lease: { epoch: 2 }, mailSeq: 1, mailSeen: 0 })
    if (again === undefined) return
    await worker.commits.release(again.lease, 60_000)
    expect(await worker.claims.claim(['order'], 10)).toMatchObject([{ lease: { epoch: 4 } }])
    expect(await theatre.row(sagaId)).toMatchObject({ epoch: 4 })
  })

  test('a release puts off, and what was under way is stale', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed()
    await worker.commits.release(claim.lease, 60_000)
    expect(await theatre.row(sagaId)).toMatchObject({ epoch: 2, isHeld: false, isDue: true })
    expect((await commit(worker, definition, claim, success)).answer).toEqual({ is: 'leaseLost' })
    await worker.commits.release(claim.lease, 0)
    expect(await theatre.row(sagaId)).toMatchObject({ epoch: 2 })
  })

  test('a release counts the letters that changed nothing, and waits with those nobody here can read; news makes it due (M1)', async () => {
    const { theatre, sagaId, worker, claim } = await claimed()
    await worker.mailbox.post(sagaId, cancel)
    await worker.commits.release(claim.lease, 60_000, { seen: 1, known: 1 })
    expect(await theatre.row(sagaId)).toMatchObject({ mailSeq: 1, mailSeen: 1 })
    expect(await worker.claims.claim(['order'], 10)).toEqual([])

    await worker.mailbox.post(sagaId, cancel)
    const [second] = await worker.claims.claim(['order'], 10)
    if (second === undefined) throw new Error('the letter made nothing due')
    await worker.commits.release(second.lease, 60_000, { seen: 1, known: 2 })
    expect(await theatre.row(sagaId)).toMatchObject({ mailSeq: 2, mailSeen: 1, isDue: true })
    expect(await worker.claims.claim(['order'], 10)).toEqual([])

    await worker.mailbox.post(sagaId, cancel)
    const [third] = await worker.claims.claim(['order'], 10)
    if (third === undefined) throw new Error('the letter made nothing due')
    await worker.commits.release(third.lease, 60_000, { seen: 1, known: 2 })
    expect(await worker.claims.claim(['order'], 10)).toMatchObject([{ mailSeq: 3, mailSeen: 1 }])
  })

  test('a paused saga rests when it is given up, unless there is mail for it (S30a)', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed()
    const by = { actor: 'a', reason: 'r' }
    const paused: Event = { type: 'verbRequested', verb: 'pause', ...by }
    await commit(worker, definition, claim, paused, { after: { is: 'keep' } })
    await worker.commits.release(claim.lease, 0)
    expect(await theatre.row(sagaId)).toMatchObject({ status: 'running', isHeld: false, isDue: false })

    await worker.mailbox.post(sagaId, { kind: 'verb', verb: 'resume', ...by })
    const [again] = await worker.claims.claim(['order'], 10)
    if (again === undefined) throw new Error('nothing was claimed')
    await theatre.kill(worker)
    const other = await theatre.worker()
    expect(await other.session.sweep(10)).toBe(1)
    expect(await theatre.row(sagaId)).toMatchObject({ isHeld: false, isDue: true })
    const [last] = await other.claims.claim(['order'], 10)
    await other.commits.release(last?.lease ?? again.lease, 0, { seen: 1, known: 1 })
    expect(await theatre.row(sagaId)).toMatchObject({ isHeld: false, isDue: false })
  })

  test('a saga nothing can be decided about goes to a person', async () => {
    const { theatre, sagaId, worker, claim } = await claimed()
    await worker.mailbox.post(sagaId, cancel)
    await worker.commits.park(claim.lease, 'no sense', 1)
    expect(await theatre.row(sagaId)).toMatchObject({
      status: 'stuck',
      version: 2,
      isHeld: false,
      isDue: false,
      mailSeen: 0,
    })
    expect((await worker.sagaState(sagaId))?.stuck).toMatchObject({
      step: null,
      reason: 'undecidable',
      direction: 'action',
    })
  })

  test('and is taken up again for what came meanwhile, once; it is stuck since it was left first (S29, M1)', async () => {
    const { theatre, sagaId, worker, claim } = await claimed()
    await worker.mailbox.post(sagaId, cancel)
    await worker.commits.park(claim.lease, 'no sense', claim.mailSeq)
    expect(await theatre.row(sagaId)).toMatchObject({ status: 'stuck', isHeld: false, isDue: true })
    const since = (await worker.sagaState(sagaId))?.stuck?.since
    const [again] = await worker.claims.claim([], 10)
    if (again === undefined) throw new Error('nothing was claimed')
    expect(again).toMatchObject({ mailSeq: 1, mailSeen: 0 })
    await expect.poll(() => worker.clock.now()).toBeGreaterThan(Date.parse(since ?? ''))
    await worker.commits.park(again.lease, 'still none', again.mailSeq)
    expect(await theatre.row(sagaId)).toMatchObject({ version: 3, isHeld: false, isDue: false, mailSeen: 0 })
    const state = await worker.sagaState(sagaId)
    expect(state?.stuck).toMatchObject({ since, message: 'still none' })
    expect(state?.updatedAt).not.toBe(since)
  })

  test('the sagas of the dead are freed, those of the living are not; and the dead claim nothing (S17)', async () => {
    const { theatre, definition, sagaId, worker, claim } = await claimed()
    const other = await theatre.worker()
    expect(await other.session.sweep(100)).toBe(0)
    await theatre.kill(worker)
    expect(await worker.session.pulse(worker.workerId, { holds: 1, services: {} })).toMatchObject({
      alive: false,
    })
    await theatre.start(definition)
    expect(await worker.claims.claim(['order'], 10)).toEqual([])
    expect(await worker.claims.takeAgain([claim.lease])).toEqual([])
    expect(await other.session.sweep(100)).toBe(1)
    expect(await theatre.row(sagaId)).toMatchObject({ epoch: 2, isHeld: false, isDue: true, leasesLost: 1 })
    expect((await commit(worker, definition, claim, success)).answer).toEqual({ is: 'leaseLost' })
  })

  test('what has killed two workers is claimed on its own (S19)', async () => {
    const { theatre, sagaId, worker } = await claimed()
    const other = await theatre.worker()
    await theatre.kill(worker)
    await other.session.sweep(100)
    const third = await theatre.worker()
    expect(await other.claims.claim(['order'], 10)).toMatchObject([{ leasesLost: 1 }])
    await theatre.kill(other)
    await third.session.sweep(100)
    expect(await third.claims.claim(['order'], 10)).toEqual([])
    expect((await third.claims.nextDueMs(['order'])).suspectWaitingMs).toBeGreaterThanOrEqual(0)
    expect(await third.claims.claimSuspect(['order'])).toMatchObject([{ lease: { sagaId }, leasesLost: 2 }])
  })

  test('what belongs to a worker is taken again under a new epoch (F94)', async () => {
    const { worker, claim } = await claimed()
    const [again] = await worker.claims.takeAgain([claim.lease])
    expect(again).toMatchObject({ lease: { epoch: 2 }, version: 1, leasesLost: 0 })
    expect(await worker.claims.takeAgain([claim.lease])).toEqual([])
  })

  test('a pulse tells of mail for what is held', async () => {
    const { sagaId, worker } = await claimed()
    await worker.mailbox.post(sagaId, cancel)
    expect(await worker.session.pulse(worker.workerId, undefined)).toMatchObject({
      alive: true,
      unread: [sagaId],
    })
  })

  test('a start is made once per key (S23)', async () => {
    const theatre = await open()
    const definition = await theatre.register()
    const worker = await theatre.worker()
    const request = requestFor(definition, { idempotencyKey: 'k' })
    const first = await worker.starts.start(request)
    expect(first.is).toBe('started')
    expect(await worker.starts.start(request)).toEqual({ is: 'repeated', sagaId: first.sagaId })
    expect(await worker.starts.start({ ...request, requestHash: 'other' })).toEqual({
      is: 'conflict',
      sagaId: first.sagaId,
    })
    expect(await worker.starts.find(request)).toEqual({ is: 'repeated', sagaId: first.sagaId })
  })

  test('a start of the highest version is made only as long as it is the highest (S26)', async () => {
    const theatre = await open()
    const definition = await theatre.register()
    const worker = await theatre.worker()
    expect(worker.definitions.lastKnown(definition.name)).toBeUndefined()
    expect(await worker.definitions.latest(definition.name)).toMatchObject({ version: 1 })
    const request = requestFor(definition, { idempotencyKey: 'k' })
    const first = await worker.starts.startIfLatest(request)
    expect(first.is).toBe('started')
    await theatre.register(orderOf(2))
    expect(worker.definitions.lastKnown(definition.name)).toMatchObject({ version: 1 })
    expect(await worker.starts.startIfLatest(requestFor(definition))).toEqual({ is: 'outdated' })
    expect(await worker.starts.startIfLatest(request)).toEqual({ ...first, is: 'repeated', state: undefined })
    expect(await worker.starts.start(requestFor(definition))).toMatchObject({ is: 'started' })
    await worker.definitions.latest(definition.name)
    expect(worker.definitions.lastKnown(definition.name)).toMatchObject({ version: 2 })
  })
})

const TEN_MINUTES_MS = 600_000
const name = fc.constantFrom('a', 'a', 'a', 'b', 'c')
const queue = fc.constantFrom('p', 'p', 'p', 'q', 'r')
const waiting = fc.record({
  queue,
  name,
  /** Far enough apart to be told from each other by whoever asks a little later. */
  dueMs: fc.integer({ min: -40, max: 9 }).map((n) => n * TEN_MINUTES_MS),
  mailSeq: fc.constantFrom(0, 0, 1),
  leasesLost: fc.constantFrom(0, 0, 0, 2),
})
const asked = fc.record({
  queues: fc.shuffledSubarray(['p', 'q']),
  limit: fc.integer({ min: 1, max: 12 }),
  after: fc.dictionary(fc.constantFrom('p', 'q'), name).map((served) => new Map(Object.entries(served))),
  held: fc.uniqueArray(fc.record({ queue, name }), {
    selector: (one) => `${one.queue} ${one.name}`,
    maxLength: 5,
  }),
  share: fc.integer({ min: 1, max: 8 }),
  mail: fc.integer({ min: 0, max: 8 }),
})

test('whatever waits, and whosever turn it is, both take the same, and know the same to be due next (S20)', async () => {
  const stage = await createStage()
  const postgres = await stage.worker()
  const sagas = fc.uniqueArray(waiting, { selector: ({ dueMs }) => dueMs, minLength: 9, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(sagas, fc.array(asked, { minLength: 1, maxLength: 4 }), async (all, claims) => {
      const memoryDatabase = createMemoryDatabase({ now: () => Date.now() })
      const workerId = randomUUID()
      const memory = openMemoryStore(memoryDatabase, { workerId, leaseMs: 30_000 })
      const about = { queues: [], handlers: {}, concurrency: 1, leaseMs: 30_000, services: {} }
      await memory.session.register({ workerId, ...about })
      await stage.sql('DELETE FROM sagas')
      for (const one of all) {
        const definition = memoryDatabase.register({ ...orderOf(1), name: one.name, queue: one.queue })
        const { sagaId } = memoryDatabase.start(requestFor(definition), undefined)
        const row = memoryDatabase.rows.get(sagaId)
        if (row === undefined) throw new Error('it was not started')
        const { mailSeq, leasesLost } = one
        memoryDatabase.rows.set(sagaId, { ...row, mailSeq, leasesLost, dueAt: Date.now() + one.dueMs })
        await stage.sql(
          `INSERT INTO sagas (bucket, saga_id, definition_name, definition_version, queue, status, state, request_hash,
                              created_at, updated_at, due_at, mail_seq, leases_lost)
           VALUES (get_byte(uuid_send($1::uuid), 15), $1, $2, 1, $3, 'running', $4, 'h', now(), now(),
                   now() + $5 * interval '1 millisecond', $6, $7)`,
          [sagaId, one.name, one.queue, row.state, one.dueMs, mailSeq, leasesLost],
        )
      }
      for (const { queues, limit, ...turns } of claims) {
        const idsOf = (claimed: Claimed[]) => claimed.map(({ lease }) => lease.sagaId)
        const taken = idsOf(await postgres.claims.claim(queues, limit, turns))
        expect(taken).toEqual(idsOf(await memory.claims.claim(queues, limit, turns)))
        const places = await Promise.all(
          [postgres, memory].map(async ({ claims: { nextDueMs } }) => {
            const { dueMs, suspectWaitingMs } = await nextDueMs(queues)
            return [dueMs, suspectWaitingMs].map((ms) => ms && Math.round(ms / TEN_MINUTES_MS))
          }),
        )
        expect(places[0]).toEqual(places[1])
      }
      await memory.close()
    }),
    { numRuns: 60 },
  )
})
