import { Accepted, byteLength, MAX_VALUE_BYTES, Name, Problem } from '@backstitch/core'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { noSuchSaga, SagaPath, sagaIdOf } from '../parameters.ts'
import { answers } from '../plugins/openapi.ts'

/** News for a step that waits, or will (M2). */
export function signalRoutes(app: App, { store }: Door): void {
  app.post(
    '/v1/sagas/:sagaId/signals/:name',
    {
      bodyLimit: MAX_VALUE_BYTES + 1024,
      schema: {
        tags: ['sagas'],
        operationId: 'signalSaga',
        summary: 'Send a signal',
        description:
          'The body is the payload, any JSON: it becomes the result of the step that waits for a signal of this name, or is kept for the one that will, first in first out, up to 100 of each name.',
        params: SagaPath.extend({ name: Name }),
        body: z.unknown().meta({ description: 'any JSON value' }),
        response: answers(
          { 202: Accepted },
          'MALFORMED_JSON',
          'BAD_REQUEST',
          'SAGA_NOT_FOUND',
          'ALREADY_ENDED',
          'BODY_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'INVALID_REQUEST',
        ),
      },
    },
    async (request, reply) => {
      const sagaId = sagaIdOf(request.params)
      const { sent: payload = null } = request
      const bytes = byteLength(JSON.stringify(payload))
      if (bytes > MAX_VALUE_BYTES) {
        throw new Problem(
          'BODY_TOO_LARGE',
          `the payload has ${bytes} bytes as JSON; the most is ${MAX_VALUE_BYTES}`,
        )
      }
      const posted = await store().mailbox.post(sagaId, {
        kind: 'signal',
        signal: request.params.name,
        payload,
      })
      switch (posted.is) {
        case 'posted': {
          const { status, version } = posted
          store().wakeups.due(posted.queue)
          return reply.code(202).send({ accepted: true, sagaId, status, version })
        }
        case 'unknown':
          throw noSuchSaga(sagaId)
        case 'ended':
        case 'refused': {
          const { status } = posted
          throw new Problem('ALREADY_ENDED', `the saga has ended: it is ${status}`, { sagaStatus: status })
        }
      }
    },
  )
}
