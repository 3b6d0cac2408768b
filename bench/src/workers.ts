import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Place } from './place.ts'

/** Workers in processes of their own. `onCall` hears of each first step, with the instant its handler was called. */
export async function startWorkers(
  { url }: Place,
  count: number,
  options: {
    concurrency?: number
    stepMs?: number
    leaseMs?: number
    /** Its sagas are one call to this service each. */
    serviceUrl?: string
    onCall?: (at: number) => void
  } = {},
): Promise<{ pids: number[]; kill(index: number): void; close(): Promise<void> }> {
  const { concurrency = 200, stepMs = 0, leaseMs = 30_000, serviceUrl = '', onCall } = options
  const children: ChildProcess[] = []
  for (let n = 0; n < count; n++) {
    const child = fork(fileURLToPath(new URL('./worker-main.ts', import.meta.url)), {
      env: {
        ...process.env,
        DATABASE_URL: url,
        CONCURRENCY: String(concurrency),
        STEP_MS: String(stepMs),
        LEASE_MS: String(leaseMs),
        SERVICE_URL: serviceUrl,
        TELL: onCall === undefined ? '' : 'yes',
      },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    await once(child, 'message')
    child.on('message', (message: unknown) => {
      if (typeof message === 'object' && message !== null && 'calledAt' in message)
        onCall?.(Number(message.calledAt))
    })
    children.push(child)
  }
  return {
    pids: children.flatMap(({ pid }) => pid ?? []),
    kill: (index) => void children[index]?.kill('SIGKILL'),
    async close() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue
        child.disconnect()
        await once(child, 'exit')
      }
    },
  }
}
