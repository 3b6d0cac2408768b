import { Name, type SagaFilter, Status } from '@backstitch/core'
import { type RawBuilder, sql } from 'kysely'
import type { Database } from './database.ts'
import { bucketOf, isSagaId } from './ids.ts'

/**
 * How a page of the list is found, whatever it is narrowed by and however many sagas there are (docs/adr/0020-lists.md).
 *
 * Most filters have an index in the order of the list: one scan for each status, merged, and read as far as the page needs.
 * What such a scan has to pass over is bounded: a page may then be short, and goes on where the scan ended. Keys, tags and
 * words come in no order: what they find is gathered and sorted if it is little; if it is much, the ordered scan meets it soon.
 */
export type Page<Row> = { rows: Row[]; last?: Place }

/** Where in the list a page ended. */
export type Place = { createdAt: string; sagaId: string }

/** What every row must have to be put in order. */
type Placed = { saga_id: string; created_at: Date }

export type Lists<Row extends Placed> = (
  filter: SagaFilter,
  page: { before?: Place | undefined; limit: number },
) => Promise<Page<Row>>

/** Rows that one statement looks at, and how long it may take: nobody scans for whoever has given up by then. */
export type Bounds = { scanned: number; firstScanned: number; gathered: number; patienceMs: number }
const BOUNDS: Bounds = { scanned: 5_000, firstScanned: 1_000, gathered: 5_000, patienceMs: 10_000 }

type Condition = RawBuilder<unknown>

/** What finds few sagas, in no order, each condition by an index of its own; `orMany`: or many, so that the newest are worth a look first. */
type Key = { anyOf: Condition[]; orMany: boolean }

/** A filter, in parts that are used differently. */
type Parts = {
  statuses: readonly Status[]
  /** The bounds in the list's order: these are what an index is entered and left at. */
  bounds: Condition[]
  definition: string | undefined
  failedStep: string | undefined
  paused: boolean
  unclean: boolean
  key: Key | undefined
  /** What no index says. */
  rest: Condition[]
}

/** What a failure is found by: the words of its reason, which is set once. */
export function wordsOf(state: string): string {
  return `strip(to_tsvector('simple', ${state}->>'failureReason'))`
}

