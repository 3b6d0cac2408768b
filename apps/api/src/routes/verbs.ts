import {
  Abandon,
  Accepted,
  CancelSaga,
  isTerminal,
  OperatorVerb,
  Problem,
  refusal,
  type Saga,
  type Verb,
} from '@backstitch/core'
import type { Posted } from '@backstitch/store'
import type { App, Door } from '../app.ts'
import { matchedVersion, noSuchSaga, SagaPath, sagaIdOf, VerbHeaders } from '../parameters.ts'
import { actorOf } from '../plugins/actor.ts'
import { answers } from '../plugins/openapi.ts'

const BODY_BYTES = 64 * 1024
/** How often the saga may move between being read and being written to before the caller has to decide again. */
const TRIES = 5

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
      for (let tried = 1; ; tried++) {
        const when = { beforePivot: true, ...(version !== undefined && { version }) }
        const posted = await store().mailbox.post(sagaId, letter, when)
        if (posted.is === 'refused' && version !== undefined && posted.version !== version)
          throw stale(posted, version)
        if (posted.is === 'refused' && posted.pastPivot) {
          const detail = 'the saga is past its pivot: it can only be finished, no longer be undone'
          throw new Problem('PAST_PIVOT', detail, { sagaStatus: posted.status })
        }
        // Refused for a reason that is gone already.
        if (posted.is === 'refused' && tried < TRIES) continue
        return reply.code(202).send(accepted(sagaId, posted))
      }
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
          description:
            'Decided on the version that `If-Match` names, else on the one the saga has now. If it has moved on before its worker reads this, it is not done, and its history says so.',
          params: SagaPath,
          headers: VerbHeaders,
          body: OperatorVerb,
          response: answers({ 202: Accepted }, ...VERB_PROBLEMS),
        },
      },
      async (request, reply) => {
        const sagaId = sagaIdOf(request.params)
        const matched = matchedVersion(request.headers['if-match'])
        const { step, reason } = request.body
        for (let tried = 1; ; tried++) {
          const saga = await store().queries.saga(sagaId)
          if (saga === undefined) throw noSuchSaga(sagaId)
          const decidedOn = possible(saga, { verb, step }, matched)
          const letter = { kind: 'verb', verb, actor: actorOf(request), reason, step, decidedOn } as const
          const posted = await store().mailbox.post(sagaId, letter, { status: 'stuck', version: decidedOn })
          if (posted.is === 'refused' && tried < TRIES) continue
          return reply.code(202).send(accepted(sagaId, posted))
        }
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

  function accepted(sagaId: string, posted: Posted): Accepted {
    switch (posted.is) {
      case 'posted':
        store().wakeups.due(posted.queue)
        return { accepted: true, sagaId, status: posted.status, version: posted.version }
      case 'unknown':
        throw noSuchSaga(sagaId)
      case 'ended':
        throw ended(posted)
      case 'refused': {
        const detail = `the saga moves faster than it can be written to; it is ${posted.status} now: read it and decide again`
        throw new Problem('VERB_NOT_POSSIBLE', detail, { sagaStatus: posted.status })
      }
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

const STUCK_VERBS = [
  ['retry', 'retry', 'A stuck saga: try the step again, with fresh attempts'],
  ['skip', 'skip', 'A stuck saga: go on without the step'],
  ['markCompensated', 'mark-compensated', 'A stuck saga: somebody has undone the step by hand'],
] as const

/** The version this can be decided on, by the same rule as the worker will apply. */
function possible(
  saga: Saga,
  asked: { verb: Verb; step: string | undefined },
  matched: number | undefined,
): number {
  if (isTerminal(saga.status)) throw ended(saga)
  if (matched !== undefined && matched !== saga.version) throw stale(saga, matched)
  const why = refusal(saga, asked, saga.version)
  if (why !== undefined) throw new Problem('VERB_NOT_POSSIBLE', why, { sagaStatus: saga.status })
  return saga.version
}

function ended({ status }: Pick<Saga, 'status'>): Problem {
  return new Problem('ALREADY_ENDED', `the saga has ended: it is ${status}`, { sagaStatus: status })
}

function stale({ status, version }: Pick<Saga, 'status' | 'version'>, matched: number): Problem {
  const detail = `If-Match names version ${matched}, the saga has version ${version}; read it and decide again`
  return new Problem('STALE_VERSION', detail, { sagaStatus: status })
}
