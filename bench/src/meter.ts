import fs from 'node:fs'
import pg from 'pg'
import type { Place } from './place.ts'

/**
 * What work cost beside time: processor time of this process and of Postgres, and bytes of its log. On a busy machine
 * these say more than a clock.
 */
export type Meter = {
  measure(work: () => Promise<unknown>): Promise<Cost>
  close(): Promise<void>
}
export type Cost = {
  seconds: number
  nodeCpuUs: number
  childrenCpuUs: number
  postgresCpuUs: number
  walBytes: number
}

/** `children`: processes of ours that count as Node's, too. */
export async function createMeter({ url }: Place, children: readonly number[] = []): Promise<Meter> {
  const client = new pg.Client(url)
  await client.connect()
  const pid = await postmasterOf(client)

  async function wal(): Promise<number> {
    const { rows } = await client.query<{ bytes: string }>(
      "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::text AS bytes",
    )
    return Number(rows[0]?.bytes)
  }

  return {
    async measure(work) {
      const walBefore = await wal()
      const postgresBefore = cpuUsOf(pid)
      const cpuBefore = process.cpuUsage()
      const childrenBefore = sumOf(children)
      const startedAt = performance.now()
      await work()
      const seconds = (performance.now() - startedAt) / 1_000
      const { user, system } = process.cpuUsage(cpuBefore)
      return {
        seconds,
        nodeCpuUs: user + system,
        childrenCpuUs: sumOf(children) - childrenBefore,
        postgresCpuUs: cpuUsOf(pid) - postgresBefore,
        walBytes: (await wal()) - walBefore,
      }
    },
    close: () => client.end(),
  }
}

/** Undefined where the server is on another machine, or may not be asked. */
async function postmasterOf(client: pg.Client): Promise<number | undefined> {
  try {
    const { rows } = await client.query<{ file: string }>("SELECT pg_read_file('postmaster.pid') AS file")
    return Number(rows[0]?.file.split('\n')[0])
  } catch {
    return undefined
  }
}

const US_PER_TICK = 10_000

/** The postmaster and its children, those that have ended included. NaN where there is no /proc. */
function cpuUsOf(postmaster: number | undefined): number {
  if (postmaster === undefined || !fs.existsSync(`/proc/${postmaster}/stat`)) return Number.NaN
  let ticks = 0
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const fields = statOf(name)
    // After pid and command: state, ppid, … utime, stime, cutime, cstime at 11 to 14.
    const isPostmaster = Number(name) === postmaster
    if (!isPostmaster && Number(fields[1]) !== postmaster) continue
    ticks += Number(fields[11]) + Number(fields[12])
    if (isPostmaster) ticks += Number(fields[13]) + Number(fields[14])
  }
  return ticks * US_PER_TICK
}

function sumOf(pids: readonly number[]): number {
  const ticks = pids.map((pid) => {
    const fields = statOf(String(pid))
    return Number(fields[11]) + Number(fields[12])
  })
  return ticks.reduce((sum, one) => sum + one, 0) * US_PER_TICK
}

function statOf(pid: string): string[] {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return []
  }
}
