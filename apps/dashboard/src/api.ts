import type { ProblemDetails } from '@backstitch/core'
import { actor } from './actor.ts'

/** The way to the API, and the only one. Addresses are relative to where the page is served: a prefix needs no setting. */

/** What the API says is wrong, in its own words (RFC 9457). */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem'
  readonly status: number
  readonly code: string
  readonly problem: ProblemDetails | undefined
  constructor(status: number, problem: ProblemDetails | undefined, message: string) {
    super(message)
    this.status = status
    this.code = problem?.code ?? ''
    this.problem = problem
  }
}

type Sent = { body?: unknown; ifMatch?: number | undefined; signal?: AbortSignal | undefined }

/** What comes back has the shape that this release of the API documents. */
export async function ask<T>(method: string, path: string, { body, ifMatch, signal }: Sent = {}): Promise<T> {
  const headers = new Headers({ accept: 'application/json' })
  if (body !== undefined) headers.set('content-type', 'application/json')
  if (method !== 'GET') headers.set('x-actor', bytesOf(actor()))
  if (ifMatch !== undefined) headers.set('if-match', `"${ifMatch}"`)
  let response: Response
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal !== undefined && { signal }),
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiProblem(0, undefined, 'The API does not answer. The page goes on trying.')
  }
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  if (response.ok && isJson) return read<T>(text)
  const problem = isJson ? read<ProblemDetails>(text) : undefined
  throw new ApiProblem(
    response.status,
    problem,
    problem?.detail ??
      `The API answered ${response.status} ${response.statusText}, which this page does not understand.`,
  )
}

export function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return ask<T>('GET', path, { signal })
}

/** A query string out of what is set. */
export function withQuery(
  path: string,
  query: Readonly<Record<string, string | number | undefined>>,
): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value))
  const text = search.toString()
  return text === '' ? path : `${path}?${text}`
}

/** This page comes from the API it asks, of one release with it: what that has checked is not checked again. */
export function read<T>(text: string): T {
  // oxlint-disable-next-line typescript/no-unsafe-return
  return JSON.parse(text)
}

/** A header carries bytes: those of the name in UTF-8. */
function bytesOf(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text))
}
