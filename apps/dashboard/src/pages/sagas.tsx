import { useNavigate } from '@tanstack/react-router'
import { useCallback, useState } from 'react'
import { useTexts } from '../address.ts'
import { useKeys } from '../keys.ts'
import { Bulk } from '../sagas/bulk.tsx'
import { Filters } from '../sagas/filters.tsx'
import { PAGE, useSagas } from '../sagas/list.ts'
import { Rows } from '../sagas/rows.tsx'
import { Button } from '../ui/button.tsx'
import { Empty, Loading, Title, Wrong } from '../ui/told.tsx'

/** The list: what it shows stands in its address, under the API's own names. New ones wait to be let in; no row ever jumps. */
export function SagasPage() {
  const filter = useTexts()
  const navigate = useNavigate()
  const list = useSagas(filter)
  const { rows, fresh } = list
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set())
  const [at, setAt] = useState(0)
  const move = (by: number) => setAt(Math.max(0, Math.min(rows.length - 1, at + by)))
  const toggle = useCallback(
    (sagaId: string) =>
      setChosen((before) => {
        const next = new Set(before)
        if (!next.delete(sagaId)) next.add(sagaId)
        return next
      }),
    [],
  )
  const reload = () => {
    list.reload()
    setAt(0)
  }
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    x: () => {
      const row = rows[at]
      if (row !== undefined) toggle(row.sagaId)
    },
    Enter: () => {
      const row = rows[at]
      if (row !== undefined) void navigate({ to: '/sagas/$sagaId', params: { sagaId: row.sagaId } })
    },
    Escape: () => setChosen(new Set()),
  })

  return (
    <div className="flex h-[calc(100dvh-2.5rem)] min-h-96 flex-col">
      <Title
        aside={
          <>
            {fresh > 0 && (
              <Button kind="strong" onClick={reload}>
                {fresh >= PAGE ? `${PAGE}+` : fresh} new
              </Button>
            )}
            <Button onClick={reload}>Refresh</Button>
          </>
        }
      >
        Sagas
      </Title>
      <Filters filter={filter} onChange={(next) => void navigate({ to: '/sagas', search: next })} />
      {list.isPending && <Loading />}
      {list.isError && <Wrong error={list.error} />}
      {list.isSuccess && rows.length === 0 && (
        <Empty title="No saga is like that">
          {Object.keys(filter).length === 0
            ? 'None has been started yet. POST /v1/sagas starts one.'
            : 'Take a filter away, or look at another span of time.'}
        </Empty>
      )}
      {rows.length > 0 && <Rows list={list} at={at} chosen={chosen} onAt={setAt} onToggle={toggle} />}
      <Bulk chosen={[...chosen]} filter={filter} onDone={() => setChosen(new Set())} />
    </div>
  )
}
