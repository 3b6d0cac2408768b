import type { SagaSummary } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { fetchSagas } from '../data.ts'
import { Loading, Wrong } from '../ui/told.tsx'

/** As many as a page of the list has. */
const SAMPLE = 200

/** Where sagas of this definition did not get on, over the latest of them. */
export function Failing({ name }: { name: string }) {
  const sample = useQuery({
    queryKey: ['failing', name],
    queryFn: ({ signal }) =>
      fetchSagas(
        { definition: name, status: 'stuck,compensating,failed,cancelled,abandoned' },
        { limit: SAMPLE },
        signal,
      ),
    refetchInterval: 30_000,
  })
  const items = sample.data?.items ?? []
  const rows = rowsOf(items)
  return (
    <section className="sheet px-4 py-3" aria-labelledby="failing">
      <h2 id="failing" className="mb-1 font-semibold">
        Where they fail
      </h2>
      {sample.isPending && <Loading />}
      {sample.isError && <Wrong error={sample.error} />}
      {sample.data !== undefined && (
        <p className="mb-2 text-soft">
          {items.length === 0
            ? 'None of them has failed, is being undone or needs a person.'
            : `Of the ${items.length === SAMPLE && sample.data.nextCursor !== undefined ? `latest ${SAMPLE}` : items.length} that did not get through:`}
        </p>
      )}
      <ul className="space-y-1">
        {rows.map(({ step, count, stuck }) => (
          <li key={step} className="grid grid-cols-[10rem_3rem_minmax(0,1fr)] items-center gap-3">
            {step === '' ? (
              <span className="text-faint">no step: cancelled, or its deadline</span>
            ) : (
              <Link
                to="/sagas"
                search={{ definition: name, failedStep: step }}
                className="text-link truncate"
              >
                {step}
              </Link>
            )}
            <span className="text-right">{count}</span>
            <span className="flex items-center gap-2">
              <span
                className="h-2 min-w-1 rounded-sm bg-failed"
                style={{ width: `${(count / items.length) * 70}%` }}
                aria-hidden="true"
              />
              {stuck > 0 && <span className="text-[12px] whitespace-nowrap text-stuck">{stuck} stuck</span>}
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}

function rowsOf(sagas: readonly SagaSummary[]): { step: string; count: number; stuck: number }[] {
  return [...Map.groupBy(sagas, ({ failedStep, stuck }) => failedStep ?? stuck?.step ?? '')]
    .map(([step, group]) => ({
      step,
      count: group.length,
      stuck: group.filter(({ status }) => status === 'stuck').length,
    }))
    .toSorted((one, other) => other.count - one.count)
}
