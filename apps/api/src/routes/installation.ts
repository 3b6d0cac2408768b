import { pageOf, Service, Stats, Worker } from '@backstitch/core'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import { Paging } from '../parameters.ts'
import { answers } from '../plugins/openapi.ts'
import { shared } from '../shared-answer.ts'

/** Numbers that a dashboard asks for every second are counted every few. */
const STATS_MS = 3_000
const SERVICES_MS = 3_000

export function installationRoutes(app: App, { store }: Door): void {
  const stats = shared(() => store().stats(), STATS_MS)

  app.get(
    '/v1/stats',
    {
      schema: {
        tags: ['installation'],
        operationId: 'getStats',
        summary: 'Counts, rates and durations',
        description: 'Up to three seconds old.',
        response: answers({ 200: Stats }),
      },
    },
    async () => stats(),
  )

  app.post(
    '/v1/stats/recount',
    {
      schema: {
        tags: ['installation'],
        operationId: 'recountStats',
        summary: 'Count the sagas themselves, and correct the counts that are kept',
        description:
          'Reads the whole table. Needed once after an upgrade from a release that did not keep counts while both were running.',
        response: answers({ 200: Stats }),
      },
    },
    async () => {
      await store().feed.recount()
      return store().stats()
    },
  )

  const services = shared(() => store().queries.services(), SERVICES_MS)

  app.get(
    '/v1/services',
    {
      schema: {
        tags: ['installation'],
        operationId: 'listServices',
        summary: 'What sagas call: breakers, calls in flight, and what is named and nowhere configured',
        description: 'By name; Some seconds old: workers tell it with their heartbeats.',
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(Service) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor } }) => {
      const after = cursor === undefined ? '' : readCursor(cursor, 'services', z.string())
      const left = (await services()).filter(({ service }) => service > after)
      const items = left.slice(0, limit)
      const last = left.length > limit ? items.at(-1) : undefined
      return { items, ...(last && { nextCursor: writeCursor('services', last.service) }) }
    },
  )

  app.get(
    '/v1/workers',
    {
      schema: {
        tags: ['installation'],
        operationId: 'listWorkers',
        summary: 'Who is alive, what they can run, how many sagas they hold',
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(Worker) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor } }) => {
      const after = cursor === undefined ? undefined : readCursor(cursor, 'workers', z.string())
      const workers = (await store().queries.workers()).sort((one, other) =>
        placeOf(one) < placeOf(other) ? -1 : 1,
      )
      const left = after === undefined ? workers : workers.filter((worker) => placeOf(worker) > after)
      const items = left.slice(0, limit)
      const last = left.length > limit ? items.at(-1) : undefined
      return { items, ...(last && { nextCursor: writeCursor('workers', placeOf(last)) }) }
    },
  )
}

function placeOf({ startedAt, workerId }: Worker): string {
  return `${startedAt} ${workerId}`
}
