import { defineSaga, StepRejected, StepUncertain } from '@backstitch/sdk'
import { z } from 'zod'
import { ACTION_ATTEMPTS, BACKOFF, COMPENSATION_ATTEMPTS, type Definition, TIMEOUT_MS } from './generator.ts'

/** A saga whose steps are carried out in the worker itself, and some of whose handlers do harm to it: each once. */
const Input = z.object({ label: z.number(), twisted: z.boolean().optional() })

type Call = {
  sagaId: string
  step: string
  direction: 'action' | 'compensation'
  attempt: number
  idempotencyKey: string
  signal: AbortSignal
  input: z.infer<typeof Input>
  result?: unknown
}

const { LEDGER = '', LEASE_MS = '1500' } = process.env
const BLOCKS = 17
const CARELESS = 19

async function ask(path: string, call: Call, body: unknown): Promise<Response> {
  try {
    return await fetch(`${LEDGER}${path}`, {
      method: 'POST',
      redirect: 'manual',
      signal: call.signal,
      headers: {
        'saga-id': call.sagaId,
        'saga-step': call.step,
        'saga-direction': call.direction,
        'saga-attempt': String(call.attempt),
        'idempotency-key': call.idempotencyKey,
      },
      body: JSON.stringify(body),
    })
  } catch (error) {
    throw new StepUncertain('the ledger did not answer', { cause: error })
  }
}

async function carryOut(call: Call): Promise<{ amount?: number } | null> {
  const { label } = call.input
  if (
    call.step === 'one' &&
    call.direction === 'action' &&
    (label % BLOCKS === 0 || label % CARELESS === 0)
  ) {
    const first = await (await ask('/once', call, { key: call.idempotencyKey })).json()
    if (first === true && label % BLOCKS === 0) blockTheLoop(2 * Number(LEASE_MS))
    if (first === true && label % CARELESS === 0)
      setTimeout(() => void Promise.reject(new Error('careless')), 5)
  }
  const response = await ask('/guarded', call, { input: call.input, result: call.result })
  const text = await response.text().catch((cause: unknown) => {
    throw new StepUncertain('the answer broke off', { cause })
  })
  if (/^(302|409|422)$/.test(String(response.status))) throw new StepRejected(text)
  if (!response.ok) throw new StepUncertain(`the ledger answered ${response.status}`)
  return JSON.parse(text)
}

function blockTheLoop(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

const step = {
  action: carryOut,
  compensation: { run: carryOut, retry: { ...BACKOFF, maxAttempts: COMPENSATION_ATTEMPTS } },
}

export const handlers = defineSaga({
  name: 'chaos-handlers',
  input: Input,
  defaults: {
    timeoutMs: TIMEOUT_MS,
    retry: { ...BACKOFF, maxAttempts: ACTION_ATTEMPTS },
    compensateWhen: 'uncertain',
  },
})
  .step('one', step)
  .step('two', step)
  .step('three', step)

export const sagas = [handlers]

/** As the others are generated. */
export const handlersDefinition: Definition = JSON.parse(JSON.stringify(handlers.definition))
