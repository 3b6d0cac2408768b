import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Saga } from '@backstitch/core'
import { chanceOf } from './chance.ts'
import { type Definition, type Habits, placedSteps, type Script, SIGNAL, scriptOf } from './generator.ts'
import type { ClientLine } from './records.ts'

/** The callers: they start sagas, repeat themselves, change their minds, act as operators, and write down every answer they get. */
export type Client = {
  register(definitions: readonly Definition[]): Promise<void>
  /** Starts one saga after another, `together` at a time, until told to stop. */
  begin(together: number): void
  /** No more starts; resolves when every caller has been answered. */
  end(): Promise<void>
  /** One look at what is stuck, and an act on each of it. `gently`: only tries again, and resumes. Answers how many there were. */
  operate(how?: 'gently'): Promise<number>
  get<T>(path: string): Promise<T>
  /** Labels begun so far. */
  readonly started: number
}

/** A caller that has no answer for this long gives up, and tries again if that is safe. */
const PATIENCE_MS = 10_000
const AGAIN_MS = 150
/** Some of what is stuck is left alone, so that what is left at the end can be judged; not where others wait for it. */
export const isLeftAlone = (saga: Saga) => labelOf(saga) % 7 === 0 && saga.parent === undefined

type Answer = { status: number; body: Body }
/** What is looked at, of whatever is answered. */
type Body = {
  sagaId?: string
  code?: string
  sagaStatus?: string
  items?: { sagaId: string; paused?: boolean }[]
}

