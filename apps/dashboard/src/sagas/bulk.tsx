import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { ApiProblem, ask } from '../api.ts'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'

const VERBS = [
  { path: 'retry', name: 'Retry', does: 'tries the step each is stuck at again, with fresh attempts' },
  { path: 'cancel', name: 'Cancel', does: 'turns each round and undoes what it has done' },
  {
    path: 'mark-compensated',
    name: 'Mark compensated',
    does: 'says that the undo each is stuck at was done by hand',
  },
  { path: 'skip', name: 'Skip', does: 'leaves the step each is stuck at as it is, and goes on' },
  { path: 'abandon', name: 'Abandon', does: 'closes each as it is, whatever is still owed' },
] as const

/** One verb for all that are selected; each is answered on its own. */
export function Bulk({
  chosen,
  onDone,
}: {
  chosen: readonly string[]
  filter: Readonly<Record<string, string>>
  onDone: () => void
}) {
  const [verb, setVerb] = useState<(typeof VERBS)[number]>()
  if (chosen.length === 0) return null
  return (
    <section
      aria-label="What to do with those selected"
      className="sheet mt-2 flex flex-wrap items-center gap-2 px-3 py-2 shadow-lg"
    >
      <span className="font-medium">{chosen.length} selected</span>
      {VERBS.map((one) => (
        <Button
          key={one.path}
          kind={one.path === 'abandon' ? 'danger' : 'plain'}
          onClick={() => setVerb(one)}
        >
          {one.name}
        </Button>
      ))}
      <Button kind="quiet" onClick={onDone}>
        Clear <span className="key">Esc</span>
      </Button>
      {verb !== undefined && (
        <Act
          verb={verb}
          sagaIds={chosen}
          onClose={(acted) => {
            setVerb(undefined)
            if (acted) onDone()
          }}
        />
      )}
    </section>
  )
}

type Progress = { done: number; accepted: number; refused: Map<string, number> }

function Act({
  verb,
  sagaIds,
  onClose,
}: {
  verb: (typeof VERBS)[number]
  sagaIds: readonly string[]
  onClose: (acted: boolean) => void
}) {
  const queries = useQueryClient()
  const [reason, setReason] = useState('')
  const [progress, setProgress] = useState<Progress>()
  const isOver = progress !== undefined && progress.done === sagaIds.length

  async function run(): Promise<void> {
    const refused = new Map<string, number>()
    let accepted = 0
    let done = 0
    setProgress({ done, accepted, refused })
    const left = [...sagaIds]
    const lane = async () => {
      for (let sagaId = left.shift(); sagaId !== undefined; sagaId = left.shift()) {
        try {
          await ask('POST', `v1/sagas/${sagaId}/${verb.path}`, { body: { reason } })
          accepted++
        } catch (error) {
          const why = error instanceof ApiProblem ? error.message : String(error)
          refused.set(why, (refused.get(why) ?? 0) + 1)
        }
        done++
        setProgress({ done, accepted, refused: new Map(refused) })
      }
    }
    await Promise.all([lane(), lane(), lane(), lane()])
    void queries.invalidateQueries({ queryKey: ['sagas'] })
  }

  return (
    <Dialog open onClose={() => onClose(isOver)} title={`${verb.name} ${sagaIds.length} sagas`}>
      <p className="mb-3 text-soft">
        It {verb.does}. Each that is not in a state for it refuses, and says why.
      </p>
      {progress === undefined ? (
        <form
          onSubmit={(event) => {
            event.preventDefault()
            void run()
          }}
        >
          <label className="mb-3 block">
            <span className="mb-1 block text-soft">Why, for the history of each</span>
            <textarea
              className="field w-full"
              rows={2}
              required
              maxLength={2_000}
              value={reason}
              onChange={({ target }) => setReason(target.value)}
            />
          </label>
          <Button
            kind={verb.path === 'abandon' ? 'danger' : 'strong'}
            type="submit"
            disabled={reason.trim() === ''}
          >
            {verb.name} {sagaIds.length}
          </Button>
        </form>
      ) : (
        <div aria-live="polite">
          <progress className="w-full" max={sagaIds.length} value={progress.done} aria-label="Progress" />
          <p>
            {progress.done} of {sagaIds.length}: {progress.accepted} accepted
          </p>
          <ul className="mt-2 space-y-1">
            {[...progress.refused].map(([why, count]) => (
              <li key={why} className="break-words text-soft">
                <span className="font-medium text-stuck">{count} refused:</span> {why}
              </li>
            ))}
          </ul>
          {isOver && (
            <Button kind="strong" className="mt-3" onClick={() => onClose(true)}>
              Done
            </Button>
          )}
        </div>
      )}
    </Dialog>
  )
}
