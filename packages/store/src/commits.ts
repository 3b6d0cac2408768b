import {
  type Entry,
  isTerminal,
  type SagaState,
  type Status,
  sanitizeText,
  tellingsOf,
} from '@backstitch/core'
import { DATABASE_NOW, type DatabaseClock } from './clock.ts'
import { arraysOf, type Column, columnsOf, manyRows, oneRow, valuesOf } from './columns.ts'
import { bodyOf } from './entry-body.ts'
import { type Family, familyArrays, relatives, splitByFamily } from './family.ts'
import { flushWithRecovery } from './flush.ts'
import { createGatherer, type Settled } from './gather.ts'
import { createLane, type Lane, type LaneOptions, type Statement } from './lane.ts'
import { wordsOf } from './lists.ts'
import { tellParent } from './mailbox.ts'
import { type Listeners, outsideTelling, tellOutbox } from './outbox.ts'

/** The only writer of state. Every write names epoch and version, and changes nothing if either has moved on (S16, S17a). */

/** A worker's right to one saga: valid while the row still has this epoch. */
export type Lease = { bucket: number; sagaId: string; epoch: number }

export type Transition = {
  lease: Lease
  /** The version before: the sequence number of the last entry this transition was decided on. */
  version: number
  /** The last letter that has been read. */
  mailSeen: number
  /** The status before it; as it is after it, if absent. */
  was?: Status | undefined
  state: SagaState
  entry: Entry
  /**
   * What becomes of the lease: kept, or given up with the saga due at an instant (milliseconds since the epoch), or given
   * up for good because it has ended or waits for a person.
   */
  after: { is: 'keep' } | { is: 'due'; at: number } | { is: 'rest' }
  /** What happens to other sagas in the same commit (M4). */
  family?: Family | undefined
}

/** What a worker knows of a saga's mail: the last letter it has acted on, and the last it has heard of. */
export type KnownMail = { seen: number; known: number }

type Release = { lease: Lease; delayMs: number; mail: KnownMail }

export type CommitAnswer =
  | { is: 'committed'; version: number; mailSeq: number }
  /** This would have ended the saga, or dispatched its pivot, and there is mail to read first (S25). Nothing was written. */
  | { is: 'unreadMail'; mailSeq: number }
  /** Somebody else has the saga, or it has ended. Nothing was written. */
  | { is: 'leaseLost' }

export type Commits = {
  /** One statement for many sagas. Each transition is answered on its own; a bad one fails alone. */
  commit(transitions: Transition[], lane: number): Promise<Settled<CommitAnswer>[]>
  /**
   * Gives a lease up without a word in the history: nothing was dispatched, or nothing can be done here. Letters that changed
   * nothing count as read, and those that could not be read wait with the saga; what has come since makes it due at once (M1).
   */
  release(lease: Lease, delayMs: number, mail?: KnownMail): Promise<void>
  /** For a saga about which nothing can be decided: it goes to a person as it is (S29). `mailKnown`: the last letter heard of. */
  park(lease: Lease, reason: string, mailKnown: number): Promise<void>
  readonly lanes: number
  close(): Promise<void>
}

const MAX_REASON_BYTES = 1024

/** Two flushes may be under way: the database syncs one while the other is being built. */
const LANES = 2

export function createCommits(
  options: LaneOptions & { workerId: string; leaseMs: number; listeners: Listeners },
  clock: DatabaseClock,
): Commits {
  // So that a second connection can be tried before the lease is over.
  const impatient = { ...options, silenceMs: Math.min(15_000, options.leaseMs / 2) }
  const lanes = Array.from({ length: LANES }, () => createLane(impatient))
  const others = createLane(impatient)
  // After a whole lease without the database the leases are gone, and with them the right to write.
  const mayWait = (sinceMs: number) => !closed && sinceMs < options.leaseMs
  let closed = false

  const releases = createGatherer<Release, undefined>({
    lanes: 1,
    maxItems: 1_000,
    maxBytes: 1_000,
    bytesOf: () => 1,
    flush: (some) =>
      flushWithRecovery(
        some,
        async (batch) => {
          await others.query(RELEASE, arraysOf(RELEASED, batch))
          return batch.map(() => ({ ok: true, answer: undefined }))
        },
        mayWait,
      ),
  })

  return {
    lanes: LANES,

    commit: (transitions, number) => {
      const lane = lanes[number]
      if (lane === undefined) throw new Error(`there is no lane ${number}`)
      return flushWithRecovery(
        transitions,
        async (some) => {
          const answers = new Map<Transition, Settled<CommitAnswer>>()
          for (const batch of splitByFamily(some)) {
            const settled = await send(lane, batch, options, clock)
            batch.forEach((transition, index) => {
              const answer = settled[index]
              if (answer !== undefined) answers.set(transition, answer)
            })
          }
          return some.map(
            (transition) => answers.get(transition) ?? { ok: true, answer: { is: 'leaseLost' } },
          )
        },
        mayWait,
      )
    },

    release: (lease, delayMs, mail = { seen: 0, known: 0 }) => releases.submit({ lease, delayMs, mail }),

    async park(lease, reason, mailKnown) {
      // An error's message must not be able to stop its own recording (F60).
      const message = sanitizeText(reason, MAX_REASON_BYTES)
      await others.query(PARK, [
        lease.bucket,
        lease.sagaId,
        lease.epoch,
        options.workerId,
        message,
        mailKnown,
      ])
    },

    async close() {
      closed = true
      await Promise.all([...lanes, others].map((lane) => lane.close()))
    },
  }
}

