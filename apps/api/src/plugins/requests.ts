import { randomUUID } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { App } from '../app.ts'

/** Each request has an id, which goes back in a header, and one line in the log: no body, no query, no header. */

export function requestIdOf(given: string | string[] | undefined): string {
  return typeof given === 'string' && /^[\w.:+/=@-]{1,128}$/.test(given) ? given : randomUUID()
}

export function logRequests(app: App): void {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const line = {
      method: request.method,
      path: request.url.split('?', 1)[0],
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime * 100) / 100,
    }
    // Somebody asks every few seconds whether we are well: worth a line only where things are looked into.
    if (isProbe(request)) request.log.debug(line, 'request')
    else request.log.info(line, 'request')
    done()
  })
}

function isProbe(request: FastifyRequest): boolean {
  return /^\/(livez|readyz|healthz|metrics)$/.test(request.routeOptions.url ?? '')
}
