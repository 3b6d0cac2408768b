import { Entry, fold, type Handler, type Json, type Saga } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { createGate, createStage, rejection, type Stage, sagaOf } from './testing.ts'

/** Sagas that start sagas (M4, M5). */

/** A parent whose second step is a saga of two steps. `log` has every call in order. */
function family(
  log: string[],
  more: {
    parent?: Record<
      string,
      { action?: Handler; compensation?: Handler; options?: Record<string, Json> | undefined }
    >
    child?: Record<
      string,
      { action?: Handler; compensation?: Handler; options?: Record<string, Json> | undefined }
    >
    childOptions?: Record<string, Json>
    parentOptions?: Record<string, Json>
    step?: Record<string, Json>
  } = {},
) {
  const step = (name: string, of: 'parent' | 'child') => ({
    action:
      more[of]?.[name]?.action ??
      (({ step }) => {
        log.push(step)
        return `${step} done`
      }),
    compensation:
      more[of]?.[name]?.compensation ??
      (({ step, idempotencyKey, sagaId }) => {
        log.push(`undo ${step}`)
        keys.push({ sagaId, idempotencyKey })
      }),
    ...(more[of]?.[name]?.options && { options: more[of]?.[name]?.options }),
  })
  const keys: { sagaId: string; idempotencyKey: string }[] = []
  const child = sagaOf(
    'child',
    { paper: step('paper', 'child'), stamp: step('stamp', 'child') },
    more.childOptions,
  )
  const parent = sagaOf(
    'parent',
    { before: step('before', 'parent'), placeholder: { action: () => null }, after: step('after', 'parent') },
    more.parentOptions,
  )
  if (!isObject(parent.document) || !Array.isArray(parent.document.steps)) throw new Error('no document')
  const [before = null, , after = null] = parent.document.steps
  const inner: Json = { name: 'inner', action: { type: 'saga', definition: 'child', ...more.step } }
  const document: Json = { ...parent.document, steps: [before, inner, after] }
  return { document, child, keys, sagas: [child.saga, { ...parent.saga }] }
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function childOf(stage: Stage, sagaId: string, step = 'inner'): Promise<string> {
  const parent = await stage.eventually(sagaId, ({ children }) => children?.[step] !== undefined)
  return parent.children?.[step] ?? ''
}

const sagasIn = (stage: Stage) =>
  stage.query('SELECT definition_name, status, count(*)::int AS count FROM sagas GROUP BY 1, 2 ORDER BY 1, 2')

/** The parent's handlers belong to a definition with a step that is none of them. */
async function begin(stage: Stage, { document, sagas }: ReturnType<typeof family>, input: Json = { n: 1 }) {
  await stage.register(document)
  await stage.worker({ sagas, queues: ['default', 'parent', 'child'] })
  return stage.start(document, input)
}

describe('a step that is a saga', () => {
  test('starts it, waits for its end, and has its results as its own (M4)', async () => {
    const stage = await createStage()
    const log: string[] = []
    const sagaId = await begin(stage, family(log))

    const ended = await stage.ended(sagaId)

    expect(log).toEqual(['before', 'paper', 'stamp', 'after'])
    const child = await childOf(stage, sagaId)
    expect(ended).toMatchObject({
      status: 'completed',
      completedSteps: ['before', 'inner', 'after'],
      context: { inner: { sagaId: child, results: { paper: 'paper done', stamp: 'stamp done' } } },
    })
    expect(await stage.saga(child)).toMatchObject({
      status: 'completed',
      parent: { sagaId, step: 'inner', direction: 'action', depth: 1 },
      context: { input: { n: 1 } },
    })
    // They live in one bucket.
    expect(child.slice(-2)).toBe(sagaId.slice(-2))
  })

  test('gives it the input that its expressions make, and the version that is the highest by then (S26)', async () => {
    const stage = await createStage()
    const made = family([], { step: { input: { from: '${{ context.before }}', n: '${{ input.n }}' } } })
    const sagaId = await begin(stage, made)
    const child = await stage.ended(await childOf(stage, sagaId))
    expect(child.context.input).toEqual({ from: 'before done', n: 1 })
    expect(child.definition).toEqual({ name: 'child', version: 1 })
  })

  test('is started anew with an edited input, which its parent keeps for itself (S30d)', async () => {
    const stage = await createStage()
    const made = family([], {
      parent: { before: { options: { pivot: true } } },
      child: {
        paper: {
          action: ({ input }) => {
            if (JSON.stringify(input) !== '{"n":2}') throw rejection('no paper of that kind')
          },
        },
      },
    })
    const sagaId = await begin(stage, made)
    await stage.eventually(sagaId, ({ status }) => status === 'stuck')
    const first = await childOf(stage, sagaId)
    await stage.store.mailbox.post(sagaId, {
      kind: 'verb',
      verb: 'retry',
      actor: 'ada',
      reason: 'another kind',
      input: { n: 2 },
    })

    const ended = await stage.ended(sagaId)

    const second = await childOf(stage, sagaId)
    expect(second).not.toBe(first)
    expect(ended).toMatchObject({
      status: 'completed',
      context: { input: { n: 1 }, inner: { sagaId: second } },
    })
    expect(await stage.saga(first)).toMatchObject({ status: 'failed', context: { input: { n: 1 } } })
    expect(await stage.saga(second)).toMatchObject({ status: 'completed', context: { input: { n: 2 } } })
  })

  test('is undone as one unit when a later step fails: its own steps in reverse, under its own keys (M5)', async () => {
    const stage = await createStage()
    const log: string[] = []
    const made = family(log, {
      parent: {
        after: {
          action: () => {
            throw rejection('no')
          },
        },
      },
    })
    const sagaId = await begin(stage, made)

    const ended = await stage.ended(sagaId)

    expect(ended).toMatchObject({ status: 'failed', compensatedSteps: ['inner', 'before'], clean: true })
    expect(log).toEqual(['before', 'paper', 'stamp', 'undo stamp', 'undo paper', 'undo before'])
    const child = await childOf(stage, sagaId)
    expect(made.keys.slice(0, 2)).toEqual([
      { sagaId: child, idempotencyKey: `${child}:stamp:compensation:1` },
      { sagaId: child, idempotencyKey: `${child}:paper:compensation:1` },
    ])
    expect((await stage.saga(child)).status).toBe('completed')
    expect(await sagasIn(stage)).toEqual([
      { definition_name: 'child', status: 'completed', count: 2 },
      { definition_name: 'parent', status: 'failed', count: 1 },
    ])
    const [undo] = await stage.query("SELECT saga_id FROM sagas WHERE state->>'undoOf' = $1", [child])
    expect(await stage.saga(String(undo?.saga_id))).toMatchObject({
      undoOf: child,
      completedSteps: ['paper', 'stamp'],
      compensatedSteps: ['stamp', 'paper'],
      parent: { sagaId, direction: 'compensation' },
    })
  })

  test('fails when it fails, having undone itself, and what was before it is undone', async () => {
    const stage = await createStage()
    const log: string[] = []
    const made = family(log, {
      child: {
        stamp: {
          action: () => {
            throw rejection('no stamps')
          },
        },
      },
    })
    const ended = await stage.ended(await begin(stage, made))
    expect(ended).toMatchObject({ status: 'failed', failedStep: 'inner', clean: true })
    expect(ended.failureReason).toMatch(/CHILD_FAILED.*is failed: step "stamp" was rejected/)
    expect(log).toEqual(['before', 'paper', 'undo paper', 'undo before'])
  })

  test('that cannot be started is rejected: an unknown definition, an input that cannot be made', async () => {
    const stage = await createStage()
    for (const [step, code] of [
      [{ definition: 'nobody' }, 'UNKNOWN_DEFINITION'],
      [{ version: 7 }, 'UNKNOWN_DEFINITION'],
      [{ input: '${{ input.missing }}' }, 'EXPRESSION_FAILED'],
      [{ input: { n: 'one' } }, 'INVALID_INPUT'],
    ] as const) {
      const inputSchema = { properties: { n: { type: 'number' } } }
      const made = family([], { step: { ...step }, childOptions: { inputSchema } })
      const ended = await stage.ended(await begin(stage, made))
      expect(ended.failureReason).toContain(code)
      expect(ended.status).toBe('failed')
    }
  })

  test('that starts itself without end is stopped at a depth of 16, and all of it is undone', async () => {
    const stage = await createStage()
    const document = {
      name: 'endless',
      steps: [{ name: 'again', action: { type: 'saga', definition: 'endless' } }],
    }
    await stage.worker()
    const ended = await stage.ended(await stage.start(document))
    expect(ended.status).toBe('failed')
    expect(await sagasIn(stage)).toEqual([{ definition_name: 'endless', status: 'failed', count: 17 }])
  })
})

describe('cancel', () => {
  test('travels down: the child turns round first, then the parent (M4)', async () => {
    const stage = await createStage()
    const log: string[] = []
    const gate = createGate()
    const made = family(log, { child: { stamp: { action: () => gate.wait() } } })
    const sagaId = await begin(stage, made)
    await gate.reached
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'no more' })
    const child = await childOf(stage, sagaId)
    await stage.eventually(child, ({ cancel }) => cancel !== undefined)
    expect(await stage.saga(sagaId)).toMatchObject({ status: 'running', cause: 'cancel' })
    gate.open()

    const ended = await stage.ended(sagaId)

    expect(ended).toMatchObject({ status: 'cancelled', clean: true })
    expect(await stage.saga(child)).toMatchObject({
      status: 'cancelled',
      cancel: { actor: `saga ${sagaId}` },
    })
    expect(log).toEqual(['before', 'paper', 'undo stamp', 'undo paper', 'undo before'])
  })

  test('and the deadline of the parent does', async () => {
    const stage = await createStage()
    const log: string[] = []
    const made = family(log, {
      child: { stamp: { options: { timeoutMs: 3_600_000 } } },
      parentOptions: { deadlineMs: 3_600_000 },
    })
    if (!isObject(made.child.document) || !Array.isArray(made.child.document.steps)) throw new Error()
    const [paper = null] = made.child.document.steps
    const wait = { name: 'wait', action: { type: 'signal', signal: 'never' }, timeoutMs: 3_600_000 }
    // Version 2 of the child waits for ever.
    const sagaId = await (async () => {
      await stage.register(made.document)
      await stage.worker({ sagas: made.sagas, queues: ['parent', 'child'] })
      await stage.register({ name: 'child', steps: [paper, wait] })
      return stage.start(made.document)
    })()
    await expect.poll(() => log).toEqual(['before', 'paper'])
    await stage.eventually(sagaId, ({ next }) => next.worker === undefined)
    // As if its time were over.
    await stage.query(
      `UPDATE sagas SET due_at = now(), state = state || jsonb_build_object('deadlineAt', $2::text) WHERE saga_id = $1`,
      [sagaId, new Date(0).toISOString()],
    )
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'failed', cause: 'deadline' })
    expect(log).toEqual(['before', 'paper', 'undo paper', 'undo before'])
  })
})

