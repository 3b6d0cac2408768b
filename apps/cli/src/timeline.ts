import type { HistoryItem } from '@backstitch/sdk'

/** What one entry of a saga's history says to a person. */
export type Moment = {
  mark: '✓' | '↩' | '✗' | '!' | '·'
  what: string
  tookMs?: number | undefined
  who?: string | undefined
  note?: string | undefined
}

/** One saga's history, entry by entry as it is written. A step's time runs from when its attempt was scheduled. */
export class Timeline {
  readonly #nameOf: (worker: string) => string
  #begun = new Map<string, { attempt: number; at: number }>()

  constructor(nameOf: (worker: string) => string) {
    this.#nameOf = nameOf
  }

  /** Nothing for what needs no line: the start, which the story tells itself, and the loss of a lease, told where it happens. */
  read(item: HistoryItem): Moment[] {
    const step = 'step' in item && item.step !== undefined ? item.step : undefined
    const begun = step === undefined ? undefined : this.#begun.get(step)
    const told = momentOf(item)
    const moment = told && {
      ...told,
      tookMs: isEnd(item) && begun !== undefined ? Math.max(0, Date.parse(item.at) - begun.at) : undefined,
      who: item.worker === null ? undefined : this.#nameOf(item.worker),
    }
    this.#note(item)
    return [...(moment === undefined ? [] : [moment]), ...skippedIn(item)]
  }

  #note(item: HistoryItem): void {
    const attempts = 'to' in item ? item.to.attempts : undefined
    if (attempts === undefined) return
    const at = Date.parse(item.at)
    // A step's way back begins anew.
    const earlier = 'to' in item && item.to.status === 'compensating' ? undefined : this.#begun
    this.#begun = new Map(
      Object.entries(attempts).map(([step, attempt]) => {
        const known = earlier?.get(step)
        return [step, known?.attempt === attempt ? known : { attempt, at }]
      }),
    )
  }
}

function momentOf(item: HistoryItem): Moment | undefined {
  switch (item.kind) {
    case 'sagaStarted':
    case 'leaseLost':
    case 'conditionChecked':
      return undefined
    case 'attemptSucceeded': {
      const asked = item.probes?.some(({ answer }) => answer === 'happened') === true
      const by =
        item.by === 'callback'
          ? 'called back'
          : asked
            ? 'the answer was lost; asked, it had happened'
            : undefined
      if (item.direction === 'action') return { mark: '✓', what: item.step, note: by }
      return {
        mark: '↩',
        what: item.step,
        note: item.by === 'child' ? 'undone, by a saga of its own' : 'undone',
      }
    }
    case 'attemptFailed': {
      const again = item.to.attempts?.[item.step] === item.attempt + 1
      const note = `${item.outcome}: ${item.error.message.replace(/^the participant answered /, '')}`
      return again
        ? { mark: '!', what: item.step, note: `${note}; will be tried again` }
        : { mark: '✗', what: item.step, note }
    }
    case 'attemptPending':
      return { mark: '·', what: item.step, note: 'is taken on, and will call back' }
    case 'childStarted':
      return item.direction === 'action'
        ? { mark: '·', what: item.step, note: `starts saga "${item.child.definition.name}"` }
        : undefined
    case 'signalReceived':
      return { mark: '✓', what: item.step, note: `signal "${item.signal}"` }
    case 'signalKept':
      return { mark: '·', what: 'signal', note: `"${item.signal}" is kept for its step` }
    case 'cancelRequested':
      return { mark: '✗', what: 'cancelled', note: item.reason }
    case 'parked':
      return { mark: '✗', what: 'parked', note: item.reason }
    default:
      return { mark: '·', what: item.kind, note: 'reason' in item ? item.reason : undefined }
  }
}

/** Steps that were passed over because of what this entry says. */
function skippedIn(item: HistoryItem): Moment[] {
  const skipped = 'to' in item ? (item.to.skipped ?? []) : []
  return skipped.map((what) => ({ mark: '·', what, note: 'is skipped: its condition is false' }))
}

function isEnd({ kind }: HistoryItem): boolean {
  return kind === 'attemptSucceeded' || kind === 'attemptFailed' || kind === 'signalReceived'
}
