import { byteLength } from '@backstitch/core'
import { createWorkerOn, type Worker } from '@backstitch/engine'
import { ConnectionLost, type StartRequest, type WorkerStore } from '@backstitch/store'
import { createMemoryDatabase, type Network, openMemoryStore } from '@backstitch/store/memory'
import { pino } from 'pino'
import { createVirtual, type Host } from './virtual.ts'
import { createWorld, documents } from './world.ts'

/**
 * One run: a storm, in which anything may crash, stand still, get lost or come late, and then calm, in which everything must
 * come to its end. All of it follows from the seed.
 */
export type Run = { seed: number; violations: string[]; sagas: number; virtualMs: number; turns: number }

const LEASE_MS = 3_000
/** Its step was decided while it was on its way: it changes nothing. */
const LATE_CALLBACK = {
  kind: 'callback',
  step: 'none',
  direction: 'action',
  end: { result: null },
} as const
const CALM_MS = 600_000
const START = Date.parse('2026-01-01T00:00:00Z')

type Process = Host & { cutOffUntil: number; workerId: string; worker: Worker }

export async function simulate(seed: number): Promise<Run> {
  const virtual = createVirtual(seed)
  const { between, chance, pick } = virtual
  const world = createWorld(virtual)
  const database = createMemoryDatabase({
    now: () => START + Math.floor(virtual.now()),
    onChange: world.onChange,
  })
  world.use(database)
  const log = pino({ level: process.env.SIMULATE_LOG ?? 'silent' })
  const stormMs = between(5_000, 40_000)
  /** How bad it is, this time. */
  const [crashes, pauses, losses, slowness] = [
    between(0, 0.003),
    between(0, 0.003),
    between(0, 0.08),
    between(0, 0.1),
  ]
  const isStorm = () => virtual.now() < stormMs
  const processes: Process[] = []
  let started = 0

  // --- The network ----------------------------------------------------------------------------------------------

  function networkOf(process: Process): Network {
    const latency = () => (isStorm() && chance(slowness) ? between(20, 2_000) : between(0.2, 6))
    return (statement) =>
      new Promise((resolve, reject) => {
        const isCut = virtual.now() < process.cutOffUntil
        const isLost = isStorm() && (isCut || chance(losses))
        const isCarriedOut = !isLost || (!isCut && chance(0.6))
        const lose = () => reject(new ConnectionLost('the answer did not come'))
        const arrives = latency()
        if (isLost) virtual.after(between(20, 1_500), lose, process)
        if (!isCarriedOut) return
        // One that its sender has given up may be carried out much later.
        virtual.after(isLost && chance(0.3) ? arrives + between(100, 2 * LEASE_MS) : arrives, () => {
          if (!process.isUp && chance(0.5)) return
          const answer = attempt(statement)
          if (isLost) return
          virtual.after(latency(), () => (answer.ok ? resolve(answer.value) : reject(answer.error)), process)
        })
      })
  }

  // --- Processes ------------------------------------------------------------------------------------------------

  function begin(): void {
    const name = `worker ${++started}`
    const host = { name, isUp: true, pausedUntil: 0, cutOffUntil: 0, workerId: '' }
    let process: Process | undefined
    const sagas = world.modules(() => host.workerId)
    const worker = createWorkerOn(
      async ({ workerId, leaseMs, onDue }) => {
        host.workerId = workerId
        const tell = (queue: string) => {
          for (const other of processes)
            if (other !== process && chance(0.7))
              virtual.after(between(0.5, 20), () => hints.get(other)?.([queue]), other)
        }
        if (process !== undefined) hints.set(process, onDue)
        const network: Network = (statement) => networkOf(process ?? fail())(statement)
        const store = openMemoryStore(database, { workerId, leaseMs, onDue, tell, network })
        if (process !== undefined) stores.set(process, store)
        return store
      },
      { databaseUrl: '', sagas, leaseMs: LEASE_MS, pollMs: 500, concurrency: pick([3, 50]), log },
    )
    process = Object.assign(host, { worker })
    processes.push(process)
    const one = process
    virtual.after(0, () => void worker.start().catch(() => end(one, between(100, 2_000))), one)
  }
  const stores = new Map<Process, WorkerStore>()
  const hints = new Map<Process, (queues: string[]) => void>()

  function end(process: Process, restartMs: number): void {
    if (!process.isUp) return
    process.isUp = false
    const { workerId } = process
    // The database learns of it by the connection, soon, late or never.
    if (chance(0.8))
      virtual.after(between(1, 3_000), () => {
        const row = database.workers.get(workerId)
        if (row !== undefined) row.isConnected = false
      })
    virtual.after(restartMs, begin)
  }

  function befall(host: Host): void {
    const process = processes.find((one) => one === host)
    if (process === undefined || !isStorm() || process.pausedUntil > virtual.now()) return
    if (chance(crashes)) end(process, between(10, 5_000))
    else if (chance(pauses)) process.pausedUntil = virtual.now() + between(10, 3 * LEASE_MS)
  }

  // --- Callers --------------------------------------------------------------------------------------------------

  for (const document of documents) {
    const { source } = database.register(document)
    if (chance(0.5))
      virtual.after(between(0, stormMs), () => void database.register({ ...source, description: 'another' }))
  }
  /** From then on no start is under way any more that its caller does not repeat. */
  let quietAt = 0
  const count = 4 + Math.floor(virtual.random() * 10)
  for (let n = 0; n < count; n++) {
    virtual.after(between(0, stormMs * 0.7), () => {
      const definition = database.latest(pick(NAMES)) ?? fail()
      const input = { n }
      const request: StartRequest = {
        definition,
        input,
        inputBytes: byteLength(JSON.stringify(input)),
        requestHash: `${n}`,
        idempotencyKey: `${n}`,
        ...(chance(0.2) && { deadlineMs: between(500, 20_000) }),
      }
      if (chance(0.4)) startBeside(request)
      else start(request)
      if (chance(0.5)) startOnce({ ...request, requestHash: `${n}, once`, idempotencyKey: undefined })
    })
  }

  function start(request: StartRequest): void {
    const { sagaId } = database.start(request, `request:${request.idempotencyKey}`)
    const { queue } = request.definition
    if (chance(0.3)) virtual.after(between(1, 6_000), () => cancel(sagaId))
    if (chance(0.3)) virtual.after(between(1, 8_000), () => void database.post(sagaId, LATE_CALLBACK))
    for (const _ of Array.from({ length: 3 })) {
      if (!chance(0.5)) continue
      const letter = { kind: 'signal', signal: 'go', payload: 1 } as const
      virtual.after(between(1, 12_000), () => void database.post(sagaId, letter))
    }
    for (const process of processes)
      virtual.after(between(0.5, 5), () => hints.get(process)?.([queue]), process)
  }

  /** In a process with a worker: it belongs to that from its first commit on. The caller asks again, elsewhere. */
  function startBeside(request: StartRequest): void {
    const process = pick(processes)
    const beside = () => {
      const slot = process.worker.slot(request.definition.queue)
      const starting = stores.get(process)?.starts.start(request, slot)
      if (starting === undefined) slot?.leave()
      else starting.catch(() => undefined)
    }
    virtual.after(0, beside, process)
    virtual.after(between(1, 3_000), () => start(request))
  }

  /** As the API does: with the version that was seen last, and with the highest if that is another. Without a key. */
  function startOnce(request: StartRequest): void {
    const process = pick(processes)
    const { name } = request.definition
    const once = async () => {
      const starts = stores.get(process)?.starts
      const slotFor = () => process.worker.slot(request.definition.queue)
      const answer = await starts?.startIfLatest(request, slotFor())
      if (answer?.is !== 'outdated') return
      await starts?.start({ ...request, definition: database.latest(name) ?? fail() }, slotFor())
    }
    quietAt = virtual.now() + 40_000
    virtual.after(between(0, 3_000), () => void once().catch(() => undefined), process)
  }

  function cancel(sagaId: string): void {
    const posted = database.post(sagaId, { kind: 'cancel', actor: 'a', reason: 'r' }, { beforePivot: true })
    if (posted.is === 'posted') world.accepted.add(sagaId)
  }

  const by = { actor: 'a', reason: 'r' } as const

  /** Somebody holds a saga back, or hurries it; in the calm nothing stays held back. */
  function manage(sagaId: string, paused: boolean): void {
    const ask = (verb: 'pause' | 'resume' | 'runNow') =>
      virtual.after(between(0, 900), () => void database.post(sagaId, { kind: 'verb', verb, ...by }))
    if (paused && (!isStorm() || chance(0.4))) ask('resume')
    if (isStorm() && chance(0.15)) ask('pause')
    if (chance(0.2)) ask('runNow')
  }

  /** Somebody looks after those that are stuck, more often in the calm. */
  function operate(): void {
    for (const { sagaId, status, version, paused, isEnded } of database.rows.values()) {
      if (!isEnded) manage(sagaId, paused)
      if (status !== 'stuck' || !(isStorm() ? chance(0.3) : true)) continue
      const edited = chance(0.3) && { input: 'edited', force: chance(0.8) }
      const letter = { kind: 'verb', verb: 'retry', ...by, decidedOn: version, ...edited } as const
      if (chance(0.5)) database.post(sagaId, LATE_CALLBACK)
      virtual.after(between(0, 30), () => void database.post(sagaId, letter, { status: 'stuck' }))
    }
    virtual.after(isStorm() ? 1_000 : 5_000, operate)
  }

  function cutOff(): void {
    const process = pick(processes)
    process.cutOffUntil = virtual.now() + between(50, 2.5 * LEASE_MS)
    const row = database.workers.get(process.workerId)
    if (row !== undefined && chance(0.5)) row.isConnected = false
    if (isStorm()) virtual.after(between(500, 15_000), cutOff)
  }

  /** As a deployment does. */
  function redeploy(): void {
    const process = pick(processes)
    virtual.after(
      0,
      () => void process.worker.stop(between(100, 5_000)).finally(() => end(process, 100)),
      process,
    )
    if (isStorm()) virtual.after(between(2_000, 20_000), redeploy)
  }

  const size = 1 + Math.floor(virtual.random() * 3)
  for (let n = 0; n < size; n++) begin()
  virtual.after(1_000, operate)
  if (chance(0.7)) virtual.after(between(500, stormMs), cutOff)
  if (chance(0.5)) virtual.after(between(500, stormMs), redeploy)
  virtual.after(stormMs, world.heal)

  const isDone = () =>
    !isStorm() &&
    virtual.now() > quietAt &&
    [...database.rows.values()].filter(({ startKey }) => startKey?.startsWith('request:')).length >= count &&
    [...database.rows.values()].every(({ isEnded }) => isEnded)
  /** A little longer, for what comes after the end. */
  let doneAt = Number.POSITIVE_INFINITY
  const isOver = () => {
    if (isDone()) doneAt = Math.min(doneAt, virtual.now())
    return (
      world.violations.length > 0 ||
      virtual.now() > stormMs + CALM_MS ||
      virtual.now() > doneAt + 3 * LEASE_MS
    )
  }
  await virtual.run(isOver, befall)
  if (world.violations.length === 0) world.check()
  return {
    seed,
    violations: world.violations,
    sagas: database.rows.size,
    virtualMs: virtual.now(),
    turns: virtual.turns,
  }
}

const NAMES = ['plain', 'plain', 'unsure', 'turning', 'turning', 'grouped', 'waiting', 'parent']

function attempt<T>(work: () => T): { ok: true; value: T } | { ok: false; error: Error } {
  try {
    return { ok: true, value: work() }
  } catch (error) {
    return { ok: false, error: error instanceof Error ? error : new Error(String(error)) }
  }
}

function fail(): never {
  throw new Error('the simulation itself is wrong')
}
