import {
  begin,
  byteLength,
  type Handler,
  isTerminal,
  type Json,
  resolveDefinition,
  startedEntry,
} from '@backstitch/core'
import { createInputSchemas } from '@backstitch/input-schema'
import {
  type Claimed,
  type CommitAnswer,
  ConnectionLost,
  type Letter,
  type Transition,
} from '@backstitch/store'
import { describe, expect, test } from 'vitest'
import { createParticipants } from './attempt/participants.ts'
import { createServices } from './attempt/services.ts'
import { createCounters } from './counters.ts'
import { createRunner, type RunnerParts } from './runner.ts'
import { createGate, quiet, sagaOf } from './testing.ts'

/** The runner against a database that does what the test says. */
function stage(
  handlers: Record<string, { action: Handler; options?: Record<string, Json> }>,
  parts: Partial<RunnerParts> = {},
) {
  const { saga } = sagaOf('some', handlers)
  const resolved = resolveDefinition(saga.definition, 1)
  const posted: Letter[] = []
  const kinds: string[] = []
  const submit = async ({ version, entry }: Transition): Promise<CommitAnswer> => {
    kinds.push(entry.kind)
    return { is: 'committed', version: version + 1, mailSeq: 0 }
  }
  const registered = {
    name: 'some',
    version: 1,
    hash: '',
    queue: 'some',
    document: saga.definition,
    source: {},
    resolved,
    createdAt: '',
    created: false,
  }
  const runner = createRunner({
    definitions: {
      register: async () => registered,
      get: async () => registered,
      latest: async () => registered,
      lastKnown: () => undefined,
      list: async () => [],
      versions: async () => [],
    },
    mailbox: {
      read: async () => [],
      post: async (_, letter) => {
        posted.push(letter)
        return { is: 'unknown' }
      },
    },
    history: { values: async () => new Map() },
    sagaState: async () => undefined,
    callbackOf: () => undefined,
    schemas: createInputSchemas(),
    onDue: () => undefined,
    clock: { now: () => Date.now(), saw: () => undefined },
    commit: { submit, waiting: 0, settled: async () => undefined },
    release: async () => undefined,
    park: async () => undefined,
    participants: createParticipants({
      sagas: [saga],
      services: createServices([], { concurrency: 10 }),
      missing: { delayMs: async () => 500 },
    }),
    queues: new Set(['some']),
    counters: createCounters(),
    leaseMs: 5_000,
    log: quiet,
    onDueAt: () => undefined,
    onRest: () => undefined,
    ...parts,
  })
  function claimed(epoch = 1): Claimed {
    const input = null
    const state = begin(
      startedEntry({
        sagaId: 'saga',
        definition: resolved,
        input,
        inputBytes: byteLength('null'),
        now: Date.now(),
      }),
    )
    const lease = { bucket: 0, sagaId: 'saga', epoch }
    const { definition } = state
    const claim = { version: 1, leasesLost: 0, mailSeq: 0, mailSeen: 0 }
    return { lease, queue: definition.name, definition, state, ...claim }
  }
  return { runner, claimed, posted, kinds, submit }
}

test('a saga that is taken again while its claim was on its way runs once: what the older lease has begun is aborted (S13, S16, F21)', async () => {
  const gate = createGate()
  const signals: AbortSignal[] = []
  const { runner, claimed, kinds } = stage({
    one: {
      action: ({ signal }) => {
        expect(signals.every(({ aborted }) => aborted)).toBe(true)
        signals.push(signal)
        return gate.wait()
      },
    },
  })
  const older = runner.run(claimed(1))
  await gate.reached

  const newer = runner.run(claimed(2))
  await older
  await expect.poll(() => signals.length).toBe(2)
  expect(runner.has({ bucket: 0, sagaId: 'saga', epoch: 2 })).toBe(true)
  gate.open()
  await newer

  // The step is uncertain until its attempt, made again, has succeeded (S17b).
  expect(kinds).toEqual(['interrupted', 'attemptSucceeded'])
})

