import { readFile } from 'node:fs/promises'
import { ERRORS } from '@backstitch/core'
import { afterAll, describe, expect, test } from 'vitest'
import { apiDocument, SNAPSHOT } from '../openapi-snapshot.ts'
import { openStage } from '../testing.ts'

const stage = await openStage()
afterAll(() => stage.close())
const { ask } = stage

type Operation = {
  operationId: string
  tags: string[]
  parameters?: { name: string; in: string }[]
  requestBody?: { content: Record<string, { schema: { $ref?: string } }> }
  responses: Record<string, { description: string; content?: Record<string, unknown> }>
}
const document = (await apiDocument()) as {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, unknown> }
}
const operations = Object.values(document.paths).flatMap((path) => Object.values(path))

test('docs/reference/openapi.json is what the API says; `npm run fix` writes it', async () => {
  expect(JSON.parse(await readFile(SNAPSHOT, 'utf8'))).toEqual(document)
})

test('is served as it is', async () => {
  const { status, headers, body } = await ask('GET', '/openapi.json')
  expect(status).toBe(200)
  expect(headers['content-type']).toMatch(/^application\/json/)
  expect(body).toEqual(document)
})

describe('the document', () => {
  test('is OpenAPI 3.1, and names nothing that is not there', () => {
    expect(document.openapi).toBe('3.1.0')
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)]
    expect(references.length).toBeGreaterThan(50)
    for (const [, name = ''] of references) expect(document.components.schemas).toHaveProperty(name)
    expect(Object.keys(document.components.schemas)).toEqual(
      expect.arrayContaining(['Saga', 'Definition', 'StartSaga', 'Problem']),
    )
  })

  test('describes every route of the contract, each under a name of its own', () => {
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    )
    expect(routes).toEqual(
      expect.arrayContaining([
        'post /v1/definitions',
        'post /v1/definitions/validate',
        'get /v1/definitions',
        'get /v1/definitions/{name}',
        'get /v1/definitions/{name}/plan',
        'get /v1/definitions/{name}/versions',
        'get /v1/definitions/{name}/versions/{version}',
        'post /v1/sagas',
        'post /v1/sagas/batch',
        'get /v1/sagas',
        'get /v1/sagas/{sagaId}',
        'get /v1/sagas/{sagaId}/wait',
        'get /v1/sagas/{sagaId}/history',
        'post /v1/sagas/{sagaId}/cancel',
        'post /v1/sagas/{sagaId}/retry',
        'post /v1/sagas/{sagaId}/skip',
        'post /v1/sagas/{sagaId}/mark-compensated',
        'post /v1/sagas/{sagaId}/abandon',
        'get /v1/stats',
        'get /v1/workers',
        'get /v1/services',
        'get /livez',
        'get /readyz',
        'get /healthz',
        'get /metrics',
        'post /v1/sagas/{sagaId}/signals/{name}',
        'post /v1/bulk',
        'get /v1/bulk',
        'get /v1/bulk/{bulkId}',
        'get /v1/bulk/{bulkId}/items',
        'post /v1/bulk/{bulkId}/abort',
        'put /v1/schedules/{name}',
        'get /v1/schedules',
        'get /v1/schedules/{name}',
        'delete /v1/schedules/{name}',
        'post /v1/schedules/{name}/pause',
        'post /v1/schedules/{name}/resume',
        'post /v1/schedules/{name}/run-now',
      ]),
    )
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('says which problems each route has, by the codes of the one table', () => {
    const codes = new Set<string>()
    for (const { responses, tags } of operations) {
      for (const [status, { description, content }] of Object.entries(responses)) {
        if (!('application/problem+json' in Object(content))) continue
        for (const code of description.split(', ')) {
          expect(String(Object(ERRORS)[code]?.status)).toBe(status)
          codes.add(code)
        }
      }
      if (!tags.includes('installation')) expect(responses).toHaveProperty('500')
    }
    const elsewhere = [
      'NOT_FOUND',
      'METHOD_NOT_ALLOWED',
      'REQUEST_TIMEOUT',
      'HEADERS_TOO_LARGE',
      'TOO_MANY_REQUESTS',
    ]
    expect([...codes, ...elsewhere].sort()).toEqual(Object.keys(ERRORS).sort())
  })

  test('shows the shapes that are meant where a route checks by itself', () => {
    const bodyOf = (path: string) =>
      document.paths[path]?.post?.requestBody?.content['application/json']?.schema
    expect(bodyOf('/v1/definitions')).toEqual({ $ref: '#/components/schemas/Definition' })
    expect(bodyOf('/v1/sagas/batch')).toEqual({ $ref: '#/components/schemas/StartBatch' })
    expect(bodyOf('/v1/sagas')).toEqual({ $ref: '#/components/schemas/StartSaga' })
    const limit = document.paths['/v1/sagas']?.get?.parameters?.find(({ name }) => name === 'limit')
    expect(limit).toMatchObject({ in: 'query', schema: { type: 'integer', minimum: 1, maximum: 200 } })
  })

  test('closes what comes in and leaves open what goes out', () => {
    const { StartSaga, Saga } = document.components.schemas
    expect(StartSaga).toMatchObject({ additionalProperties: false })
    expect(Saga).not.toHaveProperty('additionalProperties')
  })
})

describe('/docs', () => {
  test('is a page that works under its own strict policy, with nothing from elsewhere', async () => {
    const page = await ask('GET', '/docs')
    expect(page.status).toBe(200)
    const policy = String(page.headers['content-security-policy'])
    expect(policy).not.toMatch(/unsafe|https?:|\*/)
    expect(page.text).not.toMatch(/<script>|<style|style=|on\w+=|https?:\/\//)
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = '']) => url)
    expect(assets.length).toBeGreaterThan(4)
    for (const url of assets) {
      expect(url).toMatch(/^\/docs\/static\//)
      const asset = await ask('GET', url)
      expect(asset.status, url).toBe(200)
      expect(asset.headers['content-security-policy']).toBe(policy)
    }
    expect((await ask('GET', '/docs/json')).body).toEqual(document)
  })
})
