import { begin, type Json, type SagaState, type Started, startedEntry, tellingsOf } from '@backstitch/core'
import * as binary from './binary.ts'
import type { Claimed } from './claims.ts'
import { DATABASE_NOW, type DatabaseClock } from './clock.ts'
import { arraysOf, columnsOf, manyRows, parametersOf, valuesOf } from './columns.ts'
import type { Lease } from './commits.ts'
import type { Registered } from './definitions.ts'
import { bodyOf } from './entry-body.ts'
import { ConnectionLost, failureOf } from './failure.ts'
import { flushWithRecovery } from './flush.ts'
import { createGatherer, type Settled } from './gather.ts'
import { bucketOf, bucketOfKey, newSagaId } from './ids.ts'
import { createLane, type Lane, type LaneOptions, type Statement } from './lane.ts'
import { tellOutboxOf } from './outbox.ts'

/** A start that has been checked: what is left is to make it durable. */
export type StartRequest = {
  definition: Registered
  input: Json
  /** Length of the input as JSON in UTF-8. */
  inputBytes: number
  sagaKey?: string | undefined
  idempotencyKey?: string | undefined
  /** Of a start that a schedule makes (S38): in the place of both. No caller can choose such a key. */
  scheduleKey?: string | undefined
  /** What tells a repetition from a different request under the same key (S23). */
  requestHash: string
  correlationId?: string | undefined
  traceparent?: string | undefined
  tags?: Record<string, string> | undefined
  deadlineMs?: number | undefined
}

export type StartAnswer =
  | { is: 'started'; sagaId: string; state: SagaState }
  /** The same request under the same key has started this saga before. */
  | { is: 'repeated'; sagaId: string }
  /** The key belongs to a saga that was started by another request. */
  | { is: 'conflict'; sagaId: string }

type Found = Exclude<StartAnswer, { is: 'started' }>

/** Its definition is not, or no longer, the highest version of its name. Nothing was started. */
export type Outdated = { is: 'outdated' }

/**
 * A slot that a worker in this process keeps for a saga: what is started in it belongs to that worker from its first commit
 * on, without a claim. The worker may be dead without knowing: then the saga is due like any other.
 */
export type Slot = {
  workerId: string
  /** From now on the row may be there, leased: whoever finds it without this answer must wait for it. */
  expect(sagaId: string): void
  /** It was started and is the worker's. */
  fill(claimed: Claimed): void
  /** It was not, or nobody can tell. */
  leave(): void
}

export type Starts = {
  /** Answers after the commit (S24). Starts that arrive together are one statement. */
  start(request: StartRequest, slot?: Slot): Promise<StartAnswer>
  /**
   * The same, but only with the highest version of its definition: the statement that starts it sees whether it is (S26). What has been
   * started before is found in any case (S23).
   */
  startIfLatest(request: StartRequest, slot?: Slot): Promise<StartAnswer | Outdated>
  /**
   * Whether this start has been made before, without making it: a repetition must find its saga (S23) also when a newer
   * version of the definition would no longer take it.
   */
  find(
    request: Pick<StartRequest, 'definition' | 'sagaKey' | 'idempotencyKey' | 'scheduleKey' | 'requestHash'>,
  ): Promise<Found | undefined>
  readonly waiting: number
  close(): Promise<void>
}

type NewRow = {
  bucket: number
  sagaId: string
  startKey: string | undefined
  request: StartRequest
  onlyIfLatest: boolean
  /** An answer to it was lost: it may have been made, or may yet be. */
  inDoubt: boolean
  state: SagaState
  stateJson: string
  entry: Started
  entryJson: string
  at: number
  workerId: string | undefined
}

type Inserted = { answer: StartAnswer | Outdated; lease: Lease | undefined }

/** A caller waits for the answer: after this long it is told to come back instead (503). */
const PATIENCE_MS = 8_000

