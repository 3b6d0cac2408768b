import type { Direction, Saga, Status } from '@backstitch/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { ApiProblem, ask, get } from '../api.ts'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { StatusMark } from '../ui/status.tsx'
import { Loading, Wrong } from '../ui/told.tsx'

/** What a person can do about a saga. Each act says first what it will do, and where it cannot be done, why. */

type Verb = 'retry' | 'skip' | 'markCompensated' | 'abandon' | 'cancel' | 'pause' | 'resume' | 'runNow'
export type VerbPlan = {
  verb: Verb
  possible: boolean
  why?: string
  step?: string
  direction?: Direction
  acts: { step: string; direction: Direction; outcome: string; round: number }[]
  ends: Status
  notes: string[]
}
type SagaPlan = { version: number; status: Status; verbs: VerbPlan[] }

const VERBS: Record<Verb, { name: string; path: string; does: string; danger?: true }> = {
  retry: { name: 'Retry', path: 'retry', does: 'Tries the step again, with fresh attempts.' },
  markCompensated: {
    name: 'Mark compensated',
    path: 'mark-compensated',
    does: 'You have undone it by hand: it counts as undone, and the next undo follows.',
  },
  skip: { name: 'Skip', path: 'skip', does: 'Leaves the step as it is and goes on.' },
  cancel: { name: 'Cancel', path: 'cancel', does: 'Turns the saga round: what it has done is undone.' },
  pause: { name: 'Pause', path: 'pause', does: 'Lets what is running end, and begins nothing more.' },
  resume: { name: 'Resume', path: 'resume', does: 'Goes on from where it was paused.' },
  runNow: { name: 'Run now', path: 'run-now', does: 'Does at once what was scheduled for later.' },
  abandon: {
    name: 'Abandon',
    path: 'abandon',
    does: 'Closes the saga as it is. What is still owed is nobody’s to undo any more.',
    danger: true,
  },
}
const ORDER: readonly Verb[] = [
  'retry',
  'markCompensated',
  'skip',
  'runNow',
  'pause',
  'resume',
  'cancel',
  'abandon',
]

export function FixIt({ saga }: { saga: Saga }) {
  const [chosen, setChosen] = useState<Verb>()
  const plan = useQuery({
    queryKey: ['plan', saga.sagaId, saga.version],
    queryFn: ({ signal }) => get<SagaPlan>(`v1/sagas/${saga.sagaId}/plan`, signal),
    enabled: saga.endedAt === undefined,
    refetchInterval: false,
  })
  if (saga.endedAt !== undefined) return null
  const verbs =
    plan.data?.verbs.toSorted((one, other) => ORDER.indexOf(one.verb) - ORDER.indexOf(other.verb)) ?? []
  const current = verbs.find(({ verb }) => verb === chosen)

  return (
    <section aria-labelledby="fix" className="sheet px-4 py-3">
      <h2 id="fix" className="mb-2 font-semibold">
        Fix it
      </h2>
      {plan.isPending && <Loading />}
      {plan.isError && <Wrong error={plan.error} />}
      <div className="flex flex-wrap gap-2">
        {verbs
          .filter(({ verb, possible }) => possible || saga.status === 'stuck' || verb === 'cancel')
          .map(({ verb, possible, why }) => (
            <Button
              key={verb}
              kind={
                VERBS[verb].danger === true ? 'danger' : verb === 'retry' && possible ? 'strong' : 'plain'
              }
              className={possible ? '' : 'opacity-60'}
              title={possible ? VERBS[verb].does : why}
              aria-disabled={!possible}
              onClick={() => setChosen(verb)}
            >
              {VERBS[verb].name}
            </Button>
          ))}
      </div>
      {current !== undefined && (
        <Act key={current.verb} saga={saga} plan={current} onClose={() => setChosen(undefined)} />
      )}
    </section>
  )
}

