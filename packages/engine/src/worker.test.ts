import { fold, isTerminal } from '@backstitch/core'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createGate, createStage, rejection, sagaOf } from './testing.ts'

const FAST = { retry: { initialDelayMs: 1, maxDelayMs: 100, maxAttempts: 3 } }

describe('forward', () => {
  test('steps run in order, each with the results before it, one history entry and one version each (S1, S3)', async () => {
    const stage = await createStage()
    const seen: unknown[] = []
    const { saga, document } = sagaOf('forward', {
      reserve: { action: ({ input }) => ({ got: input }) },
      charge: {
        action: ({ context }) => {
          seen.push(context)
          return 7
        },
      },
      ship: { action: () => undefined },
    })
    await stage.worker({ sagas: [saga] })

    const ended = await stage.ended(await stage.start(document, { n: 1 }))

    expect(ended).toMatchObject({
      status: 'completed',
      currentStepIndex: 3,
      completedSteps: ['reserve', 'charge', 'ship'],
      context: { input: { n: 1 }, reserve: { got: { n: 1 } }, charge: 7, ship: null },
      version: 4,
    })
    expect(seen).toEqual([{ input: { n: 1 }, reserve: { got: { n: 1 } } }])
    const history = await stage.history(ended.sagaId)
    expect(history.map(({ seq, kind }) => [seq, kind])).toEqual([
      [1, 'sagaStarted'],
      [2, 'attemptSucceeded'],
      [3, 'attemptSucceeded'],
      [4, 'attemptSucceeded'],
    ])
  })

  test('a failed attempt is retried under the same idempotency key, at most as often as the definition says (S2, S5)', async () => {
    const stage = await createStage()
    const keys: string[] = []
    const { saga, document } = sagaOf('retried', {
      flaky: {
        action: ({ idempotencyKey, attempt }) => {
          keys.push(`${attempt} ${idempotencyKey}`)
          throw new Error('not today')
        },
        options: FAST,
      },
    })
    await stage.worker({ sagas: [saga] })

    const ended = await stage.ended(await stage.start(document))

    expect(ended.status).toBe('failed')
    expect(ended.failureReason).toBe('step "flaky" failed on attempt 3 of 3: HANDLER_ERROR: not today')
    const key = `${ended.sagaId}:flaky:action:1`
    expect(keys).toEqual([`1 ${key}`, `2 ${key}`, `3 ${key}`])
  })

  test('a rejected step is not retried (S5)', async () => {
    const stage = await createStage()
    let calls = 0
    const { saga, document } = sagaOf('rejected', {
      charge: {
        action: () => {
          calls++
          throw rejection('card declined')
        },
      },
    })
    await stage.worker({ sagas: [saga] })

    expect((await stage.ended(await stage.start(document))).status).toBe('failed')
    expect(calls).toBe(1)
  })

  test('after its time-out an attempt is uncertain, its signal has fired, and what it returns late is recorded and not applied (S4, F20)', async () => {
    const stage = await createStage()
    const [late, hold] = [createGate(), createGate()]
    const signals: boolean[] = []
    const { saga, document } = sagaOf('late', {
      slow: {
        action: async ({ attempt, signal }) => {
          if (attempt > 1) return 'in time'
          await new Promise((resolve) => signal.addEventListener('abort', resolve))
          signals.push(signal.aborted)
          await late.wait()
          return 'late'
        },
        options: { ...FAST, timeoutMs: 50 },
      },
      hold: { action: () => hold.wait() },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)

    await hold.reached
    late.open()
    await stage.eventually(sagaId, ({ version }) => version === 4)
    hold.open()
    const ended = await stage.ended(sagaId)

    expect(ended).toMatchObject({ status: 'completed', context: { slow: 'in time' }, uncertainSteps: [] })
    expect(signals).toEqual([true])
    const history = await stage.history(sagaId)
    expect(history.map(({ kind }) => kind)).toEqual([
      'sagaStarted',
      'attemptFailed',
      'attemptSucceeded',
      'lateResult',
      'attemptSucceeded',
    ])
    expect(history[1]).toMatchObject({ outcome: 'uncertain', error: { code: 'TIMEOUT' } })
  })

  test('large results stand outside the state, and reach later steps and readers whole (S33)', async () => {
    const stage = await createStage()
    const large = 'x'.repeat(64 * 1024)
    const { saga, document } = sagaOf('large', {
      one: { action: () => ({ large }) },
      two: { action: ({ context }) => JSON.stringify(context.one).length },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document, { big: large })

    const ended = await stage.ended(sagaId)
    expect(ended.context).toMatchObject({ input: { big: large }, one: { large }, two: large.length + 12 })

    const [row] = await stage.query(
      "SELECT state->'context' AS context, length(state::text) < 1000 AS is_small FROM sagas",
    )
    expect(row).toEqual({ context: { two: large.length + 12 }, is_small: true })
  })

  test('a handler cannot change what is stored: not its input, not earlier results, not its own result afterwards (S35)', async () => {
    const stage = await createStage()
    const mine = { list: [1] }
    const { saga, document } = sagaOf('meddling', {
      one: { action: () => mine },
      two: {
        action: ({ context }) => {
          mine.list.push(2)
          const one = context.one
          if (typeof one === 'object' && one !== null && 'list' in one && Array.isArray(one.list))
            one.list.push(3)
        },
        options: { retry: { maxAttempts: 1 } },
      },
    })
    await stage.worker({ sagas: [saga] })

    const ended = await stage.ended(await stage.start(document))

    expect(ended.failureReason).toContain('TypeError')
    expect(ended.context.one).toEqual({ list: [1] })
  })

  test('a result that is no JSON, or too large, leaves the step uncertain and fails it (S31, S32, F62, F65)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('odd', {
      odd: { action: ({ input }) => (input === 'nan' ? Number.NaN : 'x'.repeat(1024 * 1024)), options: FAST },
    })
    await stage.worker({ sagas: [saga] })

    const nan = await stage.ended(await stage.start(document, 'nan'))
    expect(nan.failureReason).toContain('RESULT_NOT_SERIALIZABLE')
    expect(nan).toMatchObject({ status: 'failed', uncertainSteps: ['odd'], clean: false })
    const large = await stage.ended(await stage.start(document, 'large'))
    expect(large.failureReason).toContain('RESULT_TOO_LARGE')
  })
})

