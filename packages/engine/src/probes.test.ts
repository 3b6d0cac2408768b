import type { IncomingMessage, ServerResponse } from 'node:http'
import { Entry, fold, type Json } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { createStage, type Stage, serve } from './testing.ts'

type Asked = { method: string; url: string; headers: IncomingMessage['headers']; body: string }
type Reply = { status?: number; body?: Json } | 'hangs' | 'lost'

/** A participant: `does` answers attempts, `knows` answers probes, which are told by their header. */
async function participant(
  does: (asked: Asked, nth: number) => Reply,
  knows: (asked: Asked, nth: number) => Reply,
) {
  const calls: Asked[] = []
  const probes: Asked[] = []
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(Buffer.from(chunk))
    const { method = '', url = '', headers } = request
    const asked = { method, url, headers, body: Buffer.concat(chunks).toString() }
    const isProbe = headers['saga-probe'] !== undefined
    const list = isProbe ? probes : calls
    list.push(asked)
    const reply = isProbe ? knows(asked, list.length) : does(asked, list.length)
    if (reply === 'lost') request.socket.destroy()
    if (typeof reply === 'string') return
    const { status = 200, body = {} } = reply
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  return { url: await serve((request, response) => void answer(request, response)), calls, probes }
}

const HAPPENED: Reply = { body: { outcome: 'happened', result: { id: 7 } } }
const WILL_NOT: Reply = { body: { outcome: 'willNotHappen' } }
const UNKNOWN: Reply = { body: { outcome: 'unknown' } }
const RETRY = { maxAttempts: 2, initialDelayMs: 1, maxDelayMs: 100 }

