import type { HistoryItem } from '@backstitch/sdk'

/** What one entry of a saga's history says to a person. */
export type Moment = {
  mark: '✓' | '↩' | '✗' | '!' | '·'
  what: string
  tookMs: number | undefined
  who: string | undefined
  note: string | undefined
}

/**
 * `before` is the entry that came before: a step's time runs from there. Undefined for what needs no line: the start,
 * which the story tells itself, and the loss of a lease, which is told where it happens.
 */
export function momentOf(
  item: HistoryItem,
  before: HistoryItem | undefined,
  nameOf: (worker: string) => string,
): Moment | undefined {
  const tookMs = before === undefined ? undefined : Math.max(0, Date.parse(item.at) - Date.parse(before.at))
  const who = item.worker === null ? undefined : nameOf(item.worker)
  switch (item.kind) {
    case 'sagaStarted':
    case 'leaseLost':
      return undefined
    case 'attemptSucceeded':
      return item.direction === 'action'
        ? { mark: '✓', what: item.step, tookMs, who, note: undefined }
        : { mark: '↩', what: item.step, tookMs, who, note: 'undone' }
    case 'attemptFailed': {
      const again = item.to.attempts?.[item.step] === item.attempt + 1
      const note = `${item.outcome}: ${item.error.message.replace(/^the participant answered /, '')}`
      return again
        ? { mark: '!', what: item.step, tookMs, who, note: `${note}; will be tried again` }
        : { mark: '✗', what: item.step, tookMs, who, note }
    }
    case 'parked':
      return { mark: '✗', what: 'parked', tookMs, who, note: item.reason }
    default: {
      const note = 'reason' in item ? item.reason : undefined
      return { mark: '·', what: item.kind, tookMs: undefined, who, note }
    }
  }
}
