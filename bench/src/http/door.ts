import { Pool } from 'undici'
import type { Place } from '../place.ts'
import { forkServer } from './fork.ts'

export type Door = 'stored' | 'unstored' | 'statement' | 'bare' | 'together'

/** An API in a process of its own, and clients that keep their connections. */
export async function openDoor({ url }: Place, which: Door, clients: number) {
  const server = await forkServer('door-main.ts', { DATABASE_URL: url, DOOR: which })
  const pool = new Pool(server.url, { connections: clients })
  return {
    pid: server.pid,
    /** Answers with the status. */
    async post(path: string, body: string): Promise<number> {
      const { statusCode, body: answer } = await pool.request({
        method: 'POST',
        path,
        headers: { 'content-type': 'application/json' },
        body,
      })
      await answer.dump()
      return statusCode
    },
    async close() {
      await pool.close()
      await server.close()
    },
  }
}
