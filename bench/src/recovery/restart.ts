import { randomBytes } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startLocalPostgres } from '@backstitch/local-postgres'
import { isOutage, migrate } from '@backstitch/store'
import { install, sagaOf } from '../installation.ts'
import { query } from '../place.ts'
import type { Contender } from '../scenario.ts'

const IN_FLIGHT = 200
const WARM_UP_MS = 5_000
const BEFORE_MS = 5_000
const LOOK_MS = 100
/** So many looks are one reading of the speed. */
const READING = 10
const FULL_SPEED = 0.9

/**
 * Postgres ends in the middle of steady work, as if by a crash, and is started again at once: from the moment it takes
 * connections to the first second at nine tenths of the speed before. Every start that was acknowledged has to end.
 */
export function restart(): Contender {
  return {
    name: 'Postgres restarted',
    open: async () => {
      const directory = path.join(os.tmpdir(), `backstitch-bench-restart-${randomBytes(4).toString('hex')}`)
      const start = (port?: number) =>
        startLocalPostgres({
          directory,
          temporary: true,
          settings: { shared_buffers: '256MB', max_wal_size: '1GB' },
          ...(port !== undefined && { port }),
        })
      const handles = [await start()]
      const { url, port } = handles[0] ?? (await start())
      return {
        async run() {
          await migrate(url)
          let steps = 0
          const saga = sagaOf({ name: 'order', steps: 3, onCall: () => steps++ })
          const installation = await install({ url }, saga, { concurrency: IN_FLIGHT })
          let stopping = false
          async function client(): Promise<void> {
            while (!stopping) {
              await installation.runOne().catch(async (error: unknown) => {
                if (!isOutage(error) && !isUnavailable(error)) throw error
                await sleep(50)
              })
            }
          }
          const clients = Promise.all(Array.from({ length: IN_FLIGHT }, client))

          /** Steps per second, in readings of a second that overlap. */
          const speeds = async function* () {
            const seen: { at: number; steps: number }[] = []
            for (;;) {
              seen.push({ at: performance.now(), steps })
              const first = seen.at(-1 - READING)
              const last = seen.at(-1)
              if (first !== undefined && last !== undefined) {
                yield { at: last.at, speed: ((last.steps - first.steps) / (last.at - first.at)) * 1_000 }
              }
              await sleep(LOOK_MS)
            }
          }
          await sleep(WARM_UP_MS)
          const from = { at: performance.now(), steps }
          await sleep(BEFORE_MS)
          const before = ((steps - from.steps) / (performance.now() - from.at)) * 1_000

          const endedAt = performance.now()
          await endPostgres(url)
          handles.push(await start(port))
          const backAt = performance.now()
          let fullAt = Number.NaN
          for await (const { at, speed } of speeds()) {
            if (speed < FULL_SPEED * before) continue
            fullAt = at
            break
          }
          stopping = true
          await clients
          const [row] = await query(url, 'SELECT count(*)::int AS n FROM sagas WHERE ended_at IS NULL')
          await installation.close()
          return {
            stepsPerSecondBefore: before,
            awaySeconds: (backAt - endedAt) / 1_000,
            fullSpeedSeconds: (fullAt - backAt) / 1_000,
            notEnded: Number(row?.n),
          }
        },
        async close() {
          for (const handle of handles.toReversed()) await handle.stop()
        },
      }
    },
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'UNAVAILABLE'
}

async function endPostgres(url: string): Promise<void> {
  const [row] = await query(url, "SELECT pg_read_file('postmaster.pid') AS text")
  const postmaster = Number(String(row?.text).split('\n')[0])
  process.kill(postmaster, 'SIGQUIT')
  while (isAlive(postmaster)) await sleep(10)
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