export function createStarts(options: LaneOptions, clock: DatabaseClock): Starts {
  const lane = () => createLane({ ...options, joins: 'hash', silenceMs: PATIENCE_MS })
  const lanes = [lane(), lane()]

  const gatherer = createGatherer<NewRow, Inserted>({
    lanes: lanes.length,
    maxItems: 500,
    maxBytes: 4 * 1024 * 1024,
    bytesOf: (row) => row.stateJson.length + row.entryJson.length,
    flush: (rows, number) =>
      flushWithRecovery(
        rows,
        (some) => send(laneOf(lanes, number), some, clock),
        (sinceMs) => sinceMs < PATIENCE_MS,
      ),
  })

  async function make(
    request: StartRequest,
    slot: Slot | undefined,
    onlyIfLatest: boolean,
  ): Promise<Inserted['answer']> {
    try {
      const row = newRow(request, { now: clock.now(), workerId: slot?.workerId, onlyIfLatest })
      slot?.expect(row.sagaId)
      const { answer, lease } = await gatherer.submit(row)
      if (lease !== undefined) slot?.fill(claimedAs(lease, row))
      else slot?.leave()
      return answer
    } catch (error) {
      slot?.leave()
      throw error
    }
  }

  return {
    async start(request, slot) {
      const answer = await make(request, slot, false)
      if (answer.is === 'outdated') throw new Error('a start under any version was refused for its version')
      return answer
    },
    startIfLatest: (request, slot) => make(request, slot, true),
    async find(request) {
      const startKey = startKeyOf(request)
      if (startKey === undefined) return undefined
      const bucket = bucketOfKey(startKey)
      const holders = await holdersOf(laneOf(lanes, 0), [{ bucket, startKey, sagaId: undefined }])
      const [holder] = holders.values()
      return holder && held(holder, request.requestHash)
    },
    get waiting() {
      return gatherer.waiting
    },
    async close() {
      await gatherer.settled()
      await Promise.all(lanes.map((lane) => lane.close()))
    },
  }
}

export function laneOf(lanes: readonly Lane[], number: number): Lane {
  const lane = lanes[number]
  if (lane === undefined) throw new Error(`there is no lane ${number}`)
  return lane
}

/** S23: the caller's own key for this definition, else the Idempotency-Key, else none. */
function startKeyOf({
  definition,
  sagaKey,
  idempotencyKey,
  scheduleKey,
}: Pick<StartRequest, 'definition' | 'sagaKey' | 'idempotencyKey' | 'scheduleKey'>): string | undefined {
  if (scheduleKey !== undefined) return `schedule:${scheduleKey}`
  if (sagaKey !== undefined) return `saga:${definition.name}:${sagaKey}`
  if (idempotencyKey !== undefined) return `request:${idempotencyKey}`
  return undefined
}

function recordedKey({ request, startKey }: NewRow): string | undefined {
  return request.scheduleKey === undefined ? request.idempotencyKey : startKey
}

function newRow(
  request: StartRequest,
  { now, workerId, onlyIfLatest }: { now: number; workerId: string | undefined; onlyIfLatest: boolean },
): NewRow {
  const startKey = startKeyOf(request)
  const bucket = startKey === undefined ? undefined : bucketOfKey(startKey)
  const sagaId = newSagaId(now, bucket)
  const entry = startedEntry({
    sagaId,
    definition: request.definition.resolved,
    input: request.input,
    inputBytes: request.inputBytes,
    now,
    deadlineMs: request.deadlineMs,
    correlationId: request.correlationId,
    traceparent: request.traceparent,
  })
  const state = begin(entry)
  return {
    bucket: bucketOf(sagaId),
    sagaId,
    startKey,
    request,
    onlyIfLatest,
    inDoubt: false,
    state,
    stateJson: JSON.stringify(state),
    entry,
    entryJson: bodyOf(entry),
    at: now,
    workerId,
  }
}

/** As a claim would have found it. */
function claimedAs(lease: Lease, { state, request: { definition } }: NewRow): Claimed {
  const { name, version, queue } = definition
  return {
    lease,
    queue,
    definition: { name, version },
    version: 1,
    state,
    leasesLost: 0,
    mailSeq: 0,
    mailSeen: 0,
  }
}

