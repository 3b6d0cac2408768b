import type { Claims, Queued, Slot, Turns } from '@backstitch/store'
import type { Logger } from 'pino'
import { createComplaints } from './complaints.ts'
import type { Runner } from './runner.ts'

/** Takes due sagas while there is room, and sleeps until the next is due, a hint arrives or the poll interval is over. */
export type ClaimLoop = {
  start(): void
  /** Something may be due now. */
  wake(): void
  /** A slot for a saga that is about to be started in this process, if there is one to spare. */
  slot(): Omit<Slot, 'workerId'> | undefined
  /** Is this saga being started in a slot? */
  expects(sagaId: string): boolean
  /** Something will be due at this many milliseconds from now. */
  wakeIn(ms: number): void
  /** Slots whose starts have not been answered yet. */
  readonly kept: number
  /** Resolves when no claim is under way and none will follow. */
  stop(): Promise<void>
}

export type ClaimLoopParts = {
  claims: Claims
  runner: Runner
  queues: readonly string[]
  concurrency: number
  /** How long something due may go unnoticed when no hint arrives. */
  pollMs: number
  log: Logger
}

/** One claim takes at most this many, so that a fleet shares what there is. */
const MAX_CLAIM = 200
/** A suspect that has waited this long is worth an empty worker. Up to twice as long, lest a whole fleet empty for one. */
const SUSPECT_PATIENCE_MS = 5_000
/** How long a worker tries to become empty. In vain? It stays open as long, and then tries for twice as long. */
const EMPTYING_MS = 30_000
/** With a backlog there is always something to claim: how often the suspects are looked at all the same. */
const LOOK_MS = 1_000
const ERROR_DELAY_MS = 500
/** Who is woken again within this time need not have asked when the next is due. */
const CALM_MS = 10

