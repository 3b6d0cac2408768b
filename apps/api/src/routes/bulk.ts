import { hash } from 'node:crypto'
import {
  Bulk,
  BulkItem,
  BulkItemState,
  BulkPreview,
  CallerKey,
  canonicalJson,
  Problem,
  pageOf,
  StartBulk,
} from '@backstitch/core'
import { isSagaId } from '@backstitch/store'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import { whyNot } from '../operating.ts'
import { Paging } from '../parameters.ts'
import { actorOf } from '../plugins/actor.ts'
import { answers } from '../plugins/openapi.ts'

const BODY_BYTES = 1024 * 1024
/** Reasons that a dry run tells; there are few, unless each names a step of its own. */
const MOST_REASONS = 50

const BulkPath = z.object({ bulkId: z.string() })
const BulkPlace = z.tuple([z.iso.datetime(), z.uuid()])
const BulkHeaders = z.object({
  'idempotency-key': CallerKey.optional().meta({
    description: 'requests with the same key are one operation',
  }),
  'x-actor': z.string().optional().meta({ description: 'who acts, for the history; "anonymous" if absent' }),
})

/** One verb for many sagas (S30). Here it is written down; `bulk-runner.ts` carries it out. */
export function bulkRoutes(app: App, { store, bulkRunner, basePath }: Door): void {
  app.post(
    '/v1/bulk',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['bulk'],
        operationId: 'startBulk',
        summary: 'One verb for many sagas (202), or what it would do (200, with `dryRun`)',
        description:
          'Which sagas is settled when it is asked for; whether the verb is possible when the turn of each comes. What came of each is in its items, and in the history of the saga.',
        headers: BulkHeaders,
        body: StartBulk,
        response: answers(
          { 200: BulkPreview, 202: Bulk },
          'MALFORMED_JSON',
          'BAD_REQUEST',
          'KEY_CONFLICT',
          'BODY_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'INVALID_REQUEST',
        ),
      },
    },
    async (request, reply) => {
      const { sent = null, body } = request
      const { verb, step, reason, perSecond, filter, sagaIds = [] } = body
      refuseStrangeIds(sagaIds)
      const which = filter === undefined ? { sagaIds } : { filter }
      if (body.dryRun) {
        const found = await store().bulks.preview(which, (saga) => whyNot(saga, { verb, step }))
        const { matching, judged, possible } = found
        const why = [...found.why].toSorted(([, one], [, other]) => other - one).slice(0, MOST_REASONS)
        const sample = await store().queries.summaries(found.sample)
        return reply.code(200).send({
          matching,
          judged,
          possible,
          impossible: judged - possible,
          why: Object.fromEntries(why),
          sample,
        })
      }
      const actor = actorOf(request)
      const { is, bulk } = await store().bulks.create({
        which,
        verb,
        step,
        reason,
        perSecond,
        actor,
        idempotencyKey: request.headers['idempotency-key'],
        requestHash: hash('sha256', canonicalJson([sent, actor])),
      })
      if (is === 'conflict') {
        const detail = `bulk operation ${bulk.bulkId} was asked for under this key, by another request; choose a new key`
        throw new Problem('KEY_CONFLICT', detail)
      }
      if (is === 'repeated') reply.header('idempotent-replay', 'true')
      bulkRunner.wake()
      return reply.code(202).header('location', `${basePath}/v1/bulk/${bulk.bulkId}`).send(bulk)
    },
  )

  app.get(
    '/v1/bulk',
    {
      schema: {
        tags: ['bulk'],
        operationId: 'listBulks',
        summary: 'All bulk operations, newest first',
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(Bulk) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor } }) => {
      const [createdAt, bulkId] = cursor === undefined ? [] : readCursor(cursor, 'bulk', BulkPlace)
      const before = createdAt === undefined || bulkId === undefined ? undefined : { createdAt, bulkId }
      const found = await store().bulks.list({ before, limit: limit + 1 })
      const items = found.slice(0, limit)
      const last = found.length > limit ? items.at(-1) : undefined
      return { items, ...(last && { nextCursor: writeCursor('bulk', [last.createdAt, last.bulkId]) }) }
    },
  )

  app.get(
    '/v1/bulk/:bulkId',
    {
      schema: {
        tags: ['bulk'],
        operationId: 'getBulk',
        summary: 'One bulk operation, and how far it is',
        params: BulkPath,
        response: answers({ 200: Bulk }, 'BULK_NOT_FOUND'),
      },
    },
    async ({ params }) => read(params),
  )

  app.get(
    '/v1/bulk/:bulkId/items',
    {
      schema: {
        tags: ['bulk'],
        operationId: 'listBulkItems',
        summary: 'What came of each saga, in the order of their turns',
        params: BulkPath,
        querystring: z.strictObject({ ...Paging, state: BulkItemState.optional() }),
        response: answers({ 200: pageOf(BulkItem) }, 'BAD_REQUEST', 'INVALID_CURSOR', 'BULK_NOT_FOUND'),
      },
    },
    async ({ params, query: { limit, cursor, state } }) => {
      const { bulkId } = await read(params)
      const list = ['bulkItems', bulkId, state ?? null]
      const after = cursor === undefined ? undefined : readCursor(cursor, list, z.int().min(0))
      const found = await store().bulks.items(bulkId, { state, after, limit: limit + 1 })
      const page = found.slice(0, limit)
      const last = found.length > limit ? page.at(-1) : undefined
      const items = page.map(({ sagaId, state: is, detail }) => ({
        sagaId,
        state: is,
        ...(detail && { detail }),
      }))
      return { items, ...(last && { nextCursor: writeCursor(list, last.n) }) }
    },
  )

  app.post(
    '/v1/bulk/:bulkId/abort',
    {
      bodyLimit: 1024,
      schema: {
        tags: ['bulk'],
        operationId: 'abortBulk',
        summary: 'Stop it: when this is answered, nothing more is done',
        description: 'What has been done stays done. One that has ended is answered as it is.',
        params: BulkPath,
        headers: BulkHeaders.pick({ 'x-actor': true }),
        response: answers({ 200: Bulk }, 'BULK_NOT_FOUND'),
      },
    },
    async (request) => {
      const { bulkId } = await read(request.params)
      const bulk = await store().bulks.abort(bulkId, actorOf(request))
      if (bulk === undefined) throw noSuchBulk(bulkId)
      return bulk
    },
  )

  async function read({ bulkId }: { bulkId: string }): Promise<Bulk> {
    const bulk = z.uuid().safeParse(bulkId).success ? await store().bulks.get(bulkId) : undefined
    if (bulk === undefined) throw noSuchBulk(bulkId)
    return bulk
  }
}

function noSuchBulk(bulkId: string): Problem {
  return new Problem('BULK_NOT_FOUND', `there is no bulk operation "${bulkId}"`)
}

/** What is no id of a saga is a mistake of the whole request, and not the fate of one saga. */
function refuseStrangeIds(sagaIds: readonly string[]): void {
  const errors = sagaIds.flatMap((sagaId, index) =>
    isSagaId(sagaId) ? [] : [{ pointer: `/sagaIds/${index}`, detail: `"${sagaId}" is no id of a saga` }],
  )
  if (errors.length > 0) throw new Problem('INVALID_REQUEST', errors[0]?.detail ?? '', { errors })
}
