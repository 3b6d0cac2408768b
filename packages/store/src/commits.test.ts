import { decide, type Event, isTerminal, type SagaState, TERMINAL } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import type { CommitAnswer, Transition } from './commits.ts'
import type { Registered } from './definitions.ts'
import {
  after,
  createStage,
  eventually,
  failure,
  type Held,
  heldAs,
  type Stage,
  success,
  type TestWorker,
  transitionOf,
} from './testing.ts'

/** A worker that holds sagas just started. */
async function holding(count = 1, options: Parameters<Stage['worker']>[0] = {}) {
  const stage = await createStage()
  const definition = await stage.register()
  await Promise.all(Array.from({ length: count }, () => stage.start(definition)))
  const worker = await stage.worker(options)
  const claimed = await worker.claims.claim(['order'], count)
  const held = claimed.map(heldAs)
  const [first] = held
  if (first === undefined || held.length !== count) throw new Error('the sagas could not be claimed')
  return { stage, definition, worker, held, first }
}

async function commit(
  worker: TestWorker,
  ...transitions: Transition[]
): Promise<(CommitAnswer | 'failed')[]> {
  const settled = await worker.commits.commit(transitions, 0)
  return settled.map((one) => (one.ok ? one.answer : 'failed'))
}

function kindsOf(answers: (CommitAnswer | 'failed')[]): string[] {
  return answers.map((answer) => (answer === 'failed' ? answer : answer.is))
}

const cancel: Event = { type: 'cancelRequested', actor: 'ada', reason: 'changed my mind' }
const letter = { kind: 'cancel', actor: 'ada', reason: 'changed my mind' } as const

describe('a commit', () => {
  test('writes state and entry together, moves the version on and keeps the lease (S1, S3)', async () => {
    const { stage, definition, worker, first } = await holding()
    const transition = transitionOf(first, success(first.state, { id: 7 }), definition.resolved)
    expect(await commit(worker, transition)).toEqual([{ is: 'committed', version: 2, mailSeq: 0 }])
    const row = await stage.row(first.lease.sagaId)
    expect(row).toMatchObject({
      version: 2,
      epoch: 1,
      owner: worker.workerId,
      due_at: null,
      status: 'running',
    })
    expect(row.state).toEqual(transition.state)
    expect(row.updated_at.toISOString()).toBe(transition.state.updatedAt)
    const [, entry] = await stage.history(first.lease.sagaId)
    expect(entry).toMatchObject({ seq: 2, kind: 'attemptSucceeded', epoch: 1, body: { result: { id: 7 } } })
    const [, written] = await stage.api.history.read(first.lease.sagaId, { limit: 9 })
    expect(written).toEqual({ seq: 2, epoch: 1, worker: worker.workerId, ...transition.entry })
  })

  test('of a retry gives the lease up and says when the saga is due', async () => {
    const { stage, definition, worker, first } = await holding()
    const at = Date.now() + 60_000
    const transition = transitionOf(first, failure(first.state, 'failed'), definition.resolved, {
      after: { is: 'due', at },
    })
    expect(await commit(worker, transition)).toMatchObject([{ is: 'committed' }])
    const row = await stage.row(first.lease.sagaId)
    expect(row).toMatchObject({ owner: null, due_at: new Date(at), status: 'running' })
  })

  test('of an end leaves a row that is neither due nor leased', async () => {
    const { stage, definition, worker, first } = await holding()
    const transition = transitionOf(first, failure(first.state, 'rejected'), definition.resolved)
    expect(await commit(worker, transition)).toMatchObject([{ is: 'committed' }])
    const row = await stage.row(first.lease.sagaId)
    expect(row).toMatchObject({ status: 'failed', owner: null, due_at: null, failed_step: 'step1' })
    expect(row.ended_at?.toISOString()).toBe(transition.state.updatedAt)
  })

  test('of many sagas is answered one by one, whatever happened to the others', async () => {
    const { definition, worker, held } = await holding(5)
    const transitions = held.map((one) => transitionOf(one, success(one.state), definition.resolved))
    const stale = transitions.map((one, n) => (n % 2 === 0 ? one : { ...one, version: 99 }))
    expect(kindsOf(await commit(worker, ...stale))).toEqual([
      'committed',
      'leaseLost',
      'committed',
      'leaseLost',
      'committed',
    ])
  })
})

