import type { AttemptView, Saga } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useVirtualizer } from '@tanstack/react-virtual'
import { type PointerEvent, useMemo, useRef, useState } from 'react'
import { MOST_ATTEMPTS, wholeAttemptsQuery } from '../data.ts'
import { Button } from '../ui/button.tsx'
import { Copy, Json } from '../ui/json.tsx'
import { span, useNow } from '../ui/time.tsx'
import { Wrong } from '../ui/told.tsx'
import { type Bar, barsOf, sumsOf } from './bars.ts'

const INK: Record<AttemptView['state'], { ink: string; word: string }> = {
  succeeded: { ink: 'bg-completed', word: 'done' },
  failed: { ink: 'bg-failed', word: 'failed' },
  rejected: { ink: 'bg-stuck', word: 'rejected' },
  uncertain: { ink: 'bg-compensating', word: 'uncertain' },
  running: { ink: 'bg-running', word: 'under way' },
  waiting: { ink: 'bg-thread', word: 'waiting' },
  scheduled: { ink: 'bg-backoff', word: 'scheduled' },
  leaseLost: { ink: 'bg-compensating', word: 'worker lost' },
  interrupted: { ink: 'bg-cancelled', word: 'worker stopped' },
  calledOff: { ink: 'bg-cancelled', word: 'called off' },
  late: { ink: 'bg-abandoned', word: 'came too late' },
}
const ROW_PX = 30
/** Nobody can see less. */
const LEAST_MS = 2

/** Every attempt on one axis: what waited, what ran, what was undone. */
export function Attempts({
  saga,
  attempts,
  step,
  onClear,
}: {
  saga: Saga
  attempts: readonly AttemptView[]
  /** Only those of this one. */
  step: string | undefined
  onClear: () => void
}) {
  const isLive = saga.endedAt === undefined
  const ticking = useNow()
  const now = isLive ? ticking : Date.parse(saga.endedAt ?? saga.updatedAt)
  const all = useMemo(() => barsOf(attempts), [attempts])
  const bars = useMemo(
    () => (step === undefined ? all : all.filter((bar) => bar.view.step === step)),
    [all, step],
  )
  const [open, setOpen] = useState<string>()
  const [chosen, setChosen] = useState<readonly [number, number]>()
  const box = useRef<HTMLDivElement>(null)
  const whole = useMemo(() => rangeOf(bars, now), [bars, now])
  const [from, to] = chosen ?? whole
  const width = Math.max(LEAST_MS, to - from)
  const virtual = useVirtualizer({
    count: bars.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: 20,
  })
  if (all.length === 0) return <p className="p-4 text-faint">Nothing has been tried yet.</p>

  function zoom(factor: number): void {
    const half = (width * factor) / 2
    const middle = from + width / 2
    setChosen(half * 2 >= whole[1] - whole[0] ? undefined : within([middle - half, middle + half], whole))
  }
  const pan = (by: number) => setChosen(within([from + by * width, to + by * width], whole))

  return (
    <div>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1 border-line border-b px-3 py-1.5 text-[12px] text-soft">
        <Sums bars={bars} />
        {attempts.length >= MOST_ATTEMPTS && (
          <span className="text-compensating">
            the first {MOST_ATTEMPTS.toLocaleString()}; the history has all of them
          </span>
        )}
        {step !== undefined && (
          <Button kind="quiet" className="py-0" onClick={onClear}>
            only <bdi>{step}</bdi> ✕
          </Button>
        )}
        <span className="ml-auto flex items-center" role="group" aria-label="Zoom">
          {chosen !== undefined && (
            <>
              <Button kind="quiet" className="px-1.5 py-0" aria-label="Earlier" onClick={() => pan(-0.5)}>
                ◂
              </Button>
              <Button kind="quiet" className="px-1.5 py-0" aria-label="Later" onClick={() => pan(0.5)}>
                ▸
              </Button>
            </>
          )}
          <Button kind="quiet" className="px-1.5 py-0" aria-label="Zoom in" onClick={() => zoom(0.5)}>
            +
          </Button>
          <Button kind="quiet" className="px-1.5 py-0" aria-label="Zoom out" onClick={() => zoom(2)}>
            −
          </Button>
          <Button
            kind="quiet"
            className="px-1.5 py-0"
            disabled={chosen === undefined}
            onClick={() => setChosen(undefined)}
          >
            all of it
          </Button>
        </span>
      </div>
      <Ruler
        from={from}
        width={width}
        origin={whole[0]}
        onChoose={(range) => setChosen(within(range, whole))}
      />
      <div
        ref={box}
        className="max-h-[30rem] overflow-auto"
        tabIndex={0}
        role="list"
        aria-label="Attempts in order of time"
      >
        <div className="relative" style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map(({ index, start }) => {
            const bar = bars[index]
            if (bar === undefined) return null
            return (
              <div
                key={bar.key}
                ref={virtual.measureElement}
                data-index={index}
                role="listitem"
                className="absolute inset-x-0 border-line border-b"
                style={{ transform: `translateY(${start}px)` }}
              >
                <Row
                  bar={bar}
                  from={from}
                  width={width}
                  now={now}
                  isOpen={open === bar.key}
                  onOpen={() => setOpen(open === bar.key ? undefined : bar.key)}
                />
                {open === bar.key && <Detail saga={saga} bar={bar} />}
              </div>
            )
          })}
        </div>
      </div>
      <Legend />
    </div>
  )
}

