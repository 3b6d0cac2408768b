import { readFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROUGH } from './faults.ts'
import { definitionsOf } from './generator.ts'
import { handlersDefinition } from './handler-sagas.ts'
import { invariants } from './invariants.ts'
import { nemesesNamed } from './nemeses.ts'
import { bugs } from './patches.ts'
import { run } from './run.ts'
import { folderFor, type Server, startServer } from './server.ts'
import { tryBug } from './tester.ts'

/** The smallest run worth having: `npm run chaos` is the long one. docs/reference/chaos.md */

let server: Server
beforeAll(async () => {
  server = await startServer(folderFor('server'))
})
afterAll(() => server.stop())

const SEED = 1

test('sagas, callers and operators under crash, pause, partition and a failing database: nothing lost, nothing done twice (F01, F04, F30, F31)', async () => {
  const folder = folderFor('smoke')
  const { wrong, sagas, strikes } = await run({
    seed: SEED,
    server,
    folder,
    definitions: [...definitionsOf(SEED), handlersDefinition],
    mix: ROUGH,
    seconds: 5,
    atLeast: 100,
    together: 30,
    pauseMs: 200,
    nemeses: nemesesNamed([
      'before commit',
      'after commit',
      'loseAnswer',
      'after claim',
      'after send',
      'blackHole',
      'before receive',
      'after start',
      'pause',
      'terminate',
    ]),
    everyNemesis: true,
  })

  expect(wrong, `evidence in ${folder}`).toEqual(
    Object.fromEntries(Object.keys(invariants).map((name) => [name, []])),
  )
  expect(sagas).toBeGreaterThan(50)
  expect(strikes.filter((strike) => strike.includes('died'))).toHaveLength(6)
  rmSync(folder, { recursive: true })
})

test('the words of every mistake stand once in their file: what is not put in is not caught', () => {
  const wrong = Object.entries(bugs).flatMap(([bug, { patches }]) =>
    patches
      .map(({ file, find }) => ({
        bug,
        file,
        times: readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8').split(find).length - 1,
      }))
      .filter(({ times }) => times !== 1),
  )
  expect(wrong).toEqual([])
})

test('mistakes are put into the code, and each is caught', async () => {
  const caughtBy = {
    aNewKeyForEachAttempt: 'oneKeyPerStepAndDirection',
    undoneInForwardOrder: 'undoneInReverseOrder',
    endsOverUnreadMail: 'everyCancelWasToldTheTruth',
    acknowledgedBeforeTheCommit: 'everyAcknowledgedStartExistsOnce',
  } as const
  const left = Object.keys(caughtBy) as (keyof typeof caughtBy)[]
  const survived: string[] = []
  async function lane(): Promise<void> {
    for (let bug = left.shift(); bug !== undefined; bug = left.shift()) {
      const folder = folderFor(bug)
      const { by } = await tryBug(bug, server, SEED, folder)
      if (!(caughtBy[bug] in by)) survived.push(`${bug}: ${JSON.stringify(by)}, evidence in ${folder}`)
      else rmSync(folder, { recursive: true })
    }
  }
  await Promise.all([lane(), lane(), lane()])
  expect(survived).toEqual([])
})
