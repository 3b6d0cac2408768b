import type { HandlerCall, Json } from '@backstitch/core'
import type { Letter } from '@backstitch/store'
import { describe, expect, test } from 'vitest'
import { createGate, createStage, rejection, type Stage, sagaOf, serve } from './testing.ts'

/** What a person asks of a saga on its way (S30, S30a). */

const by = { actor: 'ada', reason: 'looking into it' }
type VerbLetter = Extract<Letter, { kind: 'verb' }>

async function ask(stage: Stage, sagaId: string, verb: VerbLetter['verb'], more: Partial<VerbLetter> = {}) {
  const posted = await stage.store.mailbox.post(sagaId, { kind: 'verb', verb, ...by, ...more })
  expect(posted.is).toBe('posted')
}

async function resting(stage: Stage, sagaId: string) {
  const read = async () => {
    const [row] = await stage.query('SELECT owner, due_at, paused FROM sagas WHERE saga_id = $1', [sagaId])
    return row
  }
  await expect.poll(read, { timeout: 60_000 }).toEqual({ owner: null, due_at: null, paused: true })
}

const kindsOf = async (stage: Stage, sagaId: string) => (await stage.history(sagaId)).map(({ kind }) => kind)

describe('a paused saga (S30a)', () => {
  test('lets its attempt end, rests with nobody and without a due time, and goes on when it is resumed', async () => {
    const stage = await createStage()
    const gate = createGate()
    const begun: string[] = []
    const { saga, document } = sagaOf('held', {
      one: { action: () => gate.wait() },
      two: { action: ({ step }) => void begun.push(step) },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await gate.reached
    await ask(stage, sagaId, 'pause')
    await stage.eventually(sagaId, ({ paused }) => paused !== undefined)
    gate.open()

    await resting(stage, sagaId)
    expect(await stage.saga(sagaId)).toMatchObject({
      status: 'running',
      completedSteps: ['one'],
      attempts: {},
      paused: by,
      next: { act: 'waitForOperator' },
    })
    expect(begun).toEqual([])

    await ask(stage, sagaId, 'resume')
    expect((await stage.ended(sagaId)).status).toBe('completed')
    expect(begun).toEqual(['two'])
    expect(await kindsOf(stage, sagaId)).toEqual([
      'sagaStarted',
      'paused',
      'attemptSucceeded',
      'resumed',
      'attemptSucceeded',
    ])
  })

  test('is told of to those who listen, as the acts that make it so and end it (docs/guides/webhooks.md)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('listened', { after: { action: () => 1 } })
    const wait = { name: 'wait', action: { type: 'signal', signal: 'go' }, timeoutMs: 3_600_000 }
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start({ ...Object(document), steps: [wait, ...Object(document).steps] })
    for (const verb of ['resume', 'pause', 'resume', 'pause'] as const) await ask(stage, sagaId, verb)
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', ...by })
    await stage.ended(sagaId)

    const acts = async () => {
      await stage.store.feed.publish()
      const { items } = await stage.store.feed.events(
        { types: ['saga.acted'], sagaId },
        { after: 0, limit: 100 },
      )
      return items.map(({ data: { verb, actor, refused } }) => ({
        verb,
        actor,
        refused: refused !== undefined,
      }))
    }
    const act = (verb: string, refused = false) => ({ verb, actor: by.actor, refused })
    await expect
      .poll(acts)
      .toEqual([act('resume', true), act('pause'), act('resume'), act('pause'), act('cancel')])
  })

  test('records a signal and does nothing about it; letters that change nothing leave it at rest', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('told', { after: { action: () => 1 } })
    const wait = { name: 'wait', action: { type: 'signal', signal: 'go' }, timeoutMs: 3_600_000 }
    await stage.worker({ sagas: [saga] })
    const steps = { ...Object(document), steps: [wait, ...Object(document).steps] }
    const sagaId = await stage.start(steps)
    await ask(stage, sagaId, 'pause')
    await stage.store.mailbox.post(sagaId, { kind: 'signal', signal: 'go', payload: 'now' })
    await stage.eventually(sagaId, ({ completedSteps }) => completedSteps.includes('wait'))
    await stage.store.mailbox.post(sagaId, {
      kind: 'callback',
      step: 'none',
      direction: 'action',
      end: { result: null },
    })
    await resting(stage, sagaId)
    expect((await stage.saga(sagaId)).completedSteps).toEqual(['wait'])

    await ask(stage, sagaId, 'resume')
    expect((await stage.ended(sagaId)).status).toBe('completed')
  })

  test('is turned round by a cancel, before its pivot was ever dispatched', async () => {
    const stage = await createStage()
    const gate = createGate()
    const { saga, document } = sagaOf('cancelled', {
      one: { action: () => gate.wait(), compensation: () => null },
      two: { action: () => 1, options: { pivot: true } },
    })
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await gate.reached
    await ask(stage, sagaId, 'pause')
    await stage.eventually(sagaId, ({ paused }) => paused !== undefined)
    gate.open()
    await resting(stage, sagaId)

    const posted = await stage.store.mailbox.post(sagaId, { kind: 'cancel', ...by }, { beforePivot: true })
    expect(posted.is).toBe('posted')
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'cancelled', compensatedSteps: ['one'] })
    expect(ended.paused).toBeUndefined()
  })

  test('turns round when it is resumed after its deadline, and not before (S7)', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('overdue', { one: { action: () => 1 } })
    const wait = { name: 'wait', action: { type: 'signal', signal: 'go' }, timeoutMs: 3_600_000 }
    const steps = { ...Object(document), steps: [wait, ...Object(document).steps] }
    const sagaId = await stage.start(steps, null, { deadlineMs: 1 })
    await ask(stage, sagaId, 'pause')
    // It reads its mail before it looks at the time.
    await stage.worker({ sagas: [saga] })
    await resting(stage, sagaId)
    expect((await stage.saga(sagaId)).status).toBe('running')
    await ask(stage, sagaId, 'resume')
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'failed', cause: 'deadline', clean: true })
    expect((await kindsOf(stage, sagaId)).at(-1)).toBe('resumed')
  })

  test('stays at rest when its worker dies over its mail, and can be abandoned', async () => {
    const stage = await createStage()
    const { saga, document } = sagaOf('left', { one: { action: () => 1 } })
    const sagaId = await stage.start(document)
    await ask(stage, sagaId, 'pause')
    await stage.worker({ sagas: [saga] })
    await resting(stage, sagaId)
    expect((await stage.store.mailbox.abandon(sagaId, by)).is).toBe('posted')
    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'abandoned' })
    expect(ended.paused).toBeUndefined()
    expect(await stage.query('SELECT paused FROM sagas WHERE saga_id = $1', [sagaId])).toEqual([
      { paused: false },
    ])
  })
})

