import type { HistoryItem } from '@backstitch/core'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useRef, useState } from 'react'
import { Json } from '../ui/json.tsx'
import { StatusMark } from '../ui/status.tsx'
import { instant } from '../ui/time.tsx'

/** Every transition, attempt and act, as it is written down. */
export function History({ entries }: { entries: readonly HistoryItem[] }) {
  const [filter, setFilter] = useState('')
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set())
  const box = useRef<HTMLDivElement>(null)
  const wanted = filter.trim().toLowerCase()
  const shown =
    wanted === '' ? entries : entries.filter((entry) => JSON.stringify(entry).toLowerCase().includes(wanted))
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => box.current,
    estimateSize: () => 34,
    overscan: 20,
  })
  return (
    <div>
      <div className="border-line border-b p-2">
        <input
          className="field w-72 max-w-full"
          type="search"
          placeholder="Filter: a step, an actor, a kind …"
          aria-label="Filter the history"
          value={filter}
          onChange={({ target }) => setFilter(target.value)}
        />
        <span className="ml-3 text-[12px] text-faint">
          {shown.length} of {entries.length}
        </span>
      </div>
      <div ref={box} className="max-h-[60dvh] overflow-auto" tabIndex={0} role="list" aria-label="History">
        <div className="relative" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start }) => {
            const entry = shown[index]
            if (entry === undefined) return null
            const isOpen = open.has(entry.seq)
            return (
              <div
                key={entry.seq}
                ref={virtual.measureElement}
                data-index={index}
                role="listitem"
                className="absolute inset-x-0 border-line border-b"
                style={{ transform: `translateY(${start}px)` }}
              >
                <button
                  type="button"
                  aria-expanded={isOpen}
                  className="grid w-full grid-cols-[2.5rem_10.5rem_1fr] items-baseline gap-3 px-3 py-1.5 text-left hover:bg-sunk max-sm:grid-cols-[2.5rem_1fr]"
                  onClick={() => {
                    const next = new Set(open)
                    if (!next.delete(entry.seq)) next.add(entry.seq)
                    setOpen(next)
                  }}
                >
                  <span className="text-right text-faint">{entry.seq}</span>
                  <span className="text-soft max-sm:hidden">{instant(entry.at)}</span>
                  <span className="min-w-0 truncate">{inWords(entry)}</span>
                </button>
                {isOpen && (
                  <div className="bg-sunk px-4 py-3">
                    <Json value={entry} />
                  </div>
                )}
              </div>
            )
          })}
        </div>
      </div>
    </div>
  )
}

/** What has been written down after this version. */
export function Since({ entries, version }: { entries: readonly HistoryItem[]; version: number }) {
  const news = entries.filter(({ seq }) => seq > version)
  if (news.length === 0) return null
  return (
    <ol className="mt-1 space-y-0.5 text-[12px]">
      {news.slice(-NEWS).map((entry) => (
        <li key={entry.seq} className="flex gap-2">
          <span className="w-8 shrink-0 text-right text-faint">{entry.seq}</span>
          <span className="min-w-0 truncate">{inWords(entry)}</span>
        </li>
      ))}
    </ol>
  )
}

/** The last of them tell where it stands. */
const NEWS = 6

function inWords(entry: HistoryItem): React.ReactNode {
  if (entry.kind === 'unreadable') return `cannot be read: ${entry.why}`
  const isOfNoStep = entry.kind === 'retried' && entry.step === undefined
  const parts: string[] = [isOfNoStep ? 'retry' : (NAMES[entry.kind] ?? entry.kind)]
  if ('direction' in entry && entry.direction === 'compensation') parts.push('undo of')
  if ('step' in entry && entry.step !== undefined) parts.push(entry.step)
  if ('attempt' in entry && entry.attempt > 1) parts.push(`(attempt ${entry.attempt})`)
  if ('error' in entry) parts.push(`— ${entry.error.code}: ${entry.error.message}`)
  if ('actor' in entry) parts.push(`— ${entry.actor}: ${entry.reason}`)
  return (
    <>
      <bdi>{parts.join(' ').slice(0, 400)}</bdi>
      {entry.to.status !== undefined && (
        <span className="ml-2">
          → <StatusMark status={entry.to.status} />
        </span>
      )}
    </>
  )
}

const NAMES: Readonly<Record<string, string>> = {
  sagaStarted: 'started',
  attemptSucceeded: 'done:',
  attemptFailed: 'not done:',
  attemptPending: 'taken on, calls back later:',
  childStarted: 'saga started for',
  childReported: 'news of the saga for',
  signalReceived: 'signal received for',
  signalKept: 'signal kept for later',
  signalDropped: 'signal dropped',
  lateResult: 'answer that came too late for',
  leaseLost: 'its worker was lost',
  interrupted: 'its worker had to stop',
  conditionChecked: 'conditions looked at',
  waitedNoLonger: 'waited no longer',
  deadlinePassed: 'deadline passed',
  cancelRequested: 'cancel',
  retried: 'retry of',
  paused: 'paused',
  resumed: 'resumed',
  broughtForward: 'brought forward',
  skipped: 'skip of',
  markedCompensated: 'marked compensated:',
  verbRefused: 'act refused',
  abandoned: 'abandoned',
  parked: 'cannot be decided',
}
