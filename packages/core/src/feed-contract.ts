import { z } from 'zod'
import { Name, urlProblem } from './definition.ts'
import { EVENT_TYPES, EventType, Telling } from './telling.ts'

/** The shapes of the feed, the webhooks and the audit log, as the API speaks them. */

export const FeedEvent = Telling.extend({
  position: z.string().meta({ description: 'its place in the feed of this installation; larger is later' }),
}).meta({ id: 'FeedEvent' })
export type FeedEvent = z.infer<typeof FeedEvent>

export const FeedPage = z
  .object({
    items: z.array(FeedEvent),
    last: z.string().meta({ description: 'go on with `after` this: there is nothing else up to it' }),
  })
  .meta({ id: 'FeedPage' })
export type FeedPage = z.infer<typeof FeedPage>

/** A type, or all of a kind. */
const WantedType = z
  .union([EventType, z.enum(['*', 'saga.*', 'step.*'])])
  .meta({ description: `one of ${EVENT_TYPES.join(', ')}; or "saga.*", "step.*", "*"` })

const WebhookUrl = z
  .string()
  .max(2_000)
  .superRefine((text, context) => {
    const message = urlProblem(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })

export const CreateWebhook = z
  .strictObject({
    url: WebhookUrl,
    types: z.array(WantedType).min(1).max(20),
    definition: Name.optional().meta({ description: 'only of this one; of all, if absent' }),
    description: z.string().max(500).optional(),
    enabled: z.boolean().optional(),
  })
  .meta({ id: 'CreateWebhook' })
export type CreateWebhook = z.infer<typeof CreateWebhook>

export const ChangeWebhook = z
  .strictObject({
    url: WebhookUrl.optional(),
    types: z.array(WantedType).min(1).max(20).optional(),
    description: z.string().max(500).optional(),
    enabled: z.boolean().optional(),
  })
  .meta({ id: 'ChangeWebhook' })
export type ChangeWebhook = z.infer<typeof ChangeWebhook>

export const Webhook = z
  .object({
    webhookId: z.string(),
    url: z.string(),
    types: z.array(z.string()),
    definition: z.string().optional(),
    description: z.string().optional(),
    enabled: z.boolean(),
    disabledReason: z.string().optional(),
    createdAt: z.string(),
    lastDeliveredAt: z.string().optional(),
    failingSince: z.string().optional(),
  })
  .meta({ id: 'Webhook' })
export type Webhook = z.infer<typeof Webhook>

export const NewWebhook = Webhook.extend({
  secret: z.string().meta({ description: 'what deliveries are signed with; it is shown this once' }),
}).meta({ id: 'NewWebhook' })
export type NewWebhook = z.infer<typeof NewWebhook>

export const DeliveryState = z.enum(['pending', 'delivered', 'failed'])

export const WebhookDelivery = z
  .object({
    deliveryId: z.string().meta({ description: 'the webhook-id header: the same each time it is sent' }),
    eventType: z.string(),
    sagaId: z.string().optional(),
    at: z.string(),
    state: DeliveryState,
    attempts: z.int(),
    nextAt: z.string().optional(),
    lastStatus: z.int().optional(),
    lastError: z.string().optional(),
  })
  .meta({ id: 'WebhookDelivery' })
export type WebhookDelivery = z.infer<typeof WebhookDelivery>

export const AuditItem = z
  .object({
    auditId: z.string(),
    at: z.string(),
    actor: z.string(),
    act: z.string(),
    subject: z.object({
      kind: z.enum(['saga', 'definition', 'schedule', 'webhook', 'bulk']),
      id: z.string(),
    }),
    reason: z.string().optional(),
    refused: z.string().optional().meta({ description: 'why it was not done' }),
  })
  .meta({ id: 'AuditItem' })
export type AuditItem = z.infer<typeof AuditItem>
