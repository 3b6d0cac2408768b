import { Name, Problem } from '@backstitch/core'
import type { ApiStore, Registered } from '@backstitch/store'

/** A version is an `integer` to the database; what is none cannot be there. */
export const MAX_VERSION = 2_147_483_647

/** The version that is named, else the highest, read from the database (S26). */
export async function definitionOf(
  store: ApiStore,
  name: string,
  version: number | undefined,
): Promise<Registered> {
  if (!Name.safeParse(name).success) throw unknown(name)
  if (version !== undefined && version > MAX_VERSION) throw unknown(name, version)
  const found = await (version === undefined
    ? store.definitions.latest(name)
    : store.definitions.get(name, version))
  if (found === undefined) throw unknown(name, version)
  return found
}

export function unknown(name: string, version?: number | string): Problem {
  const what =
    version === undefined ? `no definition "${name}"` : `no version ${version} of definition "${name}"`
  return new Problem('DEFINITION_NOT_FOUND', `there is ${what}; POST /v1/definitions registers one`)
}