test('run now brings a back-off and a delay forward, and is refused where all is waited for from outside (S30)', async () => {
  const stage = await createStage()
  let tries = 0
  const { saga, document } = sagaOf('sooner', {
    one: {
      action: () => {
        if (++tries === 1) throw new Error('later')
        return tries
      },
      options: { retry: { maxAttempts: 2, initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } },
    },
  })
  const delay = { name: 'delay', action: { type: 'delay', delayMs: 3_600_000 } }
  const wait = { name: 'wait', action: { type: 'signal', signal: 'go' }, timeoutMs: 3_600_000 }
  await stage.worker({ sagas: [saga] })
  const sagaId = await stage.start({ ...Object(document), steps: [...Object(document).steps, delay, wait] })
  await stage.eventually(sagaId, ({ attempts, next }) => attempts.one === 2 && next.worker === undefined)
  await ask(stage, sagaId, 'runNow')
  await stage.eventually(sagaId, ({ waiting }) => waiting?.delay !== undefined)
  await ask(stage, sagaId, 'runNow')
  await stage.eventually(sagaId, ({ waiting }) => waiting?.wait !== undefined)
  expect((await stage.saga(sagaId)).context.one).toBe(2)
  await ask(stage, sagaId, 'runNow')
  await expect
    .poll(async () => (await stage.history(sagaId)).at(-1))
    .toMatchObject({
      kind: 'verbRefused',
      verb: 'runNow',
      why: 'nothing is scheduled for later: what the saga waits for comes from outside',
    })
})

