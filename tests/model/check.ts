import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

/** Has saga.pml checked by SPIN: every state that can be reached, of the rules as they are and of broken ones. */

export type Case = { name: string; flags: string[] }

/** `full` takes most of a minute, the others some seconds. */
export const sound: (Case & { full?: true })[] = [
  { name: 'two workers, and a pivot', flags: ['PIVOT'] },
  { name: 'two workers, and every answer arrives', flags: ['LOST=0'] },
  { name: 'two workers', flags: [], full: true },
]

/** One rule is broken in each, and this is the assertion that falls first. */
export const broken: (Case & { falls: RegExp })[] = [
  { name: 'commits do not compare the epoch', flags: ['NO_FENCE'], falls: /owner==/ },
  { name: 'commits do not compare the version', flags: ['NO_VERSION'], falls: /version==version/ },
  { name: 'a dead worker comes back under its old id', flags: ['REVIVE'], falls: /working/ },
  { name: 'a living worker is swept', flags: ['SWEEP_LIVING'], falls: /working/ },
  { name: 'the dead are swept once, when they die', flags: ['SWEEP_ONCE'], falls: /mailSeen==mailSeq/ },
  { name: 'an end ignores unread mail', flags: ['END_OVER_MAIL'], falls: /accepted/ },
  {
    name: 'the pivot is dispatched over unread mail',
    flags: ['PIVOT_OVER_MAIL', 'PIVOT'],
    falls: /accepted/,
  },
  { name: 'a saga goes to rest over unread mail', flags: ['REST_OVER_MAIL'], falls: /mailSeq==mailSeen/ },
  { name: 'a release ignores unread mail', flags: ['RELEASE_OVER_MAIL'], falls: /mailSeq==mailSeen/ },
]

export type Found = { errors: number; violated: string | undefined; states: number; seconds: number }

/** Why the model cannot be checked here, or undefined. */
export function missingTools(): string | undefined {
  const missing = [
    ['spin', '-V'],
    ['cc', '--version'],
  ].flatMap(([tool = '', flag = '']) => (spawnSync(tool, [flag]).status === 0 ? [] : [tool]))
  return missing.length === 0
    ? undefined
    : `${missing.join(' and ')} not found (Debian: apt-get install spin gcc)`
}

const run = promisify(execFile)

export async function check({ flags }: Case): Promise<Found> {
  const cwd = await mkdtemp(path.join(tmpdir(), 'backstitch-model-'))
  try {
    const model = path.join(import.meta.dirname, 'saga.pml')
    const defines = ['N=2', ...flags].map((flag) => `-D${flag}`)
    await run('spin', ['-a', ...defines, model], { cwd })
    await run('cc', ['-O2', '-DSAFETY', '-DCOLLAPSE', '-o', 'pan', 'pan.c'], { cwd })
    const { stdout } = await run(path.join(cwd, 'pan'), ['-m100000'], { cwd, maxBuffer: 64 << 20 })
    return read(stdout)
  } finally {
    await rm(cwd, { recursive: true, force: true })
  }
}

function read(report: string): Found {
  const number = (pattern: RegExp) => Number(pattern.exec(report)?.[1])
  const errors = number(/errors: (\d+)/)
  // A bound on depth that was hit would leave states unseen.
  if (Number.isNaN(errors) || /max search depth too small/.test(report))
    throw new Error(`the search was not completed:\n${report}`)
  return {
    errors,
    violated: /^pan:1: (.*) \(at depth/m.exec(report)?.[1],
    states: number(/(\d+) states, stored/),
    seconds: number(/elapsed time ([\d.]+)/),
  }
}
