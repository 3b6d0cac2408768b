import type { SagaSummary, Stats } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { fetchSagas, fetchServices, fetchStats, fetchWorkers } from '../data.ts'
import { Minutes } from '../ui/minutes.tsx'
import { STATUSES, StatusMark } from '../ui/status.tsx'
import { Ago, span } from '../ui/time.tsx'
import { Command, Empty, Loading, Text, Title, Wrong } from '../ui/told.tsx'

/** What needs a person, before anything else. */
export function OverviewPage() {
  const stats = useQuery({ queryKey: ['stats'], queryFn: fetchStats })
  const stuck = useQuery({
    queryKey: ['sagas', { status: 'stuck' }, 'all of them'],
    queryFn: ({ signal }) => fetchSagas({ status: 'stuck' }, { limit: 200 }, signal),
  })
  const unclean = useQuery({
    queryKey: ['sagas', { clean: 'false' }, 'all of them'],
    queryFn: ({ signal }) => fetchSagas({ clean: 'false' }, { limit: 200 }, signal),
  })
  const services = useQuery({ queryKey: ['services'], queryFn: fetchServices })
  const workers = useQuery({ queryKey: ['workers'], queryFn: fetchWorkers })
  if (stats.isPending) return <Loading />
  if (stats.data === undefined) return <Wrong error={stats.error} />
  const isNew = stats.data.sagas.length === 0

  return (
    <>
      <Title>Overview</Title>
      {stats.isError && <Wrong error={stats.error} />}
      <NeedsYou stuck={stuck.data?.items ?? []} more={stuck.data?.nextCursor !== undefined}>
        {services.data
          ?.filter(({ breaker }) => breaker !== undefined && breaker !== 'closed')
          .map(({ service, breaker, waiting }) => (
            <Matter key={service}>
              <span className="font-medium text-compensating">
                <Link to="/services" className="text-link">
                  {service}
                </Link>{' '}
                is {breaker === 'open' ? 'not called' : 'being tried'}
              </span>
              <span className="text-soft">
                its circuit breaker is {breaker === 'open' ? 'open' : 'half open'}; {waiting} attempts wait
                for it
              </span>
            </Matter>
          ))}
        {unclean.data !== undefined && unclean.data.items.length > 0 && (
          <Matter>
            <Link to="/sagas" search={{ clean: 'false' }} className="text-link font-medium text-abandoned">
              {unclean.data.items.length}
              {unclean.data.nextCursor === undefined ? '' : ' or more'} ended unclean
            </Link>
            <span className="text-soft">
              undone, but an effect may be left that nobody could learn the truth about
            </span>
          </Matter>
        )}
        {workers.data?.length === 0 && (
          <Matter>
            <span className="font-medium text-compensating">No worker is alive</span>
            <span className="text-soft">
              sagas that are started wait until one comes: <code>node apps/worker/src/main.ts</code>
            </span>
          </Matter>
        )}
      </NeedsYou>
      {isNew ? (
        <div className="mt-6">
          <Empty title="No saga has been started here yet">
            Register a definition, then start one:
            <Command>{`curl -X POST ${new URL('v1/sagas', document.baseURI).href} \\
  -H 'content-type: application/json' \\
  -d '{"definition":"order","input":{"orderId":"o-1"}}'`}</Command>
          </Empty>
        </div>
      ) : (
        <Figures stats={stats.data} workers={workers.data?.length} />
      )}
    </>
  )
}

function NeedsYou({
  stuck,
  more,
  children,
}: {
  stuck: readonly SagaSummary[]
  more: boolean
  children: React.ReactNode
}) {
  const groups = Map.groupBy(stuck, ({ definition, stuck: why }) =>
    JSON.stringify([definition.name, why?.step ?? '', why?.direction ?? '', why?.reason ?? '']),
  )
  const others = [children]
    .flat(2)
    .filter((child) => child !== false && child !== undefined && child !== null)
  if (groups.size === 0 && others.length === 0) {
    return (
      <section aria-label="What needs a person" className="sheet flex items-center gap-3 px-4 py-3">
        <span aria-hidden="true" className="text-completed">
          ✓
        </span>
        <p>
          <span className="font-medium">Nothing needs you.</span>{' '}
          <span className="text-soft">No saga is stuck, no service is cut off.</span>
        </p>
      </section>
    )
  }
  return (
    <section aria-labelledby="needs" className="sheet overflow-hidden">
      <h2 id="needs" className="border-line border-b bg-stuck-sheet px-4 py-2 font-semibold">
        Needs a person
      </h2>
      <ul>
        {[...groups.values()]
          .toSorted((one, other) => other.length - one.length)
          .map((group) => {
            const [first] = group
            if (first === undefined) return null
            const { definition, stuck: why } = first
            const oldest = group.map((one) => one.stuck?.since ?? one.updatedAt).toSorted()[0]
            const search = {
              status: 'stuck',
              definition: definition.name,
              ...(first.failedStep !== undefined && { failedStep: first.failedStep }),
            }
            return (
              <Matter key={first.sagaId}>
                <Link
                  to={group.length === 1 ? '/sagas/$sagaId' : '/sagas'}
                  params={{ sagaId: first.sagaId }}
                  search={group.length === 1 ? {} : search}
                  className="text-link font-medium text-stuck"
                >
                  {group.length === 1 ? '1 saga' : `${group.length} sagas`} of {definition.name}
                </Link>
                <span className="text-soft">
                  stuck{' '}
                  {why?.step ? `at ${why.direction === 'compensation' ? 'the undo of ' : ''}${why.step}` : ''}
                  {', since '}
                  <Ago at={oldest} />
                </span>
                <span className="basis-full">
                  <Text>{why?.message ?? first.failureReason ?? ''}</Text>
                </span>
              </Matter>
            )
          })}
        {more && (
          <Matter>
            <Link to="/sagas" search={{ status: 'stuck' }} className="text-link">
              There are more; the list has all of them.
            </Link>
          </Matter>
        )}
        {children}
      </ul>
    </section>
  )
}

