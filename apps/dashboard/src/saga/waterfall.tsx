import { useVirtualizer } from '@tanstack/react-virtual'
import { useMemo, useRef, useState } from 'react'
import { Json } from '../ui/json.tsx'
import { instant, span, useNow } from '../ui/time.tsx'
import type { Bar } from './course.ts'

const INK: Record<Bar['outcome'], string> = {
  succeeded: 'bg-completed',
  failed: 'bg-failed',
  rejected: 'bg-failed',
  uncertain: 'bg-compensating',
  running: 'bg-running',
  waiting: 'bg-wait',
  scheduled: 'bg-backoff',
  dropped: 'bg-line-strong',
}
const ROW_PX = 30

/** Every attempt on one axis: what waited, what ran, what was undone. */
export function Waterfall({ bars }: { bars: readonly Bar[] }) {
  const now = useNow()
  const [open, setOpen] = useState<string>()
  const box = useRef<HTMLDivElement>(null)
  const [from, to] = useMemo(() => {
    const starts = bars.map(({ scheduledAt }) => scheduledAt)
    const ends = bars.map(({ endedAt, startedAt }) => endedAt ?? Math.max(now, startedAt))
    return [Math.min(...starts), Math.max(...ends)]
  }, [bars, now])
  const width = Math.max(1, to - from)
  const at = (time: number) => `${((time - from) / width) * 100}%`
  const virtual = useVirtualizer({
    count: bars.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: 20,
  })
  if (bars.length === 0) return <p className="p-4 text-faint">Nothing has been tried yet.</p>

  return (
    <div>
      <div
        className="flex justify-between px-3 pt-2 pl-[15.5rem] text-[11px] text-faint max-sm:pl-3"
        aria-hidden="true"
      >
        <span>0</span>
        <span>{span(width / 2)}</span>
        <span>{span(width)}</span>
      </div>
      <div
        ref={box}
        className="max-h-[26rem] overflow-auto"
        tabIndex={0}
        role="list"
        aria-label="Attempts in order of time"
      >
        <div className="relative" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start, key }) => {
            const bar = bars[index]
            if (bar === undefined) return null
            const end = bar.endedAt ?? Math.max(now, bar.startedAt)
            const name = bar.direction === 'compensation' ? `undo ${bar.step}` : bar.step
            const waited = Math.max(0, bar.startedAt - bar.scheduledAt)
            const label = `${name}, attempt ${bar.attempt}: ${bar.outcome} after ${span(end - bar.startedAt)}${waited > 50 ? `, ${span(waited)} after it was scheduled` : ''}`
            return (
              <div
                key={key}
                ref={virtual.measureElement}
                data-index={index}
                role="listitem"
                className="absolute inset-x-0 border-line border-b"
                style={{ transform: `translateY(${start}px)` }}
              >
                <button
                  type="button"
                  aria-expanded={open === bar.key}
                  aria-label={label}
                  title={label}
                  className="flex w-full items-center gap-3 px-3 py-1 text-left hover:bg-sunk"
                  onClick={() => setOpen(open === bar.key ? undefined : bar.key)}
                >
                  <span className="flex w-56 shrink-0 items-center gap-2 max-sm:w-32">
                    <span aria-hidden="true" className="text-faint">
                      {bar.direction === 'compensation' ? '◂' : '▸'}
                    </span>
                    <bdi className="truncate">{bar.step}</bdi>
                    {bar.attempt > 1 && <span className="text-[11px] text-faint">{bar.attempt}</span>}
                  </span>
                  <span className="relative h-4 flex-1 overflow-hidden">
                    <span
                      className="absolute top-1.5 h-1 bg-backoff"
                      style={{ left: at(bar.scheduledAt), width: at(from + waited) }}
                    />
                    <span
                      className={`absolute top-0.5 h-3 min-w-[3px] rounded-sm ${INK[bar.outcome]} ${bar.direction === 'compensation' ? 'opacity-70' : ''}`}
                      style={{
                        left: `min(${at(bar.startedAt)}, calc(100% - 3px))`,
                        width: at(from + (end - bar.startedAt)),
                      }}
                    />
                  </span>
                  <span className="w-24 shrink-0 text-right text-[12px] text-soft">
                    {bar.outcome === 'succeeded' ? span(end - bar.startedAt) : bar.outcome}
                  </span>
                </button>
                {open === bar.key && <Detail bar={bar} />}
              </div>
            )
          })}
        </div>
      </div>
      <p className="flex flex-wrap gap-x-4 px-3 py-2 text-[11px] text-faint">
        {(
          [
            ['done', 'bg-completed'],
            ['failed', 'bg-failed'],
            ['uncertain', 'bg-compensating'],
            ['under way', 'bg-running'],
            ['waits', 'bg-wait'],
            ['back-off and queue', 'bg-backoff'],
          ] as const
        ).map(([name, ink]) => (
          <span key={name} className="inline-flex items-center gap-1.5">
            <span className={`inline-block h-2 w-3 rounded-sm ${ink}`} aria-hidden="true" />
            {name}
          </span>
        ))}
        <span>▸ action, ◂ undo</span>
      </p>
    </div>
  )
}

function Detail({ bar }: { bar: Bar }) {
  return (
    <div className="space-y-2 bg-sunk px-4 py-3">
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1">
        <dt className="text-faint">scheduled</dt>
        <dd>{instant(new Date(bar.scheduledAt).toISOString())}</dd>
        <dt className="text-faint">began</dt>
        <dd>
          {instant(new Date(bar.startedAt).toISOString())}
          {bar.startedAt - bar.scheduledAt > 20 && (
            <span className="text-soft"> ({span(bar.startedAt - bar.scheduledAt)} later)</span>
          )}
        </dd>
        {bar.endedAt !== undefined && (
          <>
            <dt className="text-faint">ended</dt>
            <dd>
              {instant(new Date(bar.endedAt).toISOString())}
              <span className="text-soft"> ({span(bar.endedAt - bar.startedAt)} later)</span>
            </dd>
          </>
        )}
        {bar.waitsFor !== undefined && (
          <>
            <dt className="text-faint">waits for</dt>
            <dd>{bar.waitsFor}</dd>
          </>
        )}
        {bar.worker != null && (
          <>
            <dt className="text-faint">worker</dt>
            <dd className="font-mono text-[12px] break-all">{bar.worker}</dd>
          </>
        )}
      </dl>
      {bar.error !== undefined && (
        <div>
          <p className="font-medium text-stuck">{bar.error.code}</p>
          <pre className="json max-h-72 overflow-auto whitespace-pre-wrap">{bar.error.message}</pre>
        </div>
      )}
      {bar.result !== undefined && (
        <div>
          <p className="text-faint">result</p>
          <Json value={bar.result} />
        </div>
      )}
      {bar.probes !== undefined && (
        <div>
          <p className="text-faint">asked what became of it</p>
          <Json value={bar.probes} />
        </div>
      )}
    </div>
  )
}