describe('the fence (S16, S17a): nothing is written', () => {
  /** Tries a transition that must change nothing; answers what the worker hears. */
  async function refused(
    stage: Stage,
    worker: TestWorker,
    transition: Transition,
  ): Promise<CommitAnswer | 'failed' | undefined> {
    const { sagaId } = transition.lease
    const before = [await stage.row(sagaId), await stage.history(sagaId)]
    const [answer] = await commit(worker, transition)
    expect([await stage.row(sagaId), await stage.history(sagaId)]).toEqual(before)
    return answer
  }

  test('under an epoch that has moved on, though version and worker be right', async () => {
    const { stage, definition, worker, first } = await holding()
    const transition = transitionOf(first, success(first.state), definition.resolved)
    const [again] = await worker.claims.takeAgain([first.lease])
    expect(again?.lease.epoch).toBe(first.lease.epoch + 1)
    expect(await refused(stage, worker, transition)).toEqual({ is: 'leaseLost' })
  })

  test('under an epoch still to come', async () => {
    const { stage, definition, worker, first } = await holding()
    const transition = transitionOf(first, success(first.state), definition.resolved)
    const { lease } = transition
    expect(await refused(stage, worker, { ...transition, lease: { ...lease, epoch: 2 } })).toEqual({
      is: 'leaseLost',
    })
  })

  test('on a version that has moved on, though the epoch be right', async () => {
    const { stage, definition, worker, first } = await holding()
    const older = transitionOf(first, failure(first.state, 'rejected'), definition.resolved)
    await commit(worker, transitionOf(first, success(first.state), definition.resolved))
    expect(await refused(stage, worker, older)).toEqual({ is: 'leaseLost' })
  })

  test('when the same transition is sent again: it is known to have been committed', async () => {
    const { stage, definition, worker, first } = await holding()
    const transition = transitionOf(first, success(first.state), definition.resolved)
    const [answer] = await commit(worker, transition)
    expect(await refused(stage, worker, transition)).toEqual(answer)
  })

  test('by a worker that has released the saga', async () => {
    const { stage, definition, worker, first } = await holding()
    await worker.commits.release(first.lease, 60_000)
    const transition = transitionOf(first, failure(first.state, 'rejected'), definition.resolved)
    expect(await refused(stage, worker, transition)).toEqual({ is: 'leaseLost' })
  })

  test('to a saga that is not there', async () => {
    const { stage, definition, worker, first } = await holding()
    const transition = transitionOf(first, success(first.state), definition.resolved)
    await stage.sql('DELETE FROM sagas')
    expect(await commit(worker, transition)).toEqual([{ is: 'leaseLost' }])
    expect(await stage.history(first.lease.sagaId)).toHaveLength(1)
  })

  test('of two equal ones in one batch, but one', async () => {
    const { stage, definition, worker, first } = await holding()
    const one = transitionOf(first, success(first.state), definition.resolved)
    const other = transitionOf(first, failure(first.state, 'rejected'), definition.resolved)
    const answers = await commit(worker, one, other)
    expect(new Set(kindsOf(answers))).toEqual(new Set(['committed', 'leaseLost']))
    expect(await stage.history(first.lease.sagaId)).toHaveLength(2)
  })
})

