import type { Direction, Terminal } from '@backstitch/core'
import { createTestDatabase, type TestDatabase } from '@backstitch/local-postgres/testing'
import { type ApiStore, openApiStore } from '@backstitch/store'
import type { FastifyBaseLogger, InjectOptions } from 'fastify'
import { pino } from 'pino'
import { onTestFinished } from 'vitest'
import { z } from 'zod'
import { type App, buildApp } from './app.ts'
import type { Limits } from './plugins/overload.ts'

/** The API on a database of its own; all gone when the test, or the file, has ended. */
export type Stage = {
  app: App
  store: ApiStore
  url: string
  query: TestDatabase['query']
  ask(method: Method, path: string, ask?: Ask): Promise<Answer>
  /** Registers a definition of this name, with steps that no worker is there to run. */
  define(name?: string, more?: Record<string, unknown>): Promise<string>
  /** Starts a saga and gives its id. */
  start(definition: string, more?: Record<string, unknown>): Promise<string>
  /** There is no worker: what one would have done is written by hand. */
  end(sagaId: string, status: Terminal): Promise<void>
  stick(sagaId: string, direction?: Direction): Promise<void>
  /** Another process of the API on the same database. */
  beside(): Promise<Pick<Stage, 'app' | 'ask'>>
  close(): Promise<void>
}
type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD' | 'OPTIONS'
type Ask = { body?: unknown; raw?: string | Buffer; headers?: Record<string, string> }
export type Answer = {
  status: number
  headers: Record<string, unknown>
  body: z.infer<typeof Body>
  text: string
}

/** What answers have in common, for tests to read; `text` is the answer as it was sent. */
const Body = z.looseObject({
  sagaId: z.string().optional(),
  nextCursor: z.string().optional(),
  code: z.string().optional(),
  errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
  items: z.array(z.looseObject({ sagaId: z.string().optional() })).optional(),
})

export const quiet: FastifyBaseLogger = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' })

const SINCE = '2026-01-02T03:04:05.678Z'

/** Tests are many at a time: that the event loop lags proves nothing here. */
const PATIENT: Partial<Limits> = { maxLagMs: 60_000 }

export async function openStage(
  options: { limits?: Partial<Limits>; log?: FastifyBaseLogger; webhookAllow?: readonly string[] } = {},
): Promise<Stage> {
  const database = await createTestDatabase()
  const store = await openApiStore({ databaseUrl: database.url })
  const app = await buildApp({
    store: () => store,
    log: options.log ?? quiet,
    limits: { ...PATIENT, ...options.limits },
    webhookAllow: options.webhookAllow,
  })
  const ask: Stage['ask'] = (method, path, given) => askApp(app, method, path, given)
  let names = 0
  const others: (() => Promise<unknown>)[] = []

  return {
    app,
    store,
    url: database.url,
    query: database.query,
    ask,
    async define(name = `d${++names}`, more = {}) {
      const body = { name, steps: [step('one'), step('two'), step('three')], ...more }
      const { status, text } = await ask('POST', '/v1/definitions', { body })
      if (status !== 201) throw new Error(text)
      return name
    },
    async start(definition, more = {}) {
      const { status, body, text } = await ask('POST', '/v1/sagas', { body: { definition, ...more } })
      if (status !== 202) throw new Error(text)
      return String(body.sagaId)
    },
    async end(sagaId, status) {
      await database.query(
        `UPDATE sagas SET status = $2::text, ended_at = now(), due_at = NULL, owner = NULL, version = version + 1,
           state = state || jsonb_build_object('status', $2::text, 'attempts', '{}'::jsonb) WHERE saga_id = $1`,
        [sagaId, status],
      )
    },
    async stick(sagaId, direction = 'compensation') {
      const stuck = { step: 'two', direction, reason: 'compensationFailed', message: 'no', since: SINCE }
      await database.query(
        `UPDATE sagas SET status = 'stuck', due_at = NULL, owner = NULL, version = version + 1,
           state = state || jsonb_build_object('status', 'stuck', 'attempts', '{"two":4}'::jsonb, 'stuck', $2::jsonb)
         WHERE saga_id = $1`,
        [sagaId, JSON.stringify(stuck)],
      )
    },
    async beside() {
      const other = await openApiStore({ databaseUrl: database.url })
      const neighbour = await buildApp({ store: () => other, log: options.log ?? quiet, limits: PATIENT })
      others.push(() => neighbour.close().then(() => other.close()))
      return { app: neighbour, ask: (method, path, given) => askApp(neighbour, method, path, given) }
    },
    async close() {
      for (const close of others) await close()
      await app.close()
      await store.close()
      await database.drop()
    },
  }
}

/** A stage for one test. */
export async function openStageForTest(options?: Parameters<typeof openStage>[0]): Promise<Stage> {
  const stage = await openStage(options)
  onTestFinished(() => stage.close())
  return stage
}

export function step(name: string) {
  return { name, action: { type: 'handler' }, compensation: { type: 'handler' } }
}

export async function askApp(
  app: App,
  method: Method,
  path: string,
  { body, raw, headers = {} }: Ask = {},
): Promise<Answer> {
  const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const request: InjectOptions = {
    method,
    url: path,
    headers: { ...(payload !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(payload !== undefined && { payload }),
  }
  const reply = await app.inject(request)
  const isJson = /json/.test(String(reply.headers['content-type']))
  return {
    status: reply.statusCode,
    headers: reply.headers,
    text: reply.payload,
    body: isJson ? Body.parse(JSON.parse(reply.payload || '{}')) : {},
  }
}
