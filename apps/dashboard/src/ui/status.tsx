import type { Status } from '@backstitch/core'

/** Colour, shape and word say the same. */
const SHAPES: Record<Status, { mark: string; ink: string; means: string }> = {
  running: { mark: '▸', ink: 'text-running', means: 'going forward' },
  compensating: { mark: '◂', ink: 'text-compensating', means: 'being undone' },
  stuck: { mark: '■', ink: 'text-stuck', means: 'needs a person' },
  completed: { mark: '●', ink: 'text-completed', means: 'all of it done' },
  failed: { mark: '○', ink: 'text-failed', means: 'all of it undone' },
  cancelled: { mark: '◌', ink: 'text-cancelled', means: 'undone on request' },
  abandoned: { mark: '✕', ink: 'text-abandoned', means: 'closed by a person with something left' },
}
export const STATUSES: readonly Status[] = [
  'stuck',
  'compensating',
  'running',
  'completed',
  'failed',
  'cancelled',
  'abandoned',
]

export function StatusMark({ status, large = false }: { status: Status; large?: boolean }) {
  const { mark, ink, means } = SHAPES[status]
  return (
    <span
      className={`inline-flex items-center gap-1.5 font-medium whitespace-nowrap ${ink} ${large ? 'text-base' : ''}`}
      title={means}
    >
      <span aria-hidden="true" className="text-[0.85em] leading-none">
        {mark}
      </span>
      {status}
    </span>
  )
}

export function Unclean() {
  return (
    <span
      className="rounded border border-abandoned px-1 text-[11px] font-medium text-abandoned"
      title="An effect may be left that nobody could learn the truth about"
    >
      unclean
    </span>
  )
}

export function Paused() {
  return (
    <span className="rounded border border-compensating px-1 text-[11px] font-medium text-compensating">
      paused
    </span>
  )
}
