import { useQuery } from '@tanstack/react-query'
import { fetchWorkers } from '../data.ts'
import { Listed } from '../ui/listed.tsx'
import { Ago } from '../ui/time.tsx'
import { Command, Empty } from '../ui/told.tsx'

export function WorkersPage() {
  const query = useQuery({ queryKey: ['workers'], queryFn: fetchWorkers })
  return (
    <Listed
      title="Workers"
      query={query}
      columns={['Worker', 'Holds', 'Queues', 'Can run', 'Services', 'Up since', 'Heard of']}
      none={
        <Empty title="No worker is alive">
          Sagas that are due wait for one:
          <Command>SAGAS=./sagas.ts DATABASE_URL=postgres://… node apps/worker/src/main.ts</Command>
        </Empty>
      }
    >
      {(worker) => (
        <tr key={worker.workerId}>
          <td>
            <span className="block font-medium">
              <bdi>{worker.host}</bdi> · {worker.pid}
            </span>
            <span className="font-mono text-[11px] text-faint">…{worker.workerId.slice(-12)}</span>
          </td>
          <td className="whitespace-nowrap">
            <meter
              className="mr-2 w-16 align-middle"
              min={0}
              max={worker.concurrency}
              value={worker.holds}
              aria-label={`holds ${worker.holds} of ${worker.concurrency}`}
            />
            {worker.holds} of {worker.concurrency}
          </td>
          <td>{worker.queues.join(', ')}</td>
          <td className="text-soft">
            {Object.entries(worker.handlers).map(([name, steps]) => (
              <span key={name} className="block">
                {name}: {steps.join(', ')}
              </span>
            ))}
            {Object.keys(worker.handlers).length === 0 && 'HTTP steps'}
          </td>
          <td className="text-soft">{worker.services.join(', ') || '–'}</td>
          <td className="text-soft">
            <Ago at={worker.startedAt} />
          </td>
          <td className="text-soft">
            <Ago at={worker.heartbeatAt} />
          </td>
        </tr>
      )}
    </Listed>
  )
}
