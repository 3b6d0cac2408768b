import type { DefinitionPlan, DefinitionSummary, DefinitionVersion, Direction, Page } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useCallback, useMemo, useState } from 'react'
import { useParam, useTexts } from '../address.ts'
import { ApiProblem, get, withQuery } from '../api.ts'
import { definitionQuery, fetchSagas, fetchStats } from '../data.ts'
import { Failing } from '../definition/failing.tsx'
import { Start } from '../definition/start.tsx'
import { type Standing, type Step, stepsOf } from '../saga/course.ts'
import { Diff } from '../saga/diff.tsx'
import { Graph } from '../saga/graph.tsx'
import { Json } from '../ui/json.tsx'
import { STATUSES, StatusMark } from '../ui/status.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Loading, Title, Wrong } from '../ui/told.tsx'

/** One definition: its versions, what it does, what happens when a step fails, and a start by hand. */
export function DefinitionPage() {
  const name = useParam('name')
  const search = useTexts()
  const navigate = useNavigate()
  const versions = useQuery({
    queryKey: ['versions', name],
    queryFn: ({ signal }) =>
      get<Page<DefinitionSummary>>(
        withQuery(`v1/definitions/${encodeURIComponent(name)}/versions`, { limit: 200 }),
        signal,
      ),
  })
  if (versions.data === undefined) {
    if (versions.isPending) return <Loading />
    if (versions.error instanceof ApiProblem && versions.error.status === 404)
      return <Empty title="There is no such definition">It may belong to another installation.</Empty>
    return <Wrong error={versions.error} />
  }
  const newest = versions.data.items[0]?.version ?? 1
  const version = Number(search.version ?? newest)
  return (
    <>
      <Title
        aside={
          <label>
            <span className="mr-2 text-soft">version</span>
            <select
              className="field"
              value={version}
              onChange={({ target }) =>
                void navigate({
                  to: '/definitions/$name',
                  params: { name },
                  search: { version: target.value },
                })
              }
            >
              {versions.data.items.map((one) => (
                <option key={one.version} value={one.version}>
                  {one.version}
                  {one.version === newest ? ', the newest' : ''}
                </option>
              ))}
            </select>
          </label>
        }
      >
        {name}
      </Title>
      <Version key={version} name={name} version={version} versions={versions.data.items} />
    </>
  )
}

function Version({
  name,
  version,
  versions,
}: {
  name: string
  version: number
  versions: readonly DefinitionSummary[]
}) {
  const definition = useQuery(definitionQuery(name, version))
  if (definition.data === undefined)
    return definition.isPending ? <Loading /> : <Wrong error={definition.error} />
  const { document, createdAt, queue } = definition.data
  return (
    <div className="space-y-4">
      <p className="text-soft">
        Registered <Ago at={createdAt} /> · queue {queue}
      </p>
      <Sagas name={name} />
      <WhatIf name={name} version={version} document={document} />
      <div className="grid gap-4 xl:grid-cols-2">
        <Failing name={name} />
        <Versions name={name} version={version} versions={versions} />
      </div>
      <Start name={name} version={version} schema={document.inputSchema} />
      <details className="sheet px-4 py-3">
        <summary className="cursor-pointer font-semibold">Document</summary>
        <div className="mt-2">
          <Json value={document} />
        </div>
      </details>
    </div>
  )
}

function Sagas({ name }: { name: string }) {
  const { data } = useQuery({ queryKey: ['stats'], queryFn: fetchStats })
  const counts = data?.sagas.filter(({ definition, count }) => definition === name && count > 0) ?? []
  if (data === undefined) return null
  if (counts.length === 0) return <p className="text-soft">No saga of it has been started yet.</p>
  return (
    <p className="flex flex-wrap gap-x-5 gap-y-1">
      {STATUSES.flatMap((status) => {
        const count = counts.find((one) => one.status === status)?.count
        if (count === undefined) return []
        return (
          <Link key={status} to="/sagas" search={{ definition: name, status }} className="hover:underline">
            <span className="mr-1.5 font-semibold">{count.toLocaleString()}</span>
            <StatusMark status={status} />
          </Link>
        )
      })}
    </p>
  )
}

// --- What would happen ---------------------------------------------------------------------------------------------