describe('a child that is stuck', () => {
  const stuckUndoing = (log: string[], allow: { undo: boolean }) =>
    family(log, {
      child: {
        paper: {
          compensation: () => {
            if (!allow.undo) throw new Error('the shredder is broken')
            log.push('undo paper')
          },
          options: { compensation: { type: 'handler', retry: { maxAttempts: 1 } } },
        },
        stamp: {
          action: () => {
            throw rejection('no stamps')
          },
        },
      },
    })
  const shown = ({ next }: Saga) => next.attempts?.[0]?.waiting

  test('makes its parent show why it waits, until a person has helped', async () => {
    const stage = await createStage()
    const log: string[] = []
    const allow = { undo: false }
    const sagaId = await begin(stage, stuckUndoing(log, allow))
    const child = await childOf(stage, sagaId)
    await stage.eventually(child, ({ status }) => status === 'stuck')
    const seen = await stage.eventually(sagaId, (saga) => {
      const waiting = shown(saga)
      return waiting?.for === 'saga' && waiting.stuck === true
    })
    expect(shown(seen)).toEqual({ for: 'saga', sagaId: child, stuck: true })

    allow.undo = true
    await stage.store.mailbox.post(child, { kind: 'verb', verb: 'retry', actor: 'ada', reason: 'mended' })

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', clean: true })
    expect((await stage.history(sagaId)).map(({ kind }) => kind)).toEqual([
      'sagaStarted',
      'attemptSucceeded',
      'childStarted',
      'childReported',
      'childReported',
      'attemptFailed',
      'attemptSucceeded',
    ])
  })

  test('and is abandoned leaves its step uncertain in the parent (S9)', async () => {
    const stage = await createStage()
    const sagaId = await begin(stage, stuckUndoing([], { undo: false }))
    const child = await childOf(stage, sagaId)
    await stage.eventually(child, ({ status }) => status === 'stuck')
    await stage.store.mailbox.abandon(child, { actor: 'ada', reason: 'enough' })
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'failed', uncertainSteps: ['inner'], clean: false })
    expect(ended.failureReason).toContain('CHILD_ABANDONED')
  })
})

