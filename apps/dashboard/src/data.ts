import type {
  AttemptView,
  Bulk,
  DefinitionSummary,
  DefinitionVersion,
  Direction,
  HistoryItem,
  Page,
  Saga,
  SagaSummary,
  ScheduleSummary,
  Service,
  Stats,
  Webhook,
  Worker,
} from '@backstitch/core'
import { queryOptions } from '@tanstack/react-query'
import { get, withQuery } from './api.ts'

/** What the pages ask for. */

export const fetchStats = ({ signal }: { signal: AbortSignal }) => get<Stats>('v1/stats', signal)
export const fetchWorkers = ({ signal }: { signal: AbortSignal }) => everyPage<Worker>('v1/workers', signal)
export const fetchServices = ({ signal }: { signal: AbortSignal }) =>
  everyPage<Service>('v1/services', signal)
export const fetchDefinitions = ({ signal }: { signal: AbortSignal }) =>
  everyPage<DefinitionSummary>('v1/definitions', signal)

export const fetchSchedules = ({ signal }: { signal: AbortSignal }) =>
  everyPage<ScheduleSummary>('v1/schedules', signal)

export const fetchWebhooks = ({ signal }: { signal: AbortSignal }) =>
  everyPage<Webhook>('v1/webhooks', signal)

/** The newest; older ones are found in the audit log. */
export const fetchBulks = async ({ signal }: { signal: AbortSignal }) =>
  (await get<Page<Bulk>>('v1/bulk?limit=100', signal)).items

export const bulkQuery = (bulkId: string) =>
  queryOptions({
    queryKey: ['bulk', bulkId],
    queryFn: ({ signal }) => get<Bulk>(`v1/bulk/${encodeURIComponent(bulkId)}`, signal),
    refetchInterval: ({ state }) =>
      state.data?.state === 'running' || state.data === undefined ? 500 : false,
  })

export const sagaQuery = (sagaId: string) =>
  queryOptions({
    queryKey: ['saga', sagaId],
    queryFn: ({ signal }) => get<Saga>(`v1/sagas/${encodeURIComponent(sagaId)}`, signal),
    // While it moves somebody watches it move.
    refetchInterval: ({ state }) => (state.data?.endedAt === undefined ? 1_000 : false),
  })

/** Fetched again when the saga has moved on: `version` is the number of its last entry. */
export const historyQuery = (sagaId: string, version: number) =>
  queryOptions({
    queryKey: ['history', sagaId, version],
    queryFn: ({ signal }) => everyPage<HistoryItem>(`v1/sagas/${encodeURIComponent(sagaId)}/history`, signal),
    placeholderData: (before) => before,
    refetchInterval: false,
    staleTime: Number.POSITIVE_INFINITY,
  })

/** Each page of them is read out of the whole history: beyond these it would cost more than it shows. */
export const MOST_ATTEMPTS = 2_000

/** `worker`: an attempt begins without an entry, when somebody has taken the saga. */
export const attemptsQuery = (sagaId: string, version: number, worker = '') =>
  queryOptions({
    queryKey: ['attempts', sagaId, version, worker],
    queryFn: ({ signal }) =>
      everyPage<AttemptView>(
        `v1/sagas/${encodeURIComponent(sagaId)}/attempts`,
        signal,
        {},
        MOST_ATTEMPTS / PAGE,
      ),
    placeholderData: (before) => before,
    refetchInterval: false,
    staleTime: Number.POSITIVE_INFINITY,
  })

/** The attempts of one step with every value, however large. */
export const wholeAttemptsQuery = (sagaId: string, version: number, step: string, direction: Direction) =>
  queryOptions({
    queryKey: ['attempts', sagaId, version, step, direction],
    queryFn: ({ signal }) =>
      everyPage<AttemptView>(`v1/sagas/${encodeURIComponent(sagaId)}/attempts`, signal, {
        step,
        direction,
        whole: 'true',
      }),
    refetchInterval: false,
    staleTime: Number.POSITIVE_INFINITY,
  })

export const definitionQuery = (name: string, version: number) =>
  queryOptions({
    queryKey: ['definition', name, version],
    queryFn: ({ signal }) =>
      get<DefinitionVersion>(`v1/definitions/${encodeURIComponent(name)}/versions/${version}`, signal),
    refetchInterval: false,
    staleTime: Number.POSITIVE_INFINITY,
  })

export function fetchSagas(
  filter: Readonly<Record<string, string>>,
  page: { cursor?: string | undefined; limit: number },
  signal?: AbortSignal,
): Promise<Page<SagaSummary>> {
  return get(withQuery('v1/sagas', { ...filter, ...page }), signal)
}

const MOST_PAGES = 100
const PAGE = 200

async function everyPage<T>(
  path: string,
  signal: AbortSignal,
  filter: Readonly<Record<string, string>> = {},
  mostPages = MOST_PAGES,
): Promise<T[]> {
  const items: T[] = []
  let cursor: string | undefined
  for (let n = 0; n < mostPages; n++) {
    const page = await get<Page<T>>(withQuery(path, { ...filter, limit: PAGE, cursor }), signal)
    items.push(...page.items)
    cursor = page.nextCursor
    if (cursor === undefined) break
  }
  return items
}
