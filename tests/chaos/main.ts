import { existsSync, rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { chanceOf } from './chance.ts'
import { ROUGH } from './faults.ts'
import { definitionsOf } from './generator.ts'
import { handlersDefinition } from './handler-sagas.ts'
import { crashes, nemeses, nemesesNamed } from './nemeses.ts'
import { poolerMissing } from './pooler.ts'
import { run } from './run.ts'
import { folderFor, startServer } from './server.ts'
import { bugNames, tryBug } from './tester.ts'

const USAGE = `npm run chaos -- [--minutes N] [--seed S] [--nemeses a,b] [--pooler]   rounds of a minute each
npm run chaos -- --bugs [all | a,b] [--seed S]                         who tests the tester: the kill matrix`

const ROUND_SECONDS = 60
const TOGETHER = 40

const { values } = parseArgs({
  args: process.argv.slice(2).filter((argument) => argument !== '--'),
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    nemeses: { type: 'string' },
    bugs: { type: 'string' },
    pooler: { type: 'boolean' },
    help: { type: 'boolean' },
  },
})
process.once('SIGINT', () => process.exit(130))
const say = (line: string) => process.stdout.write(`${line}\n`)

if (values.help) say(USAGE)
else process.exitCode = values.bugs === undefined ? await torment() : await testTheTester(values.bugs)

/** 0 if everything held. */
async function torment(): Promise<number> {
  const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 1e9))
  const wanted =
    values.nemeses === undefined ? [...nemeses, ...crashes] : nemesesNamed(values.nemeses.split(','))
  const end = performance.now() + Number(values.minutes) * 60_000
  const server = await startServer(folderFor('server'))
  try {
    for (let seed = firstSeed; seed === firstSeed || performance.now() < end; seed++) {
      const seconds = Math.min(ROUND_SECONDS, Math.ceil((end - performance.now()) / 1000))
      if (seed > firstSeed && seconds < 5) break
      const folder = folderFor(`run-${seed}`)
      const pooler =
        poolerMissing() === undefined && (values.pooler ?? chanceOf(seed, 'pooler').happens(0.25))
      const round = {
        seconds,
        together: TOGETHER,
        nemeses: shuffled(wanted, seed),
        workers: 2,
        workerWithApi: true,
        pooler,
      }
      const definitions = [...definitionsOf(seed), handlersDefinition]
      say(`\nseed ${seed}${pooler ? ', behind pgbouncer in transaction mode' : ''}`)
      if (poolerMissing() !== undefined) say(`skipped pgbouncer: ${poolerMissing()}`)
      const beganAt = performance.now()
      const verdict = await run({
        seed,
        server,
        folder,
        definitions,
        mix: ROUGH,
        ...round,
        say: (line) => say(`  ${line}`),
      })
      const tookS = (performance.now() - beganAt) / 1000
      const ends = Object.entries(verdict.byStatus).map(([status, count]) => `${count} ${status}`)
      say(
        `  ${verdict.sagas} sagas (${ends.join(', ')}), ${verdict.effects} effects, ${(verdict.sagas / seconds).toFixed(1)} sagas/s, ${tookS.toFixed(0)} s in all`,
      )
      for (const [name, wrong] of Object.entries(verdict.wrong)) {
        say(`  ${wrong.length === 0 ? 'holds   ' : 'BROKEN  '} ${name}`)
        for (const one of wrong.slice(0, 10)) say(`            ${one}`)
      }
      if (Object.values(verdict.wrong).some((wrong) => wrong.length > 0)) {
        const also = values.nemeses === undefined ? '' : ` --nemeses ${values.nemeses}`
        say(
          `\nledger, client log and histories: ${folder}\nagain: npm run chaos -- --minutes ${Math.max(1, seconds / 60)} --seed ${seed}${also}${pooler ? ' --pooler' : ''}`,
        )
        return 1
      }
      rmSync(folder, { recursive: true })
    }
    say('\neverything held')
    return 0
  } finally {
    await server.stop()
  }
}

/** 0 if every mistake was caught. */
async function testTheTester(which: string): Promise<number> {
  const names = which === 'all' ? bugNames : bugNames.filter((name) => which.split(',').includes(name))
  if (names.length === 0) throw new Error(`there is no bug "${which}"; there are ${bugNames.join(', ')}`)
  const server = await startServer(folderFor('server'))
  let survived = 0
  try {
    say('| seeded bug | caught by |\n|---|---|')
    for (const name of names) {
      const folder = folderFor(`bug-${name}`)
      const { by } = await tryBug(name, server, Number(values.seed ?? 1), folder)
      const caught = Object.entries(by).map(([invariant, times]) => `${invariant} (${times})`)
      say(`| ${name} | ${caught.join(', ') || '**nobody**'} |`)
      if (caught.length === 0) survived++
      if (existsSync(folder)) rmSync(folder, { recursive: true })
    }
    return survived === 0 ? 0 : 1
  } finally {
    await server.stop()
  }
}

/** Each round in another order, lest the last be always cut off by the end. */
function shuffled<T>(all: readonly T[], seed: number): T[] {
  const chance = chanceOf(seed, 'order')
  return all
    .map((one) => ({ one, at: chance.next() }))
    .sort((a, b) => a.at - b.at)
    .map(({ one }) => one)
}
