import type { Direction, Saga } from '@backstitch/core'
import { Tabs } from '@base-ui/react/tabs'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useCallback, useMemo, useState } from 'react'
import { useParam } from '../address.ts'
import { ApiProblem } from '../api.ts'
import { attemptsQuery, definitionQuery, historyQuery, sagaQuery } from '../data.ts'
import { Attempts } from '../saga/attempts.tsx'
import { Context } from '../saga/context.tsx'
import { type Step, standingOf, stepsOf } from '../saga/course.ts'
import { FixIt } from '../saga/fix.tsx'
import { Graph } from '../saga/graph.tsx'
import { Headline } from '../saga/headline.tsx'
import { History } from '../saga/history.tsx'
import { Trace } from '../saga/trace.tsx'
import { Copy, Json } from '../ui/json.tsx'
import { Paused } from '../ui/status.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Loading, Wrong } from '../ui/told.tsx'

export function SagaPage() {
  const sagaId = useParam('sagaId')
  const saga = useQuery(sagaQuery(sagaId))
  if (saga.data === undefined) {
    if (saga.isPending) return <Loading />
    if (saga.error instanceof ApiProblem && saga.error.status === 404) {
      return (
        <Empty title="There is no such saga">
          Its id may be cut off, or it belongs to another installation.
        </Empty>
      )
    }
    return <Wrong error={saga.error} />
  }
  return (
    <>
      {saga.isError && <Wrong error={saga.error} />}
      <One key={sagaId} saga={saga.data} />
    </>
  )
}

function One({ saga }: { saga: Saga }) {
  const history = useQuery(historyQuery(saga.sagaId, saga.version))
  const definition = useQuery(definitionQuery(saga.definition.name, saga.definition.version))
  const steps = useMemo(() => stepsOf(definition.data?.document), [definition.data])
  const entries = useMemo(() => history.data ?? [], [history.data])
  const attempts = useQuery(attemptsQuery(saga.sagaId, saga.version, saga.next.worker))
  const [tab, setTab] = useState('time')
  const [chosen, setChosen] = useState<string>()
  const standings = useCallback(
    (step: Step, direction: Direction) => standingOf(saga, step, direction, entries),
    [saga, entries],
  )
  const choose = useCallback((step: string) => {
    setChosen(step)
    setTab('time')
  }, [])

  return (
    <div className="space-y-4">
      <header>
        <p className="text-[12px] text-faint">
          <Link to="/sagas" className="hover:underline">
            Sagas
          </Link>
          {' / '}
          <Link to="/definitions/$name" params={{ name: saga.definition.name }} className="hover:underline">
            {saga.definition.name}
          </Link>{' '}
          version {saga.definition.version}
        </p>
        <h1 className="mt-0.5 flex flex-wrap items-baseline gap-x-3 text-xl font-semibold tracking-tight">
          <bdi className="break-all">{saga.sagaKey ?? saga.sagaId}</bdi>
          {saga.sagaKey === undefined && <Copy text={saga.sagaId} what="the saga’s id" />}
          {saga.paused !== undefined && <Paused />}
        </h1>
        <p className="mt-1 flex flex-wrap items-baseline gap-x-4 gap-y-1 text-[12px] text-soft">
          {saga.sagaKey !== undefined && (
            <span>
              <span className="font-mono break-all">{saga.sagaId}</span>{' '}
              <Copy text={saga.sagaId} what="the saga’s id" />
            </span>
          )}
          <span>
            started <Ago at={saga.startedAt} />
          </span>
          <span>
            changed <Ago at={saga.updatedAt} />
          </span>
          {saga.deadlineAt !== undefined && (
            <span>
              deadline <Ago at={saga.deadlineAt} />
            </span>
          )}
          {saga.correlationId !== undefined && (
            <span>
              correlation <bdi className="font-mono break-all">{saga.correlationId}</bdi>
            </span>
          )}
          <Trace saga={saga} history={entries} />
          {Object.entries(saga.tags).map(([name, value]) => (
            <Link
              key={name}
              to="/sagas"
              search={{ [`tag.${name}`]: value }}
              className="max-w-64 truncate rounded bg-sunk px-1.5 hover:underline"
            >
              <bdi>
                {name}: {value}
              </bdi>
            </Link>
          ))}
        </p>
      </header>
      <Headline saga={saga} steps={steps} />
      <FixIt saga={saga} steps={steps} history={entries} />
      <section className="sheet overflow-hidden" aria-label="Steps">
        <Graph
          key={steps.length}
          steps={steps}
          standings={standings}
          looksAt={saga.stuck?.step ?? saga.next.attempts?.[0]?.step ?? saga.failedStep}
          children={saga.children}
          onChoose={choose}
        />
      </section>
      <Children saga={saga} />
      <Tabs.Root
        value={tab}
        onValueChange={(value) => setTab(String(value))}
        className="sheet overflow-hidden"
      >
        <Tabs.List className="flex flex-wrap gap-1 border-line border-b px-2 pt-1.5" aria-label="Views">
          {[
            ['time', 'Attempts'],
            ['context', 'Context'],
            ['history', `History (${saga.version})`],
            ['raw', 'Raw'],
          ].map(([value, name]) => (
            <Tabs.Tab
              key={value}
              value={value}
              className="border-transparent border-b-2 px-3 py-1.5 text-soft data-[active]:border-thread data-[active]:font-medium data-[active]:text-ink data-[selected]:border-thread data-[selected]:font-medium data-[selected]:text-ink"
            >
              {name}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {history.isError && <Wrong error={history.error} />}
        <Tabs.Panel value="time">
          {attempts.isError && <Wrong error={attempts.error} />}
          {attempts.data === undefined ? (
            attempts.isPending && <Loading />
          ) : (
            <Attempts
              saga={saga}
              attempts={attempts.data}
              step={chosen}
              onClear={() => setChosen(undefined)}
            />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="context">
          <Context saga={saga} history={entries} />
        </Tabs.Panel>
        <Tabs.Panel value="history">
          <History entries={entries} />
        </Tabs.Panel>
        <Tabs.Panel value="raw" className="p-4">
          <Copy text={JSON.stringify(saga, null, 2)} what="the saga as JSON" />
          <Json value={saga} />
        </Tabs.Panel>
      </Tabs.Root>
    </div>
  )
}

function Children({ saga }: { saga: Saga }) {
  const children = Object.entries(saga.children ?? {})
  if (children.length === 0 && saga.undoOf === undefined) return null
  return (
    <section className="sheet px-4 py-3" aria-label="Other sagas">
      <h2 className="mb-1 font-semibold">Other sagas</h2>
      <ul className="space-y-1">
        {saga.undoOf !== undefined && (
          <li>
            it undoes{' '}
            <Link to="/sagas/$sagaId" params={{ sagaId: saga.undoOf }} className="text-link">
              this saga
            </Link>
          </li>
        )}
        {children.map(([step, sagaId]) => (
          <li key={step}>
            {step}:{' '}
            <Link to="/sagas/$sagaId" params={{ sagaId }} className="text-link font-mono break-all">
              {sagaId}
            </Link>
          </li>
        ))}
      </ul>
    </section>
  )
}
