import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { ERRORS, type ErrorCode, Problem, type ProblemDetails, sanitizeText } from '@backstitch/core'
import { isOutage } from '@backstitch/store'
import type { ConnectionError, FastifyReply, FastifyRequest } from 'fastify'
import type { App } from '../app.ts'
import type { Page } from './dashboard.ts'
import { requestIdOf } from './requests.ts'
import { SECURITY_HEADERS } from './security.ts'

/** Whatever goes wrong is answered in one form, RFC 9457, from one table: core's ERRORS. */

export const PROBLEM_JSON = 'application/problem+json'
const MAX_DETAIL_BYTES = 4 * 1024
const MAX_PLACES = 100
/** One line a second says that the database is away; a thousand would say no more. */
const OUTAGE_LINE_MS = 1_000

/** `page`: whoever looks for a page where there is nothing of the API's is given it. */
export function answerProblems(app: App, page: Page = () => false): void {
  let outageLineAt = Number.NEGATIVE_INFINITY

  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error)
    if (problem.code === 'INTERNAL') request.log.error({ err: error }, 'an error nobody expected')
    if (
      problem.code === 'UNAVAILABLE' &&
      problem !== error &&
      performance.now() > outageLineAt + OUTAGE_LINE_MS
    ) {
      outageLineAt = performance.now()
      request.log.warn({ err: error }, 'the database does not answer')
    }
    return sendProblem(problem, request, reply)
  })

  app.setNotFoundHandler((request, reply) => {
    if (page(request, reply)) return reply
    const detail = `there is nothing at ${request.method} ${pathOf(request)}; /docs lists what there is`
    return sendProblem(new Problem('NOT_FOUND', detail), request, reply)
  })
}

export function sendProblem(problem: Problem, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { retryAfterS = problem.code === 'UNAVAILABLE' ? 1 : undefined } = problem.extras
  if (retryAfterS !== undefined) void reply.header('retry-after', retryAfterS)
  return reply
    .code(problem.status)
    .header('content-type', PROBLEM_JSON)
    .send(JSON.stringify(documentOf(problem, request.id)))
}

export function documentOf({ code, message, extras }: Problem, requestId: string): ProblemDetails {
  const { status, title } = ERRORS[code]
  const { errors, sagaStatus, sagaId } = extras
  return {
    type: `urn:backstitch:error:${code}`,
    title,
    status,
    detail: sanitizeText(message, MAX_DETAIL_BYTES),
    code,
    requestId,
    ...(errors !== undefined && { errors: errors.slice(0, MAX_PLACES) }),
    ...(sagaStatus !== undefined && { sagaStatus }),
    ...(sagaId !== undefined && { sagaId }),
  }
}

/** What the framework says by its own codes, in our words. */
const FRAMEWORK: Record<string, [ErrorCode, string]> = {
  FST_ERR_BAD_URL: ['BAD_REQUEST', 'the path is not valid percent-encoded UTF-8'],
  FST_ERR_MAX_PARAM_LENGTH: ['NOT_FOUND', 'no name or id is that long'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['BAD_REQUEST', 'the body does not have the length its header names'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['BODY_TOO_LARGE', 'the body is larger than this route takes'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'UNSUPPORTED_MEDIA_TYPE',
    'send the body as UTF-8 JSON, with the header content-type: application/json',
  ],
}

/** Turns anything that was thrown into what the caller is told. What nobody recognises is a bug of ours. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (isOutage(error)) return new Problem('UNAVAILABLE', 'the database does not answer; try again soon')
  const { code, statusCode } = factsOf(error)
  const [ours, detail] = FRAMEWORK[code] ?? []
  if (ours !== undefined && detail !== undefined) return new Problem(ours, detail)
  if (statusCode >= 400 && statusCode < 500) return new Problem('BAD_REQUEST', messageOf(error))
  return new Problem('INTERNAL', 'an unexpected error, which has been logged under the request id')
}

function factsOf(error: unknown): { code: string; statusCode: number } {
  if (typeof error !== 'object' || error === null) return { code: '', statusCode: 500 }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const statusCode = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  return { code, statusCode }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function pathOf(request: FastifyRequest): string {
  return sanitizeText(request.url.split('?', 1)[0] ?? '', 200)
}

/** What has no route to go to passes no hook either: what they do is done here. */
export function answerWithoutRoute(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error)
  const line = { method: request.method, path: pathOf(request), status: problem.status }
  request.log.info(line, 'request')
  reply.headers(SECURITY_HEADERS).header('x-request-id', request.id)
  void sendProblem(problem, request, reply)
}

/** What cannot even be read as HTTP has no request and no reply: the answer is written on the socket itself. */
export function answerBrokenHttp(error: ConnectionError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const problem = brokenHttp(error.code)
  const requestId = requestIdOf(undefined)
  const body = JSON.stringify(documentOf(problem, requestId))
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
      `Content-Type: ${PROBLEM_JSON}`,
      `X-Request-Id: ${requestId}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  )
}

function brokenHttp(code: string): Problem {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new Problem('HEADERS_TOO_LARGE', 'the request line and the headers may have 16 KiB together')
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new Problem('REQUEST_TIMEOUT', 'the request was not complete in time')
  }
  return new Problem('BAD_REQUEST', 'this is not a valid HTTP/1.1 request')
}
