import underPressure from '@fastify/under-pressure'
import { Problem } from '@backstitch/core'
import type { FastifyRequest } from 'fastify'
import type { App } from '../app.ts'

/** Who has too much to do says so at once (503) instead of making everybody wait, or dying of memory. */
export type Limits = {
  /** Of the event loop, on average over a second. */
  maxLagMs: number
  /** Of bodies that are being received or worked on. */
  maxBodyBytes: number
  /** Starts that wait to be committed. */
  maxWaitingStarts: number
  /** Requests that wait for a saga to end. */
  maxWaiters: number
}

export const DEFAULT_LIMITS: Limits = {
  maxLagMs: 500,
  maxBodyBytes: 256 * 1024 * 1024,
  maxWaitingStarts: 10_000,
  maxWaiters: 10_000,
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What this request has set aside of `maxBodyBytes`. */
    bodyBytes: number
  }
}

export async function refuseOverload(app: App, { maxLagMs, maxBodyBytes }: Limits): Promise<void> {
  await app.register(underPressure, {
    maxEventLoopDelay: maxLagMs,
    async pressureHandler() {
      throw new Problem('UNAVAILABLE', 'this process is overloaded; try again soon', { retryAfterS: 2 })
    },
  })

  let bodyBytes = 0
  app.decorateRequest('bodyBytes', 0)
  app.addHook('onRequest', (request, _reply, done) => {
    const bytes = announcedBytes(request)
    if (bodyBytes + bytes > maxBodyBytes) {
      done(new Problem('UNAVAILABLE', 'too many large bodies are being worked on; try again soon', { retryAfterS: 2 }))
      return
    }
    bodyBytes += bytes
    request.bodyBytes = bytes
    done()
  })
  app.addHook('onResponse', (request, _reply, done) => {
    bodyBytes -= request.bodyBytes
    done()
  })
}

/** A body without a length may turn out as large as its route allows. */
function announcedBytes({ headers, routeOptions }: FastifyRequest): number {
  if (headers['content-length'] !== undefined) return Math.min(Number(headers['content-length']), routeOptions.bodyLimit)
  return headers['transfer-encoding'] === undefined ? 0 : routeOptions.bodyLimit
}
