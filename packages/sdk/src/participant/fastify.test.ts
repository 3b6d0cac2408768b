import Fastify from 'fastify'
import { expect, test } from 'vitest'
import type { EndpointRequest } from './endpoint.ts'
import { fastifyHandler } from './fastify.ts'

test('Fastify passes headers and body on, and answers what the endpoint says', async () => {
  const asked: EndpointRequest[] = []
  const app = Fastify()
  const handler = fastifyHandler(async (request) => {
    asked.push(request)
    return { status: 409, headers: { 'content-type': 'application/problem+json' }, body: '{"code":"X"}' }
  })
  app.post('/charges', handler)

  const answer = await app.inject({
    method: 'POST',
    url: '/charges',
    headers: { 'Saga-Id': 's-1' },
    payload: { input: 1 },
  })

  expect(asked).toMatchObject([{ headers: { 'saga-id': 's-1' }, body: { input: 1 } }])
  expect(answer.statusCode).toBe(409)
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
  expect(answer.body).toBe('{"code":"X"}')
})

test('a null is an answer, too', async () => {
  const app = Fastify()
  app.post(
    '/refunds',
    fastifyHandler(async () => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: 'null',
    })),
  )
  const answer = await app.inject({ method: 'POST', url: '/refunds' })
  expect([answer.statusCode, answer.body]).toEqual([200, 'null'])
})
