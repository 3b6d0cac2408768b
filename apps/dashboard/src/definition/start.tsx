import type { Saga } from '@backstitch/core'
import { useNavigate } from '@tanstack/react-router'
import { useId, useState } from 'react'
import { ask } from '../api.ts'
import { Button } from '../ui/button.tsx'
import { Wrong } from '../ui/told.tsx'
import { type Field, fieldsOf, inputOf, sampleOf, textsOf } from './form.ts'

/** Starts a saga by hand: fields where the schema is simple, else JSON. What fits, the API says. */
export function Start({ name, version, schema }: { name: string; version: number; schema: unknown }) {
  const navigate = useNavigate()
  const fields = fieldsOf(schema)
  const [texts, setTexts] = useState(() => textsOf(fields ?? []))
  const [json, setJson] = useState(() => JSON.stringify(sampleOf(schema), null, 2))
  const [asJson, setAsJson] = useState(fields === undefined)
  const [key, setKey] = useState('')
  const [error, setError] = useState<unknown>()
  const [isSent, setIsSent] = useState(false)
  const problem = problemOf(json)
  const id = useId()

  async function send(): Promise<void> {
    setError(undefined)
    setIsSent(true)
    try {
      const input = asJson || fields === undefined ? readJson(json) : inputOf(fields, texts)
      const sagaKey = key.trim()
      const body = { definition: name, version, input, ...(sagaKey !== '' && { sagaKey }) }
      const { sagaId } = await ask<Saga>('POST', 'v1/sagas', { body })
      await navigate({ to: '/sagas/$sagaId', params: { sagaId } })
    } catch (refused) {
      setError(refused)
    } finally {
      setIsSent(false)
    }
  }

  return (
    <section className="sheet px-4 py-3" aria-labelledby={`${id}-title`}>
      <h2 id={`${id}-title`} className="mb-2 flex items-baseline justify-between gap-3 font-semibold">
        Start one
        {fields !== undefined && (
          <Button
            kind="quiet"
            onClick={() => {
              if (!asJson) setJson(JSON.stringify(inputOf(fields, texts), null, 2))
              setAsJson(!asJson)
            }}
          >
            {asJson ? 'as fields' : 'as JSON'}
          </Button>
        )}
      </h2>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void send()
        }}
      >
        {asJson || fields === undefined ? (
          <label className="mb-3 block">
            <span className="mb-1 block text-soft">Input, as JSON</span>
            <textarea
              className="field json w-full"
              rows={8}
              spellCheck={false}
              value={json}
              onChange={({ target }) => setJson(target.value)}
              aria-invalid={problem !== undefined}
              aria-describedby={`${id}-json`}
            />
            <span id={`${id}-json`} className="text-stuck">
              {problem}
            </span>
          </label>
        ) : (
          <div className="mb-3 grid gap-x-6 gap-y-3 sm:grid-cols-2">
            {fields.map((field) => (
              <Input
                key={field.name}
                field={field}
                value={texts[field.name] ?? ''}
                onChange={(text) => setTexts({ ...texts, [field.name]: text })}
              />
            ))}
          </div>
        )}
        <label className="mb-3 block">
          <span className="mb-1 block text-soft">Saga key, if it is to be started only once</span>
          <input
            className="field w-72 max-w-full"
            maxLength={255}
            value={key}
            onChange={({ target }) => setKey(target.value)}
          />
        </label>
        {error !== undefined && (
          <div className="mb-3">
            <Wrong error={error} />
          </div>
        )}
        <Button kind="strong" type="submit" disabled={isSent || (asJson && problem !== undefined)}>
          {isSent ? 'Starting …' : `Start version ${version}`}
        </Button>
      </form>
    </section>
  )
}

function Input({
  field,
  value,
  onChange,
}: {
  field: Field
  value: string
  onChange: (text: string) => void
}) {
  const { name, type, title, description, isRequired, options } = field
  const id = useId()
  const shared = {
    id,
    value,
    required: isRequired && type !== 'boolean',
    'aria-describedby': description === undefined ? undefined : `${id}-told`,
  }
  return (
    <div className="min-w-0">
      <label htmlFor={id} className="mb-1 block text-soft">
        <bdi>{title ?? name}</bdi>
        {isRequired && <span title="required"> *</span>}
      </label>
      {options !== undefined || type === 'boolean' ? (
        <select className="field w-full" {...shared} onChange={({ target }) => onChange(target.value)}>
          {!isRequired && <option value="">not given</option>}
          {(options ?? ['true', 'false']).map((option) => (
            <option key={option} value={option}>
              {option}
            </option>
          ))}
        </select>
      ) : (
        <input
          className="field w-full"
          {...shared}
          type={type === 'string' ? 'text' : 'number'}
          step={type === 'integer' ? 1 : 'any'}
          min={field.minimum}
          max={field.maximum}
          minLength={field.minLength}
          maxLength={field.maxLength}
          onChange={({ target }) => onChange(target.value)}
        />
      )}
      {description !== undefined && (
        <p id={`${id}-told`} className="mt-0.5 text-[12px] text-faint">
          {description.slice(0, 300)}
        </p>
      )}
    </div>
  )
}

function readJson(json: string): unknown {
  return JSON.parse(json)
}

/** Why it is no JSON, or undefined. */
function problemOf(json: string): string | undefined {
  try {
    readJson(json)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