function rangeOf(bars: readonly Bar[], now: number): readonly [number, number] {
  let from = Number.POSITIVE_INFINITY
  let to = Number.NEGATIVE_INFINITY
  for (const bar of bars) {
    from = Math.min(from, bar.backOffFrom ?? bar.scheduledAt)
    to = Math.max(to, bar.endedAt ?? Math.max(now, bar.scheduledAt))
  }
  return Number.isFinite(from) ? [from, Math.max(to, from + LEAST_MS)] : [now, now + LEAST_MS]
}

function within(
  [from, to]: readonly [number, number],
  [first, last]: readonly [number, number],
): [number, number] {
  const width = Math.min(Math.max(to - from, LEAST_MS), last - first)
  const start = Math.min(Math.max(from, first), last - width)
  return [start, start + width]
}

/** Drawing along it chooses what is shown. */
function Ruler({
  from,
  width,
  origin,
  onChoose,
}: {
  from: number
  width: number
  origin: number
  onChoose: (range: [number, number]) => void
}) {
  const [drawn, setDrawn] = useState<[number, number]>()
  const place = (event: PointerEvent<HTMLDivElement>) => {
    const { left, width: px } = event.currentTarget.getBoundingClientRect()
    return Math.min(1, Math.max(0, (event.clientX - left) / px))
  }
  return (
    <div className="flex gap-3 px-3 pt-1" aria-hidden="true">
      <span className="w-56 shrink-0 max-sm:w-28" />
      <div
        className="relative h-6 flex-1 cursor-col-resize touch-none text-[11px] text-faint select-none"
        title="Draw along it to look closer"
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId)
          setDrawn([place(event), place(event)])
        }}
        onPointerMove={(event) => drawn !== undefined && setDrawn([drawn[0], place(event)])}
        onPointerUp={() => {
          if (drawn !== undefined && Math.abs(drawn[0] - drawn[1]) > 0.01) {
            const [one, other] = drawn.toSorted((a, b) => a - b)
            onChoose([from + (one ?? 0) * width, from + (other ?? 1) * width])
          }
          setDrawn(undefined)
        }}
      >
        {[0, 0.25, 0.5, 0.75, 1].map((part) => (
          <span
            key={part}
            className={`absolute bottom-0 border-line-strong pb-0.5 ${part === 1 ? 'border-r pr-1' : 'border-l pl-1'} ${part > 0 && part < 1 ? 'max-sm:hidden' : ''}`}
            style={part === 1 ? { right: 0 } : { left: `${part * 100}%` }}
          >
            {span(from - origin + width * part)}
          </span>
        ))}
        {drawn !== undefined && (
          <span
            className="absolute inset-y-0 bg-thread opacity-25"
            style={{
              left: `${Math.min(...drawn) * 100}%`,
              width: `${Math.abs(drawn[0] - drawn[1]) * 100}%`,
            }}
          />
        )}
      </div>
      <span className="w-24 shrink-0 max-sm:w-16" />
    </div>
  )
}

