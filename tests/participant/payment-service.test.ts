import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import { createServer, type RequestListener, request as rawRequest, type Server } from 'node:http'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { StepRejected } from '@backstitch/sdk'
import { type EndpointOptions, handleSagaCall, sagaEndpoint } from '@backstitch/sdk/participant'
import pg from 'pg'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { callOf } from './connections.ts'
import { barrier, migration, paymentService } from './payment-service.ts'

const database = await createTestDatabase({ empty: true })
const pool = new pg.Pool({ connectionString: database.url })
pool.on('error', () => {})
const servers: Server[] = []
afterAll(async () => {
  for (const server of servers) server.close()
  await pool.end()
  await database.drop()
})
await pool.query(migration)

const payments = await listen(paymentService(pool))

async function listen(server: Server): Promise<string> {
  servers.push(server)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`
}

let sagaId: string
let account: string
beforeEach(async () => {
  sagaId = randomUUID()
  account = randomUUID()
  await pool.query('INSERT INTO accounts VALUES ($1, 500)', [account])
})

/** As Backstitch sends it. */
async function send(url: string, direction: 'action' | 'compensation', more: object = {}) {
  const call = callOf(sagaId, direction)
  const headers = {
    'idempotency-key': call.idempotencyKey,
    'saga-id': sagaId,
    'saga-definition': 'order@1',
    'saga-step': call.step,
    'saga-direction': direction,
    'saga-attempt': '1',
    'content-type': 'application/json',
  }
  const input = { account, totalCents: 200 }
  const body = JSON.stringify({ sagaId, step: call.step, direction, input, context: {}, ...more })
  const answer = await fetch(url, { method: 'POST', headers, body })
  return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() }
}

async function balance(): Promise<number> {
  const { rows } = await pool.query<{ cents: string }>('SELECT cents FROM accounts WHERE id = $1', [account])
  return Number(rows[0]?.cents)
}

const ok = (body: object | null) => ({
  status: 200,
  type: 'application/json',
  text: JSON.stringify(body),
})
const refusal = (status: number, code: string) => ({
  status,
  type: 'application/problem+json',
  text: expect.stringContaining(`"code":"${code}"`),
})

describe('the payment service of the guide', () => {
  test('is what the guide shows', () => {
    const guide = fs.readFileSync(new URL('../../docs/guides/participants.md', import.meta.url), 'utf8')
    const example = fs.readFileSync(new URL('payment-service.ts', import.meta.url), 'utf8')
    expect(/```ts\n(.*?)```/s.exec(guide)?.[1]).toBe(example)
  })

  test('charges once and gives back once, however often it is asked', async () => {
    const charged = ok({ account, chargedCents: 200 })
    expect(await send(payments, 'action')).toEqual(charged)
    expect(await send(payments, 'action')).toEqual(charged)
    expect(await balance()).toBe(300)
    const result = { account, chargedCents: 200 }
    expect(await send(payments, 'compensation', { result })).toEqual(ok(null))
    expect(await send(payments, 'compensation', { result })).toEqual(ok(null))
    expect(await balance()).toBe(500)
    expect(await send(payments, 'action')).toEqual(refusal(409, 'SAGA_STEP_UNDONE'))
    expect(await balance()).toBe(500)
  })

  test('charges once if it is asked ten times at once', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => send(payments, 'action')))
    expect(answers).toEqual(answers.map(() => ok({ account, chargedCents: 200 })))
    expect(await balance()).toBe(300)
  })

  test('gives nothing back that it never took, and takes nothing afterwards', async () => {
    expect(await send(payments, 'compensation')).toEqual(ok({ nothingToUndo: true }))
    expect(await send(payments, 'action')).toEqual(refusal(409, 'SAGA_STEP_UNDONE'))
    expect(await balance()).toBe(500)
  })

  test('says no when there is not enough, and may say yes later', async () => {
    await pool.query('UPDATE accounts SET cents = 100 WHERE id = $1', [account])
    const no = await send(payments, 'action')
    expect(no).toEqual(refusal(422, 'INSUFFICIENT_FUNDS'))
    expect(JSON.parse(no.text)).toEqual({
      status: 422,
      code: 'INSUFFICIENT_FUNDS',
      detail: 'not enough money',
    })
    await pool.query('UPDATE accounts SET cents = 200 WHERE id = $1', [account])
    expect(await send(payments, 'action')).toMatchObject({ status: 200 })
  })

  test('does not believe that there is nothing to undo of what has a result', async () => {
    const result = { account, chargedCents: 200 }
    const answer = refusal(422, 'SAGA_STEP_FORGOTTEN')
    expect(await send(payments, 'compensation', { result })).toEqual(answer)
    expect(await send(payments, 'compensation', { result: null })).toEqual(answer)
    expect(await send(payments, 'action')).toMatchObject({ status: 200 }) // no tombstone was left
  })
})

describe('an endpoint', () => {
  const errors: unknown[] = []
  beforeEach(() => {
    errors.length = 0
  })

  type Options = EndpointOptions<pg.PoolClient>
  const endpointWith = (options: Partial<Options>) =>
    sagaEndpoint<pg.PoolClient>({
      barrier,
      connect: () => pool.connect(),
      action: async () => 1,
      compensation: async () => 1,
      onError: (error) => errors.push(error),
      ...options,
    })
  const serve = (options: Partial<Options>) => {
    const endpoint = endpointWith(options)
    const listener: RequestListener = (request, response) => void handleSagaCall(endpoint, request, response)
    return listen(createServer(listener))
  }

  test.each<[string, Options['action']]>([
    ['an error of the work', () => Promise.reject(new Error('secret'))],
    ['an error of the database', ({ transaction }) => transaction.query('SELECT 1/0')],
    [
      'a connection that dies under it',
      ({ transaction }) => transaction.query('SELECT pg_terminate_backend(pg_backend_pid())'),
    ],
  ])('answers %s with 500, and goes on', async (_, action) => {
    const url = await serve({ action })
    const answer = await send(url, 'action')
    expect(answer).toEqual(refusal(500, 'INTERNAL_ERROR'))
    expect(answer.text).not.toContain('secret')
    expect(errors).toHaveLength(1)
    expect(await send(payments, 'action')).toMatchObject({ status: 200 })
    expect(await send(payments, 'action')).toMatchObject({ status: 200 })
  })

  test('answers 500 where there is no connection', async () => {
    const url = await serve({ connect: () => Promise.reject(new Error('the pool is closed')) })
    expect(await send(url, 'action')).toEqual(refusal(500, 'INTERNAL_ERROR'))
  })

  test('gives every connection back', async () => {
    const single = new pg.Pool({ connectionString: database.url, max: 1 })
    const url = await serve({
      connect: () => single.connect(),
      action: () => Promise.reject(new StepRejected('no')),
    })
    for (let call = 0; call < 3; call++) expect(await send(url, 'action')).toEqual(refusal(422, 'REJECTED'))
    expect(single.idleCount).toBe(1)
    await single.end()
  })

  test('amends, where it can, what was done before an operator edited the input', async () => {
    const headers = (generation: number) => {
      const { step, direction, idempotencyKey } = callOf(sagaId, 'action', generation)
      return new Headers({
        'Saga-Id': sagaId,
        'Saga-Step': step,
        'Saga-Direction': direction,
        'Idempotency-Key': idempotencyKey,
      })
    }
    const plain = endpointWith({ action: async () => ({ cents: 100 }) })
    expect(await plain({ headers: headers(1), body: {} })).toMatchObject({ status: 200 })
    const refused = await plain({ headers: headers(2), body: {} })
    expect(refused).toMatchObject({
      status: 409,
      body: expect.stringContaining('SAGA_STEP_ALREADY_DONE'),
    })
    const amending = endpointWith({ amend: async ({ result, body }) => ({ was: result, is: body }) })
    const answer = await amending({ headers: headers(2), body: 80 })
    expect(answer).toMatchObject({ status: 200, body: '{"was":{"cents":100},"is":80}' })
    expect(await new Response(answer.body, answer).json()).toEqual({ was: { cents: 100 }, is: 80 })
  })

  test('rejects what no saga sent', async () => {
    const answer = await fetch(payments, { method: 'POST', body: '{}' })
    expect(answer.status).toBe(422)
    expect(await answer.json()).toMatchObject({
      code: 'NOT_A_SAGA_CALL',
      detail: expect.stringContaining('there is no header "saga-id"'),
    })
  })

  test.each([
    ['what is not JSON', '{', 400, 'BODY_NOT_JSON'],
    ['more than twenty mebibytes', 'x'.repeat(20 * 1024 * 1024 + 1), 413, 'BODY_TOO_LARGE'],
  ])('does not take %s', async (_, body, status, code) => {
    const answer = await fetch(payments, { method: 'POST', body })
    expect(answer.status).toBe(status)
    expect(await answer.json()).toMatchObject({ code })
  })

  test('does nothing for a request that breaks off', async () => {
    let calls = 0
    const connected = Promise.withResolvers<void>()
    const handled = Promise.withResolvers<void>()
    const endpoint = async () => {
      calls++
      return { status: 200, headers: { 'content-type': 'application/json' }, body: 'null' }
    }
    const url = await listen(
      createServer((request, response) => {
        connected.resolve()
        handled.resolve(handleSagaCall(endpoint, request, response))
      }),
    )
    const request = rawRequest(url, { method: 'POST', headers: { 'content-length': '100' } })
    request.on('error', () => {})
    request.write('{"half":')
    await connected.promise
    request.destroy()
    await handled.promise
    expect(calls).toBe(0)
  })
})
