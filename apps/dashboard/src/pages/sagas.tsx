import type { SagaSummary } from '@backstitch/core'
import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useRef, useState } from 'react'
import { useTexts } from '../address.ts'
import { fetchSagas } from '../data.ts'
import { useKeys } from '../keys.ts'
import { Bulk } from '../sagas/bulk.tsx'
import { Filters } from '../sagas/filters.tsx'
import { Button } from '../ui/button.tsx'
import { Paused, StatusMark, Unclean } from '../ui/status.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Loading, Text, Title, Wrong } from '../ui/told.tsx'

const PAGE = 100
const ROW_PX = 58
const COLUMNS = 'grid-cols-[28px_minmax(9rem,1.2fr)_7.5rem_minmax(10rem,2fr)_6.5rem_6.5rem]'

/** The list: what it shows stands in its address, under the API's own names. New ones wait to be let in; no row ever jumps. */
export function SagasPage() {
  const filter = useTexts()
  const navigate = useNavigate()
  const queries = useQueryClient()
  const list = useInfiniteQuery({
    queryKey: ['sagas', 'list', filter],
    queryFn: ({ pageParam, signal }) => fetchSagas(filter, { cursor: pageParam, limit: PAGE }, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ nextCursor }) => nextCursor,
    refetchInterval: false,
    refetchOnWindowFocus: false,
    staleTime: Number.POSITIVE_INFINITY,
  })
  const rows: SagaSummary[] = list.data?.pages.flatMap(({ items }) => items) ?? []
  const shown = new Set(rows.map(({ sagaId }) => sagaId))
  const newest = useQuery({
    queryKey: ['sagas', 'newest', filter],
    queryFn: ({ signal }) => fetchSagas(filter, { limit: PAGE }, signal),
    enabled: list.isSuccess,
  })
  const fresh = newest.data?.items.filter(({ sagaId }) => !shown.has(sagaId)) ?? []
  const isOld =
    fresh.length > 0 &&
    (rows.length === 0 || fresh.some(({ startedAt }) => startedAt >= (rows[0]?.startedAt ?? '')))
  const current = new Map(newest.data?.items.map((one) => [one.sagaId, one]))
  /** Looked for since, and not found where it would be: it stays in its place, and says so. */
  const hasMovedOn = (row: SagaSummary) => {
    if (newest.data === undefined || newest.dataUpdatedAt <= list.dataUpdatedAt) return false
    const { items, nextCursor } = newest.data
    const oldest = items.at(-1)?.startedAt
    const isCovered = nextCursor === undefined || (oldest !== undefined && row.startedAt > oldest)
    return isCovered && !current.has(row.sagaId)
  }

  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set())
  const [at, setAt] = useState(0)
  const box = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  })
  const items = virtual.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = list
  useEffect(() => {
    if (last >= rows.length - 30 && hasNextPage && !isFetchingNextPage) void fetchNextPage()
  }, [last, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage])

  const isDrained = rows.length > 0 && rows.length <= PAGE && !hasNextPage && rows.every(hasMovedOn)
  useEffect(() => {
    if (isDrained) void queries.resetQueries({ queryKey: ['sagas', 'list', filter] })
  }, [isDrained, queries, filter])

  const move = (by: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, at + by))
    setAt(next)
    virtual.scrollToIndex(next)
  }
  const toggle = (sagaId: string) => {
    const next = new Set(chosen)
    if (!next.delete(sagaId)) next.add(sagaId)
    setChosen(next)
  }
  const open = (row: SagaSummary | undefined) => {
    if (row !== undefined) void navigate({ to: '/sagas/$sagaId', params: { sagaId: row.sagaId } })
  }
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    x: () => {
      const row = rows[at]
      if (row !== undefined) toggle(row.sagaId)
    },
    Enter: () => open(rows[at]),
    Escape: () => setChosen(new Set()),
  })
  const reload = () => {
    void queries.resetQueries({ queryKey: ['sagas', 'list', filter] })
    virtual.scrollToOffset(0)
    setAt(0)
  }

  return (
    <div className="flex h-[calc(100dvh-2.5rem)] min-h-96 flex-col">
      <Title
        aside={
          <>
            {isOld && (
              <Button kind="strong" onClick={reload}>
                {fresh.length >= PAGE ? `${PAGE}+` : fresh.length} new
              </Button>
            )}
            <Button onClick={reload}>Refresh</Button>
          </>
        }
      >
        Sagas
      </Title>
      <Filters filter={filter} onChange={(next) => void navigate({ to: '/sagas', search: next })} />
      {list.isPending && <Loading />}
      {list.isError && <Wrong error={list.error} />}
      {list.isSuccess && rows.length === 0 && (
        <Empty title="No saga is like that">
          {Object.keys(filter).length === 0
            ? 'None has been started yet. POST /v1/sagas starts one.'
            : 'Take a filter away, or look at another span of time.'}
        </Empty>
      )}
      {rows.length > 0 && (
        <div className="sheet flex min-h-0 flex-1 flex-col overflow-hidden">
          <div
            className={`grid ${COLUMNS} gap-3 border-line border-b px-3 py-2 text-[12px] text-faint max-lg:hidden`}
            aria-hidden="true"
          >
            <span />
            <span>saga</span>
            <span>status</span>
            <span>where it stands</span>
            <span>started</span>
            <span>changed</span>
          </div>
          <div ref={box} className="min-h-0 flex-1 overflow-auto" tabIndex={0} role="list" aria-label="Sagas">
            <div className="relative" style={{ height: virtual.getTotalSize() }}>
              {items.map(({ index, start }) => {
                const listed = rows[index]
                if (listed === undefined) return null
                const row: SagaSummary = current.get(listed.sagaId) ?? listed
                const isGone = hasMovedOn(listed)
                return (
                  <div
                    key={row.sagaId}
                    role="listitem"
                    aria-current={index === at}
                    className={`absolute inset-x-0 grid ${COLUMNS} items-center gap-3 overflow-hidden border-line border-b px-3 hover:bg-sunk aria-[current=true]:bg-sunk max-lg:grid-cols-[28px_minmax(0,1fr)_7.5rem]`}
                    style={{ height: ROW_PX, transform: `translateY(${start}px)` }}
                  >
                    <input
                      type="checkbox"
                      aria-label={`Select ${row.sagaKey ?? row.sagaId}`}
                      checked={chosen.has(row.sagaId)}
                      onChange={() => toggle(row.sagaId)}
                    />
                    <Link
                      to="/sagas/$sagaId"
                      params={{ sagaId: row.sagaId }}
                      className="min-w-0"
                      onFocus={() => setAt(index)}
                    >
                      <span className="block truncate font-medium">
                        <bdi>{row.sagaKey ?? `…${row.sagaId.slice(-12)}`}</bdi>
                      </span>
                      <span className="block truncate text-[12px] text-faint">
                        {row.definition.name} v{row.definition.version}
                      </span>
                    </Link>
                    <span className="flex flex-wrap items-center gap-1">
                      {isGone ? (
                        <span className="text-soft" title="It is no longer what this list asks for">
                          moved on
                        </span>
                      ) : (
                        <StatusMark status={row.status} />
                      )}
                      {row.paused && !isGone && <Paused />}
                      {row.clean === false && !isGone && <Unclean />}
                    </span>
                    <span className="min-w-0 text-soft max-lg:hidden">
                      {!isGone && <Text>{standing(row)}</Text>}
                    </span>
                    <Ago at={row.startedAt} className="text-soft max-lg:hidden" />
                    <Ago at={row.updatedAt} className="text-soft max-lg:hidden" />
                  </div>
                )
              })}
            </div>
          </div>
          <div className="flex items-center justify-between gap-3 border-line border-t px-3 py-1.5 text-[12px] text-faint">
            <span>
              {rows.length.toLocaleString()} shown{hasNextPage ? ', more below' : ', that is all'}
            </span>
            <span className="hidden lg:inline">
              <span className="key">j</span> <span className="key">k</span> move ·{' '}
              <span className="key">x</span> select · <span className="key">Enter</span> open
            </span>
          </div>
        </div>
      )}
      <Bulk chosen={[...chosen]} filter={filter} onDone={() => setChosen(new Set())} />
    </div>
  )
}

function standing({
  status,
  stuck,
  failureReason,
  completedSteps,
  compensatedSteps,
  currentSteps,
}: SagaSummary): string {
  if (status === 'stuck' && stuck !== undefined) return stuck.message
  if (failureReason !== undefined) return failureReason
  if (status === 'compensating') return `${compensatedSteps.length} of ${completedSteps.length} steps undone`
  if (currentSteps.length > 0) return `at ${currentSteps.join(', ')}`
  return completedSteps.length === 0
    ? 'no step done yet'
    : `${completedSteps.length} done: ${completedSteps.slice(-3).join(', ')}`
}
