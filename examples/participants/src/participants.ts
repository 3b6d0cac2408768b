import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { verifySignature } from '@backstitch/sdk/participant'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { z } from 'zod'
import { callBack } from './call-back.ts'
import type { Answer, Happening, Ledger } from './ledger.ts'
import { type Operation, ok, refusal } from './operation.ts'

/**
 * Several services in one small process. They do what a saga asks of its participants:
 *
 *  1. The same Idempotency-Key gives the same answer and has no second effect, also while the first is still at work.
 *  2. An undo of something that was never done is accepted.
 *  3. After its undo, a late action is refused.
 */
export type Participants = {
  /** Adds services for sagas whose start input this is. */
  add<Input>(input: z.ZodType<Input>, operations: readonly Operation<Input>[]): Participants
  readonly app: FastifyInstance
}

export function buildParticipants(ledger: Ledger): Participants {
  const desk = new Desk(ledger)
  // The context of a saga travels with every call, and may be large.
  const app = Fastify({ bodyLimit: 17 * 1024 * 1024, forceCloseConnections: true })
  app.get('/ledger', (request) => {
    const { sagaId } = z.object({ sagaId: z.string().optional() }).parse(request.query)
    return { entries: ledger.entries(sagaId) }
  })
  app.get('/livez', () => ({ status: 'ok' }))

  app.setNotFoundHandler(({ method, url }, reply) =>
    send(reply, refusal(404, 'not-found', `there is no ${method} ${url} here`)),
  )
  app.setErrorHandler((error, _, reply) => send(reply, refusalOf(error)))

  const participants: Participants = {
    app,
    add(input, operations) {
      const Body = BODY.extend({ input })
      for (const operation of operations) {
        const { path, signedWith } = operation
        app.post(path, async (request, reply) => {
          const call = forged(request, signedWith) ?? readCall(request, Body)
          if ('refused' in call) return send(reply, call.refused)
          const answer = await desk.answer(operation, call)
          if (operation.losesAnswer?.(call.input) === true) return reply.hijack().raw.destroy()
          return send(reply, answer)
        })
        // What became of it? Whoever lost the answer asks before it calls again.
        app.get(`${path}/by-key/:key`, async (request, reply) => {
          const { key } = z.object({ key: z.string() }).parse(request.params)
          const refused = forged(request, signedWith)
          return send(reply, refused?.refused ?? desk.becameOf(key))
        })
      }
      return participants
    },
  }
  return participants
}

/** Who takes the calls, and knows what has been answered. */
class Desk {
  readonly #ledger: Ledger
  readonly #atWork = new Map<string, Promise<Answer>>()

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** Once per key: whoever comes again, early or late, gets the answer of the first. */
  async answer<Input>(
    operation: Operation<Input>,
    { input, callbackUrl, ...call }: Call<Input>,
  ): Promise<Answer> {
    const { service, operation: name, direction } = operation
    const facts: Facts = { service, operation: name, direction, ...call }
    const { key } = facts
    const first = this.#ledger.answered(key)
    if (first !== undefined && (first.sagaId !== facts.sagaId || first.operation !== name)) {
      return refusal(
        422,
        'key-reused',
        `the Idempotency-Key belongs to ${first.operation} of saga ${first.sagaId}`,
      )
    }
    this.#ledger.write({ event: 'received', ...facts })
    // Whoever waits for a callback is not kept waiting for the answer.
    const later = operation.callsBack === true && callbackUrl !== undefined
    const atWork = this.#atWork.get(key)
    const known = first?.answer ?? (later ? atWork && TAKEN_ON : await atWork)
    if (known !== undefined) {
      this.#ledger.write({ event: 'replayed', ...facts })
      return known
    }
    const work = this.#perform(operation, input, facts).finally(() => this.#atWork.delete(key))
    this.#atWork.set(key, work)
    if (!later) return await work
    void work
      .then((answer) => callBack(callbackUrl, key, answer))
      .then((heard) => heard && this.#ledger.write({ event: 'calledBack', ...facts }))
    return TAKEN_ON
  }

  /** "There is no such key" would prove nothing: the call may still be on its way. */
  becameOf(key: string): Answer {
    const entry = this.#ledger.answered(key)
    if (entry === undefined) return ok({ outcome: 'unknown' })
    const { seq: _, at: __, answer, ...facts } = entry
    this.#ledger.write({ ...facts, event: 'probed' })
    return ok(
      entry.event === 'applied'
        ? { outcome: 'happened', result: answer?.body ?? null }
        : { outcome: 'unknown' },
    )
  }

  async #perform<Input>(operation: Operation<Input>, input: Input, facts: Facts): Promise<Answer> {
    const takesMs = operation.takesMs?.(input) ?? 0
    if (takesMs > 0) await sleep(takesMs)
    // From here to the ledger nothing is waited for: how things stand cannot change in between.
    const { event, answer } = this.#decide(operation, input, facts)
    this.#ledger.write({ event, ...facts, answer })
    return answer
  }

