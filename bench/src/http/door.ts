import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Pool } from 'undici'
import type { Place } from '../place.ts'

export type Door = 'stored' | 'unstored' | 'statement' | 'bare'

/** An API in a process of its own, and clients that keep their connections. */
export async function openDoor({ url }: Place, which: Door, clients: number) {
  const child = fork(fileURLToPath(new URL('./door-main.ts', import.meta.url)), {
    env: { ...process.env, DATABASE_URL: url, DOOR: which },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const [message]: unknown[] = await once(child, 'message')
  const origin =
    typeof message === 'object' && message !== null && 'url' in message ? String(message.url) : ''
  const pool = new Pool(origin, { connections: clients })
  return {
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
      child.disconnect()
      await once(child, 'exit')
    },
  }
}
