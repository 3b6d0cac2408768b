import { canonicalJson, type Json } from '@backstitch/core'
import { expect, test } from 'vitest'
import { openApiStore } from './store.ts'
import { createStage, order, orderOf } from './testing.ts'

/** The same value with its keys in the opposite order, at every depth. */
function reversed(value: Json): Json {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, part]) => [key, reversed(part)]),
  )
}

test('the first content is version 1, other content is the next, and each of the old ones stays what it was (S26)', async () => {
  const { api } = await createStage({ own: true })
  const contents = [1, 2, 3].map((steps) => orderOf(steps))
  for (const [index, content] of contents.entries()) {
    expect(await api.definitions.register(content)).toMatchObject({ version: index + 1, created: true })
  }
  for (const [index, content] of contents.entries()) {
    expect(await api.definitions.register(content)).toMatchObject({ version: index + 1, created: false })
    expect((await api.definitions.get('order', index + 1))?.resolved.steps).toHaveLength(index + 1)
  }
})

test('the order of keys is no content, the order of steps is (S26)', async () => {
  const { api } = await createStage({ own: true })
  const { hash } = await api.definitions.register(order)
  expect(await api.definitions.register(reversed(order))).toMatchObject({ version: 1, hash, created: false })
  const steps = orderOf(3).steps
  const turned = { ...order, steps: Array.isArray(steps) ? steps.toReversed() : [] }
  expect(await api.definitions.register(turned)).toMatchObject({ version: 2, created: true })
})

test('what its author wrote is what comes back, without the defaults that reading it adds', async () => {
  const { api, url } = await createStage({ own: true })
  const written = {
    name: 'ship',
    steps: [{ name: 'call', action: { type: 'http', url: 'http://ship/' } }],
    description: 'é 😀',
  }
  await api.definitions.register(written)
  const elsewhere = await openApiStore({ databaseUrl: url })
  const found = await elsewhere.definitions.get('ship', 1)
  await elsewhere.close()
  expect(canonicalJson(found?.source ?? null)).toBe(canonicalJson(written))
  expect(await api.definitions.register(found?.source ?? null)).toMatchObject({ version: 1, created: false })
})

test('fifty registrations of ten documents at once, over five connections, give versions 1 to 10', async () => {
  const { api } = await createStage({ own: true })
  const documents = Array.from({ length: 10 }, (_, n) => orderOf(n + 1))
  const registered = await Promise.all(
    Array.from({ length: 50 }, (_, n) => api.definitions.register(documents[n % 10] ?? order)),
  )
  expect(registered.filter(({ created }) => created)).toHaveLength(10)
  expect(new Set(registered.map(({ version }) => version))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
  for (const [n, one] of registered.entries()) {
    expect(one).toMatchObject({ version: registered[n % 10]?.version, hash: registered[n % 10]?.hash })
    expect(one.resolved.steps).toHaveLength((n % 10) + 1)
  }
})

test('names do not mix: each counts its own versions', async () => {
  const { api } = await createStage({ own: true })
  const names = ['a', 'b', 'A']
  for (const name of names)
    expect(await api.definitions.register({ ...order, name })).toMatchObject({ name, version: 1 })
})

test('the latest is read from the database, whoever registered it (S26)', async () => {
  const { api, url } = await createStage({ own: true })
  expect(await api.definitions.latest('order')).toBeUndefined()
  await api.definitions.register(orderOf(1))
  expect(await api.definitions.latest('order')).toMatchObject({ version: 1 })
  const elsewhere = await openApiStore({ databaseUrl: url })
  await elsewhere.definitions.register(orderOf(2))
  await elsewhere.close()
  expect(await api.definitions.latest('order')).toMatchObject({ version: 2 })
})

test('the latest of many names, asked for at once, is the right one of each', async () => {
  const { api } = await createStage({ own: true })
  for (const name of ['a', 'b', 'c']) await api.definitions.register({ ...order, name })
  await api.definitions.register({ ...orderOf(2), name: 'b' })
  const asked = ['b', 'a', 'nobody', 'c', 'b', 'constructor']
  const found = await Promise.all(asked.map((name) => api.definitions.latest(name)))
  expect(found.map((one) => one && `${one.name} ${one.version}`)).toEqual([
    'b 2',
    'a 1',
    undefined,
    'c 1',
    'b 2',
    undefined,
  ])
})

test('the list has the highest version of each name, and goes on where a page ended', async () => {
  const { api } = await createStage({ own: true })
  for (const name of ['c', 'a', 'd', 'b']) await api.definitions.register({ ...order, name })
  await api.definitions.register({ ...orderOf(2), name: 'b' })
  const first = await api.definitions.list({ limit: 3 })
  const second = await api.definitions.list({ limit: 3, after: first.at(-1)?.name })
  expect([...first, ...second].map(({ name, version }) => `${name} ${version}`)).toEqual([
    'a 1',
    'b 2',
    'c 1',
    'd 1',
  ])
})

test('the versions of one are listed newest first, page by page', async () => {
  const { api } = await createStage({ own: true })
  for (let steps = 1; steps <= 5; steps++) await api.definitions.register(orderOf(steps))
  const first = await api.definitions.versions('order', { limit: 2 })
  const second = await api.definitions.versions('order', { limit: 9, before: first.at(-1)?.version })
  expect([...first, ...second].map(({ version }) => version)).toEqual([5, 4, 3, 2, 1])
})

test('its queue is its own name if it has handlers, what it says if it says one, else the default (S20)', async () => {
  const { api } = await createStage({ own: true })
  const http = { type: 'http', url: 'http://ship/' }
  const queues = [
    await api.definitions.register(order),
    await api.definitions.register({ ...order, name: 'fast', queue: 'express' }),
    await api.definitions.register({ name: 'ship', steps: [{ name: 'call', action: http }] }),
  ].map(({ queue }) => queue)
  expect(queues).toEqual(['order', 'express', 'default'])
})
