import type { Lease, ServiceReport, Session } from '@backstitch/store'
import type { Logger } from 'pino'
import { createComplaints } from './complaints.ts'

/**
 * Says that this worker is alive, and looks whether others still are. One statement serves all its sagas, so a heartbeat
 * costs the same with ten of them as with ten thousand.
 *
 * Invariants:
 *  1. the heartbeat counts as confirmed from the moment it was sent, never from when its answer came
 *  2. a whole lease without one, by the monotonic clock, and this worker is dead by its own judgement, before anyone
 *     else may think so (S17)
 *  3. a worker once dead stays dead
 */
export type Heartbeat = {
  start(): void
  stop(): void
  readonly died: Promise<string>
}

export type HeartbeatParts = {
  session: Session
  workerId: string
  leaseMs: number
  log: Logger
  holds(): number
  services(): ServiceReport
  /** Mail has come for a saga held here. */
  onMail(sagaId: string): void
  /** Sagas of a dead worker were freed. */
  onFreed(): void
  /** Leases that the database has noted for this worker at two looks in a row. However long it takes, the heart beats on. */
  onLeases(leases: Lease[]): Promise<void>
}

/** How often it looks around: for mail, and for workers that have died. Reads only. */
const LOOK_MS = 200
/** A lost connection may come back: a worker is declared dead only if it has not after this long, just under two looks. */
const GRACE_MS = 390
const SWEEP_MS = 2_000
const SWEEP_LIMIT = 5_000

export function createHeartbeat(parts: HeartbeatParts): Heartbeat {
  const { session, workerId, leaseMs, log } = parts
  const complain = createComplaints(log)
  const beatMs = Math.max(LOOK_MS, Math.min(2_000, leaseMs / 6))
  /** When workers were first seen to be gone, by id. */
  const missing = new Map<string, { sinceMs: number; backendPid: number | null }>()
  let confirmedAt = performance.now()
  let sweptAt = Number.NEGATIVE_INFINITY
  let leasesBefore = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let looking = false
  let comparing = false
  let stopped = false
  let die: (reason: string) => void = () => undefined
  const died = new Promise<string>((resolve) => {
    die = resolve
  })

  function end(reason: string): void {
    stop()
    die(reason)
  }

  function stop(): void {
    stopped = true
    clearInterval(timer)
  }

  function tick(): void {
    if (performance.now() - confirmedAt > leaseMs) {
      end('no heartbeat could be confirmed for a whole lease')
      return
    }
    if (looking) return
    looking = true
    look()
      .catch((error: unknown) => complain(error, 'the heartbeat failed; trying again'))
      .finally(() => {
        looking = false
      })
  }

  async function look(): Promise<void> {
    const sentAt = performance.now()
    const beat = sentAt - confirmedAt >= beatMs
    const pulse = await session.pulse(
      workerId,
      beat ? { holds: parts.holds(), services: parts.services() } : undefined,
    )
    if (stopped) return
    if (!pulse.alive) return end('declared dead by another worker')
    if (beat) confirmedAt = sentAt
    for (const sagaId of pulse.unread) parts.onMail(sagaId)
    const declared = await declareDead(pulse.silent)
    if (declared || sentAt - sweptAt > SWEEP_MS) await sweep(sentAt)
    if (beat) await compareLeases()
  }

  /** True if somebody was declared dead. */
  async function declareDead(silent: Awaited<ReturnType<Session['pulse']>>['silent']): Promise<boolean> {
    for (const id of missing.keys()) if (!silent.some((one) => one.workerId === id)) missing.delete(id)
    let declared = false
    for (const worker of silent) {
      const known = missing.get(worker.workerId)
      if (known?.backendPid !== worker.backendPid) {
        missing.set(worker.workerId, { sinceMs: performance.now(), backendPid: worker.backendPid })
      }
      const sinceMs = missing.get(worker.workerId)?.sinceMs ?? performance.now()
      if (worker.reason === 'connectionLost' && performance.now() - sinceMs < GRACE_MS) continue
      if (await session.declareDead(worker)) {
        log.warn(
          { dead: worker.workerId, reason: worker.reason },
          'another worker is dead; its sagas are freed',
        )
        declared = true
      }
    }
    return declared
  }

  /** Again and again, so that a claim which landed after its worker's death is not orphaned (S17). */
  async function sweep(now: number): Promise<void> {
    sweptAt = now
    const freed = await session.sweep(SWEEP_LIMIT)
    if (freed === 0) return
    log.warn({ sagas: freed }, 'freed sagas of workers that are no longer alive')
    parts.onFreed()
    // There may be more than one sweep takes.
    if (freed === SWEEP_LIMIT) sweptAt = Number.NEGATIVE_INFINITY
  }

  async function compareLeases(): Promise<void> {
    const leases = await session.leases(workerId)
    const lasting = leases.filter((lease) => leasesBefore.has(keyOf(lease)))
    leasesBefore = new Set(leases.map(keyOf))
    if (stopped || comparing || lasting.length === 0) return
    comparing = true
    parts
      .onLeases(lasting)
      .catch((error: unknown) => complain(error, 'taking up lost sagas failed; trying again'))
      .finally(() => {
        comparing = false
      })
  }

  return {
    died,
    start() {
      timer = setInterval(tick, LOOK_MS)
    },
    stop,
  }
}

function keyOf({ sagaId, epoch }: Lease): string {
  return `${sagaId} ${epoch}`
}
