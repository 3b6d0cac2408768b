import { Agent, request } from 'node:http'
import { createClient } from '@backstitch/sdk'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { openTheatre, startApi } from './processes.ts'

type Answer = { status: number; retryAfter: string | undefined; sagaId: string | undefined }

/** As many connections as requests. */
function post(url: string, agent: Agent, body: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const asked = request(`${url}/v1/sagas`, { method: 'POST', agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
      })
      response.on('end', () => {
        const { sagaId }: { sagaId?: string } = JSON.parse(text)
        resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], sagaId })
      })
      response.on('error', reject)
    })
    asked.on('error', reject)
    asked.end(JSON.stringify(body))
  })
}

/** The sum over all its labels. */
async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const lines = text.split('\n').filter((line) => line.split(/[ {]/)[0] === name)
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

test('an API before a database that does not move takes on so many requests, tells the others to come again, and loses none it has acknowledged', async () => {
  const theatre = await openTheatre()
  const api = await startApi(theatre.database.url, { MAX_REQUESTS: '300' })
  const agent = new Agent({ keepAlive: true, maxSockets: 2_000 })
  onTestFinished(() => agent.destroy())
  const client = createClient({ url: api.url })
  await client.definitions.register({ name: 'waits', steps: [{ name: 'one', action: { type: 'handler' } }] })
  await client.sagas.start('waits', {})
  const locker = new pg.Client(theatre.database.url)
  onTestFinished(() => locker.end())
  await locker.connect()
  await locker.query('BEGIN')
  await locker.query('LOCK TABLE sagas IN EXCLUSIVE MODE')

  const asking = Array.from({ length: 1_500 }, (_, n) =>
    post(api.url, agent, { definition: 'waits', sagaKey: `o-${n}` }),
  )
  // On a busy machine some are refused since the process is late. Those that have waited for eight seconds are told, too.
  const refused = () => metric(api.url, 'backstitch_requests_refused_total')
  await expect.poll(refused, { timeout: 60_000 }).toBeGreaterThanOrEqual(1_000)
  expect((await fetch(`${api.url}/livez`)).status).toBe(200)
  await locker.query('COMMIT')
  const answers = await Promise.all(asking)

  const taken = answers.filter(({ status }) => status === 202)
  const others = answers.filter(({ status }) => status !== 202)
  for (const { status, retryAfter } of others) expect([status, Number(retryAfter) > 0]).toEqual([503, true])
  const rows = await theatre.database.query('SELECT saga_id FROM sagas WHERE saga_key IS NOT NULL')
  const stored = new Set(rows.map(({ saga_id: id }) => id))
  expect(taken.filter(({ sagaId }) => !stored.has(sagaId))).toEqual([])
  expect(rows.length).toBeLessThanOrEqual(500)
  expect(await metric(api.url, 'process_resident_memory_bytes')).toBeLessThan(600 * 1024 * 1024)

  // Those that come again are served, and none is started twice.
  for (let n = 0; n < 1_500; n += 250) {
    const some = Array.from({ length: 250 }, (_, k) =>
      client.sagas.start('waits', {}, { sagaKey: `o-${n + k}` }),
    )
    await Promise.allSettled(some)
  }
  const [count] = await theatre.database.query(
    'SELECT count(*)::int AS n FROM sagas WHERE saga_key IS NOT NULL',
  )
  expect(count).toEqual({ n: 1_500 })
})

test('a worker that serves the API, too, takes on no more requests than it is told to (MAX_REQUESTS)', async () => {
  const theatre = await openTheatre()
  const worker = await theatre.worker({ API_PORT: '0', MAX_REQUESTS: '2' })
  const url = worker.url ?? ''
  const locker = new pg.Client(theatre.database.url)
  onTestFinished(() => locker.end())
  await locker.connect()
  await locker.query('BEGIN')
  await locker.query('LOCK TABLE definitions IN ACCESS EXCLUSIVE MODE')

  const asking = Array.from({ length: 10 }, () => fetch(`${url}/v1/definitions`))
  await expect.poll(() => metric(url, 'backstitch_requests_refused_total'), { timeout: 60_000 }).toBe(8)
  await locker.query('COMMIT')
  const statuses = (await Promise.all(asking))
    .map(({ status }) => status)
    .toSorted((one, other) => one - other)
  expect(statuses).toEqual([200, 200, ...Array.from({ length: 8 }, () => 503)])
})

test('more starts than a worker can do fill the table and nothing else', async () => {
  const theatre = await openTheatre()
  const { url } = await startApi(theatre.database.url)
  await theatre.worker({ CONCURRENCY: '5' })
  const client = createClient({ url })
  const starts = Array.from({ length: 2_000 }, () => ({ definition: 'ledger', input: { takesMs: 60_000 } }))
  for (let n = 0; n < starts.length; n += 200) {
    const some = starts.slice(n, n + 200)
    await Promise.all(some.map(({ definition, input }) => client.sagas.start(definition, input)))
  }

  const standing = () =>
    theatre.database.query(`SELECT count(*) FILTER (WHERE owner IS NOT NULL)::int AS held,
      count(*) FILTER (WHERE due_at <= now())::int AS due, count(*)::int AS started FROM sagas`)
  await expect.poll(standing, { timeout: 60_000 }).toEqual([{ held: 5, due: 1_995, started: 2_000 }])
  const holds = () => theatre.database.query('SELECT holds FROM workers')
  await expect.poll(holds, { timeout: 60_000 }).toEqual([{ holds: 5 }])
  expect([await metric(url, 'backstitch_starts_waiting'), await metric(url, 'backstitch_waiters')]).toEqual([
    0, 0,
  ])
})
