import { useMemo } from 'react'
import { differences } from './changes.ts'

const MOST = 100

/** What changes from one value to the other, a line for each place. */
export function Diff({ was, is, same }: { was: unknown; is: unknown; same: string }) {
  const all = useMemo(() => differences(was, is), [was, is])
  if (all.length === 0) return <p className="text-faint">{same}</p>
  return (
    <ul
      className="json max-h-72 space-y-1 overflow-auto rounded-md bg-sunk px-3 py-2"
      aria-label="What changes"
    >
      {all.slice(0, MOST).map((one) => (
        <li key={one.path}>
          <bdi className="font-semibold">{one.path === '' ? 'all of it' : one.path}</bdi>
          {'was' in one && (
            <p className="text-stuck">
              <span aria-hidden="true">− </span>
              <span className="sr-only">was </span>
              <bdi>{short(one.was)}</bdi>
            </p>
          )}
          {'is' in one && (
            <p className="text-completed">
              <span aria-hidden="true">+ </span>
              <span className="sr-only">is </span>
              <bdi>{short(one.is)}</bdi>
            </p>
          )}
        </li>
      ))}
      {all.length > MOST && <li className="text-faint">and {all.length - MOST} more</li>}
    </ul>
  )
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 400 ? `${text.slice(0, 400)} … (${text.length.toLocaleString()} characters)` : text
}
