import { callParticipant } from '@backstitch/example-participants'
import { defineSaga } from '@backstitch/sdk'
import { z } from 'zod'
import { participantsUrl } from './participants-url.ts'
import { Cover } from './trip.ts'

/**
 * A saga of its own, which anybody may start, and a step of every trip. Its steps are functions, so it has a queue of its own
 * (`insurance`), served by workers that have loaded it.
 */

const CENTS_A_DAY = 450
const Policy = z.object({ policyId: z.string(), days: z.int() })

export const insurance = defineSaga({
  name: 'insurance',
  description: 'Insures a traveller: a quote, and a policy; or none.',
  input: Cover,
  defaults: { timeoutMs: 5000, compensateWhen: 'uncertain' },
})
  .step('quote', {
    action: ({ input }) => ({ cents: CENTS_A_DAY * input.days }),
  })
  .step('issuePolicy', {
    action: (call) => callParticipant(`${participantsUrl}/insurance/policies`, call, Policy),
    compensation: (call) => callParticipant(`${participantsUrl}/insurance/cancellations`, call, z.unknown()),
  })
