import {
  type Checked,
  checkDefinition,
  Definition,
  DefinitionPlan,
  DefinitionSummary,
  DefinitionVersion,
  type Json,
  Problem,
  pageOf,
  plan,
  RegisteredDefinition,
  ValidatedDefinition,
} from '@backstitch/core'
import type { Registered } from '@backstitch/store'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import { definitionOf, unknown } from '../definition-of.ts'
import { DefinitionPath, DefinitionVersionPath, Paging, Version } from '../parameters.ts'
import { actorOf } from '../plugins/actor.ts'
import { answers, shownAs } from '../plugins/openapi.ts'

const BODY_BYTES = 512 * 1024

/** `checkDefinition` knows more than the shape, and is asked about the document as it was sent. */
const AnyDefinition = shownAs(
  z.custom<Json>((value) => value !== undefined),
  Definition,
)

export function definitionRoutes(app: App, { store, schemas, basePath }: Door): void {
  const BODY_PROBLEMS = [
    'MALFORMED_JSON',
    'BODY_TOO_LARGE',
    'UNSUPPORTED_MEDIA_TYPE',
    'INVALID_DEFINITION',
  ] as const

  app.post(
    '/v1/definitions',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['definitions'],
        operationId: 'registerDefinition',
        summary: 'Register a definition',
        description: 'The same content is the same version (200); other content is a new one (201).',
        body: AnyDefinition,
        response: answers({ 200: RegisteredDefinition, 201: RegisteredDefinition }, ...BODY_PROBLEMS),
      },
    },
    async (request, reply) => {
      const { body } = request
      const { warnings } = checked(body)
      const { created, name, version, hash } = await store().definitions.register(body)
      if (created) {
        const id = `${name} version ${version}`
        await store().audit.record({ actor: actorOf(request), act: 'registered', kind: 'definition', id })
      }
      reply.header('location', `${basePath}/v1/definitions/${name}/versions/${version}`)
      return reply.code(created ? 201 : 200).send({ name, version, hash, warnings })
    },
  )

  app.post(
    '/v1/definitions/validate',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['definitions'],
        operationId: 'validateDefinition',
        summary: 'The same checks, and nothing is stored',
        body: AnyDefinition,
        response: answers({ 200: ValidatedDefinition }, ...BODY_PROBLEMS),
      },
    },
    async ({ body }) => ({ warnings: checked(body).warnings }),
  )

  app.get(
    '/v1/definitions',
    {
      schema: {
        tags: ['definitions'],
        operationId: 'listDefinitions',
        summary: 'The highest version of each definition, by name',
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(DefinitionSummary) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor } }) => {
      const after = cursor === undefined ? undefined : readCursor(cursor, 'definitions', z.string())
      const found = await store().definitions.list({ after, limit: limit + 1 })
      return pageOfSummaries(found, limit, ({ name }) => writeCursor('definitions', name))
    },
  )

  app.get(
    '/v1/definitions/:name',
    {
      schema: {
        tags: ['definitions'],
        operationId: 'getDefinition',
        summary: 'The highest version',
        params: DefinitionPath,
        response: answers({ 200: DefinitionVersion }, 'DEFINITION_NOT_FOUND'),
      },
    },
    async ({ params }) => whole(await definitionOf(store(), params.name, undefined)),
  )

  app.get(
    '/v1/definitions/:name/versions',
    {
      schema: {
        tags: ['definitions'],
        operationId: 'listDefinitionVersions',
        summary: 'All versions, newest first',
        params: DefinitionPath,
        querystring: z.strictObject(Paging),
        response: answers(
          { 200: pageOf(DefinitionSummary) },
          'BAD_REQUEST',
          'INVALID_CURSOR',
          'DEFINITION_NOT_FOUND',
        ),
      },
    },
    async ({ params: { name }, query: { limit, cursor } }) => {
      await definitionOf(store(), name, undefined)
      const list = ['versions', name]
      const before = cursor === undefined ? undefined : readCursor(cursor, list, z.int32().min(1))
      const found = await store().definitions.versions(name, { before, limit: limit + 1 })
      return pageOfSummaries(found, limit, ({ version }) => writeCursor(list, version))
    },
  )

  app.get(
    '/v1/definitions/:name/versions/:version',
    {
      schema: {
        tags: ['definitions'],
        operationId: 'getDefinitionVersion',
        summary: 'One version',
        params: DefinitionVersionPath,
        response: answers({ 200: DefinitionVersion }, 'DEFINITION_NOT_FOUND'),
      },
    },
    async ({ params: { name, version } }) => {
      const read = Version.safeParse(version)
      if (!read.success) throw unknown(name, version)
      return whole(await definitionOf(store(), name, read.data))
    },
  )

  app.get(
    '/v1/definitions/:name/plan',
    {
      schema: {
        tags: ['definitions'],
        operationId: 'planDefinition',
        summary: 'The dry run: what would happen if a step failed, in order',
        description: 'Nothing is run. Without `failAt` nothing fails.',
        params: DefinitionPath,
        querystring: z.strictObject({
          version: Version.meta({ description: 'the highest, if absent' }).optional(),
          failAt: z.string().optional().meta({ description: 'the step that is to be rejected' }),
        }),
        response: answers({ 200: DefinitionPlan }, 'BAD_REQUEST', 'DEFINITION_NOT_FOUND'),
      },
    },
    async ({ params, query: { version, failAt } }) => {
      const { resolved } = await definitionOf(store(), params.name, version)
      if (failAt !== undefined && !resolved.indexOf.has(failAt)) {
        const names = resolved.steps.map(({ name }) => name).join(', ')
        const detail = `there is no step "${failAt}"; the steps are ${names}`
        throw new Problem('BAD_REQUEST', detail, { errors: [{ pointer: '/query/failAt', detail }] })
      }
      const { name, version: planned } = resolved
      return {
        definition: { name, version: planned },
        ...(failAt !== undefined && { failAt }),
        ...plan(resolved, failAt),
      }
    },
  )

  /** S27 */
  function checked(document: Json): Extract<Checked, { ok: true }> {
    const verdict = checkDefinition(document)
    const { inputSchema } = verdict.ok ? verdict.definition : {}
    const schema = inputSchema === undefined ? { problems: [], warnings: [] } : schemas.check(inputSchema)
    const problems = verdict.ok ? schema.problems : verdict.problems
    if (!verdict.ok || problems.length > 0) {
      const detail = problems
        .map(({ pointer, detail }) => `${pointer || 'the document'}: ${detail}`)
        .join('; ')
      throw new Problem('INVALID_DEFINITION', detail, { errors: problems })
    }
    return { ...verdict, warnings: [...verdict.warnings, ...schema.warnings] }
  }
}

function summary({ name, version, hash, queue, createdAt }: Registered): DefinitionSummary {
  return { name, version, hash, queue, createdAt }
}

function whole(registered: Registered): DefinitionVersion {
  return { ...summary(registered), document: registered.source }
}

/** `found` has one more than the page, if there is another page. */
function pageOfSummaries(found: Registered[], limit: number, cursorAt: (last: Registered) => string) {
  const page = found.slice(0, limit)
  const last = found.length > limit ? page.at(-1) : undefined
  return { items: page.map(summary), ...(last && { nextCursor: cursorAt(last) }) }
}
