import { serve } from '@backstitch/example-participants'
import { z } from 'zod'
import { orderParticipants } from './participants.ts'

/** `node examples/order/src/participants-main.ts`: inventory, payments, shipping and mail on one port. */

const Env = z.object({ SLOW_CARRIER_MS: z.coerce.number().int().min(0).max(600_000).default(3000) })

await serve(Env, (ledger, { SLOW_CARRIER_MS: slowCarrierMs }) => orderParticipants({ ledger, slowCarrierMs }))
