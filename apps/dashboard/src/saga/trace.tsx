import type { HistoryItem, Saga } from '@backstitch/core'
import { useState } from 'react'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { Copy } from '../ui/json.tsx'

/** Where traces are looked at, with `{traceId}` in it; kept in this browser. */
const KEY = 'backstitch.traces'
const PLACE = '{traceId}'

function read(): string {
  try {
    return localStorage.getItem(KEY) ?? ''
  } catch {
    return ''
  }
}

/** An address of the web and nothing else; what stands in the place of the id can lead nowhere else. */
function addressOf(template: string, traceId: string): string | undefined {
  const url = URL.parse(template.replaceAll(PLACE, encodeURIComponent(traceId)))
  return url !== null && /^https?:$/.test(url.protocol) ? url.href : undefined
}

/** All attempts of a saga are of one trace (S36). */
export function Trace({ saga, history }: { saga: Saga; history: readonly HistoryItem[] }) {
  const [template, setTemplate] = useState(read)
  const [asks, setAsks] = useState(false)
  const [first] = history
  if (first === undefined) return null
  const given = first.kind === 'sagaStarted' ? first.traceparent?.split('-')[1] : undefined
  const traceId = given ?? saga.sagaId.replaceAll('-', '')
  const address = addressOf(template, traceId)
  return (
    <span className="inline-flex flex-wrap items-baseline gap-x-1">
      trace{' '}
      {address === undefined ? (
        <span className="font-mono break-all">{traceId}</span>
      ) : (
        <a href={address} target="_blank" rel="noreferrer" className="text-link font-mono break-all">
          {traceId}
        </a>
      )}
      <Copy text={traceId} what="the trace id" />
      <Button kind="quiet" className="px-1 py-0 text-[12px]" onClick={() => setAsks(true)}>
        {address === undefined ? 'link' : 'change'}
      </Button>
      <Dialog open={asks} onClose={() => setAsks(false)} title="Where are traces looked at?">
        <form
          onSubmit={(event) => {
            event.preventDefault()
            const given = new FormData(event.currentTarget).get('template')
            const next = typeof given === 'string' ? given.trim() : ''
            setTemplate(next)
            setAsks(false)
            try {
              localStorage.setItem(KEY, next)
            } catch {
              // Not kept: it holds until the page is left.
            }
          }}
        >
          <label className="mb-3 block">
            <span className="mb-1 block text-soft">
              The address, with {PLACE} where the id stands. It is kept in this browser.
            </span>
            <input
              name="template"
              className="field w-full font-mono"
              defaultValue={template}
              placeholder={`https://traces.example/trace/${PLACE}`}
            />
          </label>
          <Button kind="strong" type="submit">
            Keep
          </Button>
        </form>
      </Dialog>
    </span>
  )
}
