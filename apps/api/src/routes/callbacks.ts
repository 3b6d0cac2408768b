import { byteLength, CallbackEnd, CallbackTaken, CallerKey, MAX_VALUE_BYTES, Problem } from '@backstitch/core'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { answers } from '../plugins/openapi.ts'

/** The end of an asynchronous step, told by whoever was given its token (M3). */
export function callbackRoutes(app: App, { store }: Door): void {
  app.post(
    '/v1/callbacks/:token',
    {
      bodyLimit: MAX_VALUE_BYTES + 16 * 1024,
      schema: {
        tags: ['sagas'],
        operationId: 'completeStep',
        summary: 'End an asynchronous step',
        description:
          'For a participant that answered 202 to a step with `completion: "callback"`. The token came with the request, as `Saga-Callback-Token`. Said again, it changes nothing; with an `Idempotency-Key` that holds whatever is said. Unknown, forged and no longer awaited look the same.',
        params: z.object({
          token: z.string().min(1).max(200).meta({ description: 'as it came in Saga-Callback-Token' }),
        }),
        headers: z.object({
          'idempotency-key': CallerKey.optional().meta({
            description: 'callbacks with the same key are one',
          }),
        }),
        body: CallbackEnd,
        response: answers(
          { 202: CallbackTaken },
          'MALFORMED_JSON',
          'BAD_REQUEST',
          'CALLBACK_NOT_AWAITED',
          'BODY_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'INVALID_REQUEST',
        ),
      },
    },
    async (request, reply) => {
      const { body } = request
      const end = 'error' in body ? body : { result: body.result ?? null }
      const bytes = byteLength(JSON.stringify(end))
      if (bytes > MAX_VALUE_BYTES) {
        throw new Problem(
          'BODY_TOO_LARGE',
          `the callback has ${bytes} bytes as JSON; the most is ${MAX_VALUE_BYTES}`,
        )
      }
      const posted = await store().callbacks.post(
        request.params.token,
        end,
        request.headers['idempotency-key'],
      )
      if (posted.is === 'unknown') {
        throw new Problem(
          'CALLBACK_NOT_AWAITED',
          'no step waits for a callback with this token: it is mistyped, or its step has been decided',
        )
      }
      store().wakeups.due(posted.queue)
      return reply.code(202).send({ accepted: true })
    },
  )
}
