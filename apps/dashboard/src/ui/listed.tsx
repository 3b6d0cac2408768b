import type { ReactNode } from 'react'
import { Loading, Title, Wrong } from './told.tsx'

/** Numbers stand at the right. */
type Column = string | { number: string }

/** A page with all there are of something: while they are fetched, when that went wrong, when there are none, and in a table. */
export function Listed<T>({
  title,
  aside,
  query: { data, error, isPending },
  none,
  columns,
  children,
}: {
  title: string
  aside?: ReactNode
  query: { data: readonly T[] | undefined; error: unknown; isPending: boolean }
  none: ReactNode
  columns: readonly Column[]
  children: (item: T) => ReactNode
}) {
  return (
    <>
      <Title aside={aside}>{title}</Title>
      {isPending && <Loading />}
      {error !== null && <Wrong error={error} />}
      {data?.length === 0 && none}
      {data !== undefined && data.length > 0 && (
        <div className="sheet overflow-x-auto">
          <Table columns={columns} items={data}>
            {children}
          </Table>
        </div>
      )}
    </>
  )
}

export function Table<T>({
  columns,
  items,
  children,
}: {
  columns: readonly Column[]
  items: readonly T[]
  children: (item: T) => ReactNode
}) {
  return (
    <table className="data stacked" style={labelsOf(columns)}>
      <thead>
        <tr>
          {columns.map((column) =>
            typeof column === 'string' ? (
              <th key={column}>{column}</th>
            ) : (
              <th key={column.number} className="!text-right">
                {column.number}
              </th>
            ),
          )}
        </tr>
      </thead>
      <tbody>{items.map(children)}</tbody>
    </table>
  )
}

/** Where there is no room for columns each cell says itself what it is (style.css). */
function labelsOf(columns: readonly Column[]): Record<string, string> {
  const names = columns.map((column) => (typeof column === 'string' ? column : column.number))
  return Object.fromEntries(names.map((name, index) => [`--column-${index + 1}`, `"${name}"`]))
}
