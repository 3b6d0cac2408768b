import { useQuery } from '@tanstack/react-query'
import { Link, Outlet, useNavigate } from '@tanstack/react-router'
import { useState, useSyncExternalStore } from 'react'
import { namedActor, onActor, setActor } from './actor.ts'
import { fetchStats } from './data.ts'
import { useKeys, usePairs } from './keys.ts'
import { POLL_MS, useTold } from './live.ts'
import { Palette } from './palette.tsx'
import { PAGES } from './places.ts'
import { Button } from './ui/button.tsx'
import { Dialog } from './ui/dialog.tsx'

export function Shell() {
  const navigate = useNavigate()
  const [palette, setPalette] = useState(false)
  const [help, setHelp] = useState(false)
  const [asksWho, setAsksWho] = useState(false)
  usePairs()
  useKeys({
    'mod+k': () => setPalette(true),
    '?': () => setHelp(true),
    ...Object.fromEntries(PAGES.map(({ to, key }) => [`g ${key}`, () => void navigate({ to })])),
  })
  const who = useSyncExternalStore(onActor, namedActor)
  const { data: stats } = useQuery({ queryKey: ['stats'], queryFn: fetchStats })
  const stuck =
    stats?.sagas.reduce((sum, { status, count }) => (status === 'stuck' ? sum + count : sum), 0) ?? 0

  return (
    <div className="grid min-h-dvh grid-cols-1 grid-rows-[auto_1fr] md:grid-rows-none md:grid-cols-[200px_minmax(0,1fr)]">
      <a
        href="#content"
        className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-sheet focus:p-2"
      >
        Skip to the content
      </a>
      <nav
        aria-label="Pages"
        className="flex flex-wrap items-center gap-x-1 gap-y-0.5 border-line border-b px-3 py-2 md:sticky md:top-0 md:h-dvh md:flex-col md:flex-nowrap md:items-stretch md:border-r md:border-b-0 md:px-3 md:py-4"
      >
        <Link to="/" className="flex items-center gap-2 px-2 md:mb-5">
          <img src="seam.svg" alt="" width={22} height={22} />
          <span className="font-semibold tracking-tight">Backstitch</span>
        </Link>
        {PAGES.map(({ to, name, key }) => (
          <Link
            key={to}
            to={to}
            activeOptions={{ exact: to === '/', includeSearch: false }}
            className="group flex items-center justify-between rounded-md px-2 py-1 text-soft hover:bg-sunk hover:text-ink data-[status=active]:bg-sunk data-[status=active]:font-medium data-[status=active]:text-ink"
          >
            <span>
              {name}
              {to === '/' && stuck > 0 && (
                <span className="ml-2 rounded-full bg-stuck px-1.5 text-[11px] font-semibold text-paper">
                  {stuck}
                </span>
              )}
            </span>
            <span className="key hidden opacity-0 group-hover:opacity-100 md:inline" aria-hidden="true">
              g {key}
            </span>
          </Link>
        ))}
        <div className="ml-auto flex items-center gap-1 md:mt-auto md:ml-0 md:flex-col md:items-stretch">
          <Told />
          <Button kind="quiet" onClick={() => setPalette(true)}>
            Jump <span className="key hidden md:inline">⌘K</span>
          </Button>
          <Button kind="quiet" onClick={() => setAsksWho(true)} title="Who you are, for the history">
            <bdi className="max-w-[9rem] truncate">{who === '' ? 'Who are you?' : who}</bdi>
          </Button>
          <ThemeSwitch />
          <Button kind="quiet" onClick={() => setHelp(true)} className="hidden md:inline-flex">
            Keys <span className="key">?</span>
          </Button>
        </div>
      </nav>
      <main id="content" className="min-w-0 px-4 py-5 md:px-7">
        <Outlet />
      </main>
      {palette && <Palette onClose={() => setPalette(false)} />}
      <Dialog open={help} onClose={() => setHelp(false)} title="Keys">
        <Help />
      </Dialog>
      <Who open={asksWho} onClose={() => setAsksWho(false)} />
    </div>
  )
}

/** Nothing to say while it is as it should be. */
function Told() {
  const isDown = useTold() === 'down'
  return (
    <p role="status" className="px-2 text-[12px] text-compensating">
      {isDown && (
        <span title="The stream of events is down: what you see is asked for now and then">
          ○ not live, every {POLL_MS / 1_000} s
        </span>
      )}
    </p>
  )
}

function Help() {
  const rows = [
    ['/', 'search sagas'],
    ['⌘K', 'jump to a saga, a page, a definition'],
    ['j  k', 'next, previous row'],
    ['Enter', 'open the row'],
    ['x', 'select the row'],
    ['Esc', 'close, leave'],
    ...PAGES.map(({ name, key }) => [`g ${key}`, name]),
    ['?', 'this list'],
  ]
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-5 gap-y-2">
      {rows.map(([key, does]) => (
        <div key={key} className="contents">
          <dt className="text-right">
            <span className="key">{key}</span>
          </dt>
          <dd>{does}</dd>
        </div>
      ))}
    </dl>
  )
}

function Who({ open, onClose }: { open: boolean; onClose: () => void }) {
  const [name, setName] = useState(namedActor())
  return (
    <Dialog open={open} onClose={onClose} title="Who are you?">
      <form
        onSubmit={(event) => {
          event.preventDefault()
          setActor(name)
          onClose()
        }}
      >
        <p className="mb-3 text-soft">
          Whatever you do to a saga is kept in its history under this name. It is what you say it is: there
          are no credentials yet.
        </p>
        <label className="mb-3 block">
          <span className="mb-1 block text-soft">Name</span>
          <input
            className="field w-full"
            value={name}
            onChange={({ target }) => setName(target.value)}
            maxLength={100}
          />
        </label>
        <Button kind="strong" type="submit">
          Keep
        </Button>
      </form>
    </Dialog>
  )
}

function ThemeSwitch() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? 'system')
  const next = theme === 'system' ? 'dark' : theme === 'dark' ? 'light' : 'system'
  return (
    <Button
      kind="quiet"
      title={`Colours: ${theme}; change to ${next}`}
      onClick={() => {
        setTheme(next)
        if (next === 'system') delete document.documentElement.dataset.theme
        else document.documentElement.dataset.theme = next
        try {
          if (next === 'system') localStorage.removeItem('backstitch.theme')
          else localStorage.setItem('backstitch.theme', next)
        } catch {
          // Not kept.
        }
      }}
    >
      {theme === 'system' ? '◐ System' : theme === 'dark' ? '● Dark' : '○ Light'}
    </Button>
  )
}