test('the late answer to a claim that was taken again meanwhile starts nothing (S16)', async () => {
  const gate = createGate()
  let calls = 0
  const { runner, claimed } = stage({
    one: {
      action: () => {
        calls++
        return gate.wait()
      },
    },
  })
  const running = runner.run(claimed(2))
  await gate.reached

  await runner.run(claimed(1))

  expect(calls).toBe(1)
  expect(runner.has(claimed(2).lease)).toBe(true)
  gate.open()
  await running
})

test('that an attempt was cut short is said by whoever takes its saga again, also if its lease was lost while that was on its way (S17b)', async () => {
  const kinds: string[] = []
  const answers: CommitAnswer['is'][] = ['leaseLost', 'leaseLost', 'committed', 'committed', 'committed']
  const submit = async ({ version, entry }: Transition): Promise<CommitAnswer> => {
    if (answers.shift() === 'leaseLost') return { is: 'leaseLost' }
    kinds.push(entry.kind)
    return { is: 'committed', version: version + 1, mailSeq: 0 }
  }
  const { runner, claimed } = stage(
    { one: { action: () => 1 } },
    { commit: { submit, waiting: 0, settled: async () => undefined } },
  )
  await runner.run(claimed(1))
  // The second is replaced before it has said so.
  await Promise.all([runner.run(claimed(2), { again: true }), runner.run(claimed(3), { again: true })])
  await runner.run(claimed(4), { again: true })
  expect(kinds).toEqual(['interrupted', 'attemptSucceeded'])

  // Claimed as any other, it begins with nothing to say.
  await runner.run(claimed(5))
  expect(kinds.slice(2)).toEqual(['attemptSucceeded'])
})

describe('an attempt under way does not suffer', () => {
  test('for mail that cannot be read at the moment', async () => {
    const gate = createGate()
    let failures = 0
    const { runner, claimed, kinds } = stage(
      { one: { action: () => gate.wait() } },
      {
        mailbox: {
          read: async () => {
            failures++
            if (failures < 3) throw new ConnectionLost('for a moment')
            return []
          },
          post: async () => ({ is: 'unknown' }),
        },
      },
    )
    const running = runner.run(claimed())
    await gate.reached

    runner.poke('saga')
    await expect.poll(() => failures).toBe(3)
    gate.open()
    await running

    expect(kinds).toEqual(['attemptSucceeded'])
  })

  test('for news of mail that comes again and again while it is being read: it is read once more, not as often', async () => {
    const [gate, reading] = [createGate(), createGate()]
    let reads = 0
    const { runner, claimed } = stage(
      { one: { action: () => gate.wait() } },
      {
        mailbox: {
          read: async () => {
            reads++
            await reading.wait()
            return []
          },
          post: async () => ({ is: 'unknown' }),
        },
      },
    )
    const running = runner.run(claimed())
    await gate.reached
    runner.poke('saga')
    await reading.reached
    for (let n = 0; n < 50; n++) runner.poke('saga')
    reading.open()
    await new Promise((resolve) => setTimeout(resolve, 20))
    gate.open()
    await running

    expect(reads).toBe(2)
  })
})

test('a late result that comes while its saga is being let go is passed on, not lost (S4)', async () => {
  const [late, committing] = [createGate(), createGate()]
  const { runner, claimed, posted } = stage(
    { one: { action: () => late.wait(), options: { timeoutMs: 10 } } },
    {
      commit: {
        submit: async ({ version }) => {
          await committing.wait()
          return { is: 'committed', version: version + 1, mailSeq: 0 }
        },
        waiting: 0,
        settled: async () => undefined,
      },
    },
  )
  const running = runner.run(claimed())
  await committing.reached

  late.open()
  await new Promise((resolve) => setImmediate(resolve))
  committing.open()
  await running

  expect(posted).toMatchObject([{ kind: 'lateResult', step: 'one', attempt: 1, outcome: 'succeeded' }])
})

