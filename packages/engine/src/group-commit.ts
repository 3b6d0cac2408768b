import {
  type CommitAnswer,
  type Commits,
  createGatherer,
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

export function createGroupCommit(commits: Commits): GroupCommit {
  return createGatherer({
    lanes: commits.lanes,
    maxItems: MAX_ROWS,
    maxBytes: MAX_BYTES,
    bytesOf: roughBytes,
    flush: (transitions, lane) => commits.commit(transitions, lane),
  })
}

/** Good enough to keep a flush from growing huge: the state's values, the entry's value, and a round sum for the rest. */
function roughBytes({ state, entry }: Transition): number {
  const value = entry.kind === 'attemptSucceeded' ? entry.resultBytes : 500
  return 1_000 + state.bytes.inline + value
}