export function createClaimLoop({
  claims,
  runner,
  queues,
  concurrency,
  pollMs,
  log,
}: ClaimLoopParts): ClaimLoop {
  const complain = createComplaints(log)
  let stopped = false
  let looping: Promise<void> | undefined
  let woken = false
  let alarm: (() => void) | undefined
  let turn = 0
  let mailFirst = true
  /** By queue: the definition that was served last. */
  const servedLast = new Map<string, string>()
  /** The last claim found as much as it may take of one kind, or there was no slot for a start: there is probably more. */
  let backlog = false
  /** Slots kept for sagas that are being started. */
  let kept = 0
  const expected = new Set<string>()
  /** A saga that may kill its worker is run by a worker that holds nothing else (S19). */
  let mode: 'open' | 'emptying' | 'alone' = 'open'
  const patienceMs = SUSPECT_PATIENCE_MS * (1 + Math.random())
  let emptyingMs = EMPTYING_MS
  /** When emptying ends without success; after that, when it may begin again. */
  let emptyingTurnsAt = Number.NEGATIVE_INFINITY
  let lookedAt = Number.NEGATIVE_INFINITY

  async function loop(): Promise<void> {
    while (!stopped) {
      woken = false
      const waitMs = await claimOnce().catch((error: unknown) => {
        complain(error, 'claiming failed; trying again')
        return ERROR_DELAY_MS
      })
      if (!stopped && !woken && waitMs > 0) await sleep(waitMs)
    }
  }

  /** Answers for how long there is nothing to claim. */
  async function claimOnce(): Promise<number> {
    if (mode === 'alone') return pollMs
    if (mode === 'emptying') {
      if (isEmpty()) return runSuspect()
      if (await goesOnEmptying()) return pollMs
    }
    const room = concurrency - runner.holds - kept
    if (room <= 0) return pollMs
    const limit = Math.min(room, MAX_CLAIM)
    const claimed = await claims.claim(inTurn(), limit, turnsAt(limit))
    for (const one of claimed) {
      if (one.mailSeq === one.mailSeen) servedLast.set(one.queue, one.definition.name)
      void runner.run(one).then(whenRoom)
    }
    backlog = claimed.length >= Math.ceil(limit / 2)
    if (performance.now() - lookedAt < LOOK_MS) {
      if (backlog) return 0
      if (!woken && !stopped) await sleep(CALM_MS)
      if (woken) return 0
    }
    const now = performance.now()
    lookedAt = now
    const { dueMs = pollMs, suspectWaitingMs } = await claims.nextDueMs(queues)
    if (suspectWaitingMs !== undefined) {
      if (isEmpty()) return runSuspect()
      if (suspectWaitingMs > patienceMs && now > emptyingTurnsAt) {
        mode = 'emptying'
        emptyingTurnsAt = now + emptyingMs
      }
    }
    return backlog ? 0 : Math.min(pollMs, Math.ceil(dueMs))
  }

  /** Not for a suspect that another worker has taken, nor for ever: a long attempt must not stop everything else. */
  async function goesOnEmptying(): Promise<boolean> {
    const { suspectWaitingMs } = await claims.nextDueMs(queues)
    if (suspectWaitingMs !== undefined) {
      if (performance.now() < emptyingTurnsAt) return true
      emptyingTurnsAt = performance.now() + emptyingMs
      emptyingMs *= 2
    }
    mode = 'open'
    return false
  }

  async function runSuspect(): Promise<number> {
    mode = 'alone'
    emptyingMs = EMPTYING_MS
    const end = () => {
      if (mode !== 'alone') return
      mode = 'open'
      wake()
    }
    const [suspect] = await claims.claimSuspect(queues).catch((error: unknown) => {
      mode = 'open'
      throw error
    })
    if (suspect === undefined) {
      mode = 'open'
      return pollMs
    }
    log.warn(
      { sagaId: suspect.lease.sagaId, leasesLost: suspect.leasesLost },
      'running a suspect saga on its own',
    )
    void runner.run(suspect, { onProgress: end }).then(end)
    return pollMs
  }

  function isEmpty(): boolean {
    return runner.holds + kept === 0
  }

  /** What waits in the database comes first: no start overtakes it. */
  function slot(): Omit<Slot, 'workerId'> | undefined {
    if (stopped || mode !== 'open' || backlog) return undefined
    if (runner.holds + kept >= concurrency) {
      backlog = true
      return undefined
    }
    kept++
    let expectedId = ''
    const leave = () => {
      kept--
      expected.delete(expectedId)
    }
    return {
      expect(sagaId) {
        expectedId = sagaId
        expected.add(sagaId)
      },
      leave,
      fill(claimed) {
        void runner.run(claimed).then(whenRoom)
        leave()
      },
    }
  }

  /**
   * Whatever there is most of, something else gets half of what is free, if it is due: one definition fills no more than half of an
   * empty worker in one claim, nor what has mail more than half of any while there is a backlog. With room for one they take turns.
   */
  function turnsAt(limit: number): Turns {
    const share = Math.ceil(Math.min(concurrency, MAX_CLAIM) / 2)
    const mail = backlog ? (limit + (mailFirst ? 1 : 0)) >> 1 : limit
    mailFirst = !mailFirst
    return { after: servedLast, held: fewestFirst(runner.heldDefinitions()), share, mail }
  }

  /** Each queue comes first in turn, and in it each definition, so that a full one does not starve the others. */
  function inTurn(): string[] {
    turn = (turn + 1) % Math.max(queues.length, 1)
    return [...queues.slice(turn), ...queues.slice(0, turn)]
  }

  /** With a backlog a full worker claims again only when a good part of it is free: many sagas a claim, not one. */
  function whenRoom(): void {
    const holds = runner.holds + kept
    if (holds === 0 || (backlog && concurrency - holds >= concurrency / 4)) {
      if (backlog || mode === 'emptying') wake()
    }
  }

  function wake(): void {
    woken = true
    alarm?.()
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms)
      function done() {
        clearTimeout(timer)
        alarm = undefined
        resolve()
      }
      alarm = done
    })
  }

  return {
    start() {
      looping ??= loop()
    },
    wake,
    slot,
    expects: (sagaId) => expected.has(sagaId),
    get kept() {
      return kept
    },
    wakeIn(ms) {
      // The loop looks at least that often by itself.
      if (ms < pollMs) setTimeout(wake, Math.max(0, ms)).unref()
    },
    async stop() {
      stopped = true
      wake()
      await looping
    },
  }
}

function fewestFirst(held: readonly Queued[]): Queued[] {
  const counts = new Map<string, { one: Queued; sagas: number }>()
  for (const one of held) {
    // No name of a queue or a definition has a space.
    const key = `${one.queue} ${one.name}`
    const sagas = (counts.get(key)?.sagas ?? 0) + 1
    counts.set(key, { one, sagas })
  }
  return [...counts.values()].sort((a, b) => a.sagas - b.sagas).map(({ one }) => one)
}
