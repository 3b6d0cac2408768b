import pg from 'pg'
import { z } from 'zod'
import { install, sagaOf } from './installation.ts'
import { type Place, query } from './place.ts'

const Named = z.object({ name: z.string(), text: z.string(), values: z.array(z.unknown()) })
export type Sent = z.infer<typeof Named>

/** Where whatever is sent to Postgres passes. */
const CLIENT: { query(...given: unknown[]): unknown } = pg.Client.prototype
const WRITES = /^(start|commit)(_|$)/

/**
 * The statements by which sagas of three steps are started and carried on, in the order in which they were sent: each can be sent
 * again once the tables are empty. The worker whose leases they name is alive, as far as the database knows.
 */
export async function record(place: Place, { count, inFlight }: { count: number; inFlight: number }) {
  const sent: Sent[] = []
  const installation = await install(place, sagaOf({ name: 'order', steps: 3 }), {
    concurrency: 2 * inFlight,
  })
  const send = CLIENT.query
  CLIENT.query = function (this: pg.Client, ...given: unknown[]) {
    const statement = Named.safeParse(given[0])
    if (statement.success && WRITES.test(statement.data.name)) sent.push(statement.data)
    return Reflect.apply(send, this, given)
  }
  let left = count
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left-- > 0) await installation.runOne()
    }),
  )
  CLIENT.query = send
  await installation.close()
  await query(place.url, 'UPDATE workers SET ended_at = NULL, end_reason = NULL')
  return sent
}
