import { MAX_VALUE_BYTES, type SagaState } from '@backstitch/core'
import {
  type CommitAnswer,
  type Commits,
  createGatherer,
  type Family,
  type Gatherer,
  type Transition,
} from '@backstitch/store'

/** Rows and bytes of one flush: more would make the next one wait longer than it saves. */
const MAX_ROWS = 500
const MAX_BYTES = 1024 * 1024

/**
 * A transition waits for its commit before the next step is dispatched, always. But commits of different sagas travel
 * together (idea 3 of ARCHITECTURE.md).
 */
export type GroupCommit = Gatherer<Transition, CommitAnswer>

export function createGroupCommit(commits: Pick<Commits, 'lanes' | 'commit'>): GroupCommit {
  return createGatherer({
    lanes: commits.lanes,
    maxItems: MAX_ROWS,
    maxBytes: MAX_BYTES,
    bytesOf: roughBytes,
    flush: (transitions, lane) => commits.commit(transitions, lane),
  })
}

/** Good enough to keep a flush from growing huge: the values in it, and a round sum for the rest. */
function roughBytes({ state, entry, family }: Transition): number {
  const value = entry.kind === 'attemptSucceeded' ? entry.resultBytes : 500
  return 1_000 + state.bytes.inline + value + (family === undefined ? 0 : familyBytes(state, family))
}

/** A saga that undoes another one begins with all the results of that; one that has completed tells its own. */
function familyBytes({ bytes }: SagaState, { letters = [], starts = [] }: Family): number {
  const told = letters.map(({ letter }) =>
    letter.kind === 'childReport' && letter.result !== undefined
      ? Math.min(bytes.total, MAX_VALUE_BYTES)
      : 500,
  )
  const begun = starts.map(({ entry }) => 1_000 + 2 * entry.inputBytes + (entry.undo?.resultsBytes ?? 0))
  return [...told, ...begun].reduce((sum, one) => sum + one, 0)
}
