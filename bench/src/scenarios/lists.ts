import type { SagaFilter } from '@backstitch/core'
import { type ApiStore, openApiStore } from '@backstitch/store'
import { fill } from '../fill.ts'
import type { Figures, Scenario, ScenarioOptions } from '../scenario.ts'
import { timed } from '../timed.ts'

const DAY_MS = 86_400_000

export const lists: Scenario = {
  name: 'lists',
  about:
    'Pages of the list under every filter and usual pairs of them, first and far back, on --size 1000000 sagas.',
  onlyIfNamed: true,
  once: true,
  contenders: ({ size = 1_000_000, say }) => [
    {
      name: 'lists',
      async open(place) {
        await fill(place, { ended: Math.round(size * 0.9), due: Math.round(size * 0.1) }, say)
        const store = await openApiStore({ databaseUrl: place.url })
        return { run: () => pages(store, say), close: () => store.close() }
      },
    },
  ],
  ratios: [],
}

/** What anybody may filter by, and what an operator would ask for. */
function filters(): [string, SagaFilter][] {
  const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS).toISOString()
  return [
    ['all', {}],
    ['status=running', { status: ['running'] }],
    ['status=compensating', { status: ['compensating'] }],
    ['status=stuck', { status: ['stuck'] }],
    ['status=completed', { status: ['completed'] }],
    ['status=failed', { status: ['failed'] }],
    ['status=stuck,failed', { status: ['stuck', 'failed'] }],
    ['definition, nine tenths', { definition: 'order' }],
    ['definition, a tenth', { definition: 'payment' }],
    ['definition, one in 100,000', { definition: 'rare' }],
    ['definition, none', { definition: 'nobody' }],
    ['definition and version, the older half', { definition: 'order', version: 1 }],
    ['definition and status=failed', { definition: 'payment', status: ['failed'] }],
    ['definition, one in 100,000, and status=failed', { definition: 'rare', status: ['failed'] }],
    ['sagaKey', { sagaKey: 'key-2' }],
    ['sagaKey, none', { sagaKey: 'nobody' }],
    ['failedStep', { failedStep: 'step1' }],
    ['failedStep and status=failed', { failedStep: 'step1', status: ['failed'] }],
    ['failedStep, none', { failedStep: 'nobody' }],
    ['tag, one in 4,000', { tags: { shop: 's7' } }],
    ['tag, one in 20', { tags: { region: 'r1' } }],
    ['createdAfter, a day', { createdAfter: daysAgo(1) }],
    ['createdBefore, 50 days', { createdBefore: daysAgo(50) }],
    ['updatedBefore, 50 days', { updatedBefore: daysAgo(50) }],
    ['status=running and updatedBefore, a day', { status: ['running'], updatedBefore: daysAgo(1) }],
    ['status=stuck and updatedBefore, a day', { status: ['stuck'], updatedBefore: daysAgo(1) }],
    ['definition and status=running', { definition: 'order', status: ['running'] }],
    [
      'definition and status=running,compensating',
      { definition: 'order', status: ['running', 'compensating'] },
    ],
    ['definition, version and status=failed', { definition: 'order', version: 1, status: ['failed'] }],
    ['definition and failedStep', { definition: 'payment', failedStep: 'step1' }],
    ['definition and tag', { definition: 'order', tags: { shop: 's7' } }],
    ['definition, one in 100,000, and tag, one in 20', { definition: 'rare', tags: { region: 'r1' } }],
    [
      'definition and created, a day',
      { definition: 'order', createdAfter: daysAgo(60), createdBefore: daysAgo(59) },
    ],
    ['status=failed and tag, one in 20', { status: ['failed'], tags: { region: 'r1' } }],
    [
      'status=failed and created, a day',
      { status: ['failed'], createdAfter: daysAgo(60), createdBefore: daysAgo(59) },
    ],
    ['two tags', { tags: { shop: 's7', region: 'r2' } }],
    ['tag, none', { tags: { shop: 'nobody' } }],
    ['clean=false', { clean: false }],
    ['clean=false and definition', { clean: false, definition: 'payment' }],
    ['clean=true', { clean: true }],
    ['paused', { paused: true }],
    ['q, a key', { q: 'key-777776' }],
    ['q, how every key begins', { q: 'key-' }],
    ['q, how every correlation id begins', { q: 'request-' }],
    ['q, a correlation id', { q: 'request-c4ca4238' }],
    ['q, a tag, one in 4,000', { q: 's7' }],
    ['q, a tag, one in 20', { q: 'r1' }],
    ['q, a definition', { q: 'payment' }],
    ['q, a definition, one in 100,000', { q: 'rare' }],
    ['q, a step', { q: 'step1' }],
    ['q, words of a failure, one in 200', { q: 'no funds' }],
    ['q, words of a failure, one in 200,000', { q: 'card 1003' }],
    ['q, nothing', { q: 'nobody knows' }],
    ['q, how an id begins', { q: '019a0000' }],
    ['q and status=failed', { q: 'r1', status: ['failed'] }],
    ['q, how every key begins, and status=failed', { q: 'key-', status: ['failed'] }],
  ]
}

/** The first page, and one far back: where nine tenths of all sagas are newer. */
async function pages(store: ApiStore, say: ScenarioOptions['say']): Promise<Figures> {
  const far = new Date(Date.now() - 90 * DAY_MS).toISOString()
  const before = { createdAt: far, sagaId: 'ffffffff-ffff-7fff-bfff-ffffffffffff' }
  let figures: Figures = {}
  for (const [name, filter] of filters()) {
    for (const [where, page] of [
      ['first', { limit: 50 }],
      ['far back', { limit: 50, before }],
    ] as const) {
      const { items, last } = await store.queries.sagas(filter, page)
      const found = `${items.length}${last === undefined ? '' : ' and more'}`
      const took = await timed(`${name}, ${where}: ${found} `, () => store.queries.sagas(filter, page), say)
      figures = { ...figures, ...took }
    }
  }
  const worst = (figure: string) =>
    Math.max(...Object.entries(figures).flatMap(([name, ms]) => (name.endsWith(figure) ? ms : [])))
  return { worstP50Ms: worst('P50Ms'), worstP99Ms: worst('P99Ms'), ...figures }
}
