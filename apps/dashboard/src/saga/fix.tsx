import type { HistoryItem, Saga, SagaPlan, VerbPlan } from '@backstitch/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { ApiProblem, ask, get } from '../api.ts'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { StatusMark } from '../ui/status.tsx'
import { Loading, Wrong } from '../ui/told.tsx'
import type { Step } from './course.ts'
import { type Draft, EditInput, readDraft } from './edit.tsx'
import { Since } from './history.tsx'

/** What a person can do about a saga. Each act says first what it will do, and where it cannot be done, why. */

type Verb = VerbPlan['verb']

const VERBS: Record<Verb, { name: string; path: string; does: string; danger?: true; isForStuck?: true }> = {
  retry: {
    name: 'Retry',
    path: 'retry',
    does: 'Tries again where it is stuck, with fresh attempts.',
    isForStuck: true,
  },
  markCompensated: {
    name: 'Mark compensated',
    path: 'mark-compensated',
    does: 'You have undone it by hand: it counts as undone, and the next undo follows.',
    isForStuck: true,
  },
  skip: { name: 'Skip', path: 'skip', does: 'Leaves the step as it is and goes on.', isForStuck: true },
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
  'resume',
  'runNow',
  'pause',
  'cancel',
  'abandon',
]

type Done = { name: string; version: number }
type Shown = { saga: Saga; steps: readonly Step[]; history: readonly HistoryItem[] }

export function FixIt({ saga, steps, history }: Shown) {
  const [chosen, setChosen] = useState<Verb>()
  const [done, setDone] = useState<Done>()
  const hasEnded = saga.endedAt !== undefined
  const plan = useQuery({
    queryKey: ['plan', saga.sagaId, saga.version],
    queryFn: ({ signal }) => get<SagaPlan>(`v1/sagas/${encodeURIComponent(saga.sagaId)}/plan`, signal),
    enabled: !hasEnded,
    placeholderData: (before) => before,
    refetchInterval: false,
  })
  if (hasEnded && done === undefined) return null
  const verbs = hasEnded
    ? []
    : (plan.data?.verbs ?? []).toSorted((one, other) => ORDER.indexOf(one.verb) - ORDER.indexOf(other.verb))
  const current = verbs.find(({ verb }) => verb === chosen)

  return (
    <section aria-labelledby="fix" className="sheet px-4 py-3">
      <h2 id="fix" className="mb-2 font-semibold">
        Fix it
      </h2>
      {plan.isPending && !hasEnded && <Loading />}
      {plan.isError && <Wrong error={plan.error} />}
      <div className="flex flex-wrap gap-2">
        {verbs
          .filter((one) => isOffered(one, saga))
          .map(({ verb, possible, why }) => (
            <Button
              key={verb}
              kind={VERBS[verb].danger === true ? 'danger' : isFirst(verb) && possible ? 'strong' : 'plain'}
              className={possible ? '' : 'border-dashed text-soft'}
              title={possible ? VERBS[verb].does : `Not possible now: ${why ?? ''}`}
              onClick={() => setChosen(verb)}
            >
              {VERBS[verb].name}
            </Button>
          ))}
      </div>
      {done !== undefined && <Outcome saga={saga} history={history} done={done} />}
      {current !== undefined && (
        <Act
          key={current.verb}
          saga={saga}
          steps={steps}
          history={history}
          plan={current}
          onClose={() => setChosen(undefined)}
          onDone={(version) => {
            setDone({ name: VERBS[current.verb].name, version })
            setChosen(undefined)
          }}
        />
      )}
    </section>
  )
}

/** What cannot be done is shown where a person would look for it. */
function isOffered({ verb, possible }: VerbPlan, saga: Saga): boolean {
  if (possible) return true
  return VERBS[verb].isForStuck === true ? saga.status === 'stuck' : verb === 'cancel'
}

function isFirst(verb: Verb): boolean {
  return verb === 'retry' || verb === 'resume'
}

/** What came of the act, while it comes. */
function Outcome({ saga, history, done }: { saga: Saga; history: readonly HistoryItem[]; done: Done }) {
  const hasMoved = saga.version > done.version
  return (
    <div role="status" className="mt-3 rounded-md bg-sunk px-3 py-2">
      <p className="flex flex-wrap items-baseline gap-x-3">
        <span className="font-medium">{done.name}: accepted.</span>
        {hasMoved ? (
          <span className="text-soft">
            Since then, and now <StatusMark status={saga.status} />
          </span>
        ) : (
          <span className="text-soft">A worker reads it now …</span>
        )}
      </p>
      <Since entries={history} version={done.version} />
    </div>
  )
}

