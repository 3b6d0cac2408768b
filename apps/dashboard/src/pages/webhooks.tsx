import type { NewWebhook, Page, Webhook, WebhookDelivery } from '@backstitch/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { ask, get } from '../api.ts'
import { fetchWebhooks } from '../data.ts'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { Copy } from '../ui/json.tsx'
import { Table } from '../ui/listed.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Loading, Text, Title, Wrong } from '../ui/told.tsx'

const TYPES = [
  'saga.stuck',
  'saga.failed',
  'saga.completed',
  'saga.cancelled',
  'saga.abandoned',
  'saga.started',
  'saga.compensating',
  'saga.running',
  'saga.acted',
  'step.*',
]

/** Who is told of what happens, and whether it arrives. */
export function WebhooksPage() {
  const [creates, setCreates] = useState(false)
  const [secret, setSecret] = useState<string>()
  const { data, error, isPending } = useQuery({ queryKey: ['webhooks'], queryFn: fetchWebhooks })
  return (
    <>
      <Title
        aside={
          <Button kind="strong" onClick={() => setCreates(true)}>
            New webhook
          </Button>
        }
      >
        Webhooks
      </Title>
      {isPending && <Loading />}
      {error !== null && <Wrong error={error} />}
      {data?.length === 0 && (
        <Empty title="Nobody is told yet">
          A webhook is told, signed, when a saga gets stuck, ends, or whatever else you choose: at least of{' '}
          <code>saga.stuck</code>, so that somebody is woken.
        </Empty>
      )}
      <div className="space-y-4">
        {data?.map((webhook) => (
          <One key={webhook.webhookId} webhook={webhook} onSecret={setSecret} />
        ))}
      </div>
      {creates && <Create onClose={() => setCreates(false)} onSecret={setSecret} />}
      <Dialog open={secret !== undefined} onClose={() => setSecret(undefined)} title="Its secret">
        <p className="mb-2 text-soft">
          Deliveries are signed with it, as Standard Webhooks say. It is shown this once; keep it where the
          receiver finds it.
        </p>
        <p className="rounded-md bg-sunk px-3 py-2 font-mono break-all">{secret}</p>
        <Copy text={secret ?? ''} what="the secret" />
      </Dialog>
    </>
  )
}

/** What is asked about first: it cannot be taken back. */
const GRAVE = {
  remove: {
    name: 'Remove',
    does: 'Nobody is told there any more, and what has not been delivered yet is not.',
    method: 'DELETE',
    path: '',
    body: undefined,
  },
  rotate: {
    name: 'New secret',
    does: 'Deliveries are signed with another secret, which is shown once; for a day the old one signs, too.',
    method: 'POST',
    path: '/rotate-secret',
    body: {},
  },
} as const

function One({ webhook, onSecret }: { webhook: Webhook; onSecret: (secret: string) => void }) {
  const queries = useQueryClient()
  const [isOpen, setOpen] = useState(false)
  const [error, setError] = useState<unknown>()
  const [asked, setAsked] = useState<keyof typeof GRAVE>()
  const {
    webhookId,
    url,
    types,
    definition,
    description,
    enabled,
    disabledReason,
    failingSince,
    lastDeliveredAt,
  } = webhook
  const act = (method: string, path: string, body?: unknown) => {
    setError(undefined)
    return ask<{ secret?: string } | null>(method, `v1/webhooks/${webhookId}${path}`, { body })
      .then((answer) => {
        if (typeof answer?.secret === 'string') onSecret(answer.secret)
      })
      .catch(setError)
      .finally(() => {
        void queries.invalidateQueries({ queryKey: ['webhooks'] })
        void queries.invalidateQueries({ queryKey: ['deliveries', webhookId] })
      })
  }
  return (
    <section className="sheet" aria-label={`Webhook to ${url}`}>
      <div className="grid items-start gap-3 px-4 py-3 lg:grid-cols-[minmax(0,1fr)_auto]">
        <div className="min-w-0">
          <p className="font-medium break-all">
            <span className={enabled ? 'text-completed' : 'text-stuck'}>{enabled ? '●' : '■'}</span>{' '}
            <bdi>{url}</bdi>
          </p>
          {description !== undefined && (
            <p>
              <Text>{description}</Text>
            </p>
          )}
          <p className="text-soft">
            {types.includes('*') ? 'everything' : types.join(', ')}
            {definition !== undefined && <> of {definition}</>}
          </p>
          {!enabled && <p className="text-stuck">Disabled: {disabledReason}</p>}
          <p className="text-[12px] text-faint">
            {lastDeliveredAt === undefined ? (
              'nothing delivered yet'
            ) : (
              <>
                last delivered <Ago at={lastDeliveredAt} />
              </>
            )}
            {failingSince !== undefined && (
              <span className="text-stuck">
                {' '}
                · nothing but failures since <Ago at={failingSince} />
              </span>
            )}
          </p>
        </div>
        <div className="flex flex-wrap gap-1">
          <Button onClick={() => void act('POST', '/test', {})}>Test</Button>
          <Button onClick={() => void act('PATCH', '', { enabled: !enabled })}>
            {enabled ? 'Disable' : 'Enable'}
          </Button>
          <Button onClick={() => setAsked('rotate')}>New secret</Button>
          <Button kind="danger" onClick={() => setAsked('remove')}>
            Remove
          </Button>
          <Button kind="quiet" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
            Deliveries
          </Button>
        </div>
      </div>
      {error !== undefined && <Wrong error={error} />}
      {asked !== undefined && (
        <Dialog open onClose={() => setAsked(undefined)} title={GRAVE[asked].name}>
          <p className="mb-1 break-all">
            <bdi>{url}</bdi>
          </p>
          <p className="mb-3 text-soft">{GRAVE[asked].does}</p>
          <Button
            kind="danger"
            onClick={() => {
              const { method, path, body } = GRAVE[asked]
              setAsked(undefined)
              void act(method, path, body)
            }}
          >
            {GRAVE[asked].name}
          </Button>
        </Dialog>
      )}
      {isOpen && (
        <Deliveries
          webhookId={webhookId}
          onAgain={(id) => void act('POST', `/deliveries/${id}/redeliver`, {})}
        />
      )}
    </section>
  )
}