  #decide<Input>(operation: Operation<Input>, input: Input, { service, sagaId, key }: Facts): Decided {
    const standing = this.#ledger.standing(service, sagaId)
    if (operation.direction === 'compensation' && standing?.direction !== 'action') {
      return { event: 'nothingToUndo', answer: ok({ nothingToUndo: true }) }
    }
    if (operation.direction === 'action' && standing?.direction === 'compensation') {
      const detail = `this saga has undone it already: ${operation.operation} came too late`
      return { event: 'refused', answer: refusal(409, 'already-undone', detail) }
    }
    const id = `${service.slice(0, 4)}_${createHash('sha256').update(key).digest('hex').slice(0, 12)}`
    const answer = operation.decide(input, id)
    return { event: answer.status < 300 ? 'applied' : 'refused', answer }
  }
}

type Facts = Omit<Happening, 'event' | 'answer'>
type Decided = { event: Happening['event']; answer: Answer }
type Call<Input> = Pick<Happening, 'sagaId' | 'step' | 'attempt' | 'key'> & {
  input: Input
  callbackUrl: string | undefined
}

/** A refusal, if the request should be signed and is not by one who may. */
function forged(
  { method, url, headers, body }: FastifyRequest,
  secret: string | undefined,
): { refused: Answer } | undefined {
  if (secret === undefined) return undefined
  // What Backstitch sends is written as JSON writes it: written again, it is the same text.
  const text = body === undefined ? '' : JSON.stringify(body)
  const verdict = verifySignature({ method, path: url, headers, body: text }, { secrets: [secret] })
  return verdict.ok ? undefined : { refused: refusal(401, 'not-signed', verdict.why) }
}

const TAKEN_ON: Answer = { status: 202, body: {} }

/** The body Backstitch sends where a definition states none; what else is in it is of no interest here. */
const BODY = z.object({ sagaId: z.string().min(1).max(64), step: z.string().min(1).max(64) })

const Headers = z.object({
  'idempotency-key': z.string('is missing: every call has one, the same for every attempt').min(1).max(255),
  'saga-attempt': z.coerce.number().int().min(1).optional(),
  'saga-callback-url': z.url().optional(),
})

function readCall<Input>(
  { headers, body }: FastifyRequest,
  Body: z.ZodType<z.infer<typeof BODY> & { input: Input }>,
): Call<Input> | { refused: Answer } {
  const call = z.object({ headers: Headers, body: Body }).safeParse({ headers, body })
  if (!call.success) {
    const errors = call.error.issues.map(({ path, message }) => ({
      pointer: `/${path.join('/')}`,
      detail: message,
    }))
    const no = refusal(400, 'malformed-call', 'this is not a call of such a saga; errors says why')
    return { refused: { ...no, body: { ...no.body, errors } } }
  }
  const { sagaId, step, input } = call.data.body
  const {
    'idempotency-key': key,
    'saga-attempt': attempt = null,
    'saga-callback-url': callbackUrl,
  } = call.data.headers
  return { sagaId, step, attempt, key, input, callbackUrl }
}

async function send(reply: FastifyReply, { status, body }: Answer): Promise<FastifyReply> {
  if (status >= 400) reply.type('application/problem+json')
  return await reply.code(status).send(body)
}

function refusalOf(error: unknown): Answer {
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500
  return refusal(
    status,
    status < 500 ? 'bad-request' : 'broken',
    error instanceof Error ? error.message : String(error),
  )
}
