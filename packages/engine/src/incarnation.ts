import { checkJson, type Json, type SagaModule } from '@backstitch/core'
import { type Lease, openWorkerStore, type WorkerStore } from '@backstitch/store'
import type { Logger } from 'pino'
import { createParticipants } from './attempt/participants.ts'
import { type ClaimLoop, createClaimLoop } from './claim-loop.ts'
import { createComplaints } from './complaints.ts'
import type { Counters } from './counters.ts'
import { createGroupCommit } from './group-commit.ts'
import { createHeartbeat } from './heartbeat.ts'
import { createRunner, type Runner } from './runner.ts'
import { createScheduler } from './schedules.ts'

/**
 * A worker under one id. It lives until it is stopped, or until it finds that it has been declared dead: then it drops
 * everything, and the worker goes on as another incarnation with another id (S17).
 */
export type Incarnation = {
  readonly workerId: string
  readonly holds: number
  readonly store: WorkerStore
  /** Resolves when this incarnation is dead, with the reason; never if it is stopped first. */
  readonly died: Promise<string>
  /** Lets running attempts end, at most this long; releases the rest (S21). */
  stop(graceMs: number): Promise<void>
  /** Drops everything at once: the leases are gone. */
  drop(): Promise<void>
}

export type IncarnationOptions = {
  databaseUrl: string
  sagas: readonly SagaModule[]
  queues: readonly string[]
  concurrency: number
  leaseMs: number
  pollMs: number
  log: Logger
  counters: Counters
}

/** The end of the grace period is kept for letting go of what has not ended by then: whoever stops us may kill us after it. */
const LAST_WORDS_MS = 2_000
const SIGN_OFF_MS = 1_000

export async function createIncarnation(workerId: string, options: IncarnationOptions): Promise<Incarnation> {
  const { sagas, queues, concurrency, leaseMs, pollMs, counters } = options
  const log = options.log.child({ workerId })
  const complain = createComplaints(log)
  let claimLoop: ClaimLoop | undefined
  const serves = new Set(queues)

  const store = await openWorkerStore({
    databaseUrl: options.databaseUrl,
    workerId,
    leaseMs,
    onDue: (due) => {
      if (due.some((queue) => serves.has(queue))) claimLoop?.wake()
    },
    onConnectionError: (error) => complain(error, 'a database connection was lost; it is replaced'),
  })
  const participants = createParticipants(sagas)
  const commit = createGroupCommit(store.commits)
  const runner = createRunner({
    definitions: store.definitions,
    mailbox: store.mailbox,
    history: store.history,
    clock: store.clock,
    commit,
    release: store.commits.release,
    park: store.commits.park,
    participants,
    queues: serves,
    counters,
    leaseMs,
    log,
    onDueAt: (at) => claimLoop?.wakeIn(at - store.clock.now()),
  })
  try {
    for (const { definition } of sagas) await store.definitions.register(asSent(definition))
    await store.session.register({ workerId, queues, handlers: participants.handlers, concurrency, leaseMs })
  } catch (error) {
    await Promise.all([participants.close(), store.close()])
    throw error
  }

  const heartbeat = createHeartbeat({
    session: store.session,
    workerId,
    leaseMs,
    log,
    holds: () => runner.holds,
    onMail: runner.poke,
    onFreed: () => claimLoop?.wake(),
    onLeases: (leases) => takeAgain(store, runner, leases, log),
  })
  claimLoop = createClaimLoop({ claims: store.claims, runner, queues, concurrency, pollMs, log })
  const scheduler = createScheduler({ store, counters, log })
  heartbeat.start()
  claimLoop.start()
  scheduler.start()
  log.info({ queues, concurrency, leaseMs }, 'worker ready')

  async function drop(): Promise<void> {
    runner.forsake()
    heartbeat.stop()
    const stopped = Promise.all([claimLoop?.stop(), scheduler.stop()])
    await participants.close()
    await store.close()
    await stopped
  }

  return {
    workerId,
    store,
    get holds() {
      return runner.holds
    },
    died: heartbeat.died,
    drop,
    async stop(graceMs) {
      const lastWordsMs = Math.min(LAST_WORDS_MS, graceMs / 4)
      const end = performance.now() + graceMs - lastWordsMs
      runner.drain()
      let claiming = true
      void Promise.all([claimLoop?.stop(), scheduler.stop()]).then(() => {
        claiming = false
      })
      await until(() => !claiming && runner.holds === 0, end - performance.now())
      if (runner.holds > 0) {
        log.warn({ holds: runner.holds }, 'the grace period is nearly over; cutting running attempts short')
        runner.interrupt()
        await until(() => runner.holds === 0, Math.max(lastWordsMs, 100))
      }
      heartbeat.stop()
      // What could not be let go is swept up by the others once this row says that the worker has ended.
      const signedOff = store.session
        .stop(workerId)
        .catch((error: unknown) => log.warn({ err: error }, 'could not sign off'))
      await Promise.race([signedOff, sleep(SIGN_OFF_MS)])
      await drop()
      log.info('worker stopped')
    },
  }
}

/** Runs what is ours in the database and in nobody's hands (F01): seen so twice in a row, not merely on its way here. */
async function takeAgain(store: WorkerStore, runner: Runner, leases: Lease[], log: Logger): Promise<void> {
  const orphans = leases.filter((lease) => !runner.has(lease))
  if (orphans.length === 0) return
  log.warn({ sagas: orphans.length }, 'taking up sagas whose claim or commit got lost with the database')
  const dropped = new Set(orphans.filter((lease) => runner.wasDropped(lease)).map(({ sagaId }) => sagaId))
  for (const claimed of await store.claims.takeAgain(orphans)) {
    void runner.run(claimed, { cutShort: dropped.has(claimed.lease.sagaId) })
  }
}

/** Looks every few milliseconds: it happens once in a worker's life. */
async function until(isTrue: () => boolean, withinMs: number): Promise<void> {
  const end = performance.now() + withinMs
  while (!isTrue() && performance.now() < end) await sleep(5)
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** The document as JSON: fields left undefined are not part of it. */
function asSent(definition: SagaModule['definition']): Json {
  const checked = checkJson(definition)
  if (!checked.ok) throw new Error(`definition "${definition.name}" is no JSON: ${checked.problem.detail}`)
  return checked.value
}
