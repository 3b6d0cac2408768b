import type { Direction, Saga } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useMemo } from 'react'
import { wholeAttemptsQuery } from '../data.ts'
import { Loading, Wrong } from '../ui/told.tsx'
import type { Step } from './course.ts'
import { Diff } from './diff.tsx'

/** What is to take the place of a step's input: as it is being written, and as it is read. */
export type Draft = { text: string | undefined; force: boolean }
export type Read = { ok: true; value: unknown } | { ok: false; why: string }

export function readDraft({ text }: Draft): Read {
  if (text === undefined) return { ok: false, why: 'it is being fetched' }
  try {
    return { ok: true, value: JSON.parse(text) }
  } catch (error) {
    return { ok: false, why: error instanceof Error ? error.message : String(error) }
  }
}

/** Begins with what was sent last, and shows what is changed in it. */
export function EditInput({
  saga,
  step,
  direction,
  draft,
  onChange,
}: {
  saga: Saga
  step: Step | undefined
  direction: Direction
  draft: Draft
  onChange: (draft: Draft) => void
}) {
  const name = step?.name ?? saga.stuck?.step ?? ''
  const attempts = useQuery(wholeAttemptsQuery(saga.sagaId, saga.version, name, direction))
  const sent = useMemo(() => {
    const request = attempts.data?.findLast((attempt) => attempt.request !== undefined)?.request
    if (request === undefined) return undefined
    if (step?.writesBody[direction] === true) return { value: request.body }
    const body: unknown = request.body
    const isWhole = typeof body === 'object' && body !== null && 'input' in body
    return { value: request.input ?? (isWhole ? body.input : undefined) ?? null }
  }, [attempts.data, step, direction])
  const isFetched = attempts.data !== undefined || attempts.isError
  const { text } = draft
  useEffect(() => {
    if (text === undefined && isFetched)
      onChange({ ...draft, text: JSON.stringify(sent?.value ?? {}, null, 2) })
  })
  const read = readDraft(draft)
  const mustForce = direction === 'compensation' || saga.uncertainSteps.includes(name)
  if (text === undefined) return <Loading />
  return (
    <div className="mb-3 space-y-2">
      {attempts.isError && <Wrong error={attempts.error} />}
      <label className="block">
        <span className="mb-1 block text-soft">
          {PLACES[placeOf(step, direction)]}{' '}
          {sent === undefined && isFetched && 'Nobody knows what was sent before.'}
        </span>
        <textarea
          className="field json w-full"
          rows={Math.min(18, Math.max(5, text.split('\n').length))}
          spellCheck={false}
          value={text}
          onChange={({ target }) => onChange({ ...draft, text: target.value })}
          aria-invalid={!read.ok}
          aria-describedby="draft-problem"
        />
      </label>
      <p id="draft-problem" className="text-stuck" role="status">
        {read.ok ? '' : `This is no JSON yet: ${read.why}`}
      </p>
      {read.ok && sent !== undefined && (
        <Diff was={sent.value} is={read.value} same="It is what was sent before: nothing is changed yet." />
      )}
      {mustForce && (
        <label className="flex items-start gap-2">
          <input
            type="checkbox"
            className="mt-1"
            checked={draft.force}
            onChange={({ target }) => onChange({ ...draft, force: target.checked })}
          />
          <span>
            Although an attempt before may have had its effect: with another input it has another key, its
            service does not know it again, and it may be done twice.
          </span>
        </label>
      )}
    </div>
  )
}

/** What the input is, by what the step is (docs/guides/operations.md). */
const PLACES = {
  body: 'The body that is sent, as JSON.',
  field: 'The field “input” of what is sent, as JSON.',
  saga: 'The input of the saga that the step starts, as JSON. It is checked against its schema when it starts.',
} as const

function placeOf(step: Step | undefined, direction: Direction): keyof typeof PLACES {
  if (step?.kind === 'saga') return 'saga'
  return step?.writesBody[direction] === true ? 'body' : 'field'
}
