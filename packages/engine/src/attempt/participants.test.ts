import { byteLength, type Handler } from '@backstitch/core'
import { describe, expect, test } from 'vitest'
import { createGate, sagaOf } from '../testing.ts'
import { FREE } from './admission.ts'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { createParticipants } from './participants.ts'
import { createServices } from './services.ts'

const MONTH_MS = 30 * 86_400_000

function stage(handlers: { action: Handler; compensation: Handler }) {
  const { saga } = sagaOf('some', { step: handlers })
  const participants = createParticipants({
    sagas: [saga],
    services: createServices([], { concurrency: 10 }),
    missing: { delayMs: async () => 500 },
  })
  const late: AttemptEnd[] = []
  return {
    late,
    run(
      direction: 'action' | 'compensation',
      timeoutMs: number,
      controller = new AbortController(),
      mayBegin = () => true,
    ) {
      const call = { type: 'handler' } as const
      const retry = { maxAttempts: 1, initialDelayMs: 1, factor: 1, maxDelayMs: 1 }
      const request: AttemptRequest = {
        sagaId: 'saga',
        definition: { name: 'some', version: 1 },
        step: 'step',
        direction,
        attempt: 1,
        idempotencyKey: 'key',
        correlationId: undefined,
        traceparent: '',
        input: null,
        context: {},
        result: undefined,
        failure: undefined,
        callback: undefined,
        timeoutMs,
        signal: controller.signal,
      }
      return participants.run(
        { call, timeoutMs, callbackMs: undefined, retry },
        request,
        FREE,
        () => controller.abort(),
        (end) => late.push(end),
        mayBegin,
      )
    },
  }
}

describe('a compensation that waits for its action to end (S13)', () => {
  test("never begins once it has been called off, whenever the action ends: the saga may be another worker's (S16)", async () => {
    const gate = createGate()
    let undone = 0
    const { run } = stage({ action: () => gate.wait(), compensation: () => void undone++ })
    expect(await run('action', 5)).toMatchObject({ outcome: 'uncertain' })

    const controller = new AbortController()
    const undoing = run('compensation', 10_000, controller)
    controller.abort()
    expect(await undoing).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' } })
    gate.open()
    await new Promise((resolve) => setImmediate(resolve))

    expect(undone).toBe(0)
  })

  test('is not made when the saga has been paused meanwhile (S30c)', async () => {
    const gate = createGate()
    let undone = 0
    let paused = false
    const { run } = stage({ action: () => gate.wait(), compensation: () => void undone++ })
    await run('action', 5)
    const undoing = run('compensation', MONTH_MS, new AbortController(), () => !paused)
    paused = true
    gate.open()

    expect(await undoing).toBe(undefined)
    expect(undone).toBe(0)
  })

  test('waits for as long as its time-out, and begins when the action has ended', async () => {
    const gate = createGate()
    let undone = 0
    const { run, late } = stage({ action: () => gate.wait(), compensation: () => void undone++ })
    await run('action', 5)

    expect(await run('compensation', 5)).toMatchObject({ error: { code: 'ACTION_STILL_RUNNING' } })
    const undoing = run('compensation', MONTH_MS)
    gate.open()

    expect(await undoing).toMatchObject({ outcome: 'succeeded' })
    expect(undone).toBe(1)
    expect(late).toEqual([{ outcome: 'succeeded', result: null, resultBytes: byteLength('null') }])
  })
})

test('a time-out may be longer than a timer of the platform can be (S4)', async () => {
  const { run } = stage({
    action: () => new Promise((resolve) => setTimeout(resolve, 20, 'patience')),
    compensation: () => undefined,
  })

  expect(await run('action', MONTH_MS)).toMatchObject({ outcome: 'succeeded', result: 'patience' })
})
