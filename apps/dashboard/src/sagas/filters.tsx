import { Popover } from '@base-ui/react/popover'
import { useQuery } from '@tanstack/react-query'
import { useRef, useState } from 'react'
import { fetchDefinitions } from '../data.ts'
import { useKeys } from '../keys.ts'
import { Button } from '../ui/button.tsx'
import { STATUSES } from '../ui/status.tsx'

type Filter = Readonly<Record<string, string>>
type Field = { name: string; label: string; hint: string; kind: 'text' | 'status' | 'definition' | 'time' }

const FIELDS: readonly Field[] = [
  { name: 'status', label: 'status', hint: 'one or more', kind: 'status' },
  { name: 'definition', label: 'definition', hint: 'its name', kind: 'definition' },
  { name: 'version', label: 'version', hint: 'of the definition', kind: 'text' },
  { name: 'sagaKey', label: 'saga key', hint: 'as its caller named it', kind: 'text' },
  { name: 'failedStep', label: 'failed step', hint: 'that turned it round', kind: 'text' },
  { name: 'clean', label: 'clean', hint: 'true or false', kind: 'text' },
  { name: 'paused', label: 'paused', hint: 'true or false', kind: 'text' },
  { name: 'createdAfter', label: 'started after', hint: '', kind: 'time' },
  { name: 'createdBefore', label: 'started before', hint: '', kind: 'time' },
  { name: 'updatedBefore', label: 'not moved since', hint: '', kind: 'time' },
]
const labelOf = (name: string) =>
  name.startsWith('tag.')
    ? `tag ${name.slice(4)}`
    : (FIELDS.find((field) => field.name === name)?.label ?? name)

const VIEWS = 'backstitch.views'
type View = { name: string; filter: Filter }
const BUILT_IN: readonly View[] = [
  { name: 'Needs a person', filter: { status: 'stuck' } },
  { name: 'Being undone', filter: { status: 'compensating' } },
  { name: 'Under way', filter: { status: 'running' } },
  { name: 'Ended unclean', filter: { clean: 'false' } },
  { name: 'Undone or closed', filter: { status: 'failed,cancelled,abandoned' } },
]

/** What the list is narrowed to, chip by chip; each can be changed or taken away. */
export function Filters({ filter, onChange }: { filter: Filter; onChange: (next: Filter) => void }) {
  const search = useRef<HTMLInputElement>(null)
  const [views, setViews] = useState(readViews)
  useKeys({ '/': () => search.current?.focus() })
  const without = (name: string) => Object.fromEntries(Object.entries(filter).filter(([key]) => key !== name))
  const keep = (next: readonly View[]) => {
    setViews(next)
    try {
      localStorage.setItem(VIEWS, JSON.stringify(next))
    } catch {
      // Not kept beyond this page.
    }
  }
  const isView = (view: View) => sameFilter(view.filter, filter)
  const isSet = Object.keys(filter).length > 0

  return (
    <div className="mb-3 space-y-2">
      <div className="flex flex-wrap items-center gap-1.5">
        {[{ name: 'All', filter: {} }, ...BUILT_IN, ...views].map((view) => (
          <span key={view.name} className="inline-flex items-center">
            <Button
              kind="quiet"
              aria-pressed={isView(view)}
              className="aria-pressed:bg-sunk aria-pressed:text-ink"
              onClick={() => onChange(view.filter)}
            >
              <bdi className="max-w-48 truncate">{view.name}</bdi>
            </Button>
            {views.includes(view) && (
              <Button
                kind="quiet"
                className="-ml-1 px-1"
                aria-label={`Forget the view ${view.name}`}
                onClick={() => keep(views.filter((one) => one !== view))}
              >
                ×
              </Button>
            )}
          </span>
        ))}
        {isSet && ![...BUILT_IN, ...views].some(isView) && (
          <Button
            kind="quiet"
            onClick={() => {
              const name = Object.entries(filter)
                .map(([key, value]) => `${labelOf(key)} ${value}`)
                .join(', ')
              keep([...views, { name: name.slice(0, 80), filter }])
            }}
          >
            Save this view
          </Button>
        )}
      </div>
      <div className="flex flex-wrap items-center gap-1.5">
        <form
          role="search"
          onSubmit={(event) => {
            event.preventDefault()
            const text = search.current?.value.trim() ?? ''
            onChange(text === '' ? without('q') : { ...filter, q: text })
          }}
        >
          <input
            ref={search}
            key={filter.q}
            defaultValue={filter.q ?? ''}
            className="field w-72 max-w-full"
            placeholder="Search: id, key, tag, reason …"
            aria-label="Search sagas"
            type="search"
          />
        </form>
        {Object.entries(filter)
          .filter(([name]) => name !== 'q')
          .map(([name, value]) => (
            <Chip
              key={name}
              name={name}
              value={value}
              onSet={(next) => onChange({ ...filter, [name]: next })}
              onRemove={() => onChange(without(name))}
            />
          ))}
        <Add onAdd={(name, value) => onChange({ ...filter, [name]: value })} />
      </div>
    </div>
  )
}