describe('a commit whose answer was lost (F30)', () => {
  const ways: [string, (held: Held) => Event, Transition['after'] | undefined][] = [
    ['a step', ({ state }) => success(state), undefined],
    [
      'a retry that gives the lease up',
      ({ state }) => failure(state, 'failed'),
      { is: 'due', at: Date.now() + 60_000 },
    ],
    ['an end', ({ state }) => failure(state, 'rejected'), undefined],
  ]

  test.each(ways)('is carried out once and acknowledged: %s', async (_, event, then) => {
    const stage = await createStage()
    const definition = await stage.register()
    const sagaId = await stage.start(definition)
    const network = await stage.network()
    const worker = await stage.worker({ url: network.url })
    const [claimed] = await worker.claims.claim(['order'], 1)
    const held = heldAs(claimed ?? (await Promise.reject(new Error('nothing was claimed'))))
    const transition = transitionOf(held, event(held), definition.resolved, then && { after: then })
    network.when('commit', network.swallowAnswers)
    const answer = commit(worker, transition)
    await eventually('it is carried out', async () =>
      (await stage.row(sagaId)).version === 2 ? true : undefined,
    )
    network.heal()
    network.cut()
    expect(await answer).toEqual([{ is: 'committed', version: 2, mailSeq: 0 }])
    expect((await stage.row(sagaId)).version).toBe(2)
    expect(await stage.history(sagaId)).toHaveLength(2)
  })

  test('and that never arrived is carried out at the second try', async () => {
    const { stage, definition, worker, first } = await holdingBehind((network) =>
      network.when('commit', network.goBlack),
    )
    const answer = commit(worker, transitionOf(first, success(first.state), definition.resolved))
    await eventually('it is under way', () => stage.seen())
    stage.network.heal()
    stage.network.cut()
    expect(await answer).toEqual([{ is: 'committed', version: 2, mailSeq: 0 }])
  })

  test('and that nothing is heard of is sent again on another connection, in time for the lease', async () => {
    const { stage, definition, worker, first } = await holdingBehind(
      (network) =>
        network.when('commit', () => {
          network.goBlack()
          setImmediate(network.heal)
        }),
      { leaseMs: 3_000 },
    )
    const answer = await commit(worker, transitionOf(first, success(first.state), definition.resolved))
    expect(answer).toEqual([{ is: 'committed', version: 2, mailSeq: 0 }])
    expect(stage.seen()).toBe(true)
  })

  test('is given up when the lease is over: the worker has lost the database', async () => {
    const { definition, worker, first, stage } = await holdingBehind((network) => network.goBlack(), {
      leaseMs: 200,
    })
    const answer = commit(worker, transitionOf(first, success(first.state), definition.resolved))
    stage.network.cut()
    await stage.network.close()
    expect(await answer).toEqual(['failed'])
  })

  async function holdingBehind(
    misbehave: (network: Awaited<ReturnType<Stage['network']>>) => void,
    options: Parameters<Stage['worker']>[0] = {},
  ) {
    const stage = await createStage()
    const definition = await stage.register()
    await stage.start(definition)
    const network = await stage.network()
    const worker = await stage.worker({ url: network.url, ...options })
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was claimed')
    // One commit that changes nothing, so that the lane is connected.
    await worker.commits.commit([], 0)
    let seen = false
    const { goBlack } = network
    network.goBlack = () => {
      seen = true
      goBlack()
    }
    misbehave(network)
    return {
      stage: { ...stage, network, seen: () => (seen ? true : undefined) },
      definition,
      worker,
      first: heldAs(claimed),
    }
  }
})

