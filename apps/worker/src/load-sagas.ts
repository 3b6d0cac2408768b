import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkDefinition, checkJson, type SagaModule } from '@backstitch/core'
import { z } from 'zod'

const Handlers = z.custom<SagaModule['handlers']>(
  (value) => value instanceof Map,
  'must come from defineSaga',
)
const Exports = z.object({
  sagas: z.array(
    z.object({
      definition: z.custom<SagaModule['definition']>(isDefinition, 'must come from defineSaga'),
      handlers: Handlers,
    }),
  ),
})

/** Imports each module and takes its export `sagas`, a list of what `defineSaga` has made. */
export async function loadSagas(modules: readonly string[]): Promise<SagaModule[]> {
  const loaded = await Promise.all(modules.map(load))
  return loaded.flat()
}

async function load(module: string): Promise<SagaModule[]> {
  const exported: unknown = await import(pathToFileURL(resolve(module)).href).catch((error: unknown) => {
    throw new Error(
      `SAGAS names ${module}, which cannot be imported: ${error instanceof Error ? error.message : String(error)}`,
    )
  })
  const parsed = Exports.safeParse(exported)
  if (!parsed.success) {
    throw new Error(
      `SAGAS names ${module}, which should export \`sagas\`, a list made by defineSaga: ${parsed.error.message}`,
    )
  }
  return parsed.data.sagas
}

function isDefinition(value: unknown): boolean {
  const json = checkJson(value)
  return json.ok && checkDefinition(json.value).ok
}
