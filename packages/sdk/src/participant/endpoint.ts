import { failureOf, type Json } from '@backstitch/core'
import { StepRejected } from '../outcomes.ts'
import type { Barrier, OnceOptions } from './barrier.ts'
import type { Outcome } from './decision.ts'
import { type SagaCall, type SagaHeaders, sagaCallOf } from './saga-call.ts'
import type { Queryable } from './table.ts'

/** A connection taken from a pool, to be given back; with `true`, to be closed. pg's PoolClient is one. */
export interface ConnectedClient extends Queryable {
  release(destroy: boolean): void
  on?(event: 'error', listener: (error: Error) => void): unknown
  off?(event: 'error', listener: (error: Error) => void): unknown
}

/** What the work is given: the caller's own client, in a transaction, and what was asked. */
export type EndpointCall<Client> = SagaCall & {
  transaction: Client
  /** The request's, parsed. Unless the definition says otherwise: `{sagaId, step, direction, input, context, result?, failure?}`. */
  body: unknown
}

export type EndpointOptions<Client extends ConnectedClient> = {
  barrier: Barrier
  /** A connection of one's own until it is released: `() => pool.connect()`. */
  connect: () => Promise<Client>
  action: (call: EndpointCall<Client>) => Promise<unknown>
  /** `result` is what the action returned. */
  compensation: (call: EndpointCall<Client> & { result: Json }) => Promise<unknown>
  /** See `OnceOptions.amend`. */
  amend?: ((call: EndpointCall<Client> & { result: Json }) => Promise<unknown>) | undefined
  /** Told of whatever is answered with 500; `console.error`, if not said otherwise. */
  onError?: ((error: unknown) => void) | undefined
}

export type EndpointRequest = { headers: SagaHeaders; body: unknown }

/** For any framework: `new Response(answer.body, answer)` is one. */
export type Answer = { status: number; headers: { 'content-type': string }; body: string }

export type Endpoint = (request: EndpointRequest) => Promise<Answer>

/**
 * A service's side of one step, both directions: a transaction around the barrier and the work, and an answer Backstitch
 * understands. It never rejects.
 */
export function sagaEndpoint<Client extends ConnectedClient>(options: EndpointOptions<Client>): Endpoint {
  const { barrier, connect, action, compensation, amend, onError = console.error } = options

  async function run(transaction: Client, call: SagaCall, body: unknown): Promise<Outcome<unknown>> {
    const own = { ...call, transaction, body }
    const amending: OnceOptions<unknown> = { amend: amend && ((known) => amend({ ...own, ...known })) }
    const work = ({ result = null }: { result: Json | undefined }) =>
      call.direction === 'action' ? action(own) : compensation({ ...own, result })
    const outcome = await barrier.once(transaction, call, work, amending)
    if (outcome.kind === 'nothingToUndo' && knowsResult(body, call)) throw forgotten(call)
    return outcome
  }

  return async ({ headers, body }) => {
    try {
      const call = sagaCallOf(headers)
      return answerTo(call, await inTransaction(connect, (transaction) => run(transaction, call, body)))
    } catch (error) {
      const { outcome, error: failure } = failureOf(error)
      if (outcome === 'rejected') return problem(422, failure.code, failure.message)
      onError(error)
      return problem(
        500,
        'INTERNAL_ERROR',
        'the call went wrong, and whether it had an effect is not certain',
      )
    }
  }
}

function answerTo({ step }: SagaCall, outcome: Outcome<unknown>): Answer {
  switch (outcome.kind) {
    case 'done':
    case 'replayed':
      return json(200, outcome.result ?? null)
    case 'nothingToUndo':
      return json(200, { nothingToUndo: true })
    case 'refused':
      return outcome.reason === 'undone'
        ? problem(409, 'SAGA_STEP_UNDONE', `step "${step}" has been undone, and is not done any more`)
        : problem(409, 'SAGA_STEP_ALREADY_DONE', `step "${step}" was done before its input was edited`)
  }
}

/**
 * Backstitch sends an action's result to its compensation if the action is known to have succeeded. That there should be
 * nothing to undo is then wrong: rows were pruned too early, or the action was done before there was a barrier.
 */
function knowsResult(body: unknown, { sagaId }: SagaCall): boolean {
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, 'result')) return false
  return Reflect.get(body, 'sagaId') === sagaId && Reflect.get(body, 'direction') === 'compensation'
}

function forgotten({ step }: SagaCall): StepRejected {
  const why = `step "${step}" has a result and so was done, but the barrier has no record of it: undo it by hand`
  return new StepRejected(why, { code: 'SAGA_STEP_FORGOTTEN' })
}

async function inTransaction<Client extends ConnectedClient, T>(
  connect: () => Promise<Client>,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await connect()
  let isBroken = false
  // pg also tells of a lost connection by an event, and one that nobody hears ends the process.
  const onLost = () => {
    isBroken = true
  }
  client.on?.('error', onLost)
  try {
    await client.query('BEGIN', [])
    const result = await work(client)
    await client.query('COMMIT', [])
    return result
  } catch (error) {
    await client.query('ROLLBACK', []).catch(onLost)
    throw error
  } finally {
    client.off?.('error', onLost)
    client.release(isBroken)
  }
}

/** A problem (RFC 9457), of which Backstitch quotes the detail. */
export function problem(status: number, code: string, detail: string): Answer {
  const body = JSON.stringify({ status, code, detail })
  return { status, headers: { 'content-type': 'application/problem+json' }, body }
}

function json(status: number, value: unknown): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) }
}