describe('unread mail (S25, M1)', () => {
  test('refuses an end, and nothing is written; read, it lets the saga end', async () => {
    const { stage, definition, worker, first } = await holding()
    const { sagaId } = first.lease
    await stage.api.mailbox.post(sagaId, letter)
    const end = transitionOf(first, failure(first.state, 'rejected'), definition.resolved)
    expect(await commit(worker, end)).toEqual([{ is: 'unreadMail', mailSeq: 1 }])
    expect(await stage.row(sagaId)).toMatchObject({ version: 1, status: 'running', owner: worker.workerId })
    expect(await stage.history(sagaId)).toHaveLength(1)
    const cancelled = transitionOf({ ...first, mailSeen: 1 }, cancel, definition.resolved)
    expect(await commit(worker, cancelled)).toEqual([{ is: 'committed', version: 2, mailSeq: 1 }])
    expect(await stage.row(sagaId)).toMatchObject({ status: 'cancelled', mail_seen: 1 })
  })

  test('does not hold up a step, whose answer tells of it', async () => {
    const { stage, definition, worker, first } = await holding()
    await stage.api.mailbox.post(first.lease.sagaId, letter)
    const step = transitionOf(first, success(first.state), definition.resolved)
    expect(await commit(worker, step)).toEqual([{ is: 'committed', version: 2, mailSeq: 1 }])
    expect(await stage.row(first.lease.sagaId)).toMatchObject({ mail_seq: 1, mail_seen: 0 })
  })

  test('makes a saga due at once that was going to wait', async () => {
    const { stage, definition, worker, first } = await holding()
    await stage.api.mailbox.post(first.lease.sagaId, letter)
    const at = Date.now() + 60_000
    const retry = transitionOf(first, failure(first.state, 'failed'), definition.resolved, {
      after: { is: 'due', at },
    })
    await commit(worker, retry)
    const [row] = await stage.sql('SELECT due_at <= now() AS due FROM sagas')
    expect(row).toEqual({ due: true })
  })

  test('makes a saga due that was going to rest, until an operator acts', async () => {
    const { stage, definition, worker, first } = await holding()
    await stage.api.mailbox.post(first.lease.sagaId, letter)
    const stuck = stuckFrom(first, definition)
    expect(await commit(worker, stuck)).toMatchObject([{ is: 'committed' }])
    const [row] = await stage.sql('SELECT status, due_at <= now() AS due FROM sagas')
    expect(row).toEqual({ status: 'stuck', due: true })
  })

  test('refuses the dispatch of the pivot, after which no cancel is accepted', async () => {
    const stage = await createStage()
    const action = { type: 'handler' }
    const steps = [
      { name: 'reserve', action },
      { name: 'pay', action, pivot: true },
    ]
    const definition = await stage.register({ name: 'order', steps })
    const sagaId = await stage.start(definition)
    const worker = await stage.worker()
    const [claimed] = await worker.claims.claim(['order'], 1)
    if (claimed === undefined) throw new Error('nothing was claimed')
    const first = heldAs(claimed)
    await stage.api.mailbox.post(sagaId, letter, { beforePivot: true })
    const step = transitionOf(first, success(first.state), definition.resolved)
    expect(step.state.pivot).toBe('dispatched')
    expect(await commit(worker, step)).toEqual([{ is: 'unreadMail', mailSeq: 1 }])
    expect(await stage.history(sagaId)).toHaveLength(1)
    expect(await commit(worker, { ...step, mailSeen: 1 })).toMatchObject([{ is: 'committed' }])
    expect(await stage.api.mailbox.post(sagaId, letter, { beforePivot: true })).toMatchObject({
      is: 'refused',
      pastPivot: true,
    })
  })

  test('is never lost to an end, however the two race (S25)', async () => {
    const { stage, definition, worker, held } = await holding(30)
    const ends = held.map((one) => transitionOf(one, failure(one.state, 'rejected'), definition.resolved))
    const [answers, posted] = await Promise.all([
      Promise.all(ends.map(async (end, n) => worker.commits.commit([end], n % 2))),
      Promise.all(held.map(({ lease }) => stage.api.mailbox.post(lease.sagaId, letter))),
    ])
    for (const [n, [answer]] of answers.entries()) {
      const committed = answer?.ok === true && answer.answer.is === 'committed'
      expect(posted[n]?.is).toBe(committed ? 'ended' : 'posted')
    }
  })
})

function stuckFrom(held: Held, definition: Registered): Transition {
  const event: Event = { type: 'leaseLost', leasesLost: 5 }
  return transitionOf(held, event, definition.resolved)
}

