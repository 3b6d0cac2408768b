import {
  type ChangeWebhook,
  type CreateWebhook,
  NewWebhook,
  pageOf,
  Webhook,
  WebhookDelivery,
} from '@backstitch/core'
import { z } from 'zod'
import type { ListOptions } from './definitions.ts'
import { type Listing, listing } from './listing.ts'
import type { CallOptions, Transport } from './transport.ts'

/** Who is told of what happens (S34). Receivers use `verifyWebhook` of `@backstitch/sdk/participant`. */
export type WebhooksClient = {
  /** `secret` is in this answer and in no other. */
  create(webhook: CreateWebhook, options?: CallOptions): Promise<NewWebhook>
  get(webhookId: string, options?: CallOptions): Promise<Webhook>
  list(options?: ListOptions): Listing<Webhook>
  /** `enabled: true` also for one that was disabled because nothing could be delivered. */
  change(webhookId: string, change: ChangeWebhook, options?: CallOptions): Promise<Webhook>
  /** What was still to be told there is told no more. */
  delete(webhookId: string, options?: CallOptions): Promise<void>
  /** Sends an event of the type `webhook.test`. */
  test(webhookId: string, options?: CallOptions): Promise<{ deliveryId: string }>
  /** For a day, deliveries are signed with the old secret, too. */
  rotateSecret(webhookId: string, options?: CallOptions): Promise<{ secret: string }>
  /** Newest first. */
  deliveries(
    webhookId: string,
    options?: ListOptions & { state?: WebhookDelivery['state'] | undefined },
  ): Listing<WebhookDelivery>
  /** Now, and under the same id. */
  redeliver(webhookId: string, deliveryId: string, options?: CallOptions): Promise<{ deliveryId: string }>
}

const WebhookPage = pageOf(Webhook)
const DeliveryPage = pageOf(WebhookDelivery)
const Sent = z.object({ deliveryId: z.string() })
const Secret = z.object({ secret: z.string() })
/** An answer without a body. */
const Nothing = z.unknown()

export function webhooksClient(call: Transport): WebhooksClient {
  const at = (...path: string[]) => ['webhooks', ...path]

  return {
    // Made by a first arrival whose answer was lost, there would be two, and one secret nobody knows.
    async create(body, options) {
      return call({ method: 'POST', path: at(), body, repeatable: false }, NewWebhook, options)
    },
    async get(webhookId, options) {
      return call({ method: 'GET', path: at(webhookId), repeatable: true }, Webhook, options)
    },
    list({ limit, ...options } = {}) {
      return listing((cursor) =>
        call({ method: 'GET', path: at(), query: { limit, cursor }, repeatable: true }, WebhookPage, options),
      )
    },
    async change(webhookId, body, options) {
      return call({ method: 'PATCH', path: at(webhookId), body, repeatable: true }, Webhook, options)
    },
    async delete(webhookId, options) {
      await call({ method: 'DELETE', path: at(webhookId), repeatable: false }, Nothing, options)
    },
    async test(webhookId, options) {
      return call({ method: 'POST', path: at(webhookId, 'test'), repeatable: true }, Sent, options)
    },
    // Twice, and the secret that receivers know would be valid no more.
    async rotateSecret(webhookId, options) {
      return call(
        { method: 'POST', path: at(webhookId, 'rotate-secret'), repeatable: false },
        Secret,
        options,
      )
    },
    deliveries(webhookId, { limit, state, ...options } = {}) {
      return listing((cursor) => {
        const query = { limit, state, cursor }
        return call(
          { method: 'GET', path: at(webhookId, 'deliveries'), query, repeatable: true },
          DeliveryPage,
          options,
        )
      })
    },
    async redeliver(webhookId, deliveryId, options) {
      const path = at(webhookId, 'deliveries', deliveryId, 'redeliver')
      return call({ method: 'POST', path, repeatable: true }, Sent, options)
    },
  }
}
