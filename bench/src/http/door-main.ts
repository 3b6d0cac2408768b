import { randomUUID } from 'node:crypto'
import { buildApp } from '@backstitch/api/app'
import { createLogSink } from '@backstitch/api/log-sink'
import { begin, startedEntry } from '@backstitch/core'
import { createWorker } from '@backstitch/engine'
import { type ApiStore, openApiStore, type StartAnswer, type StartRequest } from '@backstitch/store'
import fastify from 'fastify'
import pg from 'pg'
import { pino } from 'pino'
import { sagaOf } from '../installation.ts'

/** One API in a process of its own: ours, or one of those it is measured against. `DOOR` says which. */

const { DOOR = 'stored', DATABASE_URL = '' } = process.env
/** As the API does; nobody reads what it says. */
const log = pino({ level: 'info' }, createLogSink({ minLength: 8 * 1024 }).stream)

const real = await openApiStore({ databaseUrl: DATABASE_URL })

/** All of the API; only that what is started is kept nowhere, or by one statement for each request. */
function storeThat(keep: (request: StartRequest, sagaId: string) => Promise<unknown>): ApiStore {
  async function start(request: StartRequest): Promise<StartAnswer> {
    const sagaId = randomUUID()
    const { input, inputBytes, definition } = request
    const entry = startedEntry({
      sagaId,
      definition: definition.resolved,
      input,
      inputBytes,
      now: Date.now(),
    })
    await keep(request, sagaId)
    return { is: 'started', sagaId, state: begin(entry) }
  }
  return {
    ...real,
    wakeups: { due: () => undefined },
    starts: { ...real.starts, start, startIfLatest: start },
  }
}

async function doorOf(): Promise<{ listen(at: { port: number }): Promise<string> }> {
  if (DOOR === 'stored') return buildApp({ store: () => real, log })
  if (DOOR === 'together') {
    const worker = createWorker({
      databaseUrl: DATABASE_URL,
      sagas: [sagaOf({ name: 'order', steps: 3 })],
      log,
    })
    await worker.start()
    return buildApp({ store: () => real, log, hands: worker })
  }
  if (DOOR === 'unstored') {
    const store = storeThat(async () => undefined)
    return buildApp({ store: () => store, log })
  }
  if (DOOR === 'statement') {
    const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 16 })
    await pool.query('CREATE TABLE started (id uuid NOT NULL PRIMARY KEY, input jsonb NOT NULL)')
    const store = storeThat(({ input }, sagaId) =>
      pool.query({
        name: 'start',
        text: 'INSERT INTO started (id, input) VALUES ($1, $2)',
        values: [sagaId, JSON.stringify(input)],
      }),
    )
    return buildApp({ store: () => store, log })
  }
  const app = fastify()
  app.post('/v1/sagas', async (request, reply) =>
    reply.code(202).send({ sagaId: randomUUID(), sent: request.body }),
  )
  return app
}

const door = await doorOf()
process.send?.({ url: await door.listen({ port: 0 }) })
process.on('disconnect', () => process.exit(0))