/** The plan, drawn on the steps: what runs, where it fails, what is undone. */
function WhatIf({
  name,
  version,
  document,
}: {
  name: string
  version: number
  document: DefinitionVersion['document']
}) {
  const steps = useMemo(() => stepsOf(document), [document])
  const [failAt, setFailAt] = useState('')
  const plan = useQuery({
    queryKey: ['definition plan', name, version, failAt],
    queryFn: ({ signal }) =>
      get<DefinitionPlan>(
        withQuery(`v1/definitions/${encodeURIComponent(name)}/plan`, {
          version,
          failAt: failAt === '' ? undefined : failAt,
        }),
        signal,
      ),
    placeholderData: (before) => before,
    refetchInterval: false,
  })
  const acts = plan.data?.acts
  const standings = useCallback(
    (step: Step, direction: Direction): Standing => plannedStanding(acts, step, direction, failAt !== ''),
    [acts, failAt],
  )
  return (
    <section className="sheet overflow-hidden" aria-labelledby="what-if">
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2 border-line border-b px-4 py-2.5">
        <h2 id="what-if" className="font-semibold">
          What if
        </h2>
        <label>
          <span className="sr-only">What happens</span>
          <select className="field" value={failAt} onChange={({ target }) => setFailAt(target.value)}>
            <option value="">everything succeeds</option>
            {steps.map((step) => (
              <option key={step.name} value={step.name}>
                {step.name} fails for good
              </option>
            ))}
          </select>
        </label>
        {plan.data !== undefined && (
          <span className="text-soft">
            {plan.data.acts.length} acts, and it ends <StatusMark status={plan.data.ends} />
          </span>
        )}
      </div>
      {plan.isError && <Wrong error={plan.error} />}
      <Graph key={steps.length} steps={steps} standings={standings} onChoose={setFailAt} />
      {plan.data !== undefined && (
        <p
          className="max-h-40 overflow-auto px-4 py-2 leading-7"
          tabIndex={0}
          role="group"
          aria-label="In order"
        >
          {plan.data.acts.map(({ step, direction, outcome, round }) => (
            <span key={`${direction} ${step} ${round}`}>
              <span
                className={
                  outcome === 'rejected'
                    ? 'font-medium text-stuck'
                    : direction === 'compensation'
                      ? 'text-compensating'
                      : ''
                }
              >
                {direction === 'compensation' ? `↶ ${step}` : step}
                {outcome === 'rejected' ? ' ✕' : ''}
              </span>
              <span className="text-faint"> → </span>
            </span>
          ))}
          <StatusMark status={plan.data.ends} />
        </p>
      )}
    </section>
  )
}

function plannedStanding(
  acts: DefinitionPlan['acts'] | undefined,
  step: Step,
  direction: Direction,
  fails: boolean,
): Standing {
  if (direction === 'compensation' && !step.compensation) return 'none'
  const act = fails ? acts?.find((one) => one.step === step.name && one.direction === direction) : undefined
  if (act === undefined) return 'ahead'
  if (act.outcome === 'rejected') return 'failed'
  return direction === 'compensation' ? 'owed' : 'done'
}

// --- Versions ------------------------------------------------------------------------------------------------------

/** Those of which it is counted how many sagas are under way. */
const COUNTED = 5
const MOST_COUNTED = 200

function Versions({
  name,
  version,
  versions,
}: {
  name: string
  version: number
  versions: readonly DefinitionSummary[]
}) {
  const before =
    versions.find((one) => one.version < version) ?? versions.find((one) => one.version !== version)
  const [other, setOther] = useState(before?.version)
  return (
    <section className="sheet px-4 py-3" aria-labelledby="versions">
      <h2 id="versions" className="mb-2 font-semibold">
        Versions
      </h2>
      <ul className="max-h-48 overflow-auto">
        {versions.map((one, index) => (
          <li key={one.version} className="grid grid-cols-[4rem_minmax(0,1fr)_auto] gap-3 py-0.5">
            <Link
              to="/definitions/$name"
              params={{ name }}
              search={{ version: String(one.version) }}
              className={one.version === version ? 'font-semibold' : 'text-link'}
            >
              {one.version}
            </Link>
            <span className="truncate text-soft">
              <Ago at={one.createdAt} />
            </span>
            {index < COUNTED && <UnderWay name={name} version={one.version} />}
          </li>
        ))}
      </ul>
      {before !== undefined && (
        <>
          <label className="mt-3 mb-2 block">
            <span className="mr-2 text-soft">What version {version} changes from</span>
            <select className="field" value={other} onChange={({ target }) => setOther(Number(target.value))}>
              {versions
                .filter((one) => one.version !== version)
                .map((one) => (
                  <option key={one.version} value={one.version}>
                    {one.version}
                  </option>
                ))}
            </select>
          </label>
          {other !== undefined && <Compared name={name} from={other} to={version} />}
        </>
      )}
    </section>
  )
}

function Compared({ name, from, to }: { name: string; from: number; to: number }) {
  const one = useQuery(definitionQuery(name, from))
  const other = useQuery(definitionQuery(name, to))
  if (one.data === undefined || other.data === undefined) return <Loading />
  return <Diff was={one.data.document} is={other.data.document} same="They say the same." />
}

/** Sagas stay on the version they were started with (S26). */
function UnderWay({ name, version }: { name: string; version: number }) {
  const { data } = useQuery({
    queryKey: ['under way', name, version],
    queryFn: ({ signal }) =>
      fetchSagas(
        { definition: name, version: String(version), status: 'running,compensating,stuck' },
        { limit: MOST_COUNTED },
        signal,
      ),
    refetchInterval: 30_000,
  })
  if (data === undefined) return null
  const { length } = data.items
  return (
    <Link
      to="/sagas"
      search={{ definition: name, version: String(version), status: 'running,compensating,stuck' }}
      className={length === 0 ? 'text-faint' : 'text-link'}
    >
      {length === 0 ? 'none' : data.nextCursor === undefined ? length : `over ${MOST_COUNTED}`} under way
    </Link>
  )
}
