import { deepStrictEqual } from 'node:assert/strict'
import {
  decide,
  dueNow,
  type Event,
  fold,
  isMoving,
  isTerminal,
  type Json,
  next,
  wakeAt,
  wantedOf,
} from '@backstitch/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Transition } from './commits.ts'
import { createStage, failure, type Held, heldAs, type Stage, success, type TestWorker } from './testing.ts'

/**
 * One saga through everything that can happen to it, with the real rules on a real database. After each move the history
 * has no gap, folding it gives the state of the row (S35), and no epoch is smaller than the one before (S16).
 */

const moves = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('succeed' as const), bytes: fc.constantFrom(2, 900, 5_000) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('fail' as const),
      outcome: fc.constantFrom('rejected', 'failed', 'uncertain'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('cancel', 'crash', 'interrupt', 'release', 'replay', 'stale'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('operate' as const),
      verb: fc.constantFrom('retry', 'skip', 'markCompensated'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('signal' as const), bytes: fc.constantFrom(2, 5_000) }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      { do: 'park' as const },
      { do: 'abandon' as const },
      { do: 'release' as const },
    ),
  },
)
type Move = typeof moves extends fc.Arbitrary<infer M> ? M : never

const sagas = fc.record({
  steps: fc.array(
    fc.record({
      waits: fc.constantFrom(undefined, undefined, undefined, 'delay', 'signal'),
      undoable: fc.nat(3).map((n) => n > 0),
      compensateWhen: fc.constantFrom('completed', 'uncertain'),
    }),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
  pivot: fc.option(fc.nat(3), { nil: undefined }),
  input: fc.constantFrom<Json>(null, { id: '😀' }, 'x'.repeat(3_000)),
  moves: fc.array(moves, { minLength: 5, maxLength: 25, size: 'max' }),
})

const undoable = { waits: undefined, undoable: true, compensateWhen: 'completed' } as const
const waits = (what: 'delay' | 'signal') => ({ ...undoable, undoable: false, waits: what })
const succeed = { do: 'succeed', bytes: 2 } as const
const fail = { do: 'fail', outcome: 'rejected' } as const
const examples: [typeof sagas extends fc.Arbitrary<infer S> ? S : never][] = [
  [{ steps: [undoable, undoable], pivot: 1, input: null, moves: [succeed, succeed] }],
  [
    {
      steps: [undoable, undoable, undoable],
      pivot: undefined,
      input: 'x'.repeat(3_000),
      moves: [
        succeed,
        succeed,
        fail,
        fail,
        { do: 'operate', verb: 'retry' },
        { do: 'crash' },
        { do: 'abandon' },
      ],
    },
  ],
  [
    {
      steps: [undoable, undoable],
      pivot: undefined,
      input: null,
      moves: [succeed, fail, { do: 'crash' }, succeed],
    },
  ],
  [{ steps: [waits('delay')], pivot: undefined, input: null, moves: [{ do: 'release' }, { do: 'abandon' }] }],
  // One that is left due, and one that ends beside it.
  [{ steps: [waits('delay')], pivot: undefined, input: null, moves: [{ do: 'stale' }] }],
  [{ steps: [waits('delay')], pivot: undefined, input: null, moves: [{ do: 'cancel' }, { do: 'crash' }] }],
  [
    {
      steps: [undoable, waits('signal'), undoable],
      pivot: 2,
      input: null,
      moves: [{ do: 'signal', bytes: 5_000 }, succeed, { do: 'abandon' }],
    },
  ],
]

test('after any sequence of commits, crashes, mail and operators: history without a gap, and its fold is the state', async () => {
  const stage = await createStage()
  const worker = await stage.worker()
  const reached = new Set<string>()
  let name = 0
  await fc.assert(
    fc.asyncProperty(sagas, async ({ steps, pivot, input, moves }) => {
      const document = {
        name: `order${name++}`,
        steps: steps.map(({ waits, undoable, compensateWhen }, n) => ({
          name: `step${n + 1}`,
          ...(waits === undefined
            ? {
                action: { type: 'handler' },
                ...(undoable && { compensation: { type: 'handler', retry: { maxAttempts: 2 } } }),
                retry: { maxAttempts: 2 },
                compensateWhen,
                ...(n === pivot && { pivot: true }),
              }
            : waits === 'delay'
              ? { action: { type: 'delay', delayMs: 1_000 } }
              : { action: { type: 'signal', signal: 's' }, timeoutMs: 60_000 }),
        })),
      }
      const play = await begin(stage, worker, document, input)
      for (const move of moves) {
        await play.make(move)
        const status = await check(stage, play.sagaId)
        reached.add(status)
      }
    }),
    { numRuns: 30, examples },
  )
  // The driver gets around: what it never reaches proves nothing.
  expect([...reached]).toEqual(
    expect.arrayContaining(['running', 'compensating', 'stuck', 'failed', 'completed']),
  )
})

/** Answers the status the saga has. */
async function check(stage: Stage, sagaId: string): Promise<string> {
  const row = await stage.row(sagaId)
  const items = await stage.api.history.read(sagaId, { limit: 1_000 })
  expect(items.map(({ seq }) => seq)).toEqual(items.map((_, n) => n + 1))
  expect(row.version).toBe(items.length)
  deepStrictEqual(fold(items), row.state)
  expect(row.status).toBe(row.state.status)
  expect(row.failed_step).toBe(row.state.failedStep ?? null)
  expect(row.updated_at.toISOString()).toBe(row.state.updatedAt)
  expect(row.ended_at?.toISOString()).toBe(isTerminal(row.state.status) ? row.state.updatedAt : undefined)
  const epochs = items.map(({ epoch }) => epoch)
  expect(epochs).toEqual(epochs.toSorted((a, b) => a - b))
  expect(row.epoch).toBeGreaterThanOrEqual(epochs.at(-1) ?? 0)
  const shown = await stage.api.queries.saga(sagaId)
  const names = [...Object.keys(row.state.context), ...wantedOf(row.state).names]
  expect(Object.keys(shown?.context ?? {}).toSorted()).toEqual(names.toSorted())
  return row.status
}

async function begin(stage: Stage, worker: TestWorker, document: Record<string, Json>, input: Json) {
  const definition = await stage.register(document)
  const inputBytes = JSON.stringify(input).length
  const sagaId = await stage.start(definition, { input, inputBytes })
  let held: Held | undefined
  let last: Transition | undefined
  let first: Transition | undefined
  let now = Date.now()

  /** The worker holds the saga, as often as it must be claimed for that. */
  async function hold(): Promise<Held | undefined> {
    if (held !== undefined) return held
    await stage.sql('UPDATE sagas SET due_at = now() WHERE saga_id = $1 AND due_at IS NOT NULL', [sagaId])
    // Of the sagas before it some may be due by now, in the same queue or with mail.
    const claimed = [
      ...(await worker.claims.claim([definition.queue], 1_000)),
      ...(await worker.claims.claimSuspect([definition.queue])),
    ].find(({ lease }) => lease.sagaId === sagaId)
    if (claimed === undefined) return undefined
    held = heldAs(claimed)
    if (claimed.leasesLost > (held.state.leasesLost ?? 0))
      await tell({ type: 'leaseLost', leasesLost: claimed.leasesLost })
    for (const { seq, letter } of held ? await worker.mailbox.read(sagaId, held.mailSeen) : []) {
      if (held === undefined || letter.kind === 'lateResult') continue
      held = { ...held, mailSeen: seq }
      const { kind, ...facts } = letter
      if (kind === 'cancel') await tell({ type: 'cancelRequested', actor: 'ada', reason: 'why' })
      else if (kind === 'signal') {
        const { signal, payload } = letter
        const payloadBytes = JSON.stringify(payload).length
        await tell({ type: 'signalReceived', signal, letter: seq, payload, payloadBytes })
      } else if ('verb' in facts) await tell({ type: 'verbRequested', ...facts })
    }
    if (held !== undefined && !isMoving(held.state.status)) {
      await worker.commits.release(held.lease, 0)
      held = undefined
    }
    return held
  }

  async function tell(event: Event): Promise<void> {
    if (held === undefined) return
    const { lease, version, mailSeen, state } = held
    const decision = decide(state, event, { definition: definition.resolved, now, random: 0.5, version })
    if (decision.is === 'ignored') return
    const at = wakeAt(decision.state, now)
    const after =
      at === undefined
        ? { is: 'rest' as const }
        : at > now
          ? { is: 'due' as const, at }
          : { is: 'keep' as const }
    last = { lease, version, mailSeen, state: decision.state, entry: decision.entry, after }
    first ??= last
    let [answer] = await worker.commits.commit([last], 0)
    if (answer?.ok === true && answer.answer.is === 'unreadMail') {
      // The next letter is not read here, as if there were nothing in it.
      last = { ...last, mailSeen: answer.answer.mailSeq }
      answer = (await worker.commits.commit([last], 0))[0]
    }
    expect(answer).toMatchObject({ ok: true, answer: { is: 'committed', version: version + 1 } })
    held =
      after.is === 'keep'
        ? { ...held, version: version + 1, mailSeen: last.mailSeen, state: decision.state }
        : undefined
  }

  async function settle(end: (held: Held) => Event): Promise<void> {
    const mine = await hold()
    if (mine === undefined) return
    const due = next(mine.state)
    if (due.act === 'attempt')
      now = Math.max(now, ...due.attempts.map(({ dueAt }) => Date.parse(dueAt ?? '') || 0))
    if (dueNow(mine.state, now).length > 0) await tell(end(mine))
  }

  async function make(move: Move): Promise<void> {
    now += 5
    switch (move.do) {
      case 'succeed':
        return settle(({ state }) => success(state, 'x'.repeat(move.bytes)))
      case 'fail':
        return settle(({ state }) => failure(state, move.outcome, 'é'.repeat(5_000)))
      case 'cancel':
        await stage.api.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'why' })
        if (held !== undefined) await worker.commits.release(held.lease, 0)
        held = undefined
        return void (await hold())
      case 'signal': {
        const letter = { kind: 'signal', signal: 's', payload: 'x'.repeat(move.bytes) } as const
        await stage.api.mailbox.post(sagaId, letter)
        if (held !== undefined) await worker.commits.release(held.lease, 0)
        held = undefined
        return void (await hold())
      }
      case 'operate':
        await stage.api.mailbox.post(
          sagaId,
          { kind: 'verb', verb: move.verb, actor: 'ada', reason: 'why' },
          { status: 'stuck' },
        )
        return void (await hold())
      case 'crash':
        if ((await hold()) === undefined) return
        await stage.sql('UPDATE sagas SET owner = gen_random_uuid() WHERE saga_id = $1', [sagaId])
        expect(await worker.session.sweep(100)).toBe(1)
        held = undefined
        return void (await hold())
      case 'interrupt':
        if (await hold()) await tell({ type: 'interrupted' })
        return
      case 'release':
        if (held !== undefined) await worker.commits.release(held.lease, 1_000)
        held = undefined
        return
      case 'replay':
      case 'stale': {
        const old = move.do === 'replay' ? last : first
        if (old === undefined) return
        const before = await stage.row(sagaId)
        await worker.commits.commit([old], 1)
        return deepStrictEqual(await stage.row(sagaId), before)
      }
      case 'park':
        if (held !== undefined) await worker.commits.park(held.lease, 'why not', 0)
        held = undefined
        return
      case 'abandon':
        await stage.api.mailbox.abandon(sagaId, { actor: 'ada', reason: 'why' })
        held = undefined
    }
  }

  return { sagaId, make }
}
