import { readFileSync } from 'node:fs'
import type { FeedEvent, FeedPage, HistoryItem, Page, Saga } from '@backstitch/core'
import type { Client } from './client.ts'
import type { Definition } from './generator.ts'
import type { ClientLine, LedgerLine } from './records.ts'

/** All that a verdict rests on: what the participants wrote, what the callers wrote, and what the public API says afterwards. */
export type Evidence = {
  definitions: ReadonlyMap<string, Definition>
  ledger: readonly LedgerLine[]
  client: readonly ClientLine[]
  sagas: ReadonlyMap<string, Told>
  /** What whoever listens was told, in the order in which they were. */
  events: readonly FeedEvent[]
  /** Calls that followed a redirect to where nobody was to go. */
  strays: number
  /** Found in the database once every process has ended. */
  leaks: readonly string[]
}

/** A saga, its history, and its part of the ledger. One that undoes another calls in the name of that (M5). */
export type Told = {
  saga: Saga
  history: readonly HistoryItem[]
  calls: readonly LedgerLine[]
  /** The saga that undoes this one. */
  undo?: Told
}

const AT_ONCE = 16

export async function askForSagas(
  client: Pick<Client, 'get'>,
  ledger: readonly LedgerLine[],
): Promise<ReadonlyMap<string, Told>> {
  const ids: string[] = []
  for (let cursor = ''; ; ) {
    const page = await client.get<Page<Saga>>(`/v1/sagas?limit=200${cursor}`)
    ids.push(...page.items.map(({ sagaId }) => sagaId))
    if (page.nextCursor === undefined) break
    cursor = `&cursor=${encodeURIComponent(page.nextCursor)}`
  }
  const calls = Map.groupBy(ledger, ({ sagaId }) => sagaId)
  const told = new Map<string, Told>()
  const left = [...new Set(ids)]
  const ask = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      const saga = await client.get<Saga>(`/v1/sagas/${id}`)
      told.set(id, { saga, history: await historyOf(client, id), calls: calls.get(saga.undoOf ?? id) ?? [] })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, ask))
  for (const undo of told.values()) {
    const undone = told.get(undo.saga.undoOf ?? '')
    if (undone !== undefined) undone.undo = undo
  }
  return told
}

/** Asked for when nothing is left to be published. */
export async function askForEvents(client: Pick<Client, 'get'>): Promise<FeedEvent[]> {
  const events: FeedEvent[] = []
  for (let after = '0'; ; ) {
    const { items, last } = await client.get<FeedPage>(`/v1/events?limit=200&after=${after}`)
    events.push(...items)
    if (last === after) return events
    after = last
  }
}

async function historyOf(client: Pick<Client, 'get'>, sagaId: string): Promise<HistoryItem[]> {
  const items: HistoryItem[] = []
  for (let cursor = ''; ; ) {
    const page = await client.get<Page<HistoryItem>>(`/v1/sagas/${sagaId}/history?limit=200${cursor}`)
    items.push(...page.items)
    if (page.nextCursor === undefined) return items
    cursor = `&cursor=${encodeURIComponent(page.nextCursor)}`
  }
}

export function linesOf<Line>(file: string): Line[] {
  return readFileSync(file, { encoding: 'utf8', flag: 'a+' })
    .split('\n')
    .filter((line) => line !== '')
    .map((line): Line => JSON.parse(line))
}
