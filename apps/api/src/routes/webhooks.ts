import {
  ChangeWebhook,
  CreateWebhook,
  DeliveryState,
  NewWebhook,
  Problem,
  pageOf,
  Webhook,
  WebhookDelivery,
} from '@backstitch/core'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import { Paging, VerbHeaders } from '../parameters.ts'
import { actorOf } from '../plugins/actor.ts'
import { answers } from '../plugins/openapi.ts'

const Path = z.object({ webhookId: z.string() })
const DeliveryPath = z.object({ webhookId: z.string(), deliveryId: z.string() })
const DeliveryPlace = z.tuple([z.iso.datetime(), z.uuid()])
const Sent = z.object({ deliveryId: z.string() })
const headers = VerbHeaders.pick({ 'x-actor': true })
const BODY = ['MALFORMED_JSON', 'BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'INVALID_REQUEST'] as const

/** Who is told of what happens (S34). Deliveries are made with the events, and sent by workers. */
export function webhookRoutes(app: App, { store, basePath, webhookLeash }: Door): void {
  const note = (request: FastifyRequest, act: string, id: string) =>
    store().audit.record({ actor: actorOf(request), act, kind: 'webhook', id })

  /** Said early where it can be: a name is judged when it is called. */
  const callable = ({ url }: { url?: string | undefined }) => {
    if (url === undefined) return
    const parsed = URL.parse(url)
    const why = parsed === null ? 'its host is no address' : webhookLeash.refusal(parsed.hostname)
    if (why === undefined) return
    throw new Problem('INVALID_REQUEST', `/url: ${why}`, { errors: [{ pointer: '/url', detail: why }] })
  }

  app.post(
    '/v1/webhooks',
    {
      schema: {
        tags: ['operators'],
        operationId: 'createWebhook',
        summary: 'Register a webhook',
        description:
          'Its secret is in this answer and in no other. Deliveries are signed as Standard Webhooks say.',
        headers,
        body: CreateWebhook,
        response: answers({ 201: NewWebhook }, ...BODY),
      },
    },
    async (request, reply) => {
      callable(request.body)
      const { webhook, secret } = await store().webhooks.create(request.body)
      await note(request, 'created', webhook.webhookId)
      return reply
        .code(201)
        .header('location', `${basePath}/v1/webhooks/${webhook.webhookId}`)
        .send({ ...webhook, secret })
    },
  )

  app.get(
    '/v1/webhooks',
    {
      schema: {
        tags: ['operators'],
        operationId: 'listWebhooks',
        summary: 'List webhooks',
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(Webhook) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor } }) => {
      const after = cursor === undefined ? undefined : readCursor(cursor, 'webhooks', z.uuid())
      const found = await store().webhooks.list({ after, limit: limit + 1 })
      const items = found.slice(0, limit)
      const last = found.length > limit ? items.at(-1) : undefined
      return { items, ...(last && { nextCursor: writeCursor('webhooks', last.webhookId) }) }
    },
  )

  app.get(
    '/v1/webhooks/:webhookId',
    {
      schema: {
        tags: ['operators'],
        operationId: 'getWebhook',
        summary: 'One webhook',
        params: Path,
        response: answers({ 200: Webhook }, 'WEBHOOK_NOT_FOUND'),
      },
    },
    async ({ params }) => found(await store().webhooks.get(idOf(params)), params),
  )

  app.patch(
    '/v1/webhooks/:webhookId',
    {
      schema: {
        tags: ['operators'],
        operationId: 'changeWebhook',
        summary: 'Change a webhook, or enable it again',
        headers,
        params: Path,
        body: ChangeWebhook,
        response: answers({ 200: Webhook }, 'WEBHOOK_NOT_FOUND', ...BODY),
      },
    },
    async (request) => {
      const { params, body } = request
      callable(body)
      const webhook = found(await store().webhooks.change(idOf(params), body), params)
      const act = body.enabled === undefined ? 'changed' : body.enabled ? 'enabled' : 'disabled'
      await note(request, act, webhook.webhookId)
      return webhook
    },
  )

  app.delete(
    '/v1/webhooks/:webhookId',
    {
      schema: {
        tags: ['operators'],
        operationId: 'removeWebhook',
        summary: 'Remove a webhook, and what was still to be told there',
        headers,
        params: Path,
        response: answers({ 204: z.null() }, 'WEBHOOK_NOT_FOUND'),
      },
    },
    async (request, reply) => {
      const { params } = request
      if (!(await store().webhooks.remove(idOf(params)))) throw noSuchWebhook(params)
      await note(request, 'removed', params.webhookId)
      return reply.code(204).send(null)
    },
  )

  app.post(
    '/v1/webhooks/:webhookId/test',
    {
      schema: {
        tags: ['operators'],
        operationId: 'testWebhook',
        summary: 'Send an event of the type webhook.test, also if it is disabled',
        headers,
        params: Path,
        response: answers({ 202: Sent }, 'WEBHOOK_NOT_FOUND'),
      },
    },
    async ({ params }, reply) => {
      const deliveryId = found(await store().webhooks.test(idOf(params)), params)
      return reply.code(202).send({ deliveryId })
    },
  )

  app.post(
    '/v1/webhooks/:webhookId/rotate-secret',
    {
      schema: {
        tags: ['operators'],
        operationId: 'rotateWebhookSecret',
        summary: 'A new secret; for a day, deliveries are signed with the old one, too',
        headers,
        params: Path,
        response: answers({ 200: z.object({ secret: z.string() }) }, 'WEBHOOK_NOT_FOUND'),
      },
    },
    async (request) => {
      const { params } = request
      const secret = found(await store().webhooks.rotate(idOf(params)), params)
      await note(request, 'rotated secret', params.webhookId)
      return { secret }
    },
  )

  app.get(
    '/v1/webhooks/:webhookId/deliveries',
    {
      schema: {
        tags: ['operators'],
        operationId: 'listDeliveries',
        summary: 'What was told there, or is to be; newest first',
        params: Path,
        querystring: z.strictObject({ ...Paging, state: DeliveryState.optional() }),
        response: answers(
          { 200: pageOf(WebhookDelivery) },
          'BAD_REQUEST',
          'INVALID_CURSOR',
          'WEBHOOK_NOT_FOUND',
        ),
      },
    },
    async ({ params, query: { limit, cursor, state } }) => {
      const { webhookId } = found(await store().webhooks.get(idOf(params)), params)
      const list = ['deliveries', webhookId, state ?? '']
      const [at, deliveryId] = cursor === undefined ? [] : readCursor(cursor, list, DeliveryPlace)
      const before = at === undefined || deliveryId === undefined ? undefined : { at, deliveryId }
      const page = await store().webhooks.deliveries(webhookId, { state }, { before, limit: limit + 1 })
      const items = page.slice(0, limit)
      const last = page.length > limit ? items.at(-1) : undefined
      return { items, ...(last && { nextCursor: writeCursor(list, [last.at, last.deliveryId]) }) }
    },
  )

  app.post(
    '/v1/webhooks/:webhookId/deliveries/:deliveryId/redeliver',
    {
      schema: {
        tags: ['operators'],
        operationId: 'redeliver',
        summary: 'Send it again, now, under the same id',
        headers,
        params: DeliveryPath,
        response: answers({ 202: Sent }, 'WEBHOOK_NOT_FOUND'),
      },
    },
    async ({ params }, reply) => {
      const { deliveryId } = params
      const again = isUuid(deliveryId) && (await store().webhooks.redeliver(idOf(params), deliveryId))
      if (!again)
        throw new Problem('WEBHOOK_NOT_FOUND', `there is no delivery "${deliveryId}" of this webhook`)
      return reply.code(202).send({ deliveryId })
    },
  )
}

function isUuid(text: string): boolean {
  return z.uuid().safeParse(text).success
}

/** Whatever is no id names no webhook. */
function idOf(params: { webhookId: string }): string {
  if (!isUuid(params.webhookId)) throw noSuchWebhook(params)
  return params.webhookId
}

function found<T>(one: T | undefined, params: { webhookId: string }): T {
  if (one === undefined) throw noSuchWebhook(params)
  return one
}

function noSuchWebhook({ webhookId }: { webhookId: string }): Problem {
  return new Problem('WEBHOOK_NOT_FOUND', `there is no webhook "${webhookId}"`)
}