function Deliveries({ webhookId, onAgain }: { webhookId: string; onAgain: (deliveryId: string) => void }) {
  const { data, error } = useQuery({
    queryKey: ['deliveries', webhookId],
    queryFn: ({ signal }) =>
      get<Page<WebhookDelivery>>(`v1/webhooks/${webhookId}/deliveries?limit=50`, signal),
    refetchInterval: 2_000,
  })
  if (data === undefined) return error === null ? <Loading /> : <Wrong error={error} />
  if (data.items.length === 0)
    return <p className="border-line border-t px-4 py-3 text-faint">Nothing was sent yet.</p>
  return (
    <div className="overflow-x-auto border-line border-t">
      <Table columns={['Event', 'State', 'Attempts', 'Last answer', '']} items={data.items}>
        {(one) => (
          <tr key={one.deliveryId}>
            <td>
              {one.eventType} <Ago at={one.at} className="text-faint" />
              {one.sagaId !== undefined && (
                <Link
                  to="/sagas/$sagaId"
                  params={{ sagaId: one.sagaId }}
                  className="text-link block font-mono text-[12px]"
                >
                  …{one.sagaId.slice(-12)}
                </Link>
              )}
            </td>
            <td
              className={
                one.state === 'delivered'
                  ? 'text-completed'
                  : one.state === 'failed'
                    ? 'text-stuck'
                    : 'text-soft'
              }
            >
              {one.state}
              {one.state === 'pending' && one.nextAt !== undefined && (
                <span className="block text-[12px] text-faint">
                  next <Ago at={one.nextAt} />
                </span>
              )}
            </td>
            <td>{one.attempts}</td>
            <td className="max-w-md text-soft">
              {one.lastStatus} {one.lastError !== undefined && <Text>{one.lastError}</Text>}
            </td>
            <td className="text-right">
              <Button kind="quiet" onClick={() => onAgain(one.deliveryId)}>
                Send again
              </Button>
            </td>
          </tr>
        )}
      </Table>
    </div>
  )
}

function Create({ onClose, onSecret }: { onClose: () => void; onSecret: (secret: string) => void }) {
  const queries = useQueryClient()
  const [url, setUrl] = useState('')
  const [description, setDescription] = useState('')
  const [types, setTypes] = useState<readonly string[]>(['saga.stuck', 'saga.failed'])
  const [error, setError] = useState<unknown>()
  return (
    <Dialog open onClose={onClose} title="New webhook">
      <form
        className="space-y-3"
        onSubmit={(event) => {
          event.preventDefault()
          setError(undefined)
          const body = { url, types, ...(description.trim() !== '' && { description }) }
          ask<NewWebhook>('POST', 'v1/webhooks', { body })
            .then(({ secret }) => {
              onClose()
              onSecret(secret)
              return queries.invalidateQueries({ queryKey: ['webhooks'] })
            })
            .catch(setError)
        }}
      >
        <label className="block">
          <span className="mb-1 block text-soft">Address</span>
          <input
            className="field w-full"
            type="url"
            required
            placeholder="https://…"
            value={url}
            onChange={({ target }) => setUrl(target.value)}
          />
        </label>
        <fieldset>
          <legend className="mb-1 text-soft">Told of</legend>
          <div className="grid grid-cols-2 gap-1">
            {TYPES.map((type) => (
              <label key={type} className="flex items-center gap-1.5">
                <input
                  type="checkbox"
                  checked={types.includes(type)}
                  onChange={({ target }) =>
                    setTypes(target.checked ? [...types, type] : types.filter((one) => one !== type))
                  }
                />
                {type}
              </label>
            ))}
          </div>
        </fieldset>
        <label className="block">
          <span className="mb-1 block text-soft">What it is for</span>
          <input
            className="field w-full"
            maxLength={500}
            value={description}
            onChange={({ target }) => setDescription(target.value)}
          />
        </label>
        {error !== undefined && <Wrong error={error} />}
        <Button kind="strong" type="submit" disabled={types.length === 0}>
          Create
        </Button>
      </form>
    </Dialog>
  )
}
