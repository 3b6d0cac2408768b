import { Entry, entryOf, type HistoryItem, type Json } from '@backstitch/core'
import type { Database } from './database.ts'
import { bucketOf } from './ids.ts'

type Page = { after?: number | undefined; limit: number }
type Recorded = Exclude<HistoryItem, { kind: 'unreadable' }>

export type History = {
  /** Entries after `after`, in order. Throws `HistoryDamaged` if one cannot be read. */
  read(sagaId: string, page: Page): Promise<Recorded[]>
  /** The same for those who only look: an entry that cannot be read says so in its place (S29). */
  show(sagaId: string, page: Page): Promise<HistoryItem[]>
  /**
   * Values that stand in history entries instead of in the state (S33, S30a): by name, given the entry each stands in. Throws
   * `HistoryDamaged` if one is not there.
   */
  values(sagaId: string, spilled: Readonly<Record<string, number>>): Promise<Map<string, Json>>
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

    async values(sagaId, spilled) {
      const seqs = Object.values(spilled)
      if (seqs.length === 0) return new Map()
      const rows = await entries(sagaId).where('seq', 'in', seqs).execute()
      const found = new Map(rows.map((row) => [row.seq, decode(row)]))
      return new Map(
        Object.entries(spilled).map(([name, seq]) => {
          const entry = found.get(seq)
          if (entry?.kind === 'sagaStarted') {
            const value = name === 'input' ? entry.input : entryOf(entry.undo?.results, name)
            if (value !== undefined) return [name, value]
          }
          if (entry?.kind === 'attemptSucceeded' || entry?.kind === 'signalReceived')
            return [name, entry.result]
          if (entry?.kind === 'retried' && entry.edited !== undefined) return [name, entry.edited.input]
          throw new HistoryDamaged(`history entry ${seq} should hold the value of "${name}" and does not`)
        }),
      )
    },
  }
}

type Row = { seq: number; at: Date; kind: string; epoch: number; worker: string | null; body: unknown }

function decode({ seq, at, kind, epoch, worker, body }: Row): HistoryItem {
  const facts = typeof body === 'object' && body !== null ? body : {}
  const entry = Entry.safeParse({ ...facts, kind, at: at.toISOString() })
  if (entry.success) return { seq, epoch, worker, ...entry.data }
  const [issue] = entry.error.issues
  const why = `the stored entry cannot be read: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`
  return { seq, epoch, worker, kind: 'unreadable', at: at.toISOString(), storedKind: kind, why }
}
