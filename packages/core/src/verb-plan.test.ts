import { describe, expect, test } from 'vitest'
import { define, Play } from './testing.ts'
import { verbPlans } from './verb-plan.ts'

function planOf(play: Play, verb: string, underWay: readonly string[]) {
  const { state, definition, now, version } = play
  return verbPlans(state, definition, { now, version, underWay }).find((plan) => plan.verb === verb)
}

const act = (step: string, direction: string, round: number) => ({
  step,
  direction,
  outcome: 'succeeded',
  round,
})

describe('the plan of a verb while attempts are under way (S30e)', () => {
  test('lets them end before it undoes what they have done', () => {
    const play = new Play(define([{ parallel: [{ name: 'a' }, { name: 'b' }].map(both) }, 'c']))
    expect(planOf(play, 'cancel', ['a', 'b'])).toMatchObject({
      acts: [
        act('a', 'action', 1),
        act('b', 'action', 1),
        act('b', 'compensation', 2),
        act('a', 'compensation', 3),
      ],
      ends: 'cancelled',
    })
  })

  test('begins nothing of a paused saga once they have ended, not even its turning round', () => {
    const play = new Play(define(['a', 'b']))
    play.cancel(true)
    expect(planOf(play, 'pause', ['a'])).toMatchObject({
      acts: [act('a', 'action', 1)],
      ends: 'running',
    })
  })
})

function both(step: { name: string }) {
  return { ...step, action: { type: 'handler' }, compensation: { type: 'handler' } }
}
