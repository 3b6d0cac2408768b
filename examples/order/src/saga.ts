import { callParticipant } from '@backstitch/example-participants'
import { defineSaga } from '@backstitch/sdk'
import { z } from 'zod'
import { Order } from './order.ts'

/**
 * The same saga in TypeScript, as `order-ts`: its steps are functions, run by a worker that has loaded this file
 * (`SAGAS=…/saga.ts`). They call the same services, which are found at PARTICIPANTS_URL.
 */

const participantsUrl = process.env.PARTICIPANTS_URL ?? 'http://127.0.0.1:9000'

const Reservation = z.object({ reservationId: z.string() })
const Charge = z.object({ chargeId: z.string(), amountCents: z.int() })
const Shipment = z.object({ shipmentId: z.string(), carrier: z.string() })
const Confirmation = z.object({ messageId: z.string() })
const Undone = z.unknown()

const orderTs = defineSaga({
  name: 'order-ts',
  description: 'The order saga, its steps written in TypeScript.',
  input: Order,
  defaults: {
    timeoutMs: 5000,
    retry: { maxAttempts: 3, initialDelayMs: 200, factor: 2, maxDelayMs: 5000 },
    compensateWhen: 'uncertain',
  },
})
  .step('reserveInventory', {
    action: (call) => post('/inventory/reservations', call, Reservation),
    compensation: function releaseInventory(call) {
      return post('/inventory/releases', call, Undone)
    },
  })
  .step('chargePayment', {
    action: (call) => post('/payments/charges', call, Charge),
    compensation: function refundPayment(call) {
      return post('/payments/refunds', call, Undone)
    },
  })
  .step('shipOrder', {
    action: (call) => post('/shipping/shipments', call, Shipment),
    compensation: function cancelShipment(call) {
      return post('/shipping/cancellations', call, Undone)
    },
    timeoutMs: 15_000,
  })
  .step('sendConfirmation', {
    action: (call) => post('/mail/confirmations', call, Confirmation),
    compensation: function sendCancellationEmail(call) {
      return post('/mail/cancellations', call, Undone)
    },
  })

/** What a worker takes from this module. */
export const sagas = [orderTs]

/** One call to a participant: its key, and the three ways it can go wrong, are in examples/participants/src/call.ts. */
async function post<Answer>(
  path: string,
  call: Parameters<typeof callParticipant>[1],
  Answer: z.ZodType<Answer>,
): Promise<Answer> {
  return await callParticipant(`${participantsUrl}${path}`, call, Answer)
}
