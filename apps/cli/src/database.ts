import { setTimeout as sleep } from 'node:timers/promises'
import { type LocalPostgres, startLocalPostgres } from '@backstitch/local-postgres'

export type Database = {
  url: string
  /** For a person: without the password. */
  where: string
  /** How long it took to start; undefined if it is not ours. */
  tookMs: number | undefined
  stop(): Promise<void>
}

/** The database given, which is not ours to start or stop; or an embedded Postgres in this directory. */
export async function openDatabase(databaseUrl: string | undefined, directory: string): Promise<Database> {
  if (databaseUrl !== undefined) {
    return {
      url: databaseUrl,
      where: withoutPassword(databaseUrl),
      tookMs: undefined,
      stop: () => Promise.resolve(),
    }
  }
  const startedAt = performance.now()
  const postgres = await startOwn(directory)
  const tookMs = performance.now() - startedAt
  return { url: postgres.url, where: `embedded, port ${postgres.port}`, tookMs, stop: () => postgres.stop() }
}

/**
 * We hold the slot, so a Postgres that runs there already was left behind by a supervisor that was killed, and is about
 * to be stopped by its keeper. It would be stopped under us: that end is waited for.
 */
async function startOwn(directory: string): Promise<LocalPostgres> {
  const until = performance.now() + 30_000
  for (;;) {
    const postgres = await startLocalPostgres({ directory })
    if (!postgres.adopted || performance.now() > until) return postgres
    await postgres.stop()
    await sleep(200)
  }
}

function withoutPassword(databaseUrl: string): string {
  const { hostname, port, pathname } = new URL(databaseUrl)
  return `${hostname}${port === '' ? '' : `:${port}`}${pathname}`
}
