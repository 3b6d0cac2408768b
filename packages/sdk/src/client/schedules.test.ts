import type { Schedule, ScheduleSummary } from '@backstitch/core'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { defineSaga } from '../define-saga.ts'
import { createClient } from './client.ts'
import { fakeApi, json, problem, type Scripted } from './testing.ts'

const report = defineSaga({
  name: 'report',
  input: z.object({ shop: z.string(), day: z.string() }),
}).step('write', { action: () => null })

const summary: ScheduleSummary = {
  name: 'nightly',
  version: 3,
  definition: 'report',
  cron: '0 9 * * *',
  missed: 'last',
  catchUpMs: 60_000,
  overlap: 'allow',
  paused: false,
  nextRunAt: '2026-01-02T09:00:00.000Z',
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
}
const nightly: Schedule = { ...summary, input: null, nextRuns: [], runs: [], changes: [] }

function clientOf(...script: Scripted[]) {
  const api = fakeApi(...script)
  const retry = { initialDelayMs: 1, maxDelayMs: 1 }
  return { ...createClient({ url: 'http://api', fetch: api.fetch, retry }), asked: api.asked }
}

test('a schedule is put, with the input its saga takes, but for the field that each run fills in', async () => {
  const { schedules, asked } = clientOf(json(nightly, 201), json(nightly))
  const when = { cron: '0 9 * * *', timeZone: 'Europe/Berlin', tags: { shop: 'b' } }
  const put = await schedules.put('nightly', report, { shop: 'b' }, { ...when, instantAs: 'day' })
  expect(put).toEqual(nightly)
  await schedules.put('nightly', 'report', [1], { at: '2030-01-01T00:00:00Z' }, { decidedOn: 3 })
  expect(asked).toMatchObject([
    {
      method: 'PUT',
      path: '/v1/schedules/nightly',
      body: { definition: 'report', input: { shop: 'b' }, ...when, instantAs: 'day' },
    },
    { body: { definition: 'report', input: [1], at: '2030-01-01T00:00:00Z' } },
  ])
  expect(asked.map(({ headers }) => headers.get('if-match'))).toEqual([null, '"3"'])

  // @ts-expect-error: a shop is a string
  void (() => schedules.put('nightly', report, { shop: 1, day: 'x' }, when))
  // @ts-expect-error: nobody fills in the day
  void (() => schedules.put('nightly', report, { shop: 'b' }, when))
  // @ts-expect-error: a policy is one of three
  void (() => schedules.put('nightly', 'report', null, { ...when, missed: 'some' }))
  await expect(schedules.put('nightly', 'report', [Number.NaN], when)).rejects.toMatchObject({
    code: 'INVALID_INPUT',
    errors: [{ pointer: '/input/0' }],
  })
})

test('it is read, listed, paused, resumed, run and deleted', async () => {
  const started = { sagaId: 's', instant: '2026-01-01T00:00:00.000Z' }
  const { schedules, asked } = clientOf(
    json(nightly),
    json({ items: [summary], nextCursor: 'c' }),
    json({ items: [summary] }),
    json(nightly),
    json(nightly),
    json(started, 202),
    json(nightly),
  )
  expect(await schedules.get('nightly')).toEqual(nightly)
  expect(await schedules.list({ limit: 1 }).toArray()).toEqual([summary, summary])
  await schedules.pause('nightly', { reason: 'audit', decidedOn: 3 })
  await schedules.resume('nightly', { reason: 'done' })
  expect(await schedules.runNow('nightly', { reason: 'now' })).toEqual(started)
  await schedules.delete('nightly', { decidedOn: 4 })
  expect(asked.map(({ method, path }) => `${method} ${path}`)).toEqual([
    'GET /v1/schedules/nightly',
    'GET /v1/schedules',
    'GET /v1/schedules',
    'POST /v1/schedules/nightly/pause',
    'POST /v1/schedules/nightly/resume',
    'POST /v1/schedules/nightly/run-now',
    'DELETE /v1/schedules/nightly',
  ])
  expect(asked[3]).toMatchObject({ body: { reason: 'audit' } })
  expect(asked[3]?.headers.get('if-match')).toBe('"3"')
  expect(asked[6]?.headers.get('if-match')).toBe('"4"')
})

test('a run now goes out again under its own key; what could not be told apart the second time does not', async () => {
  const lost = () => problem(503, 'UNAVAILABLE')
  const started = { sagaId: 's', instant: '2026-01-01T00:00:00.000Z' }
  const { schedules, asked } = clientOf(lost(), json(started, 202), lost(), lost())
  await schedules.runNow('nightly', { reason: 'now' })
  const keys = asked.map(({ headers }) => headers.get('idempotency-key'))
  expect(keys[0]).toBe(keys[1])
  expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/)
  await expect(schedules.delete('nightly')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  const stale = schedules.put('nightly', 'report', null, { cron: '0 9 * * *' }, { decidedOn: 3 })
  await expect(stale).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(asked).toHaveLength(4)
})
