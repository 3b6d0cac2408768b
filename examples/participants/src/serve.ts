import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { Ledger } from './ledger.ts'

/** The process around some participants. */

const Env = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(0).max(65_535).default(9000),
  /** Where the ledger is kept, in ledger.jsonl; in memory if this is not set. */
  LEDGER_DIR: z.string().optional(),
})

/** Reads the environment, ours and what `Own` adds; listens; stops when it is told to. */
export async function serve<Own extends z.ZodRawShape>(
  own: z.ZodObject<Own>,
  build: (ledger: Ledger, settings: z.infer<z.ZodObject<Own>>) => FastifyInstance,
): Promise<void> {
  const [env, settings] = [Env.safeParse(process.env), own.safeParse(process.env)]
  if (!env.success || !settings.success) {
    const issues = [...(env.error?.issues ?? []), ...(settings.error?.issues ?? [])]
    for (const { path, message } of issues) console.error(`${path.join('.')}: ${message}`)
    process.exit(1)
  }
  const { HOST: host, PORT: port, LEDGER_DIR: directory } = env.data
  const app = build(new Ledger(directory), settings.data)

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
}
