import { createHash, createHmac } from 'node:crypto'
import { Ledger } from '@backstitch/example-participants'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { tripParticipants } from './participants.ts'
import { CUT_OFF_CARD, FULL_HOTEL, SLOW_HOTEL } from './services.ts'

const trip = {
  tripId: 't-1',
  traveller: 'Ada',
  country: 'FR',
  nights: 2,
  airline: 'Heron',
  hotel: 'Casa Azul',
  card: '4000-0000-0000-0000',
}
const running: FastifyInstance[] = []

afterEach(async () => {
  for (const app of running.splice(0)) await app.close()
})

/** The participants, and a Backstitch that is called back. */
async function scene({ down = 0, slowHotelMs = 60 } = {}) {
  const ledger = new Ledger()
  const app = tripParticipants(ledger, { hotelMs: 10, slowHotelMs, slowAirlineMs: 10 })
  const heard: { key: unknown; body: unknown }[] = []
  let refusals = down
  const api = Fastify().post('/v1/callbacks/token', (request, reply) => {
    if (refusals-- > 0) return reply.code(503).send({})
    heard.push({ key: request.headers['idempotency-key'], body: request.body })
    return reply.code(202).send({ accepted: true })
  })
  running.push(app, api)
  const callbackUrl = `${await api.listen({ port: 0 })}/v1/callbacks/token`
  return {
    ledger,
    heard,
    async book(hotel: string, callback: string | undefined = callbackUrl) {
      const response = await app.inject({
        method: 'POST',
        url: '/hotels/bookings',
        headers: {
          'idempotency-key': 's:bookHotel:action:1',
          ...(callback !== '' && { 'saga-callback-url': callback }),
        },
        payload: { sagaId: 's', step: 'bookHotel', input: { ...trip, hotel } },
      })
      return { status: response.statusCode, body: response.json<unknown>() }
    },
    cancel: () =>
      app.inject({
        method: 'POST',
        url: '/hotels/cancellations',
        headers: { 'idempotency-key': 's:bookHotel:compensation:1' },
        payload: { sagaId: 's', step: 'bookHotel', input: trip },
      }),
  }
}

const booking = { hotel: 'Casa Azul', cents: 19_000, bookingId: expect.stringMatching(/^hote_/) }

test('the hotel takes the booking on, and calls back with its result', async () => {
  const { heard, book, ledger } = await scene()
  expect(await book('Casa Azul')).toEqual({ status: 202, body: {} })
  await expect.poll(() => heard).toEqual([{ key: 's:bookHotel:action:1', body: { result: booking } }])
  await expect
    .poll(() => ledger.entries().map(({ event }) => event))
    .toEqual(['received', 'applied', 'calledBack'])
})

test('a hotel that is full calls back with a definite no', async () => {
  const { heard, book } = await scene()
  await book(FULL_HOTEL)
  const error = { code: 'HOTEL_FULL', message: 'Full House has no room left', retryable: false }
  await expect.poll(() => heard).toMatchObject([{ body: { error } }])
})

test('it calls again until it is heard', async () => {
  const { heard, book } = await scene({ down: 2 })
  await book('Casa Azul')
  await expect.poll(() => heard, { timeout: 60_000 }).toHaveLength(1)
})

test('asked twice it books once: while it is at work it says so again, and then how it ended', async () => {
  const { heard, book, ledger } = await scene({ slowHotelMs: 300 })
  expect(await book(SLOW_HOTEL)).toMatchObject({ status: 202 })
  expect(await book(SLOW_HOTEL)).toMatchObject({ status: 202 })
  await expect.poll(() => heard).toHaveLength(1)
  expect(await book(SLOW_HOTEL)).toMatchObject({ status: 200, body: { hotel: SLOW_HOTEL } })
  expect(ledger.entries().filter(({ event }) => event === 'applied')).toHaveLength(1)
})

test('a booking that was undone while it was at work is not made', async () => {
  const { heard, book, cancel } = await scene({ slowHotelMs: 300 })
  await book(SLOW_HOTEL)
  expect((await cancel()).json()).toEqual({ nothingToUndo: true })
  await expect.poll(() => heard).toMatchObject([{ body: { error: { code: 'ALREADY_UNDONE' } } }])
})

describe('the bank', () => {
  const secret = 'a secret of more than sixteen letters'
  const key = 's:chargeCard:action:1'
  const path = '/payments/charges'

  function signed(method: 'GET' | 'POST', url: string, signedKey: string, body = '') {
    const t = Math.floor(Date.now() / 1000)
    const digest = createHash('sha256').update(body).digest('hex')
    const text = ['v1', t, method, url, signedKey, digest].join('\n')
    return `t=${t},v1=${createHmac('sha256', secret).update(text).digest('hex')}`
  }

  async function bank() {
    const ledger = new Ledger()
    const settings = { hotelMs: 1, slowHotelMs: 1, slowAirlineMs: 1, paymentsSecret: secret }
    const app = tripParticipants(ledger, settings)
    running.push(app)
    return { ledger, url: await app.listen({ port: 0, host: '127.0.0.1' }) }
  }

  function charge(url: string, card: string, signature: string) {
    const body = JSON.stringify({ sagaId: 's', step: 'chargeCard', input: { ...trip, card } })
    const headers = {
      'content-type': 'application/json',
      'idempotency-key': key,
      'saga-signature': signature === 'right' ? signed('POST', path, key, body) : signature,
    }
    return fetch(`${url}${path}`, { method: 'POST', headers, body })
  }

  const ask = async (url: string) => {
    const at = `${path}/by-key/${key}`
    const headers = { 'saga-probe': key, 'saga-signature': signed('GET', at, `probe ${key}`) }
    const response = await fetch(`${url}${at}`, { headers })
    return { status: response.status, body: await response.json() }
  }

  test('takes no call, and no question, that is not signed', async () => {
    const { url, ledger } = await bank()
    expect((await charge(url, trip.card, `t=1,v1=${'0'.repeat(64)}`)).status).toBe(401)
    expect((await fetch(`${url}${path}/by-key/${key}`, { headers: { 'saga-probe': key } })).status).toBe(401)
    expect(ledger.entries()).toEqual([])
    expect((await charge(url, trip.card, 'right')).status).toBe(200)
  })

  test('that is cut off has charged the card all the same, and says so when it is asked', async () => {
    const { url, ledger } = await bank()
    expect(await ask(url)).toEqual({ status: 200, body: { outcome: 'unknown' } })
    await expect(charge(url, CUT_OFF_CARD, 'right')).rejects.toThrow('fetch failed')
    expect(await ask(url)).toMatchObject({
      status: 200,
      body: { outcome: 'happened', result: { cents: 37_000 } },
    })
    expect(ledger.entries().map(({ event }) => event)).toEqual(['received', 'applied', 'probed'])
  })
})

test('whoever cannot be called back is answered when it has been done', async () => {
  const { book } = await scene()
  expect(await book('Casa Azul', '')).toEqual({ status: 200, body: booking })
})
