import type { AuditItem, Page } from '@backstitch/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useTexts } from '../address.ts'
import { get, withQuery } from '../api.ts'
import { Button } from '../ui/button.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Loading, Text, Title, Wrong } from '../ui/told.tsx'

/** Who did what, and why; what was refused, too. */
export function AuditPage() {
  const filter = useTexts()
  const navigate = useNavigate()
  const list = useInfiniteQuery({
    queryKey: ['audit', filter],
    queryFn: ({ pageParam, signal }) =>
      get<Page<AuditItem>>(withQuery('v1/audit', { ...filter, cursor: pageParam, limit: 100 }), signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ nextCursor }) => nextCursor,
  })
  const items = list.data?.pages.flatMap((page) => page.items) ?? []
  return (
    <>
      <Title
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
      >
        Audit log
      </Title>
      {list.isPending && <Loading />}
      {list.isError && <Wrong error={list.error} />}
      {list.isSuccess && items.length === 0 && (
        <Empty title="Nobody has acted here yet">
          Whatever a person does to a saga, a schedule, a webhook, or to many sagas at once stands here, with
          who and why.
        </Empty>
      )}
      {items.length > 0 && (
        <div className="sheet overflow-x-auto">
          <table className="data">
            <thead>
              <tr>
                <th>When</th>
                <th>Who</th>
                <th>What</th>
                <th>To</th>
                <th>Why</th>
              </tr>
            </thead>
            <tbody>
              {items.map(({ auditId, at, actor, act, subject, reason, refused }) => (
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
                    {subject.kind === 'saga' ? (
                      <Link
                        to="/sagas/$sagaId"
                        params={{ sagaId: subject.id }}
                        className="text-link font-mono text-[12px]"
                      >
                        …{subject.id.slice(-12)}
                      </Link>
                    ) : (
                      <span className="break-all">
                        {subject.kind} <bdi>{subject.id}</bdi>
                      </span>
                    )}
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
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.hasNextPage && (
        <Button className="mt-3" onClick={() => void list.fetchNextPage()}>
          Older
        </Button>
      )}
    </>
  )
}
