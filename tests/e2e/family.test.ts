import { checkDefinition, fold, type Json } from '@backstitch/core'
import { expect, test } from 'vitest'
import { openTheatre } from './processes.ts'

/** Sagas that start sagas, while their workers are killed (M4, M5). */

const child = (input: Json) => ({ type: 'saga', definition: 'ledger', input })

/** Two sagas at once, and then a third, which fails if it is told to. */
const PARENT: Json = {
  name: 'family',
  steps: [
    {
      parallel: [
        { name: 'left', action: child('${{ input.pair }}') },
        { name: 'right', action: child('${{ input.pair }}') },
      ],
    },
    { name: 'last', action: child('${{ input.last }}') },
  ],
}

test('families whose workers are killed end whole: each child once, its news once, and all undone where one failed', async () => {
  const theatre = await openTheatre()
  const checked = checkDefinition(PARENT)
  expect(checked.ok && checked.warnings).toEqual([])
  const definition = await theatre.store.definitions.register(PARENT)
  let workers = await Promise.all([theatre.worker(), theatre.worker()])
  const inputs: Json[] = Array.from({ length: 30 }, (_, n) => ({
    pair: { takesMs: (n * 37) % 60 },
    last: n % 2 === 0 ? { rejectedAt: 'two' } : {},
  }))
  const ids: string[] = []
  for (const input of inputs) {
    const inputBytes = JSON.stringify(input).length
    const started = await theatre.store.starts.start({ definition, input, inputBytes, requestHash: 'test' })
    ids.push(started.sagaId)
  }
  theatre.store.wakeups.due('default')

  for (let round = 0; round < 5; round++) {
    const [victim, ...others] = workers
    victim?.child.kill('SIGKILL')
    workers = [...others, await theatre.worker()]
  }

  const parents = await Promise.all(ids.map((id) => theatre.ended(id, 60_000)))
  parents.forEach((parent, n) => {
    expect(parent).toMatchObject({ status: n % 2 === 0 ? 'failed' : 'completed', uncertainSteps: [] })
    if (n % 2 === 0) expect(parent.compensatedSteps).toEqual(parent.completedSteps.toReversed())
  })
  // A child may be told to turn round or be cut short, but there is one for each step that was come to.
  const counts = await theatre.database.query(`
    SELECT definition_name AS name, status, state->>'undoOf' IS NOT NULL AS undoes, count(*)::int AS count
    FROM sagas GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`)
  expect(counts).toEqual([
    { name: 'family', status: 'completed', undoes: false, count: 15 },
    { name: 'family', status: 'failed', undoes: false, count: 15 },
    { name: 'ledger', status: 'completed', undoes: false, count: 75 },
    { name: 'ledger', status: 'completed', undoes: true, count: 30 },
    { name: 'ledger', status: 'failed', undoes: false, count: 15 },
  ])
  const lines = theatre.ledger()
  for (const parent of parents.filter(({ status }) => status === 'failed')) {
    for (const step of ['left', 'right']) {
      const undone = lines.filter(
        ({ sagaId, direction }) => sagaId === parent.children?.[step] && direction === 'compensation',
      )
      // One that was cut short runs again under its key, and counts once.
      expect([...new Set(undone.map((line) => line.key))]).toEqual([
        `${parent.children?.[step]}:three:compensation:1`,
        `${parent.children?.[step]}:two:compensation:1`,
        `${parent.children?.[step]}:one:compensation:1`,
      ])
    }
    const history = await theatre.store.history.read(parent.sagaId, { limit: 1_000 })
    expect(fold(history).status).toBe('failed')
    expect(history.filter(({ kind }) => kind === 'childStarted')).toHaveLength(5)
  }
})