const of = columnsOf<NewRow>()
const COLUMNS = [
  of.int2('bucket', ({ bucket }) => bucket),
  of.uuid('saga_id', ({ sagaId }) => sagaId),
  of.text('definition_name', ({ request }) => request.definition.name),
  of.int4('definition_version', ({ request }) => request.definition.version),
  of.text('queue', ({ request }) => request.definition.queue),
  of.jsonb('state', ({ stateJson }) => stateJson),
  of.text('start_key', ({ startKey }) => startKey),
  of.text('request_hash', ({ request }) => request.requestHash),
  of.text('saga_key', ({ request }) => request.sagaKey),
  of.text('idempotency_key', recordedKey),
  of.text('correlation_id', ({ request }) => request.correlationId),
  of.jsonb('tags', ({ request }) => JSON.stringify(request.tags ?? {})),
  of.bool('past_pivot', ({ state }) => state.pivot !== undefined),
  of.timestamptz('at', ({ at }) => at),
  of.json('entry', ({ entryJson }) => entryJson),
  of.uuid('worker', ({ workerId }) => workerId),
  of.json('events', ({ state, entry }) =>
    JSON.stringify(tellingsOf({ was: undefined, state, entry, seq: 1 }, { steps: false })),
  ),
  of.bool('only_if_latest', ({ onlyIfLatest }) => onlyIfLatest),
]

/**
 * Leased to a worker only if nobody has declared it dead, just as a claim (S17). `values` says where the values of columns are: those
 * of one row are the parameters themselves (docs/adr/0024-starts.md).
 */
const startOf = ({ given = '', rows, values, inserted }: StartRows) => `
WITH ${given}s AS (
  INSERT INTO sagas AS s (bucket, saga_id, definition_name, definition_version, queue, status, state, start_key, request_hash,
                          saga_key, idempotency_key, correlation_id, tags, past_pivot, created_at, updated_at,
                          owner, epoch, due_at)
  SELECT ${values('bucket, saga_id, definition_name, definition_version, queue')}, 'running', ${values('state, start_key, request_hash')},
         ${values('saga_key, idempotency_key, correlation_id, tags, past_pivot, at, at')},
         w.worker_id, CASE WHEN w.worker_id IS NULL THEN 0 ELSE 1 END, CASE WHEN w.worker_id IS NULL THEN now() END
  FROM ${rows} LEFT JOIN LATERAL (
    SELECT worker_id FROM workers WHERE worker_id = ${values('worker')} AND ended_at IS NULL LIMIT 1
  ) w ON true
  WHERE NOT ${values('only_if_latest')}
     OR ${values('definition_version')} = (SELECT max(version) FROM definitions WHERE name = ${values('definition_name')})
  ON CONFLICT DO NOTHING
  RETURNING s.bucket, s.saga_id, s.epoch
), h AS (
  INSERT INTO saga_history AS h (bucket, saga_id, seq, at, kind, epoch, worker, body)
  SELECT ${values('bucket, saga_id')}, 1, ${values('at')}, 'sagaStarted', 0, NULL, ${values('entry')} FROM ${inserted}
), ${tellOutboxOf(inserted, values('bucket'), values('events'))}
SELECT s.saga_id, ${DATABASE_NOW}, s.epoch FROM s`

type StartRows = { given?: string; rows: string; values: (columns: string) => string; inserted: string }

export const INSERT: Statement = {
  name: 'start',
  text: startOf({
    given: `i AS (SELECT * FROM ${manyRows(COLUMNS)}), `,
    rows: 'i',
    values: (columns) => columns.replaceAll(/\w+/g, 'i.$&'),
    inserted: 'i JOIN s USING (bucket, saga_id)',
  }),
}

export const INSERT_ONE: Statement = {
  name: 'start_one',
  text: startOf({ rows: '(SELECT) i', values: parametersOf(COLUMNS), inserted: 's' }),
}

/**
 * What is in the way of starts that inserted nothing: the saga under their key, or an earlier try of their own. The limits keep each a
 * look into an index, on a lane that joins by hash.
 */
