import { dueNow, plansOfUnreadable, SagaPlan, type SagaState, verbPlans } from '@backstitch/core'
import type { App, Door } from '../app.ts'
import { noSuchSaga, SagaPath, sagaIdOf } from '../parameters.ts'
import { answers } from '../plugins/openapi.ts'

/** What an operator may do about a saga, and what would come of it. */
export function verbPlanRoutes(app: App, { store }: Door): void {
  app.get(
    '/v1/sagas/:sagaId/plan',
    {
      schema: {
        tags: ['operators'],
        operationId: 'planSagaVerbs',
        summary: 'What each verb would make of the saga as it stands',
        description:
          'Whether it is possible, else why not; what would run if everything succeeded from then on; and how the saga would end. Conditions of steps still to come are taken to hold. Nothing is done.',
        params: SagaPath,
        response: answers({ 200: SagaPlan }, 'SAGA_NOT_FOUND'),
      },
    },
    async ({ params }) => {
      const sagaId = sagaIdOf(params)
      const saga = await store().queries.saga(sagaId)
      if (saga === undefined) throw noSuchSaga(sagaId)
      const { version, status, unreadable } = saga
      const definition = await store().definitions.get(saga.definition.name, saga.definition.version)
      if (unreadable !== undefined || definition === undefined) {
        const why = unreadable ?? 'its definition is not there'
        return { sagaId, version, status, verbs: plansOfUnreadable(status, why) }
      }
      const state: SagaState = { ...saga, bytes: { inline: 0, total: 0 } }
      const now = Date.now()
      const underWay = saga.next.worker === undefined ? [] : dueNow(state, now)
      return {
        sagaId,
        version,
        status,
        verbs: verbPlans(state, definition.resolved, { now, version, underWay }),
      }
    },
  )
}
