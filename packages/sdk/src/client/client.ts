import { pageOf, Stats, Worker } from '@backstitch/core'
import { type DefinitionsClient, definitionsClient, type ListOptions } from './definitions.ts'
import { type Listing, listing } from './listing.ts'
import { type SagasClient, sagasClient } from './sagas.ts'
import { type SchedulesClient, schedulesClient } from './schedules.ts'
import { type CallOptions, type ClientOptions, createTransport } from './transport.ts'

export type Client = {
  definitions: DefinitionsClient
  sagas: SagasClient
  schedules: SchedulesClient
  stats(options?: CallOptions): Promise<Stats>
  /** Who is alive, what they can run, how many sagas they hold. */
  workers(options?: ListOptions): Listing<Worker>
}

const WorkerPage = pageOf(Worker)

/** The REST API as functions. It holds no connection and no state: nothing need be closed. */
export function createClient(options: ClientOptions): Client {
  const call = createTransport(options)
  return {
    definitions: definitionsClient(call),
    sagas: sagasClient(call),
    schedules: schedulesClient(call),

    async stats(callOptions) {
      return call({ method: 'GET', path: ['stats'], repeatable: true }, Stats, callOptions)
    },

    workers({ limit, ...callOptions } = {}) {
      return listing((cursor) =>
        call(
          { method: 'GET', path: ['workers'], query: { limit, cursor }, repeatable: true },
          WorkerPage,
          callOptions,
        ),
      )
    },
  }
}
