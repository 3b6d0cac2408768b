import { STATUS_CODES } from 'node:http'
import { ERRORS, type ErrorCode, ProblemDetails } from '@backstitch/core'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { z } from 'zod'
import manifest from '../../package.json' with { type: 'json' }
import type { App } from '../app.ts'
import { PROBLEM_JSON } from './problems.ts'
import { DOCS_POLICY } from './security.ts'

/** OpenAPI 3.1, made from the schemas that validate: at /openapi.json, and for people at /docs. */

const documented = new Map<unknown, z.ZodType>()

/**
 * A body that its route checks by itself, part by part, and therefore takes as it comes. The page shows the shape it has
 * to have in the end.
 */
export function shownAs<Taken extends z.ZodType>(taken: Taken, shown: z.ZodType): Taken {
  documented.set(taken, shown)
  return taken
}

/** The answers of a route: those that are good, and its problems by status. */
export function answers<Good extends Record<number, z.ZodType>>(good: Good, ...codes: ErrorCode[]): Good {
  const problems = new Map<number, ErrorCode[]>()
  for (const code of [...codes, 'UNAVAILABLE', 'INTERNAL'] as const) {
    const { status } = ERRORS[code]
    problems.set(status, [...(problems.get(status) ?? []), code])
  }
  const goodOnes = Object.entries(good).map(([status, schema]) => {
    return [status, content('application/json', schema, STATUS_CODES[status])] as const
  })
  const problemOnes = [...problems].map(([status, known]) => {
    return [String(status), content(PROBLEM_JSON, ProblemDetails, known.join(', '))] as const
  })
  return { ...good, ...Object.fromEntries([...goodOnes, ...problemOnes]) }
}

function content(type: string, schema: z.ZodType, description = '') {
  return { description, content: { [type]: { schema } } }
}

const zodToJsonConfig = {
  override({
    zodSchema,
    jsonSchema,
  }: {
    zodSchema: z.core.$ZodType
    jsonSchema: z.core.JSONSchema.BaseSchema
  }) {
    // Answers may have more than is known today; only what is strict on its way in is so on paper.
    if (zodSchema instanceof z.ZodObject && zodSchema.def.catchall === undefined)
      delete jsonSchema.additionalProperties
    if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
    if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
  },
}

export async function describeApi(app: App, basePath: string): Promise<void> {
  const transform = createJsonSchemaTransform({ zodToJsonConfig })
  const transformObject = createJsonSchemaTransformObject({ zodToJsonConfig })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      ...(basePath !== '' && { servers: [{ url: basePath }] }),
      info: {
        title: 'Backstitch',
        version: manifest.version,
        description:
          'A durable saga orchestrator. Errors are problem documents (RFC 9457) with a stable `code`; lists have pages of up to 200.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [
        { name: 'definitions', description: 'what sagas are made of' },
        { name: 'sagas', description: 'starting, watching and ending them' },
        { name: 'bulk', description: 'one verb for many sagas' },
        { name: 'schedules', description: 'starting them by the calendar' },
        { name: 'operators', description: 'what a person does about a saga' },
        { name: 'installation', description: 'how it is doing' },
      ],
    },
    transform: (route) =>
      transform({
        ...route,
        schema: { ...route.schema, body: documented.get(route.schema?.body) ?? route.schema?.body },
      }),
    transformObject: (document) => tidy(transformObject(document)),
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_POLICY,
    uiConfig: {
      layout: 'BaseLayout',
      validatorUrl: null,
      deepLinking: true,
      displayRequestDuration: true,
      tryItOutEnabled: true,
    },
    theme: { title: 'Backstitch API' },
  })

  let written: string | undefined
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => {
    written ??= JSON.stringify(app.swagger())
    return reply.header('content-type', 'application/json; charset=utf-8').send(written)
  })
}

type ApiDocument = ReturnType<ReturnType<typeof createJsonSchemaTransformObject>>
const AnyDocument = z.custom<ApiDocument>()

/** Every shape is made twice, as it comes in and as it goes out: what nobody refers to goes, what is left alone has its plain name. */
function tidy(document: ApiDocument): ApiDocument {
  const components = 'components' in document ? document.components : undefined
  const schemas: Record<string, unknown> = components?.schemas ?? {}
  const used = new Set<string>()
  const follow = (part: unknown) => {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (used.has(name)) continue
      used.add(name)
      follow(schemas[name] ?? {})
    }
  }
  follow(document.paths ?? {})
  const plainName = (name: string) => {
    const plain = name.replace(/Input$/, '')
    return used.has(plain) ? name : plain
  }
  const kept = Object.fromEntries([...used].sort().map((name) => [plainName(name), schemas[name]]))
  const text = JSON.stringify({ ...document, components: { ...components, schemas: kept } })
  return AnyDocument.parse(
    JSON.parse(
      text.replace(
        /("#\/components\/schemas\/)(\w+)"/g,
        (_, path: string, name: string) => `${path}${plainName(name)}"`,
      ),
    ),
  )
}
