import {
  Abandon,
  Accepted,
  type Asked,
  byteLength,
  CancelSaga,
  hasEnded,
  isTerminal,
  MAX_VALUE_BYTES,
  OperatorReason,
  OperatorVerb,
  PAST_PIVOT,
  Problem,
  type ResolvedDefinition,
  RetrySaga,
  refusal,
  type Saga,
} from '@backstitch/core'
import type { Posted } from '@backstitch/store'
import type { App, Door } from '../app.ts'
import { matchedVersion, noSuchSaga, SagaPath, sagaIdOf, VerbHeaders } from '../parameters.ts'
import { actorOf } from '../plugins/actor.ts'
import { answers } from '../plugins/openapi.ts'
import { movesTooFast, pausedAfter, standing, untilTaken } from '../posting.ts'

const BODY_BYTES = 64 * 1024
const RETRY_BYTES = 2 * 1024 * 1024

/** What a person does about a saga (S25, S30). The holder of the saga does it: here a letter is left, and the answer is exact. */
export function verbRoutes(app: App, { store }: Door): void {
  app.post(
    '/v1/sagas/:sagaId/cancel',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['operators'],
        operationId: 'cancelSaga',
        summary: 'Undo what has been done',
        description:
          'Or, where it is too late, how the saga has ended (`sagaStatus`), or that it is past its pivot.',
        params: SagaPath,
        headers: VerbHeaders,
        body: CancelSaga,
        response: answers({ 202: Accepted }, ...VERB_PROBLEMS, 'PAST_PIVOT'),
      },
    },
    async (request, reply) => {
      const sagaId = sagaIdOf(request.params)
      const version = matchedVersion(request.headers['if-match'])
      const letter = { kind: 'cancel', actor: actorOf(request), reason: request.body.reason } as const
      const posted = await untilTaken(async () => {
        const when = { beforePivot: true, ...(version !== undefined && { version }) }
        const posted = await store().mailbox.post(sagaId, letter, when)
        if (posted.is === 'refused' && version !== undefined && posted.version !== version)
          throw stale(posted, version)
        if (posted.is === 'refused' && posted.pastPivot) {
          throw new Problem('PAST_PIVOT', PAST_PIVOT, { sagaStatus: posted.status })
        }
        return posted
      })
      return reply.code(202).send(accepted(sagaId, posted))
    },
  )

  app.post(
    '/v1/sagas/:sagaId/retry',
    {
      bodyLimit: RETRY_BYTES,
      schema: {
        tags: ['operators'],
        operationId: 'retrySaga',
        summary: 'A stuck saga: try the step again, with fresh attempts',
        description: `${FOR_STUCK} With \`input\` the step gets that instead of its own, under a new idempotency key.`,
        params: SagaPath,
        headers: VerbHeaders,
        body: RetrySaga,
        response: answers({ 202: Accepted }, ...VERB_PROBLEMS, 'BODY_TOO_LARGE', 'INPUT_TOO_LARGE'),
      },
    },
    async (request, reply) => {
      const { params, headers, body } = request
      const inputBytes = body.input === undefined ? 0 : byteLength(JSON.stringify(body.input))
      if (inputBytes > MAX_VALUE_BYTES) {
        const detail = `the input has ${inputBytes} bytes as JSON; the most is ${MAX_VALUE_BYTES}`
        throw new Problem('INPUT_TOO_LARGE', detail)
      }
      const asking = {
        sagaId: sagaIdOf(params),
        actor: actorOf(request),
        matched: matchedVersion(headers['if-match']),
      }
      return reply.code(202).send(await onStuck('retry', asking, body))
    },
  )

  for (const [verb, path, summary] of STUCK_VERBS) {
    app.post(
      `/v1/sagas/:sagaId/${path}`,
      {
        bodyLimit: BODY_BYTES,
        schema: {
          tags: ['operators'],
          operationId: `${verb}Saga`,
          summary,
          description: FOR_STUCK,
          params: SagaPath,
          headers: VerbHeaders,
          body: OperatorVerb,
          response: answers({ 202: Accepted }, ...VERB_PROBLEMS),
        },
      },
      async (request, reply) => {
        const { params, headers, body } = request
        const asking = {
          sagaId: sagaIdOf(params),
          actor: actorOf(request),
          matched: matchedVersion(headers['if-match']),
        }
        return reply.code(202).send(await onStuck(verb, asking, body))
      },
    )
  }

  for (const [verb, path, summary, description] of LIVE_VERBS) {
    app.post(
      `/v1/sagas/:sagaId/${path}`,
      {
        bodyLimit: BODY_BYTES,
        schema: {
          tags: ['operators'],
          operationId: `${verb}Saga`,
          summary,
          description,
          params: SagaPath,
          headers: VerbHeaders,
          body: OperatorReason,
          response: answers({ 202: Accepted }, ...VERB_PROBLEMS),
        },
      },
      async (request, reply) => {
        const sagaId = sagaIdOf(request.params)
        const version = matchedVersion(request.headers['if-match'])
        const letter = { kind: 'verb', verb, actor: actorOf(request), reason: request.body.reason } as const
        const posted = await untilTaken(async () => {
          const saga = await standing({
            read: () => read(sagaId),
            refuses: (seen) => refusal(seen, { verb }, seen.version) !== undefined,
            unread: () => store().mailbox.unread(sagaId),
            after: (seen, unread) => ({ ...seen, paused: pausedAfter(seen.paused, unread) }),
          })
          possible(saga, { verb }, version)
          // It moves while it is looked at: what no longer holds when this is read is refused there.
          return store().mailbox.post(sagaId, letter, version === undefined ? {} : { version })
        })
        return reply.code(202).send(accepted(sagaId, posted))
      },
    )
  }

  app.post(
    '/v1/sagas/:sagaId/abandon',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['operators'],
        operationId: 'abandonSaga',
        summary: 'End it as it is, with whatever is still owed',
        description:
          'Works on any saga that has not ended, also on one whose state cannot be read. Done when answered.',
        params: SagaPath,
        headers: VerbHeaders,
        body: Abandon,
        response: answers({ 200: Accepted }, ...VERB_PROBLEMS),
      },
    },
    async (request) => {
      const sagaId = sagaIdOf(request.params)
      const version = matchedVersion(request.headers['if-match'])
      const by = { actor: actorOf(request), reason: request.body.reason }
      const posted = await store().mailbox.abandon(sagaId, by, version === undefined ? {} : { version })
      if (posted.is === 'refused' && version !== undefined) throw stale(posted, version)
      return accepted(sagaId, posted)
    },
  )

  async function onStuck(
    verb: StuckVerb,
    { sagaId, actor, matched }: Asking,
    { step, reason, input, force }: RetrySaga,
  ): Promise<Accepted> {
    const posted = await untilTaken(async () => {
      const saga = await read(sagaId)
      const { name, version } = saga.definition
      const definition = input === undefined ? undefined : await store().definitions.get(name, version)
      const asked = { verb, step, input, force }
      const decidedOn = possible(saga, asked, matched, definition?.resolved)
      const letter = { kind: 'verb', ...asked, actor, reason, decidedOn } as const
      return store().mailbox.post(sagaId, letter, { status: 'stuck', version: decidedOn })
    })
    return accepted(sagaId, posted)
  }

  async function read(sagaId: string): Promise<Saga> {
    const saga = await store().queries.saga(sagaId)
    if (saga === undefined) throw noSuchSaga(sagaId)
    return saga
  }

  function accepted(sagaId: string, posted: Posted): Accepted {
    switch (posted.is) {
      case 'posted':
        store().wakeups.due(posted.queue)
        return { accepted: true, sagaId, status: posted.status, version: posted.version }
      case 'unknown':
        throw noSuchSaga(sagaId)
      case 'ended':
        throw ended(posted)
      case 'refused':
        throw movesTooFast(posted.status)
    }
  }
}