function saga(
  url: string,
  more: { probe?: { [field: string]: Json }; step?: { [field: string]: Json } } = {},
): Json {
  const probe = { type: 'http', url: `${url}/probe`, ...more.probe }
  const action: Json = { type: 'http', url: `${url}/charge`, probe }
  return { name: 'probed', steps: [{ name: 'charge', action, retry: RETRY, ...more.step }] }
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function probesIn(stage: Stage, sagaId: string): Promise<unknown[]> {
  const history = await stage.history(sagaId)
  // S35, with probes in it.
  const { uncertainSteps, compensatedSteps } = fold(history.map((item) => Entry.parse(item)))
  expect(await stage.saga(sagaId)).toMatchObject({ uncertainSteps, compensatedSteps })
  return history.flatMap((entry) => ('probes' in entry ? (entry.probes ?? []) : []))
}

describe('an attempt whose outcome is uncertain', () => {
  test('has succeeded, with its result, if the participant says that it happened; nothing is repeated', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      () => 'lost',
      () => HAPPENED,
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url), { n: 1 }))

    expect(ended).toMatchObject({ status: 'completed', context: { charge: { id: 7 } }, uncertainSteps: [] })
    expect(calls).toHaveLength(1)
    expect(probes).toHaveLength(1)
    expect(probes[0]).toMatchObject({ method: 'GET', url: '/probe', body: '' })
    expect(probes[0]?.headers).toMatchObject({
      'saga-probe': calls[0]?.headers['idempotency-key'],
      'saga-id': ended.sagaId,
      'saga-direction': 'action',
    })
    expect(probes[0]?.headers).not.toHaveProperty('idempotency-key')
    expect(await probesIn(stage, ended.sagaId)).toEqual([{ of: 'action', answer: 'happened' }])
  })

  test('has failed, and is not listed as uncertain, if the participant promises that it will not happen', async () => {
    const stage = await createStage()
    const { url, calls } = await participant(
      () => 'lost',
      () => WILL_NOT,
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url)))

    expect(ended).toMatchObject({ status: 'failed', clean: true, uncertainSteps: [] })
    expect(ended.failureReason).toContain('failed on attempt 2 of 2: CONNECTION_LOST')
    // The question before the second attempt was not needed: nothing was uncertain any more.
    expect(await probesIn(stage, ended.sagaId)).toEqual([
      { of: 'action', answer: 'willNotHappen' },
      { of: 'action', answer: 'willNotHappen' },
    ])
    expect(calls).toHaveLength(2)
  })

  test.each<[string, Reply]>([
    ['it does not know', UNKNOWN],
    ['it knows of nothing, since the request may be on its way', { status: 404 }],
    ['it says that it has not happened, which is no promise', { body: { outcome: 'didNotHappen' } }],
    ['it says something else', { body: ['happened'] }],
    ['it is broken', { status: 500, body: { outcome: 'happened' } }],
    ['its answer is lost', 'lost'],
    ['it does not answer in time', 'hangs'],
  ])('stays uncertain if the participant is asked and %s', async (_, reply) => {
    const stage = await createStage()
    const { url, calls } = await participant(
      () => ({ status: 500 }),
      () => reply,
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url, { probe: { timeoutMs: 50 } })))

    expect(ended).toMatchObject({ status: 'failed', clean: false, uncertainSteps: ['charge'] })
    expect(calls).toHaveLength(2)
    const answers = await probesIn(stage, ended.sagaId)
    expect(answers).toHaveLength(3)
    for (const answer of answers) expect(answer).toMatchObject({ answer: 'unknown', why: expect.any(String) })
  })

  test('stays uncertain when what is promised is another key’s: a person has forced that one (S30d)', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      ({ url }) => (url === '/go' ? {} : 'lost'),
      (asked) => (String(asked.headers['saga-probe']).endsWith(':2') ? WILL_NOT : UNKNOWN),
    )
    const document = saga(url)
    const steps = [
      { name: 'go', action: { type: 'http', url: `${url}/go` }, pivot: true },
      ...(isObject(document) && Array.isArray(document.steps) ? document.steps : []),
    ]
    await stage.worker()
    const sagaId = await stage.start({ name: 'vouched', steps })
    const stuck = await stage.eventually(sagaId, ({ status }) => status === 'stuck')
    expect(stuck.uncertainSteps).toEqual(['charge'])
    const retry = { kind: 'verb', verb: 'retry', actor: 'ada', reason: 'i know better' } as const
    await stage.store.mailbox.post(sagaId, { ...retry, input: { n: 2 }, force: true })
    const again = await stage.eventually(
      sagaId,
      ({ status, version }) => status === 'stuck' && version > stuck.version + 1,
    )
    expect(calls.map(({ headers }) => String(headers['idempotency-key']).split(':').at(-1))).toContain('2')
    expect(probes.map(({ headers }) => String(headers['saga-probe']).split(':').at(-1))).toContain('2')
    expect(again.uncertainSteps).toEqual(['charge'])
  })

  test('is asked about again before it is repeated, and is not if it happened meanwhile', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      () => 'lost',
      (_, nth) => (nth === 1 ? UNKNOWN : HAPPENED),
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url)))

    expect(ended).toMatchObject({ status: 'completed', context: { charge: { id: 7 } } })
    expect([calls.length, probes.length]).toEqual([1, 2])
  })

  test('of which a later attempt was rejected is asked about once more before the saga turns back', async () => {
    const stage = await createStage()
    const { url } = await participant(
      (_, nth) => (nth === 1 ? 'lost' : { status: 409 }),
      (_, nth) => (nth < 3 ? UNKNOWN : HAPPENED),
    )
    await stage.worker()

    expect(await stage.ended(await stage.start(saga(url)))).toMatchObject({ status: 'completed' })
  })

  test('is read by the expressions of the definition', async () => {
    const stage = await createStage()
    const { url, probes } = await participant(
      () => 'lost',
      () => ({ body: { state: 'captured', charge: { id: 'ch_1' } } }),
    )
    await stage.worker({ services: { payments: { baseUrl: url } } })
    const probe = {
      url: null,
      service: 'payments',
      path: '/by-key/${{ saga.idempotencyKey }}',
      happened: 'answer.status == 200 && answer.body.state == "captured"',
      result: { id: '${{ answer.body.charge.id }}', for: '${{ input.order }}' },
      willNotHappen: 'answer.status == 410',
    }
    const { url: _, ...byService } = probe
    const document = {
      name: 'probed',
      steps: [
        {
          name: 'charge',
          action: {
            type: 'http',
            service: 'payments',
            path: '/charges',
            probe: { type: 'http', ...byService },
          },
          retry: RETRY,
        },
      ],
    }

    const ended = await stage.ended(await stage.start(document, { order: 'o-1' }))

    expect(ended.context.charge).toEqual({ id: 'ch_1', for: 'o-1' })
    expect(probes[0]?.url).toBe(`/by-key/${encodeURIComponent(`${ended.sagaId}:charge:action:1`)}`)
  })
})

