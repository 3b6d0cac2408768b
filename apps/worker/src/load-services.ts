import { readFile } from 'node:fs/promises'
import { parseJson } from '@backstitch/core'
import { readServices, type ServicesConfig } from '@backstitch/engine'

/** Reads the file that SERVICES names: the services, or one sentence for each thing that is wrong with them. */
export async function loadServices(
  file: string | undefined,
): Promise<{ ok: true; services: ServicesConfig } | { ok: false; problems: string[] }> {
  if (file === undefined) return { ok: true, services: {} }
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    return refused(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
  const json = parseJson(text)
  if (!json.ok) return refused(`${file}, at "${json.problem.pointer}": ${json.problem.detail}`)
  const read = readServices(json.value)
  if (!read.ok) return { ok: false, problems: read.problems.map((problem) => `SERVICES: ${problem}`) }
  return { ok: true, services: read.config }
}

function refused(problem: string): { ok: false; problems: string[] } {
  return { ok: false, problems: [`SERVICES: ${problem}`] }
}
