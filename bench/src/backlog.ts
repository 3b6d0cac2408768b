import { setTimeout as sleep } from 'node:timers/promises'
import { type ApiStore, openApiStore, type Registered } from '@backstitch/store'
import pg from 'pg'
import { documentOf } from './installation.ts'
import type { Place } from './place.ts'

/** Sagas that wait for workers in other processes. */
export type Backlog = {
  start(count: number): Promise<void>
  /** Starts them, but lets no worker have them before `release`. */
  hold(count: number): Promise<void>
  release(): Promise<void>
  /** Resolves when no saga is due now, and none is held: all have ended, or wait. */
  drained(): Promise<void>
  /** Resolves when every saga is held by some worker. */
  held(): Promise<void>
  close(): Promise<void>
}

const LOOK_MS = 20
const NONE_DUE = 'NOT EXISTS (SELECT 1 FROM sagas WHERE due_at IS NOT NULL)'

export async function openBacklog(
  { url }: Place,
  document = documentOf({ name: 'order', steps: 3 }),
): Promise<Backlog> {
  const store = await openApiStore({ databaseUrl: url })
  const definition = await store.definitions.register(document)
  const client = new pg.Client(url)
  await client.connect()

  /** By the indexes of what is due and of what is held: looking must not cost what is looked at. */
  async function until(condition: string): Promise<void> {
    for (;;) {
      const { rows } = await client.query<{ so: boolean }>(`SELECT ${condition} AS so`)
      if (rows[0]?.so === true) return
      await sleep(LOOK_MS)
    }
  }

  return {
    start: (count) => startMany(store, definition, count),
    async hold(count) {
      await startMany(store, definition, count)
      await client.query("UPDATE sagas SET due_at = now() + interval '1 hour' WHERE due_at IS NOT NULL")
    },
    async release() {
      await client.query('UPDATE sagas SET due_at = now() WHERE due_at IS NOT NULL')
      store.wakeups.due(definition.queue)
    },
    drained: () =>
      until(
        `NOT EXISTS (SELECT 1 FROM sagas WHERE due_at <= now()) AND NOT EXISTS (SELECT 1 FROM sagas WHERE owner IS NOT NULL)`,
      ),
    held: () => until(NONE_DUE),
    async close() {
      await client.end()
      await store.close()
    },
  }
}

async function startMany(store: ApiStore, definition: Registered, count: number): Promise<void> {
  const request = {
    definition,
    input: { orderId: 'o-1', amount: 4200 },
    inputBytes: 34,
    requestHash: 'bench',
  }
  for (let left = count; left > 0; left -= 1_000) {
    await Promise.all(Array.from({ length: Math.min(left, 1_000) }, () => store.starts.start(request)))
  }
}
