import { createLink, type LinkOptions } from './link.ts'

/**
 * A lane is a connection that carries one kind of statement, over and over: the group commits, the starts, the claims.
 *
 * Direct lanes use named prepared statements with generic plans: planning each flush afresh costs more than the flush, and
 * a plan made while a table was empty must not be kept as a scan. Behind a transaction-mode pooler neither names nor
 * settings would hold, so statements go unnamed there.
 */
export type Lane = {
  /** Rows as arrays of columns. */
  query(statement: Statement, values: readonly unknown[]): Promise<unknown[][]>
  close(): Promise<void>
}

export type Statement = { name: string; text: string }

export type LaneOptions = LinkOptions & {
  /** How this lane's statements join: batch with big table by index, or batch with batch by hash. Default `index`. */
  joins?: 'index' | 'hash'
}

export const SETTINGS = [
  'plan_cache_mode = force_generic_plan',
  'jit = off',
  'idle_in_transaction_session_timeout = 10000',
  'enable_seqscan = off',
  // What is due is read in order as far as it is wanted, never gathered and sorted.
  'enable_bitmapscan = off',
  'enable_mergejoin = off',
]
export const JOIN_SETTINGS = { index: 'enable_hashjoin = off', hash: 'enable_nestloop = off' }

export function createLane(options: LaneOptions): Lane {
  const settings = [...SETTINGS, JOIN_SETTINGS[options.joins ?? 'index']]
  const link = createLink(options, async (client, pooled) => {
    if (!pooled) await client.query(settings.map((setting) => `SET ${setting}`).join('; '))
  })
  return {
    query: (statement, values) =>
      link.use(async (client, pooled) => {
        const named = pooled ? {} : { name: statement.name }
        const query = { ...named, text: statement.text, values: [...values], rowMode: 'array' as const }
        const { rows } = await client.query<unknown[]>(query)
        return rows
      }),
    close: () => link.close(),
  }
}
