import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { fetchDefinitions, fetchStats } from '../data.ts'
import { Listed } from '../ui/listed.tsx'
import { Ago } from '../ui/time.tsx'
import { Command, Empty } from '../ui/told.tsx'

export function DefinitionsPage() {
  const query = useQuery({ queryKey: ['definitions'], queryFn: fetchDefinitions })
  const stats = useQuery({ queryKey: ['stats'], queryFn: fetchStats })
  const count = (name: string, of: readonly string[]) =>
    stats.data?.sagas.reduce(
      (sum, one) => (one.definition === name && of.includes(one.status) ? sum + one.count : sum),
      0,
    )
  return (
    <Listed
      title="Definitions"
      query={query}
      columns={['Name', 'Version', 'Queue', { number: 'Under way' }, { number: 'Stuck' }, 'Registered']}
      none={
        <Empty title="No definition is registered yet">
          A definition says which steps there are, and how each is undone:
          <Command>{`curl -X POST ${new URL('v1/definitions', document.baseURI).href} \\
  -H 'content-type: application/json' -d @examples/order/order.json`}</Command>
        </Empty>
      }
    >
      {({ name, version, queue, createdAt }) => (
        <tr key={name}>
          <td>
            <Link to="/definitions/$name" params={{ name }} className="text-link font-medium">
              {name}
            </Link>
          </td>
          <td>{version}</td>
          <td className="text-soft">{queue}</td>
          <td className="text-right">{count(name, ['running', 'compensating'])?.toLocaleString() ?? '–'}</td>
          <td className="text-right">
            <Link
              to="/sagas"
              search={{ definition: name, status: 'stuck' }}
              className={count(name, ['stuck']) ? 'text-link text-stuck' : 'text-faint'}
            >
              {count(name, ['stuck'])?.toLocaleString() ?? '–'}
            </Link>
          </td>
          <td className="text-soft">
            <Ago at={createdAt} />
          </td>
        </tr>
      )}
    </Listed>
  )
}
