import {
  HistoryItem,
  isMoving,
  isTerminal,
  type Json,
  MAX_BATCH,
  Problem,
  pageOf,
  problemsOf,
  Saga,
  type SagaFilter,
  SagaSummary,
  StartBatch,
  StartBatchAnswer,
  StartSaga,
  Tags,
} from '@backstitch/core'
import { type ApiStore, isSagaId } from '@backstitch/store'
import type { FastifyReply } from 'fastify'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import {
  noSuchSaga,
  Paging,
  SagaPath,
  SagaQuery,
  StartHeaders,
  sagaIdOf,
  tagsOf,
  traceparentOf,
  waitMs,
} from '../parameters.ts'
import { answers, shownAs } from '../plugins/openapi.ts'
import { documentOf, problemOf } from '../plugins/problems.ts'
import type { Caller, Started } from '../starting.ts'

const START_BYTES = 2 * 1024 * 1024
const BATCH_BYTES = 16 * 1024 * 1024

/** Its items are checked one by one, so that a bad one is answered without refusing the others. */
const AnyBatch = shownAs(
  z.strictObject({
    sagas: z
      .array(z.custom<Json>((item) => item !== undefined))
      .min(1)
      .max(MAX_BATCH),
  }),
  StartBatch,
)

type BatchItem = StartBatchAnswer['items'][number]
const NONE: Awaited<ReturnType<ApiStore['queries']['standing']>> = new Map()
/** How every saga begins. */
const STARTED = { status: 'running', version: 1 } as const

const SagaPlace = z.tuple([z.iso.datetime(), z.string().refine(isSagaId)])