describe('a callback that has not come in time (S11a, M3a)', () => {
  const BY_CALLBACK = (url: string, more: { [field: string]: Json } = {}) =>
    saga(url, {
      step: {
        action: {
          type: 'http',
          url: `${url}/charge`,
          completion: 'callback',
          probe: { type: 'http', url: `${url}/probe` },
        },
        timeoutMs: 500,
        retry: { ...RETRY, maxAttempts: 1 },
        ...more,
      },
    })
  const TAKEN_ON: Reply = { status: 202 }

  test('is asked about before its step is given up, and the step has succeeded if it happened', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      () => TAKEN_ON,
      () => HAPPENED,
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(BY_CALLBACK(url)))

    expect(ended).toMatchObject({ status: 'completed', context: { charge: { id: 7 } }, uncertainSteps: [] })
    expect(calls).toHaveLength(1)
    expect(probes.map(({ headers }) => headers['saga-probe'])).toEqual([calls[0]?.headers['idempotency-key']])
    expect(await probesIn(stage, ended.sagaId)).toEqual([{ of: 'action', answer: 'happened' }])
  })

  test('leaves nothing uncertain if the participant promises that it will not happen', async () => {
    const stage = await createStage()
    const { url } = await participant(
      () => TAKEN_ON,
      () => WILL_NOT,
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(BY_CALLBACK(url)))

    expect(ended).toMatchObject({ status: 'failed', clean: true, uncertainSteps: [] })
    expect(ended.failureReason).toContain('CALLBACK_TIMEOUT')
  })

  test('is uncertain if nobody knows, and its step is tried again while it has attempts left', async () => {
    const stage = await createStage()
    const { url, calls } = await participant(
      () => TAKEN_ON,
      () => UNKNOWN,
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(BY_CALLBACK(url, { retry: RETRY })))

    expect(ended).toMatchObject({ status: 'failed', clean: false, uncertainSteps: ['charge'] })
    expect(calls).toHaveLength(2)
    // After each, and before the second.
    expect(await probesIn(stage, ended.sagaId)).toHaveLength(3)
  })

  test('is heard while the question is under way, and the answer is not waited for', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      () => TAKEN_ON,
      () => 'hangs',
    )
    await stage.worker()
    const sagaId = await stage.start(BY_CALLBACK(url))
    await expect.poll(() => probes.length).toBe(1)

    const token = String(calls[0]?.headers['saga-callback-token'])
    await stage.store.callbacks.post(token, { result: 'late, and in time' })

    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      context: { charge: 'late, and in time' },
    })
  })

  test('and is asked about when the saga is paused does not time out till it is resumed (S30c)', async () => {
    const stage = await createStage()
    let answer: (() => void) | undefined
    const url = await serve((request, response) => {
      const say = (status: number, body: Json) => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      }
      if (request.headers['saga-probe'] === undefined) say(202, {})
      else answer = () => say(200, { outcome: 'unknown' })
    })
    const worker = await stage.worker()
    const sagaId = await stage.start(BY_CALLBACK(url))
    await expect.poll(() => answer).toBeDefined()
    const verb = { kind: 'verb', actor: 'ada', reason: 'let us see' } as const
    await stage.store.mailbox.post(sagaId, { ...verb, verb: 'pause' })
    await stage.eventually(sagaId, ({ paused }) => paused !== undefined)

    const first = answer
    first?.()
    await expect.poll(() => worker.holds).toBe(0)
    expect((await stage.history(sagaId)).map(({ kind }) => kind)).toEqual([
      'sagaStarted',
      'attemptPending',
      'paused',
    ])

    await stage.store.mailbox.post(sagaId, { ...verb, verb: 'resume' })
    await expect.poll(() => answer !== first).toBe(true)
    answer?.()
    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', uncertainSteps: ['charge'] })
  })

  test('and is asked about when the saga is cancelled is let end like an attempt, and undone if it happened (S25)', async () => {
    const stage = await createStage()
    let answer: (() => void) | undefined
    let asked = 0
    const url = await serve((request, response) => {
      const say = (status: number, body: Json) => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      }
      if (request.url === '/refund') say(200, {})
      else if (request.headers['saga-probe'] === undefined) say(202, {})
      else {
        asked++
        answer = () => say(200, { outcome: 'happened', result: { id: 7 } })
      }
    })
    await stage.worker()
    const compensation = { type: 'http', url: `${url}/refund` }
    const sagaId = await stage.start(BY_CALLBACK(url, { compensation }))
    await expect.poll(() => answer).toBeDefined()
    await stage.store.mailbox.post(sagaId, { kind: 'cancel', actor: 'ada', reason: 'no more' })
    await stage.eventually(sagaId, ({ cancel }) => cancel !== undefined)
    answer?.()

    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'cancelled',
      clean: true,
      compensatedSteps: ['charge'],
    })
    expect(asked).toBe(1)
  })

  test('is asked about by a worker that knows the service to ask (S20)', async () => {
    const stage = await createStage()
    const { url } = await participant(
      () => TAKEN_ON,
      () => HAPPENED,
    )
    const probe = { type: 'http', service: 'elsewhere', path: '/probe' }
    const action = { type: 'http', url: `${url}/charge`, completion: 'callback', probe }
    const services = { elsewhere: { baseUrl: url } }
    const first = await stage.worker({ services })
    const sagaId = await stage.start(BY_CALLBACK(url, { action, timeoutMs: 60_000 }))
    await stage.eventually(sagaId, ({ next }) => next.attempts?.[0]?.waiting?.for === 'callback')
    await first.stop(0)
    const before = await stage.history(sagaId)
    const epoch = async () => {
      const [row] = await stage.query(`SELECT epoch FROM sagas`)
      return Number(row?.epoch)
    }
    const epochBefore = await epoch()
    // As if its time were over.
    const past = JSON.stringify({ charge: new Date(0).toISOString() })
    await stage.query(
      `UPDATE sagas SET due_at = now(), state = state || jsonb_build_object('dueAt', $1::jsonb)`,
      [past],
    )
    await stage.worker()
    // Claimed, and let go again.
    await expect.poll(epoch).toBeGreaterThanOrEqual(epochBefore + 2)
    expect(await stage.history(sagaId)).toEqual(before)

    await stage.worker({ services })
    expect((await stage.ended(sagaId)).status).toBe('completed')
  })
})

