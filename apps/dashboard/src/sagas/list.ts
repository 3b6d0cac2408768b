import type { Page, SagaSummary } from '@backstitch/core'
import { useInfiniteQuery, useQueries, useQueryClient } from '@tanstack/react-query'
import { useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { fetchSagas } from '../data.ts'

export const PAGE = 100

type Filter = Readonly<Record<string, string>>
type Cursor = string | undefined
type Loaded = Page<SagaSummary> & { cursor: Cursor; loadedAt: number }

/**
 * The list as it was when it was loaded, page after page: no row ever moves. Over it lies what has become of its rows since: the
 * newest page and those in sight are asked for again, and no others, however many are loaded.
 */
export function useSagas(filter: Filter) {
  const queries = useQueryClient()
  const { data, ...list } = useInfiniteQuery({
    queryKey: ['list', filter],
    queryFn: async ({ pageParam: cursor, signal }): Promise<Loaded> => {
      const page = await fetchSagas(filter, { cursor, limit: PAGE }, signal)
      return { ...page, cursor, loadedAt: Date.now() }
    },
    initialPageParam: undefined as Cursor,
    getNextPageParam: ({ nextCursor }) => nextCursor,
    refetchInterval: false,
    refetchOnReconnect: false,
    refetchOnWindowFocus: false,
    staleTime: Number.POSITIVE_INFINITY,
    structuralSharing: false,
  })
  const pages = data?.pages ?? NONE
  const kept = useRef<Rows>(EMPTY)
  const rows = useMemo(() => {
    kept.current = grown(kept.current, pages)
    return kept.current
  }, [pages])

  const [[first, last], setSight] = useState<readonly [number, number]>([0, 0])
  const onRest = useCallback((from: number, to: number) => setSight([from, to]), [])
  const places = [...new Set([0, placeOf(rows, first), placeOf(rows, last)])]
  const looks = useQueries({
    queries: places.map((place) => {
      const cursor = pages[place]?.cursor
      return {
        queryKey: ['sagas', filter, cursor ?? 'newest'],
        queryFn: ({ signal }: { signal: AbortSignal }) => fetchSagas(filter, { cursor, limit: PAGE }, signal),
        enabled: list.isSuccess,
        gcTime: 30_000,
      }
    }),
  })
  const found = looks.flatMap(({ data: look }) => look?.items ?? [])
  const current = new Map(found.map((one) => [one.sagaId, one]))

  /** Looked for since, and not found where it would be: it stays in its place, and says so. */
  function hasMovedOn(index: number): boolean {
    const place = placeOf(rows, index)
    const look = looks[places.indexOf(place)]
    const row = rows.all[index]
    if (look?.data === undefined || row === undefined || current.has(row.sagaId)) return false
    if (look.dataUpdatedAt <= (pages[place]?.loadedAt ?? 0)) return false
    const oldest = look.data.items.at(-1)
    return look.data.nextCursor === undefined || (oldest !== undefined && row.startedAt > oldest.startedAt)
  }

  const end = rows.all.at(-1)?.startedAt
  const isWithin = ({ startedAt }: SagaSummary) => !list.hasNextPage || (end !== undefined && startedAt > end)
  const fresh = new Set(
    found.flatMap((one) => (!rows.ids.has(one.sagaId) && isWithin(one) ? [one.sagaId] : [])),
  )

  const reload = useCallback(() => {
    setSight([0, 0])
    void queries.resetQueries({ queryKey: ['list', filter] })
  }, [queries, filter])
  const { length } = rows.all
  const isDrained =
    length > 0 && length <= PAGE && !list.hasNextPage && rows.all.every((_, index) => hasMovedOn(index))
  useEffect(() => {
    if (isDrained) reload()
  }, [isDrained, reload])

  return { ...list, rows: rows.all, current, hasMovedOn, fresh: fresh.size, onRest, reload }
}

// --- All pages as one ----------------------------------------------------------------------------------------------

type Rows = { pages: readonly Loaded[]; all: SagaSummary[]; ids: Set<string>; starts: number[] }
const NONE: readonly Loaded[] = []
const EMPTY: Rows = { pages: NONE, all: [], ids: new Set(), starts: [] }

/** A page more costs what is on it: those before are not gone through again. */
function grown(rows: Rows, pages: readonly Loaded[]): Rows {
  if (rows.pages === pages) return rows
  const known = rows.pages.length
  const isMore = known > 0 && pages[0] === rows.pages[0] && pages[known - 1] === rows.pages[known - 1]
  const { all, ids, starts }: Rows = isMore ? rows : { pages: NONE, all: [], ids: new Set(), starts: [] }
  for (const { items } of isMore ? pages.slice(known) : pages) {
    starts.push(all.length)
    for (const one of items) {
      all.push(one)
      ids.add(one.sagaId)
    }
  }
  return { pages, all, ids, starts }
}

/** On which page a row is. */
function placeOf({ starts }: Rows, index: number): number {
  return Math.max(
    0,
    starts.findLastIndex((start) => start <= index),
  )
}
