import { monitorEventLoopDelay } from 'node:perf_hooks'
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
  interface FastifyContextConfig {
    /** Answered also under load. */
    always?: boolean
  }
}

const SAMPLE_MS = 1_000

export function refuseOverload(app: App, { maxLagMs, maxBodyBytes }: Limits): void {
  const lagMs = watchLag(app)
  let bodyBytes = 0

  app.addHook('onRequest', (request, reply, done) => {
    const bytes = announcedBytes(request)
    if (lagMs() > maxLagMs && request.routeOptions.config.always !== true) {
      done(new Problem('UNAVAILABLE', 'this process is overloaded; try again soon', { retryAfterS: 2 }))
    } else if (bodyBytes + bytes > maxBodyBytes) {
      done(
        new Problem('UNAVAILABLE', 'too many large bodies are being worked on; try again soon', {
          retryAfterS: 2,
        }),
      )
    } else {
      if (bytes > 0) {
        bodyBytes += bytes
        // Comes also when the caller goes away in the middle; `onResponse` does not.
        reply.raw.once('close', () => {
          bodyBytes -= bytes
        })
      }
      done()
    }
  })
}

/** How late timers have been on average, looked at once a second. */
function watchLag(app: App): () => number {
  const resolution = 10
  const delays = monitorEventLoopDelay({ resolution })
  delays.enable()
  let lagMs = 0
  const sampling = setInterval(() => {
    // Without a single sample in all that time, it has been busy for all that time.
    lagMs = delays.count === 0 ? SAMPLE_MS : delays.mean / 1e6 - resolution
    delays.reset()
  }, SAMPLE_MS)
  sampling.unref()
  app.addHook('onClose', (_app, done) => {
    clearInterval(sampling)
    delays.disable()
    done()
  })
  return () => lagMs
}

/** A body without a length may turn out as large as its route allows. */
function announcedBytes({ headers, routeOptions }: FastifyRequest): number {
  if (headers['content-length'] !== undefined)
    return Math.min(Number(headers['content-length']), routeOptions.bodyLimit)
  return headers['transfer-encoding'] === undefined ? 0 : routeOptions.bodyLimit
}
