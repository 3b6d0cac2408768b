import type { Leash } from '@backstitch/addresses'
import { checkJson, entryOf, type Json, type SagaModule } from '@backstitch/core'
import { createInputSchemas } from '@backstitch/input-schema'
import type { Lease, openWorkerStore, ServiceReport, Slot, WorkerStore } from '@backstitch/store'
import type { Logger } from 'pino'
import { type Abilities, createMissing, MOST_MS } from './attempt/missing.ts'
import { createParticipants } from './attempt/participants.ts'
import { createServices } from './attempt/services.ts'
import { type ClaimLoop, createClaimLoop } from './claim-loop.ts'
import { type Complaints, createComplaints } from './complaints.ts'
import type { Counters } from './counters.ts'
import { createGroupCommit } from './group-commit.ts'
import { createHeartbeat } from './heartbeat.ts'
import { createPublisher } from './publisher.ts'
import { createRunner, type Runner } from './runner.ts'
import { createScheduler } from './schedules.ts'
import type { ServiceSettings } from './service-config.ts'
import { createWebhookSender } from './webhooks.ts'

/**
 * A worker under one id. It lives until it is stopped, or until it finds that it has been declared dead: then it drops
 * everything, and the worker goes on as another incarnation with another id (S17).
 */
export type Incarnation = {
  readonly workerId: string
  readonly holds: number
  services(): ServiceReport
  readonly store: WorkerStore
  slot(queue: string): Slot | undefined
  /** Resolves when this incarnation is dead, with the reason; never if it is stopped first. */
  readonly died: Promise<string>
  /** Lets running attempts end, at most this long; releases the rest (S21). */
  stop(graceMs: number): Promise<void>
  /** Drops everything at once: the leases are gone. */
  drop(): Promise<void>
}

export type IncarnationOptions = {
  openStore: typeof openWorkerStore
  databaseUrl: string
  sagas: readonly SagaModule[]
  services: readonly ServiceSettings[]
  queues: readonly string[]
  concurrency: number
  leaseMs: number
  pollMs: number
  publicUrl: string | undefined
  webhookLeash: Leash
  log: Logger
  counters: Counters
  onRest(sagaId: string): void
}

/** The end of the grace period is kept for letting go of what has not ended by then: whoever stops us may kill us after it. */
const LAST_WORDS_MS = 2_000
const SIGN_OFF_MS = 1_000
const OFFER_AGAIN_MS = 1_000

