import type { Saga } from '@backstitch/core'
import { Link } from '@tanstack/react-router'
import { StatusMark } from '../ui/status.tsx'
import { Ago, span } from '../ui/time.tsx'
import { Text } from '../ui/told.tsx'
import { isPastPivot, owedOf, type Step } from './course.ts'

const FEW = 10

/** For somebody who has just been woken: what it is, why, and what happens next and when. */
export function Headline({ saga, steps }: { saga: Saga; steps: readonly Step[] }) {
  const owed = owedOf(saga, steps)
  const isBad = saga.status === 'stuck'
  return (
    <section
      aria-label="Where it stands"
      className={`sheet px-4 py-3 ${isBad ? 'border-stuck bg-stuck-sheet' : ''}`}
    >
      <p className="flex flex-wrap items-baseline gap-x-3 text-base">
        <StatusMark status={saga.status} large />
        <span className="font-medium">{inAWord(saga)}</span>
      </p>
      {saga.stuck !== undefined && saga.status === 'stuck' && (
        <p className="mt-1.5">
          <Text lines={6}>{saga.stuck.message}</Text>
        </p>
      )}
      {saga.failureReason !== undefined && (
        <p className="mt-1.5">
          <span className="text-soft">What turned it round: </span>
          <Text lines={6}>{saga.failureReason}</Text>
        </p>
      )}
      {saga.cancel !== undefined && (
        <p className="mt-1.5">
          <span className="text-soft">
            Cancelled by <bdi>{saga.cancel.actor}</bdi>, <Ago at={saga.cancel.at} />:{' '}
          </span>
          <Text>{saga.cancel.reason}</Text>
        </p>
      )}
      {saga.paused !== undefined && (
        <p className="mt-1.5">
          <span className="font-medium text-compensating">Paused</span>
          <span className="text-soft">
            {' '}
            by <bdi>{saga.paused.actor}</bdi>, <Ago at={saga.paused.at} />: nothing more is begun until
            somebody resumes it.{' '}
          </span>
          <Text>{saga.paused.reason}</Text>
        </p>
      )}
      <p className="mt-1.5">
        <span className="text-soft">Next: </span>
        <Next saga={saga} />
      </p>
      {owed.length > 0 && (
        <p className="mt-1.5">
          <span className="text-soft">Still to be undone, in this order: </span>
          {owed.slice(0, FEW).join(', ')}
          {owed.length > FEW && <span className="text-soft"> and {owed.length - FEW} more</span>}
        </p>
      )}
      {saga.uncertainSteps.length > 0 && (
        <p className="mt-2 rounded-md border border-compensating bg-warn-sheet px-3 py-2">
          <span className="font-medium">
            May have happened all the same: {saga.uncertainSteps.join(', ')}.
          </span>{' '}
          <span className="text-soft">
            An attempt ended without an answer. Look into the service, by the key of the attempt, before you
            call it undone.
          </span>
        </p>
      )}
      {saga.unreadable !== undefined && (
        <p className="mt-2 rounded-md border border-stuck px-3 py-2">
          <span className="font-medium">Not all of it can be read:</span> <Text>{saga.unreadable}</Text>
        </p>
      )}
      {saga.parent !== undefined && (
        <p className="mt-1.5">
          <span className="text-soft">It carries out </span>
          {saga.parent.step}
          <span className="text-soft"> of </span>
          <Link to="/sagas/$sagaId" params={{ sagaId: saga.parent.sagaId }} className="text-link">
            the saga above it
          </Link>
        </p>
      )}
    </section>
  )
}

function inAWord(saga: Saga): string {
  const took = span(Date.parse(saga.endedAt ?? saga.updatedAt) - Date.parse(saga.startedAt))
  switch (saga.status) {
    case 'completed':
      return `Everything is done. It took ${took}.`
    case 'failed':
      return saga.clean === false
        ? 'It failed, and what could be undone is undone; one effect may be left.'
        : 'It failed, and everything owed has been undone.'
    case 'cancelled':
      return saga.clean === false
        ? 'It was cancelled and undone; one effect may be left.'
        : 'It was cancelled, and everything owed has been undone.'
    case 'abandoned':
      return 'A person closed it; what was owed then was left.'
    case 'compensating':
      return `It is being undone: ${saga.compensatedSteps.length} of ${saga.completedSteps.length} steps so far.`
    case 'stuck': {
      const { step, direction } = saga.stuck ?? {}
      if (step === null || step === undefined) return 'Nothing more happens until a person acts.'
      return direction === 'compensation'
        ? `The undo of ${step} did not succeed. Nothing more happens until a person acts.`
        : `${step} did not succeed${isPastPivot(saga) ? ', and after the pivot nothing can be undone' : ''}. Nothing more happens until a person acts.`
    }
    case 'running':
      if (saga.cause !== undefined) return 'It has turned round, and waits for what is still running.'
      return Object.keys(saga.attempts).every((step) => Object.hasOwn(saga.waiting ?? {}, step))
        ? 'It waits.'
        : 'It is under way.'
  }
}

function Next({ saga }: { saga: Saga }) {
  const { act, attempts = [], worker, waitingForWorker } = saga.next
  if (act === 'nothing') {
    return (
      <span>
        nothing; it ended <Ago at={saga.endedAt} />
      </span>
    )
  }
  if (act === 'waitForOperator') return <span>you decide: see “Fix it”.</span>
  return (
    <span>
      {attempts.map(({ step, direction, attempt, dueAt, waiting }, index) => (
        <span key={step}>
          {index > 0 && '; '}
          <span className="font-medium">{direction === 'compensation' ? `undo of ${step}` : step}</span>
          {waiting === undefined
            ? `, attempt ${attempt}`
            : waiting.for === 'signal'
              ? `, when the signal “${waiting.signal}” comes`
              : waiting.for === 'callback'
                ? ', when its service calls back'
                : ''}
          {waiting?.for === 'saga' && (
            <>
              , when{' '}
              <Link to="/sagas/$sagaId" params={{ sagaId: waiting.sagaId }} className="text-link">
                its own saga
              </Link>
              {waiting.stuck === true && <span className="font-medium text-stuck">, which is stuck,</span>}
              {waiting.cancelled === true && ', which is being undone,'} has ended
            </>
          )}
          {dueAt !== undefined && (
            <>
              {waiting !== undefined && waiting.for !== 'delay' ? ', at the latest ' : ', '}
              <Ago at={dueAt} />
            </>
          )}
        </span>
      ))}
      {waitingForWorker === true ? (
        <span className="font-medium text-compensating"> — but no live worker can do it.</span>
      ) : worker !== undefined ? (
        <span className="text-soft"> — a worker has it (…{worker.slice(-8)}).</span>
      ) : null}
    </span>
  )
}
