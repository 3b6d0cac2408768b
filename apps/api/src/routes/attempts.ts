import {
  type AttemptView,
  AttemptView as AttemptViewShape,
  byteLength,
  createAttemptReader,
  Direction,
  Name,
  pageOf,
  type Saga,
} from '@backstitch/core'
import type { ApiStore } from '@backstitch/store'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import { noSuchSaga, Paging, SagaPath, sagaIdOf } from '../parameters.ts'
import { answers } from '../plugins/openapi.ts'

/** Entries read at once. */
const ENTRIES = 100
/** What is shown in whole goes on to another page from here on. */
const PAGE_BYTES = 16 * 1024 * 1024

export function attemptRoutes(app: App, { store }: Pick<Door, 'store'>): void {
  app.get(
    '/v1/sagas/:sagaId/attempts',
    {
      schema: {
        tags: ['sagas'],
        operationId: 'getSagaAttempts',
        summary: 'Every attempt: what was sent, what came of it, how long it waited and took',
        description:
          'In the order of their ends; what is under way or scheduled comes last. Read out of the history and the definition: what a worker adds from its configuration is not known here. A request or a result that is large is left out (`omitted`) unless `whole` is true.',
        params: SagaPath,
        querystring: z.strictObject({
          ...Paging,
          step: Name.optional(),
          direction: Direction.optional(),
          whole: z
            .enum(['true', 'false'])
            .default('false')
            .meta({ type: 'boolean', description: 'with every value, however large' }),
        }),
        response: answers(
          { 200: pageOf(AttemptViewShape) },
          'BAD_REQUEST',
          'INVALID_CURSOR',
          'SAGA_NOT_FOUND',
        ),
      },
    },
    async ({ params, query: { limit, cursor, step, direction, whole } }) => {
      const sagaId = sagaIdOf(params)
      const list = ['attempts', sagaId, step ?? '', direction ?? '']
      const skip = cursor === undefined ? 0 : readCursor(cursor, list, z.int().min(0))
      const saga = await store().queries.saga(sagaId)
      if (saga === undefined) throw noSuchSaga(sagaId)
      const items: AttemptView[] = []
      let place = 0
      let bytes = 0
      for await (const view of attempts(saga, store(), { step, direction, whole: whole === 'true', skip })) {
        bytes += whole === 'true' ? byteLength(JSON.stringify(view)) : 0
        if (items.length === limit || (bytes > PAGE_BYTES && items.length > 0))
          return { items, nextCursor: writeCursor(list, skip + place) }
        items.push(view)
        place++
      }
      return { items }
    },
  )
}

/** From the `skip`th on. What has ended stays at its place for ever, since a history only grows. */
async function* attempts(
  { sagaId, definition: { name, version }, next }: Saga,
  { history, definitions }: Pick<ApiStore, 'history' | 'definitions'>,
  wants: { step?: string | undefined; direction?: Direction | undefined; whole: boolean; skip: number },
): AsyncGenerator<AttemptView> {
  const reader = createAttemptReader((await definitions.get(name, version))?.resolved)
  const isWanted = (facts: { step: string; direction: Direction }) =>
    (wants.step ?? facts.step) === facts.step && (wants.direction ?? facts.direction) === facts.direction
  let place = 0
  for (let after = 0; ; ) {
    const entries = await history.show(sagaId, { after, limit: ENTRIES })
    for (const item of entries) {
      for (const attempt of reader.take(item))
        if (isWanted(attempt.facts) && place++ >= wants.skip) yield reader.view(attempt, wants.whole)
      after = item.seq
    }
    if (entries.length < ENTRIES) break
  }
  for (const attempt of reader.open({ now: Date.now(), worker: next.worker }))
    if (isWanted(attempt.facts) && place++ >= wants.skip) yield reader.view(attempt, wants.whole)
}