export function createLists<Row extends Placed>(
  database: Database,
  columns: readonly string[],
  most = BOUNDS,
): Lists<Row> {
  const shown = sql.join(columns.map((column) => sql.ref(column)))
  // By the indexes, and read in their order as far as it is wanted, whatever the planner believes of the values.
  const settings = sql`SELECT
    set_config('statement_timeout', ${String(most.patienceMs)}, true),
    set_config('enable_seqscan', 'off', true),
    set_config('jit', 'off', true)`

  return async (filter, { before, limit }) => {
    const searches = filter.q === undefined ? [{}] : searchesOf(filter.q)
    return database.transaction().execute(async (tx) => {
      await settings.execute(tx)
      const pages: Page<Row>[] = []
      for (const search of searches) {
        const parts = partsOf(filter, search, before)
        if (parts !== undefined) pages.push(await pageOf(tx, parts, limit))
      }
      return mergeOf(pages, limit)
    })
  }

  async function pageOf(tx: Database, parts: Parts, limit: number): Promise<Page<Row>> {
    const { key } = parts
    if (key === undefined) return scanned(tx, parts, limit)
    if (key.orMany) {
      const page = await scanned(tx, parts, limit, most.firstScanned)
      if (page.rows.length === limit || page.last === undefined) return page
    }
    return (await gathered(tx, key, parts, limit)) ?? scanned(tx, parts, limit)
  }

  /** Undefined where there is more than may be gathered. */
  async function gathered(
    tx: Database,
    { anyOf }: Key,
    parts: Parts,
    limit: number,
  ): Promise<Page<Row> | undefined> {
    const fits = conditionOf({ ...parts, key: undefined })
    const found = anyOf.map(
      (is) =>
        sql`(SELECT bucket, saga_id, created_at, (${fits}) IS TRUE AS fits FROM sagas WHERE ${is} LIMIT ${most.gathered + 1})`,
    )
    const { rows } = await sql<Row & { gathered: number; saga_id: string | null }>`
      WITH g AS MATERIALIZED (
        ${sql.join(found, sql` UNION `)}
      )
      SELECT s.*, t.gathered FROM (SELECT count(*)::int AS gathered FROM g) t
      LEFT JOIN LATERAL (
        SELECT ${shown} FROM (
          SELECT bucket AS b, saga_id AS id FROM g WHERE fits ORDER BY created_at DESC, saga_id DESC LIMIT ${limit + 1}
        ) k JOIN sagas ON bucket = k.b AND saga_id = k.id
      ) s ON true
      ORDER BY s.created_at DESC, s.saga_id DESC`.execute(tx)
    if ((rows[0]?.gathered ?? 0) > most.gathered) return undefined
    return cut(
      rows.filter((row) => row.saga_id !== null),
      limit,
    )
  }

  async function scanned(
    tx: Database,
    parts: Parts,
    limit: number,
    mostScanned = most.scanned,
  ): Promise<Page<Row>> {
    const { ranges, rest } = rangesOf(parts)
    const order = sql`ORDER BY created_at DESC, saga_id DESC`
    const end = rest.length === 0 ? limit + 1 : mostScanned
    const scans = sql.join(
      ranges.map(
        (range) => sql`(SELECT * FROM sagas WHERE ${all([range, ...parts.bounds])} ${order} LIMIT ${end})`,
      ),
      sql` UNION ALL `,
    )
    if (rest.length === 0) {
      const { rows } = await sql<Row>`SELECT ${shown} FROM (${scans}) r ${order} LIMIT ${end}`.execute(tx)
      return cut(rows, limit)
    }
    // The last that was looked at comes back in any case: there the next page begins.
    const { rows } = await sql<Row & { fits: boolean; n: number }>`
      SELECT ${shown}, fits, n FROM (
        SELECT ${shown}, (${all(rest)}) IS TRUE AS fits, (row_number() OVER (${order}))::int AS n
        FROM (${scans}) r ${order} LIMIT ${end}
      ) r WHERE fits OR n = ${end} ${order} LIMIT ${limit + 1}`.execute(tx)
    const page = cut(
      rows.filter(({ fits }) => fits),
      limit,
    )
    const last = rows.at(-1)
    return page.last === undefined && last?.n === end ? { rows: page.rows, last: placeOf(last) } : page
  }
}

/** The newest of all sagas. */
export function newest(columns: readonly string[], limit: number): RawBuilder<unknown> {
  const shown = sql.join(columns.map((column) => sql.ref(column)))
  const order = sql`ORDER BY created_at DESC, saga_id DESC LIMIT ${limit}`
  const scans = Status.options.map(
    (status) => sql`(SELECT ${shown} FROM sagas WHERE status = ${sql.lit(status)} ${order})`,
  )
  return sql`SELECT ${shown} FROM (${sql.join(scans, sql` UNION ALL `)}) r ${order}`
}

/** What a filter says, as one condition for each row: for statements that gather all of it, and take their time. */
export function matching(filter: SagaFilter): RawBuilder<unknown> {
  const searches = filter.q === undefined ? [{}] : searchesOf(filter.q)
  const ways = searches.flatMap((search) => partsOf(filter, search, undefined) ?? [])
  return ways.length === 0
    ? sql`false`
    : sql`(${sql.join(
        ways.map((parts) => sql`(${conditionOf(parts)})`),
        sql` OR `,
      )})`
}

function conditionOf(parts: Parts): Condition {
  const { statuses, bounds, definition, failedStep, paused, unclean, key, rest } = parts
  return all([
    statusIn(statuses),
    ...bounds,
    ...equal('definition_name', definition),
    ...equal('failed_step', failedStep),
    ...(paused ? [sql`paused`] : []),
    ...(unclean ? [sql`NOT clean`] : []),
    ...(key === undefined ? [] : [either(key)]),
    ...rest,
  ])
}

