import type { Bulk, BulkItem, Page } from '@backstitch/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useTexts } from '../address.ts'
import { ask, get, withQuery } from '../api.ts'
import { bulkQuery, fetchBulks } from '../data.ts'
import { Button } from '../ui/button.tsx'
import { Listed, Table } from '../ui/listed.tsx'
import { Ago } from '../ui/time.tsx'
import { Empty, Loading, Text, Title, Wrong } from '../ui/told.tsx'

/** What was done to many at once, and what each answered. */
export function BulkPage() {
  const { bulkId } = useTexts()
  return bulkId === undefined ? <All /> : <One bulkId={bulkId} />
}

const IN_WORDS = { running: 'under way', done: 'done', aborted: 'stopped' }

function All() {
  const query = useQuery({ queryKey: ['bulks'], queryFn: fetchBulks })
  return (
    <Listed
      title="Bulk"
      query={query}
      columns={[
        'What',
        'State',
        { number: 'Asked' },
        { number: 'Accepted' },
        { number: 'Refused' },
        'By',
        'Begun',
      ]}
      none={
        <Empty title="Nothing has been done in bulk">
          Select sagas in{' '}
          <Link to="/sagas" className="text-link">
            the list
          </Link>{' '}
          (<span className="key">x</span>), and choose what to do with them.
        </Empty>
      }
    >
      {(one) => (
        <tr key={one.bulkId}>
          <td>
            <Link to="/bulk" search={{ bulkId: one.bulkId }} className="text-link font-medium">
              {one.verb} {one.total.toLocaleString()}
            </Link>
            <span className="block max-w-md text-soft">
              <Text lines={1}>{one.reason}</Text>
            </span>
          </td>
          <td>{IN_WORDS[one.state]}</td>
          <td className="text-right">{one.done.toLocaleString()}</td>
          <td className="text-right">{one.accepted.toLocaleString()}</td>
          <td className="text-right">{(one.refused + one.failed).toLocaleString()}</td>
          <td>
            <bdi>{one.actor}</bdi>
          </td>
          <td className="text-soft">
            <Ago at={one.createdAt} />
          </td>
        </tr>
      )}
    </Listed>
  )
}

function One({ bulkId }: { bulkId: string }) {
  const { state: shown } = useTexts()
  const navigate = useNavigate()
  const queries = useQueryClient()
  const bulk = useQuery(bulkQuery(bulkId))
  const items = useQuery({
    queryKey: ['bulk items', bulkId, shown, bulk.data?.done],
    queryFn: ({ signal }) =>
      get<Page<BulkItem>>(withQuery(`v1/bulk/${bulkId}/items`, { limit: 200, state: shown }), signal),
    placeholderData: (before) => before,
  })
  if (bulk.data === undefined) return bulk.isPending ? <Loading /> : <Wrong error={bulk.error} />
  const one: Bulk = bulk.data
  return (
    <>
      <Title
        aside={
          one.state === 'running' ? (
            <Button
              kind="danger"
              onClick={() =>
                void ask('POST', `v1/bulk/${bulkId}/abort`, { body: {} }).then(() =>
                  queries.invalidateQueries({ queryKey: ['bulk', bulkId] }),
                )
              }
            >
              Stop it
            </Button>
          ) : undefined
        }
      >
        {one.verb} {one.total.toLocaleString()} sagas
      </Title>
      <section className="sheet mb-4 space-y-2 px-4 py-3" aria-label="Progress">
        <progress className="w-full" max={Math.max(1, one.total)} value={one.done} aria-label="Progress" />
        <p>
          {IN_WORDS[one.state]}: {one.done.toLocaleString()} asked, {one.accepted.toLocaleString()} accepted,{' '}
          {one.refused.toLocaleString()} refused, {one.failed.toLocaleString()} failed; at most{' '}
          {one.perSecond} a second.
        </p>
        <p className="text-soft">
          By <bdi>{one.actor}</bdi>, <Ago at={one.createdAt} />: <Text>{one.reason}</Text>
        </p>
        {one.cut && (
          <p className="text-compensating">More matched than one operation takes; the oldest were taken.</p>
        )}
      </section>
      <div className="mb-2 flex gap-1.5">
        {[undefined, 'pending', 'accepted', 'refused', 'failed'].map((state) => (
          <Button
            key={state ?? 'all'}
            kind="quiet"
            aria-pressed={shown === state}
            className="aria-pressed:bg-sunk aria-pressed:text-ink"
            onClick={() =>
              void navigate({ to: '/bulk', search: { bulkId, ...(state !== undefined && { state }) } })
            }
          >
            {state ?? 'all'}
          </Button>
        ))}
      </div>
      {items.isError && <Wrong error={items.error} />}
      <div className="sheet overflow-x-auto">
        <Table columns={['Saga', 'Answer', 'Why']} items={items.data?.items ?? []}>
          {({ sagaId, state, detail }) => (
            <tr key={sagaId}>
              <td>
                <Link to="/sagas/$sagaId" params={{ sagaId }} className="text-link font-mono text-[12px]">
                  {sagaId}
                </Link>
              </td>
              <td
                className={
                  state === 'accepted' ? 'text-completed' : state === 'pending' ? 'text-faint' : 'text-stuck'
                }
              >
                {state}
              </td>
              <td className="text-soft">{detail !== undefined && <Text>{detail}</Text>}</td>
            </tr>
          )}
        </Table>
      </div>
      {items.data?.nextCursor !== undefined && (
        <p className="mt-2 text-faint">
          The first 200 are shown; GET v1/bulk/{bulkId}/items has all of them.
        </p>
      )}
    </>
  )
}