describe('backward', () => {
  test('what completed is undone in reverse, each with its result and the failure; the failed step is not (S8, S9, S11)', async () => {
    const stage = await createStage()
    const undone: unknown[] = []
    const undo = ({
      step,
      result,
      failure,
      direction,
    }: Parameters<NonNullable<Parameters<typeof sagaOf>[1][string]['compensation']>>[0]) => {
      undone.push([step, direction, result, failure?.step])
    }
    const { saga, document } = sagaOf('backward', {
      one: { action: () => 1, compensation: undo },
      two: { action: () => 2 },
      three: { action: () => 3, compensation: undo },
      four: {
        action: () => {
          throw rejection('no')
        },
        compensation: undo,
      },
    })
    await stage.worker({ sagas: [saga] })

    const ended = await stage.ended(await stage.start(document))

    expect(ended).toMatchObject({
      status: 'failed',
      failedStep: 'four',
      compensatedSteps: ['three', 'one'],
      clean: true,
    })
    expect(undone).toEqual([
      ['three', 'compensation', 3, 'four'],
      ['one', 'compensation', 1, 'four'],
    ])
    const history = await stage.history(ended.sagaId)
    const { bytes: _, ...folded } = fold(history)
    expect(ended).toMatchObject(folded)
  })

  test('a compensation that keeps failing gets one attempt and three retries; then a person is asked, and nothing is skipped ahead (S11, S12, F23)', async () => {
    const stage = await createStage()
    const calls: string[] = []
    let broken = true
    const undo = ({ step }: { step: string }) => {
      calls.push(step)
      if (step === 'two' && broken) throw new Error('still broken')
    }
    const quick = { compensation: { type: 'handler', retry: { initialDelayMs: 1, maxDelayMs: 100 } } }
    const { saga, document } = sagaOf('stuck', {
      one: { action: () => 1, compensation: undo },
      two: { action: () => 2, compensation: undo, options: quick },
      three: {
        action: () => {
          throw rejection('no')
        },
      },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)

    const stuck = await stage.eventually(sagaId, ({ status }) => status === 'stuck')
    expect(calls).toEqual(['two', 'two', 'two', 'two'])
    expect(stuck.stuck).toMatchObject({
      step: 'two',
      direction: 'compensation',
      reason: 'compensationFailed',
    })
    expect(stuck.next).toEqual({ act: 'waitForOperator' })
    expect(stuck.failureReason).toContain('three')

    broken = false
    const by = { actor: 'ada', reason: 'fixed the service' }
    const posted = await stage.store.mailbox.post(
      sagaId,
      { kind: 'verb', verb: 'retry', ...by, decidedOn: stuck.version },
      { status: 'stuck' },
    )
    expect(posted.is).toBe('posted')
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'failed', compensatedSteps: ['two', 'one'] })
    expect(await stage.history(sagaId)).toContainEqual(
      expect.objectContaining({ kind: 'retried', ...by, step: 'two' }),
    )
  })

  test.each([
    ['skip', 'abandoned', ['one']],
    ['markCompensated', 'failed', ['two', 'one']],
  ] as const)(
    'a stuck compensation can be set aside by %s, and the saga ends %s (S30)',
    async (verb, status, compensatedSteps) => {
      const stage = await createStage()
      const { saga, document } = sagaOf('aside', {
        one: { action: () => 1, compensation: () => undefined },
        two: {
          action: () => 2,
          compensation: () => {
            throw rejection('never')
          },
        },
        three: {
          action: () => {
            throw rejection('no')
          },
        },
      })
      await stage.worker({ sagas: [saga] })
      const sagaId = await stage.start(document)
      await stage.eventually(sagaId, ({ status: now }) => now === 'stuck')

      await stage.store.mailbox.post(sagaId, { kind: 'verb', verb, actor: 'ada', reason: 'done by hand' })

      expect(await stage.ended(sagaId)).toMatchObject({ status, compensatedSteps })
    },
  )

  test('no compensation starts while a handler of its action still runs past its time-out (S13, F21)', async () => {
    const stage = await createStage()
    const gate = createGate()
    const order: string[] = []
    const { saga, document } = sagaOf('zombie', {
      one: {
        action: async ({ attempt }) => {
          if (attempt > 1) return
          await gate.wait()
          order.push('the first attempt ended')
        },
        compensation: () => {
          order.push('undone')
        },
        options: { ...FAST, timeoutMs: 30 },
      },
      two: {
        action: () => {
          setTimeout(gate.open, 100)
          throw rejection('no')
        },
      },
    })
    await stage.worker({ sagas: [saga] })

    expect((await stage.ended(await stage.start(document))).status).toBe('failed')
    expect(order).toEqual(['the first attempt ended', 'undone'])
  })
})

