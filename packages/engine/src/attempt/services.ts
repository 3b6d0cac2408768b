import { type Leash, linkLocalLeash } from '@backstitch/addresses'
import type { Direction, HttpAction } from '@backstitch/core'
import type { ServiceReport } from '@backstitch/store'
import type { ServiceSettings } from '../service-config.ts'
import type { Admission } from './admission.ts'
import { DEFAULT_BREAKER } from './breaker.ts'
import { createGate, type Gate } from './gate.ts'
import { createHttpCaller, type HttpCaller } from './http.ts'
import type { Identity } from './http-request.ts'

/** What the sagas of a worker call over HTTP: the named services, and the origins of plain URLs. Each has a gate and connections of its own. */
export type Services = {
  /** The one that is called. Undefined: it has a name that this worker does not know (S20). */
  of(call: Target): Service | undefined
  /** For whoever looks at the worker: every named one, and the busiest of the others. */
  report(): ServiceReport
  close(): Promise<void>
}

export type Service = {
  admit(direction: Direction): Extract<Admission, { is: 'now' | 'later' }>
  caller: HttpCaller
  /** Who calls: headers, signature; nothing for a plain URL. */
  identity: Identity | undefined
  /** The whole URL. */
  urlOf(target: { url?: string | undefined; path?: string | undefined }): string
}

type Target = Pick<HttpAction, 'url' | 'service'>
type Known = Service & { gate: Gate; named: boolean; usedAt: number }

/** Origins come from definitions, and so there may be any number of them. */
const MAX_ORIGINS = 1_000
const MAX_REPORTED_ORIGINS = 50
/** Long enough that a quick service is kept busy, short enough that a slow one leaves room for the others. */
const DEFAULT_MAX_WAIT_MS = 250
/** Probes go beside the calls that they ask about. */
const SPARE_CONNECTIONS = 8

export function createServices(
  settings: readonly ServiceSettings[],
  { concurrency }: { concurrency: number },
): Services {
  const named = new Map(settings.map((one) => [one.name, nameService(one)]))
  const origins = new Map<string, Known>()
  const leash = linkLocalLeash()
  let uses = 0
  let closed = false

  function known(options: {
    limit?: number | undefined
    maxWaitMs?: number | undefined
    breaker: ServiceSettings['breaker']
    leash?: Leash
  }): Pick<Known, 'gate' | 'admit' | 'caller' | 'usedAt'> {
    // Well under what the worker holds, so that a service that hangs leaves room for the others.
    const limit = options.limit ?? Math.max(1, Math.ceil(concurrency / 4))
    const { maxWaitMs = DEFAULT_MAX_WAIT_MS, breaker } = options
    const gate = createGate({ limit, maxWaitMs, breaker })
    const caller = createHttpCaller({ connections: limit + SPARE_CONNECTIONS, leash: options.leash })
    return { gate, admit: gate.admit, caller, usedAt: 0 }
  }

  function nameService({ baseUrl, headers, secrets, signingSecret, ...options }: ServiceSettings): Known {
    return {
      ...known({ limit: options.concurrency, maxWaitMs: options.maxWaitMs, breaker: options.breaker }),
      named: true,
      identity: { headers, secrets, signingSecret },
      urlOf: ({ path = '' }) => baseUrl + path,
    }
  }

  function originService(origin: string): Known {
    let service = origins.get(origin)
    if (service === undefined) {
      service = {
        ...known({ breaker: DEFAULT_BREAKER, leash }),
        named: false,
        identity: undefined,
        urlOf: ({ url = '' }) => url,
      }
      origins.set(origin, service)
      if (origins.size > MAX_ORIGINS) forgetOne()
    }
    service.usedAt = ++uses
    return service
  }

  /** The one that was used longest ago, among those that have nothing to remember. */
  function forgetOne(): void {
    const idle = [...origins].filter(([, { gate }]) => isIdle(gate))
    const [oldest] = idle.toSorted(([, one], [, other]) => one.usedAt - other.usedAt)
    if (oldest === undefined) return
    origins.delete(oldest[0])
    void oldest[1].caller.close()
  }

  return {
    of(call) {
      if (call.service !== undefined) return named.get(call.service)
      return originService(originOf(call.url ?? ''))
    },

    report() {
      const busiest = [...origins].toSorted(([, one], [, other]) => other.usedAt - one.usedAt)
      const told = [...named, ...busiest.slice(0, MAX_REPORTED_ORIGINS)]
      return Object.fromEntries(
        told.map(([name, { gate, named }]) => {
          const { lastError, ...state } = gate.state()
          return [name, { named, ...state, ...(lastError !== undefined && { lastError }) }]
        }),
      )
    },

    async close() {
      if (closed) return
      closed = true
      await Promise.all([...named.values(), ...origins.values()].map(({ caller }) => caller.close()))
    },
  }
}

function isIdle(gate: Gate): boolean {
  const { breaker, inFlight, waiting } = gate.state()
  return breaker === 'closed' && inFlight === 0 && waiting === 0
}

/** Scheme, host and port stand in a definition as they are, whatever expressions follow. */
function originOf(url: string): string {
  const [literal = ''] = url.split('${{')
  return URL.parse(literal)?.origin ?? 'invalid'
}