describe('a step that a dead worker has left uncertain', () => {
  test('is asked about before it is tried again (S17b)', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      () => 'hangs',
      () => HAPPENED,
    )
    const first = await stage.worker()
    const sagaId = await stage.start(saga(url))
    await expect.poll(() => calls.length).toBe(1)
    await first.stop(0)
    expect((await stage.saga(sagaId)).uncertainSteps).toEqual(['charge'])

    await stage.worker()

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'completed', context: { charge: { id: 7 } } })
    expect([calls.length, probes.length]).toEqual([1, 1])
  })

  test('is tried again under its number if it will not happen', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      (_, nth) => (nth === 1 ? 'hangs' : { status: 422 }),
      () => WILL_NOT,
    )
    const first = await stage.worker()
    const sagaId = await stage.start(saga(url))
    await expect.poll(() => calls.length).toBe(1)
    await first.stop(0)

    await stage.worker()

    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', clean: true, uncertainSteps: [] })
    expect(calls.map(({ headers }) => headers['saga-attempt'])).toEqual(['1', '1'])
    // What was withdrawn is not asked about again.
    expect(probes).toHaveLength(1)
  })
})

describe('the undo of an uncertain step', () => {
  const UNDO = (url: string, more: { [field: string]: Json } = {}) => ({
    step: {
      compensation: { type: 'http', url: `${url}/refund`, ...more },
      compensateWhen: 'uncertain',
      retry: { ...RETRY, maxAttempts: 1 },
    },
  })

  test('is given the result of what happened', async () => {
    const stage = await createStage()
    const { url, calls } = await participant(
      ({ url }) => (url === '/charge' ? { status: 500 } : {}),
      (_, nth) => (nth === 1 ? UNKNOWN : HAPPENED),
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url, UNDO(url))))

    expect(ended).toMatchObject({ status: 'failed', clean: true, compensatedSteps: ['charge'] })
    expect(JSON.parse(calls[1]?.body ?? '')).toMatchObject({ direction: 'compensation', result: { id: 7 } })
    expect(await probesIn(stage, ended.sagaId)).toMatchObject([
      { of: 'action', answer: 'unknown' },
      { of: 'action', answer: 'happened' },
    ])
  })

  test('is not made if there will never be anything to undo', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      () => ({ status: 500 }),
      (_, nth) => (nth === 1 ? UNKNOWN : WILL_NOT),
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url, UNDO(url))))

    expect(ended).toMatchObject({ status: 'failed', clean: true, compensatedSteps: ['charge'] })
    expect(calls.map(({ url }) => url)).toEqual(['/charge'])
    expect(probes[1]?.headers['saga-probe']).toBe(`${ended.sagaId}:charge:action:1`)
  })

  test('is made as ever if nobody knows', async () => {
    const stage = await createStage()
    const { url, calls } = await participant(
      ({ url }) => (url === '/charge' ? { status: 500 } : {}),
      () => ({ status: 404 }),
    )
    await stage.worker()

    const ended = await stage.ended(await stage.start(saga(url, UNDO(url))))

    expect(ended).toMatchObject({ status: 'failed', compensatedSteps: ['charge'] })
    expect(JSON.parse(calls[1]?.body ?? '')).not.toHaveProperty('result')
  })

  test('is itself asked about before it is repeated', async () => {
    const stage = await createStage()
    const { url, calls, probes } = await participant(
      ({ url }) => (url === '/charge' ? { status: 500 } : 'lost'),
      ({ url }, nth) => (url === '/refunded' && nth > 3 ? HAPPENED : UNKNOWN),
    )
    await stage.worker()
    const undo = UNDO(url, { probe: { type: 'http', url: `${url}/refunded` } })

    const ended = await stage.ended(await stage.start(saga(url, undo)))

    expect(ended).toMatchObject({ status: 'failed', compensatedSteps: ['charge'] })
    expect(calls.filter(({ url }) => url === '/refund')).toHaveLength(1)
    const asked = probes.filter(({ url }) => url === '/refunded')
    expect(asked.map(({ headers }) => headers['saga-probe'])).toEqual(
      asked.map(() => `${ended.sagaId}:charge:compensation:1`),
    )
  })
})

