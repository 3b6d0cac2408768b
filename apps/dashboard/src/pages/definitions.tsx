import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { fetchDefinitions, fetchStats } from '../data.ts'
import { Ago } from '../ui/time.tsx'
import { Command, Empty, Loading, Title, Wrong } from '../ui/told.tsx'

export function DefinitionsPage() {
  const { data, error, isPending } = useQuery({ queryKey: ['definitions'], queryFn: fetchDefinitions })
  const stats = useQuery({ queryKey: ['stats'], queryFn: fetchStats })
  const count = (name: string, of: readonly string[]) =>
    stats.data?.sagas.reduce(
      (sum, one) => (one.definition === name && of.includes(one.status) ? sum + one.count : sum),
      0,
    )
  return (
    <>
      <Title>Definitions</Title>
      {isPending && <Loading />}
      {error !== null && <Wrong error={error} />}
      {data?.length === 0 && (
        <Empty title="No definition is registered yet">
          A definition says which steps there are, and how each is undone:
          <Command>{`curl -X POST ${new URL('v1/definitions', document.baseURI).href} \\
  -H 'content-type: application/json' -d @examples/order/order.json`}</Command>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <div className="sheet overflow-x-auto">
          <table className="data">
            <thead>
              <tr>
                <th>Name</th>
                <th>Version</th>
                <th>Queue</th>
                <th className="!text-right">Under way</th>
                <th className="!text-right">Stuck</th>
                <th>Registered</th>
              </tr>
            </thead>
            <tbody>
              {data.map(({ name, version, queue, createdAt }) => (
                <tr key={name}>
                  <td>
                    <Link to="/definitions/$name" params={{ name }} className="text-link font-medium">
                      {name}
                    </Link>
                  </td>
                  <td>{version}</td>
                  <td className="text-soft">{queue}</td>
                  <td className="text-right">
                    {count(name, ['running', 'compensating'])?.toLocaleString() ?? '–'}
                  </td>
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
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  )
}