const lease = columnsOf<{ lease: Lease }>()
const LEASE = [
  lease.int2('bucket', ({ lease: { bucket } }) => bucket),
  lease.uuid('saga_id', ({ lease: { sagaId } }) => sagaId),
  lease.int8('epoch', ({ lease: { epoch } }) => epoch),
]
const released = columnsOf<Release>()
const RELEASED = [
  ...LEASE,
  released.int8('delay_ms', ({ delayMs }) => Math.round(delayMs)),
  released.int8('mail_seen', ({ mail }) => mail.seen),
  released.int8('mail_known', ({ mail }) => mail.known),
]
const to = columnsOf<Transition>()
const VERSION = to.int8('version', ({ version }) => version)
/** `at` is the state's `updatedAt` too: one instant, in the row and in its entry. */
const ENTRY = [
  to.timestamptz('at', ({ entry }) => Date.parse(entry.at)),
  to.text('kind', ({ entry }) => entry.kind),
  to.json('entry', ({ entry }) => bodyOf(entry)),
]
const COLUMNS = [
  ...LEASE,
  VERSION,
  to.int8('mail_seen', ({ mailSeen }) => mailSeen),
  to.text('status', ({ state }) => state.status),
  to.jsonb('state', ({ state }) => JSON.stringify(state)),
  to.bool('keep', ({ after }) => after.is === 'keep'),
  to.bool('ends', ({ state }) => isTerminal(state.status)),
  to.timestamptz('due_at', ({ after }) => (after.is === 'due' ? after.at : undefined)),
  to.int4('leases_lost', ({ state }) => state.leasesLost ?? 0),
  to.text('failed_step', ({ state }) => state.failedStep),
  to.bool('past_pivot', ({ state }) => state.pivot !== undefined),
  to.bool('paused', ({ state }) => state.paused !== undefined),
  to.bool('gated', isGated),
  ...ENTRY,
]
const EVENTS = columnsOf<string | undefined>().json('events', (events) => events)
const WITH_EVENTS = [...COLUMNS, EVENTS]
const workerAfter = (columns: readonly unknown[]) => `$${columns.length + 1}::uuid`

/**
 * What an update decides by looking at the row: mail that came meanwhile makes a saga due at once, whatever it was going to
 * wait for (M1). Everything else was decided before.
 */
const commitOf = (columns: readonly Column<never>[], rowsOf: typeof manyRows) => `
WITH u AS (
  UPDATE sagas s SET
    version = s.version + 1,
    status = i.status,
    state = i.state,
    owner = CASE WHEN i.keep THEN s.owner END,
    due_at = CASE WHEN i.keep OR i.ends THEN NULL WHEN s.mail_seq > i.mail_seen THEN now() ELSE i.due_at END,
    leases_lost = i.leases_lost,
    mail_seen = i.mail_seen,
    failed_step = i.failed_step,
    past_pivot = i.past_pivot,
    paused = i.paused,
    updated_at = i.at,
    ended_at = CASE WHEN i.ends THEN i.at END,
    clean = CASE WHEN i.status IN ('failed', 'cancelled') THEN i.state->'uncertainSteps' = '[]' END,
    failure_words = CASE WHEN s.failure_words IS NULL AND i.status <> s.status AND i.state ? 'failureReason'
                         THEN ${wordsOf('i.state')} ELSE s.failure_words END
  FROM ${rowsOf(columns)}
  WHERE s.bucket = i.bucket AND s.saga_id = i.saga_id
    AND s.epoch = i.epoch AND s.version = i.version AND s.ended_at IS NULL
    AND (NOT i.gated OR s.mail_seq = i.mail_seen)
  RETURNING i.n, s.bucket, s.saga_id, s.version, i.at, i.kind, s.epoch, i.entry, s.mail_seq${columns === WITH_EVENTS ? ', i.events' : ''}
), h AS (
  INSERT INTO saga_history AS h (bucket, saga_id, seq, at, kind, epoch, worker, body)
  SELECT bucket, saga_id, version, at, kind, epoch, ${workerAfter(columns)}, entry FROM u
)${columns === WITH_EVENTS ? `, ${tellOutbox}` : ''}`
const ANSWER = `SELECT n, mail_seq, ${DATABASE_NOW} FROM u`