export function createClient(options: {
  seed: number
  file: string
  definitions: readonly Definition[]
  habits: Habits
  ledgerUrl: string
  apiUrls: readonly string[]
}): Client {
  const { seed, file, definitions, habits } = options
  const startedAt = performance.now()
  const callers: Promise<void>[] = []
  let label = 0
  let over = false
  let turn = 0

  const now = () => Math.round(performance.now() - startedAt)
  function note(line: ClientLine): void {
    appendFileSync(file, `${JSON.stringify(line)}\n`)
  }

  /** Undefined: nobody knows what has happened. */
  async function ask(path: string, init: RequestInit = {}): Promise<Answer | undefined> {
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS)
      const response = await fetch(`${options.apiUrls[turn++ % options.apiUrls.length]}${path}`, {
        ...init,
        signal,
      })
      const body = (await response.json()) as Body
      return response.status >= 500 ? undefined : { status: response.status, body }
    } catch {
      return undefined
    }
  }

  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    ask(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })

  async function get<T>(path: string): Promise<T> {
    for (;;) {
      const answer = await ask(path)
      if (answer?.status === 200) return answer.body as T
      if (answer !== undefined)
        throw new Error(`GET ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
      await sleep(AGAIN_MS)
    }
  }

  async function start(script: Script, twisted: boolean): Promise<string | undefined> {
    const { definition, by, key, deadlineMs } = script
    const input = { label: script.label, ...(twisted && { twisted }) }
    const named = by === 'sagaKey' ? { sagaKey: key } : {}
    const body = { definition, input, ...named, ...(deadlineMs !== undefined && { deadlineMs }) }
    const headers: Record<string, string> = by === 'Idempotency-Key' ? { 'Idempotency-Key': key } : {}
    for (;;) {
      const askedAt = now()
      const answer = await post('/v1/sagas', body, headers)
      const line = { what: 'start' as const, label: script.label, definition, by, key }
      const times = { askedAt, answeredAt: now(), ...(twisted && { twisted: true as const }) }
      if (answer === undefined) {
        note({ ...line, ...times, answer: 'unknown' })
      } else if (answer.status < 300) {
        note({ ...line, ...times, answer: 'acknowledged', sagaId: answer.body.sagaId ?? '' })
        return answer.body.sagaId
      } else if (answer.status === 409) {
        note({ ...line, ...times, answer: 'conflict' })
        return undefined
      } else if (answer.status !== 429) {
        throw new Error(`a start was answered ${answer.status}: ${JSON.stringify(answer.body)}`)
      }
      await sleep(AGAIN_MS)
    }
  }

  async function cancel(sagaId: string): Promise<void> {
    const askedAt = now()
    const answer = await post(`/v1/sagas/${sagaId}/cancel`, { reason: 'changed my mind' })
    const line = { what: 'cancel' as const, askedAt, answeredAt: now(), sagaId }
    // One that is not there although it was acknowledged is looked for afterwards.
    if (answer === undefined || answer.status === 404) return note({ ...line, answer: 'unknown' })
    if (answer.status < 300) return note({ ...line, answer: 'accepted' })
    const { code, sagaStatus } = answer.body
    if (code === 'ALREADY_ENDED') return note({ ...line, answer: 'ended', status: sagaStatus ?? '' })
    if (code === 'PAST_PIVOT') return note({ ...line, answer: 'pastPivot', status: sagaStatus ?? '' })
    throw new Error(`a cancel was answered ${answer.status}: ${JSON.stringify(answer.body)}`)
  }

  /** Once, whatever comes of it: the same signal again would be another. */
  async function signal(sagaId: string, afterMs: number): Promise<void> {
    await sleep(afterMs)
    const askedAt = now()
    await post(`/v1/sagas/${sagaId}/signals/${SIGNAL}`, { go: true })
    note({ what: 'signal', askedAt, answeredAt: now(), sagaId })
  }

  async function verb(sagaId: string, path: 'pause' | 'resume' | 'run-now'): Promise<Answer | undefined> {
    const askedAt = now()
    const answer = await post(`/v1/sagas/${sagaId}/${path}`, { reason: 'because' })
    const said = answer === undefined ? 'unknown' : answer.status < 300 ? 'accepted' : 'refused'
    note({ what: 'verb', askedAt, answeredAt: now(), verb: path, sagaId, answer: said })
    return answer
  }

  /** A resume that nobody answers is made up for by those who look after all in the end. */
  async function holdBack(sagaId: string, { afterMs, forMs }: NonNullable<Script['pause']>): Promise<void> {
    await sleep(afterMs)
    await verb(sagaId, 'pause')
    await sleep(forMs)
    await verb(sagaId, 'resume')
  }

  async function resumeAll(): Promise<number> {
    const answer = await ask('/v1/sagas?status=running,compensating,stuck&limit=200')
    const paused = (answer?.body.items ?? []).filter((one) => one.paused === true)
    for (const { sagaId } of paused) await verb(sagaId, 'resume')
    return paused.length
  }

  async function hurry(sagaId: string, afterMs: number): Promise<void> {
    await sleep(afterMs)
    await verb(sagaId, 'run-now')
  }

  async function look(sagaId: string): Promise<Saga | undefined> {
    const askedAt = now()
    const answer = await ask(`/v1/sagas/${sagaId}`)
    // One that is not there although it was acknowledged is looked for afterwards.
    if (answer?.status !== 200) return undefined
    const saga = answer.body as Saga
    const { version, status } = saga
    note({ what: 'seen', askedAt, answeredAt: now(), sagaId, version, status })
    return saga
  }

  async function follow(script: Script): Promise<void> {
    const copies = Array.from({ length: script.copies }, () => start(script, false))
    const ids = await Promise.all(copies)
    const sagaId = ids.find((id) => id !== undefined)
    if (sagaId === undefined) return
    const signals = script.signalsAfterMs.map((afterMs) => signal(sagaId, afterMs))
    const twisted = script.twisted ? start(script, true) : undefined
    const held = script.pause === undefined ? undefined : holdBack(sagaId, script.pause)
    const hurried = script.hurryAfterMs === undefined ? undefined : hurry(sagaId, script.hurryAfterMs)
    if (script.cancelAfterMs !== undefined) {
      await sleep(script.cancelAfterMs)
      await cancel(sagaId)
    }
    await Promise.all([twisted, held, hurried, ...signals])
    // Nobody waits for ever: the last word is in the history.
    for (let looks = 0; looks < 40 && !over; looks++) {
      const saga = await look(sagaId)
      if (saga?.endedAt !== undefined || saga?.status === 'stuck') return
      await sleep(20 + 20 * looks)
    }
  }

  async function call(): Promise<void> {
    while (!over) await follow(scriptOf(seed, ++label, definitions, habits))
  }

  async function act(saga: Saga, how: 'gently' | undefined): Promise<void> {
    const { sagaId } = saga
    const chance = chanceOf(seed, 'operator', sagaId, saga.version)
    const verbs = ['retry', 'retry', 'retry', 'skip', 'mark-compensated', 'abandon']
    const { step, direction } = saga.stuck ?? {}
    // A signal that nobody has sent does not come by waiting again.
    const gentle = isSignal(saga, step) ? 'skip' : 'retry'
    const verb = how === 'gently' ? gentle : chance.pick(verbs)
    if (verb === 'mark-compensated') {
      if (direction !== 'compensation') return
      await fetch(`${options.ledgerUrl}/by-hand`, {
        method: 'POST',
        body: JSON.stringify({ sagaId: saga.undoOf ?? sagaId, step }),
      })
    }
    const askedAt = now()
    // Unforced, it is refused where the step may have had its effect: the new key would have it a second time.
    const isEdited = verb === 'retry' && how !== 'gently' && direction === 'action' && chance.happens(0.5)
    const input = { label: labelOf(saga), edited: true }
    const answer = await post(`/v1/sagas/${sagaId}/${verb}`, {
      reason: 'because',
      ...(isEdited && { input }),
    })
    const edited = isEdited && { edited: true as const }
    const line = { what: 'verb' as const, askedAt, answeredAt: now(), verb, ...edited, sagaId }
    if (answer === undefined) note({ ...line, answer: 'unknown' })
    else note({ ...line, answer: answer.status < 300 ? 'accepted' : 'refused' })
  }

  function isSignal({ definition: { name } }: Saga, step: string | null | undefined): boolean {
    const definition = definitions.find((one) => one.name === name)
    const found = definition && placedSteps(definition).find((one) => one.step.name === step)
    return found?.step.action.type === 'signal'
  }

  return {
    get,
    get started() {
      return label
    },

    async register(all) {
      for (const definition of all) {
        for (;;) {
          const answer = await post('/v1/definitions', definition)
          if (answer === undefined) await sleep(AGAIN_MS)
          else if (answer.status < 300) break
          else throw new Error(`${definition.name}: ${JSON.stringify(answer.body)}`)
        }
      }
    },

    begin(together) {
      for (let n = 0; n < together; n++) callers.push(call())
    },

    async end() {
      over = true
      await Promise.all(callers)
    },

    async operate(how) {
      const answer = await ask('/v1/sagas?status=stuck&limit=200')
      let acted = how === 'gently' ? await resumeAll() : 0
      for (const { sagaId } of answer?.body.items ?? []) {
        const saga = await look(sagaId)
        if (saga?.status !== 'stuck' || isLeftAlone(saga)) continue
        await act(saga, how)
        acted++
      }
      return acted
    },
  }
}

export function labelOf({ context }: { context: Record<string, unknown> }): number {
  const { input } = context
  return typeof input === 'object' && input !== null && 'label' in input ? Number(input.label) : Number.NaN
}
