import type { Bulk as BulkOperation, BulkPreview, BulkVerb } from '@backstitch/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { ask } from '../api.ts'
import { bulkQuery } from '../data.ts'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { StatusMark } from '../ui/status.tsx'
import { Loading, Wrong } from '../ui/told.tsx'

type Verb = { verb: BulkVerb; name: string; does: string; danger?: true }
const VERBS: readonly Verb[] = [
  { verb: 'retry', name: 'Retry', does: 'tries the step each is stuck at again, with fresh attempts' },
  { verb: 'cancel', name: 'Cancel', does: 'turns each round and undoes what it has done' },
  { verb: 'pause', name: 'Pause', does: 'lets what is running end, and begins nothing more' },
  { verb: 'resume', name: 'Resume', does: 'goes on with each that is paused' },
  { verb: 'runNow', name: 'Run now', does: 'does at once what each has scheduled for later' },
  {
    verb: 'markCompensated',
    name: 'Mark compensated',
    does: 'says that the undo each is stuck at was done by hand',
  },
  { verb: 'skip', name: 'Skip', does: 'leaves the step each is stuck at as it is, and goes on' },
  { verb: 'abandon', name: 'Abandon', does: 'closes each as it is, whatever is still owed', danger: true },
]

/** Which sagas are meant: those that were ticked, or all that the list would show. */
type Meant =
  | { is: 'chosen'; sagaIds: readonly string[] }
  | { is: 'matching'; filter: Readonly<Record<string, string>> }

/** One verb for all that are selected, or for all that match; each is answered on its own. */
export function Bulk({
  chosen,
  filter,
  onDone,
}: {
  chosen: readonly string[]
  filter: Readonly<Record<string, string>>
  onDone: () => void
}) {
  const [verb, setVerb] = useState<Verb>()
  const [all, setAll] = useState(false)
  if (chosen.length === 0) return null
  const isFiltered = Object.keys(filter).length > 0
  const meant: Meant = all && isFiltered ? { is: 'matching', filter } : { is: 'chosen', sagaIds: chosen }
  return (
    <section
      aria-label="What to do with those selected"
      className="sheet mt-2 flex flex-wrap items-center gap-2 px-3 py-2 shadow-lg"
    >
      <span className="font-medium">
        {meant.is === 'matching' ? 'All that match' : `${chosen.length} selected`}
      </span>
      {isFiltered && (
        <Button kind="quiet" aria-pressed={all} onClick={() => setAll(!all)}>
          {all ? 'Only those selected' : 'Select all that match'}
        </Button>
      )}
      {VERBS.map((one) => (
        <Button key={one.verb} kind={one.danger === true ? 'danger' : 'plain'} onClick={() => setVerb(one)}>
          {one.name}
        </Button>
      ))}
      <Button kind="quiet" onClick={onDone}>
        Clear <span className="key">Esc</span>
      </Button>
      {verb !== undefined && (
        <Act
          verb={verb}
          meant={meant}
          onClose={(acted) => {
            setVerb(undefined)
            if (acted) onDone()
          }}
        />
      )}
    </section>
  )
}

function bodyOf(meant: Meant) {
  return meant.is === 'chosen' ? { sagaIds: meant.sagaIds } : { filter: filterOf(meant.filter) }
}

/** The list's parameters are texts; here they are what they mean. */
function filterOf(texts: Readonly<Record<string, string>>) {
  const tags = Object.entries(texts).flatMap(([name, value]) =>
    name.startsWith('tag.') ? [[name.slice('tag.'.length), value] as const] : [],
  )
  const others = Object.entries(texts).flatMap(([name, value]): [string, unknown][] => {
    if (name.startsWith('tag.')) return []
    if (name === 'status') return [[name, value.split(',')]]
    if (name === 'version') return [[name, Number(value)]]
    if (name === 'clean' || name === 'paused') return [[name, value === 'true']]
    return [[name, value]]
  })
  return { ...Object.fromEntries(others), ...(tags.length > 0 && { tags: Object.fromEntries(tags) }) }
}