export const COMMIT: Statement = { name: 'commit', text: `${commitOf(WITH_EVENTS, manyRows)}\n${ANSWER}` }

/** Of one there is nothing to tell, mostly: then there is nothing in the statement about it. */
export const COMMIT_ONE: Statement = { name: 'commit_one', text: `${commitOf(COLUMNS, oneRow)}\n${ANSWER}` }

export const COMMIT_ONE_TOLD: Statement = {
  name: 'commit_one_told',
  text: `${commitOf(WITH_EVENTS, oneRow)}\n${ANSWER}`,
}

/** The same, with letters to other sagas and the start of new ones, each only if its own transition is carried out. */
export const COMMIT_WITH_FAMILY: Statement = {
  name: 'commit_with_family',
  text: `${commitOf(WITH_EVENTS, manyRows)}, ${relatives(WITH_EVENTS.length + 2)}\n${ANSWER}`,
}

/** Where the rows that did not come back stand now, and whether the entry that was to be written is there. */
export const WHERE_NOW: Statement = {
  name: 'where_now',
  text: `
SELECT i.n, s.version = i.version, s.mail_seq, h.at = i.at AND h.kind = i.kind AND h.body::jsonb = i.entry::jsonb
FROM ${manyRows([...LEASE, VERSION, ...ENTRY])}
JOIN sagas s ON s.bucket = i.bucket AND s.saga_id = i.saga_id AND s.epoch = i.epoch
LEFT JOIN saga_history h ON h.bucket = i.bucket AND h.saga_id = i.saga_id AND h.seq = i.version + 1 AND h.epoch = i.epoch`,
}

async function send(
  lane: Lane,
  transitions: Transition[],
  { workerId, listeners }: { workerId: string; listeners: Listeners },
  clock: DatabaseClock,
): Promise<Settled<CommitAnswer>[]> {
  const sentAt = performance.now()
  const events = transitions.map((one) => eventsOf(one, listeners))
  const isTold = events.some((told) => told !== undefined)
  if (isTold) listeners.onNews()
  const linked = transitions.flatMap(({ family }, index) =>
    family === undefined ? [] : [{ n: index + 1, family }],
  )
  const [only, ...others] = transitions
  const isOne = only !== undefined && others.length === 0 && linked.length === 0
  const values = isOne
    ? [...valuesOf(COLUMNS, only), ...(isTold ? events : []), workerId]
    : [...arraysOf(COLUMNS, transitions), EVENTS.array(events), workerId]
  const oneOnly = isTold ? COMMIT_ONE_TOLD : COMMIT_ONE
  const statement = isOne ? oneOnly : COMMIT
  const rows =
    linked.length === 0
      ? await lane.query(statement, values)
      : await lane.query(COMMIT_WITH_FAMILY, [...values, ...familyArrays(linked)])
  const answers: (CommitAnswer | undefined)[] = transitions.map(() => undefined)
  for (const [n, mailSeq] of rows) {
    const transition = transitions[Number(n) - 1]
    if (transition === undefined) continue
    answers[Number(n) - 1] = { is: 'committed', version: transition.version + 1, mailSeq: Number(mailSeq) }
  }
  const now = rows[0]?.[2]
  if (typeof now === 'number') clock.saw(now, sentAt)
  if (rows.length < transitions.length) await explain(lane, transitions, answers)
  return answers.map((answer) => ({ ok: true, answer: answer ?? { is: 'leaseLost' } }))
}

