import { checkJson, type Json, MAX_VALUE_BYTES } from '@backstitch/core'
import { decide, type Outcome } from './decision.ts'
import { generationOf, type SagaCall } from './saga-call.ts'
import { countFrom, type Queryable, statementsFor, takenFrom } from './table.ts'

/** In a compensation, `result` is what the action returned; in an action it is undefined. */
export type Work<T> = (known: { result: Json | undefined }) => Promise<T>

export type BarrierOptions = {
  /** `saga_barrier`, if not said otherwise; with a schema: `payments.saga_barrier`. */
  table?: string | undefined
}

export type OnceOptions<T> = {
  /**
   * For an action that was done before an operator edited its input: changes what stands to what is asked for now, given
   * the result from then, and returns the new result. Without it such a call is refused.
   */
  amend?: ((known: { result: Json }) => Promise<T>) | undefined
}

/** Makes the actions and compensations of sagas happen exactly once, in the transaction that does them. */
export type Barrier = {
  /** Creates the barrier's table, if it is not there. */
  readonly migrationSql: string
  /**
   * Runs `work` unless it has been run, inside the caller's transaction, of which it should be the first statement: the
   * call holds its step from here to the commit. If `work` throws, so does this; roll back, and nothing is remembered.
   */
  once: <T>(
    transaction: Queryable,
    call: SagaCall,
    work: Work<T>,
    options?: OnceOptions<T>,
  ) => Promise<Outcome<T>>
  /**
   * Forgets steps nobody has called about for `olderThanMs`, in batches, each a transaction of its own unless `client` is
   * in one. Resolves to their number.
   */
  prune: (client: Queryable, olderThanMs: number, options?: { batchSize?: number }) => Promise<number>
}

export function createBarrier({ table = 'saga_barrier' }: BarrierOptions = {}): Barrier {
  const sql = statementsFor(table)

  async function once<T>(
    transaction: Queryable,
    call: SagaCall,
    work: Work<T>,
    { amend }: OnceOptions<T> = {},
  ): Promise<Outcome<T>> {
    const generation = generationOf(call)
    const { sagaId, step, direction } = call
    const taken = takenFrom((await transaction.query(sql.take, [sagaId, step])).rows)
    const record = async (result: string | null) => {
      const statement = direction === 'action' ? sql.recordAction : sql.recordUndone
      const values = [sagaId, step, generation, result, taken.transactionId]
      const { rows } = await transaction.query(statement, values)
      if (rows.length === 0) throw new Error(NOT_ONE_TRANSACTION)
    }
    const run = async (result: T): Promise<Outcome<T>> => {
      await record(jsonOf(result, call))
      return { kind: 'done', result }
    }

    const decision = decide(taken, direction, generation)
    switch (decision.kind) {
      case 'answer':
        return decision.outcome
      case 'bury':
        await record(null)
        return { kind: 'nothingToUndo' }
      case 'work':
        return run(await work({ result: decision.result }))
      case 'amend':
        if (amend !== undefined) return run(await amend({ result: decision.result }))
        return { kind: 'refused', reason: 'alreadyDone', result: decision.result }
    }
  }

  async function prune(
    client: Queryable,
    olderThanMs: number,
    { batchSize = 1_000 }: { batchSize?: number } = {},
  ): Promise<number> {
    if (!(olderThanMs >= 0)) throw new RangeError(`olderThanMs is ${olderThanMs}, expected 0 or more`)
    if (!(batchSize >= 1)) throw new RangeError(`batchSize is ${batchSize}, expected 1 or more`)
    for (let total = 0; ; ) {
      const gone = countFrom((await client.query(sql.prune, [olderThanMs, batchSize])).rows)
      total += gone
      if (gone < batchSize) return total
    }
  }

  return { migrationSql: sql.migration, once, prune }
}

const NOT_ONE_TRANSACTION =
  'the barrier was not called inside a transaction, so that nothing held the step while its work ran: ' +
  'pass the client on which BEGIN was sent, not a pool'

/** Checked before the commit: what Backstitch could not take would be done, and count as failed. */
function jsonOf(result: unknown, { step, direction }: SagaCall): string {
  const verdict = checkJson(result, { maxBytes: MAX_VALUE_BYTES })
  if (verdict.ok) return JSON.stringify(verdict.value)
  const { pointer, detail } = verdict.problem
  const place = pointer === '' ? '' : ` at ${pointer}`
  throw new TypeError(`the result of the ${direction} of step "${step}" cannot be kept${place}: ${detail}`)
}
