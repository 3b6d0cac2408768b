import { z } from 'zod'

/** What a traveller asks for: the input of the saga. What becomes of it, the trip alone decides: see services.ts. */
export const Trip = z.object({
  tripId: z.string().min(1).max(64),
  traveller: z.string().min(1).max(64),
  /** Two letters, as in an address. */
  country: z.string().regex(/^[A-Z]{2}$/, 'a country is two capital letters'),
  nights: z.int().min(1).max(60),
  airline: z.string().min(1).max(64),
  hotel: z.string().min(1).max(64),
  card: z.string().regex(/^\d{4}-\d{4}-\d{4}-\d{4}$/, 'a card reads 4000-0000-0000-0000'),
})
export type Trip = z.infer<typeof Trip>

/** The input of the saga that insures a trip. */
export const Cover = z.object({
  traveller: z.string().min(1).max(64),
  country: z.string(),
  days: z.int().min(1),
})
export type Cover = z.infer<typeof Cover>
