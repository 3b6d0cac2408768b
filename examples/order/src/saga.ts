import { defineSaga, StepFailed, StepRejected, StepUncertain } from '@backstitch/sdk'
import { z } from 'zod'
import { Order } from './order.ts'

/**
 * The same saga in TypeScript, as `order-ts`: its steps are functions, run by a worker that has loaded this file
 * (`SAGAS=…/saga.ts`). They call the same services, which are found at PARTICIPANTS_URL.
 */

const participantsUrl = process.env.PARTICIPANTS_URL ?? 'http://127.0.0.1:9000'

const Reservation = z.object({ reservationId: z.string() })
const Charge = z.object({ chargeId: z.string(), amountCents: z.int() })
const Shipment = z.object({ shipmentId: z.string(), carrier: z.string() })
const Confirmation = z.object({ messageId: z.string() })
const Undone = z.unknown()

const orderTs = defineSaga({
  name: 'order-ts',
  description: 'The order saga, its steps written in TypeScript.',
  input: Order,
  defaults: {
    timeoutMs: 5000,
    retry: { maxAttempts: 3, initialDelayMs: 200, factor: 2, maxDelayMs: 5000 },
    compensateWhen: 'uncertain',
  },
})
  .step('reserveInventory', {
    action: (call) => post('/inventory/reservations', call, Reservation),
    compensation: function releaseInventory(call) {
      return post('/inventory/releases', call, Undone)
    },
  })
  .step('chargePayment', {
    action: (call) => post('/payments/charges', call, Charge),
    compensation: function refundPayment(call) {
      return post('/payments/refunds', call, Undone)
    },
  })
  .step('shipOrder', {
    action: (call) => post('/shipping/shipments', call, Shipment),
    compensation: function cancelShipment(call) {
      return post('/shipping/cancellations', call, Undone)
    },
    timeoutMs: 15_000,
  })
  .step('sendConfirmation', {
    action: (call) => post('/mail/confirmations', call, Confirmation),
    compensation: function sendCancellationEmail(call) {
      return post('/mail/cancellations', call, Undone)
    },
  })

/** What a worker takes from this module. */
export const sagas = [orderTs]

type Call = {
  sagaId: string
  step: string
  direction: 'action' | 'compensation'
  attempt: number
  idempotencyKey: string
  input: Order
  signal: AbortSignal
}

/**
 * One call to a participant, with the key that makes it safe to repeat. The three ways it can go wrong are told apart,
 * because the saga goes on differently after each: never happened, a definite no, or nobody knows.
 */
async function post<Answer>(path: string, call: Call, Answer: z.ZodType<Answer>): Promise<Answer> {
  const { sagaId, step, direction, attempt, idempotencyKey, input, signal } = call
  let response: Response
  try {
    response = await fetch(`${participantsUrl}${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'Idempotency-Key': idempotencyKey,
        'Saga-Id': sagaId,
        'Saga-Step': step,
        'Saga-Direction': direction,
        'Saga-Attempt': String(attempt),
      },
      body: JSON.stringify({ sagaId, step, direction, input }),
      signal,
    })
  } catch (error) {
    const neverLeft = error instanceof TypeError && codeOf(error.cause) === 'ECONNREFUSED'
    const message = `no answer from ${path}`
    throw neverLeft ? new StepFailed(message, { cause: error }) : new StepUncertain(message, { cause: error })
  }
  const text = await response.text().catch(() => '')
  if (response.ok) {
    const answer = Answer.safeParse(parse(text))
    if (answer.success) return answer.data
    throw new StepUncertain(`${path} answered ${response.status}, but not what was expected`)
  }
  const said = `${path} answered ${response.status}: ${detailOf(text)}`
  if (response.status === 429) throw new StepFailed(said)
  if (response.status >= 500 || response.status === 408) throw new StepUncertain(said)
  throw new StepRejected(said, { code: `HTTP_${response.status}` })
}

/** The sentence in a problem (RFC 9457). */
function detailOf(text: string): string {
  const problem = z.object({ detail: z.string() }).safeParse(parse(text))
  return problem.success ? problem.data.detail : text.slice(0, 200)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function codeOf(cause: unknown): unknown {
  return typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined
}
