import { appendFileSync } from 'node:fs'
import { defineSaga, StepRejected } from '@backstitch/sdk'
import { z } from 'zod'

/**
 * Sagas for tests that kill workers: every call is noted in a file before and after it, and the input says what it does. The
 * worker under test loads this module as it would its author's.
 */

const Input = z.object({
  /** How long each action takes. */
  takesMs: z.number().default(0),
  /** The one step that takes that long; all of them, if absent. */
  slowAt: z.string().optional(),
  /** The step that is rejected. */
  rejectedAt: z.string().optional(),
  /** The step whose action kills the process it runs in. */
  abortsAt: z.string().optional(),
  /** The step whose action leaves two rejections behind that nobody handles. */
  carelessAt: z.string().optional(),
})

export type LedgerLine = {
  phase: 'called' | 'done'
  sagaId: string
  step: string
  direction: string
  attempt: number
  key: string
  pid: number
}

type Call = {
  sagaId: string
  step: string
  direction: 'action' | 'compensation'
  attempt: number
  idempotencyKey: string
}

function note(phase: LedgerLine['phase'], { sagaId, step, direction, attempt, idempotencyKey }: Call): void {
  const line: LedgerLine = { phase, sagaId, step, direction, attempt, key: idempotencyKey, pid: process.pid }
  appendFileSync(process.env.LEDGER ?? '/dev/null', `${JSON.stringify(line)}\n`)
}

async function act(call: Call & { input: z.infer<typeof Input> }) {
  note('called', call)
  const { takesMs, slowAt = call.step, rejectedAt, abortsAt, carelessAt } = call.input
  if (abortsAt === call.step) process.abort()
  if (carelessAt === call.step) {
    for (const one of ['one', 'another']) setTimeout(() => void Promise.reject(new Error(one)), 10)
  }
  if (takesMs > 0 && slowAt === call.step) await new Promise((resolve) => setTimeout(resolve, takesMs))
  if (rejectedAt === call.step) throw new StepRejected('as the input asked for')
  note('done', call)
  return { by: process.pid }
}

function undo(call: Call): void {
  note('called', call)
  note('done', call)
}

export const ledger = defineSaga({ name: 'ledger', input: Input })
  .step('one', { action: act, compensation: undo })
  .step('two', { action: act, compensation: undo })
  .step('three', { action: act, compensation: undo })

export const sagas = [ledger]