describe('a release', () => {
  test('gives the lease up for a while, without an entry, and its epoch with it', async () => {
    const { stage, worker, first } = await holding()
    const before = await stage.row(first.lease.sagaId)
    await worker.commits.release(first.lease, 60_000)
    const [row] = await stage.sql(
      `SELECT owner, version, epoch, due_at - now() BETWEEN '59 s' AND '60 s' AS later FROM sagas`,
    )
    expect(row).toEqual({ owner: null, version: before.version, epoch: before.epoch + 1, later: true })
    expect(await stage.history(first.lease.sagaId)).toHaveLength(1)
  })

  test('of many is one statement', async () => {
    const { stage, worker, held } = await holding(20)
    await Promise.all(held.map(({ lease }) => worker.commits.release(lease, 0)))
    expect(await stage.sql('SELECT count(*) FROM sagas WHERE owner IS NULL AND due_at <= now()')).toEqual([
      { count: 20 },
    ])
  })

  test('of a lease that is no longer ours changes nothing', async () => {
    const { stage, worker, first } = await holding()
    await worker.claims.takeAgain([first.lease])
    const before = await stage.row(first.lease.sagaId)
    await worker.commits.release(first.lease, 0)
    expect(await stage.row(first.lease.sagaId)).toEqual(before)
  })

  test('with unread mail makes the saga due at once', async () => {
    const { stage, worker, first } = await holding()
    await stage.api.mailbox.post(first.lease.sagaId, letter)
    await worker.commits.release(first.lease, 60_000)
    expect(await stage.sql('SELECT due_at <= now() AS due FROM sagas')).toEqual([{ due: true }])
  })

  test('of a stuck saga leaves it at rest', async () => {
    const { stage, definition, worker, first } = await holding()
    await commit(worker, stuckFrom(first, definition))
    await stage.api.mailbox.post(first.lease.sagaId, letter)
    const [claimed] = await worker.claims.claimSuspect(['order'])
    const held = heldAs(claimed ?? (await Promise.reject(new Error('nothing was claimed'))))
    const decided = decide(
      held.state,
      { type: 'lateResult', step: 'step1', direction: 'action', attempt: 1, outcome: 'failed' },
      { definition: definition.resolved, now: Date.now(), random: 0, version: held.version },
    )
    if (decided.is === 'ignored') throw new Error(decided.why)
    await commit(worker, { ...held, mailSeen: 1, ...after(decided), after: { is: 'keep' } })
    await worker.commits.release(held.lease, 0)
    expect(await stage.row(first.lease.sagaId)).toMatchObject({ status: 'stuck', owner: null, due_at: null })
  })
})

describe('parking', () => {
  test('hands the saga to a person, with the reason, under a new epoch; its entry leads to the same state (S29, S35)', async () => {
    const { stage, worker, first } = await holding()
    await worker.commits.park(first.lease, 'the definition is not there', 0)
    const row = await stage.row(first.lease.sagaId)
    expect(row).toMatchObject({
      status: 'stuck',
      version: 2,
      epoch: 2,
      owner: null,
      due_at: null,
      leases_lost: 0,
    })
    expect(row.state.stuck).toMatchObject({
      reason: 'undecidable',
      message: 'the definition is not there',
      step: null,
    })
    const entries = await stage.api.history.read(first.lease.sagaId, { limit: 9 })
    expect(entries[1]).toMatchObject({
      kind: 'parked',
      epoch: 2,
      worker: worker.workerId,
      at: row.state.updatedAt,
    })
  })

  test('leaves unread mail to whoever takes the saga up again, and is not due for it', async () => {
    const { stage, worker, first } = await holding()
    await stage.api.mailbox.post(first.lease.sagaId, letter)
    await worker.commits.park(first.lease, 'because', 1)
    expect(await stage.row(first.lease.sagaId)).toMatchObject({ mail_seq: 1, mail_seen: 0, due_at: null })
    expect([...(await stage.api.queries.resting([first.lease.sagaId])).keys()]).toEqual([first.lease.sagaId])
  })

  test('is fenced', async () => {
    const { stage, worker, first } = await holding()
    await worker.claims.takeAgain([first.lease])
    const before = await stage.row(first.lease.sagaId)
    await worker.commits.park(first.lease, 'because', 0)
    expect(await stage.row(first.lease.sagaId)).toEqual(before)
  })

  test('takes any reason: NUL, half a surrogate pair, a megabyte (F60)', async () => {
    const { stage, worker, held } = await holding(3)
    const reasons = ['NUL \0', 'half \ud800', 'x'.repeat(1 << 20)]
    for (const [n, { lease }] of held.entries()) await worker.commits.park(lease, reasons[n] ?? '', 0)
    for (const { lease } of held) {
      const { state } = await stage.row(lease.sagaId)
      expect(state.stuck?.message.length).toBeLessThanOrEqual(1024)
      expect((await stage.api.history.read(lease.sagaId, { limit: 9 }))[1]?.kind).toBe('parked')
    }
  })
})

