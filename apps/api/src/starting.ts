import { hash } from 'node:crypto'
import {
  byteLength,
  canonicalJson,
  type Json,
  type JsonProblem,
  MAX_SCHEDULE_INPUT_BYTES,
  MAX_VALUE_BYTES,
  nextAct,
  Problem,
  type Saga,
  type SagaState,
  type StartSaga,
} from '@backstitch/core'
import type { InputSchemas } from '@backstitch/input-schema'
import type { ApiStore, Outdated, Registered, Slot, StartAnswer, StartRequest } from '@backstitch/store'
import { definitionOf } from './definition-of.ts'
import type { Metrics } from './plugins/metrics.ts'
import { tooMuch } from './plugins/overload.ts'

/** From a request to a saga: one start, whether it came alone or in a batch (S23, S24). */
export type Starting = {
  start(start: { sent: Json; asked: Asked; caller: Caller }): Promise<Started>
  /** The same checks of a start that is to be made later. Throws what the start would be refused with. */
  check(asked: Pick<Asked, 'definition' | 'version' | 'input'>): Promise<void>
}

type Fit = Pick<StartRequest, 'definition' | 'input' | 'inputBytes'>

type Asked = Omit<StartSaga, 'version'> & { version?: number | undefined }

/** What a start owes to the headers of its request. */
export type Caller = {
  idempotencyKey?: string | undefined
  correlationId?: string | undefined
  traceparent?: string | undefined
  /** The key of a schedule's run, in the place of the caller's own. */
  scheduleKey?: string | undefined
}

export type Started =
  | { is: 'started'; saga: Saga }
  /** The same request has started this saga before. */
  | { is: 'repeated'; sagaId: string }

export function createStarting(options: {
  store: () => ApiStore
  schemas: InputSchemas
  metrics: Metrics
  slot: (queue: string) => Slot | undefined
  maxWaitingStarts: number
}): Starting {
  const { schemas, metrics, slot, maxWaitingStarts } = options
  /** Counted from the first moment: those that come in one burst have not been handed to the store yet. */
  let waiting = 0

  function misfits({ definition, input, inputBytes }: Fit): JsonProblem[] {
    const { name, version, document } = definition
    const { inputSchema } = document
    return inputSchema === undefined
      ? []
      : schemas.misfits({ name, version, schema: inputSchema }, input, inputBytes)
  }

  async function make<Answer extends StartAnswer | Outdated>(
    { wakeups }: ApiStore,
    { definition: { queue } }: StartRequest,
    begin: (taken: Slot | undefined) => Promise<Answer>,
  ): Promise<Answer> {
    const taken = slot(queue)
    const answer = await begin(taken)
    if (taken === undefined && answer.is === 'started') wakeups.due(queue)
    return answer
  }

  /** With the highest version as it was last seen. Nothing, if that refuses the input or there is another by now (S26). */
  async function startAsKnown(store: ApiStore, request: StartRequest): Promise<StartAnswer | undefined> {
    if (misfits(request).length > 0) return undefined
    const answer = await make(store, request, (taken) => store.starts.startIfLatest(request, taken))
    return answer.is === 'outdated' ? undefined : answer
  }

  async function startAs(store: ApiStore, request: StartRequest): Promise<StartAnswer> {
    const errors = misfits(request)
    // What was started under an older schema stays started: a repetition finds it whatever the newest schema says (S23).
    const answer = await (errors.length === 0
      ? make(store, request, (taken) => store.starts.start(request, taken))
      : store.starts.find(request))
    if (answer === undefined) throw misfit(request.definition, errors)
    return answer
  }

  async function start({ sent, asked, caller }: Parameters<Starting['start']>[0]): Promise<Started> {
    const store = options.store()
    refuseNamelessTag(sent)
    const { definition: name, version, input, sagaKey, tags, deadlineMs } = asked
    const request = {
      input,
      inputBytes: bytesOf(input, MAX_VALUE_BYTES),
      sagaKey,
      idempotencyKey: caller.idempotencyKey,
      scheduleKey: caller.scheduleKey,
      requestHash: hash('sha256', canonicalJson(sent)),
      correlationId: asked.correlationId ?? caller.correlationId,
      traceparent: caller.traceparent,
      tags,
      deadlineMs,
    }
    const known = version === undefined ? store.definitions.lastKnown(name) : undefined
    const answer =
      (known && (await startAsKnown(store, { ...request, definition: known }))) ??
      (await startAs(store, { ...request, definition: await definitionOf(store, name, version) }))
    switch (answer.is) {
      case 'started':
        return { is: 'started', saga: justStarted(answer.state, request) }
      case 'repeated':
        return answer
      case 'conflict': {
        const key =
          sagaKey === undefined ? `Idempotency-Key "${caller.idempotencyKey}"` : `sagaKey "${sagaKey}"`
        const detail = `the ${key} belongs to saga ${answer.sagaId}, which another request has started; use another key, or send that request`
        throw new Problem('START_CONFLICT', detail, { sagaId: answer.sagaId })
      }
    }
  }

  return {
    async check({ definition: name, version, input }) {
      const inputBytes = bytesOf(input, MAX_SCHEDULE_INPUT_BYTES)
      const definition = await definitionOf(options.store(), name, version)
      const errors = misfits({ definition, input, inputBytes })
      if (errors.length > 0) throw misfit(definition, errors)
    },

    async start(request) {
      if (waiting >= maxWaitingStarts) {
        metrics.started('refused')
        metrics.refused('starts')
        throw tooMuch('starts')
      }
      waiting++
      try {
        const started = await start(request)
        metrics.started(started.is)
        return started
      } catch (error) {
        metrics.started(error instanceof Problem && error.code === 'START_CONFLICT' ? 'conflict' : 'refused')
        throw error
      } finally {
        waiting--
      }
    },
  }
}

function bytesOf(input: Json, most: number): number {
  const bytes = byteLength(JSON.stringify(input))
  if (bytes <= most) return bytes
  const detail = `the input has ${bytes} bytes as JSON; the most is ${most}: pass a reference to what is large`
  throw new Problem('INPUT_TOO_LARGE', detail, { errors: [{ pointer: '/input', detail }] })
}

function misfit({ name, version }: Registered, errors: JsonProblem[]): Problem {
  const [first] = errors
  const detail = `${first?.pointer ?? '/input'}: ${first?.detail ?? 'does not fit'}`
  return new Problem('INVALID_INPUT', `${name} version ${version}: ${detail}`, { errors })
}

/** What reading it back would give, without reading it. */
function justStarted(
  state: SagaState,
  { input, sagaKey, tags }: Pick<StartRequest, 'input' | 'sagaKey' | 'tags'>,
): Saga {
  const { bytes: _, traceparent: __, ...shown } = state
  return {
    ...shown,
    context: { input },
    version: 1,
    tags: tags ?? {},
    ...(sagaKey !== undefined && { sagaKey }),
    next: nextAct(state),
  }
}

/** zod leaves a key of this name out without a word, and nothing that is sent may be lost in silence (S31). */
export function refuseNamelessTag(sent: Json): void {
  const tags = typeof sent === 'object' && sent !== null && 'tags' in sent ? sent.tags : undefined
  if (typeof tags !== 'object' || tags === null || !Object.hasOwn(tags, '__proto__')) return
  const detail = 'no tag can be named "__proto__"'
  throw new Problem('INVALID_REQUEST', `/tags/__proto__: ${detail}`, {
    errors: [{ pointer: '/tags/__proto__', detail }],
  })
}
