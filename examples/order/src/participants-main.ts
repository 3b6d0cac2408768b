import { z } from 'zod'
import { Ledger } from './ledger.ts'
import { buildParticipants } from './participants.ts'

/** `node examples/order/src/participants-main.ts`: inventory, payments, shipping and mail on one port. */

const Env = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(0).max(65_535).default(9000),
  /** Where the ledger is kept, in ledger.jsonl; in memory if this is not set. */
  LEDGER_DIR: z.string().optional(),
  SLOW_CARRIER_MS: z.coerce.number().int().min(0).max(600_000).default(3000),
})

const env = Env.safeParse(process.env)
if (!env.success) {
  for (const { path, message } of env.error.issues) console.error(`${path.join('.')}: ${message}`)
  process.exit(1)
}
const { HOST: host, PORT: port, LEDGER_DIR: directory, SLOW_CARRIER_MS: slowCarrierMs } = env.data
const app = buildParticipants({ ledger: new Ledger(directory), slowCarrierMs })

let stopping = false
function stop(): void {
  if (stopping) process.exit(1)
  stopping = true
  void app.close().finally(() => process.exit(0))
}
process.on('SIGTERM', stop).on('SIGINT', stop)
// Started by another process: it must not outlive it.
process.on('disconnect', stop)

const url = await app.listen({ host, port })
console.log(JSON.stringify({ ready: true, url }))
process.send?.({ type: 'ready', url })
