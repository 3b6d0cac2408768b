import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { createServer, type Http2Server } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Context, createEndpointHandler, service } from '@restatedev/restate-sdk'
import { Pool } from 'undici'
import { load } from '../load.ts'
import { createMeter } from '../meter.ts'
import type { Contender } from '../scenario.ts'

const VERSION = '1.7.12'
const READY_MS = 60_000

/**
 * A handler of three durable steps, served by this process, called through the ingress of a server of its own. Its log is
 * synced to disk as it is by default. `partitions`: 24 unless it is told otherwise; one is what suits two cores.
 */
export function restate(options: {
  name: string
  partitions?: number
  inFlight: number
  size: number
}): Contender {
  const { name, partitions, inFlight, size } = options
  return {
    name,
    async open(place) {
      const endpoint = await serve()
      const server = await startServer(partitions)
      await server.register(endpoint.url)
      const meter = await createMeter(place, [server.pid])
      const ingress = new Pool(server.ingressUrl, { connections: inFlight })
      const body = JSON.stringify({ orderId: 'o-1', amount: 4200 })
      async function one(): Promise<void> {
        const answer = await ingress.request({
          method: 'POST',
          path: '/order/run',
          headers: { 'content-type': 'application/json' },
          body,
        })
        await answer.body.dump()
        if (answer.statusCode !== 200) throw new Error(`Restate answered ${answer.statusCode}`)
      }
      return {
        run: () => load({ meter, count: size, inFlight, stepsEach: 3, one }),
        async close() {
          await ingress.close()
          await server.stop()
          await endpoint.close()
          await meter.close()
        },
      }
    },
  }
}

const result = { id: 'x'.repeat(21) }
const order = service({
  name: 'order',
  handlers: {
    run: async (context: Context, _input: { orderId: string; amount: number }) => {
      await context.run('step1', () => result)
      await context.run('step2', () => result)
      return context.run('step3', () => result)
    },
  },
})

async function serve(): Promise<{ url: string; close(): Promise<void> }> {
  const server: Http2Server = createServer(
    createEndpointHandler({ services: [order], logger: () => undefined }),
  )
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', (session) => sessions.add(session))
  return {
    url: `http://127.0.0.1:${await portOf(server)}`,
    async close() {
      for (const session of sessions) session.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

async function startServer(partitions: number | undefined) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'backstitch-bench-restate-'))
  const [node, ingress, admin] = [await freePort(), await freePort(), await freePort()]
  const child = spawn(binary(), ['--base-dir', directory], {
    stdio: ['ignore', 'ignore', 'ignore'],
    env: {
      ...process.env,
      RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`,
      RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}`,
      RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
      RESTATE_DISABLE_TELEMETRY: 'true',
      RESTATE_LOG_FILTER: 'error',
      ...(partitions !== undefined && { RESTATE_DEFAULT_NUM_PARTITIONS: String(partitions) }),
    },
  })
  return {
    pid: child.pid ?? 0,
    ingressUrl: `http://127.0.0.1:${ingress}`,
    /** As soon as it can. */
    async register(url: string): Promise<void> {
      const body = JSON.stringify({ uri: url })
      const headers = { 'content-type': 'application/json' }
      for (const end = performance.now() + READY_MS; performance.now() < end; await sleep(200)) {
        if (child.exitCode !== null) throw new Error(`the Restate server ended with ${child.exitCode}`)
        const sent = fetch(`http://127.0.0.1:${admin}/deployments`, { method: 'POST', headers, body })
        if ((await sent.catch(() => undefined))?.ok === true) return
      }
      throw new Error('the Restate server could not be reached')
    },
    async stop() {
      child.kill()
      await once(child, 'exit')
      fs.rmSync(directory, { recursive: true })
    },
  }
}

/** 216 MB, so nobody gets it who has not asked for peers: it is fetched into .cache when it is first needed. */
function binary(): string {
  const home = fileURLToPath(new URL('../../../.cache/restate', import.meta.url))
  const name = `@restatedev/restate-server-${process.platform}-${process.arch}`
  const file = path.join(home, 'node_modules', name, 'bin', 'restate-server')
  if (!fs.existsSync(file)) {
    fs.mkdirSync(home, { recursive: true })
    execFileSync('npm', [
      'install',
      '--prefix',
      home,
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      `${name}@${VERSION}`,
    ])
  }
  return file
}

async function freePort(): Promise<number> {
  const server = createServer()
  const port = await portOf(server)
  server.close()
  await once(server, 'close')
  return port
}

async function portOf(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address: AddressInfo | string | null = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
