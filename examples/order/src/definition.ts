/**
 * The order saga as a document: four HTTP calls and, for each, the call that undoes it. No step states a body, so that
 * every participant is sent Backstitch's own, with the order as `input` and the earlier results in `context`.
 *
 * `compensateWhen: uncertain`: whose reply was lost is undone too. All four services accept an undo of something
 * they never did, so it is the safe choice; and the last step's undo can run for no other reason.
 */
export function orderDefinition(participantsUrl: string) {
  const post = (path: string) => ({ type: 'http', method: 'POST', url: `${participantsUrl}${path}` }) as const
  /** An undo is worth more patience than an action: somebody's money hangs on it. */
  const undo = (path: string) => ({ ...post(path), retry: { maxAttempts: 8, maxDelayMs: 10_000 } })

  return {
    name: 'order',
    description:
      'Takes an order: goods set aside, card charged, parcel sent, customer told; or all of it undone.',
    inputSchema: {
      type: 'object',
      required: ['orderId', 'sku', 'quantity', 'card'],
      additionalProperties: false,
      properties: {
        orderId: { type: 'string', minLength: 1, maxLength: 64 },
        sku: { type: 'string', minLength: 1, maxLength: 64 },
        quantity: { type: 'integer', minimum: 1, maximum: 1000 },
        card: { type: 'string', pattern: '^\\d{4}-\\d{4}-\\d{4}-\\d{4}$' },
        shipping: { enum: ['standard', 'slow'] },
      },
    },
    defaults: {
      timeoutMs: 5000,
      retry: { maxAttempts: 3, initialDelayMs: 200, factor: 2, maxDelayMs: 5000 },
      compensateWhen: 'uncertain',
    },
    steps: [
      {
        name: 'reserveInventory',
        description: 'sets the goods aside; undone by releaseInventory',
        action: post('/inventory/reservations'),
        compensation: undo('/inventory/releases'),
      },
      {
        name: 'chargePayment',
        description: 'charges the card; undone by refundPayment',
        action: post('/payments/charges'),
        compensation: undo('/payments/refunds'),
      },
      {
        name: 'shipOrder',
        description: 'hands the parcel to the carrier, who may take a while; undone by cancelShipment',
        action: post('/shipping/shipments'),
        compensation: undo('/shipping/cancellations'),
        timeoutMs: 15_000,
      },
      {
        name: 'sendConfirmation',
        description: 'writes to the customer; undone by sendCancellationEmail',
        action: post('/mail/confirmations'),
        compensation: undo('/mail/cancellations'),
      },
    ],
  } as const
}