test('a child whose parent is abandoned goes on, and ends by itself (S30b)', async () => {
  const stage = await createStage()
  const gate = createGate()
  const sagaId = await begin(stage, family([], { child: { stamp: { action: () => gate.wait() } } }))
  await gate.reached
  const child = await childOf(stage, sagaId)
  await stage.store.mailbox.abandon(sagaId, { actor: 'ada', reason: 'by hand from here' })
  gate.open()
  expect(await stage.ended(child)).toMatchObject({ status: 'completed' })
  expect(await stage.saga(sagaId)).toMatchObject({ status: 'abandoned', completedSteps: ['before'] })
})

describe('a child that ended with something left behind leaves its step uncertain, and is not undone from outside (M4a)', () => {
  const parentOptions = { defaults: { compensateWhen: 'uncertain' } }
  const nobodyKnows = () => {
    throw Object.assign(new Error('no answer'), { [Symbol.for('backstitch.outcome')]: 'uncertain' })
  }
  const isLeftUncertain = async (stage: Stage, sagaId: string) => {
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ uncertainSteps: ['inner'], compensatedSteps: ['before'], clean: false })
    expect(await stage.query("SELECT 1 FROM sagas WHERE state->>'undoOf' IS NOT NULL")).toEqual([])
  }

  test('where one of its own steps is: undoing nothing would not undo that (S9)', async () => {
    const stage = await createStage()
    const options = { retry: { maxAttempts: 1 } }
    const made = family([], { parentOptions, child: { stamp: { action: nobodyKnows, options } } })
    const sagaId = await begin(stage, made)
    const child = await stage.ended(await childOf(stage, sagaId))
    expect(child).toMatchObject({ status: 'failed', uncertainSteps: ['stamp'] })
    await isLeftUncertain(stage, sagaId)
  })

  test('where it was abandoned half undone: nothing is undone a second time (S10)', async () => {
    const stage = await createStage()
    const log: string[] = []
    const options = { compensation: { type: 'handler', retry: { maxAttempts: 1 } } }
    const broken = () => {
      throw new Error('the shredder is broken')
    }
    const made = family(log, {
      parentOptions,
      child: {
        paper: { compensation: broken, options },
        stamp: {},
      },
    })
    if (!isObject(made.child.document) || !Array.isArray(made.child.document.steps)) throw new Error()
    const wait = { name: 'wait', action: { type: 'signal', signal: 'never' }, timeoutMs: 3_600_000 }
    await stage.register(made.document)
    await stage.worker({ sagas: made.sagas, queues: ['parent', 'child'] })
    await stage.register({ name: 'child', steps: [...made.child.document.steps, wait] })
    const sagaId = await stage.start(made.document)
    const child = await childOf(stage, sagaId)
    await stage.eventually(child, ({ next }) => next.attempts?.[0]?.waiting?.for === 'signal')
    await stage.store.mailbox.post(child, { kind: 'cancel', actor: 'ada', reason: 'no more' })
    await stage.eventually(child, ({ status }) => status === 'stuck')
    await stage.store.mailbox.abandon(child, { actor: 'ada', reason: 'enough' })

    await isLeftUncertain(stage, sagaId)

    expect(log.filter((entry) => entry === 'undo stamp')).toHaveLength(1)
  })
})

