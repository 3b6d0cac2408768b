import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Child, ChildDied, type ChildEvent, type ChildSpec } from './child.ts'

let home: string
let children: Child[]
let events: ChildEvent[]

beforeEach(() => {
  home = fs.mkdtempSync(path.join(os.tmpdir(), 'backstitch-child-'))
  children = []
  events = []
})

afterEach(async () => {
  await Promise.all(children.map((child) => child.stop(0)))
  fs.rmSync(home, { recursive: true })
})

/** A child that runs these lines. Each start counts as a line in the file `starts`. */
function child(lines: string, spec: Partial<ChildSpec> = {}, hear: () => void = () => undefined): Child {
  const program = path.join(home, `program-${children.length}.mjs`)
  const count = `import fs from 'node:fs'\nfs.appendFileSync(${JSON.stringify(path.join(home, 'starts'))}, '.')`
  fs.writeFileSync(
    program,
    `${count}\nconst starts = fs.readFileSync(${JSON.stringify(path.join(home, 'starts'))}).length\n${lines}`,
  )
  const one = new Child(
    {
      name: 'worker 1',
      program,
      env: () => ({ ...process.env }),
      logFile: path.join(home, 'log'),
      backoff: { firstMs: 20, mostMs: 60, forgivenAfterMs: 60_000 },
      ...spec,
    },
    (event) => {
      events.push(event)
      hear()
    },
  )
  children.push(one)
  return one
}

const READY = `process.send({ type: 'ready', url: 'http://here', pid: process.pid })`
const STAY = `setInterval(() => {}, 1000); process.on('disconnect', () => process.exit(0))`
const starts = () => fs.readFileSync(path.join(home, 'starts')).length

test('is ready when it says so, and what it says is kept', async () => {
  const one = child(`${READY}; ${STAY}`)
  expect(await one.start()).toEqual({ type: 'ready', url: 'http://here' })
  expect(one.ready).toEqual({ type: 'ready', url: 'http://here' })
})

test('that dies before it is ready is an error with its last words', async () => {
  const one = child(`console.log(JSON.stringify({ level: 50, msg: 'no database' })); process.exit(3)`)
  await expect(one.start()).rejects.toThrow(new ChildDied('worker 1 ended with status 3\nerror no database'))
  expect(events).toEqual([])
})

test('that never becomes ready is given up', async () => {
  const one = child(STAY, { readyWithinMs: 300 })
  await expect(one.start()).rejects.toThrow('worker 1 was not ready within 0.3 s')
})

test('that dies comes back, with a new pid, and its end is told', async () => {
  const one = child(`${READY}; ${STAY}; if (starts === 1) setTimeout(() => { throw new Error('a bug') }, 20)`)
  await one.start()
  await expect.poll(() => events.map(({ is }) => is)).toEqual(['died', 'back'])
  expect(events[0]).toMatchObject({ how: 'ended with status 1', againInMs: 20 })
  expect(events[0]).toHaveProperty('lastLines', expect.arrayContaining([expect.stringContaining('a bug')]))
  expect(events[1]).toMatchObject({ pid: one.pid })
})

test('that keeps dying comes back later and later, up to a bound', async () => {
  const one = child(`if (starts === 1) ${READY}; setTimeout(() => process.exit(1), 10)`)
  await one.start()
  await expect.poll(() => events.length, { timeout: 60_000 }).toBeGreaterThanOrEqual(4)
  await one.stop(1000)
  expect(events.slice(0, 4)).toMatchObject([20, 40, 60, 60].map((againInMs) => ({ is: 'died', againInMs })))
})

test('that has lived long is forgiven its earlier deaths', async () => {
  const one = child(`${READY}; setTimeout(() => process.exit(1), 30)`, {
    backoff: { firstMs: 20, mostMs: 1000, forgivenAfterMs: 1 },
  })
  await one.start()
  await expect
    .poll(() => events.filter(({ is }) => is === 'died').length, { timeout: 60_000 })
    .toBeGreaterThan(2)
  await one.stop(1000)
  expect(events.filter(({ is }) => is === 'died')).toMatchObject(
    events.filter(({ is }) => is === 'died').map(() => ({ againInMs: 20 })),
  )
})

test('that is killed on purpose stays dead until it is revived', async () => {
  const one = child(`${READY}; ${STAY}`)
  await one.start()
  const before = one.pid
  await one.killAndHold()
  expect(one.ready).toBeUndefined()
  expect(events).toEqual([])
  await one.revive()
  expect(one.pid).not.toBe(before)
  expect(events).toMatchObject([{ is: 'back' }])
})

test('that is asked to stop does, and is not started again', async () => {
  const one = child(`${READY}; ${STAY}; process.on('SIGTERM', () => process.exit(0))`)
  await one.start()
  await one.stop(5000)
  await one.stop(5000)
  expect(one.pid).toBeUndefined()
  expect(starts()).toBe(1)
  expect(events).toEqual([])
})

test('that does not listen is made to stop', async () => {
  const one = child(`process.on('SIGTERM', () => {}); ${READY}; ${STAY}`)
  await one.start()
  await one.stop(50)
  expect(one.pid).toBeUndefined()
})

test('that is stopped while it waits to come back does not come back', async () => {
  const died = Promise.withResolvers<void>()
  const backoff = { firstMs: 100, mostMs: 100, forgivenAfterMs: 60_000 }
  const one = child(`${READY}; setTimeout(() => process.exit(1), 10)`, { backoff }, died.resolve)
  await one.start()
  // Nobody looks every so often: it would be back by then.
  await died.promise
  await one.stop(1000)
  await new Promise((resolve) => setTimeout(resolve, 150))
  expect(starts()).toBe(1)
})