test('an undo that was under way when its worker ended is asked about, whatever came by mail before it is made again (S11a)', async () => {
  const stage = await createStage()
  let callback = ''
  const { url, calls, probes } = await participant(
    ({ url, headers }) => {
      if (url === '/undo/b') callback = String(headers['saga-callback-token'])
      return url === '/undo/a' ? 'hangs' : { status: url === '/undo/b' ? 202 : url === '/c' ? 422 : 200 }
    },
    () => HAPPENED,
  )
  const post = (path: string, more: { [field: string]: Json } = {}) => ({
    type: 'http',
    url: url + path,
    ...more,
  })
  const a = { name: 'a', action: post('/a'), compensation: post('/undo/a', { probe: post('/undone') }) }
  const undoB = { ...post('/undo/b', { completion: 'callback' }), timeoutMs: 60_000 }
  const b = { name: 'b', action: post('/b'), compensation: undoB }
  const steps = [
    { parallel: [a, b], compensate: 'together' },
    { name: 'c', action: post('/c') },
  ]
  const first = await stage.worker()
  const sagaId = await stage.start({ name: 'together', steps })
  await expect.poll(() => calls.some(({ url }) => url === '/undo/a')).toBe(true)
  const isPending = ({ next }: { next: { attempts?: { waiting?: unknown }[] | undefined } }) =>
    next.attempts?.some(({ waiting }) => waiting !== undefined) === true
  await stage.eventually(sagaId, isPending)
  await first.stop(0)
  expect(await stage.store.callbacks.post(callback, { result: 'undone' })).toMatchObject({ is: 'posted' })

  await stage.worker()

  expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', compensatedSteps: ['b', 'a'] })
  expect(calls.filter(({ url }) => url === '/undo/a')).toHaveLength(1)
  expect(probes).toHaveLength(1)
})

test('a probe uses up no attempt, and its service must be known before its step is tried', async () => {
  const stage = await createStage()
  const { url, calls } = await participant(
    () => ({}),
    () => UNKNOWN,
  )
  const probe = { type: 'http', service: 'elsewhere', path: '/probe' }
  await stage.worker()
  const sagaId = await stage.start({
    name: 'probed',
    steps: [{ name: 'charge', action: { type: 'http', url: `${url}/charge`, probe } }],
  })
  await stage.eventually(sagaId, ({ next }) => next.worker === undefined && next.attempts?.[0]?.attempt === 1)
  expect(calls).toHaveLength(0)

  await stage.worker({ services: { elsewhere: { baseUrl: url } } })
  expect((await stage.ended(sagaId)).status).toBe('completed')
})
