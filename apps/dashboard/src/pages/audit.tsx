import type { AuditItem, Page } from '@backstitch/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useTexts } from '../address.ts'
import { get, withQuery } from '../api.ts'
import { Listed } from '../ui/listed.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Text } from '../ui/told.tsx'

/** Who did what, and why; what was refused, too. */
export function AuditPage() {
  const filter = useTexts()
  const navigate = useNavigate()
  const page = useQuery({
    queryKey: ['audit', filter],
    queryFn: ({ signal }) => get<Page<AuditItem>>(withQuery('v1/audit', { ...filter, limit: 100 }), signal),
  })
  const older = page.data?.nextCursor
  return (
    <>
      <Listed
        title="Audit log"
        aside={
          <form
            role="search"
            onSubmit={(event) => {
              event.preventDefault()
              const given = new FormData(event.currentTarget).get('actor')
              const actor = typeof given === 'string' ? given.trim() : ''
              void navigate({ to: '/audit', search: actor === '' ? {} : { actor } })
            }}
          >
            <input
              className="field"
              name="actor"
              type="search"
              placeholder="Whoever acted"
              aria-label="Only what this person did"
              defaultValue={filter.actor ?? ''}
              key={filter.actor}
            />
          </form>
        }
        query={{ ...page, data: page.data?.items }}
        columns={['When', 'Who', 'What', 'To', 'Why']}
        none={
          <Empty
            title={Object.keys(filter).length === 0 ? 'Nobody has acted here yet' : 'No act is like that'}
          >
            Whatever a person does to a saga, a schedule, a webhook, or to many sagas at once stands here,
            with who and why.
          </Empty>
        }
      >
        {({ auditId, at, actor, act, subject, reason, refused }) => (
          <tr key={auditId}>
            <td className="text-soft">
              <Ago at={at} />
            </td>
            <td>
              <bdi className="break-words">{actor}</bdi>
            </td>
            <td className="font-medium">
              {act}
              {refused !== undefined && <span className="ml-1 font-normal text-stuck">refused</span>}
            </td>
            <td>
              <Subject {...subject} />
            </td>
            <td className="max-w-xl text-soft">
              {reason !== undefined && <Text>{reason}</Text>}
              {refused !== undefined && (
                <span className="block text-stuck">
                  <Text>{refused}</Text>
                </span>
              )}
            </td>
          </tr>
        )}
      </Listed>
      <p className="mt-3 flex gap-4">
        {filter.cursor !== undefined && (
          <Link to="/audit" search={without(filter, 'cursor')} className="text-link">
            Newest
          </Link>
        )}
        {older !== undefined && (
          <Link to="/audit" search={{ ...filter, cursor: older }} className="text-link">
            Older
          </Link>
        )}
      </p>
    </>
  )
}

function without(filter: Readonly<Record<string, string>>, name: string) {
  return Object.fromEntries(Object.entries(filter).filter(([key]) => key !== name))
}

const FAR = { definition: '/definitions', schedule: '/schedules', webhook: '/webhooks' } as const

function Subject({ kind, id }: AuditItem['subject']) {
  if (kind === 'saga')
    return (
      <>
        saga{' '}
        <Link to="/sagas/$sagaId" params={{ sagaId: id }} className="text-link font-mono text-[12px]">
          …{id.slice(-12)}
        </Link>
      </>
    )
  if (kind === 'bulk')
    return (
      <>
        bulk{' '}
        <Link to="/bulk" search={{ bulkId: id }} className="text-link font-mono text-[12px]">
          …{id.slice(-12)}
        </Link>
      </>
    )
  return (
    <>
      {kind}{' '}
      <Link to={FAR[kind]} className="text-link break-words">
        <bdi>{kind === 'webhook' ? `…${id.slice(-12)}` : id}</bdi>
      </Link>
    </>
  )
}