export const HOLDERS: Statement = {
  name: 'start_holders',
  text: `
SELECT i.n, s.saga_id, s.request_hash
FROM unnest($1::int2[], $2::text[], $3::uuid[]) WITH ORDINALITY AS i(bucket, start_key, saga_id, n)
CROSS JOIN LATERAL (
  (SELECT saga_id, request_hash FROM sagas WHERE bucket = i.bucket AND start_key = i.start_key LIMIT 1)
  UNION ALL
  (SELECT saga_id, request_hash FROM sagas WHERE bucket = i.bucket AND saga_id = i.saga_id LIMIT 1)
  LIMIT 1
) s`,
}

async function send(lane: Lane, rows: NewRow[], clock: DatabaseClock): Promise<Settled<Inserted>[]> {
  const sentAt = performance.now()
  const inserted = await insert(lane, rows)
  const epochs = new Map(inserted.map(([sagaId, , epoch]) => [sagaId, Number(epoch)]))
  const now = inserted[0]?.[1]
  if (typeof now === 'number') clock.saw(now, sentAt)
  const left = rows.filter(({ sagaId }) => !epochs.has(sagaId))
  const holders = await holdersOf(lane, left)
  return rows.map((row) => {
    const { bucket, sagaId, state, request } = row
    const started = { is: 'started', sagaId, state } as const
    const epoch = epochs.get(sagaId)
    if (epoch !== undefined) return done(started, epoch > 0 ? { bucket, sagaId, epoch } : undefined)
    const holder = holders.get(row)
    if (holder === undefined) return notMade(row)
    // An earlier try of this statement did arrive (F30). If it is leased, its worker finds it among its leases.
    return done(holder.sagaId === sagaId ? started : held(holder, request.requestHash))
  })
}

/** The connection alone leaves a doubt behind it: what failed otherwise was not carried out. */
async function insert(lane: Lane, rows: NewRow[]): Promise<unknown[][]> {
  const [only] = rows
  try {
    return rows.length === 1 && only !== undefined
      ? await lane.query(INSERT_ONE, valuesOf(COLUMNS, only))
      : await lane.query(INSERT, arraysOf(COLUMNS, rows.toSorted(byKey)))
  } catch (error) {
    if (failureOf(error) === 'connection') for (const row of rows) row.inDoubt = true
    throw error
  }
}

function notMade({ onlyIfLatest, inDoubt }: NewRow): Settled<Inserted> {
  if (!onlyIfLatest)
    return {
      ok: false,
      error: new Error('the saga that held this start key was deleted meanwhile; start again'),
    }
  // An earlier try may yet arrive: with what the caller would start next it would be two sagas (F30).
  if (inDoubt)
    return {
      ok: false,
      error: new ConnectionLost(
        'a start whose answer was lost is outdated; whether it was made is not known',
      ),
    }
  return done({ is: 'outdated' })
}

type Holder = { sagaId: string; hash: string }
type Held = Pick<NewRow, 'bucket' | 'startKey'> & { sagaId: string | undefined }

async function holdersOf<Row extends Held>(lane: Lane, rows: readonly Row[]): Promise<Map<Row, Holder>> {
  const holders = new Map<Row, Holder>()
  if (rows.length === 0) return holders
  const found = await lane.query(HOLDERS, [
    binary.int2Array(rows.map(({ bucket }) => bucket)),
    binary.textArray(rows.map(({ startKey }) => startKey)),
    binary.uuidArray(rows.map(({ sagaId }) => sagaId)),
  ])
  for (const [n, sagaId, hash] of found) {
    const row = rows[Number(n) - 1]
    if (row !== undefined) holders.set(row, { sagaId: String(sagaId), hash: String(hash) })
  }
  return holders
}

function held({ sagaId, hash }: Holder, requestHash: string): Found {
  return { is: hash === requestHash ? 'repeated' : 'conflict', sagaId }
}

/** Two processes that insert the same keys do so in the same order, or each would wait for the other (F36). */
function byKey(a: NewRow, b: NewRow): number {
  if (a.bucket !== b.bucket || a.startKey === b.startKey) return a.bucket - b.bucket
  return (a.startKey ?? '') < (b.startKey ?? '') ? -1 : 1
}

function done(answer: Inserted['answer'], lease?: Lease): Settled<Inserted> {
  return { ok: true, answer: { answer, lease } }
}
