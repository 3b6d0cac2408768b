import type { Answer, Happening, Ledger, LedgerEntry } from './ledger.ts'
import { Order } from './order.ts'

/** What the four services do. They decide by the order alone: by its SKUs, its card, its shipping. */

export type Operation = {
  service: 'inventory' | 'payments' | 'shipping' | 'mail'
  operation: string
  path: string
  direction: Happening['direction']
  /** How long the work takes before there is anything to decide. */
  takesMs?: (order: Order) => number
  /** Decides and answers; `id` is the new thing's. In one go, so that two orders cannot both get the last piece. */
  decide: (order: Order, id: string) => Answer
}

/** Declined, as the test cards of a payment provider are. */
export const DECLINED_CARD = '4000-0000-0000-0002'

/** Pieces on the shelf while the ledger is empty. */
export const STOCK: Readonly<Record<string, number>> = {
  needle: 10_000,
  thread: 10_000,
  thimble: 500,
  quilt: 1,
}

export type Surroundings = {
  ledger: Ledger
  stock?: Readonly<Record<string, number>>
  slowCarrierMs?: number
}

export function orderServices({ ledger, stock = STOCK, slowCarrierMs = 3000 }: Surroundings): Operation[] {
  const shelf = new Shelf(stock, ledger)
  return [
    {
      service: 'inventory',
      operation: 'reserveInventory',
      path: '/inventory/reservations',
      direction: 'action',
      decide: (order, id) => shelf.refusal(order) ?? ok({ reservationId: id, items: order.items }),
    },
    {
      service: 'inventory',
      operation: 'releaseInventory',
      path: '/inventory/releases',
      direction: 'compensation',
      decide: (order, id) => ok({ releaseId: id, items: order.items }),
    },
    {
      service: 'payments',
      operation: 'chargePayment',
      path: '/payments/charges',
      direction: 'action',
      decide: ({ card, totalCents }, id) =>
        card === DECLINED_CARD
          ? refusal(402, 'card-declined', `the bank declined the card ending in ${card.slice(-4)}`)
          : ok({ chargeId: id, amountCents: totalCents }),
    },
    {
      service: 'payments',
      operation: 'refundPayment',
      path: '/payments/refunds',
      direction: 'compensation',
      decide: ({ totalCents }, id) => ok({ refundId: id, amountCents: totalCents }),
    },
    {
      service: 'shipping',
      operation: 'shipOrder',
      path: '/shipping/shipments',
      direction: 'action',
      takesMs: ({ shipping }) => (shipping === 'slow' ? slowCarrierMs : 0),
      decide: ({ shipping }, id) => ok({ shipmentId: id, carrier: shipping === 'slow' ? 'snail' : 'swift' }),
    },
    {
      service: 'shipping',
      operation: 'cancelShipment',
      path: '/shipping/cancellations',
      direction: 'compensation',
      decide: (_, id) => ok({ cancellationId: id }),
    },
    {
      service: 'mail',
      operation: 'sendConfirmation',
      path: '/mail/confirmations',
      direction: 'action',
      decide: ({ email, orderId }, id) => ok({ messageId: id, to: email, subject: `Your order ${orderId}` }),
    },
    {
      service: 'mail',
      operation: 'sendCancellationEmail',
      path: '/mail/cancellations',
      direction: 'compensation',
      decide: ({ email, orderId }, id) =>
        ok({ messageId: id, to: email, subject: `Your order ${orderId} is cancelled` }),
    },
  ]
}

/** What is left of the stock: counted from the ledger, so that it survives a restart. */
class Shelf {
  readonly #left: Map<string, number>
  readonly #reserved = new Map<string, Order['items']>()

  constructor(stock: Readonly<Record<string, number>>, ledger: Ledger) {
    this.#left = new Map(Object.entries(stock))
    ledger.follow((entry) => this.#count(entry))
  }

  refusal({ items }: Order): Answer | undefined {
    for (const [sku, quantity] of totals(items)) {
      const left = this.#left.get(sku)
      if (left === undefined) return refusal(404, 'unknown-sku', `there is no SKU "${sku}" in the catalogue`)
      if (left < quantity)
        return refusal(409, 'out-of-stock', `${quantity} × ${sku} asked for, ${left} in stock`)
    }
    return undefined
  }

  #count({ event, operation, sagaId, answer }: LedgerEntry): void {
    if (event !== 'applied' || answer === undefined) return
    if (operation === 'reserveInventory') {
      const items = Order.shape.items.parse(answer.body.items)
      this.#reserved.set(sagaId, items)
      this.#move(items, -1)
    } else if (operation === 'releaseInventory') {
      this.#move(this.#reserved.get(sagaId) ?? [], 1)
      this.#reserved.delete(sagaId)
    }
  }

  #move(items: Order['items'], sign: 1 | -1): void {
    for (const { sku, quantity } of items) this.#left.set(sku, (this.#left.get(sku) ?? 0) + sign * quantity)
  }
}

/** An order may name one SKU on several lines. */
function totals(items: Order['items']): Map<string, number> {
  const sum = new Map<string, number>()
  for (const { sku, quantity } of items) sum.set(sku, (sum.get(sku) ?? 0) + quantity)
  return sum
}

export function ok(body: Answer['body']): Answer {
  return { status: 200, body }
}

/** A definite no, as problem JSON (RFC 9457). */
export function refusal(status: number, kind: string, detail: string): Answer {
  const title = kind.charAt(0).toUpperCase() + kind.slice(1).replaceAll('-', ' ')
  return { status, body: { type: `urn:order:${kind}`, title, status, detail } }
}
