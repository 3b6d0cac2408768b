import { Problem } from '@backstitch/core'
import { type ApiStore, isOutage, type Turn } from '@backstitch/store'
import type { FastifyBaseLogger } from 'fastify'
import { operate } from './operating.ts'

/**
 * Carries out bulk operations, a few sagas at a time and as fast as each operation allows. Every API process does; what was begun
 * goes on in whichever is there.
 */
export type BulkRunner = {
  start(): void
  /** There is something new to do. */
  wake(): void
  /** Resolves when nothing is under way and nothing will be. */
  stop(): Promise<void>
}

/** How long an operation that another process began, or left, may go unnoticed. */
const LOOK_MS = 2_000
/** Items at once: the other connections are for those who ask. */
const ABREAST = 3
const AFTER_FAILURE_MS = 1_000

export function createBulkRunner(options: { store: () => ApiStore; log: FastifyBaseLogger }): BulkRunner {
  const { store, log } = options
  let stopped = false
  let looping: Promise<void> | undefined
  let wake: () => void = () => undefined
  let isAwake = false

  async function loop(): Promise<void> {
    let isAway = false
    while (!stopped) {
      isAwake = false
      let waitMs = AFTER_FAILURE_MS
      try {
        waitMs = await look()
        if (isAway) log.info('the database is back; bulk operations go on')
        isAway = false
      } catch (error) {
        // Whoever connects says so again and again; here the beginning and the end are enough.
        if (!isUnreachable(error) && !(isAway && isOutage(error)))
          log.warn({ err: error }, 'could not look after bulk operations; trying until it can be done')
        isAway ||= isOutage(error)
      }
      if (waitMs > 0) await sleep(waitMs)
    }
  }

  /** Answers for how long there is nothing to do. */
  async function look(): Promise<number> {
    const { bulks } = store()
    const turn = await bulks.take()
    if (turn === undefined) return Math.min((await bulks.nextDueMs()) ?? LOOK_MS, LOOK_MS)
    let left = turn.sagas
    let isOver = false
    const lane = async () => {
      while (!stopped && !isOver && left-- > 0) {
        if (!(await carryOut(turn))) isOver = true
      }
    }
    const lanes = await Promise.allSettled(Array.from({ length: ABREAST }, lane))
    for (const one of lanes) if (one.status === 'rejected') throw one.reason
    if (isOver) await bulks.finish(turn.bulkId)
    return 0
  }

  async function carryOut({ bulkId, verb, step, reason, actor }: Turn): Promise<boolean> {
    const { bulks, wakeups } = store()
    const why = `${reason} (bulk operation ${bulkId})`
    let queue: string | undefined
    let current = ''
    try {
      const found = await bulks.carryOut(bulkId, async (sagaId, tools) => {
        current = sagaId
        try {
          queue = await operate(sagaId, { verb, step, reason: why, actor }, tools)
          return { state: 'accepted' }
        } catch (error) {
          if (error instanceof Problem) return { state: 'refused', detail: error.message }
          throw error
        }
      })
      if (queue !== undefined) wakeups.due(queue)
      return found
    } catch (error) {
      if (isOutage(error) || current === '') throw error
      log.error({ err: error, bulkId, sagaId: current }, 'a saga of a bulk operation failed')
      await bulks.fail(bulkId, current, 'an unexpected error, which has been logged')
      return true
    }
  }

  function sleep(ms: number): Promise<void> {
    if (stopped || isAwake) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  return {
    start() {
      looping ??= loop()
    },
    wake() {
      isAwake = true
      wake()
    },
    async stop() {
      stopped = true
      wake()
      await looping
    },
  }
}

/** Said by whoever connects to the database, again and again. */
function isUnreachable(error: unknown): boolean {
  return error instanceof Problem && error.code === 'UNAVAILABLE'
}