/** One more than asked for tells that there is another page. */
function cut<Row extends Placed>(rows: readonly Row[], limit: number): Page<Row> {
  const page = rows.slice(0, limit)
  const end = page.at(-1)
  return { rows: page, ...(rows.length > limit && end !== undefined && { last: placeOf(end) }) }
}

/** Of several lists one: what lies beyond the place that one of them has been read to is for the next page. */
function mergeOf<Row extends Placed>(pages: readonly Page<Row>[], limit: number): Page<Row> {
  const [only, ...others] = pages
  if (only === undefined) return { rows: [] }
  if (others.length === 0) return only
  const ends = pages.flatMap(({ last }) => last ?? []).toSorted(byPlace)
  const [end] = ends
  const rows = [...new Map(pages.flatMap((page) => page.rows).map((row) => [row.saga_id, row])).values()]
    .filter((row) => end === undefined || byPlace(placeOf(row), end) <= 0)
    .toSorted((one, other) => byPlace(placeOf(one), placeOf(other)))
  return rows.length > limit ? cut(rows, limit) : { rows, ...(end && { last: end }) }
}

function placeOf({ created_at, saga_id }: Placed): Place {
  return { createdAt: created_at.toISOString(), sagaId: saga_id }
}

/** Newest first. */
function byPlace(one: Place, other: Place): number {
  if (one.createdAt !== other.createdAt) return one.createdAt > other.createdAt ? -1 : 1
  if (one.sagaId === other.sagaId) return 0
  return one.sagaId > other.sagaId ? -1 : 1
}

/** The ranges of one index that together are the list, and what is left to be looked at row by row. */
function rangesOf({ statuses, definition, failedStep, paused, unclean, key, rest }: Parts): {
  ranges: Condition[]
  rest: Condition[]
} {
  const others = [...(key === undefined ? [] : [either(key)]), ...rest]
  const few =
    failedStep !== undefined
      ? sql`failed_step = ${failedStep}`
      : unclean
        ? sql`NOT clean`
        : paused
          ? sql`paused`
          : undefined
  if (few !== undefined) {
    return {
      ranges: [few],
      rest: [
        ...(statuses.length < Status.options.length ? [statusIn(statuses)] : []),
        ...equal('definition_name', definition),
        ...(failedStep !== undefined && unclean ? [sql`NOT clean`] : []),
        ...(paused && (failedStep !== undefined || unclean) ? [sql`paused`] : []),
        ...others,
      ],
    }
  }
  return {
    ranges: statuses.map((status) =>
      definition === undefined
        ? sql`status = ${sql.lit(status)}`
        : sql`definition_name = ${definition} AND status COLLATE "C" = ${sql.lit(status)}`,
    ),
    rest: others,
  }
}

/** Undefined where nothing can be in the list. */
function partsOf(filter: SagaFilter, search: Search, before: Place | undefined): Parts | undefined {
  const definition = oneOf(filter.definition, search.definition)
  const failedStep = oneOf(filter.failedStep, search.failedStep)
  if (definition === false || failedStep === false) return undefined
  const { clean } = filter
  // Only these ends are clean or not.
  const possible: readonly Status[] = clean === undefined ? Status.options : ['failed', 'cancelled']
  const statuses = possible.filter((status) => filter.status?.includes(status) !== false)
  if (statuses.length === 0) return undefined
  const keys: Key[] = [
    ...equal('saga_key', filter.sagaKey).map((is) => ({ anyOf: [is], orMany: false })),
    ...(search.key === undefined ? [] : [search.key]),
    ...(filter.tags === undefined
      ? []
      : [{ anyOf: [sql`(tags @> ${JSON.stringify(filter.tags)}::jsonb AND tags <> '{}')`], orMany: true }]),
  ]
  return {
    statuses,
    bounds: [...boundsOf(filter, before), ...(search.bounds ?? [])],
    definition,
    failedStep,
    paused: filter.paused === true,
    unclean: clean === false,
    key: keys[0],
    rest: [
      ...keys.slice(1).map(either),
      ...(search.rest ?? []),
      ...(clean === true ? [sql`clean`] : []),
      ...(filter.paused === false ? [sql`NOT paused`] : []),
      ...(filter.version === undefined ? [] : [sql`definition_version = ${filter.version}`]),
      ...(filter.updatedBefore === undefined
        ? []
        : [sql`updated_at < ${new Date(filter.updatedBefore)}::timestamptz`]),
    ],
  }
}

