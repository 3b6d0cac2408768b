import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Json, Saga } from '@backstitch/core'
import { createTestDatabase, type TestDatabase } from '@backstitch/local-postgres/testing'
import { type ApiStore, openApiStore } from '@backstitch/store'
import { onTestFinished } from 'vitest'
import { type LedgerLine, ledger } from './ledger-sagas.ts'

/** Real worker processes on a real database, and the ledger of what they did. All of it is gone when the test has ended. */
export type Theatre = {
  store: ApiStore
  database: TestDatabase
  /** Starts a worker process and waits until it is ready. */
  worker(environment?: Record<string, string>): Promise<WorkerProcess>
  start(input?: Json): Promise<string>
  saga(sagaId: string): Promise<Saga>
  eventually(sagaId: string, holds: (saga: Saga) => boolean, withinMs?: number): Promise<Saga>
  ended(sagaId: string, withinMs?: number): Promise<Saga>
  ledger(): LedgerLine[]
}

export type WorkerProcess = {
  workerId: string
  /** Of the API that it serves, too. */
  url: string | undefined
  child: ChildProcess
  /** Resolves with the status, or with the signal that ended it. */
  exited: Promise<number | string>
}

const MAIN = fileURLToPath(new URL('../../apps/worker/src/main.ts', import.meta.url))
const API = fileURLToPath(new URL('../../apps/api/src/main.ts', import.meta.url))
const SAGAS = fileURLToPath(new URL('./ledger-sagas.ts', import.meta.url))

export async function openTheatre(): Promise<Theatre> {
  const database = await createTestDatabase()
  const store = await openApiStore({ databaseUrl: database.url })
  const directory = mkdtempSync(join(tmpdir(), 'backstitch-e2e-'))
  const file = join(directory, 'ledger.jsonl')
  const children: ChildProcess[] = []
  onTestFinished(async () => {
    for (const child of children) child.kill('SIGKILL')
    await store.close()
    await database.drop()
    rmSync(directory, { recursive: true, force: true })
  })
  const definition = await store.definitions.register(JSON.parse(JSON.stringify(ledger.definition)))

  async function saga(sagaId: string): Promise<Saga> {
    const found = await store.queries.saga(sagaId)
    if (found === undefined) throw new Error(`there is no saga ${sagaId}`)
    return found
  }

  async function eventually(
    sagaId: string,
    holds: (seen: Saga) => boolean,
    withinMs = 60_000,
  ): Promise<Saga> {
    const end = performance.now() + withinMs
    for (;;) {
      const seen = await saga(sagaId)
      if (holds(seen)) return seen
      if (performance.now() > end) throw new Error(`still not so: ${JSON.stringify(seen, undefined, 1)}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  return {
    store,
    database,
    saga,
    eventually,
    ended: (sagaId, withinMs) => eventually(sagaId, ({ endedAt }) => endedAt !== undefined, withinMs),

    async worker(environment = {}) {
      const child = spawn(process.execPath, [MAIN], {
        stdio: ['ignore', process.env.TEST_LOG_LEVEL === undefined ? 'ignore' : 'inherit', 'inherit', 'ipc'],
        env: {
          PATH: process.env.PATH,
          DATABASE_URL: database.url,
          SAGAS,
          LEDGER: file,
          POLL_MS: '100',
          LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? 'warn',
          ...environment,
        },
      })
      children.push(child)
      const exited = once(child, 'exit').then(([status, signal]): number | string => status ?? signal)
      const ready = once(child, 'message').then(([message]) => readyOf(message))
      const { workerId, url } = await Promise.race([
        ready,
        exited.then((how) => {
          throw new Error(`the worker ended before it was ready: ${how}`)
        }),
      ])
      return { workerId, url, child, exited }
    },

    async start(input = {}) {
      const inputBytes = JSON.stringify(input).length
      const answer = await store.starts.start({ definition, input, inputBytes, requestHash: 'test' })
      store.wakeups.due(definition.queue)
      return answer.sagaId
    },

    ledger() {
      try {
        return readFileSync(file, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .map((line): LedgerLine => JSON.parse(line))
      } catch {
        return []
      }
    },
  }
}

function readyOf(message: unknown): { workerId: string; url: string | undefined } {
  if (typeof message === 'object' && message !== null && 'workerId' in message) {
    const url = 'url' in message && typeof message.url === 'string' ? message.url : undefined
    return { workerId: String(message.workerId), url }
  }
  throw new Error(`not the message of a worker that is ready: ${JSON.stringify(message)}`)
}

/** Starts an API process and waits until it has reached its database. It is gone when the test has ended. */
export async function startApi(
  databaseUrl: string,
  environment: Record<string, string> = {},
): Promise<{ child: ChildProcess; url: string }> {
  const api = await spawnApi(databaseUrl, environment)
  onTestFinished(() => void api.child.kill('SIGKILL'))
  return api
}

/** The same for whoever ends it himself. */
export async function spawnApi(
  databaseUrl: string,
  environment: Record<string, string> = {},
): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [API], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: databaseUrl,
      PORT: '0',
      LOG_LEVEL: 'silent',
      ...environment,
    },
  })
  const [message] = await once(child, 'message')
  const url: unknown =
    typeof message === 'object' && message !== null && 'url' in message ? message.url : undefined
  if (typeof url !== 'string')
    throw new Error(`not the message of an API that is ready: ${JSON.stringify(message)}`)
  // It listens before it has reached its database, and answers 503 until then.
  const end = performance.now() + 60_000
  while ((await fetch(`${url}/v1/definitions`)).status === 503) {
    if (performance.now() > end) throw new Error('the API does not reach its database')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return { child, url }
}