describe('a poisoned transition', () => {
  const poisons: [string, (transition: Transition) => Transition][] = [
    ['NUL in its state', (one) => withReason(one, 'a \0 b')],
    ['half a surrogate pair in its state', (one) => withReason(one, '\udc00')],
    ['a state that contradicts the row', (one) => ({ ...one, after: { is: 'rest' } })],
    ['an instant that is none', (one) => ({ ...one, entry: { ...one.entry, at: 'soon' } })],
    ['a version that is no number', (one) => ({ ...one, version: Number.NaN })],
  ]

  function withReason(one: Transition, failureReason: string): Transition {
    return { ...one, state: { ...one.state, failureReason } }
  }

  test.each(poisons)('fails alone, wherever in the batch it is: %s (F15)', async (_, poison) => {
    for (const places of [[0], [5], [8], [0, 4, 8]]) {
      const { stage, definition, worker, held } = await holding(9)
      const transitions = held.map((one, n) => {
        const good = transitionOf(one, success(one.state, 'fine'), definition.resolved)
        return places.includes(n) ? poison(good) : good
      })
      const answers = await commit(worker, ...transitions)
      expect(kindsOf(answers)).toEqual(held.map((_, n) => (places.includes(n) ? 'failed' : 'committed')))
      const rows = await stage.sql('SELECT (version = 2) AS moved, count(*) FROM sagas GROUP BY 1 ORDER BY 1')
      expect(rows).toEqual([
        { moved: false, count: places.length },
        { moved: true, count: 9 - places.length },
      ])
    }
  })

  test('can be parked with what the database said about it, and the saga goes to a person', async () => {
    const { stage, definition, worker, first } = await holding()
    const poisoned = withReason(transitionOf(first, success(first.state, 'fine'), definition.resolved), '\0')
    const [settled] = await worker.commits.commit([poisoned], 0)
    expect(settled?.ok).toBe(false)
    await worker.commits.park(first.lease, String(settled?.ok === false && settled.error), 0)
    const { state } = await stage.row(first.lease.sagaId)
    expect(state.stuck?.message).toContain('unsupported Unicode escape sequence')
  })
})

describe('what has ended stays as it is, whatever statement is tried (S22)', () => {
  test.each([...TERMINAL])('%s', async (status) => {
    const { stage, definition, worker, first } = await holding(1)
    const { sagaId } = first.lease
    const ended: SagaState = { ...first.state, status, attempts: {} }
    await stage.sql(
      'UPDATE sagas SET status = $2, state = $3, ended_at = now(), owner = NULL, due_at = NULL, leases_lost = 3 WHERE saga_id = $1',
      [sagaId, status, JSON.stringify(ended)],
    )
    const before = await stage.row(sagaId)
    expect(isTerminal(before.state.status)).toBe(true)

    const fresh = { ...first, version: before.version }
    const keep = transitionOf(fresh, success(first.state), definition.resolved)
    const end = transitionOf(fresh, failure(first.state, 'rejected'), definition.resolved)
    expect(await commit(worker, keep, { ...keep, after: { is: 'due', at: 0 } }, end)).toEqual([
      { is: 'leaseLost' },
      { is: 'leaseLost' },
      { is: 'leaseLost' },
    ])
    await worker.commits.release(first.lease, 0)
    await worker.commits.park(first.lease, 'because', 0)
    expect(await worker.claims.claim(['order'], 10)).toEqual([])
    expect(await worker.claims.claimSuspect(['order'])).toEqual([])
    expect(await worker.claims.takeAgain([first.lease])).toEqual([])
    expect(await worker.session.sweep(10)).toBe(0)
    const is = { is: 'ended', status, version: before.version }
    const { mailbox } = stage.api
    expect(await mailbox.post(sagaId, letter)).toEqual(is)
    expect(await mailbox.post(sagaId, letter, { status, version: before.version })).toEqual(is)
    expect(await mailbox.abandon(sagaId, { actor: 'ada', reason: 'why' })).toEqual(is)
    expect(
      await mailbox.abandon(sagaId, { actor: 'ada', reason: 'why' }, { version: before.version }),
    ).toEqual(is)

    expect(await stage.row(sagaId)).toEqual(before)
    expect(await stage.history(sagaId)).toHaveLength(1)
    expect(await stage.sql('SELECT * FROM saga_mail')).toEqual([])
  })
})
