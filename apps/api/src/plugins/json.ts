import { type Json, Problem, parseJson, problemsOf } from '@backstitch/core'
import type { FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { App } from '../app.ts'

/** Bodies come in through core's strict door for JSON (S31), fit their schema, and what goes out is written here. */

declare module 'fastify' {
  interface FastifyRequest {
    /** The body as it was sent; `body` is what its schema made of it. */
    sent: Json | undefined
  }
}

const JSON_TYPE = /^application\/(?:[\w!#$&^.+-]+\+)?json(?:;|$)/i
const utf8 = new TextDecoder('utf-8', { fatal: true })

export function speakJson(app: App): void {
  app.decorateRequest('sent', undefined)

  app.addHook('onRequest', (request, _reply, done) => {
    const encoding = request.headers['content-encoding']
    if (encoding === undefined || encoding === 'identity') done()
    else
      done(
        new Problem('UNSUPPORTED_MEDIA_TYPE', 'the body is compressed (content-encoding); send it as it is'),
      )
  })

  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>(
    JSON_TYPE,
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      refuseOtherCharsets(request)
      request.sent = parseBody(body)
      return request.sent
    },
  )

  app.addHook('preValidation', (request, _reply, done) => {
    if (request.sent !== undefined || request.routeOptions.schema?.body === undefined) done()
    else
      done(
        new Problem('MALFORMED_JSON', 'the request has no body; send a JSON document, as application/json'),
      )
  })

  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => (data: unknown) => {
    const parsed = schema.safeParse(data)
    if (parsed.success) return { value: parsed.data }
    return { error: misfit(parsed.error, httpPart ?? 'body') }
  })
  // A schema describes what goes out, and does not change it or stand in its way: any saga can be read (S29).
  app.setSerializerCompiler(() => writeJson)
  app.setReplySerializer(writeJson)
}

export function parseBody(body: Buffer): Json {
  if (body.length === 0) {
    throw new Problem('MALFORMED_JSON', 'the body is empty; send a JSON document')
  }
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    throw new Problem('MALFORMED_JSON', 'the body is not valid UTF-8')
  }
  const verdict = parseJson(text)
  if (verdict.ok) return verdict.value
  const { problem } = verdict
  throw new Problem(
    'MALFORMED_JSON',
    `${problem.pointer === '' ? 'the body' : problem.pointer}: ${problem.detail}`,
    {
      errors: [problem],
    },
  )
}

function refuseOtherCharsets(request: FastifyRequest): void {
  const charset = /;\s*charset="?([^";\s]*)/i.exec(request.headers['content-type'] ?? '')?.[1]
  if (charset === undefined || /^(utf-?8|us-ascii)$/i.test(charset)) return
  throw new Problem('UNSUPPORTED_MEDIA_TYPE', `the body is in the charset "${charset}"; send JSON as UTF-8`)
}

/** A body that does not fit is well-formed and invalid, 422; anything else around it makes the request malformed, 400. */
function misfit(error: z.ZodError, part: string): Problem {
  const problems = problemsOf(error)
  if (part === 'body') {
    const [first] = problems
    const detail =
      first === undefined ? 'the body does not fit' : `${first.pointer || 'the body'}: ${first.detail}`
    return new Problem('INVALID_REQUEST', detail, { errors: problems })
  }
  const where = part === 'querystring' ? 'query' : part
  const errors = problems.map(({ pointer, detail }) => ({ pointer: `/${where}${pointer}`, detail }))
  return new Problem('BAD_REQUEST', errors.map(({ pointer, detail }) => `${pointer}: ${detail}`).join('; '), {
    errors,
  })
}

/** Nothing the API accepts is nested nearly as deeply; `JSON.stringify` gives up a little beyond. */
const WRITABLE_DEPTH = 500

export function writeJson(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    // Only by hand can such a thing have got into the database; the rest of it is shown all the same (S29).
    return JSON.stringify(cutAt(WRITABLE_DEPTH, value))
  }
}

function cutAt(depth: number, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth === 0) return '… (nested too deeply to be written)'
  if (Array.isArray(value)) return value.map((item: unknown) => cutAt(depth - 1, item))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, cutAt(depth - 1, item)]))
}
