import { Entry, type HistoryItem, type Json } from '@backstitch/core'
import type { Database } from './database.ts'
import { bucketOf } from './ids.ts'

export type History = {
  /** Entries after `after`, in order. */
  read(sagaId: string, page: { after?: number | undefined; limit: number }): Promise<HistoryItem[]>
  /** Values that stand in history entries instead of in the state (S33): by name, given the entry each stands in. */
  values(sagaId: string, spilled: Readonly<Record<string, number>>): Promise<Map<string, Json>>
}

export function createHistory(database: Database): History {
  function entries(sagaId: string) {
    return database
      .selectFrom('saga_history')
      .select(['seq', 'at', 'kind', 'epoch', 'worker', 'body'])
      .where('bucket', '=', bucketOf(sagaId))
      .where('saga_id', '=', sagaId)
  }

  return {
    async read(sagaId, { after = 0, limit }) {
      const rows = await entries(sagaId).where('seq', '>', after).orderBy('seq').limit(limit).execute()
      return rows.map(decode)
    },

    async values(sagaId, spilled) {
      const seqs = Object.values(spilled)
      if (seqs.length === 0) return new Map()
      const rows = await entries(sagaId).where('seq', 'in', seqs).execute()
      const found = new Map(rows.map((row) => [row.seq, decode(row)]))
      return new Map(
        Object.entries(spilled).map(([name, seq]) => {
          const entry = found.get(seq)
          if (entry?.kind === 'sagaStarted') return [name, entry.input]
          if (entry?.kind === 'attemptSucceeded') return [name, entry.result]
          throw new Error(`saga ${sagaId}: history entry ${seq} should hold the value of "${name}" and does not`)
        }),
      )
    },
  }
}

type Row = { seq: number; at: Date; kind: string; epoch: number; worker: string | null; body: unknown }

function decode({ seq, at, kind, epoch, worker, body }: Row): HistoryItem {
  const facts = typeof body === 'object' && body !== null ? body : {}
  const entry = Entry.parse({ ...facts, kind, at: at.toISOString() })
  return { seq, epoch, worker, ...entry }
}