function Matter({ children }: { children: React.ReactNode }) {
  return (
    <li className="flex flex-wrap gap-x-3 gap-y-0.5 border-line border-b px-4 py-2.5 last:border-b-0">
      {children}
    </li>
  )
}

function Figures({ stats, workers }: { stats: Stats; workers: number | undefined }) {
  const byStatus = Map.groupBy(stats.sagas, ({ status }) => status)
  return (
    <>
      <section
        aria-label="Sagas by status"
        className="mt-6 grid grid-cols-2 gap-px overflow-hidden rounded-lg border border-line bg-line sm:grid-cols-4 xl:grid-cols-7"
      >
        {STATUSES.map((status) => {
          const count = byStatus.get(status)?.reduce((sum, one) => sum + one.count, 0) ?? 0
          return (
            <Link key={status} to="/sagas" search={{ status }} className="bg-sheet px-4 py-3 hover:bg-sunk">
              <span
                className={`block text-2xl font-semibold tracking-tight ${count === 0 ? 'text-faint' : ''}`}
              >
                {count.toLocaleString()}
              </span>
              <StatusMark status={status} />
            </Link>
          )
        })}
      </section>
      <Minutes minutes={stats.minutes} />
      <section aria-label="Pace" className="mt-6 grid gap-4 sm:grid-cols-2 xl:grid-cols-4">
        <Figure name="In the last minute" value={`${stats.perMinute.started.toLocaleString()} started`}>
          {stats.perMinute.ended.toLocaleString()} ended
        </Figure>
        <Figure name="A step takes" value={msOf(stats.stepMs.p50)}>
          p90 {msOf(stats.stepMs.p90)}, p99 {msOf(stats.stepMs.p99)}
        </Figure>
        <Figure name="A saga takes" value={msOf(stats.durationMs.p50)}>
          p90 {msOf(stats.durationMs.p90)}, p99 {msOf(stats.durationMs.p99)}
        </Figure>
        <Figure name="Workers alive" value={workers === undefined ? '–' : String(workers)}>
          oldest saga due: {stats.oldestDueAt === null ? 'none waits' : <Ago at={stats.oldestDueAt} />}
        </Figure>
      </section>
      <Definitions stats={stats} />
    </>
  )
}

function Figure({ name, value, children }: { name: string; value: string; children: React.ReactNode }) {
  return (
    <div className="sheet px-4 py-3">
      <p className="text-[12px] text-faint">{name}</p>
      <p className="text-lg font-semibold tracking-tight">{value}</p>
      <p className="text-soft">{children}</p>
    </div>
  )
}

function msOf(ms: number | null): string {
  return ms === null ? '–' : span(ms)
}

function Definitions({ stats }: { stats: Stats }) {
  const rows = [...Map.groupBy(stats.sagas, ({ definition }) => definition)]
    .map(([name, counts]) => ({
      name,
      total: counts.reduce((sum, { count }) => sum + count, 0),
      of: (status: string) => counts.find((one) => one.status === status)?.count ?? 0,
    }))
    .toSorted((one, other) => other.of('stuck') - one.of('stuck') || other.total - one.total)
  return (
    <section className="sheet mt-6 overflow-x-auto" aria-label="Sagas by definition">
      <table className="data">
        <thead>
          <tr>
            <th>Definition</th>
            {STATUSES.map((status) => (
              <th key={status} className="!text-right">
                {status}
              </th>
            ))}
            <th className="!text-right">all</th>
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, 30).map(({ name, total, of }) => (
            <tr key={name}>
              <td>
                <Link to="/definitions/$name" params={{ name }} className="text-link">
                  {name}
                </Link>
              </td>
              {STATUSES.map((status) => (
                <td key={status} className={`text-right ${of(status) === 0 ? 'text-faint' : ''}`}>
                  {of(status) === 0 ? (
                    '·'
                  ) : (
                    <Link to="/sagas" search={{ definition: name, status }} className="hover:underline">
                      {of(status).toLocaleString()}
                    </Link>
                  )}
                </td>
              ))}
              <td className="text-right font-medium">{total.toLocaleString()}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