/** At most one from above and one from below: of two an index is entered at one and reads on to the other. */
function boundsOf(
  { createdAfter, createdBefore, updatedBefore }: SagaFilter,
  before: Place | undefined,
): Condition[] {
  // What was not changed after an instant was not created after it either.
  const times = [createdBefore, updatedBefore].flatMap((time) => (time === undefined ? [] : Date.parse(time)))
  const latest = Math.min(...times)
  const above =
    before !== undefined && Date.parse(before.createdAt) < latest
      ? [sql`(created_at, saga_id) < (${before.createdAt}::timestamptz, ${before.sagaId}::uuid)`]
      : times.length > 0
        ? [sql`created_at < ${new Date(latest)}::timestamptz`]
        : []
  const below = createdAfter === undefined ? [] : [sql`created_at > ${new Date(createdAfter)}::timestamptz`]
  return [...above, ...below]
}

type Search = {
  key?: Key
  bounds?: Condition[]
  rest?: Condition[]
  definition?: string
  failedStep?: string
}

/** All that a text may stand for: each is a list of its own. */
function searchesOf(q: string): Search[] {
  const beginning = `${q.replaceAll(/[\\%_]/g, '\\$&')}%`
  const isName = Name.safeParse(q).success
  return [
    ...byId(q.toLowerCase()),
    {
      key: {
        anyOf: [
          sql`saga_key LIKE ${beginning}`,
          sql`correlation_id LIKE ${beginning}`,
          sql`(tags @@ ${`$.* == ${JSON.stringify(q)}`}::jsonpath AND tags <> '{}')`,
          sql`failure_words @@ plainto_tsquery('simple', ${q})`,
        ],
        orMany: true,
      },
    },
    ...(isName ? [{ definition: q }, { failedStep: q }] : []),
  ]
}

/** An id begins with the time of its creation, in milliseconds: the beginning of an id is a stretch of the list. */
function byId(q: string): Search[] {
  if (isSagaId(q))
    return [{ key: { anyOf: [sql`(bucket = ${bucketOf(q)} AND saga_id = ${q})`], orMany: false } }]
  const digits = q.replaceAll('-', '')
  const [first, last] = ['0', 'f'].map((rest) => dashed(digits.padEnd(32, rest)))
  if (digits.length < LEAST_DIGITS || !/^[0-9a-f]{8,31}$/.test(digits) || first?.startsWith(q) !== true)
    return []
  const [from, to] = [first, last].map((id = '') => Number.parseInt(id.replace('-', '').slice(0, 12), 16))
  if (from === undefined || to === undefined || to > LAST_INSTANT) return []
  return [
    {
      bounds: [
        sql`created_at >= ${new Date(from - CLOCKS_MS)}::timestamptz AND created_at <= ${new Date(to + CLOCKS_MS)}::timestamptz`,
      ],
      rest: [sql`saga_id >= ${first}::uuid AND saga_id <= ${last}::uuid`],
    },
  ]
}

/** Fewer name a stretch of more than a minute. */
const LEAST_DIGITS = 8
const CLOCKS_MS = 10
const LAST_INSTANT = 8.64e15 - CLOCKS_MS

function dashed(digits: string): string {
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** False where two that must be one are not. */
function oneOf(wanted: string | undefined, searched: string | undefined): string | undefined | false {
  if (wanted === undefined || searched === undefined) return wanted ?? searched
  return wanted === searched && wanted
}

function equal(column: string, value: string | undefined): Condition[] {
  return value === undefined ? [] : [sql`${sql.ref(column)} = ${value}`]
}

function either({ anyOf }: Key): Condition {
  return sql`(${sql.join(anyOf, sql` OR `)})`
}

function statusIn(statuses: readonly Status[]): Condition {
  return sql`status IN (${sql.join(statuses.map((status) => sql.lit(status)))})`
}

function all(conditions: readonly Condition[]): Condition {
  return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` AND `)
}
