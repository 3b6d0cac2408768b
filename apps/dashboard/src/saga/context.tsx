import type { HistoryItem, Saga } from '@backstitch/core'
import { Json } from '../ui/json.tsx'
import { Ago } from '../ui/time.tsx'

/** The input, and what each step added to the context, in the order in which it came. */
export function Context({ saga, history }: { saga: Saga; history: readonly HistoryItem[] }) {
  const came = history.flatMap(cameWith)
  const names = new Set(came.map(({ name }) => name))
  const others = Object.keys(saga.context).filter((name) => !names.has(name))
  const undone = new Set([...saga.compensatedSteps, ...(saga.skippedCompensations ?? [])])
  return (
    <ol className="divide-y divide-line">
      {[
        ...came,
        ...others.map((name): Came => ({ name, seq: undefined, at: undefined, bytes: undefined })),
      ].map(({ name, seq, at, bytes, edited }) => (
        <li
          key={`${name} ${seq ?? ''}`}
          className="grid gap-x-4 gap-y-1 px-4 py-2.5 [contain-intrinsic-size:auto_5rem] [content-visibility:auto] md:grid-cols-[12rem_minmax(0,1fr)]"
        >
          <div className="min-w-0">
            <p className="truncate font-medium">
              <span className="mr-1 font-mono text-completed" aria-hidden="true">
                +
              </span>
              <bdi>{name}</bdi>
            </p>
            <p className="text-[12px] text-faint">
              {at !== undefined && <Ago at={at} />}
              {bytes !== undefined && ` · ${sizeOf(bytes)}`}
            </p>
            {edited !== undefined && (
              <p className="text-[12px] text-compensating">
                put in the place of its input by <bdi>{edited.actor}</bdi>
              </p>
            )}
            {edited === undefined && undone.has(name) && (
              <p className="text-[12px] text-compensating">undone since</p>
            )}
          </div>
          <div className="min-w-0">
            {edited !== undefined ? (
              <Json value={edited.input} />
            ) : Object.hasOwn(saga.context, name) ? (
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

type Came = {
  name: string
  seq: number | undefined
  at: string | undefined
  bytes: number | undefined
  /** It is no part of the context: a person put it in the place of one step's input (S30a). */
  edited?: { actor: string; input: unknown }
}

function cameWith(entry: HistoryItem): Came[] {
  const { seq, at } = entry
  switch (entry.kind) {
    case 'sagaStarted': {
      const results = Object.keys(entry.undo?.results ?? {})
      return [
        { name: 'input', seq, at, bytes: entry.inputBytes },
        ...results.map((name) => ({ name, seq, at, bytes: undefined })),
      ]
    }
    case 'signalReceived':
      return [{ name: entry.step, seq, at, bytes: entry.resultBytes }]
    case 'attemptSucceeded':
      return entry.direction === 'action' ? [{ name: entry.step, seq, at, bytes: entry.resultBytes }] : []
    case 'retried': {
      if (entry.step === undefined || entry.edited === undefined) return []
      const { input, inputBytes } = entry.edited
      return [{ name: entry.step, seq, at, bytes: inputBytes, edited: { actor: entry.actor, input } }]
    }
    default:
      return []
  }
}

function sizeOf(bytes: number): string {
  return bytes < 10_000
    ? `${bytes.toLocaleString()} bytes`
    : `${Math.round(bytes / 1024).toLocaleString()} KiB`
}