describe('a child that completed with a step in doubt leaves its parent unclean when it is undone (S9, M5a)', () => {
  /** The parent waits behind the child, of which a person seems to have skipped a step in doubt; then it is cancelled. */
  const STAMP = { completedSteps: ['paper'], skippedSteps: ['stamp'], uncertainSteps: ['stamp'] }
  async function undone(stage: Stage, more: Parameters<typeof family>[1], became = STAMP) {
    const log: string[] = []
    const { document, sagas } = family(log, more)
    if (!isObject(document) || !Array.isArray(document.steps)) throw new Error('no document')
    const wait = { name: 'wait', action: { type: 'signal', signal: 'never' }, timeoutMs: 3_600_000 }
    const [before = null, inner = null] = document.steps
    await stage.register(document)
    await stage.worker({ sagas, queues: ['default', 'parent', 'child'] })
    const sagaId = await stage.start({ ...document, steps: [before, inner, wait] })
    await stage.eventually(sagaId, ({ next }) => next.attempts?.[0]?.step === 'wait')
    const child = await childOf(stage, sagaId)
    await stage.query('UPDATE sagas SET state = state || $1::jsonb WHERE saga_id = $2', [
      JSON.stringify(became),
      child,
    ])
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'no more' })
    const ended = await stage.ended(sagaId)
    // S35, with the doubt in it.
    const { uncertainSteps } = fold((await stage.history(sagaId)).map((item) => Entry.parse(item)))
    expect(ended.uncertainSteps).toEqual(uncertainSteps)
    return { ended, log, row: await stage.query('SELECT clean FROM sagas WHERE saga_id = $1', [sagaId]) }
  }

  const inDoubt = {
    status: 'cancelled',
    compensatedSteps: ['inner', 'before'],
    uncertainSteps: ['inner'],
    clean: false,
  }

  test('where its undo leaves it so', async () => {
    const { ended, log, row } = await undone(await createStage(), {})
    expect(ended).toMatchObject(inDoubt)
    expect(row).toEqual([{ clean: false }])
    expect(log).toEqual(['before', 'paper', 'stamp', 'undo paper', 'undo before'])
  })

  test('where there is nothing to undo', async () => {
    const stage = await createStage()
    const { ended } = await undone(
      stage,
      {},
      { ...STAMP, completedSteps: [], skippedSteps: ['paper', 'stamp'] },
    )
    expect(ended).toMatchObject(inDoubt)
    expect(await stage.query("SELECT 1 FROM sagas WHERE state->>'undoOf' IS NOT NULL")).toEqual([])
  })

  test('and not where its undo undoes that, too', async () => {
    const childOptions = { defaults: { compensateWhen: 'uncertain' } }
    const { ended, log } = await undone(await createStage(), { childOptions })
    expect(ended).toMatchObject({ status: 'cancelled', uncertainSteps: [], clean: true })
    expect(log.slice(3)).toEqual(['undo stamp', 'undo paper', 'undo before'])
  })
})

