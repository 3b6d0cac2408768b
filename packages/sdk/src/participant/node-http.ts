import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Answer, type Endpoint, problem } from './endpoint.ts'
import { type SignatureOptions, verifySignature } from './signature.ts'

/** A whole context has at most 16 MiB (S32); input and result may stand in the body once more. */
const MAX_BODY_BYTES = 20 * 1024 * 1024

export type HandleOptions = {
  /** Refuses with 401 what no worker has signed. */
  signature?: SignatureOptions | undefined
}

/** `createServer((request, response) => handleSagaCall(charges, request, response))`. The body must not have been read. */
export async function handleSagaCall(
  endpoint: Endpoint,
  request: IncomingMessage,
  response: ServerResponse,
  options: HandleOptions = {},
): Promise<void> {
  const { status, headers, body } = await answerTo(endpoint, request, options)
  response.writeHead(status, headers).end(body)
}

async function answerTo(
  endpoint: Endpoint,
  request: IncomingMessage,
  { signature }: HandleOptions,
): Promise<Answer> {
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    const body: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false })
    for await (const chunk of body) {
      length += chunk.length
      if (length > MAX_BODY_BYTES) break
      chunks.push(chunk)
    }
  } catch {
    return problem(400, 'BODY_INCOMPLETE', 'the request broke off') // nobody is left to read it
  }
  if (length > MAX_BODY_BYTES)
    return problem(413, 'BODY_TOO_LARGE', `the body is over ${MAX_BODY_BYTES} bytes`)

  const bytes = Buffer.concat(chunks)
  if (signature !== undefined) {
    const { method = '', url: path = '', headers } = request
    const verdict = verifySignature({ method, path, headers, body: bytes }, signature)
    if (!verdict.ok) return problem(401, 'SIGNATURE_NOT_VALID', verdict.why)
  }
  const text = bytes.toString()
  let body: unknown
  try {
    body = text === '' ? undefined : JSON.parse(text)
  } catch {
    return problem(400, 'BODY_NOT_JSON', 'the body is not JSON')
  }
  return endpoint({ headers: request.headers, body })
}
