import type { Json } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { createGate, createStage, rejection, sagaOf } from './testing.ts'

/** What runs at once, on a real database. That the rules hold for every group is proven in core. */

function grouped(
  handlers: Parameters<typeof sagaOf>[1],
  shape: (string | { parallel: (string | Json)[]; compensate?: string })[],
  options: Record<string, Json> = {},
) {
  const { saga, document } = sagaOf('grouped', handlers, options)
  if (typeof document !== 'object' || document === null || !('steps' in document))
    throw new Error('no document')
  const steps = Array.isArray(document.steps) ? document.steps : []
  const named = (name: string): Json =>
    steps.find((step) => typeof step === 'object' && step !== null && 'name' in step && step.name === name) ??
    null
  const shaped = shape.map((entry) => {
    if (typeof entry === 'string') return named(entry)
    return { ...entry, parallel: entry.parallel.map((one) => (typeof one === 'string' ? named(one) : one)) }
  })
  return { document: { ...document, steps: shaped }, saga }
}

describe('a parallel group', () => {
  test('runs its members at once, and goes on when all have ended', async () => {
    const stage = await createStage()
    const [one, two] = [createGate(), createGate()]
    const { document, saga } = grouped(
      {
        one: { action: () => one.wait() },
        two: { action: () => two.wait() },
        after: { action: ({ context }) => Object.keys(context) },
      },
      [{ parallel: ['one', 'two'] }, 'after'],
    )
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await Promise.all([one.reached, two.reached])
    two.open()
    const half = await stage.eventually(sagaId, ({ completedSteps }) => completedSteps.length === 1)
    expect(half.next.attempts).toMatchObject([{ step: 'one' }])
    one.open()
    expect(await stage.ended(sagaId)).toMatchObject({
      status: 'completed',
      completedSteps: ['two', 'one', 'after'],
      context: { after: ['input', 'two', 'one'] },
    })
  })

  test('in which one fails lets the others end, and undoes what completed in reverse order of completion', async () => {
    const stage = await createStage()
    const slow = createGate()
    const log: string[] = []
    const undo = ({ step }: { step: string }) => void log.push(`undo ${step}`)
    const { document, saga } = grouped(
      {
        quick: { action: () => 1, compensation: undo },
        slow: { action: () => slow.wait(), compensation: undo },
        bad: {
          action: () => {
            throw rejection('no')
          },
        },
      },
      [{ parallel: ['quick', 'slow', 'bad'] }],
    )
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    const turned = await stage.eventually(sagaId, ({ cause }) => cause !== undefined)
    expect(turned).toMatchObject({ status: 'running', failedStep: 'bad' })
    expect(log).toEqual([])
    slow.open()
    expect(await stage.ended(sagaId)).toMatchObject({ status: 'failed', clean: true })
    expect(log).toEqual(['undo slow', 'undo quick'])
  })

  test('is undone all at once where its definition says so', async () => {
    const stage = await createStage()
    const [one, two] = [createGate(), createGate()]
    const { document, saga } = grouped(
      {
        one: { action: () => 1, compensation: () => one.wait() },
        two: { action: () => 1, compensation: () => two.wait() },
        bad: {
          action: () => {
            throw rejection('no')
          },
        },
      },
      [{ parallel: ['one', 'two'], compensate: 'together' }, 'bad'],
    )
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await Promise.all([one.reached, two.reached])
    one.open()
    two.open()
    expect((await stage.ended(sagaId)).compensatedSteps.toSorted()).toEqual(['one', 'two'])
  })

  test('a back-off, a delay and a signal in it have their time while another member is at work', async () => {
    const stage = await createStage()
    const slow = createGate()
    let tries = 0
    const { document, saga } = grouped(
      {
        slow: { action: () => slow.wait() },
        flaky: {
          action: () => {
            tries++
            if (tries < 3) throw new Error('again')
            return tries
          },
        },
      },
      [
        {
          parallel: [
            'slow',
            'flaky',
            { name: 'nap', action: { type: 'delay', delayMs: 50 } },
            { name: 'sign', action: { type: 'signal', signal: 'signed' }, timeoutMs: 60_000 },
          ],
        },
      ],
    )
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    await slow.reached
    await stage.store.mailbox.post(sagaId, { kind: 'signal', signal: 'signed', payload: 'ada' })
    const seen = await stage.eventually(sagaId, ({ completedSteps }) => completedSteps.length === 3)
    expect(seen.next.attempts).toMatchObject([{ step: 'slow' }])
    expect(seen.context).toMatchObject({ flaky: 3, sign: 'ada', nap: null })
    slow.open()
    expect((await stage.ended(sagaId)).status).toBe('completed')
  })

  test('is resumed by another worker where it was: what had ended does not run again', async () => {
    const stage = await createStage()
    const hanging = createGate()
    const calls: string[] = []
    const shape = [{ parallel: ['one', 'two'] }]
    const first = grouped(
      {
        one: { action: () => void calls.push('one') },
        two: { action: () => hanging.wait() },
      },
      shape,
    )
    const leaving = await stage.worker({ sagas: [first.saga] })
    const sagaId = await stage.start(first.document)
    await stage.eventually(sagaId, ({ completedSteps }) => completedSteps.includes('one'))
    const second = grouped(
      {
        one: { action: () => void calls.push('one again') },
        two: { action: () => void calls.push('two') },
      },
      shape,
    )
    await stage.worker({ sagas: [second.saga] })
    await leaving.stop(0)

    expect((await stage.ended(sagaId)).status).toBe('completed')
    expect(calls).toEqual(['one', 'two'])
    hanging.open()
  })

  test('a deadline that passes while members run is noted at once, and what ends later is undone (S7)', async () => {
    const stage = await createStage()
    const slow = createGate()
    const log: string[] = []
    const { document, saga } = grouped(
      { slow: { action: () => slow.wait(), compensation: () => void log.push('undo slow') } },
      [{ parallel: ['slow', { name: 'nap', action: { type: 'delay', delayMs: 60_000 } }] }],
      // Long enough for them to have been begun on a slow machine.
      { deadlineMs: 2_000 },
    )
    await stage.worker({ sagas: [saga] })
    const sagaId = await stage.start(document)
    const passed = await stage.eventually(sagaId, ({ cause }) => cause === 'deadline')
    expect(passed.next.attempts).toMatchObject([{ step: 'slow' }])
    slow.open()
    expect((await stage.ended(sagaId)).status).toBe('failed')
    expect(log).toEqual(['undo slow'])
  })
})
