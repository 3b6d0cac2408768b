import {
  type Answer,
  type Ledger,
  type LedgerEntry,
  type Operation,
  ok,
  refusal,
} from '@backstitch/example-participants'
import { Order } from './order.ts'

/** What the four services do. They decide by the order alone: by its SKUs, its card, its shipping. */

/** Declined, as the test cards of a payment provider are. */
export const DECLINED_CARD = '4000-0000-0000-0002'

export type Article = { priceCents: number; stock: number }

/** What there is to order, and how many of it while the ledger is empty. */
export const CATALOGUE: Readonly<Record<string, Article>> = {
  linen: { priceCents: 1250, stock: 10_000 },
  thread: { priceCents: 320, stock: 10_000 },
  needle: { priceCents: 90, stock: 10_000 },
  quilt: { priceCents: 48_000, stock: 1 },
}

export type Surroundings = {
  ledger: Ledger
  catalogue?: Readonly<Record<string, Article>>
  slowCarrierMs?: number
}

export function orderServices({
  ledger,
  catalogue = CATALOGUE,
  slowCarrierMs = 3000,
}: Surroundings): Operation<Order>[] {
  const shelf = new Shelf(catalogue, ledger)
  const amountOf = ({ sku, quantity }: Order) => (catalogue[sku]?.priceCents ?? 0) * quantity
  return [
    {
      service: 'inventory',
      operation: 'reserveInventory',
      path: '/inventory/reservations',
      direction: 'action',
      decide: (order, id) =>
        shelf.refusal(order) ?? ok({ reservationId: id, sku: order.sku, quantity: order.quantity }),
    },
    {
      service: 'inventory',
      operation: 'releaseInventory',
      path: '/inventory/releases',
      direction: 'compensation',
      decide: (_, id) => ok({ releaseId: id }),
    },
    {
      service: 'payments',
      operation: 'chargePayment',
      path: '/payments/charges',
      direction: 'action',
      decide: (order, id) =>
        order.card === DECLINED_CARD
          ? refusal(402, 'card-declined', `the bank declined the card ending in ${order.card.slice(-4)}`)
          : ok({ chargeId: id, amountCents: amountOf(order) }),
    },
    {
      service: 'payments',
      operation: 'refundPayment',
      path: '/payments/refunds',
      direction: 'compensation',
      decide: (order, id) => ok({ refundId: id, amountCents: amountOf(order) }),
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
      decide: ({ orderId }, id) => ok({ messageId: id, subject: `Your order ${orderId}` }),
    },
    {
      service: 'mail',
      operation: 'sendCancellationEmail',
      path: '/mail/cancellations',
      direction: 'compensation',
      decide: ({ orderId }, id) => ok({ messageId: id, subject: `Your order ${orderId} is cancelled` }),
    },
  ]
}

/** What is left of the stock: counted from the ledger, so that it survives a restart. */
class Shelf {
  readonly #left: Map<string, number>
  readonly #reserved = new Map<string, Pick<Order, 'sku' | 'quantity'>>()

  constructor(catalogue: Readonly<Record<string, Article>>, ledger: Ledger) {
    this.#left = new Map(Object.entries(catalogue).map(([sku, { stock }]) => [sku, stock]))
    ledger.follow((entry) => this.#count(entry))
  }

  refusal({ sku, quantity }: Order): Answer | undefined {
    const left = this.#left.get(sku)
    if (left === undefined) return refusal(404, 'unknown-sku', `there is no SKU "${sku}" in the catalogue`)
    if (left < quantity)
      return refusal(409, 'out-of-stock', `${quantity} × ${sku} asked for, ${left} in stock`)
    return undefined
  }

  #count({ event, operation, sagaId, answer }: LedgerEntry): void {
    if (event !== 'applied' || answer === undefined) return
    if (operation === 'reserveInventory') {
      const reserved = Order.pick({ sku: true, quantity: true }).parse(answer.body)
      this.#reserved.set(sagaId, reserved)
      this.#move(reserved, -1)
    } else if (operation === 'releaseInventory') {
      const reserved = this.#reserved.get(sagaId)
      if (reserved !== undefined) this.#move(reserved, 1)
      this.#reserved.delete(sagaId)
    }
  }

  #move({ sku, quantity }: Pick<Order, 'sku' | 'quantity'>, sign: 1 | -1): void {
    this.#left.set(sku, (this.#left.get(sku) ?? 0) + sign * quantity)
  }
}
