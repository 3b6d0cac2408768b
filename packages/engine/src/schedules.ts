import { hash } from 'node:crypto'
import {
  byteLength,
  type DuePlan,
  planDue,
  type ScheduleRun,
  sanitizeText,
  scheduleKey,
  startOf,
} from '@backstitch/core'
import type { InputSchemas } from '@backstitch/input-schema'
import { type DueSchedule, type Fired, isOutage, type WorkerStore } from '@backstitch/store'
import type { Logger } from 'pino'
import { createComplaints } from './complaints.ts'
import type { Counters } from './counters.ts'
import { createNap } from './nap.ts'

/**
 * Fires the schedules that are due (S38). Every worker does; which one takes a schedule is the database's affair, and a start that is
 * made twice is one saga.
 */
export type Scheduler = {
  start(): void
  /** Resolves when nothing is being fired and nothing will be. */
  stop(): Promise<void>
}

export type SchedulerParts = {
  store: Pick<WorkerStore, 'schedules' | 'definitions' | 'starts' | 'wakeups'>
  schemas: InputSchemas
  counters: Pick<Counters, 'scheduleRun'>
  log: Logger
}

/** How long a schedule that was made or changed may go unnoticed. Between looks there is an exact timer. */
const LOOK_MS = 2_000
/** When others hold what is due. */
const BUSY_MS = 200
const BATCH = 50
const MAX_DETAIL_BYTES = 2 * 1024

export function createScheduler({ store, schemas, counters, log }: SchedulerParts): Scheduler {
  const complain = createComplaints(log)
  let stopped = false
  let looping: Promise<void> | undefined
  const nap = createNap()

  async function loop(): Promise<void> {
    while (!stopped) {
      const waitMs = await look().catch((error: unknown) => {
        complain(error, 'firing schedules failed; trying again')
        return LOOK_MS
      })
      if (!stopped && waitMs > 0) await nap.sleep(waitMs)
    }
  }

  /** Answers for how long there is nothing to fire. */
  async function look(): Promise<number> {
    const dueMs = (await store.schedules.nextDueMs()) ?? Number.POSITIVE_INFINITY
    if (dueMs > 0) return Math.min(Math.ceil(dueMs), LOOK_MS)
    const runs: [string, ScheduleRun[]][] = []
    const taken = await store.schedules.takeDue(
      BATCH,
      async (due, now) => {
        const fired = await Promise.all(due.map((schedule) => fire(schedule, now)))
        for (const [index, { name }] of due.entries()) runs.push([name, fired[index]?.runs ?? []])
        return fired
      },
      (name, run) => runs.push([name, [run]]),
    )
    for (const [name, some] of runs) for (const run of some) tell(name, run)
    return taken === 0 ? BUSY_MS : 0
  }

  async function fire(schedule: DueSchedule, now: number): Promise<Fired> {
    const plan = planDue(schedule.spec, schedule.nextAt, now)
    const at = new Date(now).toISOString()
    const runs: ScheduleRun[] = [...missedOf(plan, at)]
    let moving = schedule.lastRuns
    for (const instant of plan.fire) {
      const run = { instant: new Date(instant).toISOString(), at }
      if (moving && schedule.spec.overlap === 'skip') {
        runs.push({ ...run, outcome: 'skipped', why: 'overlap' })
        continue
      }
      const came = await startRun(schedule, instant)
      moving ||= came.outcome === 'started'
      runs.push({ ...run, ...came })
    }
    return { nextAt: plan.nextAt, runs }
  }

  /** What the definition refuses is told, and is no reason to try again: the next instant is another chance. */
  async function startRun(
    { name, scheduleId, spec, input }: DueSchedule,
    instant: number,
  ): Promise<Pick<ScheduleRun, 'outcome' | 'sagaId' | 'error'>> {
    try {
      const asked = startOf(name, spec, input, instant)
      const { definition: wanted, version, ...start } = asked
      const definition = await (version === undefined
        ? store.definitions.latest(wanted)
        : store.definitions.get(wanted, version))
      if (definition === undefined) {
        const which =
          version === undefined ? `no definition "${wanted}"` : `no version ${version} of "${wanted}"`
        return failed('DEFINITION_NOT_FOUND', `there is ${which}`)
      }
      const key = scheduleKey(scheduleId, instant)
      const inputBytes = byteLength(JSON.stringify(start.input))
      const request = { ...start, definition, inputBytes, scheduleKey: key, requestHash: hash('sha256', key) }
      const { inputSchema } = definition.document
      const [misfit] =
        inputSchema === undefined
          ? []
          : schemas.misfits(
              { name: wanted, version: definition.version, schema: inputSchema },
              start.input,
              inputBytes,
            )
      // Started before a crash, under a version that took the input: that is the saga of this instant (S23).
      const answer = await (misfit ? store.starts.find(request) : store.starts.start(request))
      if (answer !== undefined) {
        store.wakeups.due(definition.queue)
        return { outcome: 'started', sagaId: answer.sagaId }
      }
      const place = `${misfit?.pointer ?? '/input'}: ${misfit?.detail ?? 'does not fit'}`
      return failed('INVALID_INPUT', `${wanted} version ${definition.version}: ${place}`)
    } catch (error) {
      if (isOutage(error)) throw error
      log.error({ err: error, schedule: name }, 'a scheduled start failed for a reason nobody expected')
      return failed('INTERNAL', 'an unexpected error, which the worker has logged')
    }
  }

  function tell(name: string, run: ScheduleRun): void {
    counters.scheduleRun(run.outcome)
    const { outcome, instant, until, why, sagaId, error } = run
    if (outcome === 'started') log.debug({ schedule: name, instant, sagaId }, 'a schedule started a saga')
    if (outcome === 'skipped')
      log.info({ schedule: name, instant, until, why }, 'a scheduled run was skipped')
    if (outcome === 'failed')
      log.error({ schedule: name, instant, ...error }, 'a scheduled start was refused')
  }

  return {
    start() {
      looping ??= loop()
    },
    async stop() {
      stopped = true
      nap.ring()
      await looping
    },
  }
}

function missedOf({ missed }: DuePlan, at: string): ScheduleRun[] {
  if (missed === undefined) return []
  const [instant, until] = [missed.from, missed.to].map((time) => new Date(time).toISOString())
  if (instant === undefined) return []
  return [{ instant, ...(until !== instant && { until }), at, outcome: 'skipped', why: 'missed' }]
}

function failed(code: string, detail: string): Pick<ScheduleRun, 'outcome' | 'error'> {
  return { outcome: 'failed', error: { code, detail: sanitizeText(detail, MAX_DETAIL_BYTES) } }
}