describe('cancel and deadline', () => {
  test('an attempt in flight is allowed to end, and its success is then undone with the rest (S25)', async () => {
    const stage = await createStage()
    const gate = createGate()
    const undone: string[] = []
    const undo = ({ step }: { step: string }) => void undone.push(step)
    const { saga, document } = sagaOf('cancelled', {
      one: { action: () => 1, compensation: undo },
      two: { action: () => gate.wait(), compensation: undo },
      three: { action: () => 3, compensation: undo },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await gate.reached

    const posted = await stage.store.mailbox.post(sagaId, {
      kind: 'cancel',
      actor: 'ada',
      reason: 'changed my mind',
    })
    expect(posted.is).toBe('posted')
    await stage.eventually(sagaId, ({ cancel }) => cancel !== undefined)
    gate.open()

    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({
      status: 'cancelled',
      completedSteps: ['one', 'two'],
      compensatedSteps: ['two', 'one'],
    })
    expect(ended.failureReason).toBe('cancelled by ada: changed my mind')
    expect(undone).toEqual(['two', 'one'])
  })

  test('a cancel that comes while the last step ends is never lost: it is accepted and acted on, or told how it ended (S25, F10)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('racing', { only: { action: () => 1, compensation: () => undefined } })
    await stage.worker({ sagas: [saga] })

    const answers = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const sagaId = await stage.start(document)
        const posted = await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'a', reason: 'r' })
        return { posted, ended: await stage.ended(sagaId) }
      }),
    )

    for (const { posted, ended } of answers) {
      if (posted.is === 'posted') expect(ended.status).toBe('cancelled')
      else expect(posted).toMatchObject({ is: 'ended', status: ended.status })
    }
  })

  test('a cancel while a retry is waited for takes effect at once (S25)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('waiting', {
      one: { action: () => 1, compensation: () => undefined },
      two: {
        action: () => {
          throw new Error('later')
        },
        options: { retry: { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } },
      },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await stage.eventually(sagaId, ({ attempts }) => attempts.two === 2)

    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'enough' })

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'cancelled', compensatedSteps: ['one'] })
  })

  test('a deadline that passes while a retry is waited for undoes the saga, which ends failed (S7)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('overdue', {
      one: { action: () => 1, compensation: () => undefined },
      two: {
        action: () => {
          throw new Error('later')
        },
        options: { retry: { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } },
      },
    })
    await stage.worker({ sagas: [saga] })

    // Long enough for both steps to have been tried on a slow machine.
    const ended = await stage.ended(await stage.start(document, null, { deadlineMs: 2_000 }))

    expect(ended).toMatchObject({ status: 'failed', cause: 'deadline', compensatedSteps: ['one'] })
    expect(ended.failureReason).toContain('deadline')
  })
})

