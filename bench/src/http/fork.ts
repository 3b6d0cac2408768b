import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** A server in a process of its own, which says where it listens. */
export async function forkServer(file: string, environment: Record<string, string>) {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const message = await new Promise<unknown>((resolve) => child.once('message', resolve))
  const url = typeof message === 'object' && message !== null && 'url' in message ? String(message.url) : ''
  return {
    url,
    pid: child.pid ?? 0,
    async close() {
      child.disconnect()
      await once(child, 'exit')
    },
  }
}
