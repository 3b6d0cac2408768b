import { z } from 'zod'

/** What a customer ordered: the input of the saga, and what every participant is sent with each call. */
export const Order = z.object({
  orderId: z.string().min(1).max(64),
  sku: z.string().min(1).max(64),
  quantity: z.int().min(1).max(1000),
  /** Not a real one: what a card does is in services.ts. */
  card: z.string().regex(/^\d{4}-\d{4}-\d{4}-\d{4}$/, 'a card reads 4000-0000-0000-0000'),
  shipping: z.enum(['standard', 'slow']).optional(),
})
export type Order = z.infer<typeof Order>
