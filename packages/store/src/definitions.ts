import { createHash } from 'node:crypto'
import {
  canonicalJson,
  Definition,
  type Json,
  queueOf,
  type ResolvedDefinition,
  resolveDefinition,
} from '@backstitch/core'
import { sql } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import { isUniqueViolation } from './failure.ts'
import { createGatherer } from './gather.ts'
import type { Lane, Statement } from './lane.ts'

/** A registered definition: what its author wrote, and what the engine made of it. */
export type Registered = {
  name: string
  version: number
  hash: string
  queue: string
  document: Definition
  /** The document as it was sent, without what reading it adds. */
  source: Readonly<Record<string, Json>>
  resolved: ResolvedDefinition
  createdAt: string
}

export type Definitions = {
  /**
   * The same content is the same version; other content is the next one (S26). The document is kept as its author sent
   * it, and must have passed `checkDefinition`.
   */
  register(document: Json): Promise<Registered & { created: boolean }>
  /** A version never changes, so it is read once and kept. */
  get(name: string, version: number): Promise<Registered | undefined>
  /** The highest version, read from the database each time (S26). Asked by many at once it is one statement. */
  latest(name: string): Promise<Registered | undefined>
  /** What `latest` has last found: by now there may be another (`Starts.startIfLatest`). */
  lastKnown(name: string): Registered | undefined
  /** The highest version of each, by name. `after` is the last name of the page before. */
  list(page: { after?: string | undefined; limit: number }): Promise<Registered[]>
  /** All versions of one, newest first. */
  versions(name: string, page: { before?: number | undefined; limit: number }): Promise<Registered[]>
}

/** Enough for every definition an installation is likely to use at once; the least recently used goes first. */
const KEPT = 2_000

export const LATEST: Statement = {
  name: 'latest_versions',
  text: `
SELECT n.name, d.version FROM unnest($1::text[]) AS n(name)
CROSS JOIN LATERAL (SELECT version FROM definitions WHERE name = n.name ORDER BY version DESC LIMIT 1) d`,
}

/** `lane` carries what each start asks; the rest is asked seldom. */
export function createDefinitions(database: Database, lane: Lane): Definitions {
  const kept = createKept()
  const lastKnown = createKept()

  const latestVersions = createGatherer<string, number | undefined>({
    lanes: 1,
    maxItems: 1_000,
    maxBytes: Number.POSITIVE_INFINITY,
    bytesOf: () => 1,
    async flush(names) {
      const found = await lane.query(LATEST, [[...new Set(names)]])
      const versions = new Map(found.map(([name, version]) => [String(name), Number(version)]))
      return names.map((name) => ({ ok: true, answer: versions.get(name) }))
    },
  })

  function keep(registered: Registered): Registered {
    kept.set(`${registered.name} ${registered.version}`, registered)
    return registered
  }

  async function get(name: string, version: number): Promise<Registered | undefined> {
    const known = kept.get(`${name} ${version}`)
    if (known !== undefined) return known
    const row = await database
      .selectFrom('definitions')
      .selectAll()
      .where('name', '=', name)
      .where('version', '=', version)
      .executeTakeFirst()
    return row && keep(decode(row))
  }

  async function findByHash(name: string, hash: string): Promise<Registered | undefined> {
    const row = await database
      .selectFrom('definitions')
      .selectAll()
      .where('name', '=', name)
      .where('hash', '=', hash)
      .executeTakeFirst()
    return row && keep(decode(row))
  }

  async function insertNext(
    definition: Definition,
    document: Json,
    hash: string,
  ): Promise<Registered | undefined> {
    const { name } = definition
    const { rows } = await sql<Row>`
      INSERT INTO definitions AS d (name, version, hash, queue, document)
      SELECT ${name}, coalesce(max(version), 0) + 1, ${hash}, ${queueOf(definition)}, ${JSON.stringify(document)}::jsonb
      FROM definitions WHERE name = ${name}
      ON CONFLICT (name, hash) DO NOTHING
      RETURNING d.*`.execute(database)
    return rows[0] && keep(decode(rows[0]))
  }

  return {
    get,

    async register(document) {
      const definition = Definition.parse(document)
      const hash = createHash('sha256').update(canonicalJson(document)).digest('hex')
      // Two that register at once may both pick the same number: the loser looks again.
      for (;;) {
        const known = await findByHash(definition.name, hash)
        if (known !== undefined) return { ...known, created: false }
        try {
          const created = await insertNext(definition, document, hash)
          if (created !== undefined) return { ...created, created: true }
        } catch (error) {
          if (!isUniqueViolation(error)) throw error
        }
      }
    },

    async latest(name) {
      const version = await latestVersions.submit(name)
      const found = version === undefined ? undefined : await get(name, version)
      if (found !== undefined) lastKnown.set(name, found)
      return found
    },

    lastKnown: (name) => lastKnown.get(name),

    async list({ after = '', limit }) {
      const rows = await database
        .selectFrom('definitions')
        .selectAll()
        .distinctOn('name')
        .where('name', '>', after)
        .orderBy('name')
        .orderBy('version', 'desc')
        .limit(limit)
        .execute()
      return rows.map(decode)
    },

    async versions(name, { before, limit }) {
      let query = database.selectFrom('definitions').selectAll().where('name', '=', name)
      if (before !== undefined) query = query.where('version', '<', before)
      return (await query.orderBy('version', 'desc').limit(limit).execute()).map(decode)
    },
  }
}

function createKept() {
  const kept = new Map<string, Registered>()

  function set(key: string, registered: Registered): void {
    kept.delete(key)
    kept.set(key, registered)
    const [oldest] = kept.keys()
    if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest)
  }

  return {
    set,
    get(key: string): Registered | undefined {
      const registered = kept.get(key)
      if (registered !== undefined) set(key, registered)
      return registered
    },
  }
}

type Row = { name: string; version: number; hash: string; queue: string; document: unknown; created_at: Date }

/** Passed on as it is: what came out of a jsonb column is JSON. */
const Source = z.custom<Readonly<Record<string, Json>>>(
  (value) => typeof value === 'object' && value !== null,
)

function decode(row: Row): Registered {
  const document = Definition.parse(row.document)
  return {
    name: row.name,
    version: row.version,
    hash: row.hash,
    queue: row.queue,
    document,
    source: Source.parse(row.document),
    resolved: resolveDefinition(document, row.version),
    createdAt: row.created_at.toISOString(),
  }
}
