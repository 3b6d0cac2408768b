import type { HistoryItem, Saga } from '@backstitch/core'
import { Json } from '../ui/json.tsx'

/** The input, and what each step added to the context, in the order in which it came. */
export function Context({ saga, history }: { saga: Saga; history: readonly HistoryItem[] }) {
  const came = history.flatMap((entry) =>
    entry.kind === 'signalReceived' || (entry.kind === 'attemptSucceeded' && entry.direction === 'action')
      ? [{ name: entry.step, at: entry.at }]
      : [],
  )
  const names = ['input', ...came.map(({ name }) => name)]
  const others = Object.keys(saga.context).filter((name) => !names.includes(name))
  return (
    <ol className="divide-y divide-line">
      {[...names, ...others].map((name) => (
        <li key={name} className="grid gap-x-4 gap-y-1 px-4 py-2.5 md:grid-cols-[12rem_1fr]">
          <span className="font-medium">
            <span className="mr-1 font-mono text-completed" title="added to the context here">
              +
            </span>
            <bdi>{name}</bdi>
          </span>
          <div className="min-w-0">
            {Object.hasOwn(saga.context, name) ? (
              <Json value={saga.context[name]} />
            ) : (
              <span className="text-faint">cannot be read</span>
            )}
          </div>
        </li>
      ))}
    </ol>
  )
}