export async function createIncarnation(workerId: string, options: IncarnationOptions): Promise<Incarnation> {
  const { sagas, queues, concurrency, leaseMs, pollMs, publicUrl, counters } = options
  const log = options.log.child({ workerId })
  const complain = createComplaints(log)
  let claimLoop: ClaimLoop | undefined
  const serves = new Set(queues)
  const wakeFor = (due: readonly string[]) => {
    if (due.some((queue) => serves.has(queue))) claimLoop?.wake()
  }

  const store = await options.openStore({
    databaseUrl: options.databaseUrl,
    workerId,
    leaseMs,
    onDue: wakeFor,
    onConnectionError: (error) => complain(error, 'a database connection was lost; it is replaced'),
  })
  const tokenOf = await store.callbackTokens().catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  const schemas = createInputSchemas()
  const services = createServices(options.services, { concurrency })
  const missing = createMissing({ others: () => store.session.others(workerId), log })
  const participants = createParticipants({ sagas, services, missing })
  const commit = createGroupCommit(store.commits)
  const runner = createRunner({
    definitions: store.definitions,
    mailbox: store.mailbox,
    history: store.history,
    sagaState: store.sagaState,
    schemas,
    callbackOf: (sagaId, { step, direction }, generation) => {
      const token = tokenOf(sagaId, step, direction, generation)
      return { token, url: publicUrl === undefined ? undefined : `${publicUrl}/v1/callbacks/${token}` }
    },
    clock: store.clock,
    commit,
    release: store.commits.release,
    park: store.commits.park,
    participants,
    queues: serves,
    counters,
    leaseMs,
    log,
    onRest: (sagaId) => {
      options.onRest(sagaId)
      store.rests.tell(sagaId)
    },
    onDueAt: (at) => claimLoop?.wakeIn(at - store.clock.now()),
    onDue: (due) => {
      wakeFor(due)
      for (const queue of due) if (!serves.has(queue)) store.wakeups.due(queue)
    },
  })
  try {
    for (const { definition } of sagas) await store.definitions.register(asSent(definition))
    const { handlers } = participants
    await store.session.register({
      workerId,
      queues,
      handlers,
      concurrency,
      leaseMs,
      services: services.report(),
    })
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
    services: services.report,
    onMail: runner.poke,
    onFreed: () => claimLoop?.wake(),
    onLeases: (leases) => {
      const unexpected = leases.filter(({ sagaId }) => claimLoop?.expects(sagaId) !== true)
      return takeAgain(store, runner, unexpected, log)
    },
  })
  claimLoop = createClaimLoop({ claims: store.claims, runner, queues, concurrency, pollMs, log })
  const scheduler = createScheduler({ store, schemas, counters, log })
  const publisher = createPublisher({ store, complain, log })
  const webhooks = createWebhookSender({ store, leash: options.webhookLeash, log })
  store.listeners.onNews = publisher.wake
  heartbeat.start()
  const offering = offerPutOff(
    store,
    { workerId, queues, handlers: participants.handlers, services: services.report() },
    complain,
  )
  claimLoop.start()
  scheduler.start()
  publisher.start()
  webhooks.start()
  log.info({ queues, concurrency, leaseMs }, 'worker ready')

  function slot(queue: string): Slot | undefined {
    const free = serves.has(queue) ? claimLoop?.slot() : undefined
    return free && { workerId, ...free }
  }

  async function drop(): Promise<void> {
    runner.forsake()
    heartbeat.stop()
    offering.stop()
    const stopped = Promise.all([claimLoop?.stop(), scheduler.stop(), publisher.stop(), webhooks.stop()])
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
    services: services.report,
    slot,
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
      const isEmpty = () => runner.holds === 0 && claimLoop?.kept === 0
      await until(() => !claiming && isEmpty(), end - performance.now())
      if (runner.holds > 0) {
        log.warn({ holds: runner.holds }, 'the grace period is nearly over; cutting running attempts short')
        runner.interrupt()
        // However little of the grace period is left: whoever wants us gone before that kills us.
        await until(() => runner.holds === 0, LAST_WORDS_MS)
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

/**
 * What was put off because nobody could run it is due at once when somebody comes who can (S20). Twice, for what was about to be
 * put off when this worker announced itself; and not if others could, lest every restart of a fleet wake everything up.
 */
function offerPutOff(
  store: WorkerStore,
  own: Abilities & { workerId: string; queues: readonly string[] },
  complain: Complaints,
): { stop(): void } {
  const brought = store.session.others(own.workerId).then((others) => whatIsNew(own, others))
  const offer = async () => {
    const { definitions, isServices } = await brought
    // Which definitions name a service is not known here: all of them may.
    if (isServices) await store.session.offer(own.queues, undefined, MOST_MS)
    else if (definitions.length > 0) await store.session.offer(own.queues, definitions, MOST_MS)
  }
  const offerOrSay = () =>
    void offer().catch((error: unknown) => complain(error, 'could not offer what was put off'))
  offerOrSay()
  const again = setTimeout(offerOrSay, OFFER_AGAIN_MS)
  return { stop: () => clearTimeout(again) }
}

/** What no other worker has: definitions with a handler of theirs, and whether there is a service. */
function whatIsNew(
  { handlers, services }: Abilities,
  others: readonly Abilities[],
): { definitions: string[]; isServices: boolean } {
  const isKnown = (definition: string, step: string) =>
    others.some((other) => entryOf(other.handlers, definition)?.includes(step) === true)
  const definitions = Object.keys(handlers).filter(
    (definition) => entryOf(handlers, definition)?.every((step) => isKnown(definition, step)) !== true,
  )
  const isServices = Object.entries(services).some(
    ([name, { named }]) => named && !others.some((other) => entryOf(other.services, name)?.named === true),
  )
  return { definitions, isServices }
}

/** Runs what is ours in the database and in nobody's hands (F01): seen so twice in a row, not merely on its way here. */
async function takeAgain(store: WorkerStore, runner: Runner, leases: Lease[], log: Logger): Promise<void> {
  const orphans = leases.filter((lease) => !runner.has(lease))
  if (orphans.length === 0) return
  log.warn({ sagas: orphans.length }, 'taking up sagas whose claim or commit got lost with the database')
  for (const claimed of await store.claims.takeAgain(orphans)) {
    void runner.run(claimed, { again: true })
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
