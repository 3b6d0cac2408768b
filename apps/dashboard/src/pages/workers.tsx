import { useQuery } from '@tanstack/react-query'
import { fetchWorkers } from '../data.ts'
import { Ago } from '../ui/time.tsx'
import { Command, Empty, Loading, Title, Wrong } from '../ui/told.tsx'

export function WorkersPage() {
  const { data, error, isPending } = useQuery({ queryKey: ['workers'], queryFn: fetchWorkers })
  return (
    <>
      <Title>Workers</Title>
      {isPending && <Loading />}
      {error !== null && <Wrong error={error} />}
      {data?.length === 0 && (
        <Empty title="No worker is alive">
          Sagas that are due wait for one:
          <Command>SAGAS=./sagas.ts DATABASE_URL=postgres://… node apps/worker/src/main.ts</Command>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <div className="sheet overflow-x-auto">
          <table className="data">
            <thead>
              <tr>
                <th>Worker</th>
                <th>Holds</th>
                <th>Queues</th>
                <th>Can run</th>
                <th>Services</th>
                <th>Up since</th>
                <th>Heard of</th>
              </tr>
            </thead>
            <tbody>
              {data.map((worker) => (
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
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  )
}
