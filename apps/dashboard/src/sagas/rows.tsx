import type { SagaSummary } from '@backstitch/core'
import { Link } from '@tanstack/react-router'
import { memo, useEffect, useRef } from 'react'
import { Paused, StatusMark, Unclean } from '../ui/status.tsx'
import { Ago } from '../ui/time.tsx'
import { Text } from '../ui/told.tsx'
import type { useSagas } from './list.ts'
import { useSight } from './sight.ts'

const ROW_PX = 58
const COLUMNS = 'grid-cols-[28px_minmax(9rem,1.2fr)_7.5rem_minmax(10rem,2fr)_6.5rem_6.5rem]'
/** Before the last of them is seen, the next are asked for. */
const AHEAD = 30

export function Rows({
  list,
  at,
  chosen,
  onAt,
  onToggle,
}: {
  list: ReturnType<typeof useSagas>
  /** The row that keys act on. */
  at: number
  chosen: ReadonlySet<string>
  onAt: (index: number) => void
  onToggle: (sagaId: string) => void
}) {
  const { rows, current, hasMovedOn, onRest, hasNextPage, isFetchingNextPage, fetchNextPage } = list
  const box = useRef<HTMLDivElement>(null)
  const { from, to } = useSight(box, { count: rows.length, rowPx: ROW_PX, onRest })
  useEffect(() => {
    if (to >= rows.length - AHEAD && hasNextPage && !isFetchingNextPage) void fetchNextPage()
  }, [to, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage])
  useEffect(() => {
    const element = box.current
    if (element === null) return
    const [top, bottom] = [at * ROW_PX, (at + 1) * ROW_PX]
    if (top < element.scrollTop) element.scrollTop = top
    else if (bottom > element.scrollTop + element.clientHeight)
      element.scrollTop = bottom - element.clientHeight
  }, [at])

  return (
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
        <div className="relative" style={{ height: rows.length * ROW_PX }}>
          {rows.slice(from, to).map((row, offset) => (
            <Row
              key={row.sagaId}
              row={current.get(row.sagaId) ?? row}
              index={from + offset}
              isCurrent={from + offset === at}
              isChosen={chosen.has(row.sagaId)}
              isGone={hasMovedOn(from + offset)}
              onAt={onAt}
              onToggle={onToggle}
            />
          ))}
        </div>
      </div>
      <div className="flex items-center justify-between gap-3 border-line border-t px-3 py-1.5 text-[12px] text-faint">
        <span>
          {rows.length.toLocaleString()} shown{hasNextPage ? ', more below' : ', that is all'}
        </span>
        <span className="hidden lg:inline">
          <span className="key">j</span> <span className="key">k</span> move · <span className="key">x</span>{' '}
          select · <span className="key">Enter</span> open
        </span>
      </div>
    </div>
  )
}

const Row = memo(function Row({
  row,
  index,
  isCurrent,
  isChosen,
  isGone,
  onAt,
  onToggle,
}: {
  row: SagaSummary
  index: number
  isCurrent: boolean
  isChosen: boolean
  isGone: boolean
  onAt: (index: number) => void
  onToggle: (sagaId: string) => void
}) {
  const { sagaId, sagaKey, definition, status, paused, clean, startedAt, updatedAt } = row
  return (
    <div
      role="listitem"
      aria-current={isCurrent}
      className={`absolute inset-x-0 grid [contain:strict] ${COLUMNS} items-center gap-3 overflow-hidden border-line border-b px-3 hover:bg-sunk aria-[current=true]:bg-sunk max-lg:grid-cols-[28px_minmax(0,1fr)_7.5rem]`}
      style={{ height: ROW_PX, transform: `translateY(${index * ROW_PX}px)` }}
    >
      <input
        type="checkbox"
        aria-label={`Select ${sagaKey ?? sagaId}`}
        checked={isChosen}
        onChange={() => onToggle(sagaId)}
      />
      <Link to="/sagas/$sagaId" params={{ sagaId }} className="min-w-0" onFocus={() => onAt(index)}>
        <span className="block truncate font-medium">
          <bdi>{sagaKey ?? `…${sagaId.slice(-12)}`}</bdi>
        </span>
        <span className="block truncate text-[12px] text-faint">
          {definition.name} v{definition.version}
        </span>
      </Link>
      <span className="flex flex-wrap items-center gap-1">
        {isGone ? (
          <span className="text-soft" title="It is no longer what this list asks for">
            moved on
          </span>
        ) : (
          <StatusMark status={status} />
        )}
        {paused && !isGone && <Paused />}
        {clean === false && !isGone && <Unclean />}
      </span>
      <span className="min-w-0 text-soft max-lg:hidden">{!isGone && <Text>{standing(row)}</Text>}</span>
      <Ago at={startedAt} className="text-soft max-lg:hidden" />
      <Ago at={updatedAt} className="text-soft max-lg:hidden" />
    </div>
  )
})

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