describe('a retry with an edited input (S30a)', () => {
  type Call = Pick<HandlerCall, 'idempotencyKey' | 'input' | 'direction'> & { context: Json }

  async function stuckUndo(stage: Stage, calls: Call[]) {
    const noted = ({ idempotencyKey, input, direction, context }: HandlerCall) => {
      calls.push({ idempotencyKey, input, direction, context: context.input ?? null })
    }
    const { saga, document } = sagaOf('edited', {
      one: {
        action: noted,
        compensation: (call) => {
          noted(call)
          if (call.input !== 'better') throw rejection('not like this')
        },
      },
      two: {
        action: () => {
          throw rejection('no')
        },
      },
    })
    const sagaId = await stage.start(document, 'bad')
    return { saga, sagaId }
  }

  test('gives a handler that input under a new key, in that direction alone, over workers too', async () => {
    const stage = await createStage()
    const calls: Call[] = []
    const { saga, sagaId } = await stuckUndo(stage, calls)
    const first = await stage.worker({ sagas: [saga] })
    await stage.eventually(sagaId, ({ status }) => status === 'stuck')

    await ask(stage, sagaId, 'retry', { input: 'better' })
    await expect
      .poll(async () => (await stage.history(sagaId)).at(-1))
      .toMatchObject({
        kind: 'verbRefused',
        why: expect.stringContaining('force it'),
      })
    await first.stop()
    // Read by a worker that was not there when it was edited the first time.
    await ask(stage, sagaId, 'retry', { input: 'worse', force: true })
    const second = await stage.worker({ sagas: [saga] })
    await stage.eventually(sagaId, ({ status, version }) => status === 'stuck' && version > 6)
    await second.stop()
    await stage.worker({ sagas: [saga] })
    // Retried as it is, it keeps what it was given last.
    const { version } = await stage.saga(sagaId)
    await ask(stage, sagaId, 'retry')
    await stage.eventually(sagaId, (seen) => seen.status === 'stuck' && seen.version > version)
    await ask(stage, sagaId, 'retry', { input: 'better', force: true })

    const ended = await stage.ended(sagaId)
    expect(ended).toMatchObject({ status: 'failed', compensatedSteps: ['one'] })
    expect(ended.inputOverrides).toMatchObject({ one: { compensation: { generation: 3, forced: true } } })
    const key = (direction: string, generation: number) => `${sagaId}:one:${direction}:${generation}`
    expect(calls).toEqual([
      { idempotencyKey: key('action', 1), input: 'bad', direction: 'action', context: 'bad' },
      { idempotencyKey: key('compensation', 1), input: 'bad', direction: 'compensation', context: 'bad' },
      { idempotencyKey: key('compensation', 2), input: 'worse', direction: 'compensation', context: 'bad' },
      { idempotencyKey: key('compensation', 2), input: 'worse', direction: 'compensation', context: 'bad' },
      { idempotencyKey: key('compensation', 3), input: 'better', direction: 'compensation', context: 'bad' },
    ])
  })

  test('is sent to an HTTP service as its body; a callback has the token of the new key, and the old one is good for nothing (M3)', async () => {
    const stage = await createStage()
    const seen: { body: string; key: string; token: string }[] = []
    const url = await serve((request, response) => {
      let body = ''
      request.on('data', (chunk) => {
        body += String(chunk)
      })
      request.on('end', () => {
        const header = (name: string) => String(request.headers[name] ?? '')
        seen.push({ body, key: header('idempotency-key'), token: header('saga-callback-token') })
        const isBad = body.includes('bad')
        response.writeHead(isBad ? 409 : 202, { 'content-type': 'application/json' }).end('{}')
      })
    })
    await stage.worker()
    const undone = await stage.start({
      name: 'undone',
      steps: [
        {
          name: 'two',
          action: { type: 'signal', signal: 'go' },
          timeoutMs: 60_000,
          compensation: {
            type: 'http',
            url,
            completion: 'callback',
            body: { what: 'bad' },
            timeoutMs: 60_000,
          },
        },
        { name: 'three', action: { type: 'signal', signal: 'never' }, timeoutMs: 1 },
      ],
    })
    await stage.store.mailbox.post(undone, { kind: 'signal', signal: 'go', payload: 'x' })
    await stage.eventually(undone, ({ status }) => status === 'stuck')
    const old = seen.at(-1)
    await ask(stage, undone, 'retry', { input: { what: 'good' }, force: true })
    await stage.eventually(undone, ({ waiting }) => waiting?.two?.for === 'callback')
    const last = seen.at(-1)
    expect(last).toMatchObject({ body: '{"what":"good"}', key: `${undone}:two:compensation:2` })
    expect(last?.token).not.toBe(old?.token)
    expect((await stage.store.callbacks.post(old?.token ?? '', { result: null })).is).toBe('unknown')
    expect((await stage.store.callbacks.post(last?.token ?? '', { result: null })).is).toBe('posted')
    expect((await stage.ended(undone)).status).toBe('failed')
  })
})