function Row({
  bar,
  from,
  width,
  now,
  isOpen,
  onOpen,
}: {
  bar: Bar
  from: number
  width: number
  now: number
  isOpen: boolean
  onOpen: () => void
}) {
  const { view, scheduledAt, startedAt, backOffFrom } = bar
  const { ink, word } = INK[view.state]
  const isUndo = view.direction === 'compensation'
  const isAhead = view.state === 'scheduled'
  const end = bar.endedAt ?? Math.max(now, scheduledAt)
  const took = end - startedAt
  const queued = isAhead ? 0 : Math.max(0, startedAt - scheduledAt)
  const piece = (one: number, other: number) => {
    const left = Math.max(0, (one - from) / width)
    const right = Math.min(1, (other - from) / width)
    return { left: `${left * 100}%`, width: `${Math.max(0, right - left) * 100}%` }
  }
  const isSeen = (one: number, other: number) => other >= from && one <= from + width
  const label = [
    `${isUndo ? 'undo of ' : ''}${view.step}, attempt ${view.attempt}: ${word}`,
    isAhead ? '' : `${span(took)} ${bar.isExact ? '' : 'at most '}under way`,
    queued >= 1 ? `${span(queued)} in the queue` : '',
    backOffFrom === undefined ? '' : `${span(scheduledAt - backOffFrom)} back-off before`,
  ]
    .filter((part) => part !== '')
    .join(', ')
  return (
    <button
      type="button"
      aria-expanded={isOpen}
      title={label}
      className="flex w-full items-center gap-3 px-3 py-1 text-left hover:bg-sunk"
      onClick={onOpen}
    >
      <span className="flex w-56 shrink-0 items-center gap-1.5 max-sm:w-28">
        <span aria-hidden="true" className={isUndo ? 'text-compensating' : 'text-faint'}>
          {isUndo ? '↶' : '▸'}
        </span>
        {isUndo && <span className="sr-only">undo of </span>}
        <bdi className="truncate">{view.step}</bdi>
        <span className={view.attempt > 1 ? 'text-[11px] text-faint' : 'sr-only'}>
          <span aria-hidden="true">×</span>
          <span className="sr-only">attempt </span>
          {view.attempt}
        </span>
        {view.by !== undefined && <span className="text-[11px] text-faint max-sm:hidden">{view.by}</span>}
      </span>
      <span className="relative h-4 flex-1 overflow-hidden">
        {backOffFrom !== undefined && isSeen(backOffFrom, scheduledAt) && (
          <span className="backing-off absolute top-1.5 h-1" style={piece(backOffFrom, scheduledAt)} />
        )}
        {queued > 0 && isSeen(scheduledAt, startedAt) && (
          <span className="absolute top-1.5 h-1 bg-wait" style={piece(scheduledAt, startedAt)} />
        )}
        {!isAhead && isSeen(startedAt, end) && (
          <span
            className={`absolute top-0.5 h-3 min-w-[3px] rounded-sm ${ink} ${isUndo ? 'undoing' : ''} ${bar.isExact ? '' : 'opacity-60'}`}
            style={{
              ...piece(startedAt, end),
              maxWidth: '100%',
              translate: end >= from + width ? '-1px' : '0',
            }}
          />
        )}
        {isAhead && isSeen(scheduledAt, scheduledAt) && (
          <span
            className="absolute top-0.5 h-3 w-0.5 bg-running"
            style={{ left: `calc(${((scheduledAt - from) / width) * 100}% - 2px)` }}
          />
        )}
      </span>
      <span className="w-24 shrink-0 truncate text-right text-[12px] text-soft max-sm:w-16">
        {view.state === 'succeeded' ? (
          <>
            <span className="sr-only">{word} after </span>
            {span(took)}
          </>
        ) : (
          word
        )}
      </span>
    </button>
  )
}

function Sums({ bars }: { bars: readonly Bar[] }) {
  const { count, atWorkMs, queuedMs, backOffMs } = sumsOf(bars)
  return (
    <span>
      {count} {count === 1 ? 'attempt' : 'attempts'} · {span(atWorkMs)} under way · {span(queuedMs)} in the
      queue
      {backOffMs > 0 && ` · ${span(backOffMs)} backing off`}
    </span>
  )
}

function Legend() {
  return (
    <p className="flex flex-wrap gap-x-4 px-3 py-2 text-[11px] text-faint">
      {(
        [
          ['done', 'bg-completed'],
          ['failed', 'bg-failed'],
          ['rejected', 'bg-stuck'],
          ['uncertain', 'bg-compensating'],
          ['under way', 'bg-running'],
          ['waiting', 'bg-thread'],
          ['in the queue', 'bg-wait'],
          ['back-off', 'backing-off'],
        ] as const
      ).map(([name, ink]) => (
        <span key={name} className="inline-flex items-center gap-1.5">
          <span className={`inline-block h-2 w-3 rounded-sm ${ink}`} aria-hidden="true" />
          {name}
        </span>
      ))}
      <span>▸ action, ↶ undo</span>
    </p>
  )
}

// --- One of them ---------------------------------------------------------------------------------------------------

