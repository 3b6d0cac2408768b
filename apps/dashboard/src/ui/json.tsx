import { useState } from 'react'
import { collapseAllNested, defaultStyles, JsonView } from 'react-json-view-lite'
import 'react-json-view-lite/dist/index.css'
import { Button } from './button.tsx'

const LARGE = 200_000

/** Any value, folded from the second level on. What is very large is shown when asked for. */
export function Json({ value }: { value: unknown }) {
  const [all, setAll] = useState(false)
  const text = JSON.stringify(value, null, 2) ?? 'nothing'
  const isNested = typeof value === 'object' && value !== null
  if (text.length > LARGE && !all) {
    return (
      <div>
        <pre className="json whitespace-pre-wrap">{text.slice(0, 2_000)} …</pre>
        <Button onClick={() => setAll(true)}>Show all {text.length.toLocaleString()} characters</Button>
      </div>
    )
  }
  if (!isNested || text.length > LARGE) return <pre className="json whitespace-pre-wrap">{text}</pre>
  return (
    <div className="json">
      <JsonView
        data={value}
        shouldExpandNode={text.length < 4_000 ? () => true : collapseAllNested}
        style={{
          ...defaultStyles,
          container: 'json-tree',
          stringValue: 'json-string',
          numberValue: 'json-number',
          booleanValue: 'json-number',
          nullValue: 'json-number',
          otherValue: 'json-number',
          label: 'json-label',
          clickableLabel: 'json-label json-clickable',
          punctuation: 'json-mark',
        }}
      />
    </div>
  )
}

export function Copy({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false)
  return (
    <Button
      kind="quiet"
      aria-label={`Copy ${what}`}
      className="px-1 py-0 text-[12px]"
      onClick={() => {
        void navigator.clipboard?.writeText(text).then(() => {
          setCopied(true)
          setTimeout(() => setCopied(false), 1_500)
        })
      }}
    >
      {copied ? 'copied' : 'copy'}
    </Button>
  )
}
