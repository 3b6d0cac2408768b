import type { ScheduleSummary } from '@backstitch/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { ask } from '../api.ts'
import { fetchSchedules } from '../data.ts'
import { Button } from '../ui/button.tsx'
import { Listed } from '../ui/listed.tsx'
import { Paused } from '../ui/status.tsx'
import { Ago, instant } from '../ui/time.tsx'
import { Command, Empty, Wrong } from '../ui/told.tsx'

export function SchedulesPage() {
  const query = useQuery({ queryKey: ['schedules'], queryFn: fetchSchedules })
  return (
    <Listed
      title="Schedules"
      query={query}
      columns={['Name', 'Starts', 'When', 'Next', 'Last', '']}
      none={
        <Empty title="Nothing is scheduled">
          A schedule starts a saga at a time, or again and again:
          <Command>{`curl -X PUT ${new URL('v1/schedules/nightly', document.baseURI).href} \\
  -H 'content-type: application/json' \\
  -d '{"definition":"order","cron":"0 3 * * *","timeZone":"Europe/Berlin"}'`}</Command>
        </Empty>
      }
    >
      {(schedule) => <Row key={schedule.name} schedule={schedule} />}
    </Listed>
  )
}

function Row({ schedule }: { schedule: ScheduleSummary }) {
  const queries = useQueryClient()
  const [error, setError] = useState<unknown>()
  const { name, definition, cron, timeZone, at, paused, nextRunAt, lastRun, version, unreadable } = schedule
  const act = async (what: string, ifMatch?: number) => {
    setError(undefined)
    try {
      await ask('POST', `v1/schedules/${encodeURIComponent(name)}/${what}`, {
        body: { reason: 'from the dashboard' },
        ifMatch,
      })
    } catch (problem) {
      setError(problem)
    }
    await queries.invalidateQueries({ queryKey: ['schedules'] })
  }
  return (
    <tr>
      <td className="font-medium">
        {name} {paused && <Paused />}
        {unreadable !== undefined && <p className="font-normal text-stuck">{unreadable}</p>}
        {error !== undefined && <Wrong error={error} />}
      </td>
      <td>
        <Link to="/definitions/$name" params={{ name: definition }} className="text-link">
          {definition}
        </Link>
      </td>
      <td>
        {unreadable !== undefined ? (
          <span className="text-faint">–</span>
        ) : cron === undefined ? (
          <>once{at !== undefined && `, ${instant(at)}`}</>
        ) : (
          <>
            <code className="font-mono text-[12px]">{cron}</code>{' '}
            <span className="text-faint">{timeZone}</span>
          </>
        )}
      </td>
      <td>
        <Ago at={nextRunAt} />
      </td>
      <td>
        {lastRun === undefined ? (
          <span className="text-faint">–</span>
        ) : lastRun.sagaId !== undefined ? (
          <Link to="/sagas/$sagaId" params={{ sagaId: lastRun.sagaId }} className="text-link">
            {lastRun.outcome}
          </Link>
        ) : (
          <span
            className={lastRun.outcome === 'failed' ? 'text-stuck' : 'text-soft'}
            title={lastRun.error?.detail}
          >
            {lastRun.outcome} {lastRun.error?.code ?? lastRun.why}
          </span>
        )}{' '}
        {lastRun !== undefined && <Ago at={lastRun.at} className="text-faint" />}
      </td>
      <td className="text-right whitespace-nowrap *:-my-1">
        <Button kind="quiet" onClick={() => void act(paused ? 'resume' : 'pause', version)}>
          {paused ? 'Resume' : 'Pause'}
        </Button>
        <Button kind="quiet" onClick={() => void act('run-now')}>
          Run now
        </Button>
      </td>
    </tr>
  )
}
