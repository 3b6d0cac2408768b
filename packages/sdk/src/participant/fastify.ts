import type { Answer, Endpoint } from './endpoint.ts'
import type { SagaHeaders } from './saga-call.ts'

/** What is used of Fastify; said here, so that nobody needs it who does not use it. */
type Request = { headers: SagaHeaders; body: unknown }
type Reply = {
  code: (status: number) => { headers: (headers: Answer['headers']) => { send: (body: string) => unknown } }
}

export type FastifyHandler = (request: Request, reply: Reply) => Promise<unknown>

/** `app.post('/charges', fastifyHandler(charges))` */
export function fastifyHandler(endpoint: Endpoint): FastifyHandler {
  return async ({ headers, body }, reply) => {
    const answer = await endpoint({ headers, body })
    return reply.code(answer.status).headers(answer.headers).send(answer.body)
  }
}
