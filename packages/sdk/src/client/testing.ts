import type { ProblemDetails, Saga } from '@backstitch/core'
import type { Fetch } from './transport.ts'

/** For the tests of this folder: an API that answers what it is told to, and remembers what it was asked. */

export type Asked = {
  method: string
  url: string
  path: string
  query: URLSearchParams
  headers: Headers
  body: unknown
}

export type Scripted =
  | Response
  | Error
  | ((asked: Asked, signal: AbortSignal) => Response | Promise<Response>)

export function fakeApi(...script: Scripted[]): { fetch: Fetch; asked: Asked[] } {
  const asked: Asked[] = []
  return {
    asked,
    async fetch(url, init) {
      const { pathname, searchParams } = new URL(url)
      const body: unknown = typeof init.body === 'string' ? JSON.parse(init.body) : undefined
      const headers = new Headers(init.headers)
      const one = { method: init.method ?? 'GET', url, path: pathname, query: searchParams, headers, body }
      asked.push(one)
      const next = script.shift()
      if (next === undefined) throw new Error(`nothing was scripted for ${one.method} ${url}`)
      if (next instanceof Error) throw next
      return typeof next === 'function' ? next(one, init.signal ?? new AbortController().signal) : next
    },
  }
}

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return Response.json(body, { status, headers })
}

export function problem(
  status: number,
  code: string,
  more: Partial<ProblemDetails> = {},
  headers = {},
): Response {
  const body: ProblemDetails = {
    type: `https://backstitch.example/errors/${code}`,
    title: 'A title',
    status,
    detail: 'what was found',
    code,
    requestId: 'req-1',
    ...more,
  }
  return json(body, status, { 'content-type': 'application/problem+json', ...headers })
}

export function aSaga(more: Partial<Saga> = {}): Saga {
  return {
    sagaId: '01900000-0000-7000-8000-000000000001',
    definition: { name: 'order', version: 1 },
    status: 'running',
    currentStepIndex: 0,
    completedSteps: [],
    compensatedSteps: [],
    context: { input: { orderId: 'o-1' } },
    startedAt: '2026-01-02T00:00:00.000Z',
    updatedAt: '2026-01-02T00:00:00.000Z',
    uncertainSteps: [],
    skippedSteps: [],
    attempts: { reserve: 1 },
    version: 1,
    tags: {},
    next: { act: 'attempt', attempts: [{ step: 'reserve', direction: 'action', attempt: 1 }] },
    ...more,
  }
}
