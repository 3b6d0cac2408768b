import { z } from 'zod'

/** What a customer ordered: the input of the saga, and what every participant is sent with each call. */
export const Order = z.object({
  orderId: z.string().min(1).max(64),
  items: z
    .array(z.object({ sku: z.string().min(1).max(64), quantity: z.int().min(1).max(100) }))
    .min(1)
    .max(50),
  /** In cents: money is counted, not measured. */
  totalCents: z.int().min(1),
  /** Test cards only: see payments in participants.ts. */
  card: z.string().regex(/^\d{4}-\d{4}-\d{4}-\d{4}$/, 'a card reads 4242-4242-4242-4242'),
  email: z.email(),
  shipping: z.enum(['standard', 'slow']).optional(),
})
export type Order = z.infer<typeof Order>