function Act({ saga, plan, onClose }: { saga: Saga; plan: VerbPlan; onClose: () => void }) {
  const queries = useQueryClient()
  const [reason, setReason] = useState('')
  const [edits, setEdits] = useState(false)
  const [input, setInput] = useState('')
  const [force, setForce] = useState(false)
  const [state, setState] = useState<{ is: 'asking' } | { is: 'sent' } | { is: 'refused'; error: unknown }>()
  // What is sent was decided on the saga as it was when this was opened.
  const [version] = useState(saga.version)
  const { name, path, does, danger } = VERBS[plan.verb]
  const parsed = edits ? parse(input) : undefined
  const hasMoved = saga.version !== version

  async function send(): Promise<void> {
    setState({ is: 'asking' })
    try {
      const body = {
        reason,
        ...(plan.step !== undefined && takesStep(plan.verb) && { step: plan.step }),
        ...(parsed?.ok === true && { input: parsed.value, ...(force && { force: true }) }),
      }
      await ask('POST', `v1/sagas/${saga.sagaId}/${path}`, { body, ifMatch: version })
      setState({ is: 'sent' })
      await queries.invalidateQueries({ queryKey: ['saga', saga.sagaId] })
      onClose()
    } catch (error) {
      setState({ is: 'refused', error })
      void queries.invalidateQueries({ queryKey: ['saga', saga.sagaId] })
    }
  }

  return (
    <Dialog
      open
      onClose={onClose}
      title={plan.step === undefined ? name : `${name}: ${plan.step}`}
      wide={edits}
    >
      <p className="mb-3 text-soft">{does}</p>
      {!plan.possible ? (
        <p className="rounded-md border border-line-strong bg-sunk px-3 py-2">
          <span className="font-medium">Not possible now:</span> {plan.why}
        </p>
      ) : (
        <form
          onSubmit={(event) => {
            event.preventDefault()
            void send()
          }}
        >
          <Foreseen plan={plan} />
          {plan.verb === 'retry' && (
            <label className="mb-3 flex items-center gap-2">
              <input type="checkbox" checked={edits} onChange={({ target }) => setEdits(target.checked)} />
              with another input for this step
            </label>
          )}
          {edits && (
            <div className="mb-3 space-y-2">
              <label className="block">
                <span className="mb-1 block text-soft">
                  The input, as JSON. It takes the place of what the step would be sent; the saga’s own input
                  stays.
                </span>
                <textarea
                  className="field json w-full"
                  rows={10}
                  spellCheck={false}
                  value={input}
                  onChange={({ target }) => setInput(target.value)}
                  aria-invalid={parsed?.ok === false}
                />
              </label>
              {parsed?.ok === false && input !== '' && <p className="text-stuck">{parsed.why}</p>}
              {saga.uncertainSteps.includes(plan.step ?? '') && (
                <label className="flex items-center gap-2">
                  <input
                    type="checkbox"
                    checked={force}
                    onChange={({ target }) => setForce(target.checked)}
                  />
                  although it is not known whether the attempts before have happened: with another input they
                  are not recognised as the same, and it may be done twice
                </label>
              )}
            </div>
          )}
          <label className="mb-3 block">
            <span className="mb-1 block text-soft">
              {plan.verb === 'markCompensated'
                ? 'What you did by hand, for the history'
                : 'Why, for the history'}
            </span>
            <textarea
              className="field w-full"
              rows={2}
              required
              maxLength={2_000}
              value={reason}
              onChange={({ target }) => setReason(target.value)}
            />
          </label>
          {hasMoved && (
            <p className="mb-3 rounded-md border border-compensating bg-warn-sheet px-3 py-2">
              The saga has moved on since you opened this. It would be refused: close it and look again.
            </p>
          )}
          {state?.is === 'refused' && (
            <div className="mb-3">
              <Wrong error={state.error} />
              {state.error instanceof ApiProblem && state.error.status === 412 && (
                <p className="mt-1 text-soft">Somebody, or the saga itself, was quicker. Nothing was done.</p>
              )}
            </div>
          )}
          <Button
            kind={danger === true ? 'danger' : 'strong'}
            type="submit"
            disabled={reason.trim() === '' || state?.is === 'asking' || (edits && parsed?.ok !== true)}
          >
            {state?.is === 'asking' ? 'Asking …' : name}
          </Button>
        </form>
      )}
    </Dialog>
  )
}

function takesStep(verb: Verb): boolean {
  return verb === 'retry' || verb === 'skip' || verb === 'markCompensated'
}

/** What will come of it if everything succeeds. */
function Foreseen({ plan }: { plan: VerbPlan }) {
  return (
    <div className="mb-3 rounded-md bg-sunk px-3 py-2">
      <p className="mb-1 text-[12px] text-faint">If everything succeeds from here on</p>
      <p className="leading-7">
        {plan.acts.slice(0, 40).map(({ step, direction }, index) => (
          <span key={index}>
            {index > 0 && <span className="text-faint"> → </span>}
            <span className={direction === 'compensation' ? 'text-compensating' : ''}>
              {direction === 'compensation' ? `↶ ${step}` : step}
            </span>
          </span>
        ))}
        {plan.acts.length > 40 && <span className="text-faint"> → … {plan.acts.length - 40} more</span>}
        {plan.acts.length > 0 && <span className="text-faint"> → </span>}
        <StatusMark status={plan.ends} />
      </p>
      {plan.notes.map((note) => (
        <p key={note} className="mt-1 text-compensating">
          {note}
        </p>
      ))}
    </div>
  )
}

function parse(text: string): { ok: true; value: unknown } | { ok: false; why: string } {
  try {
    return { ok: true, value: JSON.parse(text) }
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : String(error) }
  }
}
