import { begin, type Json, type SagaState, startedEntry } from '@backstitch/core'
import * as binary from './binary.ts'
import { DATABASE_NOW, type DatabaseClock } from './clock.ts'
import type { Registered } from './definitions.ts'
import { flushWithRecovery } from './flush.ts'
import { createGatherer, type Settled } from './gather.ts'
import { bucketOf, bucketOfKey, newSagaId } from './ids.ts'
import { createLane, type Lane, type LaneOptions, type Statement } from './lane.ts'

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

export type Starts = {
  /** Answers after the commit (S24). Starts that arrive together are one statement. */
  start(request: StartRequest): Promise<StartAnswer>
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
  state: SagaState
  stateJson: string
  entryJson: string
  at: number
}

/** A caller waits for the answer: after this long it is told to come back instead (503). */
const PATIENCE_MS = 8_000

export function createStarts(options: LaneOptions, clock: DatabaseClock): Starts {
  const lane = () => createLane({ ...options, joins: 'hash', silenceMs: PATIENCE_MS })
  const lanes = [lane(), lane()]

  const gatherer = createGatherer<NewRow, StartAnswer>({
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

  return {
    start: (request) => gatherer.submit(newRow(request, clock.now())),
    async find(request) {
      const startKey = startKeyOf(request)
      if (startKey === undefined) return undefined
      const holders = await holdersOf(laneOf(lanes, 0), [{ bucket: bucketOfKey(startKey), startKey }])
      const holder = holders.get(startKey)
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

function newRow(request: StartRequest, now: number): NewRow {
  const startKey = startKeyOf(request)
  const sagaId = newSagaId(now, startKey === undefined ? undefined : bucketOfKey(startKey))
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
  const { kind: _, at: __, ...body } = entry
  const state = begin(entry)
  return {
    bucket: bucketOf(sagaId),
    sagaId,
    startKey,
    request,
    state,
    stateJson: JSON.stringify(state),
    entryJson: JSON.stringify(body),
    at: now,
  }
}

export const INSERT: Statement = {
  name: 'start',
  text: `
WITH i AS (
  SELECT * FROM unnest($1::int2[], $2::uuid[], $3::text[], $4::int4[], $5::text[], $6::jsonb[], $7::text[], $8::text[],
                       $9::text[], $10::text[], $11::text[], $12::jsonb[], $13::bool[], $14::timestamptz[], $15::json[])
    AS i(bucket, saga_id, definition_name, definition_version, queue, state, start_key, request_hash,
         saga_key, idempotency_key, correlation_id, tags, past_pivot, at, entry)
), s AS (
  INSERT INTO sagas AS s (bucket, saga_id, definition_name, definition_version, queue, status, state, start_key, request_hash,
                          saga_key, idempotency_key, correlation_id, tags, past_pivot, created_at, updated_at, due_at)
  SELECT bucket, saga_id, definition_name, definition_version, queue, 'running', state, start_key, request_hash,
         saga_key, idempotency_key, correlation_id, tags, past_pivot, at, at, now()
  FROM i
  ON CONFLICT DO NOTHING
  RETURNING s.bucket, s.saga_id
), h AS (
  INSERT INTO saga_history AS h (bucket, saga_id, seq, at, kind, epoch, worker, body)
  SELECT i.bucket, i.saga_id, 1, i.at, 'sagaStarted', 0, NULL, i.entry
  FROM i JOIN s ON s.bucket = i.bucket AND s.saga_id = i.saga_id
)
SELECT s.saga_id, ${DATABASE_NOW} FROM s`,
}

/** Who holds the keys of the starts that inserted nothing. The limit keeps each key a look into the index, on a lane that joins by hash. */
export const HOLDERS: Statement = {
  name: 'start_holders',
  text: `
SELECT s.start_key, s.saga_id, s.request_hash
FROM unnest($1::int2[], $2::text[]) AS i(bucket, start_key)
CROSS JOIN LATERAL (
  SELECT start_key, saga_id, request_hash FROM sagas WHERE bucket = i.bucket AND start_key = i.start_key LIMIT 1
) s`,
}

async function send(lane: Lane, rows: NewRow[], clock: DatabaseClock): Promise<Settled<StartAnswer>[]> {
  const ordered = rows.toSorted(byKey)
  const sentAt = performance.now()
  const inserted = await lane.query(INSERT, [
    binary.int2Array(ordered.map(({ bucket }) => bucket)),
    binary.uuidArray(ordered.map(({ sagaId }) => sagaId)),
    binary.textArray(ordered.map(({ request }) => request.definition.name)),
    binary.int4Array(ordered.map(({ request }) => request.definition.version)),
    binary.textArray(ordered.map(({ request }) => request.definition.queue)),
    binary.jsonbArray(ordered.map(({ stateJson }) => stateJson)),
    binary.textArray(ordered.map(({ startKey }) => startKey)),
    binary.textArray(ordered.map(({ request }) => request.requestHash)),
    binary.textArray(ordered.map(({ request }) => request.sagaKey)),
    binary.textArray(ordered.map(recordedKey)),
    binary.textArray(ordered.map(({ request }) => request.correlationId)),
    binary.jsonbArray(ordered.map(({ request }) => JSON.stringify(request.tags ?? {}))),
    binary.boolArray(ordered.map(({ state }) => state.pivot !== undefined)),
    binary.timestamptzArray(ordered.map(({ at }) => at)),
    binary.jsonArray(ordered.map(({ entryJson }) => entryJson)),
  ])
  const started = new Set(inserted.map(([sagaId]) => sagaId))
  const now = inserted[0]?.[1]
  if (typeof now === 'number') clock.saw(now, sentAt)
  if (started.size === rows.length)
    return rows.map(({ sagaId, state }) => done({ is: 'started', sagaId, state }))

  const left = rows.filter(({ sagaId, startKey }) => !started.has(sagaId) && startKey !== undefined)
  const holders = await holdersOf(lane, left)
  return rows.map((row) => {
    const { sagaId, state, startKey, request } = row
    // Without a key only this very row can have been in the way: an earlier try of this statement did arrive (F30).
    if (started.has(sagaId) || startKey === undefined) return done({ is: 'started', sagaId, state })
    const holder = holders.get(startKey)
    if (holder === undefined)
      return {
        ok: false,
        error: new Error('the saga that held this start key was deleted meanwhile; start again'),
      }
    if (holder.sagaId === sagaId) return done({ is: 'started', sagaId, state })
    return done(held(holder, request.requestHash))
  })
}

type Holder = { sagaId: string; hash: string }

/** By start key. */
async function holdersOf(
  lane: Lane,
  keys: Pick<NewRow, 'bucket' | 'startKey'>[],
): Promise<Map<string, Holder>> {
  const found = await lane.query(HOLDERS, [
    binary.int2Array(keys.map(({ bucket }) => bucket)),
    binary.textArray(keys.map(({ startKey }) => startKey)),
  ])
  return new Map(
    found.map(([key, sagaId, hash]) => [String(key), { sagaId: String(sagaId), hash: String(hash) }]),
  )
}

function held({ sagaId, hash }: Holder, requestHash: string): Found {
  return { is: hash === requestHash ? 'repeated' : 'conflict', sagaId }
}

/** Two processes that insert the same keys do so in the same order, or each would wait for the other (F36). */
function byKey(a: NewRow, b: NewRow): number {
  if (a.bucket !== b.bucket || a.startKey === b.startKey) return a.bucket - b.bucket
  return (a.startKey ?? '') < (b.startKey ?? '') ? -1 : 1
}

function done(answer: StartAnswer): Settled<StartAnswer> {
  return { ok: true, answer }
}
