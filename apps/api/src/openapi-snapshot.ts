import { pino } from 'pino'
import { buildApp } from './app.ts'

export const SNAPSHOT = new URL('../../../docs/reference/openapi.json', import.meta.url)

/** What the API says of itself; no database is asked for that. */
export async function apiDocument(): Promise<unknown> {
  const app = await buildApp({
    store() {
      throw new Error('no database is needed to describe the API')
    },
    log: pino({ level: 'silent' }),
  })
  await app.ready()
  const document: unknown = JSON.parse(JSON.stringify(app.swagger()))
  await app.close()
  return document
}
