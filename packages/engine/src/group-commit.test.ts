import { begin, checkDefinition, resolveDefinition, startedEntry } from '@backstitch/core'
import { newSagaId, type Transition } from '@backstitch/store'
import { expect, test } from 'vitest'
import { createGroupCommit } from './group-commit.ts'

const checked = checkDefinition({ name: 'one', steps: [{ name: 'a', action: { type: 'handler' } }] })
if (!checked.ok) throw new Error('no definition')
const definition = resolveDefinition(checked.definition, 1)
const started = (inputBytes: number) =>
  startedEntry({ sagaId: newSagaId(0), definition, input: null, inputBytes, now: 0 })

function transition(family: Transition['family']): Transition {
  const state = begin(started(4))
  return {
    lease: { bucket: 0, sagaId: state.sagaId, epoch: 1 },
    version: 1,
    mailSeen: 0,
    state,
    entry: { kind: 'interrupted', at: state.startedAt, steps: [], to: {} },
    after: { is: 'keep' },
    family,
  }
}

/** How many went in each flush. */
async function flushes(family: Transition['family']): Promise<number[]> {
  const sizes: number[] = []
  const commit = createGroupCommit({
    lanes: 1,
    commit: async (transitions) => {
      sizes.push(transitions.length)
      return transitions.map(() => ({ ok: true, answer: { is: 'leaseLost' } }))
    },
  })
  await Promise.all(Array.from({ length: 20 }, () => commit.submit(transition(family))))
  return sizes
}

test('what is small travels together', async () => {
  expect(await flushes(undefined)).toEqual([20])
})

test('a saga that undoes another one carries all its results: few of them fit in one flush', async () => {
  const undo = {
    of: newSagaId(0),
    completedSteps: ['a'],
    uncertainSteps: [],
    results: {},
    resultsBytes: 400 * 1024,
  }
  const start = {
    entry: { ...started(4), undo },
    definition: { name: 'one', version: 1, queue: 'one' },
    parentSagaId: newSagaId(0),
    parentVersion: 1,
  }
  expect(Math.max(...(await flushes({ starts: [start] })))).toBe(2)
})
