import { instantText } from '@backstitch/core'
import * as binary from './binary.ts'

/**
 * The rows that a statement carries, said once: each column's name, its type and where its value comes from. Many rows
 * travel as one array for each column. One row travels as plain values: taking arrays apart costs Postgres and us more than
 * the row itself (docs/reference/performance.md).
 */
export type Column<Row> = {
  name: string
  type: keyof typeof TYPES
  array(rows: readonly Row[]): Buffer
  value(row: Row): Value
}

type Value = string | number | boolean | undefined

const TYPES = {
  int2: binary.int2Array,
  int4: binary.int4Array,
  int8: binary.int8Array,
  bool: binary.boolArray,
  uuid: binary.uuidArray,
  text: binary.textArray,
  json: binary.jsonArray,
  jsonb: binary.jsonbArray,
  timestamptz: binary.timestamptzArray,
}

/** Makers of columns of rows of one kind. */
export function columnsOf<Row>() {
  const maker =
    <T extends Value>(type: keyof typeof TYPES, toArray: (values: T[]) => Buffer) =>
    (name: string, of: (row: Row) => T): Column<Row> => ({
      name,
      type,
      array: (rows) => toArray(rows.map(of)),
      value: of,
    })
  return {
    int2: maker<number>('int2', TYPES.int2),
    int4: maker<number>('int4', TYPES.int4),
    int8: maker<number>('int8', TYPES.int8),
    bool: maker<boolean>('bool', TYPES.bool),
    uuid: maker<string | undefined>('uuid', TYPES.uuid),
    text: maker<string | undefined>('text', TYPES.text),
    json: maker<string | undefined>('json', TYPES.json),
    jsonb: maker<string>('jsonb', TYPES.jsonb),
    /** In milliseconds since 1970. */
    timestamptz: (name: string, of: (row: Row) => number | undefined): Column<Row> => ({
      name,
      type: 'timestamptz',
      array: (rows) => TYPES.timestamptz(rows.map(of)),
      value: (row) => {
        const ms = of(row)
        return ms === undefined ? undefined : instantText(ms)
      },
    }),
  }
}

export function arraysOf<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): Buffer[] {
  return columns.map((column) => column.array(rows))
}

export function valuesOf<Row>(columns: readonly Column<Row>[], row: Row): Value[] {
  return columns.map((column) => column.value(row))
}

/** The rows of a statement as `i`, numbered by `n` from 1: for a FROM, with the parameters from $1 on. */
export function manyRows(columns: readonly Column<never>[]): string {
  return `${unnested(columns, 1)} WITH ORDINALITY AS i(${namesOf(columns)}, n)`
}

/** With the parameters from `first` on. */
export function unnested(columns: readonly Column<never>[], first: number): string {
  const arrays = columns.map(({ type }, index) => `$${first + index}::${type}[]`)
  return `unnest(${arrays.join(', ')})`
}

export function namesOf(columns: readonly Column<never>[]): string {
  return columns.map(({ name }) => name).join(', ')
}

/** Columns by name, as the parameters that a statement of one row has them in, from $1 on. */
export function parametersOf(columns: readonly Column<never>[]): (names: string) => string {
  const parameters = new Map(columns.map(({ name, type }, index) => [name, `$${index + 1}::${type}`]))
  return (names) =>
    names.replaceAll(/\w+/g, (name) => {
      const parameter = parameters.get(name)
      if (parameter === undefined) throw new Error(`there is no column "${name}"`)
      return parameter
    })
}

export function oneRow(columns: readonly Column<never>[]): string {
  const values = columns.map(({ name, type }, index) => `$${index + 1}::${type} AS ${name}`)
  return `(SELECT ${values.join(', ')}, 1 AS n) AS i`
}