// --- One act -------------------------------------------------------------------------------------------------------

type Sending = { is: 'asking' } | { is: 'refused'; error: unknown }

function Act({
  saga,
  steps,
  history,
  plan,
  onClose,
  onDone,
}: Shown & { plan: VerbPlan; onClose: () => void; onDone: (version: number) => void }) {
  const queries = useQueryClient()
  const [reason, setReason] = useState('')
  const [draft, setDraft] = useState<Draft>()
  const [state, setState] = useState<Sending>()
  /** What is sent was decided on the saga as it was then. */
  const [version, setVersion] = useState(saga.version)
  const { name, path, does, danger, isForStuck } = VERBS[plan.verb]
  const read = draft === undefined ? undefined : readDraft(draft)
  const step = steps.find((one) => one.name === plan.step)
  const direction = plan.direction ?? 'action'
  const hasMoved = saga.version !== version
  const isStale = state?.is === 'refused' && state.error instanceof ApiProblem && isConflict(state.error)
  const isLost = hasMoved && (isStale || isForStuck === true)

  async function send(): Promise<void> {
    setState({ is: 'asking' })
    const body = {
      reason,
      ...(plan.step !== undefined && isForStuck === true && { step: plan.step }),
      ...(read?.ok === true && { input: read.value, ...(draft?.force === true && { force: true }) }),
    }
    try {
      await ask('POST', `v1/sagas/${encodeURIComponent(saga.sagaId)}/${path}`, { body, ifMatch: version })
      onDone(version)
    } catch (error) {
      setState({ is: 'refused', error })
    }
    await queries.invalidateQueries({ queryKey: ['saga', saga.sagaId] })
  }

  return (
    <Dialog
      open
      onClose={onClose}
      title={
        plan.step === undefined
          ? name
          : `${name}: ${plan.direction === 'compensation' ? 'undo of ' : ''}${plan.step}`
      }
      wide={draft !== undefined}
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
          {plan.verb === 'retry' && plan.step !== undefined && (step?.takesInput[direction] ?? true) && (
            <label className="mb-3 flex items-center gap-2">
              <input
                type="checkbox"
                checked={draft !== undefined}
                onChange={({ target }) =>
                  setDraft(target.checked ? { text: undefined, force: false } : undefined)
                }
              />
              with another input for this step
            </label>
          )}
          {draft !== undefined && (
            <EditInput saga={saga} step={step} direction={direction} draft={draft} onChange={setDraft} />
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
          {state?.is === 'refused' && !isLost && (
            <div className="mb-3">
              <Wrong error={state.error} />
            </div>
          )}
          {isLost ? (
            <div role="alert" className="mb-3 rounded-md border border-compensating bg-warn-sheet px-3 py-2">
              <p>
                <span className="font-medium">The saga has moved on</span> since you opened this
                {isStale && ', and nothing was done'}. What has happened:
              </p>
              <Since entries={history} version={version} />
              <Button
                className="mt-2"
                onClick={() => {
                  setVersion(saga.version)
                  setState(undefined)
                }}
              >
                I have seen it
              </Button>
            </div>
          ) : (
            <Button
              kind={danger === true ? 'danger' : 'strong'}
              type="submit"
              disabled={reason.trim() === '' || state?.is === 'asking' || read?.ok === false}
            >
              {state?.is === 'asking' ? 'Asking …' : name}
            </Button>
          )}
        </form>
      )}
    </Dialog>
  )
}

function isConflict({ status }: ApiProblem): boolean {
  return status === 409 || status === 412
}

/** What will come of it if everything succeeds. */
function Foreseen({ plan }: { plan: VerbPlan }) {
  return (
    <div className="mb-3 rounded-md bg-sunk px-3 py-2">
      <p className="mb-1 text-[12px] text-faint">If everything succeeds from here on</p>
      <p className="leading-7">
        {plan.acts.slice(0, MOST_ACTS).map(({ step, direction, round }) => (
          <span key={`${direction} ${step} ${round}`}>
            <span className={direction === 'compensation' ? 'text-compensating' : ''}>
              {direction === 'compensation' ? `↶ ${step}` : step}
            </span>
            <span className="text-faint"> → </span>
          </span>
        ))}
        {plan.acts.length > MOST_ACTS && (
          <span className="text-faint">… {plan.acts.length - MOST_ACTS} more → </span>
        )}
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

const MOST_ACTS = 40