function Act({ verb, meant, onClose }: { verb: Verb; meant: Meant; onClose: (acted: boolean) => void }) {
  const queries = useQueryClient()
  const [reason, setReason] = useState('')
  const [bulkId, setBulkId] = useState<string>()
  const [error, setError] = useState<unknown>()
  const preview = useQuery({
    queryKey: ['bulk preview', verb.verb, meant],
    queryFn: ({ signal }) =>
      ask<BulkPreview>('POST', 'v1/bulk', {
        body: { ...bodyOf(meant), verb: verb.verb, reason: 'a look first', dryRun: true },
        signal,
      }),
    refetchInterval: false,
  })
  const close = () => {
    void queries.invalidateQueries({ queryKey: ['sagas'] })
    onClose(bulkId !== undefined)
  }

  async function start(): Promise<void> {
    setError(undefined)
    try {
      const begun = await ask<BulkOperation>('POST', 'v1/bulk', {
        body: { ...bodyOf(meant), verb: verb.verb, reason },
      })
      setBulkId(begun.bulkId)
    } catch (problem) {
      setError(problem)
    }
  }

  return (
    <Dialog open onClose={close} title={`${verb.name} many`}>
      <p className="mb-3 text-soft">
        It {verb.does}. Each that is not in a state for it refuses, and says why.
      </p>
      {bulkId !== undefined ? (
        <Progress bulkId={bulkId} onDone={close} />
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault()
            void start()
          }}
        >
          {preview.isPending && <Loading />}
          {preview.isError && <Wrong error={preview.error} />}
          {preview.data !== undefined && <Preview preview={preview.data} />}
          <label className="my-3 block">
            <span className="mb-1 block text-soft">Why, for the history of each</span>
            <textarea
              className="field w-full"
              rows={2}
              required
              maxLength={1_900}
              value={reason}
              onChange={({ target }) => setReason(target.value)}
            />
          </label>
          {error !== undefined && (
            <div className="mb-3">
              <Wrong error={error} />
            </div>
          )}
          <Button
            kind={verb.danger === true ? 'danger' : 'strong'}
            type="submit"
            disabled={reason.trim() === '' || preview.data === undefined || preview.data.matching === 0}
          >
            {verb.name} {preview.data === undefined ? '' : preview.data.possible.toLocaleString()}
          </Button>
        </form>
      )}
    </Dialog>
  )
}

function Preview({ preview }: { preview: BulkPreview }) {
  const { matching, judged, possible, impossible, why, sample } = preview
  return (
    <div className="rounded-md bg-sunk px-3 py-2">
      <p>
        <span className="font-semibold">{matching.toLocaleString()}</span> meant
        {judged < matching ? `; of the newest ${judged.toLocaleString()} ` : '; '}
        it is possible for <span className="font-semibold">{possible.toLocaleString()}</span>
        {impossible > 0 && <> and not for {impossible.toLocaleString()}</>}.
      </p>
      <ul className="mt-1 text-soft">
        {Object.entries(why).map(([reason, count]) => (
          <li key={reason} className="break-words">
            {count.toLocaleString()}: {reason}
          </li>
        ))}
      </ul>
      {sample.length > 0 && (
        <p className="mt-2 flex flex-wrap gap-x-3 gap-y-1 text-[12px]">
          <span className="text-faint">such as</span>
          {sample.slice(0, 5).map(({ sagaId, sagaKey, status }) => (
            <span key={sagaId} className="inline-flex max-w-64 items-center gap-1">
              <bdi className="truncate">{sagaKey ?? `…${sagaId.slice(-12)}`}</bdi>{' '}
              <StatusMark status={status} />
            </span>
          ))}
        </p>
      )}
    </div>
  )
}

function Progress({ bulkId, onDone }: { bulkId: string; onDone: () => void }) {
  const { data, error } = useQuery(bulkQuery(bulkId))
  if (data === undefined) return error === null ? <Loading /> : <Wrong error={error} />
  const { state, total, done, accepted, refused, failed } = data
  return (
    <div aria-live="polite">
      <progress className="w-full" max={total} value={done} aria-label="Progress" />
      <p>
        {state === 'running'
          ? `${done} of ${total}`
          : state === 'done'
            ? `All ${total} asked`
            : `Stopped at ${done}`}
        : {accepted} accepted, {refused} refused{failed > 0 ? `, ${failed} failed` : ''}.
      </p>
      <p className="mt-1 text-soft">
        It goes on when you leave this page;{' '}
        <Link to="/bulk" search={{ bulkId }} className="text-link">
          Bulk
        </Link>{' '}
        has each saga’s answer.
      </p>
      <Button kind="strong" className="mt-3" onClick={onDone}>
        {state === 'running' ? 'Let it run' : 'Done'}
      </Button>
    </div>
  )
}
