import { createClient, defineSaga, http, StepRejected, StepUncertain } from '@backstitch/sdk'
import { z } from 'zod'

const payments = 'http://localhost:9000/payments'

export const order = defineSaga({
  name: 'order',
  input: z.object({ orderId: z.string(), totalCents: z.int().min(1), express: z.boolean().default(false) }),
  defaults: { timeoutMs: 5000 },
})
  .step('reserveInventory', {
    action: http({ url: 'http://localhost:9000/reservations', result: z.object({ id: z.string() }) }),
    compensation: http({ url: 'http://localhost:9000/releases' }),
  })
  .step('chargePayment', {
    // Every attempt has the same key: the card is charged once, however often this runs.
    action: async ({ input, sagaId, idempotencyKey, signal }) => {
      const body = JSON.stringify({ reference: sagaId, cents: input.totalCents })
      const headers = { 'idempotency-key': idempotencyKey, 'content-type': 'application/json' }
      const request = fetch(`${payments}/charges`, { method: 'POST', headers, body, signal })
      const answer = await request.catch((cause: unknown) => {
        throw new StepUncertain('no answer from the payment service', { cause })
      })
      if (answer.status === 402) throw new StepRejected('the card was declined', { code: 'CARD_DECLINED' })
      if (!answer.ok) throw new StepUncertain(`the payment service answered ${answer.status}`)
      return { chargedCents: input.totalCents }
    },
    // Undone also when nobody knows whether it was charged: `result` may then be undefined.
    compensateWhen: 'uncertain',
    compensation: {
      run: async ({ sagaId, result, signal }) => {
        const url = `${payments}/charges/${sagaId}?cents=${result?.chargedCents ?? 'any'}`
        const answer = await fetch(url, { method: 'DELETE', signal })
        if (!answer.ok && answer.status !== 404) throw new Error(`no refund: ${answer.status}`)
      },
      retry: { maxAttempts: 8 },
    },
  })
  .step('shipOrder', {
    action: async ({ input, context }) => ({ shipped: context.reserveInventory.id, express: input.express }),
  })

export async function placeOrder(url: string, orderId: string, totalCents: number): Promise<string> {
  const client = createClient({ url })
  await client.definitions.register(order)
  const saga = await client.sagas.start(order, { orderId, totalCents }, { sagaKey: orderId, waitMs: 10_000 })
  return saga.failureReason ?? saga.status
}
