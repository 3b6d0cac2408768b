import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** In a process of its own: its timers, its clock and its chance are virtual. */
async function simulate(...args: string[]): Promise<string> {
  const main = path.join(import.meta.dirname, 'main.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...args])
  return stdout
}

test('whatever crashes, stands still or gets lost, every saga ends as it was promised, and nothing is done twice (F01, F02, F04, F05, F06, F08, F13, F24, F27, F30, F90, F22, F91)', async () => {
  expect(await simulate('--seconds', '30')).toContain('hold')
}, 300_000)

test('one seed is one run, turn by turn', async () => {
  const [one, other] = await Promise.all([
    simulate('--seed', '7', '--runs', '20'),
    simulate('--seed', '7', '--runs', '20'),
  ])
  const figures = (said: string) => said.replace(/ in [\d.]+ s/, '')
  expect(figures(one)).toBe(figures(other))
})
