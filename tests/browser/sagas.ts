import { createServer } from 'node:http'
import {
  Definition,
  type HandlerCall,
  type Json,
  JsonValue,
  OUTCOME,
  type SagaModule,
} from '@backstitch/core'
import { z } from 'zod'

/** Sagas for people to look at: what becomes of one is said in its input. */

const steps = z.array(z.string()).optional()
const Plot = z.looseObject({
  /** Steps that are rejected, and steps whose undo is. */
  fails: steps,
  undoFails: steps,
  /** Steps that take as long as they may. */
  hangs: steps,
  undoHangs: steps,
  says: z.string().optional(),
  gives: JsonValue.optional(),
})

export type Plot = z.infer<typeof Plot>

const both = { action: { type: 'handler' }, compensation: { type: 'handler' } }

/** `payments`: where the HTTP participant below listens. */
export function definitionsFor(payments: string): Json[] {
  const charge = (path: string, method: string) => ({
    type: 'http',
    method,
    url: `${payments}/charges${path}`,
    headers: { Authorization: 'Bearer not-for-your-eyes', 'X-Region': 'eu' },
  })
  return [
    {
      name: 'order',
      inputSchema: {
        type: 'object',
        required: ['orderId'],
        properties: {
          orderId: { type: 'string', title: 'Order' },
          total: { type: 'number', minimum: 0, default: 10 },
          needsApproval: { type: 'boolean', default: false },
          channel: { enum: ['web', 'shop'] },
        },
      },
      defaults: { timeoutMs: 60_000, retry: { maxAttempts: 2, initialDelayMs: 150, maxDelayMs: 150 } },
      steps: [
        { name: 'reserve', ...both },
        {
          name: 'charge',
          action: {
            ...charge('', 'POST'),
            body: { order: '${{ input.orderId }}', uncertain: '${{ has(input.chargeIsUncertain) }}' },
          },
          compensation: {
            ...charge('/${{ input.orderId }}', 'DELETE'),
            retry: { maxAttempts: 2, initialDelayMs: 150 },
          },
        },
        {
          parallel: [
            { name: 'label', ...both },
            { name: 'invoice', ...both },
          ],
        },
        {
          name: 'approve',
          when: 'has(input.needsApproval) && input.needsApproval',
          action: { type: 'signal', signal: 'approved' },
          timeoutMs: 86_400_000,
        },
        { name: 'ship', pivot: true, action: { type: 'handler' } },
        { name: 'notify', action: { type: 'handler' } },
      ],
    },
    {
      name: 'trip',
      steps: [
        { name: 'book', action: { type: 'saga', definition: 'order' } },
        { name: 'coolOff', action: { type: 'delay', delayMs: 3_600_000 } },
      ],
    },
    {
      name: 'long',
      steps: Array.from({ length: 200 }, (_, n) => ({ name: `step${n + 1}`, ...both })),
    },
  ]
}

async function act(call: HandlerCall): Promise<Json> {
  const plot = Plot.parse(call.input)
  const isUndo = call.direction === 'compensation'
  const named = (steps: string[] | undefined) => steps?.includes(call.step) === true
  if (named(isUndo ? plot.undoHangs : plot.hangs))
    await new Promise((resolve) => setTimeout(resolve, 60_000).unref())
  if (named(isUndo ? plot.undoFails : plot.fails)) {
    const message = plot.says ?? `the ${call.step} desk is closed until Monday`
    throw Object.assign(new Error(message), { code: 'DESK_CLOSED', [OUTCOME]: 'rejected' })
  }
  return call.step === 'reserve'
    ? (plot.gives ?? { reservation: `r-${call.sagaId.slice(0, 8)}` })
    : { ok: true }
}

export function modulesOf(definitions: readonly Json[]): SagaModule[] {
  return definitions.map((document) => {
    const definition = Definition.parse(document)
    const steps = definition.steps.flatMap((step) => ('parallel' in step ? step.parallel : [step]))
    return {
      definition,
      handlers: new Map(steps.map(({ name }) => [name, { action: act, compensation: act }])),
    }
  })
}

/** Takes money and gives it back, unless it is told that nobody knows. */
export async function openPayments(): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += String(chunk)
    })
    request.on('end', () => {
      const isLost = text.includes('"uncertain":true')
      const isRefused = request.method === 'DELETE' && request.url?.endsWith('-norefund') === true
      response.writeHead(isLost ? 500 : isRefused ? 409 : 200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(isRefused ? { error: 'the charge is settled' } : { chargeId: 'c-1' }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('it listens on a port')
  return {
    url: `http://127.0.0.1:${address.port}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
