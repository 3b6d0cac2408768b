import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { apiDocument, SNAPSHOT } from './openapi-snapshot.ts'

/** `node apps/api/src/openapi-main.ts` writes docs/reference/openapi.json, which a test compares with what the API says. */
const file = fileURLToPath(SNAPSHOT)
await mkdir(dirname(file), { recursive: true })
await writeFile(file, `${JSON.stringify(await apiDocument(), null, 2)}\n`)
console.log(`wrote ${file}`)