describe('mail that is read before a saga may end', () => {
  const cancel: Letter = { kind: 'cancel', actor: 'ada', reason: 'no more' }
  const late: Letter = { kind: 'lateResult', step: 'one', direction: 'action', attempt: 1, outcome: 'failed' }

  /** The row has these letters; what would end it over one that is unread is refused. Answers what was committed. */
  function withMail(letters: Letter[]) {
    const committed: { kind: string; mailSeen: number }[] = []
    const parts: Partial<RunnerParts> = {
      mailbox: {
        read: async (_, after) =>
          letters.map((letter, index) => ({ seq: index + 1, letter })).slice(after, after + 1),
        post: async () => ({ is: 'unknown' }),
      },
      commit: {
        submit: async ({ state, entry, version, mailSeen }) => {
          const mailSeq = letters.length
          if (isTerminal(state.status) && mailSeen < mailSeq) return { is: 'unreadMail', mailSeq }
          committed.push({ kind: entry.kind, mailSeen })
          return { is: 'committed', version: version + 1, mailSeq }
        },
        waiting: 0,
        settled: async () => undefined,
      },
    }
    return { committed, parts }
  }

  test('is seen in the commit that acts on it: whoever takes over does not act on it again (M1, S10)', async () => {
    const { committed, parts } = withMail([cancel])
    const { runner, claimed } = stage({ one: { action: () => null } }, parts)

    await runner.run(claimed())

    expect(committed).toEqual([
      { kind: 'cancelRequested', mailSeen: 1 },
      { kind: 'attemptSucceeded', mailSeen: 1 },
    ])
  })

  test('is not seen while a letter before it waits (M1)', async () => {
    const { committed, parts } = withMail([cancel, late])
    const { runner, claimed } = stage({ one: { action: () => null } }, parts)
    const { state, ...rest } = claimed()
    const dueAt = { one: new Date(Date.now() + 60_000).toISOString() }

    await runner.run({ ...rest, state: { ...state, dueAt, deadlineAt: new Date(0).toISOString() } })

    expect(committed).toEqual([
      { kind: 'lateResult', mailSeen: 0 },
      { kind: 'cancelRequested', mailSeen: 2 },
    ])
  })
})

test.each(['meanwhile', 'as it ends'])(
  'a callback that the commit of a deadline tells of, which passes %s, is read before the end of its attempt: what was done is undone (S7, S25, M3)',
  async (when) => {
    const gate = createGate()
    let now = Date.now()
    const letters: { seq: number; letter: Letter }[] = []
    const { runner, claimed, kinds, submit } = stage(
      {
        one: {
          async action() {
            await gate.wait()
            throw new Error('the answer that came after it')
          },
          options: { retry: { maxAttempts: 1 } },
        },
      },
      {
        clock: { now: () => now, saw: () => undefined },
        mailbox: { read: async () => letters, post: async () => ({ is: 'unknown' }) },
        commit: {
          waiting: 0,
          settled: async () => undefined,
          async submit(transition) {
            const answer = await submit(transition)
            if (transition.entry.kind !== 'deadlinePassed') return answer
            const letter = { kind: 'callback', step: 'one', direction: 'action', end: { result: 7 } } as const
            letters.push({ seq: 1, letter })
            gate.open()
            return { ...answer, mailSeq: letters.length }
          },
        },
      },
    )
    const claim = claimed()
    const running = runner.run({
      ...claim,
      state: { ...claim.state, deadlineAt: new Date(now + 1_000).toISOString() },
    })
    await gate.reached
    now += 2_000
    if (when === 'meanwhile') runner.poke('saga')
    else gate.open()
    await running

    expect(kinds).toEqual(['deadlinePassed', 'attemptSucceeded'])
  },
)