function Detail({ saga, bar }: { saga: Saga; bar: Bar }) {
  const [wantsAll, setWantsAll] = useState(false)
  const { view: listed } = bar
  const whole = useQuery({
    ...wholeAttemptsQuery(saga.sagaId, saga.version, listed.step, listed.direction),
    enabled: wantsAll,
  })
  const view =
    whole.data?.find(
      ({ seq, attempt, state }) => seq === listed.seq && attempt === listed.attempt && state === listed.state,
    ) ?? listed
  const { request } = view
  return (
    <div className="space-y-3 bg-sunk px-4 py-3">
      <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 gap-y-1">
        <Fact name="scheduled">{view.scheduledAt && momentOf(view.scheduledAt)}</Fact>
        <Fact name="began">
          {view.startedAt && momentOf(view.startedAt)}
          {view.queuedMs !== undefined && view.queuedMs > 0 && (
            <span className="text-soft"> after {span(view.queuedMs)} in the queue</span>
          )}
        </Fact>
        <Fact name="ended">
          {view.endedAt && momentOf(view.endedAt)}
          {view.tookMs !== undefined && <span className="text-soft"> after {span(view.tookMs)}</span>}
          {view.by !== undefined && (
            <span className="text-soft">, told by {view.by === 'child' ? 'its saga' : `a ${view.by}`}</span>
          )}
        </Fact>
        <Fact name={view.waiting === undefined ? 'next attempt' : 'at the latest'}>
          {view.nextAt && momentOf(view.nextAt)}
        </Fact>
        <Fact name="waits for">
          {view.waiting &&
            (view.waiting.for === 'signal' ? (
              <>
                the signal <bdi className="font-mono text-[12px]">{view.waiting.signal}</bdi>
              </>
            ) : view.waiting.for === 'saga' ? (
              'its own saga'
            ) : (
              `its ${view.waiting.for}`
            ))}
        </Fact>
        <Fact name="saga">
          {view.child && (
            <Link
              to="/sagas/$sagaId"
              params={{ sagaId: view.child }}
              className="text-link font-mono text-[12px]"
            >
              {view.child}
            </Link>
          )}
        </Fact>
        <Fact name="worker">
          {view.worker && <span className="font-mono text-[12px] break-all">{view.worker}</span>}
        </Fact>
        <Fact name="key">
          {view.idempotencyKey && (
            <>
              <span className="font-mono text-[12px] break-all">{view.idempotencyKey}</span>{' '}
              <Copy text={view.idempotencyKey} what="the idempotency key" />
            </>
          )}
        </Fact>
      </dl>
      {view.error !== undefined && (
        <Part title={view.error.code} tone="text-stuck">
          <pre dir="auto" className="json max-h-72 overflow-auto whitespace-pre-wrap">
            {view.error.message}
          </pre>
        </Part>
      )}
      {request !== undefined && (
        <Part title="Sent">
          {request.method !== undefined && (
            <p className="json">
              <span className="font-semibold">{request.method}</span>{' '}
              {request.service !== undefined && <span className="text-faint">{request.service} </span>}
              <bdi>{request.url}</bdi>
            </p>
          )}
          {Object.entries(request.headers ?? {}).map(([name, value]) => (
            <p key={name} className="json">
              <span className="text-faint">{name}: </span>
              <bdi>{value}</bdi>
            </p>
          ))}
          {request.body !== undefined && <Json value={request.body} />}
          {request.input !== undefined && <Json value={request.input} />}
          {request.result !== undefined && (
            <>
              <p className="mt-2 text-[12px] text-faint">what its action gave</p>
              <Json value={request.result} />
            </>
          )}
          {request.failure !== undefined && (
            <>
              <p className="mt-2 text-[12px] text-faint">why it is undone</p>
              <Json value={request.failure} />
            </>
          )}
        </Part>
      )}
      {view.result !== undefined && (
        <Part title="Result">
          <Json value={view.result} />
        </Part>
      )}
      {view.probes !== undefined && (
        <Part title="Asked what became of it">
          <Json value={view.probes} />
        </Part>
      )}
      {view.omitted !== undefined && (
        <p className="flex flex-wrap items-center gap-3">
          <span className="text-soft">The {view.omitted.join(' and the ')} is large and not shown here.</span>
          <Button disabled={whole.isFetching} onClick={() => setWantsAll(true)}>
            {whole.isFetching ? 'Fetching …' : 'Show it'}
          </Button>
        </p>
      )}
      {whole.isError && <Wrong error={whole.error} />}
    </div>
  )
}

/** To the millisecond: attempts are short. */
function momentOf(at: string): string {
  return new Date(at).toLocaleString(undefined, {
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    fractionalSecondDigits: 3,
  })
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  const parts = [children].flat()
  if (parts.every((part) => part === undefined || part === false || part === '')) return null
  return (
    <>
      <dt className="text-faint">{name}</dt>
      <dd className="min-w-0">{children}</dd>
    </>
  )
}

function Part({ title, tone = '', children }: { title: string; tone?: string; children: React.ReactNode }) {
  return (
    <section>
      <h3 className={`mb-0.5 text-[12px] font-semibold ${tone}`}>
        <bdi>{title}</bdi>
      </h3>
      {children}
    </section>
  )
}
