import {
  Entry,
  type HistoryItem,
  HOLDERS,
  holdersOf,
  type Json,
  missingIn,
  type SagaState,
  valuesFrom,
  wantedOf,
} from '@backstitch/core'
import type { Database } from './database.ts'
import { bucketOf } from './ids.ts'
import { isTime, shownTime } from './instants.ts'

type Page = { after?: number | undefined; limit: number }
type Recorded = Exclude<HistoryItem, { kind: 'unreadable' }>

export type History = {
  /** Entries after `after`, in order. Throws `HistoryDamaged` if one cannot be read. */
  read(sagaId: string, page: Page): Promise<Recorded[]>
  /** The same for those who only look: an entry that cannot be read says so in its place (S29). */
  show(sagaId: string, page: Page): Promise<HistoryItem[]>
  /**
   * The values that stand in history entries instead of in the state (S33, S30a), by name. Throws `HistoryDamaged` if one is
   * not there.
   */
  values(sagaId: string, state: SagaState): Promise<Map<string, Json>>
}

/** What should stand in the history does not: nothing that is sent again will find it. */
export class HistoryDamaged extends Error {
  override readonly name = 'HistoryDamaged'
}

export function createHistory(database: Database): History {
  function entries(sagaId: string) {
    return database
      .selectFrom('saga_history')
      .select(['seq', 'at', 'kind', 'epoch', 'worker', 'body'])
      .where('bucket', '=', bucketOf(sagaId))
      .where('saga_id', '=', sagaId)
  }

  async function show(sagaId: string, { after = 0, limit }: Page): Promise<HistoryItem[]> {
    const rows = await entries(sagaId).where('seq', '>', after).orderBy('seq').limit(limit).execute()
    return rows.map(decode)
  }

  return {
    show,

    async read(sagaId, page) {
      return (await show(sagaId, page)).map((item) => {
        if (item.kind === 'unreadable') throw new HistoryDamaged(`history entry ${item.seq}: ${item.why}`)
        return item
      })
    },

    async values(sagaId, state) {
      const wanted = wantedOf(state)
      const names = new Set<unknown>(wanted.names)
      const seqs = [...wanted.edits.values()]
      const holders = entries(sagaId).where('kind', 'in', HOLDERS).orderBy('seq').limit(holdersOf(state))
      const [results, edited] = await Promise.all([
        names.size === 0 ? [] : holders.execute(),
        seqs.length === 0 ? [] : entries(sagaId).where('seq', 'in', seqs).execute(),
      ])
      // Those that stand in the state are small and may be many: to find out what they say costs more than to read them.
      const rows = results.filter(({ kind, body }) => kind === 'sagaStarted' || names.has(stepIn(body)))
      const found = valuesFrom([...rows, ...edited].map(decode).flatMap(readable), wanted)
      const missing = missingIn(wanted, found)
      if (missing !== undefined) throw new HistoryDamaged(`no history entry holds the value of "${missing}"`)
      return found
    },
  }
}

function stepIn(body: unknown): unknown {
  return typeof body === 'object' && body !== null && 'step' in body ? body.step : undefined
}

function readable(item: HistoryItem): { seq: number; entry: Entry }[] {
  return item.kind === 'unreadable' ? [] : [{ seq: item.seq, entry: item }]
}

type Row = { seq: number; at: Date; kind: string; epoch: number; worker: string | null; body: unknown }

function decode({ seq, at, kind, epoch, worker, body }: Row): HistoryItem {
  const facts = typeof body === 'object' && body !== null ? body : {}
  const entry = Entry.safeParse({ ...facts, kind, at: shownTime(at) })
  if (entry.success && isTime(at)) return { seq, epoch, worker, ...entry.data }
  const [issue] = entry.error?.issues ?? [{ path: ['at'], message: 'no time that can be read' }]
  const why = `the stored entry cannot be read: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`
  return { seq, epoch, worker, kind: 'unreadable', at: shownTime(at), storedKind: kind, why }
}
