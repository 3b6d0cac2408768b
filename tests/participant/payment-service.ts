import { createServer, type Server } from 'node:http'
import { StepRejected } from '@backstitch/sdk'
import { createBarrier, handleSagaCall, sagaEndpoint } from '@backstitch/sdk/participant'
import type pg from 'pg'
import { z } from 'zod'

const Order = z.object({ input: z.object({ account: z.string(), totalCents: z.int().min(1) }) })
const Charge = z.object({ account: z.string(), chargedCents: z.int() })

export const barrier = createBarrier({ table: 'payment_barrier' })

export const migration = `
  ${barrier.migrationSql}
  CREATE TABLE accounts (id text PRIMARY KEY, cents bigint NOT NULL CHECK (cents >= 0));
`

export function paymentService(pool: pg.Pool): Server {
  const charges = sagaEndpoint({
    barrier,
    connect: () => pool.connect(),

    action: async ({ transaction, body }) => {
      const { account, totalCents } = Order.parse(body).input
      const take = 'UPDATE accounts SET cents = cents - $2 WHERE id = $1 AND cents >= $2'
      const { rowCount } = await transaction.query(take, [account, totalCents])
      if (rowCount === 0) throw new StepRejected('not enough money', { code: 'INSUFFICIENT_FUNDS' })
      return { account, chargedCents: totalCents }
    },

    compensation: async ({ transaction, result }) => {
      const { account, chargedCents } = Charge.parse(result)
      await transaction.query('UPDATE accounts SET cents = cents + $2 WHERE id = $1', [account, chargedCents])
    },
  })

  return createServer((request, response) => {
    void handleSagaCall(charges, request, response)
  })
}
