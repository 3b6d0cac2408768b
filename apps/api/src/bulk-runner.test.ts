import { Problem } from '@backstitch/core'
import type { ApiStore } from '@backstitch/store'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createBulkRunner } from './bulk-runner.ts'

const away = Object.assign(new Error('the connection was refused'), { code: 'ECONNREFUSED' })
const unreachable = new Problem('UNAVAILABLE', 'the database has not been reached yet')
const broken = new Error('nobody expected this')

/** What is said while looking for something to do goes like this, one time after the other. */
async function said(...looks: (Error | 'well')[]): Promise<string[]> {
  const lines: string[] = []
  const log = pino({}, { write: (line: string) => void lines.push(line) })
  let done: () => void = () => undefined
  const over = new Promise<void>((resolve) => {
    done = resolve
  })
  const take = () => {
    const next = looks.shift()
    if (looks.length === 0) done()
    // Nobody waits for the next look.
    runner.wake()
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(undefined)
  }
  const bulks = { take, nextDueMs: () => Promise.resolve(undefined) }
  const runner = createBulkRunner({ store: () => ({ bulks }) as unknown as ApiStore, log })
  runner.start()
  await over
  await runner.stop()
  return lines.map((line) => (JSON.parse(line) as { msg: string }).msg)
}

test('that the database is away is said once, and once that it is back', async () => {
  expect(await said('well', away, away, away, 'well', 'well')).toEqual([
    expect.stringContaining('could not look'),
    expect.stringContaining('back'),
  ])
})

test('each time it goes away is said, and whatever else fails meanwhile', async () => {
  expect(await said(away, 'well', away, broken, away, 'well')).toEqual([
    expect.stringContaining('could not look'),
    expect.stringContaining('back'),
    expect.stringContaining('could not look'),
    expect.stringContaining('could not look'),
    expect.stringContaining('back'),
  ])
})

test('a database that has never been reached is for others to speak of', async () => {
  expect(await said(unreachable, unreachable, 'well')).toEqual([])
})
