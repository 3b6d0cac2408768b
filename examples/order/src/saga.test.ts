import { Ledger } from '@backstitch/example-participants'
import Fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { orderDefinition } from './definition.ts'
import { orderParticipants } from './participants.ts'
import { DECLINED_CARD } from './services.ts'

const order = {
  orderId: 'ord-1',
  sku: 'needle',
  quantity: 2,
  card: '4000-0000-0000-0000',
}
const ledger = new Ledger()
const participants = orderParticipants({ ledger })
const others: FastifyInstance[] = []

beforeAll(async () => {
  vi.stubEnv('PARTICIPANTS_URL', await participants.listen({ port: 0 }))
})

afterAll(async () => {
  vi.unstubAllEnvs()
  await Promise.all([participants, ...others].map((app) => app.close()))
})

/** The module reads the address of the participants when it is loaded. */
async function load(participantsUrl?: string) {
  if (participantsUrl !== undefined) vi.stubEnv('PARTICIPANTS_URL', participantsUrl)
  vi.resetModules()
  const { sagas } = await import('./saga.ts')
  const [saga] = sagas
  if (saga === undefined) throw new Error('the module has no saga')
  return saga
}

async function run(
  saga: Awaited<ReturnType<typeof load>>,
  step: string,
  direction: 'action' | 'compensation',
  input: object = order,
): Promise<unknown> {
  const handler = saga.handlers.get(step)?.[direction]
  if (handler === undefined) throw new Error(`no ${direction} of ${step}`)
  return await handler({
    sagaId: 'saga-1',
    definition: { name: 'order-ts', version: 1 },
    step,
    direction,
    attempt: 1,
    idempotencyKey: `saga-1:${step}:${direction}:1`,
    correlationId: undefined,
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    input: JSON.parse(JSON.stringify(input)),
    context: { input: JSON.parse(JSON.stringify(input)) },
    result: undefined,
    failure: direction === 'compensation' ? { step: undefined, reason: 'a test' } : undefined,
    signal: new AbortController().signal,
  })
}

test('has the steps of the document, each with its undo', async () => {
  const { definition } = await load()
  const document = orderDefinition('http://participants:9000')
  const handler = { type: 'handler' }
  expect(definition.steps).toMatchObject(
    document.steps.map(({ name }) => ({ name, action: handler, compensation: handler })),
  )
  expect(definition.defaults).toEqual(document.defaults)
})

test('goes through the same services, forward and backward', async () => {
  const saga = await load()
  const steps = [...saga.handlers.keys()]
  for (const step of steps) await run(saga, step, 'action')
  for (const step of steps.toReversed()) await run(saga, step, 'compensation')
  const applied = ledger.entries('saga-1').filter(({ event }) => event === 'applied')
  expect(applied.map(({ operation }) => operation)).toEqual([
    'reserveInventory',
    'chargePayment',
    'shipOrder',
    'sendConfirmation',
    'sendCancellationEmail',
    'cancelShipment',
    'refundPayment',
    'releaseInventory',
  ])
})

test('tells a definite no, what never happened, and what nobody knows apart', async () => {
  const declining = orderParticipants({ ledger: new Ledger() })
  const broken = Fastify().post('/payments/charges', async (_, reply) => await reply.code(503).send('down'))
  const babbling = Fastify().post('/payments/charges', () => 'charged, I think')
  others.push(declining, broken, babbling)
  const url = (app: FastifyInstance) => app.listen({ port: 0 })
  const charge = async (participantsUrl: string, card = order.card) =>
    await run(await load(participantsUrl), 'chargePayment', 'action', { ...order, card })

  const gone = Fastify()
  const goneUrl = await url(gone)
  await gone.close()

  const thrown = (name: string) => expect.objectContaining({ name })
  await expect(charge(await url(declining), DECLINED_CARD)).rejects.toEqual(thrown('StepRejected'))
  await expect(charge(goneUrl)).rejects.toEqual(thrown('StepFailed'))
  await expect(charge(await url(broken))).rejects.toEqual(thrown('StepUncertain'))
  await expect(charge(await url(babbling))).rejects.toEqual(thrown('StepUncertain'))
})