test('a child past its pivot cannot be undone: the parent goes to a person, who is told (S14, M5)', async () => {
  const stage = await createStage()
  const made = family([], {
    child: { stamp: { options: { pivot: true } } },
    parent: {
      after: {
        action: () => {
          throw rejection('no')
        },
      },
    },
  })
  const sagaId = await begin(stage, made)
  const stuck = await stage.eventually(sagaId, ({ status }) => status === 'stuck')
  expect(stuck.stuck).toMatchObject({
    step: 'inner',
    direction: 'compensation',
    reason: 'compensationFailed',
  })
  expect(stuck.stuck?.message).toContain('CHILD_PAST_PIVOT')
})

test('two children at once, in one group: both results are there, and both are undone (M4)', async () => {
  const stage = await createStage()
  const log: string[] = []
  const { child } = family(log)
  const { saga: parent } = sagaOf('parent', {
    last: {
      action: () => {
        throw rejection('no')
      },
    },
  })
  const action = { type: 'saga', definition: 'child' }
  const document = {
    name: 'parent',
    steps: [
      {
        parallel: [
          { name: 'one', action },
          { name: 'two', action },
        ],
      },
      { name: 'last', action: { type: 'handler' } },
    ],
  }
  await stage.register(document)
  await stage.worker({ sagas: [child.saga, parent], queues: ['parent', 'child'] })
  const ended = await stage.ended(await stage.start(document))
  expect(ended.status).toBe('failed')
  expect(ended.completedSteps.toSorted()).toEqual(['one', 'two'])
  expect(log.filter((entry) => entry.startsWith('undo'))).toHaveLength(4)
  expect(ended.compensatedSteps).toEqual(ended.completedSteps.toReversed())
})

