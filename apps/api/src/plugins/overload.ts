import { randomInt } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Problem } from '@backstitch/core'
import type { FastifyRequest } from 'fastify'
import type { App } from '../app.ts'

/** Who has too much to do says so at once (503) instead of making everybody wait, or dying of memory. */
export type Limits = {
  /** Open sockets, whatever they are there for. */
  maxConnections: number
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
  /** Streams of events. */
  maxStreams: number
}

export const DEFAULT_LIMITS: Limits = {
  maxConnections: 20_000,
  maxRequests: 5_000,
  maxLagMs: 500,
  maxBodyBytes: 256 * 1024 * 1024,
  maxWaitingStarts: 10_000,
  maxWaiters: 10_000,
  maxStreams: 500,
}

/** What one request takes up: until it has been answered or its caller has gone, and what it began has ended. */
type Place = { bytes: number; isTaken: boolean; isOpen: boolean; isWorkedOn: boolean }

declare module 'fastify' {
  interface FastifyRequest {
    place: Place | null
  }
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
  starts: 'too many starts are waiting to be committed; try again soon',
  streams: 'too many streams of events are open; try again soon',
  waiters: 'too many requests are waiting for a saga to end; ask again later',
}
export type Refusal = keyof typeof REFUSALS

/** Those who are refused together do not come again together. */
const SOONEST_S = 1
const LATEST_S = 4

export function tooMuch(why: Refusal): Problem {
  return new Problem('UNAVAILABLE', REFUSALS[why], { retryAfterS: randomInt(SOONEST_S, LATEST_S + 1) })
}

export function refuseOverload(
  app: App,
  { maxLagMs, maxRequests, maxBodyBytes }: Limits,
  parts: { waiters: () => number; onRefused: (why: Refusal) => void },
): void {
  app.decorateRequest('place', null)
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
      return done(tooMuch(why))
    }
    const place: Place = { bytes, isTaken: false, isOpen: true, isWorkedOn: false }
    request.place = place
    settle(place)
    // Comes also when the caller goes away in the middle; `onResponse` does not.
    reply.raw.once('close', () => {
      place.isOpen = false
      settle(place)
    })
    done()
  })

  // What a caller that has hung up has asked for goes on all the same.
  app.addHook('onRoute', (route) => {
    const { handler } = route
    route.handler = async function counted(request, reply) {
      const { place } = request
      if (place === null) return handler.call(this, request, reply)
      place.isWorkedOn = true
      settle(place)
      try {
        return await handler.call(this, request, reply)
      } finally {
        place.isWorkedOn = false
        settle(place)
      }
    }
  })

  function settle(place: Place): void {
    const isTaken = place.isOpen || place.isWorkedOn
    if (isTaken === place.isTaken) return
    place.isTaken = isTaken
    requests += isTaken ? 1 : -1
    bodyBytes += isTaken ? place.bytes : -place.bytes
  }
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
