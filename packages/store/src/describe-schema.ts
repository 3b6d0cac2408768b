import { sql } from 'kysely'
import type { Database } from './database.ts'

/**
 * The schema of a migrated database as SQL, read back from the catalogs: the same schema gives the same text, whatever
 * way led to it. `migrations/schema.sql` is this text, so that a migration shows in a review as what it changes.
 */
export async function describeSchema(database: Database): Promise<string> {
  const tables = await database.executeQuery<Table>(TABLES.compile(database))
  const domains = await database.executeQuery<{ text: string }>(DOMAINS.compile(database))
  const parts = tables.rows.map(({ name, options, columns, constraints, indexes, storage, comments }) => {
    const lines = [...columns, ...constraints].map((line) => `  ${line}`).join(',\n')
    const table = `CREATE TABLE ${name} (\n${lines}\n)${options === null ? '' : ` WITH (${options})`};`
    return [table, ...storage, ...indexes, ...comments].join('\n')
  })
  const others = await database.executeQuery<{ what: string }>(OTHERS.compile(database))
  return `${[...domains.rows.map(({ text }) => text), ...parts, ...others.rows.map(({ what }) => `-- also: ${what}`)].join('\n\n')}\n`
}

type Table = {
  name: string
  options: string | null
  columns: string[]
  constraints: string[]
  storage: string[]
  indexes: string[]
  comments: string[]
}

/** NOT NULL stands with its column; Postgres 18 calls it a constraint as well. */
const TABLES = sql<Table>`
SELECT
  c.relname AS name,
  (SELECT string_agg(option, ', ' ORDER BY option) FROM unnest(c.reloptions) AS option) AS options,
  ARRAY(
    SELECT concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                     CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                     'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
  ) AS columns,
  ARRAY(
    SELECT 'CONSTRAINT ' || quote_ident(n.conname) || ' ' || pg_get_constraintdef(n.oid)
    FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype <> 'n'
    ORDER BY array_position(ARRAY['p', 'u', 'f', 'c', 'x', 't'], n.contype::text), n.conname COLLATE "C"
  ) AS constraints,
  ARRAY(
    SELECT format('ALTER TABLE %I ALTER COLUMN %I SET STORAGE %s;', c.relname, a.attname,
                  CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> t.typstorage
    ORDER BY a.attnum
  ) AS storage,
  ARRAY(
    SELECT replace(pg_get_indexdef(i.indexrelid), ' ON ' || n.nspname || '.', ' ON ') || ';'
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid)
    ORDER BY x.relname COLLATE "C"
  ) AS indexes,
  ARRAY(
    SELECT '-- trigger: ' || pg_get_triggerdef(g.oid) FROM pg_trigger g
    WHERE g.tgrelid = c.oid AND NOT g.tgisinternal ORDER BY g.tgname
  ) AS comments
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND c.relname NOT LIKE 'kysely\_%'
ORDER BY c.relname COLLATE "C"`

const DOMAINS = sql<{ text: string }>`
SELECT format('CREATE DOMAIN %I AS %s', t.typname, format_type(t.typbasetype, t.typtypmod))
  || coalesce((SELECT string_agg(format(E'\\n  CONSTRAINT %I %s', n.conname, pg_get_constraintdef(n.oid)), '' ORDER BY n.conname COLLATE "C")
               FROM pg_constraint n WHERE n.contypid = t.oid AND n.contype <> 'n'), '') || ';' AS text
FROM pg_type t
WHERE t.typnamespace = current_schema()::regnamespace AND t.typtype = 'd'
ORDER BY t.typname COLLATE "C"`

/** What there should be none of (docs/adr/0002-buckets.md), so that it shows when somebody adds it. */
const OTHERS = sql<{ what: string }>`
SELECT what FROM (
  SELECT 'function ' || p.oid::regprocedure::text AS what FROM pg_proc p
  WHERE p.pronamespace = current_schema()::regnamespace
  UNION ALL
  SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'materialised view ' END || c.relname
  FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('S', 'v', 'm')
  UNION ALL
  SELECT 'type ' || t.typname FROM pg_type t
  WHERE t.typnamespace = current_schema()::regnamespace AND t.typtype IN ('e', 'r')
) AS other ORDER BY what COLLATE "C"`