const VERB_PROBLEMS = [
  'MALFORMED_JSON',
  'BAD_REQUEST',
  'SAGA_NOT_FOUND',
  'ALREADY_ENDED',
  'VERB_NOT_POSSIBLE',
  'STALE_VERSION',
  'UNSUPPORTED_MEDIA_TYPE',
  'INVALID_REQUEST',
] as const

const FOR_STUCK =
  'Decided on the version that `If-Match` names, else on the one the saga has now. If it has moved on before its worker reads this, it is not done, and its history says so.'

const STUCK_VERBS = [
  ['skip', 'skip', 'A stuck saga: go on without the step'],
  ['markCompensated', 'mark-compensated', 'A stuck saga: somebody has undone the step by hand'],
] as const

const LIVE_VERBS = [
  [
    'pause',
    'pause',
    'Dispatch nothing more until it is resumed',
    'In both directions. Attempts under way end and are recorded. A cancel resumes; the deadline acts when it is resumed. A stuck saga stays stuck.',
  ],
  ['resume', 'resume', 'A paused saga: go on', 'If its deadline has passed meanwhile it turns round.'],
  [
    'runNow',
    'run-now',
    'Bring forward what is scheduled for later',
    'A back-off, a delay, or a service that had no room is tried again at once; what comes from outside (a signal, a callback, another saga) is waited for as before.',
  ],
] as const

type StuckVerb = 'retry' | 'skip' | 'markCompensated'
type Asking = { sagaId: string; actor: string; matched: number | undefined }

/** The version this can be decided on, by the same rule as the worker will apply. */
function possible(
  saga: Saga,
  asked: Asked,
  matched: number | undefined,
  definition?: ResolvedDefinition,
): number {
  if (isTerminal(saga.status)) throw ended(saga)
  if (matched !== undefined && matched !== saga.version) throw stale(saga, matched)
  const why = refusal(saga, asked, saga.version, definition)
  if (why !== undefined) throw new Problem('VERB_NOT_POSSIBLE', why, { sagaStatus: saga.status })
  return saga.version
}

function ended({ status }: Pick<Saga, 'status'>): Problem {
  return new Problem('ALREADY_ENDED', hasEnded({ status }), { sagaStatus: status })
}

function stale({ status, version }: Pick<Saga, 'status' | 'version'>, matched: number): Problem {
  const detail = `If-Match names version ${matched}, the saga has version ${version}; read it and decide again`
  return new Problem('STALE_VERSION', detail, { sagaStatus: status })
}
