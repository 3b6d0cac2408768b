import { createServer, type IncomingMessage, type Server } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { verifyWebhook } from '@backstitch/sdk/participant'

/** Hears of each event once. `secrets`: `whsec_…`, two of them while one is being replaced. */
export function createReceiver(secrets: readonly string[], hear: (event: unknown) => Promise<void>): Server {
  // In memory for the example; yours is a table with the id as its key, written with whatever you make of the event.
  const heard = new Set<string>()

  async function take(request: IncomingMessage): Promise<number> {
    const body = await buffer(request)
    const verdict = verifyWebhook({ headers: request.headers, body }, { secrets })
    if (!verdict.ok) return 401
    if (!heard.has(verdict.deliveryId)) await hear(verdict.event)
    heard.add(verdict.deliveryId)
    return 204
  }

  return createServer((request, response) => {
    // Whatever is not 2xx is sent again.
    const answer = (status: number) => response.writeHead(status).end()
    take(request).then(answer, () => answer(500))
  })
}
