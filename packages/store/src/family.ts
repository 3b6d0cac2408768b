import { begin, isTerminal, type SagaState, type Started, tellingsOf } from '@backstitch/core'
import { arraysOf, columnsOf, namesOf, unnested } from './columns.ts'
import { bodyOf } from './entry-body.ts'
import { bucketOf } from './ids.ts'
import { wordsOf } from './lists.ts'
import type { Letter } from './mailbox.ts'

/**
 * Sagas that start sagas (M4, M5). A child lives in its parent's bucket; its start rides in the commit of its parent, and
 * the news of its end in its own.
 */
export type Family = {
  /** To the saga that waits for this one, or to those that this one has started. One that has ended takes none. */
  letters?: readonly { to: string; letter: Letter }[] | undefined
  starts?: readonly ChildStart[] | undefined
}

export type ChildStart = {
  entry: Started
  definition: { name: string; version: number; queue: string }
  parentSagaId: string
  /** The parent's version before the commit: with its id, a key that no other start has. */
  parentVersion: number
}

/** A transition's place in its batch, from 1, and what happens beside it. */
export type Linked = { n: number; family: Family }

/**
 * A row can be changed once in a statement: whoever is written to in a batch must not have a transition of his own in it.
 * And those with a family keep to themselves, so that all others go by the shorter statement.
 */
export function splitByFamily<T extends { lease: { sagaId: string }; family?: Family | undefined }>(
  transitions: readonly T[],
): T[][] {
  const plain = transitions.filter(({ family }) => family === undefined)
  if (plain.length === transitions.length) return [plain]
  const batches: { transitions: T[]; senders: Set<string>; recipients: Set<string> }[] = []
  for (const transition of transitions) {
    const { family, lease } = transition
    if (family === undefined) continue
    const to = (family.letters ?? []).map((letter) => letter.to)
    let batch = batches.find(
      ({ senders, recipients }) =>
        !recipients.has(lease.sagaId) && !to.some((recipient) => senders.has(recipient)),
    )
    if (batch === undefined) {
      batch = { transitions: [], senders: new Set(), recipients: new Set() }
      batches.push(batch)
    }
    batch.transitions.push(transition)
    batch.senders.add(lease.sagaId)
    for (const recipient of to) batch.recipients.add(recipient)
  }
  return [...(plain.length > 0 ? [plain] : []), ...batches.map((batch) => batch.transitions)]
}

type LinkedLetter = { n: number; to: string; letter: Letter }
const letter = columnsOf<LinkedLetter>()
const LETTERS = [
  letter.int8('n', ({ n }) => n),
  letter.int2('bucket', ({ to }) => bucketOf(to)),
  letter.uuid('saga_id', ({ to }) => to),
  letter.jsonb('body', (one) => JSON.stringify(one.letter)),
]

type LinkedStart = ChildStart & { n: number; state: SagaState }
const start = columnsOf<LinkedStart>()
const STARTS = [
  start.int8('n', ({ n }) => n),
  start.int2('bucket', ({ entry }) => bucketOf(entry.sagaId)),
  start.uuid('saga_id', ({ entry }) => entry.sagaId),
  start.text('definition_name', ({ definition }) => definition.name),
  start.int4('definition_version', ({ definition }) => definition.version),
  start.text('queue', ({ definition }) => definition.queue),
  start.text('status', ({ state }) => state.status),
  start.jsonb('state', ({ state }) => JSON.stringify(state)),
  start.text('start_key', ({ parentSagaId, parentVersion }) => `child:${parentSagaId}:${parentVersion}`),
  start.text('correlation_id', ({ entry }) => entry.correlationId),
  start.bool('past_pivot', ({ state }) => state.pivot !== undefined),
  start.uuid('parent_saga_id', ({ parentSagaId }) => parentSagaId),
  start.timestamptz('at', ({ entry }) => Date.parse(entry.at)),
  start.json('entry', ({ entry }) => bodyOf(entry)),
  start.json('events', ({ entry, state }) =>
    JSON.stringify(tellingsOf({ was: undefined, state, entry, seq: 1 }, { steps: false })),
  ),
]

/**
 * What follows `u`, the rows that a commit has updated. Recipients are locked in one order, so that two commits that write
 * to the same sagas do not wait for each other (F36).
 */
export const relatives = (firstParameter: number) => `l AS (
  SELECT l.bucket, l.saga_id, l.body,
         row_number() OVER (PARTITION BY l.bucket, l.saga_id ORDER BY l.place) AS k,
         count(*) OVER (PARTITION BY l.bucket, l.saga_id) AS total
  FROM ${unnested(LETTERS, firstParameter)} WITH ORDINALITY AS l(${namesOf(LETTERS)}, place)
  JOIN u ON u.n = l.n
), r AS (
  SELECT s.bucket, s.saga_id, d.total FROM (SELECT DISTINCT bucket, saga_id, total FROM l) d
  JOIN sagas s ON s.bucket = d.bucket AND s.saga_id = d.saga_id AND s.ended_at IS NULL
  ORDER BY s.bucket, s.saga_id FOR UPDATE OF s
), p AS (
  UPDATE sagas s SET mail_seq = s.mail_seq + r.total, due_at = CASE WHEN s.owner IS NULL THEN now() END
  FROM r WHERE s.bucket = r.bucket AND s.saga_id = r.saga_id AND s.ended_at IS NULL
  RETURNING s.bucket, s.saga_id, s.mail_seq
), m AS (
  INSERT INTO saga_mail AS m (bucket, saga_id, seq, body)
  SELECT l.bucket, l.saga_id, p.mail_seq - l.total + l.k, l.body
  FROM l JOIN p ON p.bucket = l.bucket AND p.saga_id = l.saga_id
), c AS (
  SELECT c.* FROM ${unnested(STARTS, firstParameter + LETTERS.length)} AS c(${namesOf(STARTS)})
  JOIN u ON u.n = c.n
), cs AS (
  INSERT INTO sagas AS s (bucket, saga_id, definition_name, definition_version, queue, status, state, start_key, request_hash,
                          correlation_id, past_pivot, parent_saga_id, created_at, updated_at, due_at, failure_words)
  SELECT bucket, saga_id, definition_name, definition_version, queue, status, state, start_key, '',
         correlation_id, past_pivot, parent_saga_id, at, at, now(), ${wordsOf('state')} FROM c
), ch AS (
  INSERT INTO saga_history AS h (bucket, saga_id, seq, at, kind, epoch, worker, body)
  SELECT bucket, saga_id, 1, at, 'sagaStarted', 0, NULL, entry FROM c
), co AS (
  INSERT INTO events AS o (bucket, told)
  SELECT min(bucket), json_agg(events) FROM c HAVING count(*) > 0
)`

export function familyArrays(linked: readonly Linked[]): Buffer[] {
  const letters = linked.flatMap(({ n, family }) => (family.letters ?? []).map((one) => ({ n, ...one })))
  const starts = linked.flatMap(({ n, family }) =>
    (family.starts ?? []).map((start) => ({ n, ...start, state: stateOf(start) })),
  )
  return [...arraysOf(LETTERS, letters), ...arraysOf(STARTS, starts)]
}

/** A saga that has nothing to do is not started. */
function stateOf({ entry }: ChildStart): SagaState {
  const state = begin(entry)
  if (isTerminal(state.status)) throw new Error(`saga ${entry.sagaId} would end before it has begun`)
  return state
}
