import type { DefinitionPlan, DefinitionSummary, Page, Saga } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import { useParam, useTexts } from '../address.ts'
import { ask, get, withQuery } from '../api.ts'
import { definitionQuery } from '../data.ts'
import { stepsOf } from '../saga/course.ts'
import { Graph } from '../saga/graph.tsx'
import { Button } from '../ui/button.tsx'
import { Json } from '../ui/json.tsx'
import { StatusMark } from '../ui/status.tsx'
import { Ago } from '../ui/time.tsx'
import { Loading, Title, Wrong } from '../ui/told.tsx'

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
  if (versions.data === undefined) return versions.isPending ? <Loading /> : <Wrong error={versions.error} />
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
      <Version key={version} name={name} version={version} />
    </>
  )
}

function Version({ name, version }: { name: string; version: number }) {
  const definition = useQuery(definitionQuery(name, version))
  const steps = useMemo(() => stepsOf(definition.data?.document), [definition.data])
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
    refetchInterval: false,
  })
  if (definition.data === undefined)
    return definition.isPending ? <Loading /> : <Wrong error={definition.error} />
  return (
    <div className="space-y-4">
      <p className="text-soft">
        Registered <Ago at={definition.data.createdAt} /> · queue {definition.data.queue} ·{' '}
        <Link to="/sagas" search={{ definition: name, version: String(version) }} className="text-link">
          its sagas
        </Link>{' '}
        ·{' '}
        <Link
          to="/sagas"
          search={{ definition: name, version: String(version), status: 'stuck' }}
          className="text-link"
        >
          those that are stuck
        </Link>
      </p>
      <section className="sheet overflow-hidden" aria-label="Steps">
        <Graph steps={steps} saga={undefined} history={[]} onChoose={setFailAt} />
      </section>
      <section className="sheet px-4 py-3" aria-labelledby="what-if">
        <h2 id="what-if" className="mb-2 font-semibold">
          What if
        </h2>
        <label>
          <select className="field" value={failAt} onChange={({ target }) => setFailAt(target.value)}>
            <option value="">everything succeeds</option>
            {steps.map((step) => (
              <option key={step.name} value={step.name}>
                {step.name} fails for good
              </option>
            ))}
          </select>
        </label>
        {plan.isError && <Wrong error={plan.error} />}
        {plan.data !== undefined && (
          <p className="mt-3 leading-7">
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
      <Start name={name} version={version} schema={definition.data.document.inputSchema} />
      <section className="sheet px-4 py-3" aria-labelledby="document">
        <h2 id="document" className="mb-2 font-semibold">
          Document
        </h2>
        <Json value={definition.data.document} />
      </section>
    </div>
  )
}

function Start({ name, version, schema }: { name: string; version: number; schema: unknown }) {
  const navigate = useNavigate()
  const [input, setInput] = useState(() => JSON.stringify(sampleOf(schema), null, 2))
  const [key, setKey] = useState('')
  const [error, setError] = useState<unknown>()
  return (
    <section className="sheet px-4 py-3" aria-labelledby="start">
      <h2 id="start" className="mb-2 font-semibold">
        Start one
      </h2>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          setError(undefined)
          void (async () => {
            try {
              const parsed: unknown = JSON.parse(input)
              const body = {
                definition: name,
                version,
                input: parsed,
                ...(key.trim() !== '' && { sagaKey: key.trim() }),
              }
              const { sagaId } = await ask<Saga>('POST', 'v1/sagas', { body })
              await navigate({ to: '/sagas/$sagaId', params: { sagaId } })
            } catch (problem) {
              setError(problem)
            }
          })()
        }}
      >
        <label className="mb-2 block">
          <span className="mb-1 block text-soft">Input, as JSON</span>
          <textarea
            className="field json w-full"
            rows={6}
            spellCheck={false}
            value={input}
            onChange={({ target }) => setInput(target.value)}
          />
        </label>
        <label className="mb-3 block">
          <span className="mb-1 block text-soft">Saga key, if it is to be started only once</span>
          <input
            className="field w-72 max-w-full"
            value={key}
            onChange={({ target }) => setKey(target.value)}
          />
        </label>
        {error !== undefined && (
          <div className="mb-3">
            <Wrong error={error} />
          </div>
        )}
        <Button kind="strong" type="submit">
          Start
        </Button>
      </form>
    </section>
  )
}

/** Something that has the shape, for somebody to write over. */
function sampleOf(schema: unknown): unknown {
  if (typeof schema !== 'object' || schema === null) return {}
  const { type, properties, required } = {
    type: undefined,
    properties: undefined,
    required: undefined,
    ...schema,
  }
  if ('default' in schema) return schema.default
  if ('enum' in schema && Array.isArray(schema.enum)) return schema.enum[0]
  if (type === 'object' || properties !== undefined) {
    const wanted: unknown[] = Array.isArray(required) ? required : []
    return Object.fromEntries(
      Object.entries(properties ?? {})
        .filter(([field]) => wanted.length === 0 || wanted.includes(field))
        .map(([field, of]) => [field, sampleOf(of)]),
    )
  }
  if (type === 'array') return []
  if (type === 'number' || type === 'integer') return 0
  if (type === 'boolean') return false
  return type === 'string' ? '' : null
}