export function sagaRoutes(app: App, { store, starting, hub, basePath }: Door): void {
  app.post(
    '/v1/sagas',
    {
      bodyLimit: START_BYTES,
      schema: {
        tags: ['sagas'],
        operationId: 'startSaga',
        summary: 'Start a saga',
        description:
          'Answers 202 when the start is durable, with the header `Idempotent-Replay` if it had been made before. With `waitMs` it answers 200 if the saga ends, or needs a person, within that time.',
        headers: StartHeaders,
        querystring: z.strictObject({ waitMs: waitMs(0) }),
        body: StartSaga,
        response: answers(
          { 200: Saga, 202: Saga },
          'MALFORMED_JSON',
          'BAD_REQUEST',
          'DEFINITION_NOT_FOUND',
          'START_CONFLICT',
          'BODY_TOO_LARGE',
          'INPUT_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'INVALID_REQUEST',
          'INVALID_INPUT',
        ),
      },
    },
    async (request, reply) => {
      const { sent = null, body, query, headers } = request
      const started = await starting.start({ sent, asked: body, caller: callerOf(headers) })
      if (started.is === 'repeated') reply.header('idempotent-replay', 'true')
      const known = started.is === 'started' ? started.saga : await read(started.sagaId)
      reply.header('location', `${basePath}/v1/sagas/${known.sagaId}`)
      if (query.waitMs === 0) return reply.code(202).header('etag', etagOf(known)).send(known)
      const saga = await afterAWhile(known, query.waitMs, reply, { isOld: started.is === 'repeated' })
      return reply
        .code(isMoving(saga.status) ? 202 : 200)
        .header('etag', etagOf(saga))
        .send(saga)
    },
  )

  app.post(
    '/v1/sagas/batch',
    {
      bodyLimit: BATCH_BYTES,
      schema: {
        tags: ['sagas'],
        operationId: 'startSagas',
        summary: `Start up to ${MAX_BATCH} sagas`,
        description:
          'An answer for each, in their order; one that is refused does not keep the others from starting. Item i without a key of its own has the key `<Idempotency-Key>#i`.',
        headers: StartHeaders,
        body: AnyBatch,
        response: answers(
          { 200: StartBatchAnswer },
          'MALFORMED_JSON',
          'BAD_REQUEST',
          'BODY_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'INVALID_REQUEST',
        ),
      },
    },
    async (request) => {
      const caller = callerOf(request.headers)
      const outcomes = await Promise.all(
        request.body.sagas.map(async (item, index) => {
          try {
            return await startItem(item, forItem(caller, index))
          } catch (error) {
            const problem = problemOf(error)
            if (problem.code === 'INTERNAL')
              request.log.error({ err: error, index }, 'an item of a batch failed')
            return problem
          }
        }),
      )
      if (outcomes.every((outcome) => outcome instanceof Problem && outcome.code === 'UNAVAILABLE')) {
        throw new Problem('UNAVAILABLE', 'none of these could be started; try again soon')
      }
      const repeated = outcomes.flatMap((outcome) =>
        'is' in outcome && outcome.is === 'repeated' ? outcome.sagaId : [],
      )
      const standing = repeated.length === 0 ? NONE : await store().queries.standing(repeated)
      const items = outcomes.map((outcome): BatchItem => {
        if (outcome instanceof Problem) return { accepted: false, problem: documentOf(outcome, request.id) }
        const sagaId = outcome.is === 'started' ? outcome.saga.sagaId : outcome.sagaId
        const { status, version } = standing.get(sagaId) ?? STARTED
        return { accepted: true, sagaId, status, version }
      })
      return { items }
    },
  )

  async function startItem(sent: Json, caller: Caller): Promise<Started> {
    const asked = StartSaga.safeParse(sent)
    if (asked.success) return starting.start({ sent, asked: asked.data, caller })
    const errors = problemsOf(asked.error)
    const detail = errors.map(({ pointer, detail }) => `${pointer || 'the item'}: ${detail}`).join('; ')
    throw new Problem('INVALID_REQUEST', detail, { errors })
  }

  app.get(
    '/v1/sagas',
    {
      schema: {
        tags: ['sagas'],
        operationId: 'listSagas',
        summary: 'List sagas, newest first',
        description:
          'Also by tag: `tag.<name>=<value>`, as often as you like; all must agree. What one question may look through is bounded: a page may be short, or empty, and have a `nextCursor` all the same.',
        querystring: SagaQuery,
        response: answers({ 200: pageOf(SagaSummary) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query }) => {
      const { limit, cursor } = query
      const filter = filterOf(query)
      const list = ['sagas', JSON.stringify(filter)]
      const [createdAt, sagaId] = cursor === undefined ? [] : readCursor(cursor, list, SagaPlace)
      const before = createdAt === undefined || sagaId === undefined ? undefined : { createdAt, sagaId }
      const { items, last } = await store().queries.sagas(filter, { before, limit })
      if (last === undefined) return { items }
      return { items, nextCursor: writeCursor(list, [last.createdAt, last.sagaId]) }
    },
  )

  app.get(
    '/v1/sagas/:sagaId',
    {
      schema: {
        tags: ['sagas'],
        operationId: 'getSaga',
        summary: 'One saga: its state, and what happens next',
        description: 'The ETag is its version, for `If-Match`.',
        params: SagaPath,
        response: answers({ 200: Saga }, 'SAGA_NOT_FOUND'),
      },
    },
    async ({ params }, reply) => {
      const saga = await read(sagaIdOf(params))
      return reply.header('etag', etagOf(saga)).send(saga)
    },
  )

  app.get(
    '/v1/sagas/:sagaId/wait',
    {
      schema: {
        tags: ['sagas'],
        operationId: 'waitForSaga',
        summary: 'The saga, once it has ended or needs a person',
        description: 'When the time is up it is answered as it stands: look at its `status`.',
        params: SagaPath,
        querystring: z.strictObject({ timeoutMs: waitMs(30_000) }),
        response: answers({ 200: Saga }, 'BAD_REQUEST', 'SAGA_NOT_FOUND'),
      },
    },
    async ({ params, query }, reply) => {
      let saga = await read(sagaIdOf(params))
      if (!isTerminal(saga.status)) {
        const rested = await hub.wait(saga.sagaId, query.timeoutMs, whileConnected(reply), { isOld: true })
        saga = rested ?? (await read(saga.sagaId))
      }
      return reply.header('etag', etagOf(saga)).send(saga)
    },
  )

  app.get(
    '/v1/sagas/:sagaId/history',
    {
      schema: {
        tags: ['sagas'],
        operationId: 'getSagaHistory',
        summary: 'Every transition, attempt and operator act, in order',
        params: SagaPath,
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(HistoryItem) }, 'BAD_REQUEST', 'INVALID_CURSOR', 'SAGA_NOT_FOUND'),
      },
    },
    async ({ params, query: { limit, cursor } }) => {
      const sagaId = sagaIdOf(params)
      const list = ['history', sagaId]
      const after = cursor === undefined ? undefined : readCursor(cursor, list, z.int().min(0))
      const found = await store().history.show(sagaId, { after, limit: limit + 1 })
      if (found.length === 0 && after === undefined) await read(sagaId)
      const items = found.slice(0, limit)
      const last = items.at(-1)
      if (last === undefined || found.length <= limit) return { items }
      return { items, nextCursor: writeCursor(list, last.seq) }
    },
  )

  async function read(sagaId: string): Promise<Saga> {
    const saga = await store().queries.saga(sagaId)
    if (saga === undefined) throw noSuchSaga(sagaId)
    return saga
  }

  /** The start has been acknowledged already, so nothing that goes wrong from here on may turn it into an error. */
  async function afterAWhile(
    known: Saga,
    waitMs: number,
    reply: FastifyReply,
    how: { isOld: boolean },
  ): Promise<Saga> {
    if (isTerminal(known.status)) return known
    try {
      const rested = await hub.wait(known.sagaId, waitMs, whileConnected(reply), how)
      return rested ?? (await read(known.sagaId))
    } catch (error) {
      if (problemOf(error).code === 'INTERNAL') reply.log.error({ err: error }, 'a wait failed')
      return known
    }
  }
}

/** S17a */
function etagOf({ version }: Saga): string {
  return `"${version}"`
}

function callerOf(headers: z.infer<typeof StartHeaders>): Caller {
  return {
    idempotencyKey: headers['idempotency-key'],
    correlationId: headers['x-correlation-id'],
    traceparent: traceparentOf(headers.traceparent),
  }
}

/** S23 */
function forItem(caller: Caller, index: number): Caller {
  const { idempotencyKey } = caller
  return idempotencyKey === undefined ? caller : { ...caller, idempotencyKey: `${idempotencyKey}#${index}` }
}

/** In one order, whatever the order in the query. */
function filterOf(query: SagaQuery): SagaFilter {
  const { status, definition, version, sagaKey, failedStep, createdAfter, createdBefore, updatedBefore } =
    query
  const { clean, paused, q } = query
  const tags = Object.entries(Tags.parse(tagsOf(query))).sort(([one], [other]) => (one < other ? -1 : 1))
  return {
    status: status && [...new Set(status)].sort(),
    definition,
    version,
    sagaKey,
    failedStep,
    tags: tags.length === 0 ? undefined : Object.fromEntries(tags),
    createdAfter,
    createdBefore,
    updatedBefore,
    clean,
    paused,
    q,
  }
}

/** Ends when the caller goes away before it has been answered. */
function whileConnected(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  return gone.signal
}
