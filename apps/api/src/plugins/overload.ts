import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Problem } from '@backstitch/core'
import type { FastifyRequest } from 'fastify'
import type { App } from '../app.ts'

/** Who has too much to do says so at once (503) instead of making everybody wait, or dying of memory. */
export type Limits = {
  /** Requests that are being answered, without those that wait for a saga to end. */
  maxRequests: number
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
  maxRequests: 5_000,
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

/** Why something was refused: in the metrics, and in the words of the answer. */
const REFUSALS = {
  lag: 'this process is overloaded; try again soon',
  requests: 'too many requests are being answered; try again soon',
  bodies: 'too many large bodies are being worked on; try again soon',
}
export type Refusal = keyof typeof REFUSALS

export function refuseOverload(
  app: App,
  { maxLagMs, maxRequests, maxBodyBytes }: Limits,
  parts: { waiters: () => number; onRefused: (why: Refusal) => void },
): void {
  const lagMs = watchLag(app)
  let requests = 0
  let bodyBytes = 0

  function refusal(bytes: number): Refusal | undefined {
    if (lagMs() > maxLagMs) return 'lag'
    if (requests - parts.waiters() >= maxRequests) return 'requests'
    return bodyBytes + bytes > maxBodyBytes ? 'bodies' : undefined
  }

  app.addHook('onRequest', (request, reply, done) => {
    if (request.routeOptions.config.always === true) return done()
    const bytes = announcedBytes(request)
    const why = refusal(bytes)
    if (why !== undefined) {
      parts.onRefused(why)
      return done(new Problem('UNAVAILABLE', REFUSALS[why], { retryAfterS: 2 }))
    }
    requests++
    bodyBytes += bytes
    // Comes also when the caller goes away in the middle; `onResponse` does not.
    reply.raw.once('close', () => {
      requests--
      bodyBytes -= bytes
    })
    done()
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
