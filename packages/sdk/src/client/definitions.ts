import {
  checkJson,
  type Definition,
  DefinitionPlan,
  DefinitionSummary,
  DefinitionVersion,
  type Json,
  type JsonProblem,
  pageOf,
  RegisteredDefinition,
  type SagaModule,
  ValidatedDefinition,
} from '@backstitch/core'
import { BackstitchError } from '../errors.ts'
import { type Listing, listing } from './listing.ts'
import type { CallOptions, Transport } from './transport.ts'

/** A saga, or a definition as a document. */
export type Definable = SagaModule | Definition | { readonly [field: string]: Json }

export type ListOptions = CallOptions & {
  /** Of one page. */
  limit?: number | undefined
}

export type DefinitionsClient = {
  /** Adds a version, or finds the one that says the same. Its warnings are worth a look. */
  register(definable: Definable, options?: CallOptions): Promise<RegisteredDefinition>
  /** The same checks, and nothing is stored. */
  validate(
    definable: Definable,
    options?: CallOptions,
  ): Promise<{ valid: true; warnings: JsonProblem[] } | { valid: false; errors: readonly JsonProblem[] }>
  /** The highest version, unless one is named. */
  get(name: string, options?: CallOptions & { version?: number | undefined }): Promise<DefinitionVersion>
  /** The highest version of each, by name. */
  list(options?: ListOptions): Listing<DefinitionSummary>
  /** All versions of one, newest first. */
  versions(name: string, options?: ListOptions): Listing<DefinitionSummary>
  /** What would run, and be undone, in order, if the step `failAt` were rejected; or if all goes well (S28). */
  plan(
    name: string,
    options?: CallOptions & { version?: number | undefined; failAt?: string | undefined },
  ): Promise<DefinitionPlan>
}

const DefinitionPage = pageOf(DefinitionSummary)

export function definitionsClient(call: Transport): DefinitionsClient {
  const pages = (path: readonly string[], { limit, ...options }: ListOptions = {}) =>
    listing((cursor) =>
      call({ method: 'GET', path, query: { limit, cursor }, repeatable: true }, DefinitionPage, options),
    )

  return {
    async register(definable, options) {
      const body = documentOf(definable)
      return call(
        { method: 'POST', path: ['definitions'], body, repeatable: true },
        RegisteredDefinition,
        options,
      )
    },

    async validate(definable, options) {
      const body = documentOf(definable)
      const path = ['definitions', 'validate']
      try {
        const { warnings } = await call(
          { method: 'POST', path, body, repeatable: true },
          ValidatedDefinition,
          options,
        )
        return { valid: true, warnings }
      } catch (error) {
        if (!(error instanceof BackstitchError) || error.code !== 'INVALID_DEFINITION') throw error
        return { valid: false, errors: error.errors }
      }
    },

    async get(name, { version, ...options } = {}) {
      const path = version === undefined ? [name] : [name, 'versions', String(version)]
      return call(
        { method: 'GET', path: ['definitions', ...path], repeatable: true },
        DefinitionVersion,
        options,
      )
    },

    list: (options) => pages(['definitions'], options),
    versions: (name, options) => pages(['definitions', name, 'versions'], options),

    async plan(name, { version, failAt, ...options } = {}) {
      const path = ['definitions', name, 'plan']
      return call(
        { method: 'GET', path, query: { version, failAt }, repeatable: true },
        DefinitionPlan,
        options,
      )
    },
  }
}

function documentOf(definable: Definable): Json {
  const document = isModule(definable) ? definable.definition : definable
  const checked = checkJson(document)
  if (checked.ok) return checked.value
  const detail = 'the definition is not JSON'
  throw new BackstitchError({ code: 'INVALID_DEFINITION', detail, errors: [checked.problem] })
}

function isModule(definable: Definable): definable is SagaModule {
  return 'handlers' in definable && definable.handlers instanceof Map
}
