import { parseArgs } from 'node:util'
import { simulate } from './simulate.ts'

/**
 * `npm run simulate -- --minutes 5`: one seed after the other, from one drawn by chance; stops at the first that fails, and
 * says how to see it again. `--seed S` runs that one, or begins there with `--minutes`.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    runs: { type: 'string' },
  },
})
const first = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
const limitMs =
  values.minutes !== undefined
    ? Number(values.minutes) * 60_000
    : values.seconds !== undefined
      ? Number(values.seconds) * 1_000
      : undefined
const most =
  values.runs !== undefined ? Number(values.runs) : limitMs === undefined ? 1 : Number.POSITIVE_INFINITY

const startedAt = process.hrtime.bigint()
const elapsedMs = () => Number((process.hrtime.bigint() - startedAt) / 1_000_000n)
const sum = { runs: 0, sagas: 0, virtualMs: 0, turns: 0 }
for (let seed = first; sum.runs < most && elapsedMs() < (limitMs ?? Number.POSITIVE_INFINITY); seed++) {
  const run = await simulate(seed)
  sum.runs++
  sum.sagas += run.sagas
  sum.virtualMs += run.virtualMs
  sum.turns += run.turns
  if (run.violations.length > 0) {
    console.log(`seed ${seed} fails, after ${sum.runs} runs in ${(elapsedMs() / 1_000).toFixed(1)} s:`)
    for (const violation of run.violations) console.log(`  ${violation}`)
    console.log(`again: npm run simulate -- --seed ${seed}`)
    process.exit(1)
  }
}
const hours = (sum.virtualMs / 3_600_000).toFixed(1)
console.log(
  `${sum.runs} runs from seed ${first} hold: ${sum.sagas} sagas, ${sum.turns} turns, ${hours} virtual hours in ${(elapsedMs() / 1_000).toFixed(1)} s`,
)
process.exit(0)