async function explain(
  lane: Lane,
  transitions: Transition[],
  answers: (CommitAnswer | undefined)[],
): Promise<void> {
  const missing = [...transitions.keys()].filter((index) => answers[index] === undefined)
  const asked = missing.flatMap((index) => transitions[index] ?? [])
  const rows = await lane.query(WHERE_NOW, [...arraysOf([...LEASE, VERSION, ...ENTRY], asked)])
  for (const [n, isAsBefore, mailSeq, isWritten] of rows) {
    const index = missing[Number(n) - 1]
    const transition = index === undefined ? undefined : transitions[index]
    if (index === undefined || transition === undefined) continue
    // An earlier try carried it out though its answer was lost (F30): its very entry stands in the history.
    if (isWritten === true) {
      answers[index] = { is: 'committed', version: transition.version + 1, mailSeq: Number(mailSeq) }
    } else if (isAsBefore === true && Number(mailSeq) > transition.mailSeen) {
      answers[index] = { is: 'unreadMail', mailSeq: Number(mailSeq) }
    }
  }
}

function eventsOf(
  { state, was = state.status, entry, version }: Transition,
  { steps }: Listeners,
): string | undefined {
  const told = tellingsOf({ was, state, entry, seq: version + 1 }, { steps })
  return told.length === 0 ? undefined : JSON.stringify(told)
}

/** What must not happen over unread mail: the end of a saga, and the dispatch of its pivot (S25). */
export function isGated({ state, entry }: Pick<Transition, 'state' | 'entry'>): boolean {
  return isTerminal(state.status) || entry.to.pivot === 'dispatched'
}

/**
 * Raises the epoch: what the releasing worker may still have under way is stale from now on. A row that is held is one
 * without a due time; asking for its owner instead would lead the planner to the index of all that is held.
 */
export const RELEASE: Statement = {
  name: 'release',
  text: `
UPDATE sagas s SET
  owner = NULL,
  epoch = s.epoch + 1,
  mail_seen = greatest(s.mail_seen, i.mail_seen),
  due_at = CASE WHEN (s.status = 'stuck' OR s.paused) AND s.mail_seq <= greatest(s.mail_seen, i.mail_seen) THEN NULL
                WHEN s.mail_seq > greatest(s.mail_seen, i.mail_seen, i.mail_known) THEN now()
                ELSE now() + i.delay_ms * interval '1 millisecond' END
FROM ${manyRows(RELEASED)}
WHERE s.bucket = i.bucket AND s.saga_id = i.saga_id AND s.epoch = i.epoch AND s.due_at IS NULL AND s.ended_at IS NULL`,
}

/**
 * Reads of the state, which may be anything, only which way it went, and since when it is stuck if it was already: nothing has
 * been begun from then on. Mail stays unread: whoever can decide about the saga one day reads it first. The saga is due for what
 * its worker did not know of, and which may be just what mends it, but not again for what it was parked over.
 */
export const PARK: Statement = {
  name: 'park',
  text: `
WITH u AS (
  UPDATE sagas s SET
    version = s.version + 1, epoch = s.epoch + 1, status = 'stuck', owner = NULL, leases_lost = 0,
    due_at = CASE WHEN s.mail_seq > $6::int8 THEN now() END,
    updated_at = date_trunc('milliseconds', now()),
    state = CASE WHEN jsonb_typeof(s.state) = 'object' THEN s.state || jsonb_build_object(
      'status', 'stuck', 'updatedAt', before.at, 'stuck', stuck.it) ELSE s.state END
  FROM (
    SELECT status, status = 'compensating' OR (status = 'stuck' AND state #>> '{stuck,direction}' = 'compensation') AS back,
      CASE WHEN status = 'stuck' THEN state #>> '{stuck,since}' END AS since,
      to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at
    FROM sagas WHERE bucket = $1::int2 AND saga_id = $2::uuid FOR UPDATE
  ) AS before, LATERAL (
    SELECT jsonb_build_object('step', NULL, 'direction', CASE WHEN before.back THEN 'compensation' ELSE 'action' END,
      'reason', 'undecidable', 'message', $5::text,
      'since', CASE WHEN before.since ~ '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' THEN before.since ELSE before.at END) AS it
  ) AS stuck
  WHERE s.bucket = $1::int2 AND s.saga_id = $2::uuid AND s.epoch = $3::int8 AND s.ended_at IS NULL
  RETURNING s.bucket, s.saga_id, s.version, s.updated_at, s.epoch, s.parent_saga_id, stuck.it, 1 AS n,
    ${outsideTelling('stuck', "jsonb_build_object('stuck', stuck.it)")} AS events
), ${tellParent('stuck')}, ${tellOutbox}
INSERT INTO saga_history AS h (bucket, saga_id, seq, at, kind, epoch, worker, body)
SELECT bucket, saga_id, version, updated_at, 'parked', epoch, $4::uuid,
       jsonb_build_object('reason', $5::text, 'to', jsonb_build_object('status', 'stuck', 'stuck', it)) FROM u`,
}
