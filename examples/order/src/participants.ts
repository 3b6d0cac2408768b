import { buildParticipants } from '@backstitch/example-participants'
import type { FastifyInstance } from 'fastify'
import { Order } from './order.ts'
import { orderServices, type Surroundings } from './services.ts'

/** The services an order needs: inventory, payments, shipping and mail. */
export function orderParticipants(surroundings: Surroundings): FastifyInstance {
  return buildParticipants(surroundings.ledger).add(Order, orderServices(surroundings)).app
}
