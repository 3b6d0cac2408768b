import { expect, test } from 'vitest'
import { begin } from './history.ts'
import { undoEntry } from './start.ts'
import { generationOf } from './state.ts'
import { define, Play, START } from './testing.ts'
import { wantedOf } from './values.ts'

test('a saga that undoes another names the keys of its actions as they were, and gives nothing what it was given (M5, S30a)', () => {
  const definition = define(['reserve', 'charge'])
  const play = new Play(definition).settleAll('succeeded')
  for (let n = 0; n < 5; n++) play.crash()
  play.operator('retry', { input: { amount: 2 }, force: true })
  expect(play.settleAll('succeeded').state.status).toBe('completed')
  const child = play.state
  expect(generationOf(child, { step: 'charge', direction: 'action' })).toBe(2)

  const undo = begin(
    undoEntry({
      sagaId: 'saga-2',
      child,
      context: child.context,
      definition,
      reason: 'a later step has failed',
      now: START,
      parent: { sagaId: 'saga-0', step: 'inner', queue: 'order', direction: 'compensation', depth: 1 },
    }),
  )

  expect(undo).toMatchObject({ undoOf: 'saga-1', completedSteps: ['reserve', 'charge'] })
  expect(generationOf(undo, { step: 'charge', direction: 'action' })).toBe(2)
  expect(generationOf(undo, { step: 'charge', direction: 'compensation' })).toBe(1)
  expect(generationOf(undo, { step: 'reserve', direction: 'action' })).toBe(1)
  expect(wantedOf(undo)).toEqual({ names: [], edits: new Map() })
})