test('hundreds of families on two workers, one of which vanishes, each end whole: no child twice, none lost (M4)', async () => {
  const stage = await createStage()
  const [families, seats] = [150, 3]
  const effects = new Map<string, number>()
  const add = (key: string, n: number) => void effects.set(key, (effects.get(key) ?? 0) + n)
  const { saga: child } = sagaOf('child', {
    take: {
      action: ({ sagaId }) => add(sagaId, 1),
      compensation: ({ sagaId }) => add(sagaId, -1),
    },
  })
  const { saga: parent } = sagaOf('parent', {
    last: {
      action: ({ input }) => {
        if (input === 'fails') throw rejection('no')
      },
    },
  })
  const action = { type: 'saga', definition: 'child' }
  const document: Json = {
    name: 'parent',
    steps: [
      {
        parallel: Array.from({ length: seats }, (_, n) => ({ name: `seat${n}`, action })),
        compensate: 'together',
      },
      { name: 'last', action: { type: 'handler' } },
    ],
  }
  await stage.register(document)
  const options = { sagas: [child, parent], queues: ['parent', 'child'], leaseMs: 2_000 }
  const first = await stage.worker(options)
  await stage.worker(options)
  const ids = await Promise.all(
    Array.from({ length: families }, (_, n) => stage.start(document, n % 2 === 0 ? 'fails' : 'fine')),
  )
  await stage.eventually(ids[20] ?? '', ({ endedAt }) => endedAt !== undefined)
  // Its connections go, and it is told so: what it held is taken over.
  await stage.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backstitch/worker/${first.workerId}'`,
  )
  await first.stop(0)
  for (const id of ids) await stage.ended(id)

  const rows = await stage.query(
    `SELECT definition_name, status, count(*)::int AS count FROM sagas WHERE state->>'undoOf' IS NULL GROUP BY 1, 2 ORDER BY 1, 2`,
  )
  expect(rows).toEqual([
    { definition_name: 'child', status: 'completed', count: families * seats },
    { definition_name: 'parent', status: 'completed', count: families / 2 },
    { definition_name: 'parent', status: 'failed', count: families / 2 },
  ])
  const undone = await stage.query(
    `SELECT count(*)::int AS undos, count(DISTINCT state->>'undoOf')::int AS children FROM sagas WHERE state->>'undoOf' IS NOT NULL`,
  )
  expect(undone).toEqual([{ undos: (families / 2) * seats, children: (families / 2) * seats }])
  // Those that were cut short may have run twice under their one key; none ran less often than it had to.
  const completed = await stage.query(
    `SELECT c.saga_id, p.status FROM sagas c JOIN sagas p ON p.saga_id = c.parent_saga_id
     WHERE c.definition_name = 'child' AND c.state->>'undoOf' IS NULL`,
  )
  for (const { saga_id, status } of completed) {
    if (status === 'completed') expect(effects.get(String(saga_id))).toBeGreaterThanOrEqual(1)
  }
})
