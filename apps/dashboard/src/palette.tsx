import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { fetchDefinitions } from './data.ts'
import { PAGES } from './places.ts'
import { Dialog } from './ui/dialog.tsx'

type Place = { name: string; what: string; go: () => void }
const SAGA_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** ⌘K: to any page, definition or saga by a few letters of it. */
export function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate()
  const [text, setText] = useState('')
  const [chosen, setChosen] = useState(0)
  const { data: definitions = [] } = useQuery({ queryKey: ['definitions'], queryFn: fetchDefinitions })
  const wanted = text.trim()
  const fits = (name: string) => name.toLowerCase().includes(wanted.toLowerCase())
  const places: Place[] = [
    ...(SAGA_ID.test(wanted)
      ? [
          {
            name: wanted,
            what: 'saga',
            go: () => void navigate({ to: '/sagas/$sagaId', params: { sagaId: wanted } }),
          },
        ]
      : []),
    ...PAGES.filter(({ name }) => fits(name)).map(({ name, to }) => ({
      name,
      what: 'page',
      go: () => void navigate({ to }),
    })),
    ...definitions
      .filter(({ name }) => fits(name))
      .slice(0, 8)
      .map(({ name }) => ({
        name,
        what: 'definition',
        go: () => void navigate({ to: '/definitions/$name', params: { name } }),
      })),
    ...(wanted === '' || SAGA_ID.test(wanted)
      ? []
      : [
          {
            name: `sagas with “${wanted}”`,
            what: 'list',
            go: () => void navigate({ to: '/sagas', search: { q: wanted } }),
          },
        ]),
  ]
  const current = places[Math.min(chosen, places.length - 1)]

  return (
    <Dialog open onClose={onClose} title="Jump to">
      <input
        className="field w-full"
        autoFocus
        role="combobox"
        aria-expanded="true"
        aria-controls="places"
        aria-activedescendant={current === undefined ? undefined : 'place-chosen'}
        aria-label="A page, a definition, a saga’s id or key"
        placeholder="A page, a definition, a saga’s id or key"
        value={text}
        onChange={({ target }) => {
          setText(target.value)
          setChosen(0)
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown') setChosen(Math.min(chosen + 1, places.length - 1))
          else if (event.key === 'ArrowUp') setChosen(Math.max(chosen - 1, 0))
          else if (event.key === 'Enter' && current !== undefined) {
            current.go()
            onClose()
          } else return
          event.preventDefault()
        }}
      />
      <div id="places" role="listbox" aria-label="Places" className="mt-2">
        {places.map((place) => (
          <button
            key={`${place.what} ${place.name}`}
            type="button"
            role="option"
            tabIndex={-1}
            id={place === current ? 'place-chosen' : undefined}
            aria-selected={place === current}
            className="flex w-full items-center justify-between gap-3 rounded-md px-2 py-1.5 text-left aria-selected:bg-sunk"
            onClick={() => {
              place.go()
              onClose()
            }}
          >
            <bdi className="truncate">{place.name}</bdi>
            <span className="text-[12px] text-faint">{place.what}</span>
          </button>
        ))}
      </div>
    </Dialog>
  )
}
