import { type Page, pageOf, Service, Stats, Worker } from '@backstitch/core'
import type { z } from 'zod'
import { type BulkClient, bulkClient } from './bulk.ts'
import { type CallbacksClient, callbacksClient } from './callbacks.ts'
import { type DefinitionsClient, definitionsClient, type ListOptions } from './definitions.ts'
import { type EventsClient, eventsClient } from './events.ts'
import { type Listing, listing } from './listing.ts'
import { type SagasClient, sagasClient } from './sagas.ts'
import { type SchedulesClient, schedulesClient } from './schedules.ts'
import { type CallOptions, type ClientOptions, createStreaming, createTransport } from './transport.ts'
import { type WebhooksClient, webhooksClient } from './webhooks.ts'

export type Client = {
  definitions: DefinitionsClient
  sagas: SagasClient
  /** How asynchronous steps have ended. */
  callbacks: CallbacksClient
  schedules: SchedulesClient
  /** What happens in the whole installation, in order. */
  events: EventsClient
  webhooks: WebhooksClient
  /** One verb for many sagas. */
  bulk: BulkClient
  stats(options?: CallOptions): Promise<Stats>
  /** Who is alive, what they can run, how many sagas they hold. */
  workers(options?: ListOptions): Listing<Worker>
  /** What sagas call: breakers, calls in flight, and the services that definitions name and nobody has configured. */
  services(options?: ListOptions): Listing<Service>
}

const WorkerPage = pageOf(Worker)
const ServicePage = pageOf(Service)

/** The REST API as functions. It holds no connection and no state: nothing need be closed. */
export function createClient(options: ClientOptions): Client {
  const call = createTransport(options)

  function pages<T>(path: string, page: z.ZodType<Page<T>>, { limit, ...callOptions }: ListOptions = {}) {
    return listing((cursor) =>
      call({ method: 'GET', path: [path], query: { limit, cursor }, repeatable: true }, page, callOptions),
    )
  }
  return {
    definitions: definitionsClient(call),
    sagas: sagasClient(call),
    callbacks: callbacksClient(call),
    schedules: schedulesClient(call),
    events: eventsClient(call, createStreaming(options)),
    webhooks: webhooksClient(call),
    bulk: bulkClient(call),

    async stats(callOptions) {
      return call({ method: 'GET', path: ['stats'], repeatable: true }, Stats, callOptions)
    },

    workers: (listOptions) => pages('workers', WorkerPage, listOptions),
    services: (listOptions) => pages('services', ServicePage, listOptions),
  }
}