describe('workers', () => {
  test('a worker that lacks the handler of a step releases the saga, and no attempt is used (S20, F82)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('elsewhere', { here: { action: () => 1 }, there: { action: () => 2 } })
    const partial = { ...saga, handlers: new Map([...saga.handlers].filter(([step]) => step === 'here')) }
    await stage.worker({ sagas: [partial] })
    const sagaId = await stage.start(document)
    const waiting = await stage.eventually(sagaId, ({ next }) => next.waitingForWorker === true)
    expect(waiting.attempts).toEqual({ there: 1 })

    await stage.worker({ sagas: [saga] })

    expect((await stage.ended(sagaId)).completedSteps).toEqual(['here', 'there'])
  })

  test('a stopped worker lets running attempts end, and lets the rest go with a word in the history (S21)', async () => {
    const stage = await createStage()
    const quick = createGate()
    const endless = createGate()
    const { saga, document } = sagaOf('stopping', {
      work: {
        action: async ({ input, attempt, signal }) => {
          if (input === 'quick') return quick.wait()
          await endless.wait()
          return { attempt, aborted: signal.aborted }
        },
      },
      more: { action: () => 'by the other' },
    })
    const first = await stage.worker({ sagas: [saga] })
    const [a, b] = [await stage.start(document, 'quick'), await stage.start(document, 'endless')]
    await Promise.all([quick.reached, endless.reached])

    const stopped = first.stop(300)
    quick.open()
    await stopped

    expect(await stage.saga(a)).toMatchObject({
      status: 'running',
      completedSteps: ['work'],
      attempts: { more: 1 },
    })
    expect(await stage.saga(b)).toMatchObject({
      status: 'running',
      uncertainSteps: ['work'],
      attempts: { work: 1 },
    })
    expect((await stage.history(b)).map(({ kind }) => kind)).toEqual(['sagaStarted', 'interrupted'])
    endless.open()
    await stage.worker({ sagas: [saga] })
    expect((await stage.ended(a)).status).toBe('completed')
    expect(await stage.ended(b)).toMatchObject({ status: 'completed', uncertainSteps: [] })
  })

  test('a saga whose state cannot be read goes to a person, and those beside it go on (S29, F15)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('corrupt', { one: { action: () => 1 } })
    const ids = [await stage.start(document), await stage.start(document), await stage.start(document)]
    await stage.query(`UPDATE sagas SET state = '{"status": "running", "attempts": 7}' WHERE saga_id = $1`, [
      ids[1],
    ])
    await stage.worker({ sagas: [saga] })

    expect((await stage.ended(ids[0] ?? '')).status).toBe('completed')
    expect((await stage.ended(ids[2] ?? '')).status).toBe('completed')
    const parked = await stage.eventually(ids[1] ?? '', ({ status }) => status === 'stuck')
    expect(parked.stuck?.reason).toBe('undecidable')
    await stage.store.mailbox.abandon(parked.sagaId, { actor: 'ada', reason: 'beyond repair' })
    expect((await stage.ended(parked.sagaId)).status).toBe('abandoned')
  })

  test('a saga that could not be read goes on where it stood once it can be and is retried, its mail included (S29, S30)', async () => {
    const stage = await createStage()
    const { saga } = sagaOf('mended', { one: { action: () => 1 }, two: { action: () => 2 } })
    const handler = { type: 'handler' }
    const signed = { name: 'signed', action: { type: 'signal', signal: 'signed' }, timeoutMs: 60_000 }
    const steps = [{ name: 'one', action: handler }, signed, { name: 'two', action: handler }]
    const sagaId = await stage.start({ name: 'mended', steps })
    await stage.query(`UPDATE sagas SET state = state || '{"attempts": 7}' WHERE saga_id = $1`, [sagaId])
    await stage.worker({ sagas: [saga] })
    const isParked = ({ status, version }: { status: string; version: number }) =>
      status === 'stuck' && version >= 2
    await stage.eventually(sagaId, isParked)
    await stage.store.mailbox.post(sagaId, { kind: 'signal', signal: 'signed', payload: 'ada' })
    const again = await stage.eventually(sagaId, ({ version }) => version === 3)
    expect(again.stuck).toMatchObject({ step: null, reason: 'undecidable' })
    // The letter is tried once.
    const other = sagaOf('mended', { one: { action: () => 1 } }).document
    for (let n = 0; n < 3; n++) await stage.ended(await stage.start(other))
    expect((await stage.saga(sagaId)).version).toBe(3)

    await stage.query(`UPDATE sagas SET state = state || '{"attempts": {"one": 1}}' WHERE saga_id = $1`, [
      sagaId,
    ])
    const by = { actor: 'ada', reason: 'a newer release can read it' }
    const { version: decidedOn } = again
    const retry = { kind: 'verb', verb: 'retry', ...by, decidedOn } as const
    await stage.store.mailbox.post(sagaId, retry, { status: 'stuck', version: decidedOn })

    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      context: { one: 1, signed: 'ada', two: 2 },
      uncertainSteps: [],
    })
    const kinds = (await stage.history(sagaId)).map(({ kind }) => kind)
    expect(kinds.slice(0, 5)).toEqual(['sagaStarted', 'parked', 'parked', 'signalKept', 'retried'])
  })

  test('a saga whose mail is missing goes to a person, and is not tried over and over (S29)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('robbed', { one: { action: () => 1 } })
    const sagaId = await stage.start(document)
    await stage.query('UPDATE sagas SET mail_seq = 3 WHERE saga_id = $1', [sagaId])
    await stage.worker({ sagas: [saga] })

    const parked = await stage.eventually(sagaId, ({ status }) => status === 'stuck')

    expect(parked.stuck).toMatchObject({
      reason: 'undecidable',
      message: expect.stringContaining('3 letters'),
    })
    const row = () => stage.query('SELECT epoch, owner, due_at FROM sagas WHERE saga_id = $1', [sagaId])
    const before = await row()
    // Others are claimed, and it is not.
    for (let n = 0; n < 3; n++) await stage.ended(await stage.start(document))
    expect(await row()).toEqual(before)
  })

  test('the clock of the machine decides nothing: sagas of workers an hour ahead and an hour behind end as they should (S18, F70)', async () => {
    const stage = await createStage()
    let skewMs = 3_600_000
    const now = Date.now.bind(Date)
    // Each look at the wall clock is an hour off, one way or the other.
    const wall = vi.spyOn(Date, 'now').mockImplementation(() => {
      skewMs = -skewMs
      return now() + skewMs
    })
    onTestFinished(() => wall.mockRestore())
    let calls = 0
    const { saga, document } = sagaOf('skewed', {
      flaky: {
        action: () => {
          if (++calls === 1) throw new Error('once')
          return calls
        },
      },
      last: { action: () => 1 },
    })
    await Promise.all([stage.worker({ sagas: [saga] }), stage.worker({ sagas: [saga] })])
    const sagaId = await stage.start(document, null, { deadlineMs: 60_000 })

    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      completedSteps: ['flaky', 'last'],
    })
    const [row] = await stage.query(
      `SELECT count(*)::int AS wrong FROM saga_history WHERE abs(extract(epoch FROM at - now())) > 600`,
    )
    expect(row).toEqual({ wrong: 0 })
    expect(await stage.query('SELECT max(epoch)::int AS epochs FROM sagas')).not.toEqual([{ epochs: 0 }])
  })

  test('every connection of everybody is cut again and again, and every saga still ends once with every step once (F31)', async () => {
    const stage = await createStage()
    const done = new Map<string, number>()
    const count = ({ idempotencyKey }: { idempotencyKey: string }) =>
      void done.set(idempotencyKey, (done.get(idempotencyKey) ?? 0) + 1)
    const { saga, document } = sagaOf('cut', {
      one: { action: count },
      two: { action: count },
      three: { action: count },
    })
    await stage.worker({ sagas: [saga] })
    await stage.worker({ sagas: [saga] })
    const ids = await Promise.all(Array.from({ length: 100 }, () => stage.start(document)))

    for (let round = 0; round < 15; round++) {
      await stage.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'backstitch/worker/%'`,
      )
      await new Promise((resolve) => setTimeout(resolve, 50))
    }

    const ended = await Promise.all(ids.map((id) => stage.ended(id)))
    expect(ended.every(({ status }) => status === 'completed')).toBe(true)
    expect(done.size).toBe(300)
    const again = await Promise.all(ids.map((id) => stage.history(id)))
    for (const history of again) {
      expect(history.map(({ seq }) => seq)).toEqual(history.map((_, index) => index + 1))
      expect(isTerminal(fold(history).status)).toBe(true)
    }
  })
})