function Chip({
  name,
  value,
  onSet,
  onRemove,
}: {
  name: string
  value: string
  onSet: (value: string) => void
  onRemove: () => void
}) {
  const [open, setOpen] = useState(false)
  return (
    <span className="inline-flex items-center rounded-md border border-line-strong bg-sheet">
      <Popover.Root open={open} onOpenChange={setOpen}>
        <Popover.Trigger className="max-w-80 truncate px-2 py-1" title="Change it">
          <span className="text-faint">{labelOf(name)}</span> <bdi>{value}</bdi>
        </Popover.Trigger>
        <Panel>
          <Value
            name={name}
            value={value}
            onSet={(next) => {
              onSet(next)
              setOpen(false)
            }}
          />
        </Panel>
      </Popover.Root>
      <button
        type="button"
        className="px-1.5 text-faint hover:text-ink"
        aria-label={`Remove ${labelOf(name)}`}
        onClick={onRemove}
      >
        ×
      </button>
    </span>
  )
}

function Add({ onAdd }: { onAdd: (name: string, value: string) => void }) {
  const [open, setOpen] = useState(false)
  const [name, setName] = useState<string>()
  const [tag, setTag] = useState('')
  return (
    <Popover.Root
      open={open}
      onOpenChange={(isOpen) => {
        setOpen(isOpen)
        setName(undefined)
      }}
    >
      <Popover.Trigger className="rounded-md border border-line-strong border-dashed px-2 py-1 text-soft hover:text-ink">
        + Filter
      </Popover.Trigger>
      <Panel>
        {name === undefined ? (
          <div className="flex flex-col">
            {FIELDS.map((field) => (
              <Button
                key={field.name}
                kind="quiet"
                className="justify-between"
                onClick={() => setName(field.name)}
              >
                {field.label} <span className="font-normal text-faint">{field.hint}</span>
              </Button>
            ))}
            <form
              className="mt-1 flex gap-1 border-line border-t pt-2"
              onSubmit={(event) => {
                event.preventDefault()
                if (tag.trim() !== '') setName(`tag.${tag.trim()}`)
              }}
            >
              <input
                className="field flex-1"
                placeholder="a tag’s name"
                aria-label="A tag’s name"
                value={tag}
                onChange={({ target }) => setTag(target.value)}
              />
              <Button type="submit">tag</Button>
            </form>
          </div>
        ) : (
          <Value
            name={name}
            value=""
            onSet={(value) => {
              onAdd(name, value)
              setOpen(false)
            }}
          />
        )}
      </Panel>
    </Popover.Root>
  )
}

function Panel({ children }: { children: React.ReactNode }) {
  return (
    <Popover.Portal>
      <Popover.Positioner sideOffset={6} align="start" className="z-40">
        <Popover.Popup className="sheet w-72 p-3 shadow-xl">{children}</Popover.Popup>
      </Popover.Positioner>
    </Popover.Portal>
  )
}

function Value({ name, value, onSet }: { name: string; value: string; onSet: (value: string) => void }) {
  const kind = FIELDS.find((field) => field.name === name)?.kind ?? 'text'
  const [text, setText] = useState(kind === 'time' ? localTime(value) : value)
  const { data: definitions = [] } = useQuery({
    queryKey: ['definitions'],
    queryFn: fetchDefinitions,
    enabled: kind === 'definition',
  })
  const chosen = text.split(',').filter((one) => one !== '')
  const done = () => {
    const next = kind === 'time' && text !== '' ? new Date(text).toISOString() : text.trim()
    if (next !== '') onSet(next)
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        done()
      }}
    >
      <p className="mb-2 font-medium">{labelOf(name)}</p>
      {kind === 'status' ? (
        <div className="mb-2 grid grid-cols-2 gap-1">
          {STATUSES.map((status) => (
            <label key={status} className="flex items-center gap-1.5">
              <input
                type="checkbox"
                checked={chosen.includes(status)}
                onChange={({ target }) =>
                  setText(
                    (target.checked ? [...chosen, status] : chosen.filter((one) => one !== status)).join(','),
                  )
                }
              />
              {status}
            </label>
          ))}
        </div>
      ) : (
        <input
          className="field mb-2 w-full"
          aria-label={labelOf(name)}
          autoFocus
          type={kind === 'time' ? 'datetime-local' : 'text'}
          step={kind === 'time' ? 1 : undefined}
          list={kind === 'definition' ? 'definition-names' : undefined}
          value={text}
          onChange={({ target }) => setText(target.value)}
        />
      )}
      {kind === 'definition' && (
        <datalist id="definition-names">
          {definitions.map(({ name: one }) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
      {kind === 'time' && (
        <div className="mb-2 flex flex-wrap gap-1">
          {[
            ['15 min', 15],
            ['1 h', 60],
            ['1 day', 1_440],
            ['7 days', 10_080],
          ].map(([label, minutes]) => (
            <Button
              key={label}
              onClick={() => onSet(new Date(Date.now() - Number(minutes) * 60_000).toISOString())}
            >
              {label} ago
            </Button>
          ))}
        </div>
      )}
      <Button kind="strong" type="submit">
        Apply
      </Button>
    </form>
  )
}

/** As the input of a browser wants it: the hours of whoever looks. */
function localTime(at: string): string {
  if (at === '' || Number.isNaN(Date.parse(at))) return ''
  const date = new Date(at)
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
}

function sameFilter(one: Filter, other: Filter): boolean {
  const text = (filter: Filter) =>
    JSON.stringify(Object.entries(filter).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  return text(one) === text(other)
}

function readViews(): readonly View[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(VIEWS) ?? '[]')
    return Array.isArray(kept) ? kept.filter(isView) : []
  } catch {
    return []
  }
}

function isView(one: unknown): one is View {
  return (
    typeof one === 'object' &&
    one !== null &&
    'name' in one &&
    typeof one.name === 'string' &&
    'filter' in one &&
    typeof one.filter === 'object' &&
    one.filter !== null &&
    Object.values(one.filter).every((value) => typeof value === 'string')
  )
}
