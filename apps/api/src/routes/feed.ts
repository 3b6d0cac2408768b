import { AuditItem, EventType, FeedPage, Name, Problem, pageOf } from '@backstitch/core'
import { type EventFilter, isSagaId, shown } from '@backstitch/store'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import { Paging } from '../parameters.ts'
import { answers } from '../plugins/openapi.ts'

const Types = z
  .union([z.string(), z.array(z.string())])
  .transform((given) => [given].flat().flatMap((text) => text.split(',')))
  .pipe(z.array(EventType).max(20))
  .meta({
    description: 'one or more, by commas or repeated',
    anyOf: undefined,
    type: 'array',
    items: { type: 'string', enum: EventType.options },
  })

const After = z
  .string()
  .regex(/^(latest|\d{1,15})$/, 'is not a place in the feed; send one as it was received, or "latest"')
  .optional()
  .meta({
    description:
      'a position; the oldest that is kept, if absent; "latest" for what is given a place from now on, some of which may have happened a moment before',
  })

const Filter = {
  type: Types.optional(),
  definition: Name.optional(),
  sagaId: z.string().optional(),
}

const AuditPlace = z.tuple([z.iso.datetime(), z.uuid()])
const Wanted = z.string().min(1).max(255).optional()

export function feedRoutes(app: App, { store, streams }: Door): void {
  app.get(
    '/v1/events',
    {
      schema: {
        tags: ['installation'],
        operationId: 'listEvents',
        summary: 'What has happened, in order',
        description:
          'Oldest first. Ask again with `after` as `last` of the answer before: nothing is ever passed over. What has just been committed is mostly in the answer, and comes a moment later where others are giving events their places: that an event is not there yet says nothing, so ask again from `last`; how a saga stands, `GET /v1/sagas/{sagaId}` says at once. With a filter that fits few, a page may be empty and `last` further on all the same. Events are kept for seven days.',
        querystring: z.strictObject({ limit: Paging.limit, after: After, ...Filter }),
        response: answers({ 200: FeedPage }, 'BAD_REQUEST', 'SAGA_NOT_FOUND'),
      },
    },
    async ({ query: { limit, after, ...query } }) => {
      const filter = filterOf(query)
      await store().feed.publish()
      if (after === 'latest') return { items: [], last: String(await store().feed.last()) }
      const { items, last } = await store().feed.events(filter, { after: Number(after ?? 0), limit })
      return { items: items.map(shown), last: String(last) }
    },
  )

  app.get(
    '/v1/events/stream',
    {
      // It would never be answered: what is streamed has no end.
      exposeHeadRoute: false,
      schema: {
        tags: ['installation'],
        operationId: 'streamEvents',
        summary: 'The same, as it happens (server-sent events)',
        description:
          'Each has its position as `id`: come back with it as `Last-Event-ID`, as browsers do by themselves, and nothing is missed. Without one, and without `after`, it begins with what happens next.',
        querystring: z.strictObject({ after: After, ...Filter }),
        headers: z.object({ 'last-event-id': After }),
        produces: ['text/event-stream'],
        response: answers({ 200: z.string() }, 'BAD_REQUEST', 'SAGA_NOT_FOUND'),
      },
    },
    async ({ query: { after, ...query }, headers }, reply) => {
      const filter = filterOf(query)
      const from = headers['last-event-id'] ?? after ?? 'latest'
      await store().feed.publish()
      const place = from === 'latest' ? await store().feed.last() : Number(from)
      // What the hooks have said already is said on the socket itself.
      for (const [name, value] of Object.entries(reply.getHeaders())) {
        if (value !== undefined) reply.raw.setHeader(name, value)
      }
      streams.open(reply.raw, filter, place)
      return reply.hijack()
    },
  )

  app.get(
    '/v1/audit',
    {
      schema: {
        tags: ['operators'],
        operationId: 'listAudit',
        summary: 'Who did what, and why; newest first',
        querystring: z.strictObject({ ...Paging, actor: Wanted, act: Wanted, subject: Wanted }),
        response: answers({ 200: pageOf(AuditItem) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor, ...filter } }) => {
      await store().feed.publish()
      const list = ['audit', JSON.stringify(filter)]
      const [at, auditId] = cursor === undefined ? [] : readCursor(cursor, list, AuditPlace)
      const before = at === undefined || auditId === undefined ? undefined : { at, auditId }
      const found = await store().audit.list(filter, { before, limit: limit + 1 })
      const items = found.slice(0, limit)
      const last = items.at(-1)
      if (last === undefined || found.length <= limit) return { items }
      return { items, nextCursor: writeCursor(list, [last.at, last.auditId]) }
    },
  )
}

function filterOf({
  type,
  definition,
  sagaId,
}: {
  type?: EventType[] | undefined
  definition?: string | undefined
  sagaId?: string | undefined
}): EventFilter {
  if (sagaId !== undefined && !isSagaId(sagaId))
    throw new Problem('SAGA_NOT_FOUND', `there is no saga "${sagaId}"`)
  return { types: type, definition, sagaId }
}
