import { expect, test } from 'vitest'
import { readConfig } from './config.ts'

const DATABASE_URL = 'postgres://localhost/backstitch'

test('everything but the database has a default, and an empty variable is an absent one', () => {
  const read = readConfig({ DATABASE_URL, QUEUES: '', SAGAS: '' })

  expect(read).toMatchObject({
    ok: true,
    config: { QUEUES: ['default'], SAGAS: [], CONCURRENCY: 200, LEASE_MS: 30_000, LOG_LEVEL: 'info' },
  })
})

test('lists are separated by commas', () => {
  const read = readConfig({ DATABASE_URL, QUEUES: 'default, slow', SAGAS: './a.ts,./b.ts' })

  expect(read).toMatchObject({
    ok: true,
    config: { QUEUES: ['default', 'slow'], SAGAS: ['./a.ts', './b.ts'] },
  })
})

test('all that is wrong is said at once', () => {
  const read = readConfig({ CONCURRENCY: 'many', LEASE_MS: '5', LOG_LEVEL: 'loud' })

  expect(read.ok ? [] : read.problems.map((problem) => problem.split(':')[0])).toEqual([
    'DATABASE_URL',
    'CONCURRENCY',
    'LEASE_MS',
    'LOG_LEVEL',
  ])
})

test('where webhooks may be told is read at the start, with all that is wrong with it', () => {
  const right = readConfig({ DATABASE_URL, WEBHOOK_ALLOW: '10.0.0.0/8, hooks.internal' })
  expect(right).toMatchObject({ config: { WEBHOOK_ALLOW: ['10.0.0.0/8', 'hooks.internal'] } })
  const wrong = readConfig({ DATABASE_URL, WEBHOOK_ALLOW: '10.0.0.0/99,everything!' })
  expect(wrong.ok ? [] : wrong.problems).toEqual([
    expect.stringMatching(/^WEBHOOK_ALLOW: "10\.0\.0\.0\/99" .*; "everything!" /),
  ])
})
