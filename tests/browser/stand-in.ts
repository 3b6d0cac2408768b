import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename, extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SagaSummary, Status } from '@backstitch/core'

/** The dashboard before a list of any length, without a database: what is measured then is the page. */
export type StandIn = {
  url: string
  /** What was asked of the API, in order. */
  asked: string[]
  /** Starts so many more, and tells of them in the stream. */
  start(count: number): void
  /** The nth is something else from now on; it is told of, too. */
  become(n: number, status: Status): void
  close(): void
}

const DIST = fileURLToPath(new URL(process.env.DASHBOARD ?? '../../apps/dashboard/dist/', import.meta.url))
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}
const STATUSES = ['completed', 'failed', 'running', 'stuck', 'compensating'] as const
const FIRST_AT = Date.parse('2026-01-01T00:00:00.000Z')
const REFUSAL = 'the card was declined by its bank, and the customer did not answer'

/** The nth that was started. */
function sagaOf(n: number, became?: Status): SagaSummary {
  const at = new Date(FIRST_AT + n * 1_000).toISOString()
  const status = became ?? STATUSES[n % STATUSES.length] ?? 'completed'
  return {
    sagaId: `00000000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`,
    sagaKey: `order-${n}`,
    tags: { customer: `c-${n % 1_000}`, region: 'eu' },
    definition: { name: 'order', version: 1 },
    status,
    startedAt: at,
    updatedAt: at,
    version: 5,
    completedSteps: ['reserve', 'charge'],
    compensatedSteps: [],
    uncertainSteps: [],
    currentSteps: status === 'running' ? ['ship'] : [],
    paused: false,
    ...(status === 'failed' && { failureReason: REFUSAL, failedStep: 'charge', clean: true }),
  }
}

/** Newest first; a cursor is the number of the newest that is on its page. */
function pageOf(total: number, became: ReadonlyMap<number, Status>, search: URLSearchParams) {
  const newest = Number(search.get('cursor') ?? total - 1)
  const length = Math.min(Number(search.get('limit') ?? 50), newest + 1)
  const next = newest - length
  return {
    items: Array.from({ length }, (_, index) => sagaOf(newest - index, became.get(newest - index))),
    ...(next >= 0 && { nextCursor: String(next) }),
  }
}

const STATS = {
  sagas: [{ status: 'completed', definition: 'order', count: 1 }],
  minutes: [],
  perMinute: { started: 0, ended: 0 },
  stepMs: { p50: null, p90: null, p99: null },
  durationMs: { p50: null, p90: null, p99: null },
  oldestDueAt: null,
}

export async function openStandIn(length: number): Promise<StandIn> {
  let total = length
  const became = new Map<number, Status>()
  const asked: string[] = []
  const streams = new Set<{ write(text: string): unknown }>()
  const html = readFileSync(`${DIST}index.html`, 'utf8')
  const server = createServer((request, response) => {
    const { pathname, search, searchParams } = new URL(request.url ?? '/', 'http://stand-in')
    const file = /^\/(assets\/[\w.-]+|theme\.js|seam\.svg)$/.exec(pathname)?.[1]
    if (!pathname.startsWith('/v1/')) {
      response.setHeader('content-type', TYPES[extname(basename(pathname))] ?? 'text/html')
      response.end(file === undefined ? html : readFileSync(`${DIST}${file}`))
      return
    }
    asked.push(pathname + search)
    if (pathname === '/v1/events/stream') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': here\n\n')
      streams.add(response)
      response.on('close', () => streams.delete(response))
      return
    }
    const answer =
      pathname === '/v1/sagas'
        ? pageOf(total, became, searchParams)
        : pathname === '/v1/stats'
          ? STATS
          : { items: [] }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('it listens on a port')
  let position = 0
  function tell(type: string, { sagaId, definition, status, startedAt }: SagaSummary): void {
    position += 1
    const event = {
      type,
      at: startedAt,
      sagaId,
      definition,
      status,
      seq: 1,
      position: String(position),
      data: {},
    }
    for (const stream of streams)
      stream.write(`id: ${position}\nevent: ${type}\ndata: ${JSON.stringify(event)}\n\n`)
  }
  return {
    url: `http://127.0.0.1:${address.port}`,
    asked,
    start(count) {
      for (let n = 0; n < count; n++) tell('saga.started', sagaOf(total++))
    },
    become(n, status) {
      became.set(n, status)
      tell(`saga.${status}`, sagaOf(n, status))
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
