import { type Json, parseJson } from '@backstitch/core'
import type { Remembered } from './decision.ts'

/** One connection, in a transaction: pg's Client and PoolClient are such, and what wraps them can be made one. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: readonly unknown[] }>
}

/** Postgres cuts names at 63 bytes, and the constraints' names begin with the table's. */
const NAME = /^(?:[A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,39}$/

export function statementsFor(table: string) {
  if (!NAME.test(table)) {
    throw new TypeError(
      `the barrier's table cannot be called "${table}": expected letters, digits and _, at most 40, and at most one schema before it`,
    )
  }
  const full = table.replace(/\w+/g, '"$&"')
  const name = table.replace(/^.*\./, '')
  return {
    // Names and keys compare by bytes: faster, and no library's new sorting order can break the unique index. Results
    // are text, so that they come back as they went in, and alike through every driver.
    migration: `CREATE TABLE IF NOT EXISTS ${full} (
  saga_id text COLLATE "C" NOT NULL,
  step text COLLATE "C" NOT NULL,
  action_generation integer,
  action_result text,
  undone_generation integer,
  undone_result text,
  heard_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT "${name}_pkey" PRIMARY KEY (saga_id, step),
  CONSTRAINT "${name}_result_of_action" CHECK ((action_result IS NULL) = (action_generation IS NULL)),
  CONSTRAINT "${name}_result_of_undoing" CHECK (
    (undone_result IS NULL) = (undone_generation IS NULL OR action_generation IS NULL)
  )
);
CREATE INDEX IF NOT EXISTS "${name}_heard_at" ON ${full} (heard_at);
`,

    // Inserts the row, or waits for whoever holds it and returns it as it is then; either way it is ours until the
    // commit. Under REPEATABLE READ and SERIALIZABLE a row that changed meanwhile is SQLSTATE 40001.
    take: `INSERT INTO ${full} (saga_id, step) VALUES ($1, $2)
ON CONFLICT (saga_id, step) DO UPDATE SET heard_at = now()
RETURNING action_generation, action_result, undone_generation, undone_result,
  pg_current_xact_id()::text AS transaction_id`,

    // $5: no row if this is another transaction than the one that took it, and so none that could hold it.
    recordAction: `UPDATE ${full} SET action_generation = $3, action_result = $4
WHERE saga_id = $1 AND step = $2 AND pg_current_xact_id()::text = $5 RETURNING step`,

    recordUndone: `UPDATE ${full} SET undone_generation = $3, undone_result = $4
WHERE saga_id = $1 AND step = $2 AND pg_current_xact_id()::text = $5 RETURNING step`,

    // A row that somebody holds is in use.
    prune: `WITH gone AS (
  DELETE FROM ${full} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM ${full} WHERE heard_at < now() - $1 * interval '1 millisecond'
    ORDER BY heard_at LIMIT $2 FOR UPDATE SKIP LOCKED
  )) RETURNING 1
)
SELECT count(*)::int AS gone FROM gone`,
  }
}

export type Taken = Remembered & { transactionId: string }

export function takenFrom(rows: readonly unknown[]): Taken {
  const [row] = rows
  const generation = fieldOf(row, 'action_generation')
  return {
    action:
      generation === null
        ? undefined
        : { generation: Number(generation), result: stored(fieldOf(row, 'action_result')) },
    undone:
      fieldOf(row, 'undone_generation') === null
        ? undefined
        : { result: storedOrNone(fieldOf(row, 'undone_result')) },
    transactionId: String(fieldOf(row, 'transaction_id')),
  }
}

export function countFrom(rows: readonly unknown[]): number {
  return Number(fieldOf(rows[0], 'gone'))
}

function fieldOf(row: unknown, name: string): unknown {
  const value: unknown = typeof row === 'object' && row !== null ? Reflect.get(row, name) : undefined
  if (value !== undefined) return value
  throw new Error(
    `the barrier's table gave no "${name}": expected a row as an object with the columns' names`,
  )
}

function storedOrNone(text: unknown): Json | undefined {
  return text === null ? undefined : stored(text)
}

function stored(text: unknown): Json {
  const verdict = parseJson(String(text))
  if (verdict.ok) return verdict.value
  throw new Error(`the barrier's table holds a result that is not JSON: ${verdict.problem.detail}`)
}
