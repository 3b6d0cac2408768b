import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { fetchServices } from '../data.ts'
import { Listed } from '../ui/listed.tsx'
import { Empty } from '../ui/told.tsx'

const BREAKERS = {
  closed: { word: '● called', ink: 'text-completed' },
  halfOpen: { word: '◐ being tried', ink: 'text-compensating' },
  open: { word: '■ not called', ink: 'text-stuck' },
}

export function ServicesPage() {
  const query = useQuery({ queryKey: ['services'], queryFn: fetchServices })
  return (
    <Listed
      title="Services"
      query={query}
      columns={[
        'Service',
        'Circuit breaker',
        'Calls at once',
        'Attempts that wait',
        'Last error',
        'Called by',
      ]}
      none={
        <Empty title="No service is known">
          A service appears here when a step with an HTTP action calls it, or a worker is configured for it
          (SERVICES).
        </Empty>
      }
    >
      {({ service, configured, breaker, inFlight, limit, waiting, workers, definitions }) => (
        <tr key={service}>
          <td className="font-medium">
            <bdi>{service}</bdi>
            {!configured && (
              <span className="block text-[12px] font-normal text-compensating">
                no live worker is configured for it
              </span>
            )}
          </td>
          <td className={breaker === undefined ? 'text-faint' : BREAKERS[breaker].ink}>
            {breaker === undefined ? '–' : BREAKERS[breaker].word}
          </td>
          <td>
            {inFlight} of {limit}
          </td>
          <td>{waiting}</td>
          <td className="text-soft">
            {[...new Set(workers.flatMap(({ lastError }) => lastError ?? []))].join(', ') || '–'}
          </td>
          <td>
            {definitions.length === 0 && <span className="text-faint">–</span>}
            {definitions.map((name) => (
              <Link key={name} to="/definitions/$name" params={{ name }} className="text-link mr-2">
                {name}
              </Link>
            ))}
          </td>
        </tr>
      )}
    </Listed>
  )
}
